# SPDX-License-Identifier: Apache-2.0
"""What do database servers take, what not, and what is said then?"""

import datetime as dt
import logging
import math
import uuid

import pytest
import sqlalchemy as sa

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.types import failure as ft


def make_failure(*args):
    try:
        raise ValueError(*args)
    except ValueError:
        return ft.Failure()


@pytest.fixture
def database(shared_database):
    return shared_database


@pytest.fixture
def stored(database):
    """A connection, and a flow detail with two tasks and a retry that are stored."""
    connection = database.connection()
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    for detail in (models.TaskDetail("t1", "T1"), models.TaskDetail("t2", "T2"), models.RetryDetail("r", "R")):
        flow_detail.add(detail)
    connection.save_logbook(book)
    return connection, flow_detail


VALUES = [
    {"é": "𝄞", "%s": "%(x)s %", "quote": "'\"\\"},
    "nul \u0000 inside",
    "NaN and Infinity as texts",
    (1, [2.5, None, True], {3: 4}),
    dt.datetime(2020, 1, 2, 3, 4, 5),
    b"bytes",
    {uuid.UUID(int=1)},
    "x" * 200_000,
    None,
]
READ = [
    VALUES[0],
    VALUES[1],
    VALUES[2],
    [1, [2.5, None, True], {"3": 4}],
    "2020-01-02T03:04:05.000000",
    "bytes",
    ["00000000-0000-0000-0000-000000000001"],
    VALUES[7],
    None,
]


def test_values_come_back_as_json_has_them(stored):
    connection, flow_detail = stored
    task, other = flow_detail.find("T1"), flow_detail.find("T2")
    for value, read in zip(VALUES, READ, strict=True):
        # By every way in which values are written: whole details, one row, several rows.
        detail = connection.get_atom_details("T1")
        detail.results = value
        connection.update_atom_details(detail)
        assert connection.get_atom_details("T1").results == read
        connection.write(flow_detail, [(task, {"results": 0}), (flow_detail, {"state": "RUNNING"})])
        connection.write(flow_detail, [(task, {"results": value})])
        assert connection.get_atom_details("T1").results == read
        connection.write(flow_detail, [(task, {"results": [value]}), (other, {"results": value, "state": "S"})])
        connection.write(flow_detail, [(task, {"results": value}), (other, {"results": [value]})])
        assert connection.get_atom_details("T1").results == read
        assert connection.get_atom_details("T2").results == [read]
        added = models.TaskDetail("new", str(uuid.uuid4()))
        added.results = value
        connection.write(flow_detail, [], [added, models.TaskDetail("n", str(uuid.uuid4()))])
        assert connection.get_atom_details(added.uuid).results == read


def test_flow_metadata_may_be_long(stored):
    connection, flow_detail = stored
    connection.write(flow_detail, [(flow_detail, {"meta": {"k": "x" * 100_000}})])
    assert len(connection.get_flow_details("F").meta["k"]) == 100_000


@pytest.mark.parametrize("argument", [math.nan, {"x": [math.inf]}, object(), "nul \u0000", dt.timedelta(1), b"\xff"])
def test_odd_arguments_of_exceptions_do_not_lose_the_failure(stored, argument):
    connection, flow_detail = stored
    task, retry = flow_detail.find("T1"), flow_detail.find("R")
    failure = make_failure(argument, "boom")
    connection.write(flow_detail, [(task, {"failure": failure, "state": "FAILURE"})])
    connection.write(flow_detail, [(retry, {"results": [(1, {"t1": failure})]}), (task, {"revert_failure": failure})])
    for read in (
        connection.get_atom_details("T1").failure,
        connection.get_atom_details("T1").revert_failure,
        connection.get_atom_details("R").results[0][1]["t1"],
    ):
        assert read.check(ValueError)
        assert read.exception_str == failure.exception_str
        assert read.exception_args[1] == "boom"


def rows(database):
    columns = "uuid, state, intention, version, created_at, updated_at"
    texts = "meta::text, results::text" if database.is_postgresql else "meta, results"
    return database.query(f"select {columns}, {texts} from atomdetails order by uuid")


@pytest.mark.parametrize(
    ("fields", "everywhere"),
    [
        ({"results": math.nan}, False),
        ({"results": {"deep": [1, -math.inf]}}, False),
        ({"results": object()}, True),
        ({"results": {(1, 2): 3}}, True),
        ({"meta": {"x": complex(1)}}, True),
        ({"version": "9" * 65}, True),
        ({"intention": "PONDER"}, True),
        ({"state": "S" * 256}, True),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_refused_value_names_the_atom_and_nothing_changes(database, stored, fields, everywhere, held):
    connection, flow_detail = stored
    if not everywhere and not database.is_postgresql:
        connection.write(flow_detail, [(flow_detail.find("T2"), fields)])
        return
    if held:
        connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"})])
    before = rows(database)
    changes = [(flow_detail.find("T1"), {"state": "SUCCESS", "results": 1}), (flow_detail.find("T2"), fields)]
    with pytest.raises(exc.StorageFailure, match="'t2'") as caught:
        connection.write(flow_detail, changes)
    assert caught.value.permanent
    assert caught.value.atom_uuid == "T2"
    assert rows(database) == before
    connection.write(flow_detail, changes[:1])
    assert connection.get_atom_details("T1").results == 1


def refusing(connection, field, value):
    """All ways in which a value of T2 is written together with others."""
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    details = [models.TaskDetail("t1", "T1"), models.TaskDetail("t2", "T2"), models.RetryDetail("r", "R")]
    for detail in details:
        flow_detail.add(detail)
    for detail in details:
        setattr(detail, field, value if detail.uuid == "T2" else {"x": detail.name})
    book.add(flow_detail)
    changes = [(detail, {field: getattr(detail, field)}) for detail in details]
    return {
        "alone": lambda: connection.write(flow_detail, changes[1:2]),
        "together": lambda: connection.write(flow_detail, changes),
        "otherwise": lambda: connection.write(flow_detail, [(details[0], {"state": "S"}), changes[1]]),
        "with the flow": lambda: connection.write(flow_detail, [(flow_detail, {"state": "S"}), *changes]),
        "beside a new one": lambda: connection.write(flow_detail, changes, [models.TaskDetail("n", "N")]),
        "updated": lambda: connection.update_atom_details(details[1]),
        "updated with the flow": lambda: connection.update_flow_details(flow_detail),
        "saved with the book": lambda: connection.save_logbook(book),
    }


@pytest.mark.parametrize("shared_database", ["mariadb-pymysql"], indirect=True)
@pytest.mark.parametrize("field", ["meta", "revert_results"])
@pytest.mark.parametrize("way", list(refusing(None, "meta", None)))
@pytest.mark.parametrize("held", [False, True])
def test_text_that_is_too_long_for_a_column_of_mariadb_is_refused(database, stored, field, way, held):
    connection, flow_detail = stored
    if held:
        connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"})])
    before = rows(database)
    for _ in range(2):
        with pytest.raises(exc.StorageFailure, match=f"'t2'.*'{field}'") as caught:
            refusing(connection, field, {"x": "y" * 70_000})[way]()
        assert caught.value.permanent
        assert caught.value.atom_uuid == "T2"
        assert isinstance(caught.value.cause, sa.exc.DataError)
        assert rows(database) == before


@pytest.mark.parametrize("held", [False, True])
def test_no_atom_is_blamed_for_what_is_not_about_values(database, stored, held):
    connection, flow_detail = stored
    if held:
        connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"})])
    database.query("alter table atomdetails rename to elsewhere")
    try:
        for way, act in refusing(connection, "meta", {"x": 1}).items():
            with pytest.raises(exc.StorageFailure) as caught:
                act()
            assert caught.value.permanent, way
            assert caught.value.atom_uuid is None, way
    finally:
        database.cut()
        database.query("alter table elsewhere rename to atomdetails")
    for way, act in refusing(connection, "meta", {"x": 1}).items():
        act()
        assert connection.get_atom_details("T2").meta == {"x": 1}, way


@pytest.mark.parametrize("name", ["n" * 256, "surrogate \ud800"])
def test_refused_names(stored, name):
    connection, flow_detail = stored
    with pytest.raises(exc.StorageFailure, match="name") as caught:
        connection.write(flow_detail, [], [models.TaskDetail(name, "X")])
    assert caught.value.permanent
    with pytest.raises(exc.StorageFailure) as caught:
        connection.save_logbook(models.LogBook(name))
    assert caught.value.permanent
    assert len(list(connection.get_logbooks())) == 1


def test_names_are_compared_by_nobody(stored):
    """Names that a collation takes for the same are different atoms; the uuid decides."""
    connection, flow_detail = stored
    added = [models.TaskDetail(name, uuid) for name, uuid in (("Task", "X1"), ("task", "X2"), ("tásk", "X3"))]
    connection.write(flow_detail, [], added)
    connection.write(flow_detail, [(detail, {"results": detail.name}) for detail in added])
    assert [connection.get_atom_details(detail.uuid).results for detail in added] == ["Task", "task", "tásk"]


def test_failed_unit_of_work_changes_nothing(database, stored):
    connection, flow_detail = stored
    gone = models.TaskDetail("gone", "GONE")
    others = [(flow_detail.find(name), {"state": "SUCCESS", "results": 1}) for name in ("T1", "T2")]
    for held in (False, True):
        if held:
            connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"})])
        before = rows(database)
        for changes in (
            [*others, (gone, {"state": "SUCCESS", "results": 1})],
            [others[0], (gone, {"state": "RUNNING"})],
            [(gone, {"state": "RUNNING"})],
            [(gone, {"state": "RUNNING"}), (flow_detail, {"state": "SUCCESS"})],
        ):
            with pytest.raises(exc.NotFound, match="gone"):
                connection.write(flow_detail, changes)
            assert rows(database) == before
    assert database.query("select state from flowdetails") == [("RUNNING",)]


@pytest.mark.parametrize("count", [3, 49, 50, 51, 120])
def test_units_of_work_of_every_size(stored, count):
    connection, flow_detail = stored
    added = [models.TaskDetail(f"n{i}", f"N{i}") for i in range(count)]
    connection.write(flow_detail, [], added)
    for detail in added:
        flow_detail.add(detail)
    changes = [
        (detail, {"state": "RUNNING", "meta": {"i": i}} if i % 3 else {"results": i, "meta": {"r": i}})
        for i, detail in enumerate(added)
    ]
    assert connection.write(flow_detail, changes) == ()
    # The same again: rows that have their values already are found as well.
    assert connection.write(flow_detail, changes) == ()
    for i, detail in enumerate(connection.get_atom_details(f"N{i}") for i in range(count)):
        assert (detail.state, detail.meta, detail.results) == (
            ("RUNNING", {"i": i}, None) if i % 3 else (None, {"r": i}, i)
        )


# -- options


def test_options_reach_the_server(database, caplog):
    backend = database.backend(
        max_pool_size="3",
        max_overflow=1,
        pool_timeout="0.5",
        idle_timeout="2.7",
        log_statements=True,
        checkin_yield=True,
    )
    assert (backend.engine.pool.size(), backend.engine.pool._max_overflow, backend.engine.pool._timeout) == (3, 1, 0)
    assert backend.engine.pool._recycle == 2
    with caplog.at_level(1, impl_sqlalchemy.LOG.logger.name if hasattr(impl_sqlalchemy.LOG, "logger") else ""):
        connection = backend.get_connection()
        connection.upgrade()
        connection.save_logbook(models.LogBook("b", "B"))
    assert any("INSERT INTO logbooks" in record.getMessage() for record in caplog.records)
    held = [backend.engine.connect() for _ in range(4)]
    with pytest.raises(exc.StorageFailure, match="read log book"):
        connection.get_logbook("B")
    for one in held:
        one.close()
    assert connection.get_logbook("B").name == "b"


def level_of(database, backend):
    query = "show transaction isolation level" if database.is_postgresql else "select @@tx_isolation"
    with backend.engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar().upper().replace("-", " ")


@pytest.mark.parametrize(
    ("conf", "level"),
    [
        ({}, "READ COMMITTED"),
        ({"isolation_level": "SERIALIZABLE"}, "SERIALIZABLE"),
        ({"isolation_levels": {"postgresql": "REPEATABLE READ", "mysql": "REPEATABLE READ"}}, "REPEATABLE READ"),
        ({"engine_args": {"isolation_level": "SERIALIZABLE"}}, "SERIALIZABLE"),
    ],
)
def test_isolation_levels(database, conf, level):
    backend = database.backend(**conf)
    assert level_of(database, backend) == level
    connection = backend.get_connection()
    connection.upgrade()
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    task, other = models.TaskDetail("t", "T"), models.TaskDetail("u", "U")
    flow_detail.add(task)
    flow_detail.add(other)
    connection.save_logbook(book)
    connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"})])
    for i in range(3):
        connection.write(flow_detail, [(task, {"results": i}), (other, {"results": i, "state": "S"})])
        connection.write(flow_detail, [(flow_detail, {"meta": {"i": i}})])
    with pytest.raises(exc.NotFound):
        connection.write(flow_detail, [(task, {"results": 9}), (models.TaskDetail("x", "X"), {"results": 9})])
    assert connection.get_atom_details("T").results == 2
    connection.close()
    assert level_of(database, backend) == level


def test_engine_that_commits_by_itself_still_has_units_of_work(database):
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT")
    backend = impl_sqlalchemy.SQLAlchemyBackend({}, engine=engine)
    connection = backend.get_connection()
    connection.upgrade()
    book = models.LogBook("b", "B")
    flow_detail = models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    connection.save_logbook(book)
    gone = (models.TaskDetail("x", "X"), {"state": "S"})
    with pytest.raises(exc.NotFound):
        connection.write(flow_detail, [(flow_detail, {"state": "SUCCESS"}), gone])
    assert connection.get_flow_details("F").state is None
    connection.write(flow_detail, [(flow_detail, {"state": "SUCCESS"})])
    with pytest.raises(exc.NotFound):
        connection.write(flow_detail, [(flow_detail.find("T"), {"state": "S"}), gone])
    assert connection.get_atom_details("T").state is None
    connection.close()
    backend.close()
    # Given by the user, so it is the user's to dispose, and as it was.
    with engine.connect() as raw:
        assert raw.get_isolation_level() == "AUTOCOMMIT" or raw.connection.dbapi_connection.autocommit
    engine.dispose()


@pytest.mark.parametrize("shared_database", ["mariadb-pymysql"], indirect=True)
def test_sql_mode(database):
    for given, found in (("TRADITIONAL", True), ("", False)):
        with database.backend(mysql_sql_mode=given).engine.connect() as connection:
            assert ("STRICT_ALL_TABLES" in connection.exec_driver_sql("select @@sql_mode").scalar()) is found


def test_options_in_the_address(database):
    separator = "&" if "?" in database.url else "?"
    backend = impl_sqlalchemy.SQLAlchemyBackend(
        {"connection": f"{database.url}{separator}max_retries=2&max_pool_size=2&reconnect_timeout=1.5"}
    )
    backend.get_connection().upgrade()
    assert (backend._max_retries, backend.engine.pool.size(), backend._reconnect_timeout) == (2, 2, 1.5)
    backend.close()


def test_tables_are_made_once(database, monkeypatch):
    connection = database.connection()
    monkeypatch.setattr(sa, "Table", lambda *args, **kwargs: pytest.fail("a table was made anew"))
    monkeypatch.setattr(sa, "MetaData", lambda *args, **kwargs: pytest.fail("tables were made anew"))
    connection.save_logbook(models.LogBook("b", "B"))
    database.backend().get_connection().get_logbook("B")


def test_wrong_places(database, caplog):
    for url in (database.url + "_nowhere", database.url.replace("taskflow", "nobody", 1)):
        backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": url, "max_retries": 5})
        with caplog.at_level(logging.WARNING), pytest.raises(sa.exc.OperationalError):
            backend.get_connection()
        backend.close()
    # Not tried again: waiting does not help.
    assert len(caplog.records) == 2
