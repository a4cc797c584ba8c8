# SPDX-License-Identifier: Apache-2.0
"""Which events does a serial run emit, in which order, for the basic kinds of flow?"""

from __future__ import annotations

import pytest

from taskflow import retry

LINEAR_FAILS = """
    a.t RUNNING, a.t SUCCESS(5), b.t RUNNING, b.t SUCCESS(5),
    F.t RUNNING, F.t FAILURE(RuntimeError: F), F.t REVERTING, F.t REVERTED(None),
    b.t REVERTING, b.t REVERTED(None), a.t REVERTING, a.t REVERTED(None)
"""

TRACES = {
    "a single task as flow": (
        lambda k: k.step("a"),
        "a.f RUNNING, a.t RUNNING, a.t SUCCESS(5), a.f SUCCESS",
        "",
    ),
    "a linear flow": (
        lambda k: k.linear("f", "a", "b"),
        "f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), b.t RUNNING, b.t SUCCESS(5), f.f SUCCESS",
        "",
    ),
    "a linear flow whose last task fails": (
        lambda k: k.linear("f", "a", "b", "F!"),
        f"f.f RUNNING, {LINEAR_FAILS}, f.f REVERTED",
        "RuntimeError: F",
    ),
    "a linear flow whose first task fails": (
        lambda k: k.linear("f", "F!", "b"),
        "f.f RUNNING, F.t RUNNING, F.t FAILURE(RuntimeError: F), F.t REVERTING, F.t REVERTED(None), f.f REVERTED",
        "RuntimeError: F",
    ),
    "a single task that fails": (
        lambda k: k.step("F!"),
        "F.f RUNNING, F.t RUNNING, F.t FAILURE(RuntimeError: F), F.t REVERTING, F.t REVERTED(None), F.f REVERTED",
        "RuntimeError: F",
    ),
    "a revert that fails": (
        lambda k: k.linear("f", "m", "N~", "F!"),
        """f.f RUNNING, m.t RUNNING, m.t SUCCESS(5), N.t RUNNING, N.t SUCCESS(5),
        F.t RUNNING, F.t FAILURE(RuntimeError: F), F.t REVERTING, F.t REVERTED(None),
        N.t REVERTING, N.t REVERT_FAILURE(RuntimeError: N revert), f.f FAILURE""",
        "RuntimeError: N revert",
    ),
    "a retry of two attempts": (
        lambda k: k.linear("f", "a", "F!", retry=retry.Times(2, "r")),
        """f.f RUNNING, r.r RUNNING, r.r SUCCESS(1),
        a.t RUNNING, a.t SUCCESS(5), F.t RUNNING, F.t FAILURE(RuntimeError: F),
        F.t REVERTING, F.t REVERTED(None), a.t REVERTING, a.t REVERTED(None),
        r.r RETRYING, a.t PENDING, F.t PENDING, r.r RUNNING, r.r SUCCESS(2),
        a.t RUNNING, a.t SUCCESS(5), F.t RUNNING, F.t FAILURE(RuntimeError: F),
        F.t REVERTING, F.t REVERTED(None), a.t REVERTING, a.t REVERTED(None),
        r.r REVERTING, r.r REVERTED(None), f.f REVERTED""",
        "RuntimeError: F",
    ),
    "nested flows": (
        lambda k: k.linear("f", "a", k.linear("g", "b", k.unordered("u", "c")), k.graph("h", "d")),
        """f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), b.t RUNNING, b.t SUCCESS(5), c.t RUNNING, c.t SUCCESS(5),
        d.t RUNNING, d.t SUCCESS(5), f.f SUCCESS""",
        "",
    ),
    "a revert that gives a result": (
        lambda k: k.linear("f", k.Step("a", undo="undone"), "F!"),
        """f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), F.t RUNNING, F.t FAILURE(RuntimeError: F),
        F.t REVERTING, F.t REVERTED(None), a.t REVERTING, a.t REVERTED('undone'), f.f REVERTED""",
        "RuntimeError: F",
    ),
    "an empty flow": (lambda k: k.linear("f"), "f.f RUNNING, f.f SUCCESS", ""),
}


@pytest.mark.parametrize("backend", [None, {"connection": "memory"}], ids=["own", "memory"])
@pytest.mark.parametrize(("flow", "trace", "raised"), TRACES.values(), ids=TRACES)
def test_trace(kit, flow, trace, raised, backend):
    run = kit.run(flow(kit), backend=backend)
    assert run.events == kit.events(trace)
    assert run.raised == raised


def test_a_reverted_engine_resets_in_graph_order_and_runs_again_alike(kit):
    run = kit.run(kit.linear("f", "a", "b", "F!"))
    first = list(run.events)
    run.run()
    assert run.events == kit.events("a.t PENDING, b.t PENDING, F.t PENDING, f.f PENDING") + first
    assert run.moves[:4] == kit.events(
        "a.t REVERTED>PENDING, b.t REVERTED>PENDING, F.t REVERTED>PENDING, f.f REVERTED>PENDING"
    )
    assert run.raised == "RuntimeError: F"


def test_the_first_move_is_from_pending(kit):
    run = kit.run("a")
    assert run.moves == kit.events("a.f PENDING>RUNNING, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS, a.f RUNNING>SUCCESS")


def test_independent_tasks_all_start_before_any_of_them_ends_and_by_priority(kit):
    tasks = [kit.step(f"t{i}") for i in range(10)]
    for i, step in enumerate(tasks):
        step.priority = i * 10
    run = kit.run(kit.unordered("f", *tasks))
    names = [f"t{i}" for i in reversed(range(10))]
    assert run.atoms[:10] == [f"{name}.t RUNNING" for name in names]
    assert sorted(run.atoms[10:]) == sorted(f"{name}.t SUCCESS(5)" for name in names)


def test_tasks_of_equal_priority_start_and_end_in_the_order_of_adding(kit):
    names = [f"t{i}" for i in (3, 1, 4, 15, 9, 2, 6, 53, 58, 97)]
    run = kit.run(kit.unordered("f", *names))
    assert run.atoms == [f"{n}.t RUNNING" for n in names] + [f"{n}.t SUCCESS(5)" for n in names]


def test_priority_orders_only_what_is_ready_together_and_may_be_missing(kit):
    low, high = kit.step("low"), kit.step("high")
    low.priority, high.priority = -1, 1
    plain = kit.step("plain")
    first = kit.step("first")
    first.priority = -100
    run = kit.run(kit.linear("f", first, kit.unordered("u", low, plain, high)))
    assert run.starts == ["first", "high", "plain", "low"]


def test_reverts_that_are_ready_together_start_by_priority(kit):
    tasks = [kit.step(f"t{i}") for i in range(5)]
    for i, step in enumerate(tasks):
        step.priority = i
    run = kit.run(kit.linear("f", kit.unordered("u", *tasks), "F!"))
    reverting = [e for e in run.atoms if e.endswith(" REVERTING")]
    assert reverting == [f"{n}.t REVERTING" for n in ("F", "t4", "t3", "t2", "t1", "t0")]


def test_a_graph_flow_runs_by_its_links_and_reverts_against_them(kit):
    flow = kit.graph("f", "d!", "c", "b", "a", links=[("a", "b"), ("b", "c"), ("c", "d")])
    run = kit.run(flow)
    assert run.starts == ["a", "b", "c", "d"]
    assert [e for e in run.atoms if e.endswith(" REVERTING")] == [f"{n}.t REVERTING" for n in "dcba"]


def test_an_atom_that_succeeds_beside_a_failure_is_reverted_after_its_success_event(kit):
    ok, bad = kit.step("ok"), kit.step("F!")
    ok.priority = 1
    run = kit.run(kit.unordered("f", ok, bad))
    assert run.starts == ["ok", "F"]
    ends = [event for event in run.atoms if "RUNNING" not in event]
    assert sorted(ends[:2]) == ["F.t FAILURE(RuntimeError: F)", "ok.t SUCCESS(5)"]
    assert sorted(ends[2:4]) == ["F.t REVERTING", "ok.t REVERTING"]
    assert ok.reverted[0]["result"] == 5
    assert run.state == "REVERTED"


def test_what_became_ready_beside_a_failure_never_starts_nor_reverts(kit):
    """Task b is ready once a ends, in the very step in which F fails: it must be left alone, always."""
    for order in (("x", "F!"), ("F!", "x")):
        b = kit.step("b")
        first, second = (kit.linear("l", "a", b) if item == "x" else item for item in order)
        run = kit.run(kit.unordered("f", first, second))
        assert not b.executed
        assert not b.reverted
        assert not [event for event in run.events if event.startswith("b.")]
        assert run.state == "REVERTED"
        assert run.raised == "RuntimeError: F"
