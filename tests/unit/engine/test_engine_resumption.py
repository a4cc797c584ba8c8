# SPDX-License-Identifier: Apache-2.0
"""How does a new engine go on from the states that another one left behind?"""

from __future__ import annotations

import contextlib

import pytest

from taskflow import engines, exceptions, retry
from taskflow.persistence import backends, models
from taskflow.utils import persistence_utils

MOVES = {
    None: "PENDING>RUNNING",
    "PENDING": "PENDING>RUNNING",
    "RUNNING": "RUNNING>RESUMING, RESUMING>SUSPENDED, SUSPENDED>RUNNING",
    "SUSPENDING": "SUSPENDING>RESUMING, RESUMING>SUSPENDED, SUSPENDED>RUNNING",
    "RESUMING": "RESUMING>SUSPENDED, SUSPENDED>RUNNING",
    "SUSPENDED": "SUSPENDED>RUNNING",
    "SUCCESS": "SUCCESS>RUNNING",
    "FAILURE": "FAILURE>RUNNING",
    "REVERTED": "REVERTED>PENDING, PENDING>RUNNING",
}


@pytest.mark.parametrize("state", MOVES)
def test_moves_of_the_flow_by_its_stored_state(kit, state):
    run = kit.left(kit.linear("f", "a", "b"), "a=SUCCESS", state).run()
    moves = [move.split()[1] for move in run.moves if ".f" in move]
    assert moves == [*kit.events(MOVES[state]), "RUNNING>SUCCESS"]
    assert run.starts == (["a", "b"] if state == "REVERTED" else ["b"])
    assert run.state == "SUCCESS"


def test_a_flow_stored_as_reverting_cannot_be_resumed(kit):
    run = kit.left(kit.linear("f", "a"), "a=SUCCESS", "REVERTING").run()
    assert isinstance(run.error, exceptions.InvalidState)
    assert run.state == "REVERTING"


def test_a_reverted_flow_is_reset_before_it_runs(kit):
    run = kit.left(kit.linear("f", "a", "b"), "a=REVERTED/REVERT b=PENDING/REVERT", "REVERTED").run()
    assert run.moves == kit.events(
        """a.t REVERTED>PENDING, f.f REVERTED>PENDING, f.f PENDING>RUNNING, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS,
        b.t PENDING>RUNNING, b.t RUNNING>SUCCESS, f.f RUNNING>SUCCESS"""
    )


# name: (flow, atoms as they were left, the atoms' moves, final flow state, what is raised)
LEFT = {
    "RUNNING to execute": (
        lambda k: k.linear("f", "a", "b"),
        "a=RUNNING",
        "a.t RUNNING>SUCCESS, b.t PENDING>RUNNING, b.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "RUNNING to revert": (
        lambda k: k.linear("f", "a", "b"),
        "a=SUCCESS/REVERT b=RUNNING/REVERT",
        "b.t RUNNING>REVERTING, b.t REVERTING>REVERTED, a.t SUCCESS>REVERTING, a.t REVERTING>REVERTED",
        "REVERTED",
        "",
    ),
    "RUNNING whatever its neighbours are": (
        lambda k: k.linear("f", "a", "b"),
        "b=RUNNING",
        "a.t PENDING>RUNNING, a.t RUNNING>SUCCESS, b.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "REVERTING": (
        lambda k: k.linear("f", "a", "b"),
        "a=SUCCESS/REVERT b=REVERTING/REVERT",
        "b.t REVERTING>REVERTED, a.t SUCCESS>REVERTING, a.t REVERTING>REVERTED",
        "REVERTED",
        "",
    ),
    "RUNNING to ignore": (
        lambda k: k.linear("f", "a"),
        "a=RUNNING/IGNORE",
        "",
        "FAILURE",
        "ExecutionFailure",
    ),
    "a task RUNNING to retry": (
        lambda k: k.linear("f", "a"),
        "a=RUNNING/RETRY",
        "",
        "FAILURE",
        "ExecutionFailure",
    ),
    "FAILURE": (
        lambda k: k.linear("f", "a", "b"),
        "a=SUCCESS b=FAILURE",
        "b.t FAILURE>REVERTING, b.t REVERTING>REVERTED, a.t SUCCESS>REVERTING, a.t REVERTING>REVERTED",
        "REVERTED",
        "RuntimeError: b",
    ),
    "FAILURE, resolved already": (
        lambda k: k.linear("f", "a", "b"),
        "a=SUCCESS/REVERT b=FAILURE/REVERT",
        "b.t FAILURE>REVERTING, b.t REVERTING>REVERTED, a.t SUCCESS>REVERTING, a.t REVERTING>REVERTED",
        "REVERTED",
        "RuntimeError: b",
    ),
    "SUCCESS to revert, the one before it to stay": (
        lambda k: k.linear("f", "a", "b"),
        "a=SUCCESS/EXECUTE b=SUCCESS/REVERT",
        "b.t SUCCESS>REVERTING, b.t REVERTING>REVERTED",
        "REVERTED",
        "",
    ),
    "REVERTED and PENDING to revert": (
        lambda k: k.linear("f", "a", "b"),
        "a=REVERTED/REVERT b=PENDING/REVERT",
        "",
        "REVERTED",
        "",
    ),
    "PENDING to ignore": (lambda k: k.linear("f", "a", "b"), "a=SUCCESS b=PENDING/IGNORE", "", "REVERTED", ""),
    "IGNORE": (
        lambda k: k.linear("f", "a", "b", "c"),
        "a=SUCCESS b=IGNORE/IGNORE",
        "c.t PENDING>RUNNING, c.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "SUCCESS to ignore": (
        lambda k: k.linear("f", "a", "b"),
        "a=SUCCESS/IGNORE",
        "b.t PENDING>RUNNING, b.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "all SUCCESS": (lambda k: k.linear("f", "a", "b"), "a=SUCCESS b=SUCCESS", "", "SUCCESS", ""),
    "nothing at all": (
        lambda k: k.linear("f", "a"),
        "",
        "a.t PENDING>RUNNING, a.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "retry SUCCESS to retry, its task reverted": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=SUCCESS/RETRY a=REVERTED/REVERT",
        """r.r SUCCESS>RETRYING, a.t REVERTED>PENDING, r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS,
        a.t PENDING>RUNNING, a.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
    "retry SUCCESS to retry, later tasks waiting to be reverted though they never ran": (
        lambda k: k.linear("f", k.linear("g", "a", "b", retry=retry.Times(2, "r")), "c"),
        "r=SUCCESS/RETRY a=REVERTED/REVERT b=PENDING/REVERT c=PENDING/REVERT",
        """r.r SUCCESS>RETRYING, a.t REVERTED>PENDING, r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS,
        a.t PENDING>RUNNING, a.t RUNNING>SUCCESS, b.t PENDING>RUNNING, b.t RUNNING>SUCCESS,
        c.t PENDING>RUNNING, c.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
    "retry RETRYING, later tasks waiting to be reverted though they never ran": (
        lambda k: k.linear("f", k.linear("g", "a", "b", retry=retry.Times(2, "r")), "c"),
        "r=RETRYING/EXECUTE a=REVERTED/REVERT b=PENDING/REVERT c=PENDING/REVERT",
        """a.t REVERTED>PENDING, r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS,
        a.t PENDING>RUNNING, a.t RUNNING>SUCCESS, b.t PENDING>RUNNING, b.t RUNNING>SUCCESS,
        c.t PENDING>RUNNING, c.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
    "a task FAILURE, later tasks waiting to be reverted already": (
        lambda k: k.linear("f", k.linear("g", "a", "b", retry=retry.Times(2, "r")), "c"),
        "r=SUCCESS/RETRY a=FAILURE/REVERT b=PENDING/REVERT c=PENDING/REVERT",
        """a.t FAILURE>REVERTING, a.t REVERTING>REVERTED, r.r SUCCESS>RETRYING, a.t REVERTED>PENDING,
        r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS,
        b.t PENDING>RUNNING, b.t RUNNING>SUCCESS, c.t PENDING>RUNNING, c.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
    "retry SUCCESS to retry, its task not yet reverted": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=SUCCESS/RETRY a=SUCCESS/REVERT",
        """a.t SUCCESS>REVERTING, a.t REVERTING>REVERTED, r.r SUCCESS>RETRYING, a.t REVERTED>PENDING,
        r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
    "retry RUNNING to retry": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=RUNNING/RETRY",
        """r.r RUNNING>RETRYING, r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS,
        a.t PENDING>RUNNING, a.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
    "retry RUNNING to execute": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=RUNNING",
        "r.r RUNNING>SUCCESS, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "retry RETRYING to execute, its task still reverted": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=RETRYING/EXECUTE a=REVERTED/REVERT",
        "a.t REVERTED>PENDING, r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "retry RETRYING to retry": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=RETRYING/RETRY",
        "r.r RETRYING>RUNNING, r.r RUNNING>SUCCESS, a.t PENDING>RUNNING, a.t RUNNING>SUCCESS",
        "SUCCESS",
        "",
    ),
    "retry RETRYING behind what is to be reverted": (
        lambda k: k.linear("f", "t", k.linear("g", "a", retry=retry.Times(2, "r"))),
        "t=SUCCESS/REVERT r=RETRYING/EXECUTE a=PENDING",
        "",
        "REVERTED",
        "",
    ),
    "retry RETRYING beside a failure that reverts all": (
        lambda k: k.linear(
            "f",
            "t",
            k.unordered(
                "u",
                k.linear("g", "a", retry=retry.Times(2, "r")),
                k.linear("h", "b", retry=retry.AlwaysRevertAll("q")),
            ),
        ),
        "t=SUCCESS r=RETRYING/EXECUTE a=PENDING q=SUCCESS b=FAILURE",
        "b.t FAILURE>REVERTING, b.t REVERTING>REVERTED, q.r SUCCESS>REVERTING, q.r REVERTING>REVERTED",
        "REVERTED",
        "RuntimeError: b",
    ),
    "retry REVERTING": (
        lambda k: k.linear("f", "a", retry=retry.Times(2, "r")),
        "r=REVERTING/REVERT a=REVERTED/REVERT",
        "r.r REVERTING>REVERTED",
        "REVERTED",
        "",
    ),
    "retry FAILURE, none around it": (
        lambda k: k.linear("f", "a", k.linear("g", "b", retry=retry.Times(2, "r"))),
        "a=SUCCESS r=FAILURE",
        "r.r FAILURE>REVERTING, r.r REVERTING>REVERTED, a.t SUCCESS>REVERTING, a.t REVERTING>REVERTED",
        "REVERTED",
        "RuntimeError: r",
    ),
    "retry FAILURE, one around it": (
        lambda k: k.linear("f", k.linear("g", "b", retry=retry.Times(2, "r")), retry=retry.Times(2, "outer")),
        "outer=SUCCESS r=FAILURE",
        """r.r FAILURE>REVERTING, r.r REVERTING>REVERTED, outer.r SUCCESS>RETRYING, r.r REVERTED>PENDING,
        outer.r RETRYING>RUNNING, outer.r RUNNING>SUCCESS, r.r PENDING>RUNNING, r.r RUNNING>SUCCESS,
        b.t PENDING>RUNNING, b.t RUNNING>SUCCESS""",
        "SUCCESS",
        "",
    ),
}


@pytest.mark.parametrize(("flow", "atoms", "moves", "state", "raised"), LEFT.values(), ids=LEFT)
def test_atoms_left_in(kit, flow, atoms, moves, state, raised):
    run = kit.left(flow(kit), atoms).run()
    assert [move for move in run.moves if ".f " not in move] == kit.events(moves)
    assert run.state == state
    assert run.raised.partition(":")[0] == raised if raised == "ExecutionFailure" else run.raised == raised


def test_a_revert_failure_is_left_and_the_stored_failures_are_raised(kit):
    run = kit.left(kit.linear("f", "a", "b"), "a=SUCCESS/REVERT b=REVERT_FAILURE/REVERT").run()
    assert run.atoms == []
    assert run.raised == "RuntimeError: b revert"


def test_a_revert_failure_beside_what_can_still_be_reverted(kit):
    flow = kit.unordered("f", kit.linear("l", "a", "b"), "c")
    run = kit.left(flow, "a=SUCCESS/REVERT b=REVERT_FAILURE/REVERT c=SUCCESS/REVERT").run()
    assert run.events[3:5] == kit.events("c.t REVERTING, c.t REVERTED(None)")
    assert run.raised == "RuntimeError: b revert"


def test_what_is_left_running_to_be_reverted_has_no_result(kit):
    b = kit.step("b")
    kit.left(kit.linear("f", "a", b), "a=SUCCESS/REVERT b=RUNNING/REVERT").run()
    assert [(call["result"], call["flow_failures"]) for call in b.reverted] == [(None, {})]


def test_what_is_left_reverting_keeps_its_result(kit):
    b = kit.step("b")
    kit.left(kit.linear("f", "a", b), "a=SUCCESS/REVERT b=REVERTING/REVERT").run()
    assert [call["result"] for call in b.reverted] == [5]


def test_a_failure_of_another_process_is_raised_wrapped_and_handed_to_reverts(kit):
    a = kit.step("a")
    left = kit.left(kit.linear("f", a, "b"), "a=SUCCESS b=FAILURE")
    detail = models.FlowDetail.from_dict(left.engine.storage._flowdetail.to_dict())
    for atom in left.engine.storage._flowdetail:
        detail.add(type(atom).from_dict(atom.to_dict()))
    run = kit.run(kit.linear("f", a, "b"), flow_detail=detail)
    assert run.raised == "WrappedFailure[RuntimeError: b]"
    assert sorted(a.reverted[0]["flow_failures"]) == ["b"]


def test_a_second_engine_on_the_live_detail_raises_the_original_exception(kit):
    error = RuntimeError("original")
    flow = kit.linear("f", "a", kit.Step("b", error))
    first = kit.run(flow, never_resolve=True)
    second = kit.run(flow, flow_detail=first.engine.storage._flowdetail)
    assert second.error is error


class TestRetriesAskedAgain:
    def test_a_stored_failure_is_resolved_anew(self, kit):
        judge = kit.Judge("r", "RETRY")
        run = kit.left(kit.linear("f", "a", retry=judge), "r=SUCCESS/RETRY a=FAILURE/REVERT").run()
        assert judge.asked == [[(1, ["a"])]]
        assert run.state == "SUCCESS"

    def test_a_failure_noted_in_the_history_is_not_replaced(self, kit):
        judge = kit.Judge("r", "RETRY", "REVERT")
        first = kit.failure("first")
        left = kit.left(kit.linear("f", "a", retry=judge), "r=SUCCESS a=FAILURE")
        left.engine.storage.save_retry_failure("r", "a", first)
        judge.answers = [lambda history: noted.append(history[-1][1]["a"].exception_str) or "RETRY"]
        noted = []
        assert left.run().state == "SUCCESS"
        assert noted == ["first"]


CRASHES = {
    "task FAILURE": ("r=SUCCESS a=FAILURE", False),
    "failure in the history": ("r=SUCCESS a=FAILURE", True),
    "retry to retry": ("r=SUCCESS/RETRY a=FAILURE", True),
    "task to revert": ("r=SUCCESS/RETRY a=FAILURE/REVERT", True),
}


@pytest.mark.parametrize(("atoms", "noted"), CRASHES.values(), ids=CRASHES)
def test_crashes_between_the_steps_of_a_resolution(kit, atoms, noted):
    run = kit.left(kit.linear("f", "a>x", retry=retry.Times(3, "r", provides="n")), atoms)
    if noted:
        run.engine.storage.save_retry_failure("r", "a", kit.failure("a"))
    run.run()
    assert run.atoms == kit.events(
        """a.t REVERTING, a.t REVERTED(None), r.r RETRYING, a.t PENDING, r.r RUNNING, r.r SUCCESS(2),
        a.t RUNNING, a.t SUCCESS(5)"""
    )
    assert run.state == "SUCCESS"
    assert run.engine.storage.fetch_all() == {"n": 2, "x": 5}


def test_a_crash_while_the_failed_task_reverts(kit):
    run = kit.left(kit.linear("f", "a", retry=retry.Times(3, "r")), "r=SUCCESS/RETRY a=REVERTING/REVERT").run()
    assert run.atoms == kit.events(
        """a.t REVERTED(None), r.r RETRYING, a.t PENDING, r.r RUNNING, r.r SUCCESS(2), a.t RUNNING, a.t SUCCESS(5)"""
    )


def test_never_resolve_leaves_stored_failures_alone(kit):
    run = kit.left(kit.linear("f", "a", "b"), "a=SUCCESS b=FAILURE", never_resolve=True).run()
    assert run.atoms == []
    assert run.atom_states("a", "b") == ["SUCCESS/EXECUTE", "FAILURE/EXECUTE"]
    assert run.raised == "RuntimeError: b"


class TestChangedFlows:
    def test_finished_atoms_are_known_by_name_and_their_results_used(self, kit):
        first = kit.run(kit.linear("f", kit.Step("a", gives="old", provides="x")))
        taker = kit.Step("b", requires=["x"])
        new = kit.linear("f", kit.Step("a", gives="new", provides="x"), taker)
        run = kit.run(new, flow_detail=first.engine.storage._flowdetail)
        assert run.moves[0] == "f.f SUCCESS>RUNNING"
        assert run.starts == ["b"]
        assert taker.executed == [{"x": "old"}]

    def test_a_task_added_before_finished_ones_runs(self, kit):
        first = kit.run(kit.linear("f", "a"))
        run = kit.run(kit.linear("f", "new", "a"), flow_detail=first.engine.storage._flowdetail)
        assert run.starts == ["new"]
        assert run.state == "SUCCESS"

    def test_details_of_dropped_atoms_are_passed_over(self, kit):
        run = kit.load(kit.linear("f", "a", "b"))
        run.on["a.t SUCCESS"] = run.engine.suspend
        assert run.run().state == "SUSPENDED"
        again = kit.run(kit.linear("f", "a"), flow_detail=run.engine.storage._flowdetail)
        assert again.events == kit.events("f.f RUNNING, f.f SUCCESS")

    def test_the_failure_of_a_dropped_atom_is_still_raised(self, kit):
        run = kit.load(kit.linear("f", "a", "b", "F!"))
        run.on["F.t REVERTED"] = run.engine.suspend
        assert run.run().state == "SUSPENDED"
        again = kit.run(kit.linear("f", "a", "b"), flow_detail=run.engine.storage._flowdetail)
        assert again.atoms == kit.events("b.t REVERTING, b.t REVERTED(None), a.t REVERTING, a.t REVERTED(None)")
        assert again.raised == "RuntimeError: F"

    def test_an_atom_that_changed_its_kind_is_refused(self, kit):
        first = kit.run(kit.linear("f", "a"))
        run = kit.run(kit.linear("f", "b", retry=retry.Times(1, "a")), flow_detail=first.engine.storage._flowdetail)
        assert isinstance(run.error, exceptions.Duplicate)

    def test_a_changed_version_does_not_matter(self, kit):
        first = kit.run(kit.linear("f", "a"))
        changed = kit.step("a")
        changed.version = (2, 0)
        run = kit.run(kit.linear("f", changed), flow_detail=first.engine.storage._flowdetail)
        assert run.atoms == []
        assert run.state == "SUCCESS"


class TestStorageIsRead:
    """Every run takes what it needs from storage anew."""

    def test_states_changed_after_prepare_count(self, kit):
        run = kit.load(kit.linear("f", "a>x", "b"))
        run.engine.compile()
        run.engine.prepare()
        run.engine.storage.save("a", "by hand")
        assert run.run().starts == ["b"]
        assert run.engine.storage.fetch("x") == "by hand"

    def test_states_changed_between_two_runs_count(self, kit):
        run = kit.run(kit.linear("f", "a", "b"))
        run.engine.storage.set_atom_state("b", "PENDING")
        assert run.run().starts == ["b"]

    def test_intentions_changed_between_two_runs_count(self, kit):
        run = kit.run(kit.linear("f", "a", "b"))
        run.engine.storage.set_atom_intention("b", "REVERT")
        assert run.run().events == kit.events("f.f RUNNING, b.t REVERTING, b.t REVERTED(None), f.f REVERTED")

    def test_the_flow_state_is_looked_at_in_every_phase(self, kit):
        run = kit.load(kit.linear("f", "a", "b"))
        generator = run.engine.run_iter()
        for state in generator:
            if state == "ANALYZING":
                run.engine.storage.set_flow_state("SUSPENDING")
        assert run.state == "SUSPENDED"
        assert run.atom_states("a", "b") == ["SUCCESS/EXECUTE", "PENDING/EXECUTE"]


def test_another_process_goes_on_from_a_backend(kit):
    with contextlib.closing(backends.fetch({"connection": "memory"})) as backend:
        book, detail = persistence_utils.temporary_flow_detail(backend)
        judge = kit.Judge("r", "RETRY", provides="n")
        failing = [RuntimeError("first time")]
        step = kit.Step("b", lambda: (_ for _ in ()).throw(failing.pop()) if failing else "second time", provides="y")
        flow = kit.linear("f", "a>x", step, retry=judge)
        first = kit.load(flow, flow_detail=detail, backend=backend, store={"z": 0})
        first.on["b.t FAILURE"] = first.engine.suspend
        assert first.run().state == "SUSPENDED"

        with contextlib.closing(backend.get_connection()) as connection:
            loaded = connection.get_logbook(book.uuid).find(detail.uuid)
        second = kit.run(flow, flow_detail=loaded, backend=backend)
        assert second.raised == ""
        assert second.engine.storage.fetch_all() == {"x": 5, "y": "second time", "z": 0, "n": 2}
        assert second.flow_moves == ["SUSPENDED>RUNNING", "RUNNING>SUCCESS"]
        assert [event for event in second.atoms if event.startswith("r.")] == kit.events(
            "r.r RETRYING, r.r RUNNING, r.r SUCCESS(2)"
        )


def test_resumption_from_factory_information(kit):
    with pytest.raises(ValueError, match="^Cannot "):
        engines.load_from_detail(kit.run("a").engine.storage._flowdetail)
