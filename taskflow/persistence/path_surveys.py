# SPDX-License-Identifier: Apache-2.0
"""How housekeeping goes through records that have paths, and how it removes them."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow.persistence import surveys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from taskflow.persistence import path_based

# Path and what was known about it, for everything that a decision rests upon.
_Stamps = list[tuple[str, Any]]


class Surveyor:
    """Goes through the records of a connection.

    Args:
        connection: whose records; nothing of it is kept between calls.
    """

    def __init__(self, connection: path_based.PathBasedConnection) -> None:
        self._connection = connection
        self._join = connection._join_path

    # -- looking

    def _children(self, path: str) -> list[str]:
        try:
            return self._connection._get_children(path)
        except exc.NotFound:
            # Removed since its name was read, or never made.
            return []

    def links(self) -> dict[str, list[str]]:
        """Finds the books that each flow is in; only names are read."""
        found: dict[str, list[str]] = {}
        book_path = self._connection.book_path
        for book_uuid in self._children(book_path):
            for flow_uuid in self._children(self._join(book_path, book_uuid)):
                found.setdefault(flow_uuid, []).append(book_uuid)
        return found

    def _stamps(self, paths: Sequence[str], stamps: _Stamps | None) -> list[path_based.Stamp]:
        """Asks when items were written; there is one answer less for each that is not there."""
        known = [
            (path, stamp)
            for path, stamp in zip(paths, self._connection._stamps(paths), strict=True)
            if stamp is not None
        ]
        if stamps is not None:
            stamps += known
        return [stamp for _, stamp in known]

    def flow(
        self, flow_uuid: str, book_uuids: Sequence[str], details: bool, stamps: _Stamps | None = None
    ) -> surveys.FlowSummary | None:
        """Looks at a flow; returns None if it is not there."""
        connection = self._connection
        path = self._join(connection.flow_path, flow_uuid)
        # First the stamps: a change after that is noticed when the record is removed.
        found = self._stamps([path], stamps)
        if not found:
            return None
        own = found[0]
        atom_uuids = self._children(path)
        of_atoms = self._stamps([self._join(connection.atom_path, uuid) for uuid in atom_uuids], stamps)
        changed = [own.changed_at, *(stamp.changed_at for stamp in of_atoms)]
        if own.changed_at is None:
            changed = [moment for book_uuid in book_uuids for moment in self._book_times(book_uuid)]
        try:
            record = connection.get_flow_details(flow_uuid, lazy=True)
        except exc.NotFound:
            return None
        for atom_uuid in atom_uuids if details else ():
            with contextlib.suppress(exc.NotFound):
                record.add(connection.get_atom_details(atom_uuid))
        made = surveys.summarize_flow(record, tuple(book_uuids), own.created_at, surveys.newest(changed))
        if details:
            return made
        return dataclasses.replace(made, atom_count=len(atom_uuids))

    def _book_times(self, book_uuid: str) -> list[Any]:
        try:
            book = self._connection.get_logbook(book_uuid, lazy=True)
        except exc.NotFound:
            return []
        return [book.created_at, book.updated_at]

    def book(
        self,
        book_uuid: str,
        links: Mapping[str, Sequence[str]] | None,
        details: bool,
        stamps: _Stamps | None = None,
    ) -> surveys.BookSummary | None:
        """Looks at a book with its flows; returns None if it is not there."""
        path = self._join(self._connection.book_path, book_uuid)
        found = self._stamps([path], stamps)
        if not found:
            return None
        own = found[0]
        try:
            flow_uuids = self._children(path)
            flows = [self.flow(uuid, (book_uuid,), details, stamps) for uuid in flow_uuids]
            book = self._connection.get_logbook(book_uuid, lazy=True)
        except exc.NotFound:
            return None
        shared = links is not None and any(len(links.get(uuid, ())) > 1 for uuid in flow_uuids)
        return surveys.summarize_book(book, [flow for flow in flows if flow], [own.changed_at], shared)

    def books(self, size: int, details: bool) -> Iterator[list[surveys.BookSummary]]:
        """Goes through all books."""
        links = self.links()
        uuids = sorted(self._children(self._connection.book_path))
        for i in range(0, len(uuids), size):
            page = [self.book(uuid, links, details) for uuid in uuids[i : i + size]]
            yield [book for book in page if book]

    def flows(self, book_uuid: str | None, size: int, details: bool) -> Iterator[list[surveys.FlowSummary]]:
        """Goes through all flows, or through those of one book."""
        links = self.links()
        uuids = sorted(uuid for uuid, books in links.items() if book_uuid is None or book_uuid in books)
        for i in range(0, len(uuids), size):
            page = [self.flow(uuid, links[uuid], details) for uuid in uuids[i : i + size]]
            yield [flow for flow in page if flow]

    # -- removing

    def _remove_flow(self, flow_uuid: str, book_uuids: Sequence[str], transaction: Any) -> int:
        connection = self._connection
        # First what leads to the flow, so that nobody meets a link to what is no longer there.
        for book_uuid in book_uuids:
            link = self._join(self._join(connection.book_path, book_uuid), flow_uuid)
            if flow_uuid in self._children(self._join(connection.book_path, book_uuid)):
                connection._del_link(link, transaction)
        path = self._join(connection.flow_path, flow_uuid)
        atom_uuids = self._children(path)
        for atom_uuid in atom_uuids:
            with contextlib.suppress(exc.NotFound):
                connection._del_tree(self._join(connection.atom_path, atom_uuid), transaction)
        with contextlib.suppress(exc.NotFound):
            connection._del_tree(path, transaction)
        return len(atom_uuids)

    def discard(
        self, books: Sequence[str], flows: Mapping[str, Sequence[str]], terms: surveys.Terms
    ) -> surveys.Removed:
        """Removes books and flows that meet the terms, in one transaction.

        Args:
            books: their uuids.
            flows: the books that they are in, by their uuids; all books are searched for a flow with none.
            terms: what has to be so, at this very moment, for a record to be removed.
        """
        connection = self._connection
        removed = surveys.Removed()
        with connection._transaction() as transaction:
            links = self.links() if not all(flows.values()) else {}
            for flow_uuid, given in flows.items():
                stamps: _Stamps = []
                book_uuids = given or links.get(flow_uuid, ())
                flow = self.flow(flow_uuid, book_uuids, False, stamps)
                objection = surveys.GONE if flow is None else terms.objection(flow)
                if objection is not None:
                    removed.kept[flow_uuid] = objection
                    continue
                self._expect(stamps, transaction)
                removed.atoms += self._remove_flow(flow_uuid, book_uuids, transaction)
                removed.flows += 1
            for book_uuid in books:
                stamps = []
                book = self.book(book_uuid, None, False, stamps)
                objection = surveys.GONE if book is None else terms.objection(book)
                if objection is not None:
                    removed.kept[book_uuid] = objection
                    continue
                self._expect(stamps, transaction)
                path = self._join(connection.book_path, book_uuid)
                for flow_uuid in self._children(path):
                    removed.atoms += self._remove_flow(flow_uuid, (), transaction)
                    removed.flows += 1
                connection._del_tree(path, transaction)
                removed.books += 1
        return removed

    def _expect(self, stamps: _Stamps, transaction: Any) -> None:
        for path, stamp in stamps:
            self._connection._expect(path, stamp, transaction)

    def destroy_flow(self, flow_uuid: str) -> None:
        """Removes a flow and the links to it.

        Raises:
            NotFound: there is no such flow.
        """
        terms = surveys.Terms(even_active=True, even_shared=True)
        if self.discard((), {flow_uuid: ()}, terms).kept:
            raise exc.NotFound(f"No flow detail with uuid {flow_uuid!r} is stored")
