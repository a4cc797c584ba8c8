# SPDX-License-Identifier: Apache-2.0
"""How does a process that measures start, when the library it measures is another than the one beside this folder?

Run by its path with ``-P``, so that neither this folder nor the repository is searched for modules: ``taskflow`` is the
one that the interpreter has, or that PYTHONPATH names.
"""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import sys

if __name__ == "__main__":
    folder = pathlib.Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = package
    spec.loader.exec_module(package)
    importlib.import_module("benchmarks.answering").serve()
