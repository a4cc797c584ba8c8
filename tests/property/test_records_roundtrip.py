# SPDX-License-Identifier: Apache-2.0
"""Every record comes back as it was, whatever it holds and wherever it was kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_forms import atom_details, books, check_round_trip, exactly, values

from taskflow.persistence import backends, models
from taskflow.utils import json_utils


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
    check_round_trip(connection, book)


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
