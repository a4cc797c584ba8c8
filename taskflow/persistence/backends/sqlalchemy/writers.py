# SPDX-License-Identifier: Apache-2.0
"""How whole details are written to a database: what is new is inserted, what has changed is updated."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

from taskflow.persistence import models
from taskflow.persistence.backends.sqlalchemy import statements, tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import sqlalchemy as sa

    from taskflow.persistence.backends.sqlalchemy import sessions

    Detail = models.LogBook | models.FlowDetail | models.AtomDetail

# The columns of new rows.
_COLUMNS = {
    "logbooks": ("uuid", *statements.BOOK_FIELDS),
    "flowdetails": ("uuid", "parent_uuid", "created_at", *statements.FLOW_FIELDS),
    "atomdetails": ("uuid", "parent_uuid", "created_at", "atom_type", *statements.ATOM_FIELDS),
}
# Columns whose values are the library's own.
_NO_VALUES = {"parent_uuid", "created_at", "updated_at", "atom_type"}


class Writer:
    """Gathers the rows of whole details that are new or have changed, then writes them.

    Everything is encoded before anything is written.

    Args:
        made: the statements of the dialect in use.

    Attributes:
        trying: when rows are written one at a time, whose row it is the turn of, and the names of its columns.
    """

    def __init__(self, made: statements.Statements) -> None:
        self._statements = made
        self._now = made.now()
        # Parents before children.
        self._new: dict[str, list[list[Any]]] = {"logbooks": [], "flowdetails": [], "atomdetails": []}
        self._changed: dict[statements.Statement, list[list[Any]]] = {}
        # Whose rows these are, in the same order.
        self._owners: dict[Any, list[Detail]] = collections.defaultdict(list)
        self.trying: tuple[Detail, Sequence[str]] | None = None

    def _add(self, table: sa.Table, row: list[Any], owner: Detail) -> None:
        self._new[table.name].append(row)
        self._owners[table.name].append(owner)

    def add_book(self, book: models.LogBook) -> None:
        """Notes a new book, without its flow details."""
        values = self._statements.values(book, statements.BOOK_FIELDS)
        self._add(tables.TABLES.logbooks, [book.uuid, *values], book)

    def add_flow(self, flow_detail: models.FlowDetail, book_uuid: str) -> None:
        """Notes a new flow detail, with its atom details."""
        values = self._statements.values(flow_detail, statements.FLOW_FIELDS)
        self._add(tables.TABLES.flowdetails, [flow_detail.uuid, book_uuid, self._now, *values], flow_detail)
        for atom_detail in flow_detail:
            self.add_atom(atom_detail, flow_detail.uuid)

    def add_atom(self, atom_detail: models.AtomDetail, flow_uuid: str) -> None:
        """Notes a new atom detail."""
        kind = models.atom_detail_type(atom_detail)
        values = self._statements.values(atom_detail, statements.ATOM_FIELDS)
        self._add(tables.TABLES.atomdetails, [atom_detail.uuid, flow_uuid, self._now, kind, *values], atom_detail)

    def change(self, detail: Detail, fields: Mapping[str, Any]) -> None:
        """Notes new values for some fields of a flow or atom detail."""
        self._note(*self._statements.change(detail, fields, self._now), detail)

    def _note(self, statement: statements.Statement, row: list[Any], owner: Detail) -> None:
        self._changed.setdefault(statement, []).append(row)
        self._owners[statement].append(owner)

    def merge_book(self, stored: models.LogBook, book: models.LogBook) -> None:
        """Merges a book into the stored one and notes what changes; its flow details are left."""
        self._merge(stored, book, tables.TABLES.logbooks, statements.BOOK_FIELDS)

    def merge_flow(self, stored: models.FlowDetail, flow_detail: models.FlowDetail) -> None:
        """Merges a flow detail into the stored one, with its atom details, and notes what changes."""
        self._merge(stored, flow_detail, tables.TABLES.flowdetails, statements.FLOW_FIELDS)
        for atom_detail in flow_detail:
            stored_atom = stored.find(atom_detail.uuid)
            if stored_atom is not None:
                self.merge_atom(stored_atom, atom_detail)
            else:
                self.add_atom(atom_detail, stored.uuid)
                stored.add(atom_detail)

    def merge_atom(self, stored: models.AtomDetail, atom_detail: models.AtomDetail) -> None:
        """Merges an atom detail into the stored one and notes what changes."""
        self._merge(stored, atom_detail, tables.TABLES.atomdetails, statements.ATOM_FIELDS)

    def _merge(self, stored: Any, given: Any, table: sa.Table, fields: Sequence[str]) -> None:
        before = self._statements.values(stored, fields)
        stored.merge(given)
        after = self._statements.values(stored, fields)
        changed = [i for i, field in enumerate(fields) if before[i] != after[i]]
        if not changed:
            return
        columns = [fields[i] for i in changed]
        values = [after[i] for i in changed]
        if table is not tables.TABLES.logbooks:
            columns.append("updated_at")
            values.append(self._now)
        self._note(self._statements.update(table, columns), [*values, stored.uuid], stored)

    def _batches(self) -> Iterator[tuple[statements.Statement, list[list[Any]], list[Detail]]]:
        for table in tables.TABLES:
            rows = self._new[table.name]
            if rows:
                yield self._statements.insert(table, _COLUMNS[table.name]), rows, self._owners[table.name]
        for statement, rows in self._changed.items():
            yield statement, rows, self._owners[statement]

    def write(self, session: sessions.Session) -> None:
        """Writes everything that was gathered."""
        for statement, rows, _ in self._batches():
            session.run_all(statement, rows)

    def write_singly(self, session: sessions.Session) -> None:
        """Writes everything that was gathered, but one row at a time."""
        for statement, rows, owners in self._batches():
            columns = [name for name, _ in statement.columns if name not in _NO_VALUES]
            for row, owner in zip(rows, owners, strict=True):
                self.trying = (owner, columns)
                session.run(statement, *row)
