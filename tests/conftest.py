# SPDX-License-Identifier: Apache-2.0
"""Which settings do all tests share?"""

import importlib.util
import os
import pathlib
import shutil
import sys
import tempfile

import hypothesis

# No deadlines: a test machine that is busy with something else must not turn a slow example into a failure.
# In CI the examples are the same in every run, so that a red run is about the change and nothing else.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100, print_blob=True)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# Tests take programs away, but never the machine, so what they write is as safe in memory as on a disk; and there it
# waits for no disk, which is where most of the time went. Set TMPDIR to have it elsewhere.
IN_MEMORY = pathlib.Path("/dev/shm")
ENOUGH = 4 * 2**30

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


def _stay_in_memory():
    if "TMPDIR" not in os.environ and IN_MEMORY.is_mount() and shutil.disk_usage(IN_MEMORY).free >= ENOUGH:
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


def pytest_configure(config):
    _stay_in_memory()
    # As plugins, so that their fixtures are there for all tests.
    for module in _load_servers():
        config.pluginmanager.register(module, module.__name__)
