# SPDX-License-Identifier: Apache-2.0
"""Which records does one of the libraries spoil, lose, or stumble over?"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import pathlib
import resource
import signal
from typing import TYPE_CHECKING, Any

import flows
import stage

from taskflow import engines, states, storage
from taskflow.persistence import backends, models

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def _connected(conf: dict[str, Any]) -> Iterator[Any]:
    with backends.backend(conf) as backend, contextlib.closing(backend.get_connection()) as connection:
        yield connection


def _prepared(connection: Any) -> Any:
    """A stored flow that nobody ran yet."""
    book = models.LogBook("ein Büch")
    detail = models.FlowDetail("decides", "a-flow")
    engines.save_factory_details(detail, "flows.decides", (), {})
    book.add(detail)
    return connection.save_logbook(book).find(detail.uuid)


def empty_injector(conf: dict[str, Any]) -> None:
    """Leaves a flow as a crash does between making the record of injected values and filling it."""
    with _connected(conf) as connection:
        detail = _prepared(connection)
        detail.add(models.TaskDetail(storage.Storage.injector_name, "an-injector"))
        connection.update_flow_details(detail)


def prepare(conf: dict[str, Any]) -> str:
    """Prepares the only flow to be run, and returns its state or why it can not be run."""
    with backends.backend(conf) as backend, contextlib.closing(backend.get_connection()) as connection:
        (detail,) = [detail for book in connection.get_logbooks() for detail in book]
        engine = engines.load_from_detail(detail, backend=backend)
        try:
            engine.compile()
            engine.prepare()
        except Exception as e:
            return type(e).__name__
        return str(engine.storage.get_flow_state())


def equal_names(conf: dict[str, Any]) -> int:
    """Asks for details of two tasks of one name, and returns how many there are."""
    with backends.backend(conf) as backend, contextlib.closing(backend.get_connection()) as connection:
        detail = _prepared(connection)

        storage.Storage(detail, backend).ensure_atoms([flows.Step("a"), flows.Step("a")])
        return len(connection.get_flow_details(detail.uuid))


def times(conf: dict[str, Any]) -> dict[str, Any]:
    """When the only book was changed last, when it is read with and without its flows."""
    with _connected(conf) as connection:
        (lazy,) = connection.get_logbooks(lazy=True)
        whole = connection.get_logbook(lazy.uuid)
        return {"lazily": stage.describe(lazy.updated_at), "whole": stage.describe(whole.updated_at)}


def look_up(conf: dict[str, Any], uuid: str) -> str:
    """Looks for a book, a flow and an atom that are not there."""
    with _connected(conf) as connection:
        for look in (connection.get_logbook, connection.get_flow_details, connection.get_atom_details):
            try:
                look(uuid)
            except Exception as e:
                found = type(e).__name__
        return found


def names(conf: dict[str, Any]) -> Any:
    """The names of all books, or the error with which they can not be listed."""
    with _connected(conf) as connection:
        try:
            return sorted(book.name for book in connection.get_logbooks())
        except Exception as e:
            return type(e).__name__


def destroy(conf: dict[str, Any]) -> None:
    """Removes all books, one by one."""
    with _connected(conf) as connection:
        for book in list(connection.get_logbooks(lazy=True)):
            connection.destroy_logbook(book.uuid)


def clear(conf: dict[str, Any]) -> None:
    """Removes all that there is."""
    with _connected(conf) as connection:
        connection.clear_all()


def save_again(conf: dict[str, Any]) -> str | None:
    """Stores a flow of which a library may have left a part, and returns its state or why it can not be stored."""
    with _connected(conf) as connection:
        try:
            detail = _prepared(connection)
        except Exception as e:
            return type(e).__name__
        detail.state = states.SUSPENDED
        connection.update_flow_details(detail)
        return str(connection.get_flow_details(detail.uuid).state)


def save(conf: dict[str, Any]) -> None:
    """Stores a flow with an atom."""
    with _connected(conf) as connection:
        detail = _prepared(connection)
        detail.add(models.TaskDetail("a", "an-atom"))
        connection.update_flow_details(detail)


def durations(conf: dict[str, Any]) -> dict[str, list[str]]:
    """Which durations are noted at which atoms."""
    with _connected(conf) as connection:
        (detail,) = [detail for book in connection.get_logbooks() for detail in book]
        return {atom.name: sorted(key for key in atom.meta if key.endswith("duration")) for atom in detail}


def save_far_away(conf: dict[str, Any]) -> None:
    """Stores a book that was made at a time with a fixed distance from UTC."""
    with _connected(conf) as connection:
        book = models.LogBook("far")
        book.created_at = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
        connection.save_logbook(book)


def fill(conf: dict[str, Any], uuid: str) -> str:
    """Changes an atom when there is no room for what it becomes, and returns how that fails."""
    with _connected(conf) as connection:
        detail = connection.get_atom_details(uuid)
        detail.put(states.SUCCESS, "x" * 50000)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, most))
        try:
            connection.update_atom_details(detail)
        except Exception as e:
            return type(e).__name__
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return "nothing fails"


def atom(conf: dict[str, Any], uuid: str) -> str | None:
    """The state of an atom, or the error with which it can not be read."""
    with _connected(conf) as connection:
        try:
            return connection.get_atom_details(uuid).state  # type: ignore[no-any-return]
        except Exception as e:
            return type(e).__name__


def read_again(conf: dict[str, Any], uuid: str) -> list[str | None]:
    """The states of an atom in a folder before and after another writes it within one tick of the clock of files."""
    path = pathlib.Path(conf["path"], "atom_details", uuid, "metadata")
    with _connected(conf) as connection, _connected(conf) as other:
        found = [connection.get_atom_details(uuid).state]
        before = path.stat()
        detail = other.get_atom_details(uuid)
        detail.put(states.SUCCESS, "changed")
        other.update_atom_details(detail)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        found.append(connection.get_atom_details(uuid).state)
    return found
