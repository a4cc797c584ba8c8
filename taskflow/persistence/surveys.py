# SPDX-License-Identifier: Apache-2.0
"""What housekeeping sees of a book or a flow, and what may be removed, whichever backend holds it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

from taskflow import states
from taskflow.persistence import times

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taskflow.persistence import models

# A flow in one of these belongs to an engine, unless that one died.
ACTIVE = frozenset((states.RUNNING, states.SUSPENDING, states.RESUMING))

# What a run ends with. All else (pending, suspended) waits for somebody who goes on with it.
FINISHED = frozenset((states.SUCCESS, states.REVERTED, states.FAILURE))

# How much of failures a summary shows; all of it is in the record itself.
FAILURES_SHOWN = 10
TEXT_SHOWN = 200

GONE = "not stored (any more)"
UNKNOWN_AGE = "time of last change unknown"
YOUNG = "changed too recently"
SHARED = "shares a flow with another book"


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSummary:
    """What there is to say about a flow in short.

    Attributes:
        uuid: of its flow detail.
        name: of the flow.
        state: of the flow; one that has none yet is pending.
        book_uuids: the books that it is in: one, but backends with paths let books share a flow.
        created_at: when it was stored first, in UTC without a zone; None if the backend does not know.
        changed_at: when it or one of its atoms was last written, likewise.
        atom_count: how many atoms it has.
        atoms: how many atoms are in which state; empty if they were not looked at.
        failures: texts of failures by the names of atoms, cut to a length, and the first ones only; likewise.
    """

    uuid: str
    name: str
    state: str
    book_uuids: tuple[str, ...]
    created_at: dt.datetime | None
    changed_at: dt.datetime | None
    atom_count: int
    atoms: Mapping[str, int]
    failures: Mapping[str, str]

    @property
    def age(self) -> dt.timedelta | None:
        """The time since the last change, or None if that is unknown."""
        return None if self.changed_at is None else times.utc_now() - self.changed_at


@dataclasses.dataclass(frozen=True, slots=True)
class BookSummary:
    """What there is to say about a book in short.

    Attributes:
        uuid: of the book.
        name: of the book.
        created_at: when it was made, in UTC without a zone; None if it does not say.
        changed_at: when it, one of its flows or one of their atoms was last written, likewise.
        flows: how many flows are in which state.
        atom_count: how many atoms its flows have.
        atoms: how many atoms are in which state; empty if they were not looked at.
        shared: whether one of its flows is in another book, too.
    """

    uuid: str
    name: str
    created_at: dt.datetime | None
    changed_at: dt.datetime | None
    flows: Mapping[str, int]
    atom_count: int
    atoms: Mapping[str, int]
    shared: bool = False

    @property
    def age(self) -> dt.timedelta | None:
        """The time since the last change, or None if that is unknown."""
        return None if self.changed_at is None else times.utc_now() - self.changed_at


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """Which records may be removed.

    Args:
        states: the states that flows may be in; None for any.
        changed_before: when the last change must have been before, in UTC without a zone; None for any time.
        even_active: whether flows may go that seem to be run by somebody.
        even_shared: whether a book may go whose flows are in another book, too.
    """

    states: frozenset[str] | None = None
    changed_before: dt.datetime | None = None
    even_active: bool = False
    even_shared: bool = False

    def objection(self, summary: BookSummary | FlowSummary) -> str | None:
        """Says why a record must stay, or returns None."""
        is_book = isinstance(summary, BookSummary)
        found = sorted(summary.flows) if isinstance(summary, BookSummary) else [summary.state]
        for state in found:
            wanted = self.states is None or state in self.states
            if not wanted or (state in ACTIVE and not self.even_active):
                return f"has a flow in state {state}" if is_book else f"in state {state}"
        if isinstance(summary, BookSummary) and summary.shared and not self.even_shared:
            return SHARED
        if self.changed_before is not None:
            if summary.changed_at is None:
                return UNKNOWN_AGE
            if summary.changed_at >= self.changed_before:
                return YOUNG
        return None


@dataclasses.dataclass(slots=True)
class Removed:
    """What one transaction removed.

    Attributes:
        books: how many books.
        flows: how many flows.
        atoms: how many atoms.
        kept: why a record stayed, by its uuid.
    """

    books: int = 0
    flows: int = 0
    atoms: int = 0
    kept: dict[str, str] = dataclasses.field(default_factory=dict)


def state_of(state: str | None) -> str:
    """Returns the name of a stored state, which is None before the first change."""
    return state or states.PENDING


def newest(moments: Iterable[dt.datetime | None]) -> dt.datetime | None:
    """Returns the latest of some times in UTC without a zone; None if there is none."""
    return max((_plain(moment) for moment in moments if moment is not None), default=None)


def _plain(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def short_text(failure: Mapping[str, Any] | None) -> str | None:
    """Says in one line what a stored failure is about; None if there is none."""
    if not failure:
        return None
    kind = next(iter(failure.get("exc_type_names") or ()), "failure")
    text = " ".join(str(failure.get("exception_str") or "").split())
    line = f"{kind}: {text}" if text else str(kind)
    return line if len(line) <= TEXT_SHOWN else f"{line[: TEXT_SHOWN - 3]}..."


def summarize_flow(
    flow_detail: models.FlowDetail,
    book_uuids: tuple[str, ...],
    created_at: dt.datetime | None,
    changed_at: dt.datetime | None,
) -> FlowSummary:
    """Makes the summary of a flow whose record is at hand, with its atoms.

    Args:
        flow_detail: the record.
        book_uuids: the books that it is in.
        created_at: when it was stored first, if that is known.
        changed_at: when it or an atom of it was last written, if that is known.
    """
    atoms: dict[str, int] = {}
    failures: dict[str, str] = {}
    for atom_detail in flow_detail:
        state = state_of(atom_detail.state)
        atoms[state] = atoms.get(state, 0) + 1
        failure = atom_detail.revert_failure or atom_detail.failure
        if failure and len(failures) < FAILURES_SHOWN:
            text = short_text({"exc_type_names": tuple(failure), "exception_str": failure.exception_str})
            failures[atom_detail.name] = text or ""
    return FlowSummary(
        flow_detail.uuid,
        flow_detail.name,
        state_of(flow_detail.state),
        book_uuids,
        created_at,
        changed_at,
        len(flow_detail),
        atoms,
        failures,
    )


def summarize_book(
    book: models.LogBook, flows: Iterable[FlowSummary], more: Iterable[dt.datetime | None] = (), shared: bool = False
) -> BookSummary:
    """Makes the summary of a book from its record and the summaries of its flows.

    Args:
        book: the record; flows in it are not looked at.
        flows: the summaries.
        more: other times at which the book was written.
        shared: whether one of its flows is in another book, too.
    """
    counted: dict[str, int] = {}
    atoms: dict[str, int] = {}
    atom_count = 0
    changed = [book.created_at, book.updated_at, *more]
    for flow in flows:
        counted[flow.state] = counted.get(flow.state, 0) + 1
        atom_count += flow.atom_count
        changed.append(flow.changed_at)
        for state, count in flow.atoms.items():
            atoms[state] = atoms.get(state, 0) + count
    created = newest([book.created_at])
    return BookSummary(book.uuid, book.name, created, newest(changed), counted, atom_count, atoms, shared)
