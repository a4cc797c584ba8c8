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

# Every reference that a page writes is checked (-n). Those that type hints make (py:class) may name private modules and
# aliases, and names of the standard library and other libraries have no target without a network.
nitpick_ignore_regex = [(r"py:class", r".*"), (r"py:.*", r"(?!taskflow\.).*"), (r"py:.*", r"taskflow\..*\b[A-Z]T?")]
