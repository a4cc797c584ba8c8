# SPDX-License-Identifier: Apache-2.0
"""Does what waits for something wait for all of it, when deciders, retries and resumption come together?"""

from __future__ import annotations

from taskflow import engines


def test_what_follows_an_ignored_neighbor_waits_for_all_that_the_neighbor_waited_for(kit):
    links = [("a", "x", False, "neighbors"), ("x", "y"), ("y", "z"), ("a", "w1"), ("w1", "w2"), ("w2", "y")]
    run = kit.run(kit.graph("g", "a", "x", "y", "z", "w1", "w2", links=links))
    assert run.state == "SUCCESS"
    assert run.starts == ["a", "w1", "w2", "z"]
    assert run.atom_states("x", "y") == ["IGNORE/IGNORE"] * 2


def test_what_was_ignored_is_ignored_again_in_the_next_attempt(kit):
    attempts = []

    def fail_once():
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("once")

    inner = kit.graph("g", "a", "x", "y", "z", links=[("a", "x", False), ("x", "y"), ("y", "z")])
    beside = kit.linear("l", "p", kit.Step("last", gives=fail_once))
    run = kit.run(kit.unordered("f", inner, beside, retry=kit.Judge("r", "RETRY")))
    assert (run.state, len(attempts)) == ("SUCCESS", 2)
    assert run.starts == ["r", "a", "p", "last"] * 2
    assert run.atom_states("x", "y", "z") == ["IGNORE/IGNORE"] * 3


def test_a_retry_that_is_to_be_undone_does_not_try_again(kit):
    judge = kit.Judge("r", "RETRY")
    flow = kit.unordered("f", kit.linear("one", "p", "x!"), kit.linear("two", "b!", retry=judge))
    # Both fail in the same step: everything is to be undone before the retry is asked.
    run = kit.run(flow)
    assert run.state == "REVERTED"
    assert len(judge.executed) == len(judge.asked) == len(judge.reverted) == 1
    assert run.atom_states("p", "x", "r", "b") == ["REVERTED/REVERT"] * 4


def test_what_was_being_undone_does_not_let_others_go_before_what_follows_it_is_undone(kit):
    flow = kit.linear("f", "z", "a", "b", "c")
    run = kit.left(flow, "z=SUCCESS/REVERT a=REVERTING/REVERT b=SUCCESS/REVERT c=SUCCESS/REVERT").run()
    assert run.state == "REVERTED"
    undone = [event.split(".")[0] for event in run.atoms if " REVERTED" in event]
    assert undone.index("z") == 3
    assert undone.index("c") < undone.index("b")


def test_a_sibling_does_not_hide_the_value_of_the_retry(kit):
    taker = kit.Step("b", requires=["x"])
    flow = kit.unordered("f", kit.Step("a", provides="x"), taker, retry=kit.Judge("r", "REVERT", provides="x"))
    engines.load(flow).run()
    assert taker.executed == [{"x": 1}]
