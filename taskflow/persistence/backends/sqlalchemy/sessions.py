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

    On SQLite the driver's cursor is used directly, unless somebody wants to see the statements: what lies between
    costs as much as the database itself.

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
        watched = (
            getattr(engine, "_has_events", True)
            or bool(engine.echo)
            or std_logging.getLogger("sqlalchemy.engine").isEnabledFor(std_logging.INFO)
        )
        self._handle: Any = None
        self._cursor: Any = None
        if self._sqlite and engine.dialect.driver == "pysqlite" and not watched:
            self._handle = self._connection.connection.dbapi_connection
            self._cursor = self._handle.cursor()
        # Which errors come from the driver itself.
        self.driver_error: Any = engine.dialect.loaded_dbapi.Error

    # -- transactions

    def begin(self, write: bool) -> None:
        """Starts a transaction."""
        if self._cursor is not None:
            if not self._handle.in_transaction:
                self._cursor.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            return
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
            if self._cursor is not None:
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
        return self.run_all(statement, [statement.parameters(values)])

    def run_all(self, statement: statements.Statement, parameters: list[Any]) -> int:
        """Runs a statement that changes rows for each of many parameters, and returns how many rows that were."""
        cursor = self._cursor
        if cursor is not None:
            if len(parameters) == 1:
                cursor.execute(statement.text, parameters[0])
            else:
                cursor.executemany(statement.text, parameters)
            return int(cursor.rowcount)
        run = self._connection.exec_driver_sql
        if len(parameters) == 1:
            return run(statement.text, parameters[0] or None).rowcount
        if self._dialect.supports_sane_multi_rowcount:
            return run(statement.text, parameters).rowcount
        return sum(run(statement.text, row).rowcount for row in parameters)

    def write_directly(self, batches: dict[statements.Statement, list[Any]]) -> bool:
        """Runs statements that each change one row for each of their parameters, in a transaction of their own.

        Only for a session that is `direct`. This is rows-and-transactions in one, for the sake of speed.

        Returns:
            Whether every statement found its row; if not, nothing was changed.
        """
        cursor = self._cursor
        try:
            cursor.execute("BEGIN IMMEDIATE")
            for statement, parameters in batches.items():
                if len(parameters) == 1:
                    cursor.execute(statement.text, parameters[0])
                else:
                    cursor.executemany(statement.text, parameters)
                if cursor.rowcount != len(parameters):
                    self.rollback()
                    return False
            self._handle.commit()
        except BaseException:
            self.rollback()
            raise
        return True

    @property
    def direct(self) -> bool:
        """Whether the driver's cursor is used directly."""
        return self._cursor is not None

    def as_sqlalchemy_error(self, error: BaseException) -> sa.exc.SQLAlchemyError:
        """Gives an error of the driver the class that SQLAlchemy has for it."""
        if isinstance(error, sa.exc.SQLAlchemyError):
            return error
        make: Any = sa.exc.DBAPIError.instance
        wrapped: sa.exc.SQLAlchemyError = make(None, None, error, self.driver_error, dialect=self._dialect)
        return wrapped

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
        cursor, self._cursor, self._handle = self._cursor, None, None
        if cursor is not None:
            cursor.close()
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
        held = self._held
        if held and held[0].pid == os.getpid() and held[0].direct:
            return held[0]
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
