# SPDX-License-Identifier: Apache-2.0
"""The backend that keeps records in a database: SQLite, PostgreSQL, MySQL or MariaDB."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence import base, models, path_based
from taskflow.persistence.backends.sqlalchemy import (
    engines,
    reading,
    repeats,
    sessions,
    statements,
    surveys,
    tables,
    transactions,
    upgrades,
    writers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from taskflow.persistence import surveys as found

LOG = logging.getLogger(__name__)

MY_SQL_CONN_ERRORS = engines.MY_SQL_CONN_ERRORS
MY_SQL_GONE_WAY_AWAY_ERRORS = engines.MY_SQL_GONE_WAY_AWAY_ERRORS
POSTGRES_CONN_ERRORS = engines.POSTGRES_CONN_ERRORS
POSTGRES_GONE_WAY_AWAY_ERRORS = engines.POSTGRES_GONE_WAY_AWAY_ERRORS
SQLITE_IN_MEMORY = engines.SQLITE_IN_MEMORY
DEFAULT_TXN_ISOLATION_LEVELS = engines.DEFAULT_TXN_ISOLATION_LEVELS

_T = TypeVar("_T")


class SQLAlchemyBackend(base.Backend):
    """Keeps records in a database.

    Args:
        conf: the options: ``connection`` (the address), ``echo``, ``idle_timeout`` (seconds), ``max_pool_size``,
            ``max_overflow``, ``pool_timeout`` (seconds), ``isolation_level``, ``isolation_levels``, ``engine_args``,
            ``log_statements``, ``log_statements_level``, ``checkin_yield``, ``checkout_ping``, ``mysql_sql_mode``,
            ``max_retries``, and for SQLite files ``sqlite_journal_mode`` (WAL), ``sqlite_synchronous`` (FULL) and
            ``sqlite_busy_timeout`` (30 seconds).
        engine: use this engine as it is, instead of one made from the options.

    Raises:
        KeyError: there is neither an engine nor a ``connection``.
        TypeError, ValueError: an option has a value that it can not have.
        sqlalchemy.exc.ArgumentError: the address can not be understood.
        ModuleNotFoundError: the driver of the database is not installed.
    """

    def __init__(self, conf: dict[str, Any] | None, engine: sa.Engine | None = None) -> None:
        super().__init__(conf)
        self._owns_engine = engine is None
        self._engine = engines.make(self._conf, LOG) if engine is None else engine
        self._pid = os.getpid()
        self._validated = False
        self._upgrade_lock = threading.RLock()
        self._statements = statements.for_dialect(self._engine.dialect)
        self._shared_handle = sessions.lock_for(self._engine)
        self._holders: weakref.WeakSet[transactions.Transactions] = weakref.WeakSet()
        self._max_retries = 0
        with contextlib.suppress(TypeError):
            self._max_retries = engines.as_int(self._conf, "max_retries", self._retries_in_address())
        self._reconnect_timeout = engines.reconnect_timeout(self._conf)

    def _retries_in_address(self) -> Any:
        if not self._owns_engine:
            return 0
        return engines.split_options(self._conf)[0].get("max_retries", 0)

    @property
    def engine(self) -> sa.Engine:
        """The engine through which the database is reached."""
        if self._pid != os.getpid():
            # The connections in the pool are the parent process's; leave them to it.
            self._pid = os.getpid()
            if self._owns_engine and self._shared_handle is None:
                self._engine.dispose(close=False)
        return self._engine

    def get_connection(self) -> Connection:
        """Returns a connection; the first time, the database is tried.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database can not be reached.
        """
        connection = Connection(self, upgrade_lock=self._upgrade_lock)
        if not self._validated:
            connection.validate(max_retries=self._max_retries)
            self._validated = True
        return connection

    def close(self) -> None:
        """Releases all database connections; the backend and its connections can still be used."""
        for holder in list(self._holders):
            holder.close()
        if self._owns_engine:
            self.engine.dispose()
        self._validated = False


class Connection(base.Connection):
    """Reads and writes the records in a database.

    A database connection is kept between units of work (see write()), until close(). All threads may use it, one at a
    time.

    Args:
        backend: the backend that this connection belongs to.
        upgrade_lock: held while the tables are made or changed.
    """

    def __init__(self, backend: SQLAlchemyBackend, upgrade_lock: Any) -> None:
        self._backend = backend
        self._upgrade_lock = upgrade_lock
        self._statements = backend._statements
        self._reader = reading.Reader(self._statements)
        self._transactions = transactions.Transactions(backend)

    @property
    def backend(self) -> SQLAlchemyBackend:
        """The backend that this connection belongs to."""
        return self._backend

    def close(self) -> None:
        """Gives the database connection back; the next use takes one anew."""
        self._transactions.close()

    def validate(self, max_retries: int = 0) -> None:
        """Tries to reach the database.

        Args:
            max_retries: how many attempts are made, with 1, 2, 4 ... seconds in between.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: what the last attempt met.
        """
        engine = self._backend.engine
        attempts = max(1, max_retries)
        for attempt in range(1, attempts + 1):
            try:
                with self._transactions.lock:
                    engine.connect().close()
                return
            except sa.exc.SQLAlchemyError as e:
                LOG.warning("Attempt %s of %s to reach %r failed: %s", attempt, attempts, engine.url, e)
                if attempt == attempts or not engines.is_worth_retrying(e, engine.dialect.name):
                    raise
                time.sleep(2 ** (attempt - 1))

    def upgrade(self) -> None:
        """Makes the tables, or brings those of an older version up to date.

        Raises:
            StorageFailure: the database refused.
        """
        with self._upgrade_lock, self._transactions.lock:
            # Changing tables takes them alone, so nothing may be held here.
            self._transactions.close()
            try:
                upgrades.upgrade(self._backend.engine)
            except sa.exc.SQLAlchemyError as e:
                raise self._transactions.failure("upgrade its tables", e) from e

    # -- reading

    def get_logbook(self, book_uuid: str, lazy: bool = False) -> models.LogBook:
        """Reads a book, without its flow details if lazy.

        Raises:
            NotFound: there is no such book.
        """

        def read(session: sessions.Session) -> models.LogBook:
            row = self._reader.one(session, tables.TABLES.logbooks, statements.READ_BOOK, book_uuid)
            if row is None:
                raise exc.NotFound(f"No log book with uuid {book_uuid!r} is stored")
            book = self._statements.read_book(row)
            if not lazy:
                self._reader.fill_book(session, book)
            return book

        return self._transactions.read(f"read log book {book_uuid!r}", read)

    def get_logbooks(self, lazy: bool = False) -> Iterator[models.LogBook]:
        """Reads all books, in no particular order; the flow details of each as it is its turn."""
        select = self._statements.select(tables.TABLES.logbooks, statements.READ_BOOK)
        for row in self._transactions.read("read log books", lambda session: session.rows(select)):
            book = self._statements.read_book(row)
            if not lazy:
                fill = functools.partial(self._reader.fill_book, book=book)
                self._transactions.read(f"read log book {book.uuid!r}", fill)
            yield book

    def get_flows_for_book(self, book_uuid: str, lazy: bool = False) -> Iterator[models.FlowDetail]:
        """Reads the flow details of a book, without their atom details if lazy; a page of them as it is its turn."""
        what = f"read the flow details of log book {book_uuid!r}"
        uuids = self._transactions.read(what, functools.partial(self._reader.flow_uuids, book_uuid=book_uuid))
        for i in range(0, len(uuids), reading.PAGE):
            page = functools.partial(self._reader.flows, uuids=uuids[i : i + reading.PAGE], lazy=lazy)
            yield from self._transactions.read(what, page)

    def get_flow_details(self, fd_uuid: str, lazy: bool = False) -> models.FlowDetail:
        """Reads a flow detail, without its atom details if lazy.

        Raises:
            NotFound: there is no such flow detail.
        """

        def read(session: sessions.Session) -> models.FlowDetail:
            row = self._reader.one(session, tables.TABLES.flowdetails, statements.READ_FLOW, fd_uuid)
            if row is None:
                raise exc.NotFound(f"No flow detail with uuid {fd_uuid!r} is stored")
            flow_detail = self._statements.read_flow(row)
            if not lazy:
                self._reader.fill_flow(session, flow_detail)
            return flow_detail

        return self._transactions.read(f"read flow detail {fd_uuid!r}", read)

    def get_atom_details(self, ad_uuid: str) -> models.AtomDetail:
        """Reads an atom detail.

        Raises:
            NotFound: there is no such atom detail.
        """

        def read(session: sessions.Session) -> models.AtomDetail:
            row = self._reader.one(session, tables.TABLES.atomdetails, statements.READ_ATOM, ad_uuid)
            if row is None:
                raise exc.NotFound(f"No atom detail with uuid {ad_uuid!r} is stored")
            return self._statements.read_atom(row)

        return self._transactions.read(f"read atom detail {ad_uuid!r}", read)

    def get_atoms_for_flow(self, fd_uuid: str) -> Iterator[models.AtomDetail]:
        """Reads the atom details of a flow detail."""
        read = functools.partial(self._reader.atoms, flow_uuid=fd_uuid)
        yield from self._transactions.read(f"read the atom details of flow detail {fd_uuid!r}", read)

    # -- removing

    @repeats.repeated
    def clear_all(self) -> None:
        """Removes every record."""
        with self._transactions.begin("remove all records", write=True) as session:
            # Children first and by name: SQLite does not follow foreign keys unless told to.
            for table in (tables.TABLES.atomdetails, tables.TABLES.flowdetails, tables.TABLES.logbooks):
                session.run(self._statements.delete(table))

    @repeats.repeated
    def destroy_logbook(self, book_uuid: str) -> None:
        """Removes a book with its flow details and their atom details.

        Raises:
            NotFound: there is no such book.
        """
        with self._transactions.begin(f"remove log book {book_uuid!r}", write=True) as session:
            session.run(self._statements.delete_grandchildren(), book_uuid)
            session.run(self._statements.delete(tables.TABLES.flowdetails, by="parent_uuid"), book_uuid)
            if not session.run(self._statements.delete(tables.TABLES.logbooks, by="uuid"), book_uuid):
                raise exc.NotFound(f"No log book with uuid {book_uuid!r} is stored")

    # -- housekeeping

    @repeats.repeated
    def destroy_flow_details(self, fd_uuid: str) -> None:
        """Removes a flow detail with its atom details; its book stays.

        Raises:
            NotFound: there is no such flow detail.
        """
        with self._transactions.begin(f"remove flow detail {fd_uuid!r}", write=True) as session:
            session.run(self._statements.delete(tables.TABLES.atomdetails, by="parent_uuid"), fd_uuid)
            if not session.run(self._statements.delete(tables.TABLES.flowdetails, by="uuid"), fd_uuid):
                raise exc.NotFound(f"No flow detail with uuid {fd_uuid!r} is stored")

    def _pages(self, what: str, size: int, read: Callable[..., list[_T]]) -> Iterator[list[_T]]:
        after = ""
        while True:
            page = self._transactions.read(what, functools.partial(read, after=after, size=size))
            if page:
                yield page
            if len(page) < size:
                return
            after = page[-1].uuid  # type: ignore[attr-defined]

    def survey_books(self, size: int = 100, details: bool = True) -> Iterator[Sequence[found.BookSummary]]:
        """Goes through all books, a page as it is its turn; see Connection.survey_books() of the base module."""
        surveyor = surveys.Surveyor(self._statements)
        yield from self._pages("look at log books", size, functools.partial(surveyor.books, details=details))

    def survey_flows(
        self, book_uuid: str | None = None, size: int = 100, details: bool = True
    ) -> Iterator[Sequence[found.FlowSummary]]:
        """Goes through flows, a page as it is its turn; see Connection.survey_flows() of the base module."""
        surveyor = surveys.Surveyor(self._statements)
        read = functools.partial(surveyor.flows, book_uuid=book_uuid, details=details)
        yield from self._pages("look at flow details", size, read)

    @repeats.repeated
    def discard(self, books: Sequence[str], flows: Mapping[str, Sequence[str]], terms: found.Terms) -> found.Removed:
        """Removes what meets the terms, in one transaction; see Connection.discard() of the base module."""
        with self._transactions.begin("remove log books and flow details", write=True) as session:
            return surveys.Surveyor(self._statements).discard(session, books, flows, terms)

    # -- writing whole details

    @repeats.repeated
    def save_logbook(self, book: models.LogBook) -> models.LogBook:
        """Creates a book, or merges it into the stored one, with everything in it.

        Returns:
            The argument if the book is new, else what is stored now.
        """
        writer = writers.Writer(self._statements)
        with self._transactions.save(f"save log book '{book.name}' ({book.uuid})", writer) as session:
            row = self._reader.one(session, tables.TABLES.logbooks, statements.READ_BOOK, book.uuid, lock=True)
            if row is None:
                writer.add_book(book)
                for flow_detail in book:
                    writer.add_flow(flow_detail, book.uuid)
                return book
            stored = self._statements.read_book(row)
            self._reader.fill_book(session, stored)
            writer.merge_book(stored, book)
            for flow_detail in book:
                stored_flow = stored.find(flow_detail.uuid)
                if stored_flow is not None:
                    writer.merge_flow(stored_flow, flow_detail)
                else:
                    writer.add_flow(flow_detail, book.uuid)
                    stored._flowdetails_by_id[flow_detail.uuid] = flow_detail
            return stored

    @repeats.repeated
    def update_flow_details(self, flow_detail: models.FlowDetail) -> models.FlowDetail:
        """Merges a flow detail into the stored one, with its atom details, and returns what is stored now.

        Raises:
            NotFound: the flow detail is not stored.
        """
        writer = writers.Writer(self._statements)
        what = f"save flow detail '{flow_detail.name}' ({flow_detail.uuid})"
        with self._transactions.save(what, writer) as session:
            row = self._reader.one(
                session, tables.TABLES.flowdetails, statements.READ_FLOW, flow_detail.uuid, lock=True
            )
            if row is None:
                raise exc.NotFound(
                    f"Flow detail '{flow_detail.name}' ({flow_detail.uuid}) is not stored, save it first"
                )
            stored = self._statements.read_flow(row)
            self._reader.fill_flow(session, stored)
            writer.merge_flow(stored, flow_detail)
        return stored

    @repeats.repeated
    def update_atom_details(self, atom_detail: models.AtomDetail) -> models.AtomDetail:
        """Merges an atom detail into the stored one and returns what is stored now.

        Raises:
            NotFound: the atom detail is not stored.
        """
        writer = writers.Writer(self._statements)
        what = f"save atom detail '{atom_detail.name}' ({atom_detail.uuid})"
        with self._transactions.save(what, writer) as session:
            row = self._reader.one(
                session, tables.TABLES.atomdetails, statements.READ_ATOM, atom_detail.uuid, lock=True
            )
            if row is None:
                raise exc.NotFound(
                    f"Atom detail '{atom_detail.name}' ({atom_detail.uuid}) is not stored, save it first"
                )
            stored = self._statements.read_atom(row)
            writer.merge_atom(stored, atom_detail)
        return stored

    # -- writing units of work

    def write(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail] = (),
    ) -> Sequence[models.AtomDetail]:
        """Writes one unit of work; see Connection.write() of the base module.

        Only the columns that change are written, in one transaction of a database connection that is kept.
        """
        if len(changes) > 1 and len({id(detail) for detail, _ in changes}) != len(changes):
            changes = path_based.gather_changes(changes)
        made = self._statements
        now = made.now()
        directly = not added
        batches: dict[statements.Statement, list[list[Any]]] = {}
        for detail, fields in changes:
            if detail is flow_detail:
                directly = False
            statement, row = made.change(detail, fields, now)
            batch = batches.get(statement)
            if batch is None:
                batches[statement] = [row]
            else:
                batch.append(row)
        if directly and self._transactions.write_directly(flow_detail, batches):
            return ()
        return self._write_in_transaction(flow_detail, changes, added, batches)

    @repeats.repeated
    def _write_in_transaction(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail],
        batches: Mapping[statements.Statement, list[list[Any]]],
    ) -> Sequence[models.AtomDetail]:
        flow_changes = any(detail is flow_detail for detail, _ in changes)
        writer = writers.Writer(self._statements)
        for atom_detail in added:
            writer.add_atom(atom_detail, flow_detail.uuid)
        what = transactions.writing_to(flow_detail)
        try:
            with self._transactions.begin(what, write=True, keep=True) as session:
                for statement, rows in batches.items():
                    if session.run_all(statement, rows) != len(rows):
                        self._reader.check_all(session, flow_detail, changes)
                if added:
                    if not flow_changes:
                        self._reader.check_all(session, flow_detail, [(flow_detail, {})])
                    writer.write(session)
                if flow_changes or added:
                    return self._reader.others(session, flow_detail, added)
        except exc.StorageFailure as e:
            if added and isinstance(e.cause, sa.exc.IntegrityError):
                # Something of it is there already, for instance because the answer to an earlier commit was lost.
                return super().write(flow_detail, changes, added)
            for detail, fields in changes:
                writer.change(detail, fields)
            self._transactions.explain(e, writer)
            raise
        return ()
