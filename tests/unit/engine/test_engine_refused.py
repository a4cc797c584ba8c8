# SPDX-License-Identifier: Apache-2.0
"""Does a value that can not be stored fail its atom alone, whatever else happens at that moment?"""

import concurrent.futures
import contextlib
import json
import threading
import time

import pytest

from taskflow import engines, retry, states, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence.backends import impl_memory

THREADS = {"engine": "parallel", "executor": "threads"}


class Backend(impl_memory.MemoryBackend):
    """Copies what it is given, and counts as one that survives."""

    durable = True

    def __init__(self):
        super().__init__({"deep_copy": True})

    def states(self, engine):
        with contextlib.closing(self.get_connection()) as connection:
            return {atom.name: atom.state for atom in connection.get_flow_details(engine.storage.flow_uuid)}


@pytest.fixture
def backend():
    return Backend()


class AtOnce(concurrent.futures.Executor):
    """Calls what is submitted before it comes back."""

    def submit(self, fn, /, *args, **kwargs):
        future = concurrent.futures.Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Does(task.Task):
    """Calls a function to execute, and another one to revert."""

    def __init__(self, name, execute=lambda: 1, revert=lambda: None, priority=0, **kwargs):
        super().__init__(name, **kwargs)
        self.priority = priority
        self._do, self._undo = execute, revert

    def execute(self):
        return self._do()

    def revert(self, **_kwargs):
        return self._undo()


def fails():
    raise ValueError("broken")


def load(backend, *tasks, **how):
    return engines.load(unordered_flow.Flow("f").add(*tasks), backend=backend, **how)


def test_several_in_one_step_whichever_is_dealt_with_first(backend):
    # What is started last is dealt with first.
    tasks = [Does(f"t{number}", threading.Lock, priority=number) for number in range(3)]
    engine = load(backend, *tasks)
    told = []
    engine.atom_notifier.register("*", lambda state, details: told.append((details["task_name"], state)))
    with pytest.raises(exc.WrappedFailure) as caught:
        engine.run()
    assert len(list(caught.value)) == 3
    assert set(backend.states(engine).values()) == {states.REVERTED}
    assert sorted(entry for entry in told if entry[1] == states.FAILURE) == [
        (f"t{n}", states.FAILURE) for n in range(3)
    ]
    assert not [entry for entry in told if entry[1] == states.SUCCESS]


def test_what_ended_with_it_is_recorded_though_nothing_is_resolved(backend):
    engine = load(backend, Does("bad", threading.Lock), Does("good", priority=1), never_resolve=True)
    engine.atom_notifier.register("*", lambda state, details: None)
    with pytest.raises(exc.StorageFailure, match="task 'bad'"):
        engine.run()
    assert backend.states(engine) == {"bad": states.FAILURE, "good": states.SUCCESS}
    assert engine.storage.get("good") == 1


@pytest.mark.parametrize("names", [("bad", "broken"), ("broken", "bad")])
@pytest.mark.parametrize("how", ["serial", "threads", "at once"])
def test_another_failure_is_told_of_once(backend, names, how):
    made = {"bad": threading.Lock, "broken": fails}
    options = {"serial": {}, "threads": THREADS, "at once": {"engine": "parallel", "executor": AtOnce()}}[how]
    engine = load(backend, *(Does(name, made[name]) for name in names), **options)
    told = []
    engine.atom_notifier.register(states.FAILURE, lambda _state, details: told.append(details["task_name"]))
    with pytest.raises(exc.WrappedFailure):
        engine.run()
    assert sorted(told) == ["bad", "broken"]


class Counting(retry.AlwaysRevert):
    asked = 0

    def on_failure(self, *args, **kwargs):
        self.asked += 1
        return super().on_failure(*args, **kwargs)


@pytest.mark.parametrize("first", [fails, threading.Lock])
def test_a_retry_is_asked_once_about_each_failure(backend, first):
    asking = Counting("asking")
    tasks = [Does("first", first), *(Does(f"broken{number}", fails) for number in range(3))]
    flow = unordered_flow.Flow("f", retry=asking).add(*tasks)
    engine = engines.load(flow, backend=backend, engine="parallel", executor=AtOnce())
    told = []
    engine.atom_notifier.register(states.FAILURE, lambda _state, details: told.append(details["task_name"]))
    with pytest.raises(exc.WrappedFailure):
        engine.run()
    assert asking.asked == 4
    assert sorted(told) == ["broken0", "broken1", "broken2", "first"]


def test_the_next_task_is_recorded_as_running_nevertheless(backend):
    seen = []
    engine = load(
        backend, Does("bad", threading.Lock), Does("next", lambda: seen.append(backend.states(engine)["next"]))
    )
    with pytest.raises(exc.StorageFailure):
        engine.run()
    assert seen == [states.RUNNING]


@pytest.mark.parametrize("follower", [False, True])
def test_nothing_is_waited_for_meanwhile(backend, follower):
    undone = threading.Event()
    seen = []
    bad = Does("bad", threading.Lock, undone.set)
    line = linear_flow.Flow("line").add(bad, *([Does("follower")] if follower else []))
    engine = load(backend, line, Does("slow", lambda: seen.append(undone.wait(20))), max_workers=2, **THREADS)
    with pytest.raises(exc.StorageFailure):
        engine.run()
    assert seen == [True]


def test_what_waits_for_a_worker_is_not_called_off(backend):
    engine = load(
        backend,
        linear_flow.Flow("line").add(Does("bad", threading.Lock), Does("follower")),
        *(Does(f"slow{n}", lambda: time.sleep(0.3)) for n in range(2)),
        *(Does(f"queued{n}") for n in range(4)),
        max_workers=2,
        **THREADS,
    )
    with pytest.raises(exc.StorageFailure, match="task 'bad'"):
        engine.run()
    assert backend.states(engine) == {
        "bad": states.REVERTED,
        "follower": states.PENDING,
        **{f"slow{n}": states.REVERTED for n in range(2)},
        **{f"queued{n}": states.REVERTED for n in range(4)},
    }


def test_what_a_suspension_leaves_for_later_is_as_it_was(backend):
    def suspends():
        engine.suspend()
        return threading.Lock()

    engine = load(
        backend, Does("bad", suspends), *(Does(f"t{n}") for n in range(3)), engine="parallel", executor=AtOnce()
    )
    engine.run()
    assert engine.storage.get_flow_state() == states.SUSPENDED
    assert backend.states(engine) == {"bad": states.FAILURE, **{f"t{n}": states.PENDING for n in range(3)}}
    with pytest.raises(exc.StorageFailure, match="task 'bad'"):
        engine.run()
    assert backend.states(engine) == {"bad": states.REVERTED, **{f"t{n}": states.PENDING for n in range(3)}}


def test_a_run_that_is_left_at_once_records_it(backend):
    begun = threading.Event()

    def interrupted():
        begun.wait(20)
        raise KeyboardInterrupt

    def late():
        begun.set()
        time.sleep(0.2)
        return threading.Lock()

    engine = load(backend, Does("interrupted", interrupted), Does("late", late), max_workers=2, **THREADS)
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert backend.states(engine) == {"interrupted": states.RUNNING, "late": states.FAILURE}


def test_histories_that_change_with_it_are_kept(backend):
    inner = linear_flow.Flow("inner", retry=retry.AlwaysRevert("gives_up")).add(Does("broken", fails))
    engine = load(backend, inner, Does("bad", threading.Lock))
    with pytest.raises(exc.StorageFailure, match="task 'bad'"):
        engine.run()
    with contextlib.closing(backend.get_connection()) as connection:
        stored = {atom.name: atom.to_dict() for atom in connection.get_flow_details(engine.storage.flow_uuid)}
    assert stored == {atom.name: atom.to_dict() for atom in engine.storage._flowdetail}


def test_an_error_that_is_not_about_an_outcome_still_ends_the_run(backend):
    class Away(impl_memory.Connection):
        def write(self, flow_detail, changes, added=()):
            if any(fields.get("state") == states.SUCCESS for _, fields in changes):
                raise exc.StorageFailure("away")
            return super().write(flow_detail, changes, added)

    backend.get_connection = lambda: Away(backend)
    engine = load(backend, Does("good"))
    with pytest.raises(exc.StorageFailure, match="^away"):
        engine.run()
    assert engine.storage.get_flow_state() == states.FAILURE
    assert backend.states(engine) == {"good": states.RUNNING}


def test_an_outcome_that_got_lost_is_not_recorded_without_its_result(backend):
    class Away(impl_memory.Connection):
        def write(self, flow_detail, changes, added=()):
            if any(fields.get("state") == states.REVERTING for _, fields in changes):
                raise exc.StorageFailure("away")
            return super().write(flow_detail, changes, added)

    backend.get_connection = lambda: Away(backend)
    engine = load(backend, Does("broken", fails), Does("good"), engine="parallel", executor=AtOnce())
    with pytest.raises(exc.StorageFailure, match="^away"):
        engine.run()
    # Both outcomes were to be saved with what follows from them.
    assert backend.states(engine) == {"broken": states.RUNNING, "good": states.RUNNING}


def test_a_failure_that_is_refused_as_well_ends_the_run(backend):
    class Refusing(impl_memory.Connection):
        def write(self, flow_detail, changes, added=()):
            for detail, fields in changes:
                if fields.get("state") in {states.SUCCESS, states.FAILURE} and detail is not flow_detail:
                    error = exc.StorageFailure("no")
                    error.permanent, error.atom_uuid = True, detail.uuid
                    raise error
            return super().write(flow_detail, changes, added)

    backend.get_connection = lambda: Refusing(backend)
    engine = load(backend, Does("good"))
    with pytest.raises(exc.StorageFailure, match="^no"):
        engine.run()
    assert engine.storage.get_flow_state() == states.FAILURE
    assert backend.states(engine) == {"good": states.RUNNING}


def test_the_failure_is_small_however_much_the_backend_says(backend):
    class Refusing(impl_memory.Connection):
        def write(self, flow_detail, changes, added=()):
            for detail, fields in changes:
                if fields.get("state") == states.SUCCESS and detail is not flow_detail:
                    error = exc.StorageFailure("no" * 1_000_000)
                    error.permanent, error.atom_uuid = True, detail.uuid
                    raise error
            return super().write(flow_detail, changes, added)

    backend.get_connection = lambda: Refusing(backend)
    engine = load(backend, Does("good"))
    with pytest.raises(exc.StorageFailure, match="^What came of task 'good' of flow 'f' can not be stored: nono"):
        engine.run()
    with contextlib.closing(backend.get_connection()) as connection:
        (stored,) = connection.get_flow_details(engine.storage.flow_uuid)
    assert "nono" in stored.failure.exception_str
    assert len(json.dumps(stored.failure.to_dict())) < 50_000
