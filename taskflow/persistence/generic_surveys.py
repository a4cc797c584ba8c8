# SPDX-License-Identifier: Apache-2.0
"""How does housekeeping go through, and remove, the records of any backend, through no more than its interface?"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, TypeVar

from taskflow import exceptions as exc
from taskflow.persistence import surveys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from taskflow.persistence import base, models

_Summary = TypeVar("_Summary", surveys.BookSummary, surveys.FlowSummary)


def _flows_of(connection: base.Connection, book: models.LogBook) -> Iterator[surveys.FlowSummary]:
    # Only books say when they were changed.
    changed = surveys.newest([book.created_at, book.updated_at])
    try:
        for flow_detail in connection.get_flows_for_book(book.uuid):
            yield surveys.summarize_flow(flow_detail, (book.uuid,), None, changed)
    except exc.NotFound:
        # Removed meanwhile.
        return


def _each_book(connection: base.Connection, only: str | None = None) -> Iterator[models.LogBook]:
    # First which there are: a listing need not go on once some of what it lists is removed.
    uuids = [book.uuid for book in connection.get_logbooks(lazy=True)] if only is None else [only]
    for uuid in uuids:
        try:
            book = connection.get_logbook(uuid, lazy=True)
        except exc.NotFound:
            continue
        yield book


def _pages(found: Iterator[_Summary], size: int) -> Iterator[list[_Summary]]:
    while page := list(itertools.islice(found, size)):
        yield page


def books(connection: base.Connection, size: int, details: bool) -> Iterator[list[surveys.BookSummary]]:
    """Goes through all books, a page after the other."""
    found = (surveys.summarize_book(book, _flows_of(connection, book)) for book in _each_book(connection))
    return _pages(found if details else (dataclasses.replace(book, atoms={}) for book in found), size)


def flows(
    connection: base.Connection, book_uuid: str | None, size: int, details: bool
) -> Iterator[list[surveys.FlowSummary]]:
    """Goes through the flows of one book or of all books, a page after the other."""
    found = (flow for book in _each_book(connection, book_uuid) for flow in _flows_of(connection, book))
    return _pages(found if details else (dataclasses.replace(flow, atoms={}, failures={}) for flow in found), size)


def discard(
    connection: base.Connection, books: Sequence[str], flows: Mapping[str, Sequence[str]], terms: surveys.Terms
) -> surveys.Removed:
    """Removes books and flows; each is looked at right before."""
    removed = surveys.Removed()
    for flow_uuid, book_uuids in flows.items():
        try:
            found = [connection.get_logbook(book_uuid, lazy=True) for book_uuid in book_uuids]
            changed = surveys.newest(moment for book in found for moment in (book.created_at, book.updated_at))
            flow_detail = connection.get_flow_details(flow_uuid)
            flow = surveys.summarize_flow(flow_detail, tuple(book_uuids), None, changed)
            objection = terms.objection(flow)
            if objection is None:
                connection.destroy_flow_details(flow_uuid)
        except exc.NotFound:
            objection = surveys.GONE
        if objection is not None:
            removed.kept[flow_uuid] = objection
            continue
        removed.flows += 1
        removed.atoms += flow.atom_count
    for book_uuid in books:
        try:
            book = connection.get_logbook(book_uuid, lazy=True)
            summary = surveys.summarize_book(book, _flows_of(connection, book))
            objection = terms.objection(summary)
            if objection is None:
                connection.destroy_logbook(book_uuid)
        except exc.NotFound:
            objection = surveys.GONE
        if objection is not None:
            removed.kept[book_uuid] = objection
            continue
        removed.books += 1
        removed.flows += sum(summary.flows.values())
        removed.atoms += summary.atom_count
    return removed
