# SPDX-License-Identifier: Apache-2.0
"""Where do the property tests find the modules that they share?

The folder is no package and is not on the import path, so the shared modules are put into `sys.modules` before the
test modules that import them by name are collected.
"""

import importlib.util
import pathlib
import sys

for _name in ("engine_model", "engine_harness", "engine_flows", "composed_flows", "record_forms"):
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, pathlib.Path(__file__).with_name(f"{_name}.py"))
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])
