# SPDX-License-Identifier: Apache-2.0
"""What every persistence backend and its connections can do."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

from taskflow import exceptions as exc
from taskflow.persistence import models

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from taskflow.persistence import surveys

    # What changes in a unit of work: a detail, and the new values of some of its fields.
    Change = tuple[models.FlowDetail | models.AtomDetail, Mapping[str, Any]]


class Backend(abc.ABC):
    """A place where records are kept.

    Args:
        conf: the options of the backend.

    Attributes:
        durable: whether what was written survives the end of the process.

    Raises:
        TypeError: the options are not a dictionary.
    """

    durable: ClassVar[bool] = True

    def __init__(self, conf: dict[str, Any] | None) -> None:
        if not conf:
            conf = {}
        if not isinstance(conf, dict):
            msg = f"The options of a persistence backend must be a dictionary, not {type(conf)}"
            raise TypeError(msg)
        self._conf = conf

    @abc.abstractmethod
    def get_connection(self) -> Connection:
        """Returns a connection, through which records are read and written."""

    @abc.abstractmethod
    def close(self) -> None:
        """Releases everything that this backend holds."""


class Connection(abc.ABC):
    """A way to read and write the records of a backend."""

    @property
    @abc.abstractmethod
    def backend(self) -> Backend:
        """The backend that this connection belongs to."""

    @abc.abstractmethod
    def close(self) -> None:
        """Releases what this connection holds; it can still be used afterwards."""

    @abc.abstractmethod
    def upgrade(self) -> None:
        """Brings the layout of the backend up to date; to be called once before a new backend is used."""

    @abc.abstractmethod
    def clear_all(self) -> None:
        """Removes every record."""

    @abc.abstractmethod
    def validate(self) -> None:
        """Raises an error if the backend can not be used."""

    @abc.abstractmethod
    def update_atom_details(self, atom_detail: models.AtomDetail) -> models.AtomDetail:
        """Merges an atom detail into the stored one and returns the result.

        Raises:
            NotFound: the atom detail is not stored.
        """

    @abc.abstractmethod
    def update_flow_details(self, flow_detail: models.FlowDetail) -> models.FlowDetail:
        """Merges a flow detail into the stored one, with its atom details, and returns the result.

        Atom details that are not stored yet are created; stored ones that the argument lacks are kept.

        Raises:
            NotFound: the flow detail is not stored.
        """

    @abc.abstractmethod
    def save_logbook(self, book: models.LogBook) -> models.LogBook:
        """Creates a book or merges it into the stored one, with everything in it."""

    @abc.abstractmethod
    def destroy_logbook(self, book_uuid: str) -> None:
        """Removes a book with everything in it.

        Raises:
            NotFound: there is no such book.
        """

    @abc.abstractmethod
    def get_logbook(self, book_uuid: str, lazy: bool = False) -> models.LogBook:
        """Reads a book.

        Args:
            book_uuid: which one.
            lazy: read the book without its flow details.

        Raises:
            NotFound: there is no such book.
        """

    @abc.abstractmethod
    def get_logbooks(self, lazy: bool = False) -> Iterator[models.LogBook]:
        """Reads all books, in no particular order."""

    @abc.abstractmethod
    def get_flows_for_book(self, book_uuid: str) -> Iterator[models.FlowDetail]:
        """Reads the flow details of a book."""

    @abc.abstractmethod
    def get_flow_details(self, fd_uuid: str, lazy: bool = False) -> models.FlowDetail:
        """Reads a flow detail.

        Args:
            fd_uuid: which one.
            lazy: read the flow detail without its atom details.

        Raises:
            NotFound: there is no such flow detail.
        """

    @abc.abstractmethod
    def get_atom_details(self, ad_uuid: str) -> models.AtomDetail:
        """Reads an atom detail.

        Raises:
            NotFound: there is no such atom detail.
        """

    @abc.abstractmethod
    def get_atoms_for_flow(self, fd_uuid: str) -> Iterator[models.AtomDetail]:
        """Reads the atom details of a flow detail."""

    def write(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[Change],
        added: Sequence[models.AtomDetail] = (),
    ) -> Sequence[models.AtomDetail]:
        """Writes one unit of work: some fields of a flow detail and of its atom details, and new atom details.

        Nothing of it is stored if anything of it can not be. The details themselves are not modified; the caller
        gives them the new values once this returned. Several changes may concern one detail: later ones win.

        Args:
            flow_detail: the record of the flow, as it is held in memory.
            changes: pairs of a detail (the flow detail or one of its atom details) and the new values by field name.
            added: new atom details to be created under the flow detail.

        Returns:
            Atom details that are stored under the flow detail but that it does not hold. They are looked for only if
            the flow detail itself changes or atom details are added, and only by backends whose
            update_flow_details() reads them.

        Raises:
            NotFound: the flow detail or an atom detail is not stored.
            StorageFailure: the backend failed, or a value can not be stored.
        """
        changed_flow = None
        changed: dict[str, models.AtomDetail] = {}
        for detail, fields in changes:
            if detail is flow_detail:
                if changed_flow is None:
                    changed_flow = flow_detail.copy(retain_contents=False)
                target: Any = changed_flow
            else:
                target = changed.get(detail.uuid)
                if target is None:
                    target = changed[detail.uuid] = detail.copy()  # type: ignore[assignment]
            for field, value in fields.items():
                setattr(target, field, value)
        if changed_flow is None and not added and len(changed) <= 1:
            for atom_detail in changed.values():
                self.update_atom_details(atom_detail)
            return ()
        for atom_detail in changed.values():
            # Below, an atom detail that is not stored would be created.
            try:
                self.get_atom_details(atom_detail.uuid)
            except exc.NotFound as e:
                msg = f"Atom detail '{atom_detail.name}' ({atom_detail.uuid}) is not stored, save it first"
                raise exc.NotFound(msg, cause=e) from e
        # The contract of update_flow_details() makes it one unit: stored atoms that the argument lacks are kept.
        unit = flow_detail.copy(retain_contents=False) if changed_flow is None else changed_flow
        for atom_detail in changed.values():
            unit.add(atom_detail)
        for atom_detail in added:
            unit.add(atom_detail)
        stored = self.update_flow_details(unit)
        if changed_flow is None and not added:
            return ()
        known = {atom_detail.uuid for atom_detail in added}
        return [ad for ad in stored if ad.uuid not in known and flow_detail.find(ad.uuid) is None]

    # -- housekeeping; see the module of that name for the functions to call

    def destroy_flow_details(self, fd_uuid: str) -> None:
        """Removes a flow detail with its atom details; the book that it is in stays.

        Raises:
            NotFound: there is no such flow detail.
            NotImplementedError: the backend can only remove whole books.
        """
        name = type(self.backend).__name__
        raise exc.NotImplementedError(
            f"Backend {name} can not remove single flow details such as {fd_uuid!r}: let its connections override"
            " destroy_flow_details(), or remove the whole book with destroy_logbook()"
        )

    def survey_books(self, size: int = 100, details: bool = True) -> Iterator[Sequence[surveys.BookSummary]]:
        """Goes through all books, reading a page of them as it is its turn.

        Times of flows are unknown to this default, so a book counts as changed when it was changed itself.

        Args:
            size: how many books make a page.
            details: whether to look at the states of atoms, too.
        """
        from taskflow.persistence import generic_surveys

        yield from generic_surveys.books(self, size, details)

    def survey_flows(
        self, book_uuid: str | None = None, size: int = 100, details: bool = True
    ) -> Iterator[Sequence[surveys.FlowSummary]]:
        """Goes through all flows, or through those of one book, reading a page of them as it is its turn.

        Args:
            book_uuid: whose flows; None for those of all books.
            size: how many flows make a page.
            details: whether to look at the states and failures of atoms, too.
        """
        from taskflow.persistence import generic_surveys

        yield from generic_surveys.flows(self, book_uuid, size, details)

    def discard(
        self, books: Sequence[str], flows: Mapping[str, Sequence[str]], terms: surveys.Terms
    ) -> surveys.Removed:
        """Removes the books and flows among some that meet the terms when it comes to it.

        Backends with transactions do it in one, and look in it whether the terms are met: what changes meanwhile stays.
        This default looks right before it removes each.

        Args:
            books: uuids of books, which are removed with all their flows.
            flows: the uuids of the books that a flow is in (none if unknown) by the uuids of flows to be removed.
            terms: what must be so.

        Raises:
            NotImplementedError: flows are given, and the backend can only remove whole books.
        """
        from taskflow.persistence import generic_surveys

        return generic_surveys.discard(self, books, flows, terms)


def _format_atom(atom_detail: models.AtomDetail) -> dict[str, Any]:
    """Makes the envelope in which backends without typed columns keep an atom detail."""
    return {"atom": atom_detail.to_dict(), "type": models.atom_detail_type(atom_detail)}


def unstorable(
    detail: models.LogBook | models.FlowDetail | models.AtomDetail, field: str, error: Exception
) -> exc.StorageFailure:
    """Makes the error for a value that can not be stored, and never will be.

    Args:
        detail: whose value it is.
        field: the attribute that holds it.
        error: what came of the attempt.

    Returns:
        An error with two more attributes: ``permanent`` (true) and ``atom_uuid`` (None unless an atom is concerned).
    """
    failure = exc.StorageFailure(
        f"{type(detail).__name__} '{detail.name}' ({detail.uuid}) has a value in '{field}' that can not be stored;"
        f" give it one that can",
        cause=error,
    )
    failure.permanent = True  # type: ignore[attr-defined]
    failure.atom_uuid = detail.uuid if isinstance(detail, models.AtomDetail) else None  # type: ignore[attr-defined]
    return failure
