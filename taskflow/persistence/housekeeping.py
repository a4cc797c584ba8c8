# SPDX-License-Identifier: Apache-2.0
"""How are the records of books and flows listed, looked into, and removed when nobody needs them any more?

Everything goes by pages: however many records there are, only a bounded number of them is held at once, and each page
that is removed is one transaction.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, TypeVar

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence import surveys, times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from taskflow.persistence import base, models

LOG = logging.getLogger(__name__)

ACTIVE = surveys.ACTIVE
FINISHED = surveys.FINISHED
BookSummary = surveys.BookSummary
FlowSummary = surveys.FlowSummary

_Summary = TypeVar("_Summary", BookSummary, FlowSummary)

BATCH_SIZE = 100

# A transaction takes not more atoms than this, unless a single book or flow has more: that goes whole or not at all.
MOST_ATOMS = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What was removed, or would be, and what was not.

    Attributes:
        books: how many books.
        flows: how many flows, those in the books included.
        atoms: how many atoms, likewise.
        kept: how many records were looked at and stay, by the reason.
        skipped: records that were to go, but stay after all, with the reason: they were named and may not be removed,
            or changed after they had been chosen.
        complete: whether all was looked at; if not, the limit was reached before.
        dry_run: whether nothing was really removed.
    """

    books: int
    flows: int
    atoms: int
    kept: Mapping[str, int]
    skipped: Mapping[str, str]
    complete: bool = True
    dry_run: bool = False


class _Removal:
    """Removes records by the batch, and counts."""

    def __init__(self, connection: base.Connection, terms: surveys.Terms, batch_size: int, dry_run: bool) -> None:
        self._connection = connection
        self._terms = terms
        self._size = batch_size
        self._dry_run = dry_run
        self._books: list[str] = []
        self._flows: dict[str, Sequence[str]] = {}
        self._flow_count = self._atom_count = 0
        self._counts = surveys.Removed()
        self.kept: collections.Counter[str] = collections.Counter()
        self.complete = True
        self.taken = 0

    def take(self, summary: BookSummary | FlowSummary) -> None:
        """Chooses a record, and removes what was chosen before if both do not fit into one batch."""
        self.taken += 1
        is_book = isinstance(summary, surveys.BookSummary)
        flows = sum(summary.flows.values()) if isinstance(summary, surveys.BookSummary) else 1
        if self._dry_run:
            self._counts.books += is_book
            self._counts.flows += flows
            self._counts.atoms += summary.atom_count
            return
        # An empty book is something to remove, too.
        weight = max(flows, 1)
        if self._flow_count and (
            self._flow_count + weight > self._size or self._atom_count + summary.atom_count > MOST_ATOMS
        ):
            self.finish_batch()
        self._flow_count += weight
        self._atom_count += summary.atom_count
        if isinstance(summary, surveys.BookSummary):
            self._books.append(summary.uuid)
        else:
            self._flows[summary.uuid] = summary.book_uuids

    def finish_batch(self) -> None:
        """Removes what was chosen, where it still meets the terms."""
        if not self._books and not self._flows:
            return
        removed = self._connection.discard(self._books, self._flows, self._terms)
        LOG.debug("Removed %s books, %s flows, %s atoms", removed.books, removed.flows, removed.atoms)
        self._counts.books += removed.books
        self._counts.flows += removed.flows
        self._counts.atoms += removed.atoms
        self._counts.kept.update(removed.kept)
        self.taken -= len(removed.kept)
        self._books, self._flows = [], {}
        self._flow_count = self._atom_count = 0

    def outcome(self) -> Outcome:
        """Returns what came of it."""
        counts = self._counts
        return Outcome(
            counts.books, counts.flows, counts.atoms, dict(self.kept), counts.kept, self.complete, self._dry_run
        )


def _connected(backend: base.Backend) -> contextlib.closing[base.Connection]:
    return contextlib.closing(backend.get_connection())


def _moment(age: dt.timedelta | float | None, name: str) -> dt.datetime | None:
    """Returns the time that lies an age back."""
    if age is None:
        return None
    if not isinstance(age, dt.timedelta):
        if isinstance(age, bool) or not isinstance(age, int | float):
            raise TypeError(f"'{name}' must be a timedelta or a number of seconds, not {age!r}")
        age = dt.timedelta(seconds=age)
    if age < dt.timedelta():
        raise ValueError(f"'{name}' must not be negative, it is {age}")
    try:
        return times.utc_now() - age
    except OverflowError:
        return dt.datetime.min  # noqa: DTZ901 - as all times of records


def _states(states: Iterable[str | None] | str | None) -> frozenset[str] | None:
    if states is None:
        return None
    if isinstance(states, str):
        states = (states,)
    return frozenset(surveys.state_of(state) for state in states)


def _checked_size(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"'batch_size' must be a whole number above 0, not {batch_size!r}")
    return batch_size


def _wanted(
    summary: BookSummary | FlowSummary,
    states: frozenset[str] | None,
    before: dt.datetime | None,
    after: dt.datetime | None,
) -> bool:
    if states is not None:
        found = summary.flows if isinstance(summary, surveys.BookSummary) else (summary.state,)
        if states.isdisjoint(found):
            return False
    changed_at = summary.changed_at
    if before is not None and (changed_at is None or changed_at >= before):
        return False
    return after is None or (changed_at is not None and changed_at >= after)


def _listed(
    backend: base.Backend,
    survey: Callable[[base.Connection], Iterator[Sequence[_Summary]]],
    states: Iterable[str | None] | str | None,
    older_than: dt.timedelta | float | None,
    newer_than: dt.timedelta | float | None,
) -> Iterator[_Summary]:
    # Wrong arguments are told of at once, not when the first record is asked for.
    wanted = _states(states), _moment(older_than, "older_than"), _moment(newer_than, "newer_than")

    def found() -> Iterator[_Summary]:
        with _connected(backend) as connection:
            for page in survey(connection):
                yield from (summary for summary in page if _wanted(summary, *wanted))

    return found()


def list_books(
    backend: base.Backend,
    *,
    states: Iterable[str | None] | str | None = None,
    older_than: dt.timedelta | float | None = None,
    newer_than: dt.timedelta | float | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[BookSummary]:
    """Goes through the books, in no order that means anything.

    Args:
        backend: what holds them.
        states: only those that have a flow in one of these states.
        older_than: only those of which nothing was changed for this long (a timedelta, or seconds).
        newer_than: only those of which something was changed since.
        batch_size: how many books are read at once.

    Raises:
        ValueError: an age is negative, or the batch size is not above 0.
        TypeError: an age is none.
    """
    size = _checked_size(batch_size)
    return _listed(backend, lambda connection: connection.survey_books(size), states, older_than, newer_than)


def list_flows(
    backend: base.Backend,
    *,
    book_uuid: str | None = None,
    states: Iterable[str | None] | str | None = None,
    older_than: dt.timedelta | float | None = None,
    newer_than: dt.timedelta | float | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[FlowSummary]:
    """Goes through the flows, in no order that means anything.

    Args:
        backend: what holds them.
        book_uuid: only those of this book; there are none if it is unknown.
        states: only those in one of these states.
        older_than: only those of which nothing was changed for this long (a timedelta, or seconds).
        newer_than: only those of which something was changed since.
        batch_size: how many flows are read at once.

    Raises:
        ValueError: an age is negative, or the batch size is not above 0.
        TypeError: an age is none.
    """
    size = _checked_size(batch_size)
    return _listed(backend, lambda connection: connection.survey_flows(book_uuid, size), states, older_than, newer_than)


def describe(backend: base.Backend, uuid: str) -> models.LogBook | models.FlowDetail:
    """Reads a book or a flow whole, with everything in it; its ``pformat()`` is a text to look at.

    Raises:
        NotFound: there is neither a book nor a flow with this uuid.
    """
    with _connected(backend) as connection:
        try:
            return connection.get_logbook(uuid)
        except exc.NotFound:
            pass
        try:
            return connection.get_flow_details(uuid)
        except exc.NotFound as e:
            raise exc.NotFound(f"Neither a log book nor a flow detail with uuid {uuid!r} is stored", cause=e) from e


def _batches(uuids: Iterable[str] | str, size: int) -> Iterator[list[str]]:
    # Not twice, even if named twice.
    named = list(dict.fromkeys((uuids,) if isinstance(uuids, str) else uuids))
    for i in range(0, len(named), size):
        yield named[i : i + size]


def delete_books(
    backend: base.Backend, uuids: Iterable[str] | str, *, even_active: bool = False, batch_size: int = BATCH_SIZE
) -> Outcome:
    """Removes named books with all their flows, finished or not.

    Args:
        backend: what holds them.
        uuids: which ones.
        even_active: also those that have a flow which seems to run (see ACTIVE); be sure that it does not.
        batch_size: how many books a transaction removes.

    Returns:
        What was removed; what was not, is in ``skipped``.
    """
    total = surveys.Removed()
    terms = surveys.Terms(even_active=even_active, even_shared=True)
    with _connected(backend) as connection:
        for batch in _batches(uuids, _checked_size(batch_size)):
            _add(total, connection.discard(batch, {}, terms))
    return Outcome(total.books, total.flows, total.atoms, {}, total.kept)


def delete_flows(
    backend: base.Backend, uuids: Iterable[str] | str, *, even_active: bool = False, batch_size: int = BATCH_SIZE
) -> Outcome:
    """Removes named flows, finished or not; their books stay.

    Args:
        backend: what holds them.
        uuids: which ones.
        even_active: also those that seem to run (see ACTIVE); be sure that they do not.
        batch_size: how many flows a transaction removes.

    Returns:
        What was removed; what was not, is in ``skipped``.

    Raises:
        NotImplementedError: the backend, another package's, can only remove whole books.
    """
    total = surveys.Removed()
    terms = surveys.Terms(even_active=even_active)
    with _connected(backend) as connection:
        for batch in _batches(uuids, _checked_size(batch_size)):
            _add(total, connection.discard((), dict.fromkeys(batch, ()), terms))
    return Outcome(total.books, total.flows, total.atoms, {}, total.kept)


def _add(total: surveys.Removed, removed: surveys.Removed) -> None:
    total.books += removed.books
    total.flows += removed.flows
    total.atoms += removed.atoms
    total.kept.update(removed.kept)


def purge(
    backend: base.Backend,
    *,
    older_than: dt.timedelta | float,
    states: Iterable[str | None] | str = FINISHED,
    whole_books: bool = True,
    even_active: bool = False,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Removes what nobody changed for a time and what ended in certain ways.

    A book goes if that is so of all its flows; a book without flows goes by its own age. Whether it is so is looked at
    again in the transaction that removes it. A purge that was interrupted can be done again, and several may go on at
    once.

    Args:
        backend: what holds the records.
        older_than: how long nothing of a record was changed (a timedelta, or seconds).
        states: those that flows must be in. Flows that are not finished go only if their state is named here.
        whole_books: remove books; otherwise single flows, and their books stay, even empty.
        even_active: allows to name states in which a flow seems to run (see ACTIVE); be sure that it does not.
        batch_size: how many flows a transaction removes at most, unless a single book has more.
        limit: how many books (flows, if not whole books) are removed at most.
        dry_run: remove nothing, count only.

    Returns:
        What was removed, and why the rest stays.

    Raises:
        ValueError: the age is negative, the batch size or the limit is not above 0, or a state is named in which a
            flow seems to run.
        TypeError: the age is none.
        NotImplementedError: single flows were to go, but the backend, another package's, can only remove whole books.
    """
    before = _moment(older_than, "older_than")
    if before is None:
        raise TypeError("'older_than' must be a timedelta or a number of seconds, not None")
    wanted = _states(states) or frozenset()
    running = sorted(wanted & ACTIVE)
    if running and not even_active:
        raise ValueError(
            f"Flows in state {', '.join(running)} may be in the hands of an engine; give even_active=True to remove"
            " them if you are sure that they are not"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"'limit' must be above 0, or None for no limit, not {limit!r}")
    terms = surveys.Terms(wanted, before, even_active)
    size = _checked_size(batch_size)
    with _connected(backend) as connection:
        removal = _Removal(connection, terms, size, dry_run)
        pages: Iterator[Sequence[BookSummary | FlowSummary]] = (
            connection.survey_books(size, details=False)
            if whole_books
            else connection.survey_flows(None, size, details=False)
        )
        for summary in (summary for page in pages for summary in page):
            objection = terms.objection(summary)
            if objection is not None:
                removal.kept[objection] += 1
                continue
            if limit is not None and removal.taken >= limit:
                removal.finish_batch()
            if limit is not None and removal.taken >= limit:
                removal.complete = False
                break
            removal.take(summary)
        removal.finish_batch()
        return removal.outcome()
