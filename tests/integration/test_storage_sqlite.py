# SPDX-License-Identifier: Apache-2.0
"""Does a storage over an SQLite file keep what it is told, also when writing fails?"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from typing import Any

import pytest

from taskflow import engines, exceptions, retry, states, storage, task
from taskflow.patterns import linear_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.types import failure


def _nothing() -> None:
    return None


def t(name: str, provides: Any = None, version: Any = None) -> task.Task:
    return task.FunctorTask(_nothing, name=name, provides=provides, version=version)


def r(name: str, provides: Any = None) -> retry.Retry:
    return retry.AlwaysRevert(name, provides=provides)


def failed(text: str = "broken") -> failure.Failure:
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        return failure.Failure.from_exception(error)


class Database:
    """An SQLite file, the backend over it, and a plain second look at it."""

    def __init__(self, path: Any) -> None:
        self.path = path
        self.backends: list[Any] = []
        self.backend = self.another_backend()

    def another_backend(self) -> Any:
        """A backend with connections of its own, like that of another process."""
        made = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///{self.path}"})
        self.backends.append(made)
        connection = made.get_connection()
        connection.upgrade()
        connection.close()
        return made

    def close(self) -> None:
        for backend in self.backends:
            backend.close()

    def storage(self, *atoms: Any) -> storage.Storage:
        book = models.LogBook("book")
        detail = models.FlowDetail("flow", str(uuid.uuid4()))
        book.add(detail)
        connection = self.backend.get_connection()
        connection.save_logbook(book)
        connection.close()
        made = storage.Storage(detail, self.backend)
        made.ensure_atoms(atoms)
        return made

    def reloaded(self, old: storage.Storage, *atoms: Any) -> storage.Storage:
        backend = self.another_backend()
        connection = backend.get_connection()
        made = storage.Storage(connection.get_flow_details(old.flow_uuid), backend)
        connection.close()
        made.ensure_atoms(atoms)
        return made

    def rows(self, query: str) -> list[Any]:
        with sqlite3.connect(self.path) as connection:
            found = connection.execute(query).fetchall()
        connection.close()
        return found

    def run(self, statement: str) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement)
        connection.close()


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "flows.db")
    yield made
    made.close()


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(storage, "RETRY_WAIT_TIMEOUT", 0.01)


def detail_of(owner, name):
    return owner._flowdetail.find(owner.get_atom_uuid(name))


def test_everything_of_a_flow_survives(database):
    made = database.storage(t("a", "x", (2, 3)), t("b", ("y", "z")), r("r", "n"), t("c"))
    broken = failed()
    made.set_flow_state(states.RUNNING)
    made.update_flow_metadata({"m": {"deep": [1, 2]}})
    made.inject({"i": "injected", "none": None})
    made.inject_atom_args("c", {"own": 1}, transient=False)
    made.save("a", {"k": [1, "ü", None]})
    made.save("b", [1, 2])
    made.save("r", 42)
    made.save_retry_failure("r", "c", broken)
    made.save("r", 43)
    made.set_atom_intention("c", states.REVERT)
    made.save("c", broken, states.FAILURE)
    made.set_task_progress("c", 0.5, {"at": "half"})
    again = database.reloaded(made, t("a", "x", (9, 9)), t("b", ("y", "z")), r("r", "n"), t("c"))
    assert again.get_flow_state() == states.RUNNING
    assert again.flow_meta == {"m": {"deep": [1, 2]}}
    assert again.fetch_all() == {"i": "injected", "none": None, "x": {"k": [1, "ü", None]}, "y": 1, "z": 2, "n": 43}
    assert again.fetch_mapped_args({"p": "own"}, atom_name="c") == {"p": 1}
    assert again.get_atoms_states(["a", "c"]) == {
        "a": (states.SUCCESS, states.EXECUTE),
        "c": (states.FAILURE, states.REVERT),
    }
    assert detail_of(again, "a").version == "2.3"
    history = again.get_retry_history("r")
    assert list(history.provided_iter()) == [42, 43]
    assert [(name, one.matches(broken)) for name, one in history.outcomes_iter()] == [("c", True)]
    assert again.get_failures()["c"].matches(broken)
    assert again.get_failures()["c"].exception is None
    assert again.get_task_progress("c") == 0.5
    assert again.get_task_progress_details("c") == {"at_progress": 0.5, "details": {"at": "half"}}
    assert again.get_atom_uuid("a") == made.get_atom_uuid("a")


def test_the_file_holds_plain_json(database):
    made = database.storage(t("a"), r("r"))
    made.save("a", {"k": (1, 2)})
    made.save("r", 42)
    made.save_retry_failure("r", "a", failed())
    rows = {
        name: (kind, state, json.loads(results))
        for name, kind, state, results in database.rows("select name, atom_type, state, results from atomdetails")
    }
    assert rows["a"] == ("TASK_DETAIL", "SUCCESS", {"k": [1, 2]})
    kind, state, ((value, failures),) = rows["r"]
    assert (kind, state, value) == ("RETRY_DETAIL", "SUCCESS", 42)
    assert failures["a"]["exception_str"] == "broken"
    assert failures["a"]["exc_type_names"] == ["RuntimeError", "Exception"]


def test_every_change_is_in_the_file_when_the_call_returns(database):
    made = database.storage(t("a"))
    for change, column, wanted in (
        (lambda: made.set_atom_state("a", states.RUNNING), "state", "RUNNING"),
        (lambda: made.set_atom_intention("a", states.REVERT), "intention", "REVERT"),
        (lambda: made.save("a", 5), "results", "5"),
        (lambda: made.set_task_progress("a", 0.25), "meta", '{"progress": 0.25}'),
        (lambda: made.save("a", 6, states.REVERTED), "revert_results", "6"),
        (lambda: made.reset("a"), "state", "PENDING"),
    ):
        change()
        assert database.rows(f"select {column} from atomdetails") == [(wanted,)]
    made.set_flow_state(states.SUCCESS)
    made.update_flow_metadata({"m": 1})
    assert database.rows("select state, meta from flowdetails") == [("SUCCESS", '{"m": 1}')]


def test_values_keep_their_identity_until_they_are_loaded_again(database):
    made = database.storage(t("a", "x"))
    value = {1: (2, 3)}
    made.save("a", value)
    made.set_flow_state(states.RUNNING)
    made.inject({"i": value})
    made.set_task_progress("a", 0.5)
    assert made.get("a") is value
    assert made.fetch("x") is value
    assert made.fetch("i") is value
    assert database.reloaded(made).get("a") == {"1": [2, 3]}


def test_an_exception_is_kept_through_later_saves(database):
    made = database.storage(t("a"), t("b"))
    broken = failed()
    made.save("a", broken, states.FAILURE)
    made.set_task_progress("a", 0.5)
    made.set_flow_state(states.FAILURE)
    made.ensure_atom(t("c"))
    second = storage.Storage(made._flowdetail, made.backend)
    for one in (made, second):
        assert one.get_failures()["a"].exception is broken.exception
        assert one.get("a").exception is broken.exception


def test_the_live_detail_takes_over_atoms_that_another_process_added(database):
    made = database.storage(t("a"))
    other = database.reloaded(made)
    other.ensure_atom(t("b"))
    other.save("b", "of the other")
    assert [one.name for one in made._flowdetail] == ["a"]
    made.set_flow_state(states.RUNNING)
    assert sorted(one.name for one in made._flowdetail) == ["a", "b"]
    assert {one.name: one.results for one in made._flowdetail}["b"] == "of the other"


def test_a_flow_that_is_not_in_the_file(database):
    made = storage.Storage(models.FlowDetail("flow", str(uuid.uuid4())), database.backend)
    assert made.get_flow_state() == states.PENDING
    with pytest.raises(exceptions.NotFound):
        made.ensure_atom(t("a"))
    with pytest.raises(exceptions.NotFound):
        made.set_flow_state(states.RUNNING)


@pytest.mark.parametrize("value", [object(), 1j, {(1, 2): 3}], ids=["object", "complex", "tuple-key"])
@pytest.mark.parametrize("what", ["result", "metadata", "injected"])
def test_a_value_that_json_cannot_hold_is_refused_at_once(database, value, what):
    made = database.storage(t("a", "x"))
    made.save("a", "old")
    made.update_atom_metadata("a", {"m": "old"})
    made.inject({"i": "old"})
    write = {
        "result": lambda: made.save("a", value),
        "metadata": lambda: made.update_atom_metadata("a", {"m": value}),
        "injected": lambda: made.inject({"i": value}),
    }[what]
    began = time.monotonic()
    with pytest.raises(exceptions.StorageFailure) as caught:
        write()
    assert time.monotonic() - began < 2
    assert caught.value.__cause__ is not None
    for one in (made, database.reloaded(made, t("a", "x"))):
        assert one.fetch_all() == {"x": "old", "i": "old"}
        assert detail_of(one, "a").meta == {"m": "old"}
    made.save("a", "new")
    assert database.reloaded(made).get("a") == "new"


@pytest.fixture
def broken_table(database):
    """Lets every write of atoms and flows fail inside the database, until it is called with ``False``."""

    def switch(broken):
        for table in ("atomdetails", "flowdetails"):
            for event in ("insert", "update"):
                if broken:
                    database.run(
                        f"create trigger {table}_{event} before {event} on {table} "
                        "begin select raise(abort, 'no more writing'); end"
                    )
                else:
                    database.run(f"drop trigger {table}_{event}")

    return switch


WRITERS = {
    "save": lambda made: made.save("a", "new"),
    "failure": lambda made: made.save("a", failed(), states.FAILURE),
    "state": lambda made: made.set_atom_state("a", states.RUNNING),
    "intention": lambda made: made.set_atom_intention("a", states.REVERT),
    "reset": lambda made: made.reset("a"),
    "progress": lambda made: made.set_task_progress("a", 0.9, {"new": 1}),
    "metadata": lambda made: made.update_atom_metadata("a", {"m": "new", "n": "new"}),
    "flow state": lambda made: made.change_flow_state(states.SUCCESS),
    "flow metadata": lambda made: made.update_flow_metadata({"m": "new", "n": "new"}),
    "attempt": lambda made: made.save("r", "new"),
    "attempt failure": lambda made: made.save_retry_failure("r", "b", failed()),
    "history": lambda made: made.cleanup_retry_history("r", states.REVERTED),
    "inject": lambda made: made.inject({"i": "new", "j": "new"}),
    "ensure": lambda made: made.ensure_atoms([t("new", "w")]),
}


def _prepared(database):
    made = database.storage(t("a", "x"), t("b"), r("r", "y"))
    made.set_flow_state(states.RUNNING)
    made.update_flow_metadata({"m": "old"})
    made.save("a", "old")
    made.update_atom_metadata("a", {"m": "old"})
    made.set_task_progress("a", 0.5, {"old": 1})
    made.save("r", "old")
    made.inject({"i": "old"})
    return made


def _whole(made):
    atoms = {}
    for one in made._flowdetail:
        results = one.results
        if isinstance(one, models.RetryDetail):
            results = [(value, sorted(failures)) for value, failures in results]
        meta = dict(one.meta)
        atoms[one.name] = (one.state, one.intention, results, one.failure, one.revert_results, meta, one.version)
    return made.get_flow_state(), dict(made.flow_meta), atoms, made.fetch_all(), made.has_failures()


@pytest.mark.parametrize("writer", WRITERS)
def test_a_failing_write_keeps_the_old_values(database, broken_table, quick_retries, writer):
    made = _prepared(database)
    before = _whole(made)
    broken_table(True)
    with pytest.raises(exceptions.StorageFailure):
        WRITERS[writer](made)
    assert _whole(made) == before
    broken_table(False)
    assert _whole(database.reloaded(made, t("a", "x"), t("b"), r("r", "y"))) == before
    WRITERS[writer](made)
    changed = _whole(made)
    assert changed != before
    atoms = [t("a", "x"), t("b"), r("r", "y"), *([t("new", "w")] if writer == "ensure" else [])]
    again = _whole(database.reloaded(made, *atoms))
    if writer != "failure":
        assert again == changed


def test_a_write_is_tried_again_while_the_database_is_locked(database, monkeypatch):
    """Another process holds the file for longer than one attempt waits, and for less than all of them."""
    monkeypatch.setattr(storage, "RETRY_WAIT_TIMEOUT", 0.2)
    monkeypatch.setattr(storage, "RETRY_ATTEMPTS", 20)
    database.backend.close()
    database.backend = impl_sqlalchemy.SQLAlchemyBackend(
        {"connection": f"sqlite:///{database.path}", "engine_args": {"connect_args": {"timeout": 0.05}}}
    )
    database.backends.append(database.backend)
    made = database.storage(t("a"))
    holder = sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)
    holder.execute("begin immediate")
    release = threading.Timer(0.5, holder.rollback)
    release.start()
    try:
        began = time.monotonic()
        made.save("a", 5)
        assert time.monotonic() - began > 0.3
    finally:
        release.join()
        holder.close()
    assert database.reloaded(made).get("a") == 5


def test_a_write_fails_when_the_database_stays_locked(database, quick_retries):
    database.backend.close()
    database.backend = impl_sqlalchemy.SQLAlchemyBackend(
        {"connection": f"sqlite:///{database.path}", "engine_args": {"connect_args": {"timeout": 0.02}}}
    )
    database.backends.append(database.backend)
    made = database.storage(t("a"))
    holder = sqlite3.connect(database.path, isolation_level=None)
    try:
        holder.execute("begin immediate")
        with pytest.raises(exceptions.StorageFailure):
            made.save("a", 5)
        assert made.get_atom_state("a") == states.PENDING
        holder.rollback()
    finally:
        holder.close()
    made.save("a", 6)
    assert database.reloaded(made).get("a") == 6


def test_threads_share_a_storage(database):
    made = database.storage(*[t(f"t{i}", f"x{i}") for i in range(20)])
    errors = []

    def work(i):
        try:
            made.set_atom_state(f"t{i}", states.RUNNING)
            made.save(f"t{i}", i)
            made.inject({f"n{i}": i})
            made.update_flow_metadata({f"m{i}": i})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    again = database.reloaded(made, *[t(f"t{i}", f"x{i}") for i in range(20)])
    assert again.fetch_all() == {**{f"x{i}": i for i in range(20)}, **{f"n{i}": i for i in range(20)}}
    assert again.flow_meta == {f"m{i}": i for i in range(20)}


class Double(task.Task):
    default_provides = "doubled"

    def execute(self, number):
        return 2 * number


class Break(task.Task):
    def execute(self, doubled):
        if doubled < 100:
            raise RuntimeError(f"only {doubled}")
        return doubled


def growing_flow():
    return linear_flow.Flow("flow", retry=retry.ForEach([1, 10, 60], "r", provides="number")).add(
        Double("double"), Break("break")
    )


def test_a_retried_flow_leaves_its_whole_history(database):
    book = models.LogBook("book")
    connection = database.backend.get_connection()
    connection.save_logbook(book)
    engine = engines.load(growing_flow(), book=book, backend=database.backend, engine="serial")
    engine.run()
    again = database.reloaded(engine.storage, *growing_flow())
    history = again.get_retry_history("r")
    assert list(history.provided_iter()) == [1, 10, 60]
    assert [(name, str(one.exception_str)) for name, one in history.outcomes_iter()] == [
        ("break", "only 2"),
        ("break", "only 20"),
    ]
    assert again.get_flow_state() == states.SUCCESS
    assert again.get("break") == 120
