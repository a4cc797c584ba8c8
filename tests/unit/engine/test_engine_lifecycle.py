# SPDX-License-Identifier: Apache-2.0
"""What may be called when on an engine, and what does each call do?"""

from __future__ import annotations

import threading

import pytest

from taskflow import engines, exceptions, retry, states
from taskflow.engines import base
from taskflow.engines.action_engine import builder
from taskflow.engines.action_engine import engine as action_engine
from taskflow.types import graph, notifier, tree


def states_of(engine, *names):
    pairs = engine.storage.get_atoms_states(names)
    return ["/".join(pairs[name]) for name in names]


class TestBase:
    def test_engine_is_abstract(self):
        with pytest.raises(TypeError):
            base.Engine(None, None, None, {})
        members = {"storage", "statistics", "compile", "prepare", "validate", "reset", "run", "suspend"}
        assert base.Engine.__abstractmethods__ == members

    def test_properties_of_the_base_class(self):
        engine_class = type("Own", (base.Engine,), dict.fromkeys(base.Engine.__abstractmethods__))
        options = {"k": 1}
        engine = engine_class("flow", "detail", "backend", options)
        assert (engine._flow, engine._flow_detail, engine._backend) == ("flow", "detail", "backend")
        assert engine.options == options
        assert engine.options is not options
        assert engine.options is engine.options
        assert engine_class("flow", "detail", "backend", None).options == {}
        assert isinstance(engine.notifier, notifier.Notifier)
        assert isinstance(engine.atom_notifier, notifier.Notifier)
        assert engine.notifier is not engine.atom_notifier

    def test_class_attributes(self):
        kind = action_engine.ActionEngine
        assert issubclass(action_engine.SerialActionEngine, kind)
        assert issubclass(action_engine.ParallelActionEngine, kind)
        assert issubclass(kind, base.Engine)
        assert frozenset({states.SUSPENDED, states.SUCCESS}) == kind.NO_RERAISING_STATES
        assert (
            frozenset(
                {
                    states.SCHEDULING,
                    states.WAITING,
                    states.RESUMING,
                    states.ANALYZING,
                    builder.GAME_OVER,
                    builder.UNDEFINED,
                }
            )
            == kind.IGNORABLE_STATES
        )
        assert kind.MAX_MACHINE_STATES_RETAINED == 10


class TestPreconditions:
    @pytest.mark.parametrize("call", ["prepare", "validate", "reset", "suspend"])
    def test_needs_compilation(self, kit, call):
        with pytest.raises(exceptions.InvalidState):
            getattr(engines.load(kit.linear("f", "a")), call)()

    @pytest.mark.parametrize("call", ["validate", "reset"])
    def test_needs_preparation(self, kit, call):
        engine = engines.load(kit.linear("f", "a"))
        engine.compile()
        with pytest.raises(exceptions.InvalidState):
            getattr(engine, call)()

    def test_by_hand_in_order(self, kit):
        run = kit.load(kit.linear("f", "a"))
        run.engine.compile()
        run.engine.prepare()
        run.engine.validate()
        run.engine.reset()
        assert run.events == []
        assert run.state == "PENDING"
        assert run.run().raised == ""


class TestCompile:
    def test_is_done_once_and_does_not_see_later_changes(self, kit):
        flow = kit.linear("f", "a")
        run = kit.load(flow)
        assert run.engine.compilation is None
        run.engine.compile()
        compilation = run.engine.compilation
        flow.add(kit.step("late"))
        run.engine.compile()
        assert run.engine.compilation is compilation
        assert run.run().starts == ["a"]

    @pytest.mark.parametrize("single", [True, False], ids=["task", "flow"])
    def test_compilation_has_graph_and_hierarchy(self, kit, single):
        root = kit.step("a") if single else kit.linear("f", "a")
        engine = engines.load(root)
        engine.compile()
        assert isinstance(engine.compilation.execution_graph, graph.DiGraph)
        assert isinstance(engine.compilation.hierarchy, tree.Node)
        assert engine.compilation.execution_graph.has_node(root)
        assert engine.compilation.hierarchy.item is root

    def test_refuses_what_is_no_flow_and_no_task(self, kit):
        class Thing:
            def __str__(self):
                return "a thing of no kind"

            name = "thing"

        flow = kit.linear("f").add(Thing())
        for root in (Thing(), flow):
            with pytest.raises(TypeError, match="a thing of no kind"):
                engines.load(root).compile()

    def test_refuses_a_retry_alone_or_added_as_a_task(self, kit):
        with pytest.raises(TypeError, match="my-retry"):
            engines.load(retry.Times(1, "my-retry")).compile()
        with pytest.raises(TypeError, match="my-retry"):
            engines.load(kit.linear("f").add(retry.Times(1, "my-retry"))).compile()

    def test_refuses_an_object_that_appears_twice(self, kit):
        a = kit.step("a")
        flow = kit.linear("f", kit.linear("g", a), kit.unordered("h", a))
        with pytest.raises(ValueError):
            engines.load(flow).compile()

    def test_refuses_two_atoms_of_one_name(self, kit):
        flow = kit.linear("f", "z", kit.linear("g", "z", "b"), kit.unordered("h", "b", retry=retry.Times(1, "m")), "m")
        with pytest.raises(exceptions.Duplicate, match=r"^Atoms with duplicate names.*'b', 'm', 'z'"):
            engines.load(flow).compile()

    def test_flows_may_have_equal_names(self, kit):
        run = kit.run(kit.linear("f", kit.linear("f", "f")))
        assert (run.raised, run.starts) == ("", ["f"])


class TestPrepare:
    def test_first_time_makes_the_atom_details_without_events(self, kit):
        run = kit.load(kit.linear("f", "a", kit.linear("g", "b", retry=retry.Times(1, "r"))))
        run.engine.compile()
        assert len(run.engine.storage._flowdetail) == 0
        run.engine.prepare()
        run.engine.prepare()
        assert sorted(detail.name for detail in run.engine.storage._flowdetail) == ["a", "b", "r"]
        assert states_of(run.engine, "a", "b", "r") == ["PENDING/EXECUTE"] * 3
        assert run.events == []
        assert run.state == "PENDING"

    def test_an_atom_without_a_name_is_refused(self, kit):
        engine = engines.load(kit.linear("f").add(kit.Step("")))
        engine.compile()
        with pytest.raises(ValueError):
            engine.prepare()

    def test_a_reverted_flow_is_reset(self, kit):
        run = kit.run(kit.linear("f", "a", "F!"))
        assert run.state == "REVERTED"
        run.clear()
        run.engine.prepare()
        assert run.moves == kit.events("a.t REVERTED>PENDING, F.t REVERTED>PENDING, f.f REVERTED>PENDING")
        assert states_of(run.engine, "a", "F") == ["PENDING/EXECUTE"] * 2

    def test_injected_values_of_atoms_are_stored(self, kit):
        a = kit.Step("a", requires=["x"], inject={"x": 1})
        assert kit.run(a).raised == ""
        assert a.executed == [{"x": 1}]


class TestStorage:
    def test_is_made_once_and_usable_before_compilation(self, kit):
        a = kit.Step("a", requires=["x"])
        engine = engines.load(kit.linear("f", a))
        assert engine.storage is engine.storage
        engine.storage.inject({"x": 7})
        assert engine.storage.fetch("x") == 7
        engine.run()
        assert a.executed == [{"x": 7}]


class TestReset:
    def test_order_of_events_is_graph_order_then_the_flow(self, kit):
        flow = kit.linear("f", "a", kit.linear("g", "b"), "c", retry=retry.Times(1, "r"))
        run = kit.run(flow)
        run.clear()
        run.engine.reset()
        assert run.moves == kit.events(
            "a.t SUCCESS>PENDING, b.t SUCCESS>PENDING, c.t SUCCESS>PENDING, r.r SUCCESS>PENDING, f.f SUCCESS>PENDING"
        )
        assert states_of(run.engine, "a", "b", "c", "r") == ["PENDING/EXECUTE"] * 4
        assert run.engine.storage.get_task_progress("a") == 0.0

    def test_pending_atoms_give_no_event(self, kit):
        run = kit.run(kit.linear("f", "a", "F!", "late"))
        run.clear()
        run.engine.reset()
        assert run.events == kit.events("a.t PENDING, F.t PENDING, f.f PENDING")

    def test_ignored_atoms_become_pending(self, kit):
        run = kit.run(kit.graph("f", "a", "b", links=[("a", "b", False)]))
        assert states_of(run.engine, "a", "b") == ["SUCCESS/EXECUTE", "IGNORE/IGNORE"]
        run.clear()
        run.engine.reset()
        assert run.moves == kit.events("a.t SUCCESS>PENDING, b.t IGNORE>PENDING, f.f SUCCESS>PENDING")

    def test_of_a_pending_flow_has_no_flow_event(self, kit):
        run = kit.load(kit.linear("f", "a"))
        run.engine.compile()
        run.engine.prepare()
        run.engine.reset()
        assert run.events == []

    @pytest.mark.parametrize("state", ["FAILURE", "SUSPENDED", "SUSPENDING", "RUNNING", "RESUMING"])
    def test_is_refused_in_other_flow_states_and_leaves_the_atoms_alone(self, kit, state):
        run = kit.run(kit.linear("f", "a", "b"))
        run.clear()
        run.engine.storage.set_flow_state(state)
        with pytest.raises(exceptions.InvalidState, match=r"^Flow transition.*not allowed"):
            run.engine.reset()
        assert run.events == []
        assert states_of(run.engine, "a", "b") == ["SUCCESS/EXECUTE"] * 2

    def test_keeps_results_until_they_are_overwritten(self, kit):
        run = kit.run(kit.linear("f", "a>x"))
        run.engine.reset()
        detail = next(iter(run.engine.storage._flowdetail))
        assert detail.results == 5
        with pytest.raises(exceptions.NotFound):
            run.engine.storage.get("a")
        run.run()
        assert run.engine.storage.fetch("x") == 5

    def test_a_retry_counts_from_one_again(self, kit):
        run = kit.run(kit.linear("f", "a", retry=retry.Times(3, "r", provides="n")))
        assert run.engine.storage.fetch("n") == 1
        run.engine.reset()
        run.run()
        assert run.engine.storage.fetch("n") == 1

    def test_forgets_failures(self, kit):
        run = kit.run(kit.linear("f", "a", "F!"))
        run.engine.reset()
        assert run.engine.storage.get_execute_failures() == {}


class TestRunAgain:
    def test_after_success_no_atom_runs(self, kit):
        run = kit.run(kit.linear("f", "a", "b")).run()
        assert run.moves == ["f.f SUCCESS>RUNNING", "f.f RUNNING>SUCCESS"]

    def test_after_success_ignored_atoms_stay_ignored(self, kit):
        run = kit.run(kit.graph("f", "a", "b", links=[("a", "b", False)])).run()
        assert run.moves == ["f.f SUCCESS>RUNNING", "f.f RUNNING>SUCCESS"]

    def test_after_suspension_it_continues(self, kit):
        run = kit.load(kit.linear("f", "a", "b"))
        run.on["a.t SUCCESS"] = run.engine.suspend
        assert run.run().state == "SUSPENDED"
        assert run.run().moves[0] == "f.f SUSPENDED>RUNNING"
        assert run.starts == ["b"]

    def test_after_a_failure_it_resumes(self, kit):
        run = kit.load(kit.linear("f", "a", "F!", "b"), never_resolve=True).run()
        assert run.state == "FAILURE"
        again = kit.load(run.engine._flow, flow_detail=run.engine.storage._flowdetail).run()
        assert again.events == kit.events(
            "f.f RUNNING, F.t REVERTING, F.t REVERTED(None), a.t REVERTING, a.t REVERTED(None), f.f REVERTED"
        )

    def test_after_a_revert_failure_it_is_a_failure_again(self, kit):
        run = kit.run(kit.linear("f", "m", "N~", "F!"))
        assert run.state == "FAILURE"
        run.run()
        assert "f.f FAILURE>RUNNING" in run.moves
        assert run.atoms == []
        assert run.state == "FAILURE"
        assert run.raised == "WrappedFailure[RuntimeError: F, RuntimeError: N revert]"

    def test_after_an_unresolved_failure_it_is_a_failure_again(self, kit):
        run = kit.load(kit.linear("f", "a", "F!"), never_resolve=True).run().run()
        assert run.moves == ["f.f FAILURE>RUNNING", "f.f RUNNING>FAILURE"]
        assert run.raised == "RuntimeError: F"

    def test_after_a_base_exception_it_continues_without_an_event_of_the_flow(self, kit):
        answers = [KeyboardInterrupt(), 5]

        def interrupted():
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        run = kit.load(kit.linear("f", "a", kit.Step("b", interrupted), "c"))
        with pytest.raises(KeyboardInterrupt):
            run.run()
        assert run.state == "RUNNING"
        assert states_of(run.engine, "a", "b", "c") == ["SUCCESS/EXECUTE", "RUNNING/EXECUTE", "PENDING/EXECUTE"]
        run.run()
        assert run.events == kit.events("b.t SUCCESS(5), c.t RUNNING, c.t SUCCESS(5), f.f SUCCESS")

    @pytest.mark.parametrize("state", ["SUSPENDING", "RESUMING"])
    def test_in_the_middle_of_something_the_same_engine_refuses(self, kit, state):
        run = kit.run(kit.linear("f", "a"))
        run.engine.storage.set_flow_state(state)
        run.run()
        assert isinstance(run.error, exceptions.InvalidState)
        assert run.events == []
        assert run.state == state


class TestLock:
    def test_a_second_run_while_one_is_going_on_fails_at_once(self, kit):
        started, finish = threading.Event(), threading.Event()

        def work():
            started.set()
            assert finish.wait(20)

        engine = engines.load(kit.Step("a", work))
        runner = threading.Thread(target=engine.run)
        runner.start()
        try:
            assert started.wait(20)
            with pytest.raises(exceptions.ExecutionFailure):
                engine.run()
        finally:
            finish.set()
            runner.join()
        assert engine.storage.get_flow_state() == "SUCCESS"

    def test_reset_waits_for_a_run_in_progress(self, kit):
        started, finish = threading.Event(), threading.Event()

        def work():
            started.set()
            assert finish.wait(20)

        engine = engines.load(kit.Step("a", work))
        runner = threading.Thread(target=engine.run)
        resetter = threading.Thread(target=engine.reset)
        runner.start()
        try:
            assert started.wait(20)
            resetter.start()
            resetter.join(0.1)
            assert resetter.is_alive()
        finally:
            finish.set()
            runner.join()
        resetter.join(20)
        assert engine.storage.get_flow_state() == "PENDING"

    def test_suspension_and_reads_of_other_threads_do_not_wait_for_a_task(self, kit):
        started, finish = threading.Event(), threading.Event()
        seen = []

        def work():
            started.set()
            assert finish.wait(20)

        engine = engines.load(kit.linear("f", kit.Step("a", work), "b"))

        def look():
            engine.suspend()
            seen.append(engine.storage.get_flow_state())
            seen.append(engine.storage.get_atom_state("a"))

        runner = threading.Thread(target=engine.run)
        looker = threading.Thread(target=look)
        runner.start()
        try:
            assert started.wait(20)
            looker.start()
            looker.join(5)
            seen_during_the_task = list(seen)
        finally:
            finish.set()
            runner.join()
            looker.join()
        assert seen_during_the_task == ["SUSPENDING", "RUNNING"]
        assert engine.storage.get_flow_state() == "SUSPENDED"

    def test_the_lock_is_re_entrant(self, kit):
        caught = []

        def work():
            engine.compile()
            engine.prepare()
            engine.validate()
            try:
                engine.reset()
            except exceptions.InvalidState as e:
                caught.append(e)

        engine = engines.load(kit.linear("f", kit.Step("a", work)))
        engine.run()
        assert len(caught) == 1
        assert engine.storage.get_flow_state() == "SUCCESS"
