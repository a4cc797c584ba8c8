# SPDX-License-Identifier: Apache-2.0
"""When and how does a running flow stop on request, and how does it go on?"""

from __future__ import annotations

import threading

import pytest

from taskflow import engines, exceptions, retry


def suspending(kit, flow, event, **kwargs):
    run = kit.load(flow, **kwargs)
    run.on[event] = run.engine.suspend
    run.run()
    run.on.clear()
    return run


def test_while_executing(kit):
    run = suspending(kit, kit.linear("f", "a", "b", "c"), "b.t SUCCESS")
    assert run.events == kit.events(
        """f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), b.t RUNNING, b.t SUCCESS(5), f.f SUSPENDING, f.f SUSPENDED"""
    )
    assert run.raised == ""
    assert run.atom_states("a", "b", "c") == ["SUCCESS/EXECUTE", "SUCCESS/EXECUTE", "PENDING/EXECUTE"]
    run.run()
    assert run.events == kit.events("f.f RUNNING, c.t RUNNING, c.t SUCCESS(5), f.f SUCCESS")


@pytest.mark.parametrize("new_engine", [False, True], ids=["same engine", "new engine"])
def test_while_reverting(kit, new_engine):
    flow = kit.linear("f", "a", "b", "c!")
    run = suspending(kit, flow, "b.t REVERTED")
    assert run.events[-4:] == kit.events("b.t REVERTING, b.t REVERTED(None), f.f SUSPENDING, f.f SUSPENDED")
    assert run.raised == ""
    if new_engine:
        run = kit.load(flow, flow_detail=run.engine.storage._flowdetail)
    run.run()
    assert run.events == kit.events("f.f RUNNING, a.t REVERTING, a.t REVERTED(None), f.f REVERTED")
    assert run.raised == "RuntimeError: c"


def test_while_a_retry_restarts(kit):
    run = suspending(kit, kit.linear("f", "a", "F!", retry=retry.Times(2, "r")), "a.t REVERTED")
    assert run.state == "SUSPENDED"
    assert run.atom_states("r", "a", "F") == ["SUCCESS/RETRY", "REVERTED/REVERT", "REVERTED/REVERT"]
    run.run()
    assert run.events[1:6] == kit.events("r.r RETRYING, a.t PENDING, F.t PENDING, r.r RUNNING, r.r SUCCESS(2)")
    assert run.raised == "RuntimeError: F"


def test_a_task_may_suspend(kit):
    engine = engines.load(kit.linear("f", "a", kit.Step("b", lambda: engine.suspend()), "c"))
    engine.run()
    assert engine.storage.get_flow_state() == "SUSPENDED"
    assert engine.storage.get_atom_state("b") == "SUCCESS"
    assert engine.storage.get_atom_state("c") == "PENDING"


def test_a_task_that_suspends_and_then_fails(kit):
    def work():
        run.engine.suspend()
        raise RuntimeError("b")

    run = kit.load(kit.linear("f", "a", kit.Step("b", work)))
    run.run()
    assert run.state == "SUSPENDED"
    assert run.raised == ""
    assert run.atom_states("a", "b") == ["SUCCESS/REVERT", "FAILURE/REVERT"]
    run.run()
    assert run.events == kit.events(
        "f.f RUNNING, b.t REVERTING, b.t REVERTED(None), a.t REVERTING, a.t REVERTED(None), f.f REVERTED"
    )
    assert run.raised == "RuntimeError: b"


ENDS = {
    "nothing left": (lambda k: k.linear("f", "a", "b"), "b.t SUCCESS", "SUCCESS", ""),
    "nothing left to revert": (lambda k: k.linear("f", "a", "F!"), "a.t REVERTED", "REVERTED", "RuntimeError: F"),
    "a failed revert": (
        lambda k: k.linear("f", "m", "N~", "F!"),
        "N.t REVERT_FAILURE",
        "FAILURE",
        "RuntimeError: N revert",
    ),
    "something left": (lambda k: k.linear("f", "a", "b"), "a.t RUNNING", "SUSPENDED", ""),
    "something left to revert": (lambda k: k.linear("f", "a", "F!"), "F.t FAILURE", "SUSPENDED", ""),
    "only ignored atoms left": (
        lambda k: k.graph("f", "a", "b", links=[("a", "b", False)]),
        "a.t SUCCESS",
        "SUCCESS",
        "",
    ),
    "at the start": (lambda k: k.linear("f", "a"), "f.f RUNNING", "SUSPENDED", ""),
    "at the start of nothing": (lambda k: k.linear("f"), "f.f RUNNING", "SUCCESS", ""),
}


@pytest.mark.parametrize(("flow", "event", "state", "raised"), ENDS.values(), ids=ENDS)
def test_ends(kit, flow, event, state, raised):
    run = suspending(kit, flow(kit), event)
    assert run.state == state
    assert run.raised == raised
    assert run.flow_moves == ["PENDING>RUNNING", "RUNNING>SUSPENDING", f"SUSPENDING>{state}"]


def test_at_the_final_move_it_is_too_late(kit):
    for flow, event, state in (
        (kit.linear("f", "a"), "f.f SUCCESS", "SUCCESS"),
        (kit.linear("f", "F!"), "f.f REVERTED", "REVERTED"),
    ):
        run = suspending(kit, flow, event)
        assert run.state == state


def test_an_event_that_never_comes(kit):
    run = suspending(kit, kit.linear("f", "a"), "zzz.t SUCCESS")
    assert run.state == "SUCCESS"


@pytest.mark.parametrize("state", ["PENDING", "SUSPENDED", "SUCCESS", "FAILURE", "REVERTED", "SUSPENDING"])
def test_no_effect_outside_a_run(kit, state):
    run = kit.load(kit.linear("f", "a"))
    run.engine.compile()
    run.engine.prepare()
    run.engine.storage.set_flow_state(state)
    run.engine.suspend()
    assert run.events == []
    assert run.state == state


def test_refused_while_resuming(kit):
    run = kit.load(kit.linear("f", "a"))
    run.engine.compile()
    run.engine.storage.set_flow_state("RESUMING")
    with pytest.raises(exceptions.InvalidState, match=r"^Flow transition.*not allowed"):
        run.engine.suspend()


def test_before_the_run_it_is_without_effect(kit):
    run = kit.load(kit.linear("f", "a"))
    run.engine.compile()
    run.engine.suspend()
    assert run.run().state == "SUCCESS"


def test_what_is_under_way_is_finished_and_saved(kit):
    run = suspending(kit, kit.unordered("f", kit.linear("l", "a>x", "after"), "b>y"), "a.t RUNNING")
    assert run.state == "SUSPENDED"
    assert run.engine.storage.fetch("x") == 5
    assert run.atom_states("a", "after") == ["SUCCESS/EXECUTE", "PENDING/EXECUTE"]
    run.run()
    assert run.state == "SUCCESS"
    assert run.engine.storage.fetch_all() == {"x": 5, "y": 5}


def test_deciders_of_what_would_be_next_are_asked_still(kit):
    asked = []

    def no(history):
        asked.append(history)
        return False

    flow = kit.graph("f", "a", "b", "c", links=[("a", "b", no, "ATOM"), ("b", "c")])
    run = suspending(kit, flow, "a.t SUCCESS")
    assert asked
    assert run.atom_states("a", "b", "c") == ["SUCCESS/EXECUTE", "IGNORE/IGNORE", "PENDING/EXECUTE"]
    assert run.state == "SUSPENDED"
    assert run.run().starts == ["c"]


def test_from_another_thread(kit):
    started, suspended = threading.Event(), threading.Event()

    def work():
        started.set()
        assert suspended.wait(10)

    engine = engines.load(kit.linear("f", kit.Step("a", work), "b"))

    def ask():
        assert started.wait(20)
        engine.suspend()
        suspended.set()

    asker = threading.Thread(target=ask)
    asker.start()
    engine.run()
    asker.join()
    assert engine.storage.get_flow_state() == "SUSPENDED"
    assert engine.storage.get_atom_state("a") == "SUCCESS"
    assert engine.storage.get_atom_state("b") == "PENDING"


def test_between_the_start_of_run_and_the_move_to_running(kit):
    """A request that comes while run() prepares is not lost."""
    run = kit.load(kit.linear("f", "a"))
    validate = run.engine.validate

    def validate_and_suspend():
        validate()
        run.engine.suspend()

    run.engine.validate = validate_and_suspend
    run.run()
    assert run.state == "SUSPENDED"
    assert run.starts == []
    run.engine.validate = validate
    assert run.run().state == "SUCCESS"


def test_suspend_resume_at_every_event(kit):
    """Whatever the event at which a flow is suspended, it gets to the same end."""
    make = lambda: kit.linear(  # noqa: E731
        "f", "a>x", kit.linear("g", "b", "F!", retry=retry.Times(2, "r")), retry=retry.Times(1, "outer")
    )
    whole = kit.run(make())
    for at, event in enumerate(whole.events):
        run = kit.load(make())
        seen = []

        def suspend_at(state, details, run=run, seen=seen, at=at):
            seen.append(state)
            if len(seen) == at + 1:
                run.engine.suspend()

        run.engine.notifier.register("*", suspend_at)
        run.engine.atom_notifier.register("*", suspend_at)
        atoms = list(run.run().atoms)
        if run.state == "SUSPENDED":
            run.run()
            atoms += run.atoms
        assert atoms == whole.atoms, event
        assert run.raised == whole.raised, event
        assert run.state == "REVERTED", event


def test_what_was_cancelled_is_left_for_the_next_run(kit):
    """With one worker the tasks that are still queued are cancelled; only they run later, once."""
    tasks = [kit.step(f"t{i}>x{i}") for i in range(4)]
    run = kit.load(kit.unordered("f", *tasks), engine="parallel", max_workers=1)
    tasks[0].gives = run.engine.suspend
    tasks[0].priority = 1
    run.run()
    done = [step.name for step in tasks if step.executed]
    assert run.raised == ""
    if len(done) < len(tasks):
        assert run.state == "SUSPENDED"
        run.run()
    assert run.state == "SUCCESS"
    assert [len(step.executed) for step in tasks] == [1] * 4
    assert not [event for event in run.events if event.endswith(" PENDING")]
    assert run.engine.storage.fetch_all() == {"x0": None, "x1": 5, "x2": 5, "x3": 5}
