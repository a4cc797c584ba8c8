# SPDX-License-Identifier: Apache-2.0
"""How are records read from a database, with few statements and not more of them at once than are asked for?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow.persistence.backends.sqlalchemy import statements, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import sqlalchemy as sa

    from taskflow.persistence import base, models
    from taskflow.persistence.backends.sqlalchemy import sessions

# How many records a statement reads where there may be any number of them.
PAGE = 100


class Reader:
    """Reads records in the transaction of a session.

    Args:
        made: the statements of the dialect in use.
    """

    def __init__(self, made: statements.Statements) -> None:
        self._statements = made

    def one(
        self, session: sessions.Session, table: sa.Table, columns: Sequence[str], uuid: str, lock: bool = False
    ) -> Any:
        """Reads a row, or None; it can be kept from changing until the end of the transaction."""
        rows = session.rows(self._statements.select(table, columns, by="uuid", lock=lock), uuid)
        return rows[0] if rows else None

    def by_page(self, session: sessions.Session, table: sa.Table, columns: Sequence[str], uuids: Sequence[str]) -> Any:
        """Reads the rows of not more than a page of uuids."""
        select = self._statements.select(table, columns, by="uuid", values=PAGE)
        # Always as many values, so that there is one text.
        return session.rows(select, *uuids, *([uuids[0]] * (PAGE - len(uuids))))

    def atoms(self, session: sessions.Session, flow_uuid: str) -> list[models.AtomDetail]:
        """Reads the atom details of a flow."""
        select = self._statements.select(tables.TABLES.atomdetails, statements.READ_ATOM, by="parent_uuid")
        return [self._statements.read_atom(row) for row in session.rows(select, flow_uuid)]

    def flow_uuids(self, session: sessions.Session, book_uuid: str) -> list[str]:
        """Reads which flow details a book has."""
        select = self._statements.select(tables.TABLES.flowdetails, ("uuid",), by="parent_uuid")
        return [uuid for (uuid,) in session.rows(select, book_uuid)]

    def flows(self, session: sessions.Session, uuids: Sequence[str], lazy: bool) -> list[models.FlowDetail]:
        """Reads those of a page of flow details that are (still) there, in the order given."""
        rows = self.by_page(session, tables.TABLES.flowdetails, statements.READ_FLOW, uuids)
        found = {row[0]: self._statements.read_flow(row) for row in rows}
        if not lazy and found:
            columns = ("parent_uuid", *statements.READ_ATOM)
            select = self._statements.select(tables.TABLES.atomdetails, columns, by="parent_uuid", values=PAGE)
            self._fill(found, session.rows(select, *uuids, *([uuids[0]] * (PAGE - len(uuids)))))
        return [found[uuid] for uuid in uuids if uuid in found]

    def _fill(self, flow_details: dict[str, models.FlowDetail], rows: Iterable[Sequence[Any]]) -> None:
        for parent, *row in rows:
            if parent in flow_details:
                flow_details[parent].add(self._statements.read_atom(row))

    def fill_flow(self, session: sessions.Session, flow_detail: models.FlowDetail) -> None:
        """Reads a flow's atom details into it."""
        for atom_detail in self.atoms(session, flow_detail.uuid):
            flow_detail.add(atom_detail)

    def fill_book(self, session: sessions.Session, book: models.LogBook) -> None:
        """Reads a book's flow details, with their atom details, into it."""
        select = self._statements.select(tables.TABLES.flowdetails, statements.READ_FLOW, by="parent_uuid")
        found = {row[0]: self._statements.read_flow(row) for row in session.rows(select, book.uuid)}
        if found:
            atoms = self._statements.grandchildren(("parent_uuid", *statements.READ_ATOM))
            self._fill(found, session.rows(atoms, book.uuid))
        # Reading must not look like a change: LogBook.add() would note the time.
        updated_at = book.updated_at
        for flow_detail in found.values():
            book.add(flow_detail)
        book.updated_at = updated_at

    def check_all(
        self, session: sessions.Session, flow_detail: models.FlowDetail, changes: Sequence[base.Change]
    ) -> None:
        """Looks whether all details that change are stored.

        Raises:
            NotFound: one is not.
        """
        for detail, _ in changes:
            table = tables.TABLES.flowdetails if detail is flow_detail else tables.TABLES.atomdetails
            if self.one(session, table, ("uuid",), detail.uuid) is None:
                raise exc.NotFound(
                    f"{type(detail).__name__} '{detail.name}' ({detail.uuid}) is not stored, save it first"
                )

    def others(
        self, session: sessions.Session, flow_detail: models.FlowDetail, added: Sequence[models.AtomDetail]
    ) -> Sequence[models.AtomDetail]:
        """Reads the atom details of a flow that neither it nor a sequence has."""
        atoms = tables.TABLES.atomdetails
        new = [atom_detail.uuid for atom_detail in added if flow_detail.find(atom_detail.uuid) is None]
        ((count,),) = session.rows(self._statements.count(atoms, by="parent_uuid"), flow_detail.uuid)
        if count == len(flow_detail) + len(new):
            return ()
        known = {atom_detail.uuid for atom_detail in flow_detail}.union(new)
        stored = session.rows(self._statements.select(atoms, ("uuid",), by="parent_uuid"), flow_detail.uuid)
        others = [uuid for (uuid,) in stored if uuid not in known]
        rows = [self.one(session, atoms, statements.READ_ATOM, uuid) for uuid in others]
        return [self._statements.read_atom(row) for row in rows if row is not None]
