# SPDX-License-Identifier: Apache-2.0
"""How does one test run on every kind of database server, with every driver?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# The fixture of the server, and the driver.
KINDS = {"postgresql-psycopg2": ("postgresql", "psycopg2"), "postgresql-psycopg": ("postgresql", "psycopg")}
KINDS["mariadb-pymysql"] = ("mariadb", "pymysql")


class Database:
    """An empty database in a running server, and backends for it.

    Args:
        server: where it is.
        driver: with which backends reach it.
        name: of a database that is there already.
    """

    def __init__(self, server: Any, driver: str, name: str | None = None) -> None:
        self.server = server
        self.driver = driver
        self.is_postgresql = server.name == "postgresql"
        self.name = name or server.make_database()
        self.url = server.url(self.name, driver)
        self._opened: list[Any] = []

    def backend(self, **conf: Any) -> Any:
        """Makes a backend that is closed after the test."""
        from taskflow.persistence.backends import impl_sqlalchemy

        backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": self.url, **conf})
        self._opened.append(backend)
        return backend

    def connection(self, **conf: Any) -> Any:
        """Makes a connection of a backend of its own, with the tables in place."""
        connection = self.backend(**conf).get_connection()
        connection.upgrade()
        return connection

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Runs a statement through the driver alone, on a connection of its own."""
        return self.server.query(statement, *values, database=self.name)

    def cut(self) -> int:
        """Ends all connections to this database and returns how many there were."""
        return self.server.cut_connections(self.name)

    def empty(self) -> None:
        """Removes all records, and those who keep that from being done."""
        for last in (False, True):
            try:
                self._empty()
                return
            except Exception:
                if last:
                    raise
            self.server.ensure()
            self.cut()

    def _empty(self) -> None:
        handle = self.server.connect(self.name)
        try:
            cursor = handle.cursor()
            limits = ["lock_timeout = '2s'"]
            if not self.is_postgresql:
                limits = ["lock_wait_timeout = 2", "innodb_lock_wait_timeout = 2"]
            for limit in limits:
                cursor.execute(f"set {limit}")
            for table in ("atomdetails", "flowdetails", "logbooks"):
                cursor.execute(f"delete from {table}")
        finally:
            handle.close()

    def close(self) -> None:
        """Closes all backends."""
        for backend in self._opened:
            backend.close()


@pytest.fixture(params=list(KINDS))
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of each kind of server, reached by each driver."""
    server, driver = KINDS[request.param]
    database = Database(request.getfixturevalue(server), driver)
    yield database
    database.close()


_shared: dict[tuple[int, str], str] = {}


@pytest.fixture(params=list(KINDS))
def shared_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Likewise, with tables that are there already: they are emptied after each test, which is faster than new ones."""
    server_name, driver = KINDS[request.param]
    server = request.getfixturevalue(server_name)
    key = (server.port, request.param)
    database = Database(server, driver, _shared.get(key))
    if key not in _shared:
        database.connection()
        _shared[key] = database.name
    yield database
    database.close()
    database.empty()
