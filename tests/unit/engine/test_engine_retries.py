# SPDX-License-Identifier: Apache-2.0
"""What does a retry decide, whom does it ask, and what is run again?"""

from __future__ import annotations

import pytest

from taskflow import exceptions, retry, task


class Compare(task.Task):
    """Fails while x is not y."""

    def execute(self, x, y):
        if x != y:
            raise RuntimeError(f"{x} is not {y}")


class Until(task.Task):
    """Fails as often as told."""

    def __init__(self, name, times=1, **kwargs):
        super().__init__(name=name, **kwargs)
        self.left = times

    def execute(self):
        if self.left:
            self.left -= 1
            raise RuntimeError(self.name)
        return 5


# --- the worked examples --------------------------------------------------------------------------------------------


def test_a_retry_without_tasks_provides(kit):
    run = kit.run(kit.linear("f", retry=retry.Times(1, "r", provides="x")))
    assert run.engine.storage.fetch_all() == {"x": 1}


def test_times_until_it_works(kit):
    flow = kit.linear("f", "task1", Compare("task2"), retry=retry.Times(4, "r", provides="x"))
    run = kit.run(flow, store={"y": 2})
    assert run.events == kit.events(
        """f.f RUNNING, r.r RUNNING, r.r SUCCESS(1), task1.t RUNNING, task1.t SUCCESS(5),
        task2.t RUNNING, task2.t FAILURE(RuntimeError: 1 is not 2), task2.t REVERTING, task2.t REVERTED(None),
        task1.t REVERTING, task1.t REVERTED(None),
        r.r RETRYING, task1.t PENDING, task2.t PENDING, r.r RUNNING, r.r SUCCESS(2),
        task1.t RUNNING, task1.t SUCCESS(5), task2.t RUNNING, task2.t SUCCESS(None), f.f SUCCESS"""
    )
    assert run.engine.storage.fetch_all() == {"y": 2, "x": 2}
    assert run.raised == ""


def test_times_exhausted(kit):
    flow = kit.linear("f", "task1", Compare("task2"), retry=retry.Times(2, "r", provides="x"))
    run = kit.run(flow, store={"y": 3})
    assert run.events[-7:] == kit.events(
        """task2.t REVERTING, task2.t REVERTED(None), task1.t REVERTING, task1.t REVERTED(None),
        r.r REVERTING, r.r REVERTED(None), f.f REVERTED"""
    )
    assert run.engine.storage.fetch_all() == {"y": 3}
    assert run.raised == "RuntimeError: 2 is not 3"


@pytest.mark.parametrize(("attempts", "executions"), [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 3)])
def test_attempts_are_executions(kit, attempts, executions):
    bad = kit.step("F!")
    run = kit.run(kit.linear("f", bad, retry=retry.Times(attempts, "r")))
    assert len(bad.executed) == executions
    assert run.raised == "RuntimeError: F"


def test_tasks_that_did_not_run_are_not_reset(kit):
    run = kit.run(kit.linear("f", Until("a"), "b", retry=retry.Times(2, "r")))
    resets = [event for event in run.events if event.endswith(" PENDING")]
    assert resets == ["a.t PENDING"]
    assert run.state == "SUCCESS"


def test_an_inner_retry_restarts_its_own_flow_only(kit):
    inner = kit.linear("g", "b", Until("c"), retry=retry.Times(2, "r2"))
    run = kit.run(kit.linear("f", "a", inner, "d", retry=retry.AlwaysRevert("r1")))
    assert run.starts == ["r1", "a", "r2", "b", "c", "r2", "b", "c", "d"]
    assert run.state == "SUCCESS"
    assert not [move for move in run.moves if move.startswith("a.t SUCCESS>")]


def test_a_failure_after_an_inner_retry_succeeded_reverts_and_restarts_it(kit):
    inner = kit.linear("g", "task2", "task3", retry=retry.Times(3, "r2", provides="n"))
    flow = kit.linear("f", "task1", inner, Until("task4"), retry=retry.Times(3, "r1", provides="m"))
    run = kit.run(flow)
    first = run.events.index("task4.t FAILURE(RuntimeError: task4)")
    assert run.events[first + 1 :] == kit.events(
        """task4.t REVERTING, task4.t REVERTED(None), task3.t REVERTING, task3.t REVERTED(None),
        task2.t REVERTING, task2.t REVERTED(None), r2.r REVERTING, r2.r REVERTED(None),
        task1.t REVERTING, task1.t REVERTED(None),
        r1.r RETRYING, task1.t PENDING, r2.r PENDING, task2.t PENDING, task3.t PENDING, task4.t PENDING,
        r1.r RUNNING, r1.r SUCCESS(2), task1.t RUNNING, task1.t SUCCESS(5), r2.r RUNNING, r2.r SUCCESS(1),
        task2.t RUNNING, task2.t SUCCESS(5), task3.t RUNNING, task3.t SUCCESS(5),
        task4.t RUNNING, task4.t SUCCESS(5), f.f SUCCESS"""
    )
    assert run.engine.storage.fetch_all() == {"m": 2, "n": 1}


class TestNestedTimes:
    def flow(self, kit, inner_retry, outer_retry=None):
        return kit.linear("f", "task1", kit.linear("g", "task2", Until("task3"), retry=inner_retry), retry=outer_retry)

    def test_an_inner_one_that_gives_up_restarts_the_outer_one(self, kit):
        run = kit.run(self.flow(kit, retry.Times(0, "r2"), retry.Times(3, "r1")))
        assert run.starts == ["r1", "task1", "r2", "task2", "task3"] * 2
        assert run.state == "SUCCESS"

    def test_without_an_outer_one_only_the_inner_flow_is_reverted(self, kit):
        run = kit.run(self.flow(kit, retry.Times(0, "r2")))
        assert run.events[-7:] == kit.events(
            """task3.t REVERTING, task3.t REVERTED(None), task2.t REVERTING, task2.t REVERTED(None),
            r2.r REVERTING, r2.r REVERTED(None), f.f REVERTED"""
        )
        assert run.atom_states("task1") == ["SUCCESS/EXECUTE"]
        assert run.raised == "RuntimeError: task3"

    def test_revert_all(self, kit):
        run = kit.run(self.flow(kit, retry.Times(0, "r2", revert_all=True)))
        assert run.atom_states("task1", "task2", "task3", "r2") == ["REVERTED/REVERT"] * 4

    def test_revert_all_does_not_ask_the_outer_one(self, kit):
        run = kit.run(self.flow(kit, retry.AlwaysRevertAll("r2"), retry.Times(3, "r1")))
        assert run.atom_states("r1", "task1", "task2", "task3", "r2") == ["REVERTED/REVERT"] * 5
        assert run.starts == ["r1", "task1", "r2", "task2", "task3"]


class TestForEach:
    def tried(self, kit, controller, store=None):
        taker = kit.Step("t", RuntimeError("never good"), requires=["v"])
        flow = kit.linear("f", "a", kit.linear("g", taker, retry=controller))
        run = kit.run(flow, store=store)
        return [call["v"] for call in taker.executed], run

    @pytest.mark.parametrize(("revert_all", "state"), [(False, "SUCCESS/EXECUTE"), (True, "REVERTED/REVERT")])
    @pytest.mark.parametrize("parametrized", [False, True])
    def test_values_in_order_the_double_ones_twice(self, kit, parametrized, revert_all, state):
        values = [3, 1, 2, 1]
        if parametrized:
            controller = retry.ParameterizedForEach("r", provides="v", revert_all=revert_all)
            seen, run = self.tried(kit, controller, {"values": values})
        else:
            seen, run = self.tried(kit, retry.ForEach(values, "r", provides="v", revert_all=revert_all))
        assert seen == values
        assert run.raised == "RuntimeError: never good"
        assert run.atom_states("a") == [state]

    def test_a_set_in_any_order(self, kit):
        seen, _ = self.tried(kit, retry.ForEach({1, 2, 3}, "r", provides="v"))
        assert sorted(seen) == [1, 2, 3]

    def test_rebound_values(self, kit):
        seen, _ = self.tried(
            kit, retry.ParameterizedForEach("r", provides="v", rebind=["hosts"]), {"hosts": ["a", "b"]}
        )
        assert seen == ["a", "b"]

    def test_an_empty_collection(self, kit):
        for controller, store in (
            (retry.ForEach([], "r", provides="v"), None),
            (retry.ParameterizedForEach("r", provides="v"), {"values": []}),
        ):
            seen, run = self.tried(kit, controller, store)
            assert seen == []
            assert isinstance(run.error, exceptions.NotFound)
            assert str(run.error).startswith("No elements left")
            assert run.state == "REVERTED"


def test_a_reverted_engine_with_a_retry_starts_from_the_beginning(kit):
    run = kit.run(kit.linear("f", "F!", retry=retry.Times(2, "r")))
    first = list(run.events)
    run.run()
    assert run.events == kit.events("F.t PENDING, r.r PENDING, f.f PENDING") + first
    assert run.raised == "RuntimeError: F"


def test_unordered_tasks_are_awaited_then_all_reverted(kit):
    run = kit.run(kit.unordered("f", "a", Until("b"), retry=retry.Times(2, "r")))
    assert sorted(run.atoms[2:4]) == kit.events("a.t RUNNING, b.t RUNNING")
    assert sorted(run.atoms[4:6]) == kit.events("a.t SUCCESS(5), b.t FAILURE(RuntimeError: b)")
    assert sorted(run.atoms[6:10]) == kit.events("a.t REVERTED(None), a.t REVERTING, b.t REVERTED(None), b.t REVERTING")
    assert run.atoms[10] == "r.r RETRYING"
    assert sorted(run.atoms[11:13]) == kit.events("a.t PENDING, b.t PENDING")
    assert run.state == "SUCCESS"


def test_an_earlier_success_in_another_branch_reverts_beside_the_failed_one(kit):
    flow = kit.unordered("f", kit.linear("l", "a", "b"), kit.linear("m", "c", Until("d")), retry=retry.Times(2, "r"))
    run = kit.run(flow)
    undo = [event.split(".")[0] for event in run.events if event.endswith(" REVERTING")]
    assert sorted(undo[:2]) == ["b", "d"]
    assert sorted(undo[2:]) == ["a", "c"]
    assert run.state == "SUCCESS"


def test_what_consumes_the_retried_flows_values_is_reverted_with_it_and_runs_again(kit):
    sub = kit.linear("g", "a>x", "b", retry=retry.Times(2, "r"))
    flow = kit.graph("f", sub, kit.Step("user", requires=["x"]), "other")
    run = kit.left(flow, "r=SUCCESS a=SUCCESS b=FAILURE user=SUCCESS other=SUCCESS").run()
    assert run.atoms == kit.events(
        """user.t REVERTING, user.t REVERTED(None), b.t REVERTING, b.t REVERTED(None),
        a.t REVERTING, a.t REVERTED(None), r.r RETRYING, a.t PENDING, b.t PENDING, user.t PENDING,
        r.r RUNNING, r.r SUCCESS(2), a.t RUNNING, a.t SUCCESS(5), b.t RUNNING, b.t SUCCESS(5),
        user.t RUNNING, user.t SUCCESS(5)"""
    )
    assert run.state == "SUCCESS"


def test_a_consumer_that_fails_restarts_the_inner_flow_through_the_outer_retry(kit):
    sub = kit.linear("g", "a>x", retry=retry.Times(1, "inner"))
    user = Until("user")
    flow = kit.graph("f", sub, user, retry=retry.Times(2, "outer"))
    flow.link(sub, user)
    run = kit.run(flow)
    assert run.starts == ["outer", "inner", "a", "user", "outer", "inner", "a", "user"]
    assert run.state == "SUCCESS"


def test_revert_all_in_one_branch_beats_retry_in_another(kit):
    retrying = kit.linear("g", "F!", retry=kit.Judge("r1", "RETRY"))
    giving_up = kit.linear("h", "b", "G!", retry=kit.Judge("r2", "REVERT_ALL"))
    run = kit.run(kit.linear("f", "a", kit.unordered("u", retrying, giving_up)))
    assert run.state == "REVERTED"
    assert run.atom_states("a", "r1", "F", "r2", "b", "G") == ["REVERTED/REVERT"] * 6
    assert isinstance(run.error, exceptions.WrappedFailure)
    assert sorted(kit.show(f) for f in run.error) == ["RuntimeError: F", "RuntimeError: G"]


def test_the_default_name_of_a_retry(kit):
    run = kit.run(kit.linear("my-flow", "a", retry=retry.Times(1)))
    assert run.atoms[0] == "my-flow_retry.r RUNNING"


class TestRetryThatFails:
    def test_it_is_reverted_with_its_failure_and_an_empty_history(self, kit):
        judge = kit.Judge("r", "RETRY", gives=ValueError("own"))
        run = kit.run(kit.linear("f", "a", retry=judge))
        assert run.events == kit.events(
            "f.f RUNNING, r.r RUNNING, r.r FAILURE(ValueError: own), r.r REVERTING, r.r REVERTED(None), f.f REVERTED"
        )
        assert run.raised == "ValueError: own"
        assert judge.asked == []
        (call,) = judge.reverted
        history = call["history"]
        assert len(history) == 0
        assert list(history.outcomes_iter()) == []
        assert kit.show(history.failure) == "ValueError: own"
        assert history.caused_by(ValueError, include_retry=True)
        assert not history.caused_by(ValueError)
        assert sorted(call["flow_failures"]) == ["r"]
        assert len(run.engine.storage.get_retry_histories()) == 1

    def test_its_revert_may_fail_too(self, kit):
        judge = kit.Judge("r", "RETRY", gives=ValueError("own"), undo=KeyError("undo"))
        run = kit.run(kit.linear("f", "a", retry=judge))
        assert run.raised == "KeyError: 'undo'"
        assert run.state == "FAILURE"
        assert run.atom_states("r") == ["REVERT_FAILURE/REVERT"]

    def test_the_enclosing_retry_is_asked_under_the_name_of_the_failed_one(self, kit):
        inner = kit.Judge("inner", "RETRY", gives=lambda history, **kwargs: outcome.pop(0)())
        outer = kit.Judge("outer", "RETRY")
        outcome = [fail, lambda: "fine"]
        run = kit.run(kit.linear("f", "a", kit.linear("g", "b", retry=inner), retry=outer))
        assert inner.asked == []
        assert outer.asked == [[(1, ["inner"])]]
        assert run.starts == ["outer", "a", "inner", "outer", "a", "inner", "b"]
        assert run.state == "SUCCESS"


def fail(*args, **kwargs):
    raise ValueError("own")


# --- who is asked ---------------------------------------------------------------------------------------------------

TOP = {
    # (inner answer, defer_reverts, outer answer): (started again, atoms that stay SUCCESS, outer is asked)
    ("RETRY", False, None): ("inner", "t a", False),
    ("RETRY", False, "RETRY"): ("inner", "t a", False),
    ("RETRY", False, "REVERT"): ("inner", "t a", False),
    ("RETRY", False, "REVERT_ALL"): ("inner", "t a", False),
    ("REVERT", False, None): ("", "t a", False),
    ("REVERT", False, "RETRY"): ("outer", "t", True),
    ("REVERT", False, "REVERT"): ("", "t a ro", True),
    ("REVERT", False, "REVERT_ALL"): ("", "", True),
    ("REVERT", True, None): ("", "", False),
    ("REVERT", True, "RETRY"): ("outer", "t", True),
    ("REVERT", True, "REVERT"): ("", "", True),
    ("REVERT", True, "REVERT_ALL"): ("", "", True),
    ("REVERT_ALL", False, None): ("", "", False),
    ("REVERT_ALL", False, "RETRY"): ("", "", False),
    ("REVERT_ALL", False, "REVERT"): ("", "", False),
    ("REVERT_ALL", False, "REVERT_ALL"): ("", "", False),
    ("REVERT_ALL", True, "RETRY"): ("", "", False),
}


@pytest.mark.parametrize("case", TOP, ids=lambda case: "-".join(map(str, case)))
def test_inner_and_outer_answers(kit, case):
    inner_answer, deferred, outer_answer = case
    again, stays, asked = TOP[case]
    inner = kit.Judge("ri", inner_answer)
    outer = kit.Judge("ro", outer_answer) if outer_answer else None
    flow = kit.linear(
        "top", "t", kit.linear("outer", "a", kit.linear("inner", "b", Until("F"), retry=inner), retry=outer)
    )
    run = kit.run(flow, defer_reverts=deferred)
    first = (["t", "ro", "a"] if outer else ["t", "a"]) + ["ri", "b", "F"]
    second = {"": [], "inner": ["ri", "b", "F"], "outer": ["ro", "a", "ri", "b", "F"]}[again]
    assert run.starts == first + second
    assert run.state == ("SUCCESS" if again else "REVERTED")
    assert run.raised == ("" if again else "RuntimeError: F")
    assert inner.asked == [[(1, ["F"])]]
    if outer:
        assert outer.asked == ([[(1, ["ri"])]] if asked else [])
    if not again:
        names = [name for name in ("t", "ro", "a", "ri", "b", "F") if name != "ro" or outer]
        states = dict(zip(names, run.atom_states(*names), strict=True))
        kept = set(stays.split()) & set(names)
        assert {name for name, state in states.items() if state == "SUCCESS/EXECUTE"} == kept
        assert {name for name, state in states.items() if state == "REVERTED/REVERT"} == set(names) - kept


INTENTIONS = {
    # answer: intentions of (t, r, a, F, b, c) once F failed, b and c come after it and did not run
    # (b is kept from running; c, behind what never started, is not looked at for an attempt that will be made anew)
    "RETRY": "EXECUTE RETRY REVERT REVERT REVERT EXECUTE",
    "REVERT": "EXECUTE REVERT REVERT REVERT REVERT REVERT",
    "REVERT_ALL": "REVERT REVERT REVERT REVERT REVERT REVERT",
}


@pytest.mark.parametrize("answer", INTENTIONS)
def test_an_answer_sets_intentions_and_leaves_states(kit, answer):
    inner = kit.linear("g", "a", "F!", "b", retry=kit.Judge("r", answer))
    run = kit.load(kit.linear("f", "t", inner, "c"))
    run.on["F.t FAILURE"] = run.engine.suspend
    run.run()
    assert run.state == "SUSPENDED"
    states = ["SUCCESS", "SUCCESS", "SUCCESS", "FAILURE", "PENDING", "PENDING"]
    expected = [f"{s}/{i}" for s, i in zip(states, INTENTIONS[answer].split(), strict=True)]
    assert run.atom_states("t", "r", "a", "F", "b", "c") == expected


def test_reverting_only_the_inner_flow_still_ends_the_flow(kit):
    inner = kit.linear("g", "F!", retry=kit.Judge("r", "REVERT"))
    run = kit.run(kit.linear("f", "a", inner, "after"))
    assert "after" not in run.starts
    assert run.atom_states("a", "after") == ["SUCCESS/EXECUTE", "PENDING/REVERT"]
    assert run.state == "REVERTED"
    assert run.raised == "RuntimeError: F"


def test_deferring_asks_on_and_on(kit):
    judges = [kit.Judge(f"r{i}", "REVERT") for i in range(3)]
    flow = kit.linear("f2", "F!", retry=judges[2])
    for i in (1, 0):
        flow = kit.linear(f"f{i}", f"t{i}", flow, retry=judges[i])
    run = kit.run(flow, defer_reverts=True)
    assert [judge.asked for judge in judges] == [[[(1, ["r1"])]], [[(1, ["r2"])]], [[(1, ["F"])]]]
    assert run.atom_states("t0", "t1") == ["REVERTED/REVERT"] * 2


def test_a_flow_without_a_retry_in_between_is_governed_by_the_next_one_out(kit):
    judge = kit.Judge("r", "RETRY")
    run = kit.run(kit.linear("f", "a", kit.linear("g", kit.unordered("h", Until("F"))), retry=judge))
    assert judge.asked == [[(1, ["F"])]]
    assert run.starts == ["r", "a", "F", "r", "a", "F"]


def test_each_failed_atom_of_an_attempt_is_asked_about(kit):
    judge = kit.Judge("r", "RETRY", "RETRY", "REVERT")
    run = kit.run(kit.unordered("f", Until("F"), Until("G"), retry=judge))
    assert len(judge.asked) == 2
    assert len(judge.asked[0][0][1]) == 1
    assert judge.asked[1] == [(1, ["F", "G"])]
    assert run.state == "SUCCESS"


DECISIONS = [retry.RETRY, retry.REVERT, retry.REVERT_ALL]


@pytest.mark.parametrize("decision", DECISIONS)
def test_decisions_are_their_texts(kit, decision):
    for answer in (decision, str(decision.value)):
        run = kit.run(kit.linear("top", "t", kit.linear("f", Until("F"), retry=kit.Judge("r", answer))))
        assert run.state == ("SUCCESS" if decision == "RETRY" else "REVERTED")
        assert run.atom_states("t")[0] == ("REVERTED/REVERT" if decision == "REVERT_ALL" else "SUCCESS/EXECUTE")


@pytest.mark.parametrize("answer", [None, "retry", "whatever", 42, ""], ids=repr)
def test_another_answer_ends_the_run(kit, answer):
    judge = kit.Judge("r", lambda **kwargs: answer)
    run = kit.run(kit.linear("f", "a", "F!", retry=judge))
    assert isinstance(run.error, ValueError)
    assert run.state == "FAILURE"
    assert run.atom_states("r", "a", "F") == ["SUCCESS/EXECUTE", "SUCCESS/EXECUTE", "FAILURE/EXECUTE"]


def test_an_exception_of_on_failure_ends_the_run(kit):
    judge = kit.Judge("r", KeyError("no idea"), "RETRY")
    run = kit.run(kit.linear("f", "a", "F!", retry=judge))
    assert run.raised == "KeyError: 'no idea'"
    assert run.state == "FAILURE"
    assert run.atom_states("r", "a", "F") == ["SUCCESS/EXECUTE", "SUCCESS/EXECUTE", "FAILURE/EXECUTE"]


def test_the_next_run_asks_again(kit):
    judge = kit.Judge("r", KeyError("no idea"), "RETRY")
    run = kit.run(kit.linear("f", "a", Until("F"), retry=judge))
    assert run.state == "FAILURE"
    run.run()
    assert judge.asked == [[(1, ["F"])], [(1, ["F"])]]
    assert run.state == "SUCCESS"


# --- what is run again ----------------------------------------------------------------------------------------------


def resets(run):
    return [event.split(".")[0] for event in run.events if event.endswith(" PENDING")]


def test_atoms_are_reset_in_subgraph_order(kit):
    flow = kit.linear(
        "f", kit.unordered("u", "u1", "u2", kit.linear("l", "l1", "l2")), "x", Until("y"), retry=retry.Times(2, "r")
    )
    assert resets(kit.run(flow)) == ["l1", "l2", "x", "y", "u2", "u1"]


def test_nodes_of_a_graph_are_reset_in_subgraph_order(kit):
    links = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    flow = kit.graph("f", "a", "b", "c", Until("d"), links=links, retry=retry.Times(2, "r"))
    assert resets(kit.run(flow)) == ["a", "c", "d", "b"]


def test_inner_retries_are_reset_too(kit):
    inner = kit.linear("g", "b", retry=retry.Times(1, "inner"))
    run = kit.run(kit.linear("f", "a", inner, Until("c"), retry=retry.Times(2, "outer")))
    assert resets(run) == ["a", "inner", "b", "c"]


def test_ignored_atoms_are_reset_and_their_deciders_asked_again(kit):
    answers = [False, True]
    flow = kit.graph(
        "f",
        "a",
        "b",
        Until("c"),
        links=[("a", "b", lambda history: answers.pop(0), "ATOM"), ("b", "c")],
        retry=retry.Times(2, "r"),
    )
    run = kit.run(flow)
    assert run.starts == ["r", "a", "c", "r", "a", "b", "c"]
    assert "b.t IGNORE>PENDING" in run.moves
    assert run.state == "SUCCESS"


def test_histories_grow_until_the_retry_is_reverted(kit):
    judge = kit.Judge("r", "RETRY", "RETRY", "REVERT")
    run = kit.run(kit.linear("f", "F!", retry=judge))
    assert judge.asked == [[(i + 1, ["F"]) for i in range(n)] for n in (1, 2, 3)]
    assert len(judge.reverted[0]["history"]) == 3
    assert [len(history) for _, history in run.engine.storage.get_retry_histories()] == [0]


def test_a_successful_retry_keeps_its_history(kit):
    run = kit.run(kit.linear("f", Until("F"), retry=retry.Times(2, "r")))
    history = run.engine.storage.get_retry_history("r")
    assert [(given, sorted(failures)) for given, failures in history] == [(1, ["F"]), (2, [])]


def test_a_retry_with_a_revert_result(kit):
    run = kit.run(kit.linear("f", "F!", retry=kit.Judge("r", "REVERT", undo="undone")))
    assert run.events[-2] == "r.r REVERTED('undone')"


def test_the_retry_is_reverted_only_after_everything_in_its_flow(kit):
    flow = kit.unordered("f", "a", kit.linear("l", "b", "c"), "F!", retry=kit.Judge("r", "REVERT"))
    run = kit.run(flow)
    undone = [event.split(".")[0] for event in run.events if event.endswith(" REVERTING")]
    assert undone[-1] == "r"
    assert sorted(undone) == sorted(set(undone))
