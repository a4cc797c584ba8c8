# SPDX-License-Identifier: Apache-2.0
"""Does the engine run, revert, retry, ignore and end just as the slow model of the rules says?"""

from __future__ import annotations

import engine_flows as ef
import engine_harness as eh
import engine_model as em
import hypothesis
import pytest
from hypothesis import strategies as st


def _allowed(spec: em.Flow, **options: bool) -> list[em.Outcome]:
    try:
        return em.outcomes(spec, **options)
    except em.Unspecified:
        hypothesis.reject()


def _compare(spec: em.Flow, **options: bool) -> em.Outcome:
    allowed = _allowed(spec, **options)
    seen, watch = eh.run(spec, **options)
    eh.check_same(spec, allowed, seen)
    eh.check_order(spec, watch.log)
    eh.check_priorities(spec, seen.steps)
    return seen


@hypothesis.given(ef.flows(deciders=False, failures=False, revert_failures=False))
def test_every_atom_runs_once_and_in_order_when_nothing_fails(spec):
    seen = _compare(spec)
    assert seen.flow_state == em.SUCCESS
    assert seen.executed == dict.fromkeys((atom.name for atom in em.atoms_of(spec)), 1)
    assert not seen.reverted


@hypothesis.given(ef.flows(failures=False, revert_failures=False))
def test_deciders_ignore_what_their_depth_says_and_nothing_else(spec):
    seen = _compare(spec)
    assert seen.flow_state == em.SUCCESS


@hypothesis.given(ef.flows(deciders=False))
def test_a_failure_anywhere_reverts_what_ran(spec):
    seen = _compare(spec)
    if seen.flow_state == em.REVERTED:
        assert seen.executed == seen.reverted


@hypothesis.given(ef.flows(atoms=12, levels=4))
def test_failures_and_deciders_together(spec):
    _compare(spec)


@hypothesis.given(ef.flows(retries=True, deciders=False, revert_failures=False))
def test_retries_restart_give_up_or_take_everything_with_them(spec):
    _compare(spec)


@hypothesis.given(ef.flows(retries=True, deciders=False, atoms=12, levels=4), st.booleans())
def test_retries_with_failing_reverts_and_deferred_decisions(spec, defer_reverts):
    _compare(spec, defer_reverts=defer_reverts)


@hypothesis.given(ef.flows(retries=True, atoms=12), st.booleans())
def test_retries_and_deciders_together(spec, defer_reverts):
    _compare(spec, defer_reverts=defer_reverts)


@hypothesis.given(ef.flows(retries=True))
def test_never_resolve_leaves_everything_where_it_was(spec):
    seen = _compare(spec, never_resolve=True)
    assert not seen.reverted
    assert not seen.asked


TABLE = [
    # (inner answers, outer answers, defer_reverts, what is executed twice, what is reverted)
    ("RETRY", None, False, "r_i b", "b"),
    ("RETRY", "RETRY", False, "r_i b", "b"),
    ("RETRY", "REVERT", False, "r_i b", "b"),
    ("RETRY", "REVERT_ALL", False, "r_i b", "b"),
    ("REVERT", None, False, "", "r_i b"),
    ("REVERT", "RETRY", False, "r_o a r_i b", "a r_i b"),
    ("REVERT", "REVERT", False, "", "r_i b"),
    ("REVERT", "REVERT_ALL", False, "", "t r_o a r_i b"),
    ("REVERT", None, True, "", "t a r_i b"),
    ("REVERT", "RETRY", True, "r_o a r_i b", "a r_i b"),
    ("REVERT", "REVERT", True, "", "t r_o a r_i b"),
    ("REVERT", "REVERT_ALL", True, "", "t r_o a r_i b"),
    ("REVERT_ALL", None, False, "", "t a r_i b"),
    ("REVERT_ALL", "RETRY", False, "", "t r_o a r_i b"),
    ("REVERT_ALL", "REVERT", False, "", "t r_o a r_i b"),
    ("REVERT_ALL", "REVERT_ALL", False, "", "t r_o a r_i b"),
]


@pytest.mark.parametrize(("inner", "outer", "defer_reverts", "twice", "reverted"), TABLE)
def test_the_table_of_nested_decisions(inner, outer, defer_reverts, twice, reverted):
    def retry(name, answer):
        kind = {"RETRY": "times", "REVERT": "revert", "REVERT_ALL": "revert_all"}
        return em.Retry(name, kind[answer], attempts=2) if answer else None

    inner_flow = em.Flow("i", "linear", (em.Task("b", fails=(1,)),), retry=retry("r_i", inner))
    outer_flow = em.Flow("o", "linear", (em.Task("a"), inner_flow), retry=retry("r_o", outer))
    seen = _compare(em.Flow("top", "linear", (em.Task("t"), outer_flow)), defer_reverts=defer_reverts)
    assert {name for name, number in seen.executed.items() if number == 2} == set(twice.split())
    assert set(seen.reverted) == set(reverted.split())
    assert seen.flow_state == (em.SUCCESS if twice else em.REVERTED)


@pytest.mark.parametrize(("depth", "ran"), [("ALL", 1), ("FLOW", 2), ("NEIGHBORS", 3), ("ATOM", 4)])
def test_the_example_of_depths(depth, ran):
    spec = em.Flow(
        "top",
        "graph",
        (
            *(em.Task(name) for name in ("g1", "g2", "g3", "g4")),
            em.Flow("sub", "graph", (em.Task("g1_1"),)),
        ),
        (
            em.Link("g1", "g2", depth, False),
            em.Link("g2", "sub"),
            em.Link("g2", "g3"),
            em.Link("g3", "g4"),
            em.Link("g1", "sub", "ALL", True),
        ),
    )
    assert sum(_compare(spec).executed.values()) == ran


@pytest.mark.parametrize("depth", ["ATOM", "NEIGHBORS"])
def test_what_follows_an_ignored_atom_runs_though_it_was_linked_to_before(depth):
    tasks = tuple(em.Task(name) for name in ("a", "c", "b", "d"))
    links = (em.Link("a", "c"), em.Link("a", "b", depth, False), em.Link("b", "c"), em.Link("c", "d"))
    seen = _compare(em.Flow("top", "graph", tasks, links))
    assert set(seen.executed) == ({"a", "c", "d"} if depth == "ATOM" else {"a", "d"})


def test_an_atom_that_never_ran_is_not_reverted():
    ahead = em.Flow("ahead", "linear", (em.Task("a"), em.Task("b")))
    seen = _compare(em.Flow("top", "unordered", (ahead, em.Task("broken", fails=em.ALWAYS))))
    assert seen.reverted == {"a": 1, "broken": 1}
    assert seen.states["b"] == em.PENDING


def test_a_failure_of_an_attempt_that_was_made_good_is_not_raised():
    first = em.Flow("first", "linear", (em.Task("a", fails=(1,)),), retry=em.Retry("r", "times", 2))
    seen = _compare(em.Flow("top", "linear", (first, em.Task("b", fails=em.ALWAYS))))
    assert seen.raised == {"b"}


def test_failures_of_a_branch_that_was_being_retried_are_raised_with_the_others():
    again = em.Flow("again", "linear", (em.Task("a", fails=em.ALWAYS),), retry=em.Retry("r_1", "times", 9))
    slow = em.Flow("slow", "linear", (em.Task("w"), em.Task("b", fails=em.ALWAYS)), retry=em.Retry("r_2", "revert_all"))
    both = em.Flow("both", "unordered", (again, slow))
    seen = _compare(em.Flow("top", "linear", (em.Task("before"), both)))
    assert seen.raised == {"a", "b"}
    assert seen.reverted["before"] == 1


def test_a_restart_takes_back_that_an_atom_behind_was_ignored_for_another_branch():
    again = em.Flow("again", "linear", (em.Task("a", fails=(1,)), em.Task("b")), retry=em.Retry("r", "times", 2))
    parts = (em.Task("s"), em.Task("x"), again, em.Task("y"))
    links = (em.Link("s", "x", "FLOW", False), em.Link("x", "y"), em.Link("again", "y"))
    seen = _compare(em.Flow("top", "graph", parts, links))
    assert seen.states == {
        "s": "SUCCESS",
        "x": "IGNORE",
        "r": "SUCCESS",
        "a": "SUCCESS",
        "b": "SUCCESS",
        "y": "SUCCESS",
    }
