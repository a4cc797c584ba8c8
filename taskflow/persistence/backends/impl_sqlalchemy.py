# SPDX-License-Identifier: Apache-2.0
"""The backend that keeps records in a database: SQLite, PostgreSQL, MySQL or MariaDB."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence import base, models, path_based
from taskflow.persistence.backends.sqlalchemy import engines, sessions, statements, tables, upgrades, writers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOG = logging.getLogger(__name__)

MY_SQL_CONN_ERRORS = engines.MY_SQL_CONN_ERRORS
MY_SQL_GONE_WAY_AWAY_ERRORS = engines.MY_SQL_GONE_WAY_AWAY_ERRORS
POSTGRES_CONN_ERRORS = engines.POSTGRES_CONN_ERRORS
POSTGRES_GONE_WAY_AWAY_ERRORS = engines.POSTGRES_GONE_WAY_AWAY_ERRORS
SQLITE_IN_MEMORY = engines.SQLITE_IN_MEMORY
DEFAULT_TXN_ISOLATION_LEVELS = engines.DEFAULT_TXN_ISOLATION_LEVELS

# Errors that the same attempt meets again, however often it is made.
_PERMANENT = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.NotSupportedError, sa.exc.ProgrammingError)


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
        self._holders: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._max_retries = 0
        with contextlib.suppress(TypeError):
            self._max_retries = engines.as_int(self._conf, "max_retries", self._retries_in_address())

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
        self._lock = backend._shared_handle or threading.RLock()
        self._keeper = sessions.Keeper(self)

    @property
    def backend(self) -> SQLAlchemyBackend:
        """The backend that this connection belongs to."""
        return self._backend

    def close(self) -> None:
        """Gives the database connection back; the next use takes one anew."""
        with self._lock:
            self._keeper.close()

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
                with self._lock:
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
        with self._upgrade_lock, self._lock:
            # Changing tables takes them alone, so nothing may be held here.
            self._keeper.close()
            try:
                upgrades.upgrade(self._backend.engine)
            except sa.exc.SQLAlchemyError as e:
                raise self._failure("upgrade its tables", e) from e

    # -- transactions

    def _failure(self, what: str, error: Exception) -> exc.StorageFailure:
        place = self._backend._engine.url.render_as_string(hide_password=True)
        failure = exc.StorageFailure(f"Database {place} could not {what}", cause=error)
        failure.permanent = isinstance(error, _PERMANENT)  # type: ignore[attr-defined]
        return failure

    @contextlib.contextmanager
    def _transaction(self, what: str, write: bool, keep: bool = False) -> Iterator[sessions.Session]:
        with self._lock:
            session: sessions.Session | None = None
            healthy = False
            try:
                session = self._keeper.take()
                if session is None:
                    session = sessions.Session(self._backend.engine)
                else:
                    keep = True
                try:
                    session.begin(write)
                    yield session
                    session.commit()
                except BaseException:
                    session.rollback()
                    raise
                healthy = True
            except exc.TaskFlowException:
                healthy = session is not None
                raise
            except sa.exc.SQLAlchemyError as e:
                raise self._failure(what, e) from e
            except Exception as e:
                if session is None or not isinstance(e, session.driver_error):
                    raise
                error = session.as_sqlalchemy_error(e)
                raise self._failure(what, error) from error
            finally:
                if session is not None:
                    if keep and healthy and session.may_be_kept():
                        self._keeper.keep(session)
                        self._backend._holders.add(self)
                    else:
                        session.close()

    # -- reading

    def _read_one(self, session: sessions.Session, table: sa.Table, columns: Sequence[str], uuid: str) -> Any:
        rows = session.rows(self._statements.select(table, columns, by="uuid"), uuid)
        return rows[0] if rows else None

    def _read_atoms(self, session: sessions.Session, flow_uuid: str) -> list[models.AtomDetail]:
        select = self._statements.select(tables.TABLES.atomdetails, statements.READ_ATOM, by="parent_uuid")
        return [self._statements.read_atom(row) for row in session.rows(select, flow_uuid)]

    def _read_flows(self, session: sessions.Session, book_uuid: str, lazy: bool) -> list[models.FlowDetail]:
        select = self._statements.select(tables.TABLES.flowdetails, statements.READ_FLOW, by="parent_uuid")
        flow_details = [self._statements.read_flow(row) for row in session.rows(select, book_uuid)]
        if not lazy:
            for flow_detail in flow_details:
                self._fill_flow(session, flow_detail)
        return flow_details

    def _fill_flow(self, session: sessions.Session, flow_detail: models.FlowDetail) -> None:
        for atom_detail in self._read_atoms(session, flow_detail.uuid):
            flow_detail.add(atom_detail)

    def _fill_book(self, session: sessions.Session, book: models.LogBook) -> None:
        # Reading must not look like a change: LogBook.add() would note the time.
        updated_at = book.updated_at
        for flow_detail in self._read_flows(session, book.uuid, lazy=False):
            book.add(flow_detail)
        book.updated_at = updated_at

    def get_logbook(self, book_uuid: str, lazy: bool = False) -> models.LogBook:
        """Reads a book, without its flow details if lazy.

        Raises:
            NotFound: there is no such book.
        """
        with self._transaction(f"read log book {book_uuid!r}", write=False) as session:
            row = self._read_one(session, tables.TABLES.logbooks, statements.READ_BOOK, book_uuid)
            if row is None:
                raise exc.NotFound(f"No log book with uuid {book_uuid!r} is stored")
            book = self._statements.read_book(row)
            if not lazy:
                self._fill_book(session, book)
        return book

    def get_logbooks(self, lazy: bool = False) -> Iterator[models.LogBook]:
        """Reads all books, in no particular order."""
        with self._transaction("read log books", write=False) as session:
            rows = session.rows(self._statements.select(tables.TABLES.logbooks, statements.READ_BOOK))
            books = [self._statements.read_book(row) for row in rows]
            if not lazy:
                for book in books:
                    self._fill_book(session, book)
        yield from books

    def get_flows_for_book(self, book_uuid: str, lazy: bool = False) -> Iterator[models.FlowDetail]:
        """Reads the flow details of a book, without their atom details if lazy."""
        with self._transaction(f"read the flow details of log book {book_uuid!r}", write=False) as session:
            flow_details = self._read_flows(session, book_uuid, lazy)
        yield from flow_details

    def get_flow_details(self, fd_uuid: str, lazy: bool = False) -> models.FlowDetail:
        """Reads a flow detail, without its atom details if lazy.

        Raises:
            NotFound: there is no such flow detail.
        """
        with self._transaction(f"read flow detail {fd_uuid!r}", write=False) as session:
            row = self._read_one(session, tables.TABLES.flowdetails, statements.READ_FLOW, fd_uuid)
            if row is None:
                raise exc.NotFound(f"No flow detail with uuid {fd_uuid!r} is stored")
            flow_detail = self._statements.read_flow(row)
            if not lazy:
                self._fill_flow(session, flow_detail)
        return flow_detail

    def get_atom_details(self, ad_uuid: str) -> models.AtomDetail:
        """Reads an atom detail.

        Raises:
            NotFound: there is no such atom detail.
        """
        with self._transaction(f"read atom detail {ad_uuid!r}", write=False) as session:
            row = self._read_one(session, tables.TABLES.atomdetails, statements.READ_ATOM, ad_uuid)
            if row is None:
                raise exc.NotFound(f"No atom detail with uuid {ad_uuid!r} is stored")
            return self._statements.read_atom(row)

    def get_atoms_for_flow(self, fd_uuid: str) -> Iterator[models.AtomDetail]:
        """Reads the atom details of a flow detail."""
        with self._transaction(f"read the atom details of flow detail {fd_uuid!r}", write=False) as session:
            atom_details = self._read_atoms(session, fd_uuid)
        yield from atom_details

    # -- removing

    def clear_all(self) -> None:
        """Removes every record."""
        with self._transaction("remove all records", write=True) as session:
            # Children first and by name: SQLite does not follow foreign keys unless told to.
            for table in (tables.TABLES.atomdetails, tables.TABLES.flowdetails, tables.TABLES.logbooks):
                session.run(self._statements.delete(table))

    def destroy_logbook(self, book_uuid: str) -> None:
        """Removes a book with its flow details and their atom details.

        Raises:
            NotFound: there is no such book.
        """
        with self._transaction(f"remove log book {book_uuid!r}", write=True) as session:
            session.run(self._statements.delete_grandchildren(), book_uuid)
            session.run(self._statements.delete(tables.TABLES.flowdetails, by="parent_uuid"), book_uuid)
            if not session.run(self._statements.delete(tables.TABLES.logbooks, by="uuid"), book_uuid):
                raise exc.NotFound(f"No log book with uuid {book_uuid!r} is stored")

    # -- writing whole details

    def save_logbook(self, book: models.LogBook) -> models.LogBook:
        """Creates a book, or merges it into the stored one, with everything in it.

        Returns:
            The argument if the book is new, else what is stored now.
        """
        writer = writers.Writer(self._statements)
        with self._transaction(f"save log book '{book.name}' ({book.uuid})", write=True) as session:
            row = self._read_one(session, tables.TABLES.logbooks, statements.READ_BOOK, book.uuid)
            if row is None:
                writer.add_book(book)
                for flow_detail in book:
                    writer.add_flow(flow_detail, book.uuid)
                writer.write(session)
                return book
            stored = self._statements.read_book(row)
            self._fill_book(session, stored)
            writer.merge_book(stored, book)
            for flow_detail in book:
                stored_flow = stored.find(flow_detail.uuid)
                if stored_flow is not None:
                    writer.merge_flow(stored_flow, flow_detail)
                else:
                    writer.add_flow(flow_detail, book.uuid)
                    stored._flowdetails_by_id[flow_detail.uuid] = flow_detail
            writer.write(session)
            return stored

    def update_flow_details(self, flow_detail: models.FlowDetail) -> models.FlowDetail:
        """Merges a flow detail into the stored one, with its atom details, and returns what is stored now.

        Raises:
            NotFound: the flow detail is not stored.
        """
        writer = writers.Writer(self._statements)
        with self._transaction(f"save flow detail '{flow_detail.name}' ({flow_detail.uuid})", write=True) as session:
            row = self._read_one(session, tables.TABLES.flowdetails, statements.READ_FLOW, flow_detail.uuid)
            if row is None:
                raise exc.NotFound(
                    f"Flow detail '{flow_detail.name}' ({flow_detail.uuid}) is not stored, save it first"
                )
            stored = self._statements.read_flow(row)
            self._fill_flow(session, stored)
            writer.merge_flow(stored, flow_detail)
            writer.write(session)
        return stored

    def update_atom_details(self, atom_detail: models.AtomDetail) -> models.AtomDetail:
        """Merges an atom detail into the stored one and returns what is stored now.

        Raises:
            NotFound: the atom detail is not stored.
        """
        writer = writers.Writer(self._statements)
        with self._transaction(f"save atom detail '{atom_detail.name}' ({atom_detail.uuid})", write=True) as session:
            row = self._read_one(session, tables.TABLES.atomdetails, statements.READ_ATOM, atom_detail.uuid)
            if row is None:
                raise exc.NotFound(
                    f"Atom detail '{atom_detail.name}' ({atom_detail.uuid}) is not stored, save it first"
                )
            stored = self._statements.read_atom(row)
            writer.merge_atom(stored, atom_detail)
            writer.write(session)
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
        flows, atoms = tables.TABLES.flowdetails, tables.TABLES.atomdetails
        now = made.now()
        flow_changes = False
        batches: dict[statements.Statement, list[Any]] = {}
        for detail, fields in changes:
            if detail is flow_detail:
                flow_changes = True
                statement, parameters = made.change(detail, flows, fields, now)
            else:
                statement, parameters = made.change(detail, atoms, fields, now)
            batch = batches.get(statement)
            if batch is None:
                batches[statement] = [parameters]
            else:
                batch.append(parameters)
        if not flow_changes and not added and self._write_directly(flow_detail, batches):
            return ()
        writer = None
        if added:
            writer = writers.Writer(made)
            for atom_detail in added:
                writer.add_atom(atom_detail, flow_detail.uuid)
        try:
            with self._transaction(f"write to flow detail '{flow_detail.name}'", write=True, keep=True) as session:
                for statement, rows in batches.items():
                    if session.run_all(statement, rows) != len(rows):
                        self._raise_missing(session, flow_detail, changes)
                if writer is not None:
                    if not flow_changes and not self._read_one(session, flows, ("uuid",), flow_detail.uuid):
                        self._raise_missing(session, flow_detail, [(flow_detail, {})])
                    writer.write(session)
                if flow_changes or added:
                    return self._read_others(session, flow_detail, added)
        except exc.StorageFailure as e:
            if not added or not isinstance(e.cause, sa.exc.IntegrityError):
                raise
            # Something of it is there already, for instance because the answer to an earlier commit was lost.
            return super().write(flow_detail, changes, added)
        return ()

    def _write_directly(self, flow_detail: models.FlowDetail, batches: dict[statements.Statement, list[Any]]) -> bool:
        """Writes through the kept session, if there is one that allows it; tells whether that was done."""
        with self._lock:
            session = self._keeper.ready()
            if session is None:
                return False
            try:
                return session.write_directly(batches)
            except session.driver_error as e:
                self._keeper.close()
                error = session.as_sqlalchemy_error(e)
                raise self._failure(f"write to flow detail '{flow_detail.name}'", error) from error

    def _raise_missing(
        self, session: sessions.Session, flow_detail: models.FlowDetail, changes: Sequence[base.Change]
    ) -> None:
        for detail, _ in changes:
            table = tables.TABLES.flowdetails if detail is flow_detail else tables.TABLES.atomdetails
            if self._read_one(session, table, ("uuid",), detail.uuid) is None:
                raise exc.NotFound(
                    f"{type(detail).__name__} '{detail.name}' ({detail.uuid}) is not stored, save it first"
                )
        raise exc.StorageFailure(
            f"The database changed another number of rows than flow '{flow_detail.name}' has changes"
        )

    def _read_others(
        self, session: sessions.Session, flow_detail: models.FlowDetail, added: Sequence[models.AtomDetail]
    ) -> Sequence[models.AtomDetail]:
        atoms = tables.TABLES.atomdetails
        new = [atom_detail.uuid for atom_detail in added if flow_detail.find(atom_detail.uuid) is None]
        ((count,),) = session.rows(self._statements.count(atoms, by="parent_uuid"), flow_detail.uuid)
        if count == len(flow_detail) + len(new):
            return ()
        known = {atom_detail.uuid for atom_detail in flow_detail}.union(new)
        stored = session.rows(self._statements.select(atoms, ("uuid",), by="parent_uuid"), flow_detail.uuid)
        others = [uuid for (uuid,) in stored if uuid not in known]
        rows = [self._read_one(session, atoms, statements.READ_ATOM, uuid) for uuid in others]
        return [self._statements.read_atom(row) for row in rows]
