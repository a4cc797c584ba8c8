# SPDX-License-Identifier: Apache-2.0
"""Can tools step through a run as a finite machine: its states, transitions, outcomes, and what it holds on the way?"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

import pytest
from automaton import exceptions as automaton_exceptions
from automaton import runners

from taskflow import retry, states, storage
from taskflow.engines.action_engine import builder, compiler, executor, runtime
from taskflow.types import notifier
from taskflow.utils import persistence_utils

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = {
    ("UNDEFINED", "start"): "RESUMING",
    ("RESUMING", "schedule_next"): "SCHEDULING",
    ("SCHEDULING", "wait_finished"): "WAITING",
    ("WAITING", "examine_finished"): "ANALYZING",
    ("ANALYZING", "completed"): "GAME_OVER",
    ("ANALYZING", "schedule_next"): "SCHEDULING",
    ("ANALYZING", "wait_finished"): "WAITING",
    ("GAME_OVER", "failed"): "FAILURE",
    ("GAME_OVER", "reverted"): "REVERTED",
    ("GAME_OVER", "success"): "SUCCESS",
    ("GAME_OVER", "suspended"): "SUSPENDED",
}
TERMINAL = {"FAILURE", "REVERTED", "SUCCESS", "SUSPENDED"}
ROUND = ["SCHEDULING", "WAITING", "ANALYZING"]


class Bench:
    """A flow with a runtime of its own, and no engine around it."""

    def __init__(
        self, flow: Any, options: Any = None, flow_state: str | None = states.RUNNING, pool: Any = None
    ) -> None:
        self.storage = storage.Storage(persistence_utils.create_flow_detail(flow))
        self.heard: list[str] = []
        self.atom_notifier = notifier.Notifier()
        self.atom_notifier.register("*", self._hear)
        compilation = compiler.PatternCompiler(flow).compile()
        self.tasks = executor.ParallelThreadTaskExecutor(pool) if pool else executor.SerialTaskExecutor()
        self.runtime = runtime.Runtime(
            compilation, self.storage, self.atom_notifier, self.tasks, executor.SerialRetryExecutor(), options
        )
        self.runtime.compile()
        self.storage.ensure_atoms(list(self.runtime.iterate_nodes(compiler.ATOMS)))
        if flow_state is not None:
            self.storage.set_flow_state(flow_state)
        self.statistics: dict[str, Any] = {}

    def _hear(self, state: str, details: dict[str, Any]) -> None:
        self.heard.append(f"{details.get('task_name') or details.get('retry_name')} {state}")

    def build(self, **kwargs: Any) -> Any:
        self.machine, self.memory = self.runtime.builder.build(self.statistics, **kwargs)
        return self.machine

    def run(self, on_entry: Callable[[str], Any] = lambda _: None, **kwargs: Any) -> list[tuple[str, str]]:
        pairs = []
        for old, new in runners.FiniteRunner(self.build(**kwargs)).run_iter(builder.START):
            pairs.append((old, new))
            on_entry(new)
        return pairs

    def states(self) -> dict[str, str]:
        return {a.name: self.storage.get_atom_state(a.name) for a in self.runtime.iterate_nodes(compiler.ATOMS)}

    def held(self) -> tuple[list[str], int, int, int]:
        memory = self.memory
        return sorted(a.name for a in memory.next_up), len(memory.not_done), len(memory.done), len(memory.failures)


def in_pairs(*entered: str) -> list[tuple[str, str]]:
    return list(zip(("UNDEFINED", *entered), entered, strict=False))


class TestTable:
    def test_transitions(self, kit: Any) -> None:
        machine = Bench(kit.linear("f", "a")).build()
        assert {(old, event): new for old, event, new in machine} == TABLE

    def test_names_of_events_and_states(self) -> None:
        assert (builder.START, builder.SCHEDULE, builder.WAIT, builder.ANALYZE, builder.FINISH) == (
            "start",
            "schedule_next",
            "wait_finished",
            "examine_finished",
            "completed",
        )
        assert (builder.FAILED, builder.SUSPENDED, builder.SUCCESS, builder.REVERTED) == (
            "failed",
            "suspended",
            "success",
            "reverted",
        )
        assert builder.META_STATES == ("GAME_OVER", "UNDEFINED") == (builder.GAME_OVER, builder.UNDEFINED)
        assert set(builder.TIMED_STATES) == {"ANALYZING", "RESUMING", "SCHEDULING", "WAITING"}
        assert builder.WAITING_TIMEOUT == 60

    def test_the_machine_is_frozen(self, kit: Any) -> None:
        machine = Bench(kit.linear("f", "a")).build()
        assert machine.frozen
        with pytest.raises(automaton_exceptions.FrozenMachine):
            machine.add_state("MORE")

    @pytest.mark.parametrize("state", sorted({old for old, _ in TABLE}))
    def test_events_that_a_state_does_not_know_are_refused(self, kit: Any, state: str) -> None:
        for event in {event for _, event in TABLE} | {"bogus"}:
            machine = Bench(kit.linear("f", "a")).build()
            machine.initialize(state)
            if (state, event) in TABLE:
                machine.process_event(event)
                assert machine.current_state == TABLE[state, event]
                assert machine.terminated == (machine.current_state in TERMINAL)
            else:
                with pytest.raises(automaton_exceptions.NotFound):
                    machine.process_event(event)
                assert machine.current_state == state


class TestRun:
    @pytest.mark.parametrize(
        ("build", "rounds", "end"),
        [
            (lambda kit: kit.step("a"), 1, "SUCCESS"),
            (lambda kit: kit.linear("f"), 1, "SUCCESS"),
            (lambda kit: kit.linear("f", "a", "b", "c"), 3, "SUCCESS"),
            (lambda kit: kit.unordered("f", "a", "b", "c"), 1, "SUCCESS"),
            (lambda kit: kit.linear("f", "a", "F!"), 4, "REVERTED"),
            (lambda kit: kit.linear("f", "N~", "F!"), 4, "FAILURE"),
            (lambda kit: kit.linear("f", "F!", retry=retry.Times(2, "r")), 7, "REVERTED"),
        ],
        ids=["task", "empty", "line", "unordered", "reverted", "revert failure", "retry"],
    )
    def test_pairs(self, kit: Any, build: Any, rounds: int, end: str) -> None:
        bench = Bench(build(kit))
        assert bench.run() == in_pairs("RESUMING", *ROUND * rounds, "GAME_OVER", end)
        assert bench.storage.get_flow_state() == "RUNNING"
        assert bench.held() == ([], 0, 0, 1 if end == "FAILURE" else 0)

    def test_events_of_atoms_come_on_the_way(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a", "F!"))
        bench.run()
        assert bench.heard == [
            "a RUNNING",
            "a SUCCESS",
            "F RUNNING",
            "F FAILURE",
            "F REVERTING",
            "F REVERTED",
            "a REVERTING",
            "a REVERTED",
        ]

    def test_the_kept_failure_of_a_revert(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "N~", "F!"))
        bench.run()
        assert [f.exception_str for f in bench.memory.failures] == ["N revert"]

    def test_a_failure_that_nothing_is_done_about_is_kept(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a", "F!"), {"never_resolve": True})
        assert bench.run()[-1] == ("GAME_OVER", "FAILURE")
        assert [f.exception_str for f in bench.memory.failures] == ["F"]
        assert bench.states() == {"a": "SUCCESS", "F": "FAILURE"}

    @pytest.mark.parametrize("flow_state", [None, states.SUSPENDING, states.SUSPENDED])
    def test_nothing_starts_unless_the_flow_is_running(self, kit: Any, flow_state: str | None) -> None:
        bench = Bench(kit.linear("f", "a"), flow_state=flow_state)
        assert bench.run() == in_pairs("RESUMING", *ROUND, "GAME_OVER", "SUSPENDED")
        assert bench.heard == []

    @pytest.mark.parametrize("first", ["a", "a!"])
    def test_suspended_from_outside_at_each_analyzing(self, kit: Any, first: str) -> None:
        bench = Bench(kit.linear("f", first, "b"))

        def suspend(state: str) -> None:
            if state == states.ANALYZING:
                bench.storage.set_flow_state(states.SUSPENDED)

        assert bench.run(suspend) == in_pairs("RESUMING", *ROUND, "GAME_OVER", "SUSPENDED")
        assert bench.states() == {"a": "FAILURE" if first == "a!" else "SUCCESS", "b": "PENDING"}
        assert bench.memory.failures == []
        # Another machine on the same records goes on.
        bench.storage.set_flow_state(states.RUNNING)
        assert bench.run()[-1] == ("GAME_OVER", "REVERTED" if first == "a!" else "SUCCESS")
        assert bench.states() == (
            {"a": "REVERTED", "b": "PENDING"} if first == "a!" else {"a": "SUCCESS", "b": "SUCCESS"}
        )

    def test_executors_need_not_have_been_started(self, kit: Any) -> None:
        assert Bench(kit.linear("f", "a", retry=retry.Times(1, "r"))).run()[-1] == ("GAME_OVER", "SUCCESS")

    def test_what_cannot_be_started_is_kept(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a"))
        bench.tasks.stop()
        assert bench.run()[-1] == ("GAME_OVER", "FAILURE")
        assert bench.memory.failures[0].check(RuntimeError) is RuntimeError


class TestByHand:
    def test_before_it_was_initialized(self, kit: Any) -> None:
        machine = Bench(kit.linear("f", "a")).build()
        with pytest.raises(automaton_exceptions.NotInitialized):
            machine.process_event(builder.START)

    def test_it_begins_undefined(self, kit: Any) -> None:
        machine = Bench(kit.linear("f", "a")).build()
        machine.initialize()
        assert (machine.current_state, machine.terminated) == ("UNDEFINED", False)

    def test_step_by_step(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a"))
        machine = bench.build()
        machine.initialize()
        event, seen = builder.START, []
        while True:
            old = machine.current_state
            reaction, terminal = machine.process_event(event)
            assert terminal == machine.terminated == (machine.current_state in TERMINAL)
            entered = bench.states()["a"]
            if reaction is None:
                break
            react, args, kwargs = reaction
            assert (args, kwargs) == ((), {})
            event = react(old, machine.current_state, event, *args, **kwargs)
            seen.append((machine.current_state, entered, bench.states()["a"], event))
        assert seen == [
            ("RESUMING", "PENDING", "PENDING", "schedule_next"),
            ("SCHEDULING", "PENDING", "RUNNING", "wait_finished"),
            ("WAITING", "RUNNING", "RUNNING", "examine_finished"),
            ("ANALYZING", "RUNNING", "SUCCESS", "completed"),
            ("GAME_OVER", "SUCCESS", "SUCCESS", "success"),
        ]
        assert machine.current_state == "SUCCESS"


class TestMemory:
    def test_what_is_held_at_each_entry(self, kit: Any) -> None:
        bench = Bench(kit.unordered("f", "a", "F!"))
        seen: list[Any] = []
        bench.run(lambda state: seen.append((state, *bench.held())))
        both = ["F", "a"]
        work = [("SCHEDULING", both, 0, 0, 0), ("WAITING", [], 2, 0, 0), ("ANALYZING", [], 0, 2, 0)]
        assert seen == [
            ("RESUMING", [], 0, 0, 0),
            *work,
            *work,
            ("GAME_OVER", [], 0, 0, 0),
            ("REVERTED", [], 0, 0, 0),
        ]

    def test_kinds(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a"))
        bench.build()
        memory = bench.memory
        assert isinstance(memory, builder.MachineMemory)
        assert [type(x) for x in (memory.next_up, memory.not_done, memory.done, memory.failures)] == [
            set,
            set,
            set,
            list,
        ]

    def test_a_timeout_gives_control_back_while_work_goes_on(self, kit: Any) -> None:
        go_on = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            bench = Bench(kit.linear("f", kit.Step("a", gives=lambda **_: go_on.wait(10))), pool=pool)
            rounds: list[str] = []

            def look(state: str) -> None:
                rounds.append(state)
                if rounds.count("WAITING") == 3 and not go_on.is_set():
                    assert len(bench.memory.not_done) == 1
                    go_on.set()

            bench.run(look, timeout=0.01)
        assert rounds[:6] == ["RESUMING", "SCHEDULING", "WAITING", "ANALYZING", "WAITING", "ANALYZING"]
        assert rounds[-1] == "SUCCESS"

    def test_cancelling_leaves_what_has_not_begun_for_later(self, kit: Any) -> None:
        began, go_on = threading.Event(), threading.Event()

        def work(**_: Any) -> None:
            began.set()
            go_on.wait(10)

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            bench = Bench(kit.unordered("f", kit.Step("a", gives=work), "b"), pool=pool)

            def cancel(state: str) -> None:
                if state == "WAITING" and began.wait(10) and not go_on.is_set():
                    bench.storage.set_flow_state(states.SUSPENDING)
                    bench.memory.cancel_futures()
                    go_on.set()

            assert bench.run(cancel)[-1] == ("GAME_OVER", "SUSPENDED")
        assert bench.states() == {"a": "SUCCESS", "b": "PENDING"}


class TestStatistics:
    def test_keys_are_there_before_the_run_and_others_stay(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a"))
        bench.statistics["mine"] = 1
        bench.build()
        seconds = dict.fromkeys(("analyzing", "resuming", "scheduling", "waiting"), 0.0)
        figures = {"discarded_failures": 0, "awaiting": 0, "completed": 0, "incomplete": 0}
        assert bench.statistics == {"mine": 1, "seconds_per_state": seconds, **figures}

    def test_figures_of_a_run(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a", "F!"))
        bench.run()
        assert (bench.statistics["completed"], bench.statistics["discarded_failures"]) == (4, 1)
        assert all(spent > 0 for spent in bench.statistics["seconds_per_state"].values())

    def test_not_gathered(self, kit: Any) -> None:
        bench = Bench(kit.linear("f", "a"))
        bench.run(gather_statistics=False)
        assert bench.statistics == {}
