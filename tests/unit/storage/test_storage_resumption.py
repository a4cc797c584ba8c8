# SPDX-License-Identifier: Apache-2.0
"""What does a flow that was interrupted find in storage when it is taken up again?"""

from __future__ import annotations

import uuid

import pytest

from taskflow import engines, exceptions, retry, states, task
from taskflow.patterns import linear_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory
from taskflow.types import notifier


class Noting(task.Task):
    """Appends its name to a list that the test holds."""

    def __init__(self, name, ran, **kwargs):
        super().__init__(name, **kwargs)
        self.ran = ran

    def execute(self, **kwargs):
        self.ran.append(self.name)
        return f"of {self.name}"

    def revert(self, **kwargs):
        self.ran.append(f"not {self.name}")


def _flow(ran, *names):
    return linear_flow.Flow("flow").add(*[Noting(name, ran, provides=f"x-{name}") for name in names])


def _stored(names_and_states=(), flow_state=None, injected=None):
    """A flow that some process left in its backend: (backend, flow uuid)."""
    backend = impl_memory.MemoryBackend()
    book = models.LogBook("book")
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    detail.state = flow_state
    for name, state, result in names_and_states:
        one = models.TaskDetail(name, str(uuid.uuid4()))
        one.state = state
        one.results = result
        detail.add(one)
    book.add(detail)
    backend.get_connection().save_logbook(book)
    return backend, detail.uuid


def _load(backend, flow_uuid, flow, **kwargs):
    detail = backend.get_connection().get_flow_details(flow_uuid)
    return engines.load(flow, flow_detail=detail, backend=backend, engine="serial", **kwargs)


def test_atoms_are_matched_by_name(kit):
    backend, flow_uuid = _stored([("b", states.SUCCESS, "earlier"), ("gone", states.SUCCESS, 1)], states.SUSPENDED)
    ran = []
    engine = _load(backend, flow_uuid, _flow(ran, "a", "b", "c"))
    engine.run()
    assert ran == ["a", "c"]
    assert engine.storage.fetch_all() == {"x-a": "of a", "x-b": "earlier", "x-c": "of c"}
    stored = {one.name: one.state for one in backend.get_connection().get_flow_details(flow_uuid)}
    assert stored == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS", "gone": "SUCCESS"}


def test_a_result_of_an_earlier_process_feeds_the_others():
    class Greeting(task.Task):
        def execute(self, name):
            return f"hello {name}"

    backend, flow_uuid = _stored([("who", states.SUCCESS, "world")], states.SUSPENDED)
    flow = linear_flow.Flow("flow").add(Noting("who", [], provides="name"), Greeting("greet"))
    engine = _load(backend, flow_uuid, flow)
    engine.run()
    assert engine.storage.get("greet") == "hello world"


def test_an_atom_found_running_is_run_again():
    backend, flow_uuid = _stored([("a", states.SUCCESS, "earlier"), ("b", states.RUNNING, None)], states.RUNNING)
    ran = []
    _load(backend, flow_uuid, _flow(ran, "a", "b", "c")).run()
    assert ran == ["b", "c"]


def test_an_atom_of_another_kind_is_refused():
    backend, flow_uuid = _stored([("a", states.SUCCESS, "earlier")], states.SUSPENDED)
    flow = linear_flow.Flow("flow", retry=retry.AlwaysRevert("a"))
    with pytest.raises(exceptions.Duplicate, match="^Atom detail"):
        _load(backend, flow_uuid, flow).run()


def test_a_changed_version_or_order_reuses_the_detail():
    backend, flow_uuid = _stored([("a", states.SUCCESS, 1), ("b", states.SUCCESS, 2)], states.SUSPENDED)
    ran = []
    flow = _flow(ran, "b", "a", "c")
    for one in flow:
        one.version = (7, 7)
    engine = _load(backend, flow_uuid, flow)
    engine.run()
    assert ran == ["c"]
    assert engine.storage.get("a") == 1


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (states.RUNNING, ["RESUMING", "SUSPENDED"]),
        (states.SUSPENDING, ["RESUMING", "SUSPENDED"]),
        (states.RESUMING, ["SUSPENDED"]),
        (None, []),
        (states.PENDING, []),
        (states.SUSPENDED, []),
        (states.SUCCESS, []),
        (states.FAILURE, []),
        (states.REVERTED, ["PENDING"]),
    ],
)
def test_preparing_moves_a_flow_that_was_left_in_mid_run(found, written):
    backend, flow_uuid = _stored([("a", states.SUCCESS, 1)], found)
    engine = _load(backend, flow_uuid, _flow([], "a", "b"))
    told = []
    engine.notifier.register(notifier.Notifier.ANY, lambda state, details: told.append(state))
    engine.compile()
    engine.prepare()
    assert told == written
    stored = backend.get_connection().get_flow_details(flow_uuid)
    assert stored.state == (written[-1] if written else found)
    assert {one.name for one in stored} == {"a", "b"}


def test_a_reverted_flow_starts_from_the_beginning():
    backend, flow_uuid = _stored([("a", states.REVERTED, 1), ("b", states.SUCCESS, 2)], states.REVERTED)
    ran = []
    _load(backend, flow_uuid, _flow(ran, "a", "b")).run()
    assert ran == ["a", "b"]


class Greeting(task.Task):
    default_provides = "greeting"

    def execute(self, name):
        return f"hello {name}"


def greeting_flow(*args, **kwargs):
    return linear_flow.Flow("flow").add(Greeting("greet"))


def test_injected_values_of_an_earlier_process_are_used():
    backend, flow_uuid = _stored()
    first = _load(backend, flow_uuid, greeting_flow(), store={"name": "stored"})
    first.compile()
    first.prepare()
    second = _load(backend, flow_uuid, greeting_flow())
    second.run()
    assert second.storage.fetch_all() == {"name": "stored", "greeting": "hello stored"}


def test_transient_values_of_an_earlier_process_are_not_there():
    backend, flow_uuid = _stored()
    first = _load(backend, flow_uuid, greeting_flow())
    first.storage.inject({"name": "transient"}, transient=True)
    first.compile()
    first.prepare()
    with pytest.raises(exceptions.MissingDependencies):
        _load(backend, flow_uuid, greeting_flow()).run()


def test_the_factory_of_a_flow_is_part_of_its_metadata():
    backend = impl_memory.MemoryBackend()
    book = models.LogBook("book")
    backend.get_connection().save_logbook(book)
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    book.add(detail)
    backend.get_connection().save_logbook(book)
    engines.save_factory_details(detail, "taskflow.patterns.linear_flow.Flow", ["made"], {"retry": None}, backend)
    stored = backend.get_connection().get_logbook(book.uuid).find(detail.uuid)
    assert stored.meta["factory"] == {
        "name": "taskflow.patterns.linear_flow.Flow",
        "args": ["made"],
        "kwargs": {"retry": None},
    }
    assert engines.flow_from_detail(stored).name == "made"


def test_a_failure_left_by_an_earlier_process_is_resolved_first():
    backend, flow_uuid = _stored([("a", states.SUCCESS, 1)], states.RUNNING)
    connection = backend.get_connection()
    detail = connection.get_flow_details(flow_uuid)
    broken = models.TaskDetail("b", str(uuid.uuid4()))
    detail.add(broken)
    connection.update_flow_details(detail)
    from taskflow.types import failure

    broken.put(states.FAILURE, failure.Failure.from_exception(RuntimeError("earlier")))
    connection.update_atom_details(broken)
    ran = []
    engine = _load(backend, flow_uuid, _flow(ran, "a", "b", "c"))
    with pytest.raises(exceptions.WrappedFailure, match="earlier"):
        engine.run()
    assert ran == ["not b", "not a"]
    assert engine.storage.get_flow_state() == states.REVERTED
