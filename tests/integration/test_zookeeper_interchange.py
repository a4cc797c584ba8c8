# SPDX-License-Identifier: Apache-2.0
"""Records of OpenStack TaskFlow 6.5 in ZooKeeper and of this library are the same, byte for byte."""

from __future__ import annotations

import datetime as dt

import pytest

from taskflow import engines, task
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models
from taskflow.types import failure as ft

FAILURE = (
    b'{"exception_str": "(\'boom\', 1)", "traceback_str": "tb\\n", "exc_type_names": ["ValueError", "Exception"], '
    rb'"version": 1, "exc_args": ["boom", 1], "causes": []}'
)
# As OpenStack TaskFlow 6.5 stores them.
NODES = {
    "books": b"",
    "flow_details": b"",
    "atom_details": b"",
    "books/B": rb'{"name": "b\u00fc", "meta": {"k": [1, null, true, 1.5]}, "uuid": "B", "updated_at": null, '
    rb'"created_at": {"day": 2, "month": 1, "year": 2026, "hour": 3, "minute": 4, "second": 5, "microsecond": 6}}',
    "flow_details/F": b'{"name": "f", "meta": {"factory": {"name": "x.y", "args": [1], "kwargs": {}}}, '
    b'"state": "RUNNING", "uuid": "F"}',
    "books/B/F": b"",
    "atom_details/R": b'{"atom": {"failure": null, "revert_failure": null, "meta": {}, "name": "r", "results": '
    b'[[42, {"t": ' + FAILURE + b'}], [[1], {}]], "revert_results": null, "state": "SUCCESS", "version": null, '
    b'"intention": "EXECUTE", "uuid": "R"}, "type": "RETRY_DETAIL"}',
    "flow_details/F/R": b"",
    "atom_details/T": b'{"atom": {"failure": ' + FAILURE + b', "revert_failure": null, "meta": {"progress": 0.5}, '
    b'"name": "t", "results": null, "revert_results": null, "state": "FAILURE", "version": "1.0", "intention": '
    b'"REVERT", "uuid": "T"}, "type": "TASK_DETAIL"}',
    "flow_details/F/T": b"",
    "atom_details/U": rb'{"atom": {"failure": null, "revert_failure": null, "meta": {}, "name": "u", "results": '
    rb'{"1": [2, [3]], "s": "\u00e9\ud83d\ude00", "n": Infinity}, "revert_results": null, "state": "SUCCESS", '
    rb'"version": null, "intention": "EXECUTE", "uuid": "U"}, "type": "TASK_DETAIL"}',
    "flow_details/F/U": b"",
}


@pytest.fixture
def root(zookeeper):
    return zookeeper.fresh()


@pytest.fixture
def bare(zookeeper):
    with zookeeper.client() as client:
        yield client


@pytest.fixture
def backend(zookeeper, root):
    with backends.backend(f"zookeeper://{zookeeper.hosts}{root}") as backend:
        yield backend


def place(bare, root):
    bare.ensure_path(root)
    for path, data in NODES.items():
        bare.create(f"{root}/{path}", data)


def held(bare, root):
    return {path: bare.get(f"{root}/{path}")[0] for path in NODES}


def make_book():
    failure = ft.Failure.from_dict(
        {
            "exception_str": "('boom', 1)",
            "traceback_str": "tb\n",
            "exc_type_names": ["ValueError", "Exception"],
            "version": 1,
            "exc_args": ("boom", 1),
            "causes": [],
        }
    )
    book, flow_detail = models.LogBook("b\u00fc", "B"), models.FlowDetail("f", "F")
    book.meta = {"k": [1, None, True, 1.5]}
    book.created_at = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
    book.add(flow_detail)
    book.updated_at = None
    flow_detail.meta = {"factory": {"name": "x.y", "args": [1], "kwargs": {}}}
    flow_detail.state = "RUNNING"
    failed, succeeded, tried = models.TaskDetail("t", "T"), models.TaskDetail("u", "U"), models.RetryDetail("r", "R")
    failed.put("FAILURE", failure)
    failed.version, failed.meta, failed.intention = "1.0", {"progress": 0.5}, "REVERT"
    succeeded.put("SUCCESS", {1: (2, {3}), "s": "\u00e9\U0001f600", "n": float("inf")})
    tried.put("SUCCESS", 42)
    tried.results[-1][1]["t"] = failure
    tried.put("SUCCESS", [1])
    for detail in (failed, succeeded, tried):
        flow_detail.add(detail)
    return book


def test_what_is_saved_is_the_same(bare, root, backend):
    backend.get_connection().save_logbook(make_book())
    assert held(bare, root) == NODES


def test_what_is_written_field_by_field_is_the_same(bare, root, backend):
    connection, book = backend.get_connection(), make_book()
    (flow_detail,) = book
    empty = models.LogBook(book.name, book.uuid)
    empty.meta, empty.created_at = book.meta, book.created_at
    empty.add(models.FlowDetail("f", "F"))
    empty.updated_at = None
    connection.save_logbook(empty)
    (stored,) = empty
    fields = ("state", "intention", "results", "failure", "revert_results", "revert_failure", "meta", "version")
    new = [type(detail)(detail.name, detail.uuid) for detail in flow_detail]
    connection.write(stored, [], new)
    changes = [(detail, {field: getattr(flow_detail.find(detail.uuid), field) for field in fields}) for detail in new]
    connection.write(stored, [*changes, (stored, {"state": flow_detail.state, "meta": flow_detail.meta})])
    assert held(bare, root) == NODES


def test_what_is_there_is_read_and_kept_as_it_is(bare, root, backend):
    bare.delete(root, recursive=True)
    place(bare, root)
    connection = backend.get_connection()
    (book,) = connection.get_logbooks()
    (flow_detail,) = book
    assert (book.name, book.meta["k"], book.updated_at, book.created_at.microsecond) == (
        "b\u00fc",
        [1, None, True, 1.5],
        None,
        6,
    )
    assert flow_detail.find("U").results == {"1": [2, [3]], "s": "\u00e9\U0001f600", "n": float("inf")}
    failed = flow_detail.find("T")
    assert (failed.state, failed.intention, failed.version, failed.meta) == (
        "FAILURE",
        "REVERT",
        "1.0",
        {"progress": 0.5},
    )
    assert failed.failure.check(ValueError) is ValueError
    (first, failures), second = flow_detail.find("R").results
    assert (first, second) == (42, ([1], {}))
    assert failures["t"].matches(failed.failure)
    connection.save_logbook(book)
    connection.update_flow_details(flow_detail)
    for detail in flow_detail:
        connection.update_atom_details(detail)
    assert held(bare, root) == NODES
    assert bare.exists(f"{root}/atom_details/R").version == 0


def test_one_field_is_changed_and_the_rest_left_as_it_is(bare, root, backend):
    bare.delete(root, recursive=True)
    place(bare, root)
    connection = backend.get_connection()
    flow_detail = connection.get_flow_details("F")
    connection.write(flow_detail, [(flow_detail.find("U"), {"state": "REVERTING"})])
    assert held(bare, root)["atom_details/U"] == NODES["atom_details/U"].replace(b'"SUCCESS"', b'"REVERTING"')


def test_flow_that_was_interrupted_is_gone_on_with(bare, root, backend):
    bare.delete(root, recursive=True)
    place(bare, root)
    bare.set(
        f"{root}/atom_details/T",
        NODES["atom_details/T"]
        .replace(b'"FAILURE"', b'"RUNNING"')
        .replace(FAILURE, b"null")
        .replace(b'REVERT"', b'EXECUTE"'),
    )
    ran = []
    flow = linear_flow.Flow("f").add(
        task.FunctorTask(lambda: ran.append("u"), name="u", provides="n"),
        task.FunctorTask(lambda n: ran.append(n["s"]), name="t"),
    )
    (flow_detail,) = backend.get_connection().get_logbook("B")
    engines.load(flow, flow_detail=flow_detail, backend=backend).run()
    assert ran == ["\u00e9\U0001f600"]
    assert b'"state": "SUCCESS"' in bare.get(f"{root}/flow_details/F")[0]
