# SPDX-License-Identifier: Apache-2.0
"""How do tests get a private PostgreSQL server and empty databases in it?"""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import servers_base as base

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DRIVERS = ("psycopg2", "psycopg")
# Debian keeps the programs of each version in a folder of its own, outside the path.
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")


def _program(name: str) -> str:
    return base.find_program(name, "postgresql", *_FOLDERS)


class PostgreSQL(base.Server):
    """A PostgreSQL server with its settings of durability as they come: every commit is on the disk.

    Anybody who reaches it is let in; it listens on 127.0.0.1 and on a socket in its folder.
    """

    user_name = "taskflow"
    # Does not wait until clients leave by themselves.
    stop_signal = signal.SIGINT

    def __init__(self) -> None:
        super().__init__("postgresql", base.server_user("postgres"))
        self.data = self.folder / "data"
        self._numbers = itertools.count(1)
        options = ["--username", self.user_name, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        base.run_program([_program("initdb"), *options, str(self.data)], self.folder / "initdb.log", self.user)

    def command(self) -> Sequence[str]:
        """Returns the program and its arguments."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "log_timezone": "UTC"}
        # In the folder, which is removed even if the server is killed.
        settings["dynamic_shared_memory_type"] = "mmap"
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [_program("postgres"), "-D", str(self.data), "-p", str(self.port), *options]

    def connect(self, database: str = "postgres") -> Any:
        """Connects with the driver alone; each statement is a transaction of its own."""
        import psycopg2

        handle = psycopg2.connect(host="127.0.0.1", port=self.port, user=self.user_name, dbname=database)
        handle.autocommit = True
        return handle

    def query(self, statement: str, *values: Any, database: str = "postgres") -> list[Any]:
        """Runs a statement on a new connection and returns the rows there are."""
        handle = self.connect(database)
        try:
            with handle.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            handle.close()

    def is_ready(self) -> bool:
        """Tells whether the server answers."""
        import psycopg2

        try:
            return self.query("select 1") == [(1,)]
        except psycopg2.Error:
            return False

    def url(self, database: str, driver: str = "psycopg2", socket: bool = False) -> str:
        """Returns the address of a database."""
        if socket:
            return f"postgresql+{driver}://{self.user_name}@/{database}?host={self.folder}&port={self.port}"
        return f"postgresql+{driver}://{self.user_name}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """Makes an empty database and returns its name."""
        name = f"db_{os.getpid()}_{next(self._numbers)}"
        self.query(f"create database {name}")
        return name

    def fresh(self, driver: str = "psycopg2", socket: bool = False) -> str:
        """Makes an empty database and returns its address."""
        return self.url(self.make_database(), driver, socket)

    def cut_connections(self, database: str) -> int:
        """Ends all other connections to a database and returns how many there were."""
        condition = "datname = %s and pid <> pg_backend_pid()"
        ended = self.query(f"select pg_terminate_backend(pid) from pg_stat_activity where {condition}", database)
        return len(ended)


@pytest.fixture(scope="session")
def _postgresql_of_session() -> Iterator[PostgreSQL]:
    try:
        with base.running(PostgreSQL) as server:
            yield server
    except base.Unavailable as e:
        pytest.fail(f"These tests need PostgreSQL. {e}", pytrace=False)


@pytest.fixture
def postgresql(_postgresql_of_session: PostgreSQL) -> PostgreSQL:
    """A running PostgreSQL server that tests share; take a database of your own by fresh()."""
    _postgresql_of_session.ensure()
    return _postgresql_of_session
