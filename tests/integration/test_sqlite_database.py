# SPDX-License-Identifier: Apache-2.0
"""What is particular to SQLite databases: files, modes, errors, processes, and options of the backend."""

import gc
import logging
import multiprocessing
import os
import sqlite3
import threading
import warnings

import pytest
import sqlalchemy as sa

from taskflow import exceptions as exc
from taskflow.persistence import backends, models
from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.persistence.backends.sqlalchemy import sessions, tables
from taskflow.types import failure as ft


def make_book():
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    for n in range(3):
        flow_detail.add(models.TaskDetail(f"t{n}", f"T{n}"))
    return book, flow_detail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "book.db"


@pytest.fixture
def open_backend(path):
    opened = []

    def open_it(**conf):
        backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///{path}", **conf})
        opened.append(backend)
        return backend

    yield open_it
    for backend in opened:
        backend.close()


@pytest.fixture
def stored(open_backend):
    backend = open_backend()
    connection = backend.get_connection()
    connection.upgrade()
    book, flow_detail = make_book()
    connection.save_logbook(book)
    yield connection, flow_detail
    connection.close()


def pragma(backend, name):
    with backend.engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def query(path, text, *values):
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(text, values).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


# -- options


def test_durable_by_default(open_backend):
    backend = open_backend()
    assert backend.durable is True
    backend.get_connection().upgrade()
    assert pragma(backend, "journal_mode") == "wal"
    assert pragma(backend, "synchronous") == 2
    assert pragma(backend, "busy_timeout") == 30_000


@pytest.mark.parametrize(
    ("conf", "name", "value"),
    [
        ({"sqlite_synchronous": "NORMAL"}, "synchronous", 1),
        ({"sqlite_synchronous": "off"}, "synchronous", 0),
        ({"sqlite_synchronous": "EXTRA"}, "synchronous", 3),
        ({"sqlite_journal_mode": "DELETE"}, "journal_mode", "delete"),
        ({"sqlite_journal_mode": "truncate"}, "journal_mode", "truncate"),
        ({"sqlite_busy_timeout": "1.5"}, "busy_timeout", 1500),
        ({"sqlite_busy_timeout": 0}, "busy_timeout", 0),
    ],
)
def test_less_can_be_asked_for(open_backend, conf, name, value):
    backend = open_backend(**conf)
    backend.get_connection().upgrade()
    assert pragma(backend, name) == value


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"sqlite_synchronous": "sometimes"}, "FULL, NORMAL, OFF, EXTRA"),
        ({"sqlite_journal_mode": "x"}, "WAL, DELETE, TRUNCATE"),
        ({"sqlite_busy_timeout": "soon"}, "seconds"),
        ({"sqlite_busy_timeout": -1}, "seconds"),
        ({"echo": "perhaps"}, "echo"),
        ({"checkin_yield": "2"}, "checkin_yield"),
        ({"log_statements": "nope"}, "log_statements"),
    ],
)
def test_bad_option_names_the_choices(open_backend, conf, words):
    with pytest.raises(ValueError, match=words):
        open_backend(**conf)


@pytest.mark.parametrize("conf", [{"idle_timeout": "soon"}, {"log_statements": True, "log_statements_level": "high"}])
def test_option_that_must_be_a_number(open_backend, conf):
    with pytest.raises(TypeError, match=list(conf)[-1]):
        open_backend(**conf)


@pytest.mark.parametrize("value", [True, False, None, "1", "T", "yes", "on", "0", "f", "NO", "off", 1, 0])
def test_boolean_option(open_backend, value):
    assert open_backend(checkin_yield=value).engine is not None


def test_configuration_is_not_modified(open_backend):
    conf = {"connection": "sqlite://?max_retries=3", "engine_args": {"echo": False}, "idle_timeout": "2.7"}
    before = {**conf, "engine_args": dict(conf["engine_args"])}
    impl_sqlalchemy.SQLAlchemyBackend(conf).close()
    assert conf == before


def test_options_in_the_address_do_not_reach_the_driver(path):
    address = f"sqlite:///{path}?max_retries=3&sqlite_synchronous=NORMAL&checkin_yield=no&timeout=7"
    for backend in (backends.fetch(address), impl_sqlalchemy.SQLAlchemyBackend({"connection": address})):
        assert backend._max_retries == 3
        assert pragma(backend, "synchronous") == 1
        assert pragma(backend, "busy_timeout") == 7000
        backend.close()


@pytest.mark.parametrize(("value", "retries"), [("3", 3), ("2.7", 2), ("x", 0), (None, 0)])
def test_number_of_retries(open_backend, value, retries):
    assert open_backend(max_retries=value)._max_retries == retries


def test_engine_arguments_win(open_backend):
    backend = open_backend(engine_args={"poolclass": sa.pool.StaticPool, "echo": False}, echo=True)
    assert isinstance(backend.engine.pool, sa.pool.StaticPool)
    assert not backend.engine.echo


def test_engines_for_files_and_memory(open_backend):
    assert isinstance(open_backend().engine.pool, sa.pool.NullPool)
    for address in (*impl_sqlalchemy.SQLITE_IN_MEMORY, "sqlite+pysqlite://", "sqlite://?max_retries=1"):
        backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": address})
        assert isinstance(backend.engine.pool, sa.pool.StaticPool)
        backend.close()


@pytest.mark.parametrize(
    ("conf", "error"),
    [
        ({}, KeyError),
        ({"connection": "sqlite"}, sa.exc.ArgumentError),
        ({"connection": "nosuchdialect://"}, sa.exc.ArgumentError),
        ({"connection": "sqlite+nosuchdriver://"}, sa.exc.ArgumentError),
        ({"connection": "sqlite://", "engine_args": {"nonsense": 1}}, TypeError),
    ],
)
def test_unusable_configurations(conf, error):
    with pytest.raises(error):
        impl_sqlalchemy.SQLAlchemyBackend(conf)


def test_statements_can_be_logged(open_backend, caplog):
    backend = open_backend(log_statements="yes", log_statements_level=logging.INFO)
    connection = backend.get_connection()
    with caplog.at_level(logging.INFO, logger="taskflow.persistence.backends.impl_sqlalchemy"):
        connection.upgrade()
        book, flow_detail = make_book()
        connection.save_logbook(book)
        connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "SEEN"})])
        connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "SEEN AGAIN"})])
    assert "INSERT INTO logbooks" in caplog.text
    assert "UPDATE atomdetails SET" in caplog.text
    assert "'SEEN AGAIN'" in caplog.text
    assert connection.get_atom_details("T1").state == "SEEN AGAIN"
    connection.close()


def test_connection_yields_when_returned(open_backend, monkeypatch):
    slept = []
    connection = open_backend(checkin_yield=True).get_connection()
    monkeypatch.setattr("time.sleep", slept.append)
    connection.validate()
    assert slept == [0]


# -- engines that are given


def test_given_engine_is_used_as_it_is_and_not_disposed(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/own.db", poolclass=sa.pool.QueuePool, pool_size=2)
    backend = impl_sqlalchemy.SQLAlchemyBackend({}, engine=engine)
    assert backend.engine is engine
    connection = backend.get_connection()
    connection.upgrade()
    book, flow_detail = make_book()
    connection.save_logbook(book)
    pool = engine.pool
    connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "A"})])
    assert pool.checkedout() == 1
    others = [backend.get_connection() for _ in range(3)]
    for other in others:
        other.write(flow_detail, [(flow_detail.find("T2"), {"state": "A"})])
    # One more might leave nothing for somebody who is not a holder.
    assert pool.checkedout() < 3
    backend.close()
    assert pool.checkedout() == 0
    assert engine.pool is pool
    assert connection.get_atom_details("T1").state == "A"
    engine.dispose()


@pytest.mark.parametrize("isolation_level", ["AUTOCOMMIT", "SERIALIZABLE", None])
def test_transactions_hold_whatever_the_isolation_level(open_backend, isolation_level):
    backend = open_backend(isolation_level=isolation_level)
    connection = backend.get_connection()
    connection.upgrade()
    book, flow_detail = make_book()
    connection.save_logbook(book)
    with pytest.raises(exc.NotFound):
        connection.write(
            flow_detail, [(flow_detail.find("T1"), {"state": "A"}), (models.TaskDetail("x", "X"), {"meta": {}})]
        )
    assert connection.get_atom_details("T1").state is None
    connection.close()


def test_engine_that_begins_transactions_itself(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/own.db", isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    connection = impl_sqlalchemy.SQLAlchemyBackend({}, engine=engine).get_connection()
    connection.upgrade()
    book, flow_detail = make_book()
    connection.save_logbook(book)
    for state in ("A", "B"):
        connection.write(flow_detail, [(flow_detail.find("T1"), {"state": state})])
    assert connection.get_atom_details("T1").state == "B"
    connection.close()


# -- what is written


def test_only_what_changes_is_written(path, stored):
    connection, flow_detail = stored
    before = query(path, "SELECT uuid, updated_at FROM atomdetails ORDER BY uuid")
    assert before == [("T0", None), ("T1", None), ("T2", None)]
    flow_detail.find("T1").state = "A"
    connection.update_flow_details(flow_detail)
    after = dict(query(path, "SELECT uuid, updated_at FROM atomdetails"))
    assert after["T1"] is not None
    assert (after["T0"], after["T2"]) == (None, None)
    assert query(path, "SELECT updated_at FROM flowdetails") == [(None,)]
    connection.write(flow_detail, [(flow_detail.find("T2"), {"meta": {"a": 1}})])
    ((state, meta, updated_at),) = query(path, "SELECT state, meta, updated_at FROM atomdetails WHERE uuid='T2'")
    assert (state, meta) == (None, '{"a": 1}')
    assert len(updated_at) == 26


def test_columns_that_do_not_change_may_hold_anything(path, stored):
    connection, flow_detail = stored
    query(path, "UPDATE atomdetails SET results = 'not json' WHERE uuid = 'T1'")
    connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "A"})])
    assert query(path, "SELECT results, state FROM atomdetails WHERE uuid = 'T1'") == [("not json", "A")]
    with pytest.raises(exc.StorageFailure, match="'t1'"):
        connection.get_atom_details("T1")


@pytest.mark.parametrize("null", [None, "null"])
def test_both_kinds_of_null_are_read(path, stored, null):
    connection, _ = stored
    for column in ("meta", "results", "failure", "revert_results", "revert_failure"):
        query(path, f"UPDATE atomdetails SET {column} = ? WHERE uuid = 'T1'", null)
    read = connection.get_atom_details("T1")
    assert (read.meta, read.results, read.failure, read.revert_results, read.revert_failure) == (
        {},
        None,
        None,
        None,
        None,
    )


def test_parents_are_indexed(path, stored):
    plan = query(path, "EXPLAIN QUERY PLAN SELECT * FROM atomdetails WHERE parent_uuid = 'F'")
    assert "USING INDEX atomdetails_parent_uuid_idx" in str(plan)


@pytest.mark.parametrize(
    "value", [object(), {(1, 2): 3}, b"\xff", threading.Lock()], ids=lambda value: type(value).__name__
)
def test_value_that_can_not_be_encoded_is_refused_for_good(path, stored, value):
    connection, flow_detail = stored
    task = flow_detail.find("T1")
    other = flow_detail.find("T2")

    def save_with(update):
        clone = task.copy()
        clone.results = value
        whole = flow_detail.copy()
        whole.add(clone)
        update(clone, whole)

    def save_book(_clone, whole):
        book = models.LogBook("b", "B")
        book.add(whole)
        connection.save_logbook(book)

    attempts = [
        lambda: connection.write(flow_detail, [(other, {"state": "A"}), (task, {"results": value})]),
        lambda: save_with(lambda clone, _whole: connection.update_atom_details(clone)),
        lambda: save_with(lambda _clone, whole: connection.update_flow_details(whole)),
        lambda: save_with(save_book),
    ]
    for attempt in attempts:
        with pytest.raises(exc.StorageFailure, match=r"'t1'.*'results'") as caught:
            attempt()
        assert caught.value.permanent is True
        assert caught.value.atom_uuid == "T1"
        assert isinstance(caught.value.cause, ValueError | TypeError)
        assert caught.value.__cause__ is caught.value.cause
    assert query(path, "SELECT DISTINCT state, results FROM atomdetails") == [(None, None)]
    with pytest.raises(exc.StorageFailure, match=r"'f'.*'meta'") as caught:
        connection.write(flow_detail, [(flow_detail, {"meta": {"x": value}})])
    assert (caught.value.permanent, caught.value.atom_uuid) == (True, None)


@pytest.mark.parametrize("held", [False, True])
def test_value_that_is_too_large_is_refused_for_good(stored, held):
    connection, flow_detail = stored

    def limit(handle, _record):
        handle.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)

    connection.backend.close()
    sa.event.listen(connection.backend.engine, "connect", limit)
    if held:
        connection.write(flow_detail, [(flow_detail.find("T0"), {"state": "A"})])
    first, second, third = flow_detail
    changes = [(detail, {"results": "x" * size}) for detail, size in ((first, 9_000), (second, 11_000), (third, 5))]
    added = models.TaskDetail("n", "N")
    added.meta = {"x": "x" * 11_000}
    for changed, new, culprit in (
        (changes, [], "T1"),
        (changes[1:2], [], "T1"),
        ([(flow_detail, {"state": "X"}), *changes], [], "T1"),
        (changes[:1], [models.TaskDetail("m", "M"), added], "N"),
    ):
        with pytest.raises(exc.StorageFailure, match="can not be stored") as caught:
            connection.write(flow_detail, changed, new)
        assert caught.value.permanent is True
        assert caught.value.atom_uuid == culprit
        assert {ad.results for ad in connection.get_atoms_for_flow("F")} == {None}
    second.results = "x" * 11_000
    with pytest.raises(exc.StorageFailure, match="'t1'") as caught:
        connection.update_flow_details(flow_detail)
    assert (caught.value.permanent, caught.value.atom_uuid) == (True, "T1")


def test_strange_arguments_of_an_exception_do_not_lose_the_failure(stored):
    connection, flow_detail = stored
    try:
        raise ValueError("text", lock := threading.Lock())
    except ValueError:
        failure = ft.Failure()
    task = flow_detail.find("T1")
    connection.write(flow_detail, [(task, {"failure": failure, "state": "FAILURE"})])
    read = connection.get_atom_details("T1").failure
    assert read.exception_args == ("text", repr(lock))
    assert read.check(ValueError) is ValueError
    task.failure = failure
    connection.update_atom_details(task)
    assert connection.get_atom_details("T1").failure.exception_str == failure.exception_str


def test_version_must_be_text(stored):
    connection, flow_detail = stored
    with pytest.raises(exc.StorageFailure):
        connection.write(flow_detail, [(flow_detail.find("T1"), {"version": (1, 2)})])
    assert connection.get_atom_details("T1").version is None


# -- the connection that is kept


def test_connection_is_kept_between_units_of_work_only(stored, monkeypatch):
    connection, flow_detail = stored
    made = []
    connect = sa.Engine.connect
    monkeypatch.setattr(sa.Engine, "connect", lambda self: made.append(1) or connect(self))
    connection.get_logbook("B")
    connection.get_logbook("B")
    assert len(made) == 2
    for n in range(5):
        connection.write(flow_detail, [(flow_detail.find("T1"), {"state": f"S{n}"})])
        assert connection.get_atom_details("T1").state == f"S{n}"
        assert flow_detail.find("T1").state is None
    assert len(made) == 3
    connection.close()
    connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "again"})])
    assert len(made) == 4


def test_nothing_stays_behind_after_closing(path, stored):
    connection, flow_detail = stored
    connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "A"})])
    connection.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["book.db"]
    connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "B"})])
    connection.backend.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["book.db"]
    assert connection.get_atom_details("T1").state == "B"


def test_forgotten_connection_is_released(path, open_backend, stored):
    _, flow_detail = stored
    backend = open_backend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connection = backend.get_connection()
        connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "A"})])
        del connection
        gc.collect()
    assert [entry.name for entry in path.parent.iterdir()] == ["book.db"]


def test_connection_recovers_from_errors(path, stored):
    connection, flow_detail = stored
    task = flow_detail.find("T1")
    connection.write(flow_detail, [(task, {"state": "A"})])
    query(path, "ALTER TABLE atomdetails RENAME TO elsewhere")
    for _ in range(2):
        with pytest.raises(exc.StorageFailure, match=r"book\.db") as caught:
            connection.write(flow_detail, [(task, {"state": "B"})])
        assert isinstance(caught.value.cause, sa.exc.OperationalError)
        assert isinstance(caught.value.cause.orig, sqlite3.OperationalError)
        assert caught.value.permanent is False
    for read in (
        lambda: connection.get_atom_details("T1"),
        lambda: list(connection.get_atoms_for_flow("F")),
        lambda: connection.get_logbook("B"),
        lambda: list(connection.get_logbooks()),
        lambda: connection.get_flow_details("F"),
        lambda: list(connection.get_flows_for_book("B")),
        lambda: connection.update_atom_details(task),
        lambda: connection.update_flow_details(flow_detail),
        lambda: connection.save_logbook(make_book()[0]),
        lambda: connection.destroy_logbook("B"),
        connection.clear_all,
    ):
        with pytest.raises(exc.StorageFailure) as caught:
            read()
        assert isinstance(caught.value.cause, sa.exc.OperationalError)
    query(path, "ALTER TABLE elsewhere RENAME TO atomdetails")
    connection.write(flow_detail, [(task, {"state": "C"})])
    assert connection.get_atom_details("T1").state == "C"


def test_interrupted_unit_of_work_is_undone(stored, monkeypatch):
    connection, flow_detail = stored
    task = flow_detail.find("T1")
    connection.write(flow_detail, [(task, {"state": "A"})])

    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(connection._reader, "others", interrupted)
    with pytest.raises(KeyboardInterrupt):
        connection.write(flow_detail, [(task, {"state": "B"}), (flow_detail, {"state": "B"})])
    monkeypatch.undo()
    assert connection.get_atom_details("T1").state == "A"
    connection.write(flow_detail, [(task, {"state": "C"})])
    assert connection.get_atom_details("T1").state == "C"


def test_network_connection_that_was_idle_goes_through_the_pool_again(monkeypatch):
    engine = sa.create_engine("sqlite://")
    session = sessions.Session(engine)
    assert not session.is_stale()
    session._sqlite = False
    session.used_at -= 2 * sessions.MAX_IDLE
    assert session.is_stale()
    session.close()
    engine.dispose()


# -- files that are no good


def test_file_that_is_no_database(path, open_backend):
    path.write_text("This is a letter, and not a short one: it goes on for more than sixteen bytes.")
    with pytest.raises(sa.exc.DatabaseError, match="not a database"):
        open_backend().get_connection()
    assert [entry.name for entry in path.parent.iterdir()] == ["book.db"]


def test_file_in_a_folder_that_does_not_exist(tmp_path):
    backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///{tmp_path}/no/book.db"})
    with pytest.raises(sa.exc.OperationalError, match="unable to open"):
        backend.get_connection()
    backend.close()


def test_database_that_breaks_later(path, open_backend, stored):
    connection, flow_detail = stored
    connection.close()
    path.write_bytes(b"no longer a database" * 100)
    with pytest.raises(exc.StorageFailure, match=r"book\.db") as caught:
        connection.write(flow_detail, [(flow_detail.find("T1"), {"state": "A"})])
    assert isinstance(caught.value.cause, sa.exc.DatabaseError)
    assert [entry.name for entry in path.parent.iterdir()] == ["book.db"]


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_database_that_may_only_be_read(path, stored, journal_mode):
    connection, flow_detail = stored
    connection.backend.close()
    query(path, f"PRAGMA journal_mode={journal_mode}")
    read_only = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///file:{path}?mode=ro&uri=true"})
    reader = read_only.get_connection()
    reader.upgrade()
    assert reader.get_flow_details("F").name == "f"
    with pytest.raises(exc.StorageFailure) as caught:
        reader.write(flow_detail, [(flow_detail.find("T1"), {"state": "A"})])
    assert "readonly" in str(caught.value.cause)
    read_only.close()
    if journal_mode == "delete":
        # In the other mode, SQLite itself can not clean up after somebody who may only read.
        assert [entry.name for entry in path.parent.iterdir()] == ["book.db"]


def test_missing_index_does_not_keep_readers_out(path, stored):
    connection, _ = stored
    connection.backend.close()
    query(path, "DROP INDEX atomdetails_parent_uuid_idx")
    query(path, "PRAGMA journal_mode=delete")
    read_only = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///file:{path}?mode=ro&uri=true"})
    reader = read_only.get_connection()
    reader.upgrade()
    assert len(reader.get_flow_details("F")) == 3
    read_only.close()


# -- several processes


def _spawned(path, number, done):
    backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///{path}"})
    connection = backend.get_connection()
    connection.upgrade()
    flow_detail = connection.get_flow_details("F")
    task = flow_detail.find(f"T{number}")
    for n in range(50):
        connection.write(flow_detail, [(task, {"state": f"S{n}"})])
        task.state = f"S{n}"
        if n % 10 == 0:
            connection.update_flow_details(flow_detail.copy(retain_contents=False))
    connection.close()
    backend.close()
    done.put(number)


def test_processes_wait_for_each_other(path, stored):
    stored[0].close()
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    processes = [context.Process(target=_spawned, args=(path, n, done)) for n in range(2)]
    for process in processes:
        process.start()
    assert sorted(done.get(timeout=60) for _ in processes) == [0, 1]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert {ad.uuid: ad.state for ad in stored[0].get_atoms_for_flow("F")} == {"T0": "S49", "T1": "S49", "T2": None}


def _upgrading(path, start, done):
    backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///{path}"})
    start.wait(30)
    try:
        backend.get_connection().upgrade()
        done.put(None)
    except Exception as e:
        done.put(repr(e))
    backend.close()


def test_processes_upgrade_at_the_same_time(path):
    context = multiprocessing.get_context("spawn")
    start, done = context.Event(), context.Queue()
    processes = [context.Process(target=_upgrading, args=(path, start, done)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    assert [done.get(timeout=60) for _ in processes] == [None] * 3
    for process in processes:
        process.join()


def test_forked_process_leaves_the_handle_of_its_parent_alone(path, stored):
    connection, flow_detail = stored
    one, other = flow_detail.find("T0"), flow_detail.find("T1")
    connection.write(flow_detail, [(one, {"state": "parent"})])
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about forking with threads
        child = os.fork()
    if child == 0:
        answer = b"failed"
        try:
            handle = connection._transactions.keeper._held[0]
            connection.write(flow_detail, [(other, {"state": "child"})])
            used_another = connection._transactions.keeper._held[0] is not handle
            connection.close()
            connection.backend.close()
            answer = b"fine" if used_another and handle in sessions._INHERITED else b"shared"
        finally:
            os.write(writer, answer)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"fine"
    os.waitpid(child, 0)
    connection.write(flow_detail, [(one, {"state": "parent again"})])
    assert [ad.state for ad in sorted(connection.get_atoms_for_flow("F"), key=lambda ad: ad.uuid)] == [
        "parent again",
        "child",
        None,
    ]


def test_what_is_kept_does_not_keep_others_from_writing(open_backend, stored):
    connection, flow_detail = stored
    connection.write(flow_detail, [(flow_detail.find("T0"), {"state": "A"})])
    other = open_backend(sqlite_busy_timeout=0).get_connection()
    other.write(flow_detail, [(flow_detail.find("T1"), {"state": "B"})])
    connection.write(flow_detail, [(flow_detail.find("T0"), {"state": "C"})])
    assert {ad.state for ad in other.get_atoms_for_flow("F")} == {"B", "C", None}
    other.close()


def test_locked_database_is_reported_after_the_timeout(path, open_backend, stored):
    _, flow_detail = stored
    connection = open_backend(sqlite_busy_timeout=0.05).get_connection()
    holder = sqlite3.connect(path)
    try:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(exc.StorageFailure) as caught:
                connection.write(flow_detail, [(flow_detail.find("T0"), {"state": "A"})])
            assert "locked" in str(caught.value.cause)
    finally:
        holder.close()
    connection.write(flow_detail, [(flow_detail.find("T0"), {"state": "B"})])
    assert connection.get_atom_details("T0").state == "B"
    connection.close()


# -- reaching the database


def test_first_connection_tries_the_database_once(open_backend, monkeypatch):
    backend = open_backend()
    tried = []
    monkeypatch.setattr(impl_sqlalchemy.Connection, "validate", lambda self, max_retries=0: tried.append(max_retries))
    backend.get_connection()
    backend.get_connection()
    assert tried == [0]
    backend.close()
    backend.get_connection()
    assert tried == [0, 0]


def unreachable(text):
    return sa.exc.OperationalError("SELECT", {}, Exception(text))


@pytest.mark.parametrize(
    ("error", "dialect", "again"),
    [
        (unreachable("(2003, 'no server')"), "sqlite", True),
        (unreachable("could not connect to server: refused"), "sqlite", True),
        (unreachable("connection to server at h failed: Connection refused"), "postgresql", True),
        (unreachable("password authentication failed for user"), "postgresql", False),
        (unreachable('database "x" does not exist'), "postgresql", False),
        (unreachable("unable to open database file"), "sqlite", False),
        (sa.exc.TimeoutError("x"), "sqlite", True),
        (sa.exc.ResourceClosedError("x"), "sqlite", True),
        (sa.exc.DisconnectionError("x"), "sqlite", True),
        (sa.exc.ProgrammingError("SELECT", {}, Exception("2003")), "sqlite", False),
    ],
)
def test_attempts_to_reach_the_database(open_backend, monkeypatch, caplog, error, dialect, again):
    connection = open_backend().get_connection()
    engine = connection.backend.engine
    waits, attempts = [], []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(engine.dialect, "name", dialect)

    def fail(_self):
        attempts.append(1)
        raise error

    monkeypatch.setattr(sa.Engine, "connect", fail)
    with caplog.at_level(logging.WARNING), pytest.raises(type(error)) as caught:
        connection.validate(max_retries=3)
    assert caught.value is error
    assert len(attempts) == (3 if again else 1)
    assert waits == ([1, 2] if again else [])
    assert len(caplog.records) == len(attempts)
    attempts.clear()
    with pytest.raises(type(error)):
        connection.validate()
    assert len(attempts) == 1


# -- tables


def test_there_is_no_version_table(path, stored):
    assert {name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")} == {
        "logbooks",
        "flowdetails",
        "atomdetails",
    }


def test_tables_are_made_where_they_are_wanted():
    metadata = sa.MetaData()
    made = tables.fetch(metadata)
    assert made._fields == ("logbooks", "flowdetails", "atomdetails")
    assert set(metadata.tables) == set(made._fields)
    assert (tables.NAME_LENGTH, tables.UUID_LENGTH, tables.STATE_LENGTH, tables.VERSION_LENGTH) == (255, 64, 255, 64)


def test_tables_work_with_ordinary_statements():
    made = tables.fetch(metadata := sa.MetaData())
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(made.logbooks.insert().values(uuid="B", name="b", meta={"a": {1}}))
        row = connection.execute(sa.select(made.logbooks)).one()
        assert (row.meta, row.updated_at) == ({"a": [1]}, None)
        assert row.created_at is not None
        connection.execute(made.logbooks.update().values(meta=None))
        row = connection.execute(sa.select(made.logbooks)).one()
        assert row.meta is None
        assert row.updated_at >= row.created_at
    engine.dispose()


def test_json_columns_on_other_databases():
    from sqlalchemy.dialects import mysql, postgresql

    kind = tables.JSONType()
    assert str(kind.dialect_impl(postgresql.dialect()).impl.compile(postgresql.dialect())) == "JSON"
    assert str(kind.dialect_impl(mysql.dialect()).impl.compile(mysql.dialect())) == "TEXT"
    value = {"a": {1}}
    assert kind.process_bind_param(value, postgresql.dialect()) == {"a": [1]}
    assert kind.process_bind_param(value, mysql.dialect()) == '{"a": [1]}'
    assert kind.process_result_value('{"a": [1]}', mysql.dialect()) == {"a": [1]}
    assert kind.process_result_value({"a": [1]}, postgresql.dialect()) == {"a": [1]}
