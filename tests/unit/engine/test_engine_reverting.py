# SPDX-License-Identifier: Apache-2.0
"""What is reverted after a failure, in which order, and what does each revert get?"""

from __future__ import annotations

import pytest

from taskflow import exceptions, retry


def reverting(run):
    return [event.split(".")[0] for event in run.events if event.endswith(" REVERTING")]


ORDERS = {
    "linear": (lambda k: k.linear("f", "a", "b", "c", "F!"), ["F", "c", "b", "a"]),
    "nested linear": (lambda k: k.linear("f", "a", k.linear("g", "b", k.linear("h", "c")), "F!"), ["F", "c", "b", "a"]),
    "graph": (
        lambda k: k.graph("f", "a", "b", "c", "F!", links=[("c", "b"), ("b", "a"), ("a", "F")]),
        ["F", "a", "b", "c"],
    ),
    "what did not run is left out": (lambda k: k.linear("f", "a", "F!", "c"), ["F", "a"]),
    "empty flows are passed": (lambda k: k.linear("f", "a", k.unordered("u"), k.graph("g"), "F!"), ["F", "a"]),
    "a retry is reverted after its tasks": (
        lambda k: k.linear("f", "a", k.linear("g", "b", retry=retry.Times(1, "r")), "F!"),
        ["F", "b", "r", "a"],
    ),
}


@pytest.mark.parametrize(("flow", "order"), ORDERS.values(), ids=ORDERS)
def test_order(kit, flow, order):
    run = kit.run(flow(kit))
    assert reverting(run) == order
    assert run.raised == "RuntimeError: F"
    assert run.state == "REVERTED"


def test_a_flow_in_parallel_branches_reverts_all_of_it(kit):
    run = kit.run(kit.linear("f", "a", kit.unordered("u", kit.linear("l", "b", "c"), "d"), "F!"))
    order = reverting(run)
    assert sorted(order) == sorted("abcdF")
    assert order[0] == "F"
    assert order[-1] == "a"
    assert order.index("c") < order.index("b")


def test_ignored_atoms_are_passed_over(kit):
    flow = kit.graph("f", "a", "b", "c", "F!", links=[("a", "b"), ("b", "c", False, "ATOM"), ("c", "F")])
    run = kit.run(flow)
    assert reverting(run) == ["F", "b", "a"]
    assert run.atom_states("c") == ["IGNORE/REVERT"]


def test_results_are_gone_after_a_full_revert(kit):
    run = kit.run(kit.linear("f", "a>x", "b>y", "F!"), store={"given": 1})
    assert run.engine.storage.fetch_all() == {"given": 1}
    for name in "ab":
        with pytest.raises(exceptions.NotFound):
            run.engine.storage.get(name)


def test_the_value_of_a_failed_task_is_its_failure_even_after_a_revert(kit):
    run = kit.run(kit.linear("f", "a>x", "F!>z"))
    assert {name: kit.show(value) for name, value in run.engine.storage.fetch_all().items()} == {"z": "RuntimeError: F"}


def test_revert_results_can_be_fetched(kit):
    run = kit.run(kit.linear("f", kit.Step("a", undo="undone"), "F!"))
    assert run.engine.storage.get_revert_result("a") == "undone"
    assert run.engine.storage.get_revert_result("F") is None


def test_intentions_after_a_revert(kit):
    run = kit.run(kit.linear("f", "a", "F!", "c"))
    assert run.atom_states("a", "F", "c") == ["REVERTED/REVERT", "REVERTED/REVERT", "PENDING/REVERT"]


def test_each_revert_gets_the_result_and_the_failures(kit):
    a, b = kit.Step("a", gives="A"), kit.Step("b", gives=None)
    run = kit.run(kit.linear("f", a, b, "F!"))
    for step, result in ((a, "A"), (b, None)):
        (call,) = step.reverted
        assert call["result"] == result
        assert {name: kit.show(f) for name, f in call["flow_failures"].items()} == {"F": "RuntimeError: F"}
    assert run.raised == "RuntimeError: F"


def test_failures_of_one_step_are_all_raised(kit):
    a = kit.step("a")
    run = kit.run(kit.linear("f", a, kit.unordered("u", "F!", "G!")))
    assert a.reverted[0]["flow_failures"]
    assert sorted(kit.show(f) for f in run.error) == ["RuntimeError: F", "RuntimeError: G"]


def test_a_failed_revert_ends_the_run_and_leaves_the_rest(kit):
    run = kit.run(kit.linear("f", "a", "N~", "b", "F!"))
    assert run.state == "FAILURE"
    assert run.atom_states("a", "N", "b", "F") == [
        "SUCCESS/REVERT",
        "REVERT_FAILURE/REVERT",
        "REVERTED/REVERT",
        "REVERTED/REVERT",
    ]
    assert run.raised == "RuntimeError: N revert"
    storage = run.engine.storage
    assert {name: kit.show(f) for name, f in storage.get_execute_failures().items()} == {"F": "RuntimeError: F"}
    assert {name: kit.show(f) for name, f in storage.get_revert_failures().items()} == {"N": "RuntimeError: N revert"}
    assert kit.show(storage.get_revert_result("N")) == "RuntimeError: N revert"


def test_a_failed_revert_under_a_retry_ends_the_run(kit):
    flow = kit.linear("f", "N~", "F!", retry=retry.Times(3, "r", provides="x"))
    run = kit.run(flow)
    assert run.events[-2:] == ["N.t REVERT_FAILURE(RuntimeError: N revert)", "f.f FAILURE"]
    assert not [event for event in run.events if "RETRYING" in event]
    assert run.engine.storage.fetch_all() == {"x": 1}
    assert run.raised == "RuntimeError: N revert"


class TestNeverResolve:
    def test_nothing_is_reverted(self, kit):
        run = kit.run(kit.linear("f", "a", "F!", "c"), never_resolve=True)
        assert run.events == kit.events(
            "f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), F.t RUNNING, F.t FAILURE(RuntimeError: F), f.f FAILURE"
        )
        assert run.atom_states("a", "F", "c") == ["SUCCESS/EXECUTE", "FAILURE/EXECUTE", "PENDING/EXECUTE"]
        assert run.raised == "RuntimeError: F"

    def test_no_retry_is_asked(self, kit):
        judge = kit.Judge("r", "RETRY")
        run = kit.run(kit.linear("f", "F!", retry=judge), never_resolve=True)
        assert judge.asked == []
        assert run.state == "FAILURE"

    def test_what_is_under_way_is_finished_and_saved(self, kit):
        run = kit.run(kit.unordered("f", "a>x", "F!", "G!"), never_resolve=True)
        assert run.engine.storage.fetch("x") == 5
        assert run.atom_states("a", "F", "G") == ["SUCCESS/EXECUTE", "FAILURE/EXECUTE", "FAILURE/EXECUTE"]
        assert run.raised.startswith("WrappedFailure[")
        assert sorted(kit.show(f) for f in run.error) == ["RuntimeError: F", "RuntimeError: G"]

    def test_a_later_engine_without_it_reverts(self, kit):
        flow = kit.linear("f", "a", "F!")
        first = kit.run(flow, never_resolve=True)
        run = kit.run(flow, flow_detail=first.engine.storage._flowdetail)
        assert run.events == kit.events(
            "f.f RUNNING, F.t REVERTING, F.t REVERTED(None), a.t REVERTING, a.t REVERTED(None), f.f REVERTED"
        )
        assert run.raised == "RuntimeError: F"


class TestRaised:
    def test_one_failure_is_the_original_exception_with_its_traceback(self, kit):
        error = RuntimeError("original")
        run = kit.run(kit.linear("f", "a", kit.Step("b", error)))
        assert run.error is error
        functions = []
        tb = error.__traceback__
        while tb is not None:
            functions.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        assert functions[-2:] == ["execute", "_answer"]

    def test_several_are_wrapped_in_the_order_of_the_atoms(self, kit):
        run = kit.run(kit.unordered("f", "E!", "a", "F!", "G!"))
        assert run.raised == "WrappedFailure[RuntimeError: E, RuntimeError: F, RuntimeError: G]"
        assert len(run.error) == 3
        assert run.error.check(ValueError, RuntimeError) is RuntimeError
        assert run.error.check(ValueError) is None

    def test_nested_wrappings_are_flattened(self, kit):
        inner = exceptions.WrappedFailure([kit.failure("1"), kit.failure("2", ValueError)])
        run = kit.run(kit.unordered("f", kit.Step("a", inner), "F!"))
        assert run.raised == "WrappedFailure[RuntimeError: 1, ValueError: 2, RuntimeError: F]"

    def test_nothing_is_raised_for_failures_that_were_retried(self, kit):
        run = kit.run(kit.linear("f", kit.Step("b", outcomes(kit, RuntimeError("once"), 5)), retry=retry.Times(2, "r")))
        assert run.raised == ""
        assert run.state == "SUCCESS"

    def test_old_failures_of_atoms_that_succeeded_later_are_forgotten(self, kit):
        seen = kit.step("seen")
        flow = kit.linear(
            "f",
            seen,
            kit.linear("g", kit.Step("a", outcomes(kit, RuntimeError("old"), 5)), retry=retry.Times(2, "r")),
            kit.Step("b", RuntimeError("final")),
        )
        run = kit.run(flow)
        assert run.raised == "RuntimeError: final"
        assert [sorted(call["flow_failures"]) for call in seen.reverted] == [["b"]]
        assert list(run.engine.storage.get_execute_failures()) == ["b"]

    def test_a_reverted_flow_without_known_failures_raises_nothing(self, kit):
        run = kit.left(kit.linear("f", "a"), "a=SUCCESS/REVERT").run()
        assert run.state == "REVERTED"
        assert run.raised == ""

    def test_the_same_engine_run_again_raises_only_the_new_failure(self, kit):
        step = kit.Step("a", outcomes(kit, RuntimeError("first"), 5, 5))
        other = kit.Step("b", outcomes(kit, RuntimeError("second")))
        run = kit.run(kit.linear("f", step, other))
        assert run.raised == "RuntimeError: first"
        assert run.run().raised == "RuntimeError: second"


def outcomes(kit, *given):
    """What a step does at each of its executions: raise or give one after the other."""
    left = list(given)

    def next_one(**kwargs):
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return next_one
