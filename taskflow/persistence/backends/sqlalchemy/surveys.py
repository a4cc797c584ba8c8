# SPDX-License-Identifier: Apache-2.0
"""How housekeeping goes through the records of a database, and removes them, with few statements for many records."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from taskflow.persistence import surveys
from taskflow.persistence.backends.sqlalchemy import reading, statements, tables

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from taskflow.persistence.backends.sqlalchemy import sessions

_ROW = ("uuid", "name", "created_at", "updated_at")


class _Atoms:
    """What is known of the atoms of a flow or of a book."""

    __slots__ = ("changed", "count", "states")

    def __init__(self) -> None:
        self.states: collections.Counter[str] = collections.Counter()
        self.changed: list[dt.datetime | None] = []
        self.count = 0

    def add(self, state: str | None, count: int, created_at: Any, updated_at: Any) -> None:
        """Adds atoms in one state."""
        self.states[surveys.state_of(state)] += count
        self.count += count
        self.changed += (statements._as_time(created_at), statements._as_time(updated_at))


class Surveyor:
    """Goes through records in transactions of a session.

    Args:
        made: the statements of the dialect in use.
    """

    def __init__(self, made: statements.Statements) -> None:
        self._statements = made
        # SQLite has one writer at a time, and no locks on rows.
        self._locks_rows = made._dialect.name != "sqlite"

    # -- statements

    def _made(self, key: Any, names: Sequence[str], make: Callable[[], Any]) -> statements.Statement:
        known = self._statements._made.get(key)
        return known or self._statements._compile(key, names, make())

    def _among(
        self, session: sessions.Session, key: str, uuids: Sequence[str], make: Callable[[sa.ColumnElement[str]], Any]
    ) -> Iterator[Any]:
        """Yields the rows of a statement about some uuids; that takes a page of them at a time, so has one text."""
        for statement, values in self._pages(key, uuids, make):
            yield from session.rows(statement, *values)

    def _pages(self, key: str, uuids: Sequence[str], make: Callable[[Any], Any]) -> Iterator[Any]:
        names = [f"p_by{i}" for i in range(reading.PAGE)]
        statement = self._made(
            ("survey", key), names, lambda: make([sa.bindparam(name, type_=sa.String()) for name in names])
        )
        for i in range(0, len(uuids), reading.PAGE):
            page = uuids[i : i + reading.PAGE]
            yield statement, (*page, *([page[0]] * (reading.PAGE - len(page))))

    def _page_of(
        self,
        session: sessions.Session,
        table: sa.Table,
        columns: Sequence[str],
        after: str,
        size: int,
        book: str | None,
    ) -> Sequence[Any]:
        """Reads the next rows in the order of uuids."""

        def make() -> Any:
            query = sa.select(*(table.c[name] for name in columns))
            query = query.where(table.c.uuid > sa.bindparam("p_after", type_=sa.String()))
            if book is not None:
                query = query.where(table.c.parent_uuid == sa.bindparam("p_book", type_=sa.String()))
            query = query.order_by(table.c.uuid).limit(sa.bindparam("p_size", type_=sa.Integer()))
            # Said as text: some dialects add an offset by themselves, as one more value.
            return query.offset(sa.literal_column("0"))

        key = ("survey", "page", table.name, tuple(columns), book is None)
        values: tuple[Any, ...] = (after, size) if book is None else (after, book, size)
        names = ("p_after", "p_size") if book is None else ("p_after", "p_book", "p_size")
        return session.rows(self._made(key, names, make), *values)

    # -- looking

    def _atoms_of_flows(self, session: sessions.Session, flow_uuids: Sequence[str]) -> Mapping[str, _Atoms]:
        atoms = tables.TABLES.atomdetails

        def make(uuids: Any) -> Any:
            parts = (atoms.c.parent_uuid, atoms.c.state)
            times = (sa.func.max(atoms.c.created_at), sa.func.max(atoms.c.updated_at))
            return sa.select(*parts, sa.func.count(), *times).where(atoms.c.parent_uuid.in_(uuids)).group_by(*parts)

        found: dict[str, _Atoms] = collections.defaultdict(_Atoms)
        for flow_uuid, *row in self._among(session, "atoms of flows", flow_uuids, make):
            found[flow_uuid].add(*row)
        return found

    def _failures(self, session: sessions.Session, flow_uuids: Sequence[str]) -> Mapping[str, dict[str, str]]:
        atoms = tables.TABLES.atomdetails
        columns = [self._statements._column(atoms, name) for name in ("failure", "revert_failure")]
        # An atom without a failure has no text, or that of JSON's null.
        has_one = sa.or_(
            *(
                sa.and_(column.is_not(None), sa.cast(column, sa.Text) != sa.literal_column("'null'"))
                for column in columns
            )
        )

        def make(uuids: Any) -> Any:
            query = sa.select(atoms.c.parent_uuid, atoms.c.name, *columns)
            return query.where(atoms.c.parent_uuid.in_(uuids)).where(has_one).order_by(atoms.c.uuid)

        found: dict[str, dict[str, str]] = collections.defaultdict(dict)
        for flow_uuid, name, failure, revert_failure in self._among(session, "failures", flow_uuids, make):
            shown = found[flow_uuid]
            if len(shown) < surveys.FAILURES_SHOWN:
                form = statements._decoded(revert_failure) or statements._decoded(failure)
                text = surveys.short_text(form)
                if text is not None:
                    shown[name] = text
        return found

    def _flow_summaries(
        self, session: sessions.Session, rows: Sequence[Any], details: bool
    ) -> list[surveys.FlowSummary]:
        uuids = [row[0] for row in rows]
        atoms = self._atoms_of_flows(session, uuids)
        failures = self._failures(session, uuids) if details else {}
        made = []
        for uuid, name, created_at, updated_at, state, parent in rows:
            own = atoms.get(uuid) or _Atoms()
            created = statements._as_time(created_at)
            changed = surveys.newest([created, statements._as_time(updated_at), *own.changed])
            made.append(
                surveys.FlowSummary(
                    uuid,
                    name,
                    surveys.state_of(state),
                    () if parent is None else (parent,),
                    created,
                    changed,
                    own.count,
                    dict(own.states) if details else {},
                    failures.get(uuid, {}),
                )
            )
        return made

    def _book_summaries(
        self, session: sessions.Session, rows: Sequence[Any], details: bool
    ) -> list[surveys.BookSummary]:
        flows, atoms = tables.TABLES.flowdetails, tables.TABLES.atomdetails

        def make_flows(uuids: Any) -> Any:
            parts = (flows.c.parent_uuid, flows.c.state)
            times = (sa.func.max(flows.c.created_at), sa.func.max(flows.c.updated_at))
            return sa.select(*parts, sa.func.count(), *times).where(flows.c.parent_uuid.in_(uuids)).group_by(*parts)

        def make_atoms(uuids: Any) -> Any:
            parts = (flows.c.parent_uuid, atoms.c.state)
            times = (sa.func.max(atoms.c.created_at), sa.func.max(atoms.c.updated_at))
            query = sa.select(*parts, sa.func.count(), *times)
            query = query.select_from(atoms.join(flows, atoms.c.parent_uuid == flows.c.uuid))
            return query.where(flows.c.parent_uuid.in_(uuids)).group_by(*parts)

        uuids = [row[0] for row in rows]
        of_flows: dict[str, _Atoms] = collections.defaultdict(_Atoms)
        for book_uuid, *row in self._among(session, "flows of books", uuids, make_flows):
            of_flows[book_uuid].add(*row)
        of_atoms: dict[str, _Atoms] = collections.defaultdict(_Atoms)
        for book_uuid, *row in self._among(session, "atoms of books", uuids, make_atoms):
            of_atoms[book_uuid].add(*row)
        made = []
        for uuid, name, created_at, updated_at in rows:
            own_flows, own_atoms = of_flows[uuid], of_atoms[uuid]
            created = statements._as_time(created_at)
            changed = surveys.newest([created, statements._as_time(updated_at), *own_flows.changed, *own_atoms.changed])
            counted = dict(own_atoms.states) if details else {}
            made.append(
                surveys.BookSummary(uuid, name, created, changed, dict(own_flows.states), own_atoms.count, counted)
            )
        return made

    def books(self, session: sessions.Session, after: str, size: int, details: bool) -> list[surveys.BookSummary]:
        """Looks at the next books after a uuid, in the order of uuids."""
        rows = self._page_of(session, tables.TABLES.logbooks, _ROW, after, size, None)
        return self._book_summaries(session, rows, details)

    def flows(
        self, session: sessions.Session, after: str, size: int, book_uuid: str | None, details: bool
    ) -> list[surveys.FlowSummary]:
        """Looks at the next flows after a uuid, in the order of uuids."""
        columns = (*_ROW, "state", "parent_uuid")
        rows = self._page_of(session, tables.TABLES.flowdetails, columns, after, size, book_uuid)
        return self._flow_summaries(session, rows, details)

    # -- removing

    def _locked(
        self, session: sessions.Session, table: sa.Table, by: str, uuids: Sequence[str], columns: Sequence[str]
    ) -> list[Any]:
        """Reads rows and keeps them from changing until the transaction ends; always in the same order."""

        def make(values: Any) -> Any:
            query = sa.select(*(table.c[name] for name in columns)).where(table.c[by].in_(values))
            return query.order_by(table.c.uuid).with_for_update()

        return list(self._among(session, f"lock {table.name} {by} {columns}", sorted(uuids), make))

    def _delete(self, session: sessions.Session, table: sa.Table, by: str, uuids: Sequence[str]) -> int:
        pages = self._pages(
            f"delete {table.name} {by}", uuids, lambda values: table.delete().where(table.c[by].in_(values))
        )
        return sum(session.run(statement, *values) for statement, values in pages)

    def discard(
        self, session: sessions.Session, books: Sequence[str], flows: Iterable[str], terms: surveys.Terms
    ) -> surveys.Removed:
        """Removes books and flows that meet the terms, in the transaction under way."""
        all_ = tables.TABLES
        removed = surveys.Removed()
        flow_columns = (*_ROW, "state", "parent_uuid")
        # Parents before children: who adds a child waits for its parent, who changes one for that one.
        book_rows = self._locked(session, all_.logbooks, "uuid", books, _ROW)
        kin = self._locked(
            session, all_.flowdetails, "parent_uuid", [row[0] for row in book_rows], ("uuid", "parent_uuid")
        )
        flow_rows = self._locked(session, all_.flowdetails, "uuid", list(flows), flow_columns)
        if self._locks_rows:
            parents = sorted({*(row[0] for row in kin), *(row[0] for row in flow_rows)})
            self._locked(session, all_.atomdetails, "parent_uuid", parents, ("uuid",))
        gone = {*books, *flows} - {row[0] for row in (*book_rows, *flow_rows)}
        removed.kept.update(dict.fromkeys(sorted(gone), surveys.GONE))
        going: dict[type, list[str]] = {surveys.BookSummary: [], surveys.FlowSummary: []}
        found: list[surveys.BookSummary | surveys.FlowSummary] = []
        found += self._book_summaries(session, book_rows, details=False)
        found += self._flow_summaries(session, flow_rows, details=False)
        for summary in found:
            objection = terms.objection(summary)
            if objection is not None:
                removed.kept[summary.uuid] = objection
            else:
                going[type(summary)].append(summary.uuid)
        going_books = set(going[surveys.BookSummary])
        going_flows = sorted({*going[surveys.FlowSummary], *(uuid for uuid, book in kin if book in going_books)})
        # Children first and by name: SQLite does not follow foreign keys unless told to.
        removed.atoms = self._delete(session, all_.atomdetails, "parent_uuid", going_flows)
        removed.flows = self._delete(session, all_.flowdetails, "uuid", going_flows)
        removed.books = self._delete(session, all_.logbooks, "uuid", sorted(going_books))
        return removed
