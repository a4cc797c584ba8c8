# SPDX-License-Identifier: Apache-2.0
"""Does a flow come to the same end with threads and with processes as with the serial engine, in whatever order?"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading

import engine_flows as ef
import engine_harness as eh
import engine_model as em
import hypothesis
import pytest
from hypothesis import strategies as st

from taskflow import engines, states, task
from taskflow.patterns import graph_flow

SOME = hypothesis.settings(max_examples=25)
FEW = hypothesis.settings(max_examples=10)


def _run(spec, suspend_at=None, engine=None, watch=None, **options):
    watch = watch or eh.Watch()
    engine = engine or eh.load(spec, watch, engine="parallel", **options)
    return engine, watch, eh.drive(engine, watch, suspend_at=suspend_at)


@SOME
@hypothesis.given(ef.flows(failures=False, revert_failures=False, retries=True), st.integers(1, 4))
def test_threads_do_what_the_serial_engine_does(spec, workers):
    serial, _ = eh.run(spec)
    engine, watch, raised = _run(spec, executor="threads", max_workers=workers)
    assert not raised
    assert {name: engine.storage.get_atom_state(name) for name in serial.states} == serial.states
    assert watch.count("execute") == serial.executed
    assert engine.storage.get_flow_state() == serial.flow_state == states.SUCCESS
    eh.check_order(spec, watch.log)


@SOME
@hypothesis.given(ef.flows(retries=True, deciders=False, atoms=12, levels=4), st.integers(1, 4), st.booleans())
def test_failures_retries_and_reverts_with_threads(spec, workers, defer_reverts):
    eh.check_end(spec, *_run(spec, executor="threads", max_workers=workers, defer_reverts=defer_reverts))


@SOME
@hypothesis.given(ef.flows(atoms=12), st.integers(1, 4))
def test_failures_and_deciders_with_threads(spec, workers):
    eh.check_end(spec, *_run(spec, executor="threads", max_workers=workers))


@SOME
@hypothesis.given(
    ef.flows(retries=True, deciders=False, revert_failures=False),
    st.lists(st.tuples(st.sampled_from(["step", "thread"]), st.integers(0, 12)), min_size=1, max_size=4),
)
def test_suspended_with_threads_and_gone_on_with(spec, suspensions):
    watch = eh.Watch()
    engine = eh.load(spec, watch, engine="parallel", executor="threads", max_workers=3)
    raised = frozenset()
    for kind, number in suspensions:
        if kind == "thread":
            # From the thread of a task, while others may run.
            seen = []

            def suspend(entry, seen=seen, number=number):
                if entry[0] in {"execute", "revert"}:
                    seen.append(entry)
                    if len(seen) == number + 1:
                        engine.suspend()

            watch.hooks.append(suspend)
        _, _, raised = _run(spec, number if kind == "step" else None, engine, watch)
        watch.hooks.clear()
        if engine.storage.get_flow_state() != states.SUSPENDED:
            break
        assert not raised
        now = {atom.name: engine.storage.get_atom_state(atom.name) for atom in em.atoms_of(spec)}
        # Nothing is left in the middle. What was told of as beginning and then cancelled is where it was before.
        assert not {states.RUNNING, states.REVERTING} & set(now.values())
        watch.log.extend(("state", name, state) for name, state in now.items())
    else:
        raised = eh.drive(engine, watch)
    eh.check_end(spec, engine, watch, raised)


class Joins(task.Task):
    """Gives its name with the values that it takes, so that the result tells all that came before."""

    def __init__(self, name, requires, fails=False):
        super().__init__(name, provides=f"of-{name}", requires=requires)
        self.fails = fails

    def execute(self, **values):
        if self.fails:
            raise ValueError(self.name)
        return f"{self.name}({','.join(values[name] for name in sorted(values))})"

    def revert(self, **_values):
        return f"{self.name} undone"


@st.composite
def wirings(draw):
    """For each task, which of the earlier ones it takes values from."""
    size = draw(st.integers(1, 9))
    return [draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set() for n in range(size)]


def _joined(wiring, failing=None):
    flow = graph_flow.Flow("joined")
    flow.add(*(Joins(f"t{n}", [f"of-t{k}" for k in sorted(before)], n == failing) for n, before in enumerate(wiring)))
    return flow


@pytest.fixture(scope="module")
def pool():
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as made:
        # Before there are threads in this process that a fork could find in the middle of something.
        made.submit(int).result()
        yield made


@FEW
@hypothesis.given(wirings())
def test_processes_make_of_values_what_the_serial_engine_makes(pool, wiring):
    expected = engines.run(_joined(wiring))
    assert engines.run(_joined(wiring), engine="parallel", executor=pool) == expected
    assert engines.run(_joined(wiring), engine="parallel", executor="threads", max_workers=3) == expected


@FEW
@hypothesis.given(wirings(), st.data())
def test_processes_undo_what_the_serial_engine_undoes(pool, wiring, data):
    failing = data.draw(st.integers(0, len(wiring) - 1))
    engine = engines.load(_joined(wiring, failing), engine="parallel", executor=pool)
    with pytest.raises(ValueError, match=rf"^t{failing}\b"):
        engine.run()
    behind = {failing}
    for n, before in enumerate(wiring):
        if before & behind:
            behind.add(n)
    for n in range(len(wiring)):
        state = engine.storage.get_atom_state(f"t{n}")
        if n == failing:
            assert state == states.REVERTED
        elif n in behind:
            assert state == states.PENDING
        else:
            # It may or may not have been begun when the failure came.
            assert state in {states.REVERTED, states.PENDING}
        if state == states.REVERTED:
            assert engine.storage.get_revert_result(f"t{n}") == f"t{n} undone"
    assert engine.storage.get_flow_state() == states.REVERTED


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    for _ in range(3):
        engines.run(_joined([set(), {0}, {0}, {1, 2}]), engine="parallel", executor="threads", max_workers=4)
    assert set(threading.enumerate()) <= before
