# SPDX-License-Identifier: Apache-2.0
"""Does whatever may be stored in a database server come back, and is what may not refused in one way everywhere?"""

import datetime as dt
import json
import time
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_forms import atom_details, books, check_round_trip, exactly, form

from taskflow import engines, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.types import failure as ft
from taskflow.utils import json_utils

KINDS = {
    "psycopg2": ("postgresql", "psycopg2"),
    "psycopg": ("postgresql", "psycopg"),
    "pymysql": ("mariadb", "pymysql"),
}
MB = 2**20
# Each example is some round trips to a server.
EXAMPLES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

_urls = {}


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def connection(request, kind):
    server, driver = KINDS[kind]
    server = request.getfixturevalue(server)
    if (server.port, kind) not in _urls:
        _urls[server.port, kind] = server.fresh(driver)
    backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": _urls[server.port, kind]})
    connection = backend.get_connection()
    connection.upgrade()
    connection.clear_all()
    yield connection
    backend.close()


def make_flow():
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.created_at = None
    book.add(flow_detail)
    book.updated_at = None
    for i in range(3):
        flow_detail.add(models.TaskDetail(f"t{i}", f"T{i}"))
    flow_detail.add(models.RetryDetail("r", "R"))
    return book, flow_detail


# -- records of which everything can be stored everywhere

# Columns other than those for JSON: PostgreSQL has no U+0000, and those of MariaDB end at U+FFFF.
plain = st.characters(exclude_categories=["Cs"], exclude_characters="\x00", max_codepoint=0xFFFF)
some_names = st.text(plain, min_size=1, max_size=10)
some_texts = st.text(plain, max_size=10)
# MariaDB has whole seconds, and begins with the year 1000.
some_moments = st.none() | st.datetimes(dt.datetime(1000, 1, 1)).map(lambda m: m.replace(fold=0, microsecond=0))
some_atoms = atom_details("A", some_names, some_texts)


@EXAMPLES
@given(book=books(some_names, some_texts, some_moments))
def test_books(connection, book):
    check_round_trip(connection, book)


FIELDS = ("state", "intention", "results", "failure", "revert_results", "revert_failure", "meta", "version")


@EXAMPLES
@given(before=some_atoms, data=st.data())
def test_updates_and_units_of_work(connection, before, data):
    after = data.draw(some_atoms.filter(lambda detail: type(detail) is type(before)))
    batches = data.draw(st.lists(st.lists(st.sampled_from(FIELDS), unique=True), max_size=3))
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(before)
    connection.save_logbook(book)
    try:
        expected = before.to_dict()
        for fields in batches:
            connection.write(flow_detail, [(before, {field: getattr(after, field) for field in fields})])
            expected.update({field: after.to_dict()[field] for field in fields})
            assert exactly(connection.get_atom_details("A").to_dict()) == exactly(expected)
        connection.update_atom_details(after)
        assert exactly(connection.get_atom_details("A").to_dict()) == exactly({**after.to_dict(), "name": before.name})
    finally:
        connection.destroy_logbook("B")


# -- values of every kind


class Stranger:
    """Has no form in JSON."""


any_text = st.lists(st.integers(0, 0x10FFFF) | st.sampled_from([0, 0xD800, 0xDFFF]), max_size=5).map(
    lambda points: "".join(map(chr, points))
)
kept = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.dates()
    | st.uuids()
    | st.decimals()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map(str.encode)
)
keys = any_text | st.integers() | st.booleans() | st.none()
# What no database takes, and what PostgreSQL does not.
never = st.builds(Stranger) | st.complex_numbers() | st.timedeltas() | st.just(b"\xff") | st.just({(1, 2): 3})
seldom = st.sampled_from([float("nan"), float("inf"), float("-inf")])


def containing(leaves):
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.sets(st.integers() | st.text(max_size=3), max_size=3)
            | st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=6,
    )


def ways(connection, value):
    """All ways in which a value gets into a record: title -> (what does it, whose it is, what reads it)."""
    _, flow = make_flow()
    first, second, third, retry = flow
    read, read_flow = connection.get_atom_details, connection.get_flow_details

    def direct(*changes):
        # A flow's own change takes the long way and leaves the short one open.
        connection.write(flow, [(flow, {"state": "RUNNING"})])
        connection.write(flow, changes)

    def update(uuid, **fields):
        detail = read(uuid)
        for field, new in fields.items():
            setattr(detail, field, new)
        connection.update_atom_details(detail)

    def update_flow():
        changed = models.FlowDetail("f", "F")
        changed.meta = {"x": value}
        changed.add(models.TaskDetail("t0", "T0"))
        connection.update_flow_details(changed)

    def add():
        new = models.TaskDetail("new", str(uuid.uuid4()))
        new.results = value
        connection.write(flow, [(first, {"state": "S"})], [models.TaskDetail("n", str(uuid.uuid4())), new])
        return new.uuid

    good = (first, {"state": "SUCCESS", "results": 1})
    return {
        "alone": (lambda: direct((second, {"results": value})), "T1", lambda: read("T1").results),
        "last": (lambda: direct(good, (second, {"results": value})), "T1", lambda: read("T1").results),
        "among equals": (
            lambda: direct((first, {"results": 1}), (second, {"results": value}), (third, {"results": 2})),
            "T1",
            lambda: read("T1").results,
        ),
        "with the flow": (
            lambda: connection.write(flow, [(flow, {"state": "X"}), good, (third, {"revert_results": value})]),
            "T2",
            lambda: read("T2").revert_results,
        ),
        "progress": (
            lambda: direct((first, {"meta": {"progress": 0.5, "progress_details": {"details": value}}})),
            "T0",
            lambda: read("T0").meta["progress_details"]["details"],
        ),
        "injected": (
            lambda: update("T0", meta={"injected": {"name": value}}),
            "T0",
            lambda: read("T0").meta["injected"]["name"],
        ),
        "of the flow": (lambda: direct((flow, {"meta": {"x": value}})), None, lambda: read_flow("F").meta["x"]),
        "flow updated": (update_flow, None, lambda: read_flow("F").meta["x"]),
        "history": (lambda: direct(good, (retry, {"results": [(value, {})]})), "R", lambda: read("R").results[0][0]),
        "updated": (lambda: update("T2", results=value), "T2", lambda: read("T2").results),
        "added": (add, ..., lambda: next(a for a in read_flow("F") if a.name == "new").results),
    }


@EXAMPLES
@given(value=containing(kept))
def test_values_come_back_as_json_has_them(connection, value):
    book, _ = make_flow()
    connection.save_logbook(book)
    try:
        expected = exactly(json.loads(json_utils.encode(value)))
        for title, (act, _, read) in ways(connection, value).items():
            act()
            assert exactly(read()) == expected, title
    finally:
        connection.destroy_logbook("B")


@EXAMPLES
@given(value=containing(kept | never | seldom).filter(lambda value: value is not None), data=st.data())
def test_all_ways_agree_about_a_value(connection, kind, value, data):
    value = [value, data.draw(never | seldom)]
    try:
        expected = exactly(json.loads((json_utils.encode if kind == "pymysql" else json_utils.encode_strictly)(value)))
    except (ValueError, TypeError):
        expected = None
    book, flow = make_flow()
    connection.save_logbook(book)
    connection.write(flow, [(flow, {"state": "RUNNING"})])
    try:
        for title, (act, culprit, read) in ways(connection, value).items():
            before = [form(read) for read in connection.get_logbooks()]
            if expected is not None:
                act()
                assert exactly(read()) == expected, title
                continue
            with pytest.raises(exc.StorageFailure, match="has a value in .* that can not be stored") as caught:
                act()
            assert caught.value.permanent, title
            if culprit is ...:
                assert caught.value.atom_uuid not in {None, "T0", "T1", "T2", "R"}, title
            else:
                assert caught.value.atom_uuid == culprit, title
            assert caught.value.cause is not None
            assert [form(read) for read in connection.get_logbooks()] == before, title
    finally:
        connection.destroy_logbook("B")


@EXAMPLES
@given(arguments=st.lists(containing(kept | never | seldom), max_size=3))
def test_no_argument_of_an_exception_loses_the_failure(connection, arguments):
    try:
        try:
            raise KeyError(*arguments)
        except KeyError as e:
            raise ValueError(*arguments) from e
    except ValueError:
        failure = ft.Failure()
    book, flow = make_flow()
    connection.save_logbook(book)
    first, second, _, retry = flow
    try:
        connection.write(flow, [(first, {"failure": failure}), (retry, {"results": [(1, {"t0": failure})]})])
        detail = connection.get_atom_details("T1")
        detail.revert_failure = failure
        connection.update_atom_details(detail)
        stored = connection.get_flow_details("F")
        for read in (
            stored.find("T0").failure,
            stored.find("T1").revert_failure,
            stored.find("R").results[0][1]["t0"],
        ):
            assert list(read) == list(failure)
            # Two halves of a character that stand side by side are one after any JSON.
            assert read.exception_str == json.loads(json.dumps(failure.exception_str))
            assert len(read.exception_args) == len(arguments)
            assert [list(cause) for cause in read.causes] == [["KeyError", "LookupError", "Exception"]]
    finally:
        connection.destroy_logbook("B")


# -- large values


def check_large(connection, kind, value, size, limit):
    """Is it there, or refused at once, by its name, and without harm?"""
    book, flow = make_flow()
    connection.save_logbook(book)
    for title, (act, culprit, read) in ways(connection, value).items():
        if title not in {"alone", "among equals", "updated", "added"}:
            continue
        began = time.monotonic()
        if size < limit:
            act()
            assert read() == value, title
        else:
            with pytest.raises(exc.StorageFailure, match="that can not be stored") as caught:
                act()
            assert caught.value.permanent, title
            assert caught.value.atom_uuid == culprit or culprit is ..., title
            assert "max_allowed_packet" in str(caught.value.cause), title
        assert time.monotonic() - began < 20, title
        # One large value is enough.
        connection.clear_all()
        connection.save_logbook(book)
    assert {atom.results for atom in connection.get_flow_details("F") if atom.name != "r"} == {None}


@pytest.mark.parametrize("size", [1, 9, 20])
def test_large_values(connection, kind, size):
    check_large(connection, kind, "x" * (size * MB), size, 16 if kind == "pymysql" else 1024)


def test_characters_that_have_to_be_escaped_count(connection, kind):
    # A quotation mark is two characters in JSON, and each of these is two for MariaDB.
    check_large(connection, kind, '"' * (5 * MB), 20, 16 if kind == "pymysql" else 1024)


def test_large_values_that_are_too_large_together_only(connection):
    book, flow = make_flow()
    connection.save_logbook(book)
    value = "y" * (6 * MB)
    changes = [(flow.find(f"T{i}"), {"results": [i, value], "state": f"S{i}"}) for i in range(3)]
    for more in ([(flow, {"state": "RUNNING"})], []):
        connection.write(flow, [*more, *changes])
        for i in range(3):
            read = connection.get_atom_details(f"T{i}")
            assert (read.state, read.results) == (f"S{i}", [i, value])
        connection.write(flow, [(detail, {"results": None, "state": None}) for detail, _ in changes])
    added = [models.TaskDetail(f"n{i}", f"N{i}") for i in range(3)]
    for detail in added:
        detail.results = value
    connection.write(flow, [], added)
    assert all(connection.get_atom_details(detail.uuid).results == value for detail in added)


def test_record_that_is_larger_than_a_message(connection):
    """Each of its values was stored by itself."""
    book, flow = make_flow()
    connection.save_logbook(book)
    failure = ft.Failure(
        exception_str="e" * (11 * MB), traceback_str="", exc_type_names=["Exception"], exc_args=[], causes=[]
    )
    value = "r" * (11 * MB)
    connection.write(flow, [(flow.find("T1"), {"results": value})])
    connection.write(flow, [(flow.find("T1"), {"failure": failure})])
    read = connection.get_flow_details("F").find("T1")
    assert read.results == value
    assert read.failure.exception_str == failure.exception_str


class Returning(task.Task):
    """Returns so many characters."""

    size = 0

    def execute(self):
        return "x" * self.size


def test_task_whose_result_is_too_large_has_failed(connection, kind):
    small, large = Returning("small"), Returning("large")
    large.size = 20 * MB
    flow = linear_flow.Flow("whole").add(small, large)
    engine = engines.load(flow, backend=connection.backend)
    if kind != "pymysql":
        engine.run()
        assert len(engine.storage.get("large")) == 20 * MB
        return
    began = time.monotonic()
    with pytest.raises(exc.StorageFailure, match="'large'"):
        engine.run()
    assert time.monotonic() - began < 10
    states = {atom.name: atom.state for atom in connection.get_flow_details(engine.storage.flow_uuid)}
    assert states == {"small": "REVERTED", "large": "REVERTED"}
