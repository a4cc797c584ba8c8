# SPDX-License-Identifier: Apache-2.0
"""Does importing a module of the ground floor stay cheap, without loading what it may not need?"""

import subprocess
import sys

import pytest

# Never: no code of the library needs them. Later: only by the function that is about them.
NEVER = ["oslo_utils", "oslo_serialization", "oslo_i18n", "pbr", "debtcollector", "eventlet"]
LATER = [
    *("jsonschema", "stevedore", "networkx", "tenacity", "futurist", "automaton", "fasteners", "msgpack"),
    *("psutil", "netaddr", "dns", "kazoo", "redis", "kombu", "sqlalchemy", "etcd3gw"),
    *("importlib.metadata", "email", "ssl", "asyncio", "http", "xmlrpc", "multiprocessing", "zoneinfo"),
    *("concurrent.futures", "inspect", "uuid", "dataclasses", "json", "socket", "urllib.parse", "datetime"),
]

MODULES = {
    "taskflow": [],
    "taskflow.version": [],
    "taskflow.exceptions": ["typing", "traceback", "logging", "threading"],
    "taskflow.states": ["typing", "traceback", "logging", "threading"],
    "taskflow.logging": [],
    "taskflow.types": [],
    "taskflow.types.failure": ["traceback", "linecache", "copy"],
    "taskflow.types.notifier": [],
    "taskflow.types.timing": [],
    "taskflow.types.latch": [],
    "taskflow.types.entity": [],
    "taskflow.utils": [],
    "taskflow.utils.names": ["typing"],
    "taskflow.utils.uuids": ["typing"],
    "taskflow.utils.misc": ["taskflow.types.failure"],
    "taskflow.utils.cached": [],
    "taskflow.utils.decoding": [],
    "taskflow.utils.uris": [],
    "taskflow.utils.tracebacks": ["traceback", "linecache"],
    "taskflow.utils.iter_utils": [],
    "taskflow.utils.threading_utils": [],
    "taskflow.utils.kazoo_utils": [],
    "taskflow.utils.redis_utils": [],
    "taskflow.utils.schema_utils": [],
    "taskflow.utils.kombu_utils": [],
    "taskflow.utils.eventlet_utils": [],
    "taskflow.utils.banner": [],
}

# With -S no .pth file of the environment loads anything beforehand.
PROGRAM = """
import sys
sys.path[:] = {path!r}
{before}
before = set(sys.modules)
import {module}
print("\\n".join(sorted(set(sys.modules) - before)))
"""


def loaded_by(module, before=""):
    program = PROGRAM.format(path=sys.path, module=module, before=before)
    done = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_importing_loads_nothing_that_is_not_needed(module):
    loaded = loaded_by(module)
    assert module in loaded
    forbidden = [*NEVER, *LATER, *MODULES[module]]
    assert {name for name in loaded if any(f"{name}.".startswith(f"{bad}.") for bad in forbidden)} == set()


def test_the_package_loads_none_of_its_modules():
    assert loaded_by("taskflow") == {"taskflow"}


def test_exceptions_load_only_themselves():
    # The two are loaded by nearly every interpreter start, with -S too late.
    loaded = loaded_by("taskflow.exceptions", before="import __future__, os")
    assert loaded == {"taskflow", "taskflow.exceptions"}


def test_capturing_a_failure_loads_no_third_party_module():
    program = """
try:
    raise ValueError("x")
except ValueError:
    fail = taskflow.types.failure.Failure()
fail.pformat(traceback=True)
taskflow.types.failure.Failure.validate(fail.to_dict())
"""
    loaded = loaded_by("taskflow.types.failure" + program)
    assert {"traceback", "linecache"} <= loaded
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {
        *("taskflow", "taskflow.exceptions", "taskflow.types", "taskflow.types.failure"),
        *("taskflow.utils", "taskflow.utils.names", "taskflow.utils.tracebacks"),
    }
