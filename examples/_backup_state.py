# SPDX-License-Identifier: Apache-2.0
"""The state file: a SQLite database that remembers a backup's plan and how far it got, through crashes."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import sqlite3
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _backup_plan as plans
import _backup_tasks as tasks
import sqlalchemy.exc

from taskflow import exceptions, states
from taskflow.persistence import backends, models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taskflow.persistence import base

#: What reading or writing the database may raise.
ERRORS = (exceptions.StorageFailure, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)

#: The tables of a taskflow database; there may be more, of the tool that upgrades it.
TABLES = {"logbooks", "flowdetails", "atomdetails"}

#: With fewer bytes free than this, a database that cannot be written is short of space, whatever it says itself.
LITTLE = 32 * 1024


@dataclasses.dataclass(frozen=True)
class Row:
    """What is recorded of one task."""

    name: str
    state: str
    tries: int
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class Record:
    """What a state file says."""

    book_uuid: str
    flow_uuid: str
    flow_state: str | None
    plan: plans.Plan
    rows: tuple[Row, ...]

    @property
    def finished(self) -> bool:
        """Whether the backup was made."""
        return self.flow_state == states.SUCCESS

    @property
    def undone(self) -> bool:
        """Whether an earlier run failed and took everything back."""
        return self.flow_state == states.REVERTED

    def in_state(self, state: str) -> set[str]:
        """Return the names of the tasks in a state."""
        return {row.name for row in self.rows if row.state == state}


class StateFile:
    """A state file, held by one process at a time.

    Args:
        path: Where it is, or is to be.

    Raises:
        BadInputError: It cannot be used; it was left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_path(path)
        self.is_new = not path.exists()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise plans.BadInputError(
                f"cannot use the state file {plans.shown(path)}: {plans.reason(error)}"
            ) from error
        try:
            # A lock of this kind ends with the process, however that ends.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            message = f"the state file {plans.shown(path)} is in use by another run of this program"
            raise plans.BadInputError(message) from error

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def discard(self) -> None:
        """Remove the file, if it was this run that made it."""
        if self.is_new:
            for suffix in plans.DATABASE_SUFFIXES:
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def backend(self) -> Iterator[base.Backend]:
        """Yield the database, ready for use.

        Raises:
            CannotWriteError: The database refused something.
        """
        try:
            with backends.backend({"connection": f"sqlite:///{self.path}"}) as backend:
                yield backend
        except ERRORS as error:
            full = shutil.disk_usage(self.path.parent).free < LITTLE
            because = "no space left" if full else root_cause(error)
            message = f"cannot write the state file {plans.shown(self.path)}: {because}"
            raise plans.CannotWriteError(message) from error


class StorageLedger:
    """Keeps the tries of tasks, and their time, in the tasks' own records.

    Args:
        detail: The flow's record; what it says of earlier runs is continued.
        announce: Is told of each try: the task's name, and how many tries there were with this one.
    """

    def __init__(self, detail: models.FlowDetail, announce: Callable[[str, int], None]) -> None:
        self._announce = announce
        self._tries = {row.name: row.tries for row in rows(detail)}
        self._engine: Any = None

    def attach(self, engine: Any) -> None:
        """Begin to write to the records of an engine's flow."""
        self._engine = engine

    def started(self, name: str) -> None:
        """Count one more try."""
        self._tries[name] += 1
        self._engine.storage.update_atom_metadata(name, {"tries": self._tries[name]})
        self._announce(name, self._tries[name])

    def ended(self, name: str, seconds: float) -> None:
        """Record the time of the try that just ended."""
        self._engine.storage.update_atom_metadata(name, {"seconds": round(seconds, 3)})


def check_path(path: Path) -> None:
    """Make sure that there can be a state file of this name.

    Raises:
        BadInputError: There cannot.
    """
    if set("?%") & set(str(path)):
        raise plans.BadInputError(f"the path of the state file {plans.shown(path)} must be without '?' and '%'")
    if path.exists() and not path.is_file():
        raise plans.BadInputError(f"the state file {plans.shown(path)} is not a file")
    if not path.parent.is_dir():
        raise plans.BadInputError(f"there is no folder {plans.shown(path.parent)} to keep the state file in")


def root_cause(error: BaseException) -> str:
    """Return what the database itself had to say, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "no space left"
    return " ".join(str(original).split())


def rows(detail: models.FlowDetail) -> tuple[Row, ...]:
    """Return what a flow's record says of its tasks, in the order in which they are usually run."""
    found = {}
    for atom in detail:
        if atom.name in tasks.NAMES:
            meta = atom.meta or {}
            state = atom.state or states.PENDING
            found[atom.name] = Row(atom.name, state, int(meta.get("tries", 0)), meta.get("seconds"))
    return tuple(found.get(name, Row(name, states.PENDING, 0, None)) for name in tasks.NAMES)


def read(path: Path) -> Record | None:
    """Return what a state file says, or `None` if no run has begun with it yet.

    Raises:
        BadInputError: It is no database, or not one of this program; it was left as it is.
    """
    try:
        if not begun(path):
            return None
        return record(path)
    except (*ERRORS, exceptions.NotFound, LookupError, TypeError, ValueError) as error:
        raise plans.BadInputError(f"{plans.shown(path)} is not a state file of this program") from error


def begun(path: Path) -> bool:
    """Tell whether a run of this program is recorded in a file, without changing it or putting anything beside it.

    Raises:
        BadInputError: It is no database.
        LookupError: It is the database of something else.
    """
    beside = [suffix for suffix in plans.DATABASE_SUFFIXES[1:] if Path(f"{path}{suffix}").exists()]
    if not beside:
        return holds_run(path, path)
    # It was not closed properly. Opening it would repair it, and it may be none of our business: look at a copy.
    with tempfile.TemporaryDirectory(prefix="taskflow-backup-state-") as folder:
        copy = Path(folder, "copy.db")
        for suffix in ("", *beside):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        return holds_run(copy, path, options="")


def holds_run(database: Path, path: Path, options: str = "?mode=ro&immutable=1") -> bool:
    """Tell whether a run of this program is recorded in a database.

    Args:
        database: The file to look at.
        path: The file to name in an error.
        options: How SQLite opens it; by default so that it touches nothing.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}{options}", uri=True)) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(query)}
            if not tables >= TABLES:
                if tables - TABLES:
                    raise LookupError("other tables")
                return False
            names = [name for (name,) in connection.execute("SELECT name FROM logbooks")]
    except sqlite3.Error as error:
        raise plans.BadInputError(f"the state file {plans.shown(path)} is not a SQLite database") from error
    if names and names != [tasks.FLOW]:
        raise LookupError("other flows")
    return bool(names)


def record(path: Path) -> Record:
    """Return what a state file of this program says.

    Raises:
        LookupError: It says something else.
    """
    backend = backends.fetch({"connection": f"sqlite:///{path}"})
    try:
        with contextlib.closing(backend.get_connection()) as connection:
            ((book, detail),) = [(book, detail) for book in connection.get_logbooks() for detail in book]
    finally:
        backend.close()
    if detail.name != tasks.FLOW:
        raise LookupError(tasks.FLOW)
    return Record(book.uuid, detail.uuid, detail.state, plans.Plan.from_dict(detail.meta["plan"]), rows(detail))


def begin(backend: base.Backend, plan: plans.Plan, identity: str) -> tuple[models.LogBook, models.FlowDetail]:
    """Record a plan, before anything is done; return the book and the flow's record in it."""
    book = models.LogBook(tasks.FLOW)
    detail = models.FlowDetail(tasks.FLOW, identity)
    detail.meta = {"plan": plan.to_dict()}
    book.add(detail)
    with contextlib.closing(backend.get_connection()) as connection:
        connection.save_logbook(book)
    return book, detail


def find(backend: base.Backend, known: Record, plan: plans.Plan) -> tuple[models.LogBook, models.FlowDetail]:
    """Return the book and the flow's record of an earlier run, with its plan brought up to date."""
    with contextlib.closing(backend.get_connection()) as connection:
        book = connection.get_logbook(known.book_uuid)
        detail = book.find(known.flow_uuid)
        if detail is None:
            raise exceptions.NotFound(f"flow {known.flow_uuid} has vanished from its book")
        if plan != known.plan:
            detail.meta = {**detail.meta, "plan": plan.to_dict()}
            connection.update_flow_details(detail)
    return book, detail


def new_identity() -> str:
    """Return a text that no other run has."""
    return str(uuid.uuid4())
