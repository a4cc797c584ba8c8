# SPDX-License-Identifier: Apache-2.0
"""How a database connection is taken, used for one transaction after the other, and given back."""

from __future__ import annotations

import logging as std_logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import pool as sa_pool

from taskflow.persistence.backends.sqlalchemy import batches, engines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskflow.persistence.backends.sqlalchemy import statements

# After so many idle seconds a connection goes through the pool again, which finds out whether it still works.
MAX_IDLE = 1.0

# Handles of a parent process. They must be neither used nor closed here: closing would act on the parent's files.
_INHERITED: list[Any] = []

# One lock for each engine whose connections are one and the same database handle.
_SHARED_HANDLE_LOCKS: weakref.WeakKeyDictionary[sa.Engine, Any] = weakref.WeakKeyDictionary()
_registry_lock = threading.Lock()


def lock_for(engine: sa.Engine) -> Any:
    """Returns the lock that users of an engine must share, or None if its connections are independent."""
    if not isinstance(engine.pool, sa_pool.StaticPool):
        return None
    with _registry_lock:
        return _SHARED_HANDLE_LOCKS.setdefault(engine, threading.RLock())


class Session:
    """A database connection in use.

    Drivers that are known are used directly, unless somebody wants to see the statements: what lies between costs as
    much as the database itself. On SQLite that is so for everything, else for units of work and for many rows.

    Args:
        engine: where to take the connection from.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.pid = os.getpid()
        self.used_at = time.monotonic()
        self._engine = engine
        self._dialect = engine.dialect
        self._connection = engine.connect()
        self._sqlite = engine.dialect.name == "sqlite"
        self._mysql = engine.dialect.name in {"mysql", "mariadb"}
        # How many bytes a message to MySQL may have, once that is known.
        self._limit: int | None = None
        watched = (
            getattr(engine, "_has_events", True)
            or bool(engine.echo)
            or std_logging.getLogger("sqlalchemy.engine").isEnabledFor(std_logging.INFO)
        )
        self._handle: Any = None
        # SQLite's cursor; other drivers have theirs beside it, and a way to use it.
        self._cursor: Any = None
        self._batches: batches.PostgreSQL | batches.MySQL | None = None
        self._batch_cursor: Any = None
        self._outside = False
        if not watched:
            handle: Any = self._connection.connection.dbapi_connection
            if self._sqlite and engine.dialect.driver == "pysqlite":
                self._handle = handle
                self._cursor = handle.cursor()
            elif not self._sqlite:
                self._batches = batches.for_driver(engine.dialect, handle)
                self._handle = handle
        # Whether the driver's cursor is used for units of work.
        self.direct = self._cursor is not None or self._batches is not None
        if not self._sqlite and self._commits_by_itself():
            # A transaction would be none.
            self._connection = self._connection.execution_options(isolation_level="READ COMMITTED")
        # Which errors come from the driver itself.
        self.driver_error: Any = engine.dialect.loaded_dbapi.Error

    def _commits_by_itself(self) -> bool:
        given: Any = getattr(self._connection.connection.dbapi_connection, "autocommit", False)
        if callable(given):
            given = self._connection.connection.dbapi_connection.get_autocommit()  # type: ignore[union-attr]
        return given is True

    def _step_outside(self, outside: bool) -> None:
        """Leaves transactions to statements, or takes them back from them."""
        if self._outside is not outside:
            if self._mysql:
                self._handle.autocommit(outside)
            else:
                self._handle.autocommit = outside
            self._outside = outside

    # -- transactions

    def begin(self, write: bool) -> None:
        """Starts a transaction."""
        if self._cursor is not None:
            if not self._handle.in_transaction:
                self._cursor.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            return
        self._step_outside(False)
        self._connection.begin()
        if self._sqlite and not getattr(self._connection.connection.dbapi_connection, "in_transaction", False):
            # The driver would start it at the first change only; two processes that read before they change would then
            # fail each other instead of waiting.
            self._connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    def commit(self) -> None:
        """Ends the transaction and makes its changes last."""
        if self._cursor is not None:
            self._handle.commit()
        else:
            self._connection.commit()

    def rollback(self) -> None:
        """Ends the transaction and undoes its changes; if even that fails, the error before it is what matters."""
        try:
            if self._cursor is not None or (self._handle is not None and not self._connection.in_transaction()):
                self._handle.rollback()
            else:
                self._connection.rollback()
        except (sa.exc.SQLAlchemyError, self.driver_error):
            pass

    # -- statements

    def rows(self, statement: statements.Statement, *values: Any) -> Sequence[Any]:
        """Runs a statement that reads and returns all rows."""
        parameters = statement.parameters(values)
        if self._cursor is not None:
            rows: Sequence[Any] = self._cursor.execute(statement.text, parameters).fetchall()
            return rows
        return self._connection.exec_driver_sql(statement.text, parameters).fetchall()

    def run(self, statement: statements.Statement, *values: Any) -> int:
        """Runs a statement that changes rows and returns how many."""
        return self.run_all(statement, [values])

    def run_all(self, statement: statements.Statement, rows: Sequence[Sequence[Any]]) -> int:
        """Runs a statement that changes rows for each of many rows of values, and returns how many rows that were."""
        cursor = self._cursor
        if cursor is not None:
            if not statement.as_is:
                rows = [statement.parameters(row) for row in rows]
            if len(rows) == 1:
                cursor.execute(statement.text, rows[0])
            else:
                cursor.executemany(statement.text, rows)
            return int(cursor.rowcount)
        portions = batches.in_portions(rows, self._largest_message)
        return sum([self._run_some(statement, portion) for portion in portions])

    def _run_some(self, statement: statements.Statement, rows: Sequence[Sequence[Any]]) -> int:
        run = self._connection.exec_driver_sql
        if len(rows) == 1:
            return run(statement.text, statement.parameters(rows[0]) or None).rowcount
        if self._batches is not None and statement.kind:
            return self._batches.run_all(self._driver_cursor(), statement, rows)
        parameters = [statement.parameters(row) for row in rows]
        if self._dialect.supports_sane_multi_rowcount:
            return run(statement.text, parameters).rowcount
        return sum(run(statement.text, row).rowcount for row in parameters)

    def _largest_message(self) -> int | None:
        if self._limit is None and self._mysql:
            self._limit = int(self._connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one())
        return self._limit

    def _driver_cursor(self) -> Any:
        if self._batch_cursor is None:
            self._batch_cursor = self._handle.cursor()
        return self._batch_cursor

    def write_directly(self, unit: batches.Batches) -> bool:
        """Runs statements that each change one row for each of their parameters, in a transaction of their own.

        Only for a session that is `direct`. This is rows-and-transactions in one, for the sake of speed.

        Returns:
            Whether every statement found its row; if not, nothing was changed, and it has to be done in another way.
        """
        if self._batches is not None:
            try:
                self._step_outside(self._batches.in_one)
                done = self._batches.write(self._handle, self._driver_cursor(), unit)
            except BaseException:
                self.rollback()
                raise
            self.used_at = time.monotonic()
            return done
        cursor = self._cursor
        try:
            cursor.execute("BEGIN IMMEDIATE")
            for statement, rows in unit.items():
                if len(rows) == 1:
                    cursor.execute(statement.text, rows[0])
                else:
                    cursor.executemany(statement.text, rows)
                if cursor.rowcount != len(rows):
                    self.rollback()
                    return False
            self._handle.commit()
        except BaseException:
            self.rollback()
            raise
        return True

    def as_sqlalchemy_error(self, error: BaseException) -> sa.exc.SQLAlchemyError:
        """Gives an error of the driver the class that SQLAlchemy has for it."""
        if isinstance(error, sa.exc.SQLAlchemyError):
            return error
        make: Any = sa.exc.DBAPIError.instance
        lost = self._is_lost(error)
        wrapped: sa.exc.SQLAlchemyError = make(
            None, None, error, self.driver_error, connection_invalidated=lost, dialect=self._dialect
        )
        if lost and not self._sqlite and not self._connection.invalidated and not self._connection.closed:
            self._connection.invalidate(error)
        return wrapped

    def _is_lost(self, error: Any) -> bool:
        if self._sqlite:
            return False
        handle: Any = self._handle
        return bool(self._dialect.is_disconnect(error, handle, None)) or engines.is_gone(error)

    # -- keeping

    def may_be_kept(self) -> bool:
        """Tells whether this connection may be held between transactions without taking it away from others."""
        pool = self._engine.pool
        if isinstance(pool, sa_pool.QueuePool):
            return pool.checkedout() < pool.size()
        return self._sqlite and isinstance(pool, sa_pool.NullPool | sa_pool.StaticPool)

    def is_stale(self) -> bool:
        """Tells whether the server may have ended this connection meanwhile."""
        return not self._sqlite and time.monotonic() - self.used_at > MAX_IDLE

    def close(self) -> None:
        """Gives the connection back."""
        if self.pid != os.getpid():
            _INHERITED.append(self)
            return
        cursor = self._cursor or self._batch_cursor
        try:
            if not self._connection.invalidated:
                self._step_outside(False)
                if cursor is not None:
                    cursor.close()
        except self.driver_error as e:
            # It is broken, so nobody else may get it from the pool.
            self._connection.invalidate(e)
        self._cursor = self._batch_cursor = self._batches = self._handle = None
        self.direct = False
        self._connection.close()


class Keeper:
    """Holds a session between transactions, and lets go of it in time.

    Args:
        owner: when it is gone, or the process ends, the session is closed.
    """

    def __init__(self, owner: object) -> None:
        self._owner = weakref.ref(owner)
        self._held: list[Session] = []
        self._watched = False

    def take(self) -> Session | None:
        """Takes the held session out, if there is one that works in this process."""
        if not self._held:
            return None
        session = self._held.pop()
        if session.pid != os.getpid() or session.is_stale():
            session.close()
            return None
        return session

    def ready(self) -> Session | None:
        """Returns the held session, if there is one that can be used directly and at once."""
        for session in self._held:
            if session.direct and session.pid == os.getpid() and not session.is_stale():
                return session
        return None

    def keep(self, session: Session) -> None:
        """Holds a session."""
        if not self._watched:
            owner = self._owner()
            if owner is not None:
                weakref.finalize(owner, _close_all, self._held)
                self._watched = True
        if not session._sqlite:
            session.used_at = time.monotonic()
        self._held.append(session)

    def close(self) -> None:
        """Closes the held session, if there is one."""
        _close_all(self._held)


def _close_all(sessions: list[Session]) -> None:
    while sessions:
        sessions.pop().close()
