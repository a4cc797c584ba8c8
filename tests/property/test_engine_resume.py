# SPDX-License-Identifier: Apache-2.0
"""Does a flow that was suspended, or whose process died, come to the end that the rules say?"""

from __future__ import annotations

from typing import Any

import engine_flows as ef
import engine_harness as eh
import engine_model as em
import hypothesis
import pytest
from hypothesis import strategies as st

from taskflow.persistence import models

# Suspension may ask deciders and retries at other times than a run in one go, and more than once.
ASKING = ("asked", "decided")
BY_STEP = st.lists(st.tuples(st.just("step"), st.integers(0, 20)), min_size=1, max_size=3)
BY_EVENT = st.lists(st.tuples(st.just("event"), st.integers(0, 20)), min_size=1, max_size=3)
UNDONE = (em.PENDING, em.REVERTED, em.IGNORE)


def _allowed(spec: em.Flow, record: em.Record | None = None) -> list[em.Outcome]:
    try:
        return em.outcomes(spec, record)
    except em.Unspecified:
        hypothesis.reject()


def _detail() -> models.FlowDetail:
    return models.FlowDetail("top", "00000000-0000-4000-8000-000000000000")


class _Suspender:
    """Suspends an engine when it tells of its n-th change of an atom's state."""

    def __init__(self, engine: Any, number: int) -> None:
        self.engine, self.left = engine, number

    def __call__(self, entry: tuple[str, ...]) -> None:
        if entry[0] == "state":
            self.left -= 1
            if self.left == -1:
                self.engine.suspend()


def _run_until_suspended(engine: Any, watch: eh.Watch, kind: str, number: int) -> frozenset[str]:
    if kind == "step":
        return eh.drive(engine, watch, suspend_at=number)
    watch.hooks.append(_Suspender(engine, number))
    try:
        return eh.drive(engine, watch)
    finally:
        watch.hooks.clear()


def _compare_suspended(spec: em.Flow, suspensions: list[Any], same_engine: bool) -> None:
    """Suspend a few times, then run to the end."""
    allowed = _allowed(spec)
    detail = _detail()
    watch = eh.Watch()
    engine = eh.load(spec, watch, flow_detail=detail)
    earlier: list[tuple[str, ...]] = []
    for kind, number in suspensions:
        raised = _run_until_suspended(engine, watch, kind, number)
        if engine.storage.get_flow_state() != "SUSPENDED":
            break
        assert not raised, f"{raised} raised by a run that was suspended"
        if kind == "event":
            # The step in which the suspension came may have been cut short: go by what is recorded from here on.
            allowed = _allowed(spec, eh.snapshot_of(detail, watch).record())
            earlier += watch.log
            watch.log.clear()
        if not same_engine:
            engine = eh.load(spec, watch, flow_detail=detail)
    else:
        raised = eh.drive(engine, watch)
    eh.check_order(spec, [*earlier, *watch.log])
    if kind == "event" and raised and ("flow", "SUSPENDING") in watch.log:
        return  # a revert failed in a step that had been cut short
    eh.check_same(spec, allowed, eh.outcome(spec, engine, watch, raised), leave_out=ASKING)


@hypothesis.given(ef.flows(), BY_STEP, st.booleans())
def test_suspension_between_steps_changes_nothing_but_the_time(spec, suspensions, same_engine):
    _compare_suspended(spec, suspensions, same_engine)


@hypothesis.given(ef.flows(retries=True), BY_STEP, st.booleans())
def test_suspension_between_steps_changes_nothing_in_a_flow_with_retries(spec, suspensions, same_engine):
    _compare_suspended(spec, suspensions, same_engine)


@hypothesis.given(ef.flows(retries=True), BY_EVENT, st.booleans())
def test_a_listener_may_suspend_at_any_event(spec, suspensions, same_engine):
    _compare_suspended(spec, suspensions, same_engine)


@hypothesis.given(ef.flows(retries=True), st.integers(0, 12))
def test_nothing_is_submitted_after_a_suspension(spec, number):
    watch = eh.Watch()
    engine = eh.load(spec, watch, flow_detail=_detail())
    eh.drive(engine, watch, suspend_at=number)
    if ("flow", "SUSPENDING") not in watch.log:
        return
    behind = watch.log[watch.log.index(("flow", "SUSPENDING")) :]
    assert not [entry for entry in behind if entry[0] in ("execute", "revert")]


@hypothesis.given(ef.flows(retries=True), st.integers(0, 20))
def test_no_further_step_is_begun_after_a_listener_suspended(spec, number):
    watch = eh.Watch()
    engine = eh.load(spec, watch, flow_detail=_detail())
    _run_until_suspended(engine, watch, "event", number)
    if ("flow", "SUSPENDING") not in watch.log:
        return
    behind = watch.log[watch.log.index(("flow", "SUSPENDING")) :]
    assert ("machine", "SCHEDULING") not in behind
    in_step = behind[: behind.index(("machine", "WAITING"))] if ("machine", "WAITING") in behind else []
    started = [entry for entry in behind if entry[0] in ("execute", "revert")]
    assert started == [entry for entry in in_step if entry[0] in ("execute", "revert")]


@hypothesis.given(ef.flows(retries=True))
def test_a_finished_flow_run_again_by_a_new_engine_does_nothing(spec):
    allowed = _allowed(spec)
    hypothesis.assume(allowed[0].flow_state == em.SUCCESS)
    detail = _detail()
    for again in (False, True):
        watch = eh.Watch()
        engine = eh.load(spec, watch, flow_detail=detail)
        eh.drive(engine, watch)
        assert engine.storage.get_flow_state() == em.SUCCESS
        if again:
            assert [entry for entry in watch.log if entry[0] in ("execute", "revert", "state")] == []
            assert [entry[1] for entry in watch.log if entry[0] == "flow"] == [em.RUNNING, em.SUCCESS]


@hypothesis.given(ef.flows(retries=True))
def test_what_was_left_unresolved_is_resolved_by_an_engine_that_may(spec):
    detail = _detail()
    watch = eh.Watch()
    eh.drive(eh.load(spec, watch, flow_detail=detail, never_resolve=True), watch)
    left = eh.snapshot_of(detail, watch).record()
    hypothesis.assume(left.flow_state == em.FAILURE)
    allowed = _allowed(spec, left)
    watch = eh.Watch(left)
    engine = eh.load(spec, watch, flow_detail=detail)
    raised = eh.drive(engine, watch)
    eh.check_same(spec, allowed, eh.outcome(spec, engine, watch, raised), leave_out=ASKING)
    eh.check_order(spec, watch.log, left.state)


PLACES = st.lists(st.integers(0, 100).map(lambda percent: percent / 100), min_size=1, max_size=4)


def _check_not_repeated(spec: em.Flow, snapshot: eh.Snapshot, watch: eh.Watch) -> None:
    """What is recorded as SUCCESS is not executed again, unless it was reverted or its retry restarted it."""
    record = snapshot.record()
    if record.flow_state == em.REVERTED:
        return  # such a flow starts anew
    retries = {atom.name for atom in em.atoms_of(spec) if isinstance(atom, em.Retry)}
    done = {name for name, state in record.state.items() if state == em.SUCCESS} - retries
    for entry in watch.log:
        if entry[0] == "revert":
            done.discard(entry[1])
        assert entry[0] != "execute" or entry[1] not in done, f"{entry[1]} was executed again ({snapshot.at})"


def _compare_crashed(spec: em.Flow, places: list[float]) -> None:
    _allowed(spec)
    _, _, snapshots = eh.run_remembering(spec)
    for snapshot in eh.crash_points(snapshots, places):
        record = snapshot.record()
        try:
            allowed = em.outcomes(spec, record)
        except em.Unspecified:
            continue
        seen, watch = eh.run_after_crash(spec, snapshot)
        hypothesis.note(f"crashed {snapshot.at}, leaving {record}")
        eh.check_same(spec, allowed, seen, leave_out=ASKING)
        eh.check_order(spec, watch.log, record.state)
        _check_not_repeated(spec, snapshot, watch)


@hypothesis.given(ef.flows(), PLACES)
def test_a_crash_anywhere_leaves_a_flow_that_goes_on(spec, places):
    _compare_crashed(spec, places)


@hypothesis.given(ef.flows(retries=True), PLACES)
def test_a_crash_anywhere_leaves_a_flow_with_retries_that_goes_on(spec, places):
    _compare_crashed(spec, places)


def _break_one(spec: em.Flow, name: str, fails: Any) -> em.Flow:
    """The flow with that one task failing."""
    children = tuple(
        _break_one(child, name, fails)
        if isinstance(child, em.Flow)
        else em.Task(child.name, fails if child.name == name else (), priority=child.priority)
        for child in spec.children
    )
    return em.Flow(spec.name, spec.kind, children, spec.links, spec.retry)


@hypothesis.given(
    ef.flows(retries=True, failures=False, revert_failures=False, deciders=False),
    st.sampled_from([(1,), (1, 2), em.ALWAYS]),
    st.integers(0, 9),
    PLACES,
)
def test_a_crash_does_not_change_how_a_flow_with_one_broken_task_ends(spec, fails, broken, places):
    tasks = [atom.name for atom in em.atoms_of(spec) if isinstance(atom, em.Task)]
    hypothesis.assume(tasks)
    spec = _break_one(spec, tasks[broken % len(tasks)], fails)
    whole, _, snapshots = eh.run_remembering(spec)
    for snapshot in eh.crash_points(snapshots, places):
        if snapshot.flow["state"] == em.REVERTED:
            continue  # that one ended before it crashed, and would start anew
        seen, _ = eh.run_after_crash(spec, snapshot)
        # An atom beside the broken one may have got further in one of the two; it is undone in both.
        ends = [
            {name: "undone" if state in UNDONE else state for name, state in outcome.states.items()}
            for outcome in (whole, seen)
        ]
        hypothesis.note(f"crashed {snapshot.at}, leaving {snapshot.record()}")
        assert ends[0] == ends[1]
        assert (seen.flow_state, seen.raised) == (whole.flow_state, whole.raised)


@hypothesis.given(ef.flows(retries=True, atoms=6), st.tuples(*[PLACES] * 2))
def test_a_crash_during_a_resumed_run_is_a_crash_like_any_other(spec, places):
    _allowed(spec)
    _, _, snapshots = eh.run_remembering(spec)
    first = eh.crash_points(snapshots, places[0])[0]
    try:
        em.outcomes(spec, first.record())
    except em.Unspecified:
        hypothesis.reject()
    _, _, snapshots = eh.run_remembering(spec, first)
    second = eh.crash_points(snapshots, places[1])[0]
    allowed = _allowed(spec, second.record())
    seen, watch = eh.run_after_crash(spec, second)
    hypothesis.note(f"crashed {second.at}, leaving {second.record()}")
    eh.check_same(spec, allowed, seen, leave_out=ASKING)
    eh.check_order(spec, watch.log, second.record().state)
    _check_not_repeated(spec, second, watch)


WAITING_BEHIND = [
    em.Flow("behind", "linear", (em.Task("c"),)),
    em.Flow("behind", "linear", (em.Task("c"),), retry=em.Retry("r_behind", "revert")),
    em.Flow("behind", "linear", (em.Flow("inner", "unordered", (em.Task("c"), em.Task("d"))), em.Task("e"))),
]


@pytest.mark.parametrize("behind", WAITING_BEHIND)
def test_atoms_that_were_waiting_when_their_retry_restarted_run_after_a_crash_anywhere(behind):
    spec = em.Flow(
        "top",
        "graph",
        (em.Task("a"), em.Task("b", fails=(1,)), behind),
        (em.Link("a", "behind"),),
        em.Retry("r", "times", 2),
    )
    _, _, snapshots = eh.run_remembering(spec)
    for snapshot in snapshots:
        seen, _ = eh.run_after_crash(spec, snapshot)
        left = snapshot.record()
        assert (seen.flow_state, set(seen.states.values())) == (em.SUCCESS, {em.SUCCESS}), f"{snapshot.at}: {left}"
