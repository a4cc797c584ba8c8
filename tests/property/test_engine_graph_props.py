# SPDX-License-Identifier: Apache-2.0
"""Do values flow along the links of a graph, does a run repeat itself exactly, and do threads keep the order?"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import engine_flows as ef
import engine_harness as eh
import engine_model as em
import hypothesis
from hypothesis import strategies as st

from taskflow import engines, task
from taskflow.patterns import graph_flow

# For each of a few tasks: the numbers of those (all smaller) whose values it adds up.
NEEDS = st.lists(st.sets(st.integers(0, 9), max_size=3), min_size=1, max_size=10).map(
    lambda needs: [sorted(n for n in wanted if n < position) for position, wanted in enumerate(needs)]
)


class Sum(task.Task):
    """Provides one more than the sum of what it needs."""

    def __init__(self, number: int, needs: list[int], order: list[int]) -> None:
        super().__init__(f"t{number}", provides=f"v{number}", requires=[f"v{need}" for need in needs])
        self._number, self._order = number, order

    def execute(self, **values: int) -> int:
        self._order.append(self._number)
        return 1 + sum(values.values())


def _expected(needs: list[list[int]]) -> list[int]:
    values: list[int] = []
    for wanted in needs:
        values.append(1 + sum(values[need] for need in wanted))
    return values


@hypothesis.given(NEEDS, st.randoms(use_true_random=False), st.booleans(), st.sampled_from(["serial", "parallel"]))
def test_values_reach_whoever_needs_them_in_whatever_order_tasks_were_added(needs, random, at_once, engine):
    order: list[int] = []
    tasks = [Sum(number, wanted, order) for number, wanted in enumerate(needs)]
    random.shuffle(tasks)
    flow = graph_flow.Flow("sums")
    if at_once:
        flow.add(*tasks)
    else:
        for one in tasks:
            flow.add(one)
    results = engines.run(flow, engine=engine)
    assert results == {f"v{number}": value for number, value in enumerate(_expected(needs))}
    assert sorted(order) == list(range(len(needs)))
    assert all(order.index(need) < order.index(number) for number, wanted in enumerate(needs) for need in wanted)


@hypothesis.given(NEEDS)
def test_a_graph_is_run_generation_by_generation(needs):
    order: list[int] = []
    flow = graph_flow.Flow("sums").add(*(Sum(number, wanted, order) for number, wanted in enumerate(needs)))
    steps = list(engines.load(flow).run_iter()).count("SCHEDULING")
    levels: list[int] = []
    for wanted in needs:
        levels.append(1 + max((levels[need] for need in wanted), default=-1))
    assert [levels[number] for number in order] == sorted(levels)
    assert steps == 1 + max(levels)


@hypothesis.given(ef.flows(retries=True))
def test_two_runs_of_equal_flows_are_equal_to_the_last_event(spec):
    try:
        em.outcomes(spec)
    except em.Unspecified:
        hypothesis.reject()
    logs = []
    for _ in range(2):
        watch = eh.Watch()
        eh.drive(eh.load(spec, watch), watch)
        logs.append(watch.log)
    assert logs[0] == logs[1]


@hypothesis.given(ef.flows(atoms=8, revert_failures=False, deciders=False))
def test_a_reverted_engine_runs_once_more_in_the_same_way(spec):
    watch = eh.Watch()
    engine = eh.load(spec, watch)
    raised = eh.drive(engine, watch)
    hypothesis.assume(engine.storage.get_flow_state() == em.REVERTED)
    first, watch.log = watch.log, []
    assert eh.drive(engine, watch) == raised
    at_start = watch.log.index(("flow", em.RUNNING))
    reset = [entry for entry in watch.log[:at_start] if entry[0] == "state"]
    ran = [name for name in em.picture_of(spec).atoms if ("execute", name) in first]
    assert reset == [("state", name, em.PENDING) for name in ran]
    assert watch.log[at_start:] == first[first.index(("flow", em.RUNNING)) :]


@hypothesis.given(ef.flows(failures=False, revert_failures=False), st.integers(1, 4))
def test_threads_run_the_same_atoms_and_keep_the_order(spec, workers):
    try:
        allowed = em.outcomes(spec)
    except em.Unspecified:
        hypothesis.reject()
    seen, watch = _run_in_threads(spec, workers)
    eh.check_same(spec, allowed, seen, leave_out=("steps",))
    eh.check_order(spec, watch.log)


@hypothesis.given(ef.flows(deciders=False), st.integers(1, 4))
def test_threads_undo_all_that_was_done(spec, workers):
    seen, watch = _run_in_threads(spec, workers)
    eh.check_order(spec, watch.log)
    broken = {atom.name for atom in em.atoms_of(spec) if atom.fails}
    if seen.flow_state == em.SUCCESS:
        assert not broken
        assert not seen.raised
    elif seen.flow_state == em.REVERTED:
        assert seen.reverted == seen.executed
        assert seen.raised == broken & seen.executed.keys()
        assert seen.raised
    else:
        failed = {name for name, state in seen.states.items() if state == em.REVERT_FAILURE}
        assert seen.raised == {f"revert of {name}" for name in failed}
        assert failed


class _LockedWatch(eh.Watch):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def note(self, *entry: str) -> None:
        with self._lock:
            super().note(*entry)

    def steps(self) -> list[list[str]]:
        return []  # which atoms begin within one step is up to the threads


def _run_in_threads(spec: em.Flow, workers: int) -> tuple[em.Outcome, Any]:
    watch = _LockedWatch()
    engine = eh.load(spec, watch, engine="parallel", max_workers=workers)
    raised = eh.drive(engine, watch)
    return eh.outcome(spec, engine, watch, raised), watch


@hypothesis.given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_priority_decides_and_then_the_order_of_adding(priorities):
    tasks = tuple(em.Task(f"t{number}", priority=priority) for number, priority in enumerate(priorities))
    seen, watch = eh.run(em.Flow("top", "unordered", tasks))
    expected = [one.name for one in sorted(tasks, key=lambda one: -one.priority)]
    assert seen.steps == [expected]
    events = [entry[1:] for entry in watch.log if entry[0] == "state"]
    assert events[: len(tasks)] == [(name, em.RUNNING) for name in expected]
    assert sorted(events[len(tasks) :]) == sorted((one.name, em.SUCCESS) for one in tasks)


@hypothesis.given(st.lists(st.sampled_from(em.WIDEST_FIRST), min_size=1, max_size=4), st.booleans())
def test_the_widest_depth_among_the_noes_counts(depths, with_a_yes):
    sources = [em.Task(f"s{number}") for number in range(len(depths))]
    chain = [em.Task("a"), em.Task("b"), em.Task("c")]
    last = em.Flow("last", "linear", (em.Task("d"),))
    links = [em.Link(source.name, "a", depth, False) for source, depth in zip(sources, depths, strict=True)]
    if with_a_yes:
        sources.append(em.Task("yes"))
        links.append(em.Link("yes", "a", "ALL", True))
    links += [em.Link(one.name, other.name) for one, other in itertools.pairwise([*chain, last])]
    seen, _ = eh.run(em.Flow("top", "graph", (*sources, *chain, last), tuple(links)))
    ignored = {"ALL": "abcd", "FLOW": "abc", "NEIGHBORS": "ab", "ATOM": "a"}[min(depths, key=em.WIDEST_FIRST.index)]
    assert {name for name, state in seen.states.items() if state == em.IGNORE} == set(ignored)
