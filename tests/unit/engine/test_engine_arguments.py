# SPDX-License-Identifier: Apache-2.0
"""Which values reach an atom, and under which names are its results found?"""

from __future__ import annotations

import logging

import pytest

from taskflow import engines, exceptions, retry, task


class Take(task.Task):
    """Takes x, and y when somebody provides it."""

    def __init__(self, name="take", **kwargs):
        super().__init__(name=name, **kwargs)
        self.got = []

    def execute(self, x, y="default"):
        self.got.append((x, y))


def taken(kit, *before, store=None, **kwargs):
    take = Take(**kwargs)
    engines.run(kit.linear("f", *before, take), store=store)
    return take.got


def test_arguments_come_by_keyword_and_only_those_that_are_bound(kit):
    a = kit.Step("a", requires=["x"], rebind={"y": "symbol"})
    engines.run(kit.linear("f", a), store={"x": 1, "symbol": 2, "other": 3})
    assert a.executed == [{"x": 1, "y": 2}]


def test_an_optional_argument_nobody_provides_keeps_its_default(kit):
    assert taken(kit, store={"x": 1}) == [(1, "default")]
    assert taken(kit, store={"x": 1, "y": None}) == [(1, None)]
    assert taken(kit, kit.Step("p", gives=2, provides="y"), store={"x": 1}) == [(1, 2)]


def test_an_optional_argument_whose_provider_is_out_of_scope_keeps_its_default(kit):
    for build in (
        lambda take: kit.unordered("f", take, "p>y"),
        lambda take: kit.linear("f", take, "p>y"),
    ):
        take = Take()
        engines.run(build(take), store={"x": 1})
        assert take.got == [(1, "default")]


def test_an_optional_argument_whose_provider_was_ignored_keeps_its_default(kit):
    take = Take()
    flow = kit.graph("f", "a", "p>y", take, links=[("a", "p", False, "ATOM")])
    engines.run(flow, store={"x": 1})
    assert take.got == [(1, "default")]


ORDER = {
    "own injection before all": ({"inject": {"x": "own"}}, {"x": "store"}, "own"),
    "store before atoms": ({}, {"x": "store"}, "store"),
    "the nearest atom": ({}, None, "near"),
}


@pytest.mark.parametrize(("kwargs", "store", "expected"), ORDER.values(), ids=ORDER)
def test_order_of_sources(kit, kwargs, store, expected):
    far, near = kit.Step("far", gives="far", provides="x"), kit.Step("near", gives="near", provides="x")
    assert taken(kit, far, near, store=store, **kwargs) == [(expected, "default")]


def test_transient_injections_of_an_atom_come_before_persistent_ones(kit):
    take = Take()
    engine = engines.load(kit.linear("f", take), store={"x": 0})
    engine.compile()
    engine.prepare()
    engine.storage.inject_atom_args("take", {"x": "persistent", "y": "persistent"}, transient=False)
    engine.storage.inject_atom_args("take", {"x": "transient"}, transient=True)
    engine.run()
    assert take.got == [("transient", "persistent")]


def test_the_own_injection_is_keyed_by_symbol(kit):
    a = kit.Step("a", rebind={"arg": "x"}, inject={"x": 1, "unused": 2})
    engines.run(a)
    assert a.executed == [{"arg": 1}]


def test_inner_scopes_come_before_outer_ones(kit):
    take = Take()
    inner = kit.linear("g", kit.Step("in", gives="inner", provides="x"), take)
    engines.run(kit.linear("f", kit.Step("out", gives="outer", provides="x"), inner))
    assert take.got == [("inner", "default")]


def test_the_value_of_the_retry_around_is_seen(kit):
    take = Take()
    engines.run(kit.linear("f", take, retry=retry.ForEach(["first"], "r", provides="x")))
    assert take.got == [("first", "default")]


def test_an_ignored_provider_is_passed_over(kit):
    a, b, take = kit.Step("a", gives="a", provides="x"), kit.Step("b", gives="b", provides="x"), Take()
    flow = kit.graph("f").add(a, b, take, resolve_requires=False)
    flow.link(a, b, decider=lambda history: False, decider_depth="ATOM").link(b, take)
    engines.run(flow)
    assert take.got == [("a", "default")]


RESULTS = {
    "one name": ("x", 5, {"x": 5}, None),
    "one name, None": ("x", None, {"x": None}, None),
    "one name, a tuple": ("x", (1, 2), {"x": (1, 2)}, None),
    "two names, longer": (("x", "y"), (1, 2, 3), {"x": 1, "y": 2}, None),
    "two names, a list": (("x", "y"), [1, 2], {"x": 1, "y": 2}, None),
    "two names, shorter": (("x", "y"), (1,), {"x": 1}, "y"),
    "two names, no sequence": (("x", "y"), 5, {}, "x"),
    "two names, a dict without indexes": (("x", "y"), {"x": 1}, {}, "x"),
    "a tuple of one name": (("x",), "ab", {"x": "a"}, None),
    "a set": ({"x", "y"}, {"x": 1, "y": 2, "z": 3}, {"x": 1, "y": 2}, None),
    "a set, missing key": ({"x", "y"}, {"x": 1}, {"x": 1}, "y"),
    "a set, a tuple": ({"x"}, (1,), {}, "x"),
    "nothing": (None, 5, {}, None),
}


@pytest.mark.parametrize(("provides", "result", "found", "lost"), RESULTS.values(), ids=RESULTS)
def test_results_by_name(kit, caplog, provides, result, found, lost):
    with caplog.at_level(logging.WARNING):
        engine = engines.load(kit.Step("a", gives=result, provides=provides))
        engine.run()
    assert engine.storage.fetch_all() == found
    assert engine.storage.get("a") is result
    if lost is not None:
        with pytest.raises(exceptions.NotFound):
            engine.storage.fetch(lost)
    warnings = [r for r in caplog.records if r.name == "taskflow.storage"]
    assert bool(warnings) is (lost is not None)


def test_several_sources_of_one_name_are_all_in_fetch_all(kit):
    flow = kit.linear("f", kit.Step("a", gives="a", provides="x"), kit.Step("b", gives="b", provides="x"))
    engine = engines.load(flow, store={"x": "store"})
    engine.run()
    assert engine.storage.fetch_all() == {"x": ["store", "a", "b"]}
    assert engine.storage.fetch("x") == "store"


def test_own_injections_are_not_among_the_flows_values(kit):
    assert engines.run(kit.Step("a", requires=["x"], inject={"x": 1}, provides="y")) == {"y": 5}


@pytest.mark.parametrize("resolve", [True, False], ids=["resolve", "never_resolve"])
def test_a_value_that_cannot_be_fetched_ends_the_run_without_resolution(kit, resolve):
    short = kit.Step("p", gives=("only",), provides=("w", "x"))
    take = Take()
    flow = kit.linear("f", short, take, retry=retry.Times(3, "r"))
    run = kit.run(flow, never_resolve=not resolve)
    assert isinstance(run.error, exceptions.NotFound)
    assert run.state == "FAILURE"
    assert run.atom_states("r", "p", "take") == ["SUCCESS/EXECUTE", "SUCCESS/EXECUTE", "RUNNING/EXECUTE"]
    run.engine.storage.inject({"x": "late"})
    assert run.run().raised == ""
    assert run.moves[0] == "f.f FAILURE>RUNNING"
    assert take.got == [("late", "default")]


def test_revert_gets_its_own_arguments_the_result_and_the_failures(kit):
    class Undo(task.Task):
        got = []

        def execute(self, x):
            return "done"

        def revert(self, y, result, flow_failures, z="default"):
            self.got.append((y, z, result, sorted(flow_failures)))

    run = kit.run(kit.linear("f", Undo("u"), "F!"), store={"x": 1, "y": 2})
    assert run.raised == "RuntimeError: F"
    assert Undo.got == [(2, "default", "done", ["F"])]


def test_revert_of_a_failed_task_gets_its_failure_as_result(kit):
    bad = kit.step("F!")
    run = kit.run(bad)
    (call,) = bad.reverted
    assert kit.show(call["result"]) == "RuntimeError: F"
    assert {name: kit.show(f) for name, f in call["flow_failures"].items()} == {"F": "RuntimeError: F"}
    assert call["result"].exception is run.error


def test_a_revert_that_takes_neither_result_nor_failures_fails(kit):
    class Narrow(task.Task):
        def execute(self):
            return 1

        def revert(self):
            raise AssertionError

    run = kit.run(kit.linear("f", Narrow("n"), "F!"))
    assert run.raised.startswith("TypeError")
    assert run.state == "FAILURE"
    assert run.atom_states("n")[0].startswith("REVERT_FAILURE")


def test_positional_only_parameters_fail_at_run_time(kit):
    class Positional(task.Task):
        def execute(self, x, /):
            return x

    run = kit.run(Positional("p"), store={"x": 1})
    assert run.raised.startswith("TypeError")
    assert run.state == "REVERTED"


def test_retries_get_history_and_their_arguments(kit):
    judge = kit.Judge("r", "RETRY", "REVERT", requires=["x"])
    run = kit.run(kit.linear("f", "F!", retry=judge), store={"x": 1})
    assert run.raised == "RuntimeError: F"
    assert judge.executed == [{"x": 1}, {"x": 1}]
    assert judge.asked == [[(1, ["F"])], [(1, ["F"]), (2, ["F"])]]
    assert judge.asked_with == [{"x": 1}, {"x": 1}]
    (call,) = judge.reverted
    assert sorted(call) == ["flow_failures", "history", "x"]
    assert len(call["history"]) == 2


class Hooks(task.Task):
    """Notes every call; fails where it is told to."""

    def __init__(self, name, *fails):
        super().__init__(name=name)
        self.fails = fails
        self.calls = []

    def _call(self, what):
        self.calls.append(what)
        if what in self.fails:
            raise RuntimeError(what)
        return what

    def pre_execute(self):
        self._call("pre_execute")

    def execute(self):
        return self._call("execute")

    def post_execute(self):
        self._call("post_execute")

    def pre_revert(self):
        self._call("pre_revert")

    def revert(self, result, flow_failures):
        self.result = result
        return self._call("revert")

    def post_revert(self):
        self._call("post_revert")


EXECUTE = ["pre_execute", "execute", "post_execute"]
REVERT = ["pre_revert", "revert", "post_revert"]
HOOKS = {
    "all is well": ((), EXECUTE, "", "SUCCESS"),
    "execute": (("execute",), EXECUTE + REVERT, "RuntimeError: execute", "REVERTED"),
    "pre_execute": (
        ("pre_execute",),
        ["pre_execute", "post_execute", *REVERT],
        "RuntimeError: pre_execute",
        "REVERTED",
    ),
    "post_execute": (("post_execute",), EXECUTE + REVERT, "RuntimeError: post_execute", "REVERTED"),
    "revert": (("execute", "revert"), EXECUTE + REVERT, "RuntimeError: revert", "FAILURE"),
    "pre_revert": (
        ("execute", "pre_revert"),
        [*EXECUTE, "pre_revert", "post_revert"],
        "RuntimeError: pre_revert",
        "FAILURE",
    ),
    "post_revert": (("execute", "post_revert"), EXECUTE + REVERT, "RuntimeError: post_revert", "FAILURE"),
}


@pytest.mark.parametrize(("fails", "calls", "raised", "state"), HOOKS.values(), ids=HOOKS)
def test_hooks(kit, fails, calls, raised, state):
    hooks = Hooks("h", *fails)
    run = kit.run(hooks)
    assert hooks.calls == calls
    assert run.raised == raised
    assert run.state == state


def test_a_post_hook_that_fails_is_a_failure_of_the_atom(kit):
    run = kit.run(kit.linear("f", "a", Hooks("h", "post_execute")))
    assert run.events == kit.events(
        """f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), h.t RUNNING, h.t FAILURE(RuntimeError: post_execute),
        h.t REVERTING, h.t REVERTED('revert'), a.t REVERTING, a.t REVERTED(None), f.f REVERTED"""
    )
    run = kit.run(kit.linear("f", Hooks("h", "post_revert"), "F!"))
    assert run.events[-3:] == kit.events("h.t REVERTING, h.t REVERT_FAILURE(RuntimeError: post_revert), f.f FAILURE")


def test_hooks_of_retries_are_not_called(kit):
    class HookedRetry(retry.AlwaysRevert):
        def pre_execute(self):
            raise AssertionError

        post_execute = pre_revert = post_revert = pre_execute

    run = kit.run(kit.linear("f", "F!", retry=HookedRetry("r")))
    assert run.raised == "RuntimeError: F"


def test_a_returned_failure_counts_as_failure(kit):
    run = kit.run(kit.linear("f", "a", kit.Step("b", gives=kit.failure("returned"))))
    assert run.events == kit.events(
        """f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), b.t RUNNING, b.t FAILURE(RuntimeError: returned),
        b.t REVERTING, b.t REVERTED(None), a.t REVERTING, a.t REVERTED(None), f.f REVERTED"""
    )
    assert run.raised == "RuntimeError: returned"
