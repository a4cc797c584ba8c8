# SPDX-License-Identifier: Apache-2.0
"""How do tests run OpenStack TaskFlow 6.5 and this library in turns on the same records?"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pathlib
import selectors
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
HOST = HERE / "programs" / "host.py"
DRIVERS = ("kazoo", "psycopg2-binary", "PyMySQL")
KINDS = ("sqlite", "dir", "zookeeper", "postgresql", "mariadb")
# Seconds that one process may take.
PATIENCE = 60


class Failed(Exception):
    """A process did not end as it should."""


class Library:
    """One of the two libraries, in a process that others are made from.

    Args:
        name: ours or theirs.
        python: the interpreter.
        scratch: a folder for answers.
        path: where modules are searched before all others.
    """

    def __init__(self, name: str, python: pathlib.Path, scratch: pathlib.Path, path: pathlib.Path | None) -> None:
        self.name = name
        self._scratch = scratch
        self._numbers = itertools.count()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        self._errors = scratch / f"{name}.log"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), str(HOST)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=scratch,
                text=True,
                start_new_session=True,
            )
        self.about = json.loads(self._line())

    def _line(self) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(PATIENCE):
                os.killpg(self._process.pid, signal.SIGKILL)
                raise Failed(f"{self.name} did nothing for {PATIENCE} seconds:\n{self._said()}")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self.name} is gone:\n{self._said()}")
        return line

    def _said(self) -> str:
        return self._errors.read_text(errors="replace")[-6000:]

    def call(self, function: str, *arguments: Any) -> Any:
        """Lets a process call a function and returns its answer, or None if the process killed itself."""
        answer = self._scratch / f"{self.name}-{next(self._numbers)}.json"
        request = {"call": function, "arguments": arguments, "answer": str(answer)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._line())
        if code == -signal.SIGKILL:
            return None
        if code:
            raise Failed(f"{self.name}: {function}{arguments} ended with code {code}:\n{self._said()}")
        found = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        return found

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=PATIENCE)
        finally:
            self._process.stdout.close()


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """This library."""
    library = Library("ours", pathlib.Path(sys.executable), tmp_path_factory.mktemp("ours"), TOP)
    assert pathlib.Path(library.about["file"]).is_relative_to(TOP / "taskflow")
    yield library
    library.close()


def _load_reference() -> Any:
    # The folder of benchmarks is not a package that is installed.
    spec = importlib.util.spec_from_file_location("interchange_reference", TOP / "benchmarks" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load_reference()
environment = reference.Environment("interchange", DRIVERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the first run the time that an installation takes."""
    if not environment.is_ready:
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.timeout(3 * reference.PATIENCE))


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The published package, in an environment of its own that is kept for later runs."""
    try:
        python = environment.prepare()
    except reference.NotInstalled as e:
        say = pytest.skip if e.unreachable else pytest.fail
        say(f"TaskFlow {reference.VERSION} is not there to compare with and could not be installed: {e}")
    library = Library("theirs", python, tmp_path_factory.mktemp("theirs"), None)
    assert library.about["version"] == reference.VERSION
    assert pathlib.Path(library.about["file"]).is_relative_to(python.parent.parent)
    yield library
    library.close()


@pytest.fixture(scope="session")
def libraries(ours: Library, theirs: Library) -> dict[str, Library]:
    """Both."""
    return {library.name: library for library in (ours, theirs)}


class Place:
    """Where records are kept, each time in an empty one.

    Args:
        kind: of backend.
        conf: the configuration of the backend.
        folder: for what is written down.
    """

    def __init__(self, kind: str, conf: dict[str, Any], folder: pathlib.Path) -> None:
        self.kind = kind
        self.conf = conf
        self._log = folder / "log"
        self._legs: list[list[Any]] = []

    def leg(self, library: Library, function: str, **leg: Any) -> Any:
        """Lets a library go a leg; what was written down is added to those of the earlier ones."""
        self._log.unlink(missing_ok=True)
        answer = library.call(f"legs.{function}", self.conf, {"log": str(self._log), **leg})
        lines = self._log.read_text(encoding="ascii").splitlines() if self._log.exists() else []
        self._legs.append([json.loads(line) for line in lines])
        return answer

    @property
    def last(self) -> list[Any]:
        """What was written down in the last leg."""
        return self._legs[-1]

    @property
    def log(self) -> list[Any]:
        """What was written down in all legs."""
        return [line for lines in self._legs for line in lines]

    def look(self, library: Library) -> Any:
        """What a library reads."""
        return library.call("legs.look", self.conf, {})


_databases: dict[tuple[str, int], str] = {}


class Places:
    """Makes places.

    Args:
        kind: of backend.
        folder: for files.
        server: of that kind, if it needs one.
    """

    def __init__(self, kind: str, folder: pathlib.Path, server: Any) -> None:
        self.kind = kind
        self.number = KINDS.index(kind)
        self._folder = folder
        self._server = server
        self._numbers = itertools.count()

    def new(self) -> Place:
        """Makes an empty one."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        if self.kind == "sqlite":
            conf = {"connection": f"sqlite:///{folder / 'records.db'}"}
        elif self.kind == "dir":
            conf = {"connection": "dir", "path": str(folder / "records")}
        elif self.kind == "zookeeper":
            conf = {"connection": "zookeeper", "hosts": self._server.hosts, "path": self._server.fresh()}
            # The command by which kazoo asks is one that servers do not answer unless told to.
            conf["check_compatible"] = False
        else:
            conf = {"connection": self._database()}
        return Place(self.kind, conf, folder)

    def _database(self) -> str:
        # Making tables takes longer than most runs: after the first one they are there already.
        key = self.kind, self._server.port
        if key in _databases:
            self._server.query("delete from logbooks", database=_databases[key])
        else:
            _databases[key] = self._server.make_database()
        return self._server.url(_databases[key])


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Empty folders, to compare with: the quickest."""
    return Places("dir", tmp_path_factory.mktemp("folders"), None)


def _places(request: pytest.FixtureRequest, folder: pathlib.Path) -> Places:
    kind = request.param
    return Places(kind, folder, None if kind in ("sqlite", "dir") else request.getfixturevalue(kind))


@pytest.fixture(params=KINDS)
def places(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Places:
    """Empty places, of each kind."""
    return _places(request, tmp_path)


@pytest.fixture(params=("sqlite", "dir"))
def either(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Places:
    """Empty places, one kind with tables and one with files: for what engines do, and backends only keep."""
    return _places(request, tmp_path)


@pytest.fixture(params=("dir", "zookeeper"))
def files(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Places:
    """Empty places, of the kinds that keep whole records as text."""
    return _places(request, tmp_path)


def _differences(found: Any, expected: Any, path: str = "") -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            if key in found and key in expected:
                yield from _differences(found[key], expected[key], f"{path}/{key}")
            else:
                yield f"{path}/{key} is {'missing' if key in expected else 'new'}"
    elif isinstance(found, list) and isinstance(expected, list):
        for number, (one, other) in enumerate(itertools.zip_longest(found, expected, fillvalue="nothing")):
            yield from _differences(one, other, f"{path}/{number}")
    elif found != expected:
        yield f"{path}: found {json.dumps(found)[:200]}, expected {json.dumps(expected)[:200]}"


@pytest.fixture(scope="session")
def differences() -> Callable[[Any, Any], list[str]]:
    """Says where two things differ."""
    return lambda found, expected: list(_differences(found, expected))
