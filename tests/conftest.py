# SPDX-License-Identifier: Apache-2.0
"""Which settings do all tests share?"""

import importlib.util
import os
import pathlib
import sys

import hypothesis

# No deadlines: a test machine that is busy with something else must not turn a slow example into a failure.
# In CI the examples are the same in every run, so that a red run is about the change and nothing else.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100, print_blob=True)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

SERVERS = pathlib.Path(__file__).parent / "servers"


def _load_servers():
    """Makes the modules of private servers importable as servers_<name>; the base first, the others need it."""
    modules = []
    for path in sorted(SERVERS.glob("*.py"), key=lambda path: (path.stem != "base", path.stem)):
        name = f"servers_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return modules


def pytest_configure(config):
    # As plugins, so that their fixtures are there for all tests.
    for module in _load_servers():
        config.pluginmanager.register(module, module.__name__)
