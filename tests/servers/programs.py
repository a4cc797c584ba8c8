# SPDX-License-Identifier: Apache-2.0
"""How do tests start many processes of one program without waiting for its imports each time?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import servers_base as base

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

# Imports what it is told to, and then makes a copy of itself for each process that is asked for; that copy calls the
# function main() of a module and ends as any Python process does.
_PARENT = """
import gc, importlib, json, os, random, socket, sys

for name in sys.argv[2:]:
    importlib.import_module(name)
gc.freeze()
asking = socket.socket(fileno=int(sys.argv[1]))
while True:
    data, handles, _, _ = socket.recv_fds(asking, 65536, 1)
    if not data:
        sys.exit()
    asked = json.loads(data)
    if "wait" in asked:
        asking.send(json.dumps(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])).encode())
        continue
    child = os.fork()
    if not child:
        break
    os.close(handles[0])
    asking.send(json.dumps(child).encode())
asking.close()
os.dup2(handles[0], 1)
os.close(handles[0])
os.chdir(asked["folder"])
random.seed()
sys.modules[asked["module"]].main(*asked["arguments"])
"""


class _Parent:
    def __init__(self, modules: Sequence[str], paths: Sequence[str], seed: int) -> None:
        self.asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.asking.settimeout(100)
        # The order of sets differs between one process and the next, as it does for those that nobody copied.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", _PARENT, str(theirs.fileno()), *modules]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()], cwd="/"
        )
        theirs.close()

    def ask(self, handles: Sequence[int] = (), **asked: Any) -> int:
        socket.send_fds(self.asking, [json.dumps(asked).encode()], handles)
        return int(json.loads(self.asking.recv(4096)))

    def close(self) -> None:
        self.asking.close()
        self.process.wait(60)


class Program:
    """A running process; as far as it goes, what subprocess.Popen is.

    Attributes:
        pid: its number.
        stdout: what it writes.
        returncode: None until that is known.
    """

    def __init__(self, parent: _Parent, module: str, arguments: Sequence[str], folder: pathlib.Path) -> None:
        reader, writer = os.pipe()
        self._parent = parent
        self.returncode: int | None = None
        self.pid = parent.ask([writer], module=module, arguments=list(arguments), folder=str(folder))
        os.close(writer)
        self.stdout = os.fdopen(reader)
        self._process = base.Process(self.pid)

    def _wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._parent.ask(wait=self.pid)
        return self.returncode

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        if self.returncode is None and self._process.is_running:
            return None
        return self._wait()

    def kill(self) -> None:
        """Ends it at once."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Waits until it, and all that it left behind, is gone, and returns what they wrote."""
        with self.stdout:
            said = self.stdout.read()
        self._process.wait(timeout)
        self._wait()
        return said, None


class Nursery:
    """Starts processes of one program.

    Args:
        modules: what is imported once and for all; the first has the function main() that is called.
        paths: where modules are.
    """

    def __init__(self, modules: Sequence[str], paths: Sequence[str]) -> None:
        self._module = modules[0]
        self._parents = [_Parent(modules, paths, seed) for seed in (1, 2)]
        self._count = 0

    def start(self, arguments: Sequence[str], folder: pathlib.Path) -> Program:
        """Starts a process in a folder."""
        self._count += 1
        return Program(self._parents[self._count % len(self._parents)], self._module, arguments, folder)

    def close(self) -> None:
        """Ends those who start processes."""
        for parent in self._parents:
            parent.close()


_IMPORTED = (
    "alembic.command",
    "alembic.config",
    "concurrent.futures.process",
    "multiprocessing.spawn",
    "psycopg2",
    "pymysql",
    "taskflow.engines",
    "taskflow.engines.action_engine.engine",
    "taskflow.persistence.backends.impl_dir",
    "taskflow.persistence.backends.impl_sqlalchemy",
    "taskflow.persistence.backends.sqlalchemy.migration",
)


@pytest.fixture(scope="session")
def nursery_of() -> Iterator[Any]:
    """Makes the one who starts processes of a module, given the paths where it and the library are."""
    made: dict[str, Nursery] = {}

    def make(module: str, *paths: str) -> Nursery:
        if module not in made:
            made[module] = Nursery([module, *_IMPORTED], paths)
        return made[module]

    yield make
    for nursery in made.values():
        nursery.close()
