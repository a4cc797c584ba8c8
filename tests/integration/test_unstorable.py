# SPDX-License-Identifier: Apache-2.0
"""What becomes, in each backend, of a flow whose atoms return what that backend can not keep?"""

import threading

import pytest

from taskflow import engines, retry, states, task
from taskflow import exceptions as exc
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.persistence import backends
from taskflow.types import failure


def unstorable():
    """Neither JSON nor a copy can be made of it."""
    return {"lock": threading.Lock()}


class Recording(task.Task):
    """Notes what is done of it in a list that all share, and returns a value."""

    def __init__(self, name, log, value=None, undo=None, **kwargs):
        super().__init__(name, **kwargs)
        self.log, self.value, self.undo = log, value, undo

    def execute(self, **_values):
        self.log.append(self.name)
        return self.value() if callable(self.value) else self.value

    def revert(self, result, **_values):
        self.log.append((self.name, "Failure" if isinstance(result, failure.Failure) else result))
        return self.undo() if callable(self.undo) else self.undo


def stored(backend, engine):
    """What the backend holds: the state of the flow, and of each atom."""
    flow = backend.get_connection().get_flow_details(engine.storage.flow_uuid)
    return flow.state, {atom.name: atom.state for atom in flow}


ENGINES = [{"engine": "serial"}, {"engine": "parallel", "executor": "threads", "max_workers": 2}]


@pytest.mark.parametrize("how", ENGINES, ids=["serial", "threads"])
def test_the_task_has_failed_and_what_ran_is_undone(backend, how):
    log = []
    flow = linear_flow.Flow("f").add(
        Recording("a", log, 1), Recording("b", log, unstorable, provides="x"), Recording("c", log, requires=["x"])
    )
    engine = engines.load(flow, backend=backend, **how)
    with pytest.raises(exc.StorageFailure, match=r"What came of task 'b' of flow 'f' can not be stored"):
        engine.run()
    assert log == ["a", "b", ("b", "Failure"), ("a", 1)]
    undone = {"a": states.REVERTED, "b": states.REVERTED, "c": states.PENDING}
    assert stored(backend, engine) == (states.REVERTED, undone)


def test_the_last_task_is_no_exception(backend):
    log = []
    engine = engines.load(
        linear_flow.Flow("f").add(Recording("a", log, 1), Recording("b", log, unstorable)), backend=backend
    )
    with pytest.raises(exc.StorageFailure, match="task 'b' of flow 'f'"):
        engine.run()
    assert log == ["a", "b", ("b", "Failure"), ("a", 1)]


@pytest.mark.parametrize("how", ENGINES, ids=["serial", "threads"])
def test_what_else_ended_in_that_step_keeps_its_result(backend, how):
    log = []
    flow = unordered_flow.Flow("f").add(
        *(Recording(f"good{n}", log, n) for n in range(5)), *(Recording(f"bad{n}", log, unstorable) for n in range(2))
    )
    engine = engines.load(flow, backend=backend, **how)
    told = []
    engine.atom_notifier.register("*", lambda state, details: told.append((details["task_name"], state)))
    with pytest.raises((exc.StorageFailure, exc.WrappedFailure), match="can not be stored"):
        engine.run()
    # Cancelled tasks apart, each ended once, and those that failed are not told of as successes.
    ran = {name for name in log if isinstance(name, str)}
    assert {name for name, state in told if state == states.SUCCESS} == {
        name for name in ran if name.startswith("good")
    }
    assert {name for name, state in told if state == states.FAILURE} == {name for name in ran if name.startswith("bad")}
    assert {entry for entry in log if isinstance(entry, tuple)} == {
        (name, int(name[-1]) if name.startswith("good") else "Failure") for name in ran
    }
    assert stored(backend, engine)[0] == states.REVERTED


def test_a_retry_may_try_again(backend):
    log, values = [], iter([unstorable(), 7])
    flow = linear_flow.Flow("f", retry=retry.Times(3, name="again")).add(
        Recording("a", log, 1), Recording("b", log, lambda: next(values), provides="x")
    )
    engine = engines.load(flow, backend=backend)
    engine.run()
    assert engine.storage.fetch("x") == 7
    assert log == ["a", "b", ("b", "Failure"), ("a", 1), "a", "b"]
    assert stored(backend, engine)[0] == states.SUCCESS


class Chooses(retry.Times):
    def execute(self, history, **kwargs):
        return unstorable()


def test_a_retry_fails_likewise(backend):
    log = []
    inner = linear_flow.Flow("inner", retry=Chooses(1, name="chooses")).add(Recording("b", log))
    engine = engines.load(linear_flow.Flow("f").add(Recording("a", log, 1), inner), backend=backend)
    with pytest.raises(exc.StorageFailure, match="What came of retry 'chooses' of flow 'f' can not be stored"):
        engine.run()
    assert "b" not in log
    assert stored(backend, engine)[0] in (states.REVERTED, states.FAILURE)
    assert stored(backend, engine)[1]["b"] == states.PENDING


def test_a_reversion_fails_likewise(backend):
    log = []
    flow = linear_flow.Flow("f").add(
        Recording("a", log, 1), Recording("b", log, 2, undo=unstorable), Recording("c", log, unstorable)
    )
    engine = engines.load(flow, backend=backend)
    with pytest.raises(
        exc.StorageFailure, match="What came of the reversion of task 'b' of flow 'f' can not be stored"
    ):
        engine.run()
    assert log == ["a", "b", "c", ("c", "Failure"), ("b", 2)]
    after = {"a": states.SUCCESS, "b": states.REVERT_FAILURE, "c": states.REVERTED}
    assert stored(backend, engine) == (states.FAILURE, after)


def test_deciders_are_not_asked_about_it(backend):
    log, asked = [], []
    one, two = Recording("one", log, unstorable), Recording("two", log)
    flow = graph_flow.Flow("f").add(one, two).link(one, two, decider=lambda history: asked.append(history) or True)
    engine = engines.load(flow, backend=backend)
    with pytest.raises(exc.StorageFailure, match="task 'one'"):
        engine.run()
    assert not asked
    assert log == ["one", ("one", "Failure")]


def test_by_steps(backend):
    log = []
    flow = linear_flow.Flow("f").add(Recording("a", log, 1), Recording("b", log, unstorable), Recording("c", log))
    engine = engines.load(flow, backend=backend)
    seen = []
    with pytest.raises(exc.StorageFailure, match="task 'b'"):
        seen.extend((state, stored(backend, engine)[1]["b"]) for state in engine.run_iter())
    assert log == ["a", "b", ("b", "Failure"), ("a", 1)]
    assert (states.ANALYZING, states.SUCCESS) not in seen


def test_the_flow_can_be_run_again(backend):
    log, values = [], iter([unstorable(), 7])
    flow = linear_flow.Flow("f").add(Recording("a", log, 1), Recording("b", log, lambda: next(values)))
    engine = engines.load(flow, backend=backend)
    with pytest.raises(exc.StorageFailure):
        engine.run()
    del log[:]
    again = engines.load(flow, flow_detail=engine.storage._flowdetail, book=None, backend=backend)
    again.run()
    assert log == ["a", "b"]
    assert stored(backend, engine) == (states.SUCCESS, {"a": states.SUCCESS, "b": states.SUCCESS})


def test_more_than_the_backend_takes_in_one_value(zookeeper):
    log = []
    flow = linear_flow.Flow("f").add(Recording("a", log, 1), Recording("b", log, "x" * 2_000_000))
    conf = {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": zookeeper.fresh()}
    with backends.backend(conf) as backend:
        engine = engines.load(flow, backend=backend)
        with pytest.raises(exc.StorageFailure, match="task 'b' of flow 'f' can not be stored"):
            engine.run()
        assert log == ["a", "b", ("b", "Failure"), ("a", 1)]
        assert stored(backend, engine)[0] == states.REVERTED


class Fails(Recording):
    def execute(self):
        super().execute()
        raise ValueError("y" * 2_000_000)


def test_a_failure_that_is_too_large_is_one_nevertheless(zookeeper):
    log = []
    flow = linear_flow.Flow("f").add(Recording("a", log, 1), Fails("b", log))
    conf = {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": zookeeper.fresh()}
    with backends.backend(conf) as backend:
        engine = engines.load(flow, backend=backend)
        with pytest.raises(exc.StorageFailure, match="task 'b' of flow 'f' can not be stored"):
            engine.run()
        assert log == ["a", "b", ("b", "Failure"), ("a", 1)]
        assert stored(backend, engine)[0] == states.REVERTED
