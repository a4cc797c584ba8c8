# SPDX-License-Identifier: Apache-2.0
"""How does a transaction begin and end, and what is told when it fails?"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence import base
from taskflow.persistence.backends.sqlalchemy import engines, repeats, sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from taskflow.persistence import models
    from taskflow.persistence.backends import impl_sqlalchemy
    from taskflow.persistence.backends.sqlalchemy import batches, writers

    _T = TypeVar("_T")

LOG = logging.getLogger(__name__)

# Errors that the same attempt meets again, however often it is made.
_PERMANENT = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.NotSupportedError, sa.exc.ProgrammingError)


def writing_to(flow_detail: models.FlowDetail) -> str:
    """Says what a unit of work does, in the words that follow "could not"."""
    return f"write to flow detail '{flow_detail.name}'"


class _Undone(Exception):
    """Ends a transaction of which nothing is to stay."""


class Transactions:
    """The transactions of one connection of the backend, one at a time.

    A database connection may be kept from one to the next, until close().

    Args:
        backend: where database connections come from.
    """

    def __init__(self, backend: impl_sqlalchemy.SQLAlchemyBackend) -> None:
        self._backend = backend
        self.lock = backend._shared_handle or threading.RLock()
        self.keeper = sessions.Keeper(self)

    def close(self) -> None:
        """Gives the database connection back; the next transaction takes one anew."""
        with self.lock:
            self.keeper.close()

    def failure(self, what: str, error: Exception, committing: bool = False) -> exc.StorageFailure:
        """Makes the error that says what could not be done.

        Args:
            what: that is.
            error: why.
            committing: whether it may have been done nevertheless.

        Returns:
            An error with more attributes: ``permanent`` (trying again does not help; then there is also ``atom_uuid``,
            which is None) and ``transient`` (nothing was changed, and it may work at once).
        """
        place = self._backend._engine.url.render_as_string(hide_password=True)
        failure: Any = exc.StorageFailure(f"Database {place} could not {what}", cause=error)
        failure.permanent = isinstance(error, _PERMANENT) or engines.is_about_values(error)
        if failure.permanent:
            failure.atom_uuid = None
        # Of a commit whose answer was lost nobody knows.
        lost = getattr(error, "connection_invalidated", False) and not committing
        failure.transient = lost or engines.is_conflict(getattr(error, "orig", None) or error)
        return failure  # type: ignore[no-any-return]

    def _open(self) -> sessions.Session:
        """Takes a connection, and waits a while for a server that is being restarted."""
        wait, give_up = 0.05, time.monotonic() + self._backend._reconnect_timeout
        while True:
            try:
                return sessions.Session(self._backend.engine)
            except sa.exc.OperationalError as e:
                dialect = self._backend._engine.dialect.name
                if dialect == "sqlite" or time.monotonic() + wait > give_up:
                    raise
                if not engines.is_worth_retrying(e, dialect):
                    raise
                LOG.debug("The database is out of reach, trying again", exc_info=True)
            time.sleep(wait)
            wait = min(2 * wait, 0.5)

    @contextlib.contextmanager
    def begin(self, what: str, write: bool, keep: bool = False) -> Iterator[sessions.Session]:
        """Has a transaction for as long as the context lasts, undone if that ends with an error.

        Args:
            what: is to be done, in the words that follow "could not".
            write: whether anything is to be changed.
            keep: whether the database connection is kept.

        Raises:
            StorageFailure: the database, or its driver, refused.
        """
        with self.lock:
            session: sessions.Session | None = None
            healthy = committing = False
            try:
                session = self.keeper.take()
                if session is None:
                    session = self._open()
                else:
                    keep = True
                try:
                    session.begin(write)
                    yield session
                    committing = write
                    session.commit()
                except BaseException:
                    session.rollback()
                    raise
                healthy = True
            except (exc.TaskFlowException, _Undone):
                healthy = session is not None
                raise
            except sa.exc.SQLAlchemyError as e:
                raise self.failure(what, e, committing) from e
            except (ValueError, OverflowError) as e:
                # Drivers refuse values in this way, too.
                raise self.failure(what, e) from e
            except Exception as e:
                if session is None or not isinstance(e, session.driver_error):
                    raise
                error = session.as_sqlalchemy_error(e)
                raise self.failure(what, error, committing) from error
            finally:
                if session is not None:
                    if keep and healthy and session.may_be_kept():
                        self.keeper.keep(session)
                        self._backend._holders.add(self)
                    else:
                        session.close()

    @repeats.repeated
    def read(self, what: str, read: Callable[[sessions.Session], _T]) -> _T:
        """Reads in a transaction."""
        with self.begin(what, write=False) as session:
            return read(session)

    @contextlib.contextmanager
    def save(self, what: str, writer: writers.Writer) -> Iterator[sessions.Session]:
        """Has a transaction whose writing is left to a writer.

        Raises:
            StorageFailure: of a value that the database did not take it says which atom has it.
        """
        try:
            with self.begin(what, write=True) as session:
                yield session
                writer.write(session)
        except exc.StorageFailure as e:
            self.explain(e, writer)
            raise

    def explain(self, failure: exc.StorageFailure, writer: writers.Writer) -> None:
        """Finds out, if a value was refused, whose it is: of many rows a database may not tell.

        Args:
            failure: what came of the attempt to write everything at once.
            writer: what was to be written.

        Raises:
            StorageFailure: it names the detail.
        """
        if failure.cause is None or not engines.is_about_values(failure.cause):
            return
        try:
            with self.begin("try values one by one", write=True) as session:
                writer.write_singly(session)
                raise _Undone
        except _Undone:
            return
        except exc.StorageFailure as e:
            if writer.trying is None or e.cause is None or not engines.is_about_values(e.cause):
                raise
            detail, fields = writer.trying
            raise base.unstorable(detail, ", ".join(fields), e.cause) from e.cause

    def write_directly(self, flow_detail: models.FlowDetail, unit: batches.Batches) -> bool:
        """Writes a unit of work through the kept session, if there is one that allows it.

        Args:
            flow_detail: whose atoms change.
            unit: the rows that statements change.

        Returns:
            Whether it was done; if not, nothing was changed, and begin() is the way.

        Raises:
            StorageFailure: the database refused.
        """
        with self.lock:
            session = self.keeper.ready()
            if session is None:
                return False
            try:
                return session.write_directly(unit)
            except (ValueError, OverflowError):
                return False
            except session.driver_error as e:
                error = session.as_sqlalchemy_error(e)
                self.keeper.close()
                # Statement and commit may have been one, so a lost answer may be that to a commit.
                failure: Any = self.failure(writing_to(flow_detail), error, committing=True)
            if failure.permanent or failure.transient:
                # In a transaction it fails again, and is then looked at; or it does not.
                return False
            raise failure from failure.cause
