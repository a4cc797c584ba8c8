# SPDX-License-Identifier: Apache-2.0
"""What is recorded, told and done first when a run stops in the middle, or goes on from there?"""

from __future__ import annotations

import concurrent.futures
import time

import pytest

from taskflow import engines, task
from taskflow.persistence.backends import impl_memory
from taskflow.utils import persistence_utils


class Pool(concurrent.futures.ThreadPoolExecutor):
    """One thread, and the futures of all that it was given."""

    def __init__(self):
        super().__init__(1)
        self.futures = []

    def submit(self, *args, **kwargs):
        self.futures.append(super().submit(*args, **kwargs))
        return self.futures[-1]

    def wait_for(self, condition):
        give_up = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up, "it does not come to that"
            time.sleep(0.001)


@pytest.fixture
def pool():
    with Pool() as made:
        yield made


class Logs(task.Task):
    """Notes in a list that all share that it was executed."""

    def __init__(self, name, log):
        super().__init__(name)
        self.log = log

    def execute(self):
        self.log.append(self.name)


def suspend_and_wait(run, pool, given):
    """Has what waits for the one thread be called off, by whoever is in it once so many were given to it."""

    def act(**_kwargs):
        pool.wait_for(lambda: len(pool.futures) == given)
        waiting = [future for future in pool.futures if not future.running() and not future.done()]
        run[0].engine.suspend()
        pool.wait_for(lambda: all(future.cancelled() for future in waiting))

    return act


# -- suspended ---------------------------------------------------------------------------------------------------------


def test_what_waits_for_a_thread_does_not_begin_after_a_suspension(kit, pool):
    run = []
    flow = kit.unordered("f", kit.Step("a", gives=suspend_and_wait(run, pool, 3)), "b", "c")
    run.append(kit.load(flow, engine="parallel", executor=pool))
    run[0].run()
    assert (run[0].raised, run[0].state) == ("", "SUSPENDED")
    assert run[0].atom_states("a", "b", "c") == ["SUCCESS/EXECUTE", "PENDING/EXECUTE", "PENDING/EXECUTE"]
    assert run[0].run().state == "SUCCESS"
    assert [len(step.executed) for step in flow] == [1, 1, 1]


def test_what_was_taken_up_and_called_off_is_left_for_the_next_run(kit, pool):
    run = []
    flow = kit.unordered("f", kit.Step("a", gives=suspend_and_wait(run, pool, 2)), "b")
    run.append(kit.left(flow, "a=RUNNING b=RUNNING", engine="parallel", executor=pool))
    run[0].run()
    assert (run[0].raised, run[0].state) == ("", "SUSPENDED")
    assert run[0].atom_states("a", "b") == ["SUCCESS/EXECUTE", "RUNNING/EXECUTE"]
    assert run[0].run().state == "SUCCESS"
    assert [len(step.executed) for step in flow] == [1, 1]


def test_undoing_that_was_called_off_leaves_each_task_as_it_was(kit, pool):
    run = []
    flow = kit.unordered("f", kit.Step("z", undo=suspend_and_wait(run, pool, 5)), "a", "b!")
    # One of them was begun by an earlier run, and ends in this one.
    run.append(kit.left(flow, "z=SUCCESS a=RUNNING", engine="parallel", executor=pool))
    run[0].run()
    assert (run[0].raised, run[0].state) == ("", "SUSPENDED")
    assert run[0].atom_states("z", "a", "b") == ["REVERTED/REVERT", "SUCCESS/REVERT", "FAILURE/REVERT"]
    assert run[0].run().raised == "RuntimeError: b"
    assert run[0].state == "REVERTED"
    assert [len(step.reverted) for step in flow] == [1, 1, 1]


def test_what_was_to_begin_together_is_put_back_when_the_first_one_suspends(kit):
    flow = kit.unordered("f", "a", "b", "c")
    run = kit.load(flow, engine="parallel", max_workers=1)
    run.on["a.t RUNNING"] = run.engine.suspend
    run.run()
    assert run.state == "SUSPENDED"
    assert run.atom_states("b", "c") == ["PENDING/EXECUTE"] * 2
    run.on.clear()
    assert run.run().state == "SUCCESS"
    assert [len(step.executed) for step in flow] == [1, 1, 1]


def test_what_was_to_begin_together_is_put_back_when_one_cannot_be_submitted(kit):
    class Refuses(Pool):
        def submit(self, *args, **kwargs):
            if self.futures:
                raise RuntimeError("no more")
            return super().submit(*args, **kwargs)

    flow = kit.unordered("f", "a", "b", "c", "d")
    with Refuses() as refuses:
        run = kit.run(flow, engine="parallel", executor=refuses)
    assert (run.raised, run.state) == ("RuntimeError: no more", "FAILURE")
    assert run.atom_states("c", "d") == ["PENDING/EXECUTE"] * 2


# -- interrupted -------------------------------------------------------------------------------------------------------


def interrupt():
    raise KeyboardInterrupt


def test_what_was_to_begin_together_is_put_back_after_an_interruption(kit):
    flow = kit.unordered("f", "a", "b", "c", "d")
    run = kit.load(flow, engine="parallel", max_workers=1)
    run.on["b.t RUNNING"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.atom_states("c", "d") == ["PENDING/EXECUTE"] * 2
    assert [len(step.executed) for step in flow][1:] == [0, 0, 0]


def _stored(backend, engine):
    """What another program finds."""
    detail = backend.get_connection().get_flow_details(engine.storage.flow_uuid)
    return {atom.name: atom for atom in detail}


def _on_backend(flow):
    backend = impl_memory.MemoryBackend()
    book, detail = persistence_utils.temporary_flow_detail(backend)
    return backend, engines.load(flow, flow_detail=detail, book=book, backend=backend)


def test_a_failure_that_a_retry_was_asked_about_is_saved_before_an_interruption_leaves_the_run(kit):
    backend, engine = _on_backend(kit.unordered("f", "a!", "b", retry=kit.Judge("r", "RETRY")))
    engine.atom_notifier.register("SUCCESS", lambda _, details: interrupt() if details.get("task_name") == "b" else 0)
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    stored = _stored(backend, engine)
    assert [stored[name].state for name in ("a", "b")] == ["FAILURE", "SUCCESS"]
    assert [list(failures) for _, failures in stored["r"].results] == [["a"]]


def test_a_failure_that_a_retry_was_asked_about_is_saved_before_anything_is_undone(kit):
    found = []
    # The task that fails is the first to be undone.
    bad = kit.Step("b", gives=RuntimeError("b"), undo=lambda **_: found.append(_stored(backend, engine)["r"].results))
    backend, engine = _on_backend(kit.linear("f", "a", bad, retry=kit.Judge("r", "REVERT")))
    with pytest.raises(RuntimeError, match="^b$"):
        engine.run()
    assert [[(given, list(failures)) for given, failures in results] for results in found] == [[(1, ["b"])]]


# -- going on ----------------------------------------------------------------------------------------------------------


def test_what_was_interrupted_is_executed_before_what_never_began(kit):
    log = []
    flow = kit.unordered("f", *(Logs(name, log) for name in "abcd"))
    assert kit.left(flow, "b=RUNNING d=RUNNING").run().state == "SUCCESS"
    assert log == ["b", "d", "a", "c"]


@pytest.mark.parametrize(
    ("never_resolve", "told"),
    [(False, ["a.t PENDING", "r.r RUNNING", "r.r SUCCESS(2)", "a.t RUNNING", "a.t SUCCESS(5)"]), (True, [])],
)
def test_a_retry_that_was_about_to_begin_again_does_so_unless_failures_are_left_alone(kit, never_resolve, told):
    run = kit.left(
        kit.linear("f", "a", retry=kit.Judge("r", "RETRY")),
        "r=RETRYING/RETRY a=REVERTED/REVERT",
        never_resolve=never_resolve,
    )
    assert run.run().atoms == told


def test_deciders_are_asked_in_the_order_in_which_what_they_decide_about_would_start(kit):
    asked = []

    def about(name):
        return lambda history: asked.append(name) or True

    links = [("a", "b"), ("b", "y", about("y")), ("a", "x", about("x"))]
    run = kit.left(kit.graph("g", "a", "b", "x", "y", links=links), "a=SUCCESS b=SUCCESS")
    assert run.run().state == "SUCCESS"
    assert asked == run.starts == ["x", "y"]


def test_who_hears_only_of_beginnings_hears_what_was_there_before(kit):
    flow = kit.linear("f", "a", "b", kit.Step("c", gives=lambda: failing.pop()()), retry=kit.Judge("r", "RETRY"))
    failing = [lambda: 1, lambda: 1 / 0]
    engine = engines.load(flow)
    heard = []
    engine.atom_notifier.register("PENDING", lambda _, details: heard.append(details["old_state"]))
    engine.run()
    assert heard == ["REVERTED"] * 3
