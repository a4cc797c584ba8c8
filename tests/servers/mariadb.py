# SPDX-License-Identifier: Apache-2.0
"""How do tests get a private MariaDB server and empty databases in it?"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
import servers_base as base

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DRIVERS = ("pymysql",)


def _program(name: str) -> str:
    return base.find_program(name, "mariadb-server")


class MariaDB(base.Server):
    """A MariaDB server with its settings of durability as they come: every commit is on the disk.

    It listens on 127.0.0.1 and on a socket in its folder.
    """

    user_name = "taskflow"
    password = "opened"

    def __init__(self) -> None:
        super().__init__("mariadb", base.server_user("mysql"))
        self.data = self.folder / "data"
        self.socket = self.folder / "socket"
        self._numbers = itertools.count(1)
        # Read at every start, so that the user is there even if an earlier start was interrupted.
        users = [
            f"CREATE USER IF NOT EXISTS '{self.user_name}'@'{host}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{self.user_name}'@'{host}' WITH GRANT OPTION;\n"
            for host in ("127.0.0.1", "localhost")
        ]
        (self.folder / "users.sql").write_text("".join(users))
        options = ["--no-defaults", f"--datadir={self.data}", "--skip-test-db", "--skip-name-resolve"]
        base.run_program([_program("mariadb-install-db"), *options], self.folder / "install.log", self.user)

    def command(self) -> Sequence[str]:
        """Returns the program and its arguments."""
        settings = {
            "datadir": self.data,
            "socket": self.socket,
            "pid-file": self.folder / "pid",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "init-file": self.folder / "users.sql",
        }
        return [_program("mariadbd"), "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]

    def connect(self, database: str | None = None) -> Any:
        """Connects with the driver alone; each statement is a transaction of its own."""
        import pymysql

        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user_name,
            password=self.password,
            database=database,
            autocommit=True,
        )

    def query(self, statement: str, *values: Any, database: str | None = None) -> list[Any]:
        """Runs a statement on a new connection and returns the rows there are."""
        handle = self.connect(database)
        try:
            with handle.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall())
        finally:
            handle.close()

    def is_ready(self) -> bool:
        """Tells whether the server answers."""
        import pymysql

        try:
            return self.query("select 1") == [(1,)]
        except (pymysql.Error, OSError):
            return False

    def url(self, database: str, driver: str = "pymysql", socket: bool = False) -> str:
        """Returns the address of a database."""
        user = f"{self.user_name}:{self.password}"
        if socket:
            return f"mysql+{driver}://{user}@localhost/{database}?unix_socket={self.socket}"
        return f"mysql+{driver}://{user}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """Makes an empty database and returns its name."""
        name = f"db_{os.getpid()}_{next(self._numbers)}"
        self.query(f"create database {name}")
        return name

    def fresh(self, driver: str = "pymysql", socket: bool = False) -> str:
        """Makes an empty database and returns its address."""
        return self.url(self.make_database(), driver, socket)

    def cut_connections(self, database: str) -> int:
        """Ends all other connections to a database and returns how many there were."""
        rows = self.query("select id from information_schema.processlist where db = %s", database)
        import pymysql

        for (number,) in rows:
            # It may have gone by itself meanwhile.
            with contextlib.suppress(pymysql.err.OperationalError):
                self.query(f"kill hard connection {number}")
        return len(rows)


@pytest.fixture(scope="session")
def _mariadb_of_session() -> Iterator[MariaDB]:
    try:
        with base.running(MariaDB) as server:
            yield server
    except base.Unavailable as e:
        pytest.fail(f"These tests need MariaDB. {e}", pytrace=False)


@pytest.fixture
def mariadb(_mariadb_of_session: MariaDB) -> MariaDB:
    """A running MariaDB server that tests share; take a database of your own by fresh()."""
    _mariadb_of_session.ensure()
    return _mariadb_of_session
