# SPDX-License-Identifier: Apache-2.0
"""How is the documentation built?"""

import pathlib
import sys
import tomllib

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "taskflow"
author = "the taskflow authors"
copyright = author
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release.rpartition(".")[0]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "tables_from_code"]
exclude_patterns = ["_build", "figures"]
html_theme = "furo"
html_title = f"taskflow {release}"
default_role = "py:obj"
highlight_language = "text"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False

# Every reference is checked (-n), but only the project's own names are described here: those of the standard library
# and of other libraries have no target without a network, and type hints name private aliases.
nitpick_ignore_regex = [(r"py:.*", r"(?!taskflow\.).*"), (r"py:.*", r"taskflow\..*\b(_\w+|[A-Z]T?)")]
