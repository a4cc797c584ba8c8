# SPDX-License-Identifier: Apache-2.0
"""Every record comes back as it was, whatever it holds and wherever it was kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import states
from taskflow.persistence import backends, models
from taskflow.types import failure as ft
from taskflow.utils import json_utils

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
def atom_details(draw, uuid):
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
def books(draw):
    book = models.LogBook(draw(names), "B")
    for f in range(draw(st.integers(0, 2))):
        flow_detail = models.FlowDetail(draw(names), f"F{f}")
        flow_detail.state, flow_detail.meta = draw(st.none() | texts), draw(metas)
        for a in range(draw(st.integers(0, 3))):
            flow_detail.add(draw(atom_details(f"A{f}{a}")))
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
    return exactly(
        [
            book.to_dict(),
            {fd.uuid: [fd.to_dict(), {ad.uuid: [type(ad).__name__, ad.to_dict()] for ad in fd}] for fd in book},
        ]
    )


@given(books())
def test_dictionaries(book):
    read = models.LogBook.from_dict(book.to_dict(marshal_time=True), unmarshal_time=True)
    assert exactly(read.to_dict()) == exactly(book.to_dict())
    for flow_detail in book:
        assert exactly(models.FlowDetail.from_dict(flow_detail.to_dict()).to_dict()) == exactly(flow_detail.to_dict())
        for detail in flow_detail:
            read = type(detail).from_dict(detail.to_dict())
            assert exactly(read.to_dict()) == exactly(detail.to_dict())
            assert exactly(detail.copy().to_dict()) == exactly(detail.to_dict())


@given(atom_details("A"))
def test_json(detail):
    text = json_utils.encode(detail.to_dict())
    assert text == json.dumps(detail.to_dict())
    assert exactly(type(detail).from_dict(json_utils.decode(text)).to_dict()) == exactly(detail.to_dict())


@given(values)
def test_any_value_is_written_as_the_standard_library_does(value):
    assert json_utils.encode(value) == json.dumps(value)


@pytest.fixture(scope="module", params=["memory", "references", "sqlite memory", "sqlite file"])
def connection(request, tmp_path_factory):
    conf = {
        "memory": {"connection": "memory"},
        "references": {"connection": "memory", "deep_copy": False},
        "sqlite memory": {"connection": "sqlite://"},
        "sqlite file": {
            "connection": f"sqlite:///{tmp_path_factory.mktemp('records')}/book.db",
            "sqlite_synchronous": "OFF",
        },
    }[request.param]
    with backends.backend(conf) as backend:
        yield backend.get_connection()


@given(book=books())
def test_backends(connection, book):
    connection.save_logbook(book)
    try:
        assert form(connection.get_logbook("B")) == form(book)
        assert [form(read) for read in connection.get_logbooks()] == [form(book)]
        connection.save_logbook(connection.get_logbook("B"))
        assert form(connection.get_logbook("B")) == form(book)
    finally:
        connection.destroy_logbook("B")


@given(before=atom_details("A"), data=st.data())
def test_updates(connection, before, data):
    after = data.draw(atom_details("A").filter(lambda detail: type(detail) is type(before)))
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(before)
    connection.save_logbook(book)
    try:
        connection.update_atom_details(after)
        read = connection.get_atom_details("A")
        assert exactly(read.to_dict()) == exactly({**after.to_dict(), "name": before.name})
    finally:
        connection.destroy_logbook("B")


FIELDS = ("state", "intention", "results", "failure", "revert_results", "revert_failure", "meta", "version")


@given(before=atom_details("A"), data=st.data())
def test_units_of_work(connection, before, data):
    after = data.draw(atom_details("A").filter(lambda detail: type(detail) is type(before)))
    batches = data.draw(st.lists(st.lists(st.sampled_from(FIELDS), unique=True), max_size=3))
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(before)
    connection.save_logbook(book)
    try:
        expected = before.to_dict()
        for fields in batches:
            connection.write(flow_detail, [(before, {field: getattr(after, field) for field in fields})])
            for field in fields:
                setattr(before, field, getattr(after, field))
            expected.update({field: after.to_dict()[field] for field in fields})
            assert exactly(before.to_dict()) == exactly(expected)
            assert exactly(connection.get_atom_details("A").to_dict()) == exactly(expected)
    finally:
        connection.destroy_logbook("B")
        connection.close()
