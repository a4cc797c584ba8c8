# SPDX-License-Identifier: Apache-2.0
"""Which records can there be, and when are two of them the same?"""

from hypothesis import strategies as st

from taskflow import states
from taskflow.persistence import models
from taskflow.types import failure as ft

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
metas = st.dictionaries(texts, values, max_size=3)
# Times are in UTC, where no hour comes twice.
moments = st.none() | st.datetimes().map(lambda moment: moment.replace(fold=0))


@st.composite
def failures(draw, depth=2):
    causes = draw(st.lists(failures(depth - 1), max_size=1)) if depth else []
    return ft.Failure(
        exception_str=draw(texts),
        traceback_str=draw(texts),
        exc_type_names=draw(st.lists(texts, max_size=2)) + ["Exception"],
        exc_args=draw(st.lists(values, max_size=2)),
        causes=causes,
    )


@st.composite
def atom_details(draw, uuid, names=names, texts=texts):
    """Atom details; with names, states and versions of certain kinds."""
    cls = draw(st.sampled_from([models.TaskDetail, models.RetryDetail]))
    detail = cls(draw(names), uuid)
    detail.state = draw(st.none() | texts)
    detail.intention = draw(st.sampled_from(states.INTENTIONS))
    if cls is models.RetryDetail:
        attempts = st.tuples(values, st.dictionaries(texts, failures(), max_size=2))
        detail.results = draw(st.lists(attempts, max_size=2))
    else:
        detail.results = draw(values)
    detail.failure = draw(st.none() | failures())
    detail.revert_results = draw(values)
    detail.revert_failure = draw(st.none() | failures())
    detail.meta = draw(metas)
    detail.version = draw(st.none() | texts)
    return detail


@st.composite
def books(draw, names=names, texts=texts, moments=moments):
    """Books with all that can be in them; with names, states, versions and times of certain kinds."""
    book = models.LogBook(draw(names), "B")
    for f in range(draw(st.integers(0, 2))):
        flow_detail = models.FlowDetail(draw(names), f"F{f}")
        flow_detail.state, flow_detail.meta = draw(st.none() | texts), draw(metas)
        for a in range(draw(st.integers(0, 3))):
            flow_detail.add(draw(atom_details(f"A{f}{a}", names, texts)))
        book.add(flow_detail)
    book.meta, book.created_at, book.updated_at = draw(metas), draw(moments), draw(moments)
    return book


def exactly(value):
    """Makes 1, 1.0 and True different, and a tuple like a list."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exactly(item) for item in value]
    return (type(value).__name__, repr(value))


def form(book):
    """All of a book, so that it can be compared."""
    return exactly(
        [
            book.to_dict(),
            {fd.uuid: [fd.to_dict(), {ad.uuid: [type(ad).__name__, ad.to_dict()] for ad in fd}] for fd in book},
        ]
    )


def check_round_trip(connection, book):
    """Checks that a book, whose uuid is B, comes back in every way and can be stored as it came."""
    connection.save_logbook(book)
    try:
        assert form(connection.get_logbook("B")) == form(book)
        assert [form(read) for read in connection.get_logbooks()] == [form(book)]
        connection.save_logbook(connection.get_logbook("B"))
        assert form(connection.get_logbook("B")) == form(book)
    finally:
        connection.destroy_logbook("B")
