# SPDX-License-Identifier: Apache-2.0
"""Is an atom that returns what can not be stored undone just like one that raises?"""

from __future__ import annotations

import contextlib

import engine_flows as ef
import engine_harness as eh
import engine_model as em
import hypothesis
from hypothesis import strategies as st

WAYS = st.sampled_from([eh.REFUSED, eh.MIXED])
PLACES = st.lists(st.integers(0, 100).map(lambda percent: percent / 100), min_size=1, max_size=4)

# Retries and deciders may be asked again after a crash or a suspension.
ASKING = ("asked", "decided")


def _allowed(spec, record=None, **options):
    try:
        return em.outcomes(spec, record, **options)
    except em.Unspecified:
        hypothesis.reject()


def _check_stored(engine, backend):
    """What is stored is what the engine knows."""
    with contextlib.closing(backend.get_connection()) as connection:
        stored = connection.get_flow_details(engine.storage.flow_uuid)
    assert {atom.name: atom.to_dict() for atom in stored} == {
        atom.name: atom.to_dict() for atom in engine.storage._flowdetail
    }


def _compare(spec, breaking, listens, **options):
    allowed = _allowed(spec, **options)
    watch, engine, backend = eh.load_surviving(spec, None, breaking, listens, **options)
    raised = eh.drive(engine, watch) if listens else eh.raised_by(engine.run)
    seen = eh.outcome(spec, engine, watch, raised)
    eh.check_same(spec, allowed, seen, () if listens else ["steps"])
    _check_stored(engine, backend)
    if listens:
        eh.check_order(spec, watch.log)
        eh.check_priorities(spec, seen.steps)


@hypothesis.given(ef.flows(atoms=12, levels=4), WAYS, st.booleans())
def test_what_ran_is_undone(spec, breaking, listens):
    _compare(spec, breaking, listens)


@hypothesis.given(ef.flows(retries=True, atoms=12), WAYS, st.booleans(), st.booleans())
def test_retries_are_asked(spec, breaking, listens, defer_reverts):
    _compare(spec, breaking, listens, defer_reverts=defer_reverts)


@hypothesis.given(ef.flows(retries=True), WAYS, st.booleans())
def test_what_is_not_to_be_resolved_stays(spec, breaking, listens):
    _compare(spec, breaking, listens, never_resolve=True)


@hypothesis.settings(max_examples=25)
@hypothesis.given(ef.flows(retries=True, atoms=12, levels=4), WAYS, st.integers(1, 4), st.booleans())
def test_other_tasks_may_be_running_meanwhile(spec, breaking, workers, defer_reverts):
    _allowed(spec)
    watch, engine, backend = eh.load_surviving(
        spec, None, breaking, engine="parallel", executor="threads", max_workers=workers, defer_reverts=defer_reverts
    )
    raised = eh.raised_by(engine.run)
    eh.check_end(spec, engine, watch, raised)
    _check_stored(engine, backend)


@hypothesis.given(ef.flows(retries=True), WAYS, PLACES)
def test_a_crash_anywhere_leaves_a_flow_that_goes_on(spec, breaking, places):
    _allowed(spec)
    _, _, snapshots = eh.run_remembering(spec, breaking=breaking)
    for snapshot in eh.crash_points(snapshots, places):
        record = snapshot.record()
        try:
            allowed = em.outcomes(spec, record)
        except em.Unspecified:
            continue
        seen, watch = eh.run_after_crash(spec, snapshot, breaking=breaking)
        hypothesis.note(f"crashed {snapshot.at}, leaving {record}")
        eh.check_same(spec, allowed, seen, ASKING)
        eh.check_order(spec, watch.log, record.state)


@hypothesis.given(ef.flows(retries=True), WAYS, st.booleans(), st.lists(st.integers(0, 20), min_size=1, max_size=3))
def test_a_suspension_changes_nothing_but_the_time(spec, breaking, listens, places):
    allowed = _allowed(spec)
    watch, engine, _ = eh.load_surviving(spec, None, breaking, listens)
    for place in places:
        raised = eh.drive(engine, watch, suspend_at=place)
        if engine.storage.get_flow_state() != "SUSPENDED":
            break
        assert not raised
    else:
        raised = eh.drive(engine, watch)
    eh.check_same(spec, allowed, eh.outcome(spec, engine, watch, raised), ASKING)
