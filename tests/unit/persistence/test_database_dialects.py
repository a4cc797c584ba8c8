# SPDX-License-Identifier: Apache-2.0
"""How the database backend speaks to servers of different makes, without any server."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.persistence.backends.sqlalchemy import engines, statements, tables

ATOMS = tables.TABLES.atomdetails
MYSQL = mysql.dialect(paramstyle="format")
POSTGRES = postgresql.dialect(paramstyle="pyformat")
SQLITE = sqlite.dialect()


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize(("dialect", "mark"), [(MYSQL, "%s"), (SQLITE, "?")])
def test_parameters_by_position_follow_the_text(dialect, mark):
    statement = statements.Statements(dialect).update(ATOMS, ("results", "state"))
    assert (
        words(statement.text) == f"UPDATE atomdetails SET state={mark}, results={mark} WHERE atomdetails.uuid = {mark}"
    )
    assert statement.parameters(["R", "S", "U"]) == ("S", "R", "U")


def test_parameters_by_name():
    statement = statements.Statements(POSTGRES).update(ATOMS, ("results", "state"))
    assert statement.parameters(["R", "S", "U"]) == {"p_results": "R", "p_state": "S", "p_by": "U"}


def test_values_of_special_types_are_cast_on_postgresql():
    made = statements.Statements(POSTGRES)
    text = words(made.update(ATOMS, ("meta", "intention")).text)
    assert "meta=CAST(%(p_meta)s" in text
    assert "AS JSON)" in text
    assert "AS intention_type)" in text
    assert "CAST(atomdetails.meta AS TEXT)" in words(made.select(ATOMS, ("uuid", "meta"), by="uuid").text)


@pytest.mark.parametrize(("dialect", "null"), [(MYSQL, None), (SQLITE, None), (POSTGRES, "null")])
def test_missing_value_of_a_json_column(dialect, null):
    made = statements.Statements(dialect)
    detail = models.TaskDetail("t", "T")
    assert made.values(detail, ("results", "failure", "state", "meta")) == [null, null, None, "{}"]
    retry = models.RetryDetail("r", "R")
    retry.results = None
    assert made.values(retry, ("results",)) == ["[]"]


def test_times_are_text_on_sqlite_only():
    book = models.LogBook("b", "B")
    assert statements.Statements(MYSQL).values(book, ("created_at", "updated_at")) == [book.created_at, None]
    text = book.created_at.isoformat(" ", "microseconds")
    assert statements.Statements(SQLITE).values(book, ("created_at", "updated_at")) == [text, None]


def test_statements_are_made_once_for_a_dialect():
    made = statements.for_dialect(sqlite.dialect())
    assert statements.for_dialect(sqlite.dialect()) is made
    assert made.update(ATOMS, ("state",)) is made.update(ATOMS, ("state",))


@pytest.mark.parametrize(
    ("conf", "driver", "level"),
    [
        ({}, "mysql", "READ COMMITTED"),
        ({}, "mysql+pymysql", "READ COMMITTED"),
        ({}, "postgresql+psycopg2", "READ COMMITTED"),
        ({}, "sqlite", None),
        ({"isolation_level": "SERIALIZABLE"}, "sqlite", "SERIALIZABLE"),
        ({"isolation_levels": {"sql": "A", "mysql+pymysql": "B"}}, "mysql+pymysql", "B"),
        ({"isolation_levels": {"sql": "A", "my": "B"}}, "mysql", "A"),
        ({"isolation_levels": {}}, "mysql", None),
    ],
)
def test_isolation_level(conf, driver, level):
    assert engines._isolation_level(conf, driver) == level


def test_constants_that_programs_import():
    assert impl_sqlalchemy.MY_SQL_CONN_ERRORS == ("1047", "2006", "2003", "2002")
    assert impl_sqlalchemy.MY_SQL_GONE_WAY_AWAY_ERRORS == ("1927", "2006", "2013", "2014", "2045", "2055")
    assert impl_sqlalchemy.POSTGRES_CONN_ERRORS[-1] == "could not connect to server"
    assert len(impl_sqlalchemy.POSTGRES_GONE_WAY_AWAY_ERRORS) == 2
    assert impl_sqlalchemy.SQLITE_IN_MEMORY == ("sqlite://", "sqlite:///", "sqlite:///:memory:")
    assert set(impl_sqlalchemy.DEFAULT_TXN_ISOLATION_LEVELS.values()) == {"READ COMMITTED"}


class Handle:
    """A driver's connection whose server answers as told."""

    def __init__(self, error=None):
        self.error = error
        self.seen = []

    def cursor(self):
        return self

    def execute(self, *statement):
        self.seen.append(statement)
        if self.error is not None:
            raise self.error

    def fetchall(self):
        return [(1,)]

    def close(self):
        self.seen.append("closed")


def test_mysql_is_asked_before_a_connection_is_used():
    handle = Handle()
    engines._ping_mysql(handle, None, None)
    assert handle.seen == [("select 1",), "closed"]


@pytest.mark.parametrize("code", [2006, 2013, 2014, 2045, 2055, 1927])
def test_connection_that_mysql_has_ended_is_replaced(code):
    handle = Handle(RuntimeError(code, "gone"))
    with pytest.raises(sa.exc.DisconnectionError):
        engines._ping_mysql(handle, None, None)
    assert handle.seen[-1] == "closed"


@pytest.mark.parametrize("error", [RuntimeError(1064, "syntax"), RuntimeError()])
def test_other_errors_of_mysql_pass(error):
    with pytest.raises(RuntimeError) as caught:
        engines._ping_mysql(Handle(error), None, None)
    assert caught.value is error
