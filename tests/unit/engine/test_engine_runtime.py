# SPDX-License-Identifier: Apache-2.0
"""Can tools look into a flow and drive it by hand: the runtime and its parts, without an engine?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from taskflow import deciders as depths
from taskflow import exceptions as exc
from taskflow import retry, states
from taskflow.engines.action_engine import compiler, completer, deciders, executor
from taskflow.engines.action_engine.actions import base as actions
from taskflow.types import graph, tree

if TYPE_CHECKING:
    from collections.abc import Callable

EXECUTED, REVERTED = executor.EXECUTED, executor.REVERTED


def told(tweaks: list[Any]) -> str:
    return " ".join(f"{atom.name}={state}/{intention}" for atom, state, intention in tweaks)


def nested(kit: Any) -> Any:
    return kit.linear("f", "a", kit.linear("g", "b"), "c", retry=retry.Times(2, "r"))


@pytest.fixture
def bench(kit: Any) -> Any:
    return kit.Bench(nested(kit))


class TestRuntime:
    def test_parts_are_made_once(self, bench: Any) -> None:
        made = {
            name: type(getattr(bench.runtime, name)).__name__
            for name in ("builder", "completer", "scheduler", "selector", "task_action", "retry_action")
        }
        assert list(made.values()) == [
            "MachineBuilder",
            "Completer",
            "Scheduler",
            "Selector",
            "TaskAction",
            "RetryAction",
        ]
        assert all(getattr(bench.runtime, name) is getattr(bench.runtime, name) for name in made)

    def test_what_it_was_made_of(self, kit: Any) -> None:
        bench = kit.Bench(kit.step("a"))
        assert bench.runtime.storage is bench.storage
        assert bench.runtime.options == {}
        assert bench.runtime.compilation.execution_graph is not None
        assert kit.Bench(kit.step("a"), {"mine": 1}).runtime.options == {"mine": 1}

    @pytest.mark.parametrize(
        ("kinds", "names"),
        [
            (("task",), ["a", "b", "c"]),
            (["retry"], ["r"]),
            ({"flow"}, ["f", "g"]),
            (("flow_end",), ["f[$]", "g[$]"]),
            (compiler.ATOMS, ["a", "b", "c", "r"]),
            ((), []),
        ],
    )
    def test_nodes_of_kinds(self, bench: Any, kinds: Any, names: list[str]) -> None:
        assert sorted(node.name for node in bench.runtime.iterate_nodes(kinds)) == names

    def test_retries_in_a_state(self, bench: Any) -> None:
        assert [r.name for r in bench.runtime.iterate_retries()] == ["r"]
        assert list(bench.runtime.iterate_retries(states.RETRYING)) == []
        bench.set("r=RETRYING")
        assert [r.name for r in bench.runtime.iterate_retries(states.RETRYING)] == ["r"]

    def test_the_retry_that_governs_a_node(self, bench: Any) -> None:
        found = {n.name: bench.runtime.find_retry(n) for n in bench.runtime.compilation.execution_graph}
        governed = {name for name, by in found.items() if by is not None}
        assert governed == {"a", "g", "b", "g[$]", "c"}
        assert {found[name].name for name in governed} == {"r"}

    def test_success_is_every_atom_done_or_ignored(self, bench: Any) -> None:
        assert not bench.runtime.is_success()
        assert bench.set("r=SUCCESS a=SUCCESS b=IGNORE c=SUCCESS").runtime.is_success()
        assert not bench.set("b=REVERTED").runtime.is_success()

    def test_scopes(self, bench: Any) -> None:
        assert [list(level) for level in bench.runtime.fetch_scopes_for("c")] == [["b", "a", "r"]]
        assert [list(level) for level in bench.runtime.fetch_scopes_for("b")] == [[], ["a", "r"]]
        assert bench.runtime.fetch_scopes_for("nobody") is None

    @pytest.mark.parametrize(
        ("name", "old", "new", "allowed"),
        [
            ("a", "PENDING", "RUNNING", True),
            ("a", "SUCCESS", "RETRYING", False),
            ("a", "PENDING", "PENDING", False),
            ("r", "SUCCESS", "RETRYING", True),
            ("r", "RETRYING", "RUNNING", True),
            ("r", "RUNNING", "PENDING", False),
        ],
    )
    def test_transitions_of_atoms(self, bench: Any, name: str, old: str, new: str, allowed: bool) -> None:
        assert bench.runtime.check_atom_transition(bench.atoms[name], old, new) is allowed

    def test_an_unknown_kind_of_node_is_refused(self, kit: Any) -> None:
        lone, nodes = kit.step("a"), graph.DiGraph()
        nodes.add_node(lone, kind="riddle")
        with pytest.raises(exc.CompilationFailure, match=r"'riddle' of node .*expected one of task, retry, flow"):
            kit.Bench(lone, compilation=compiler.Compilation(nodes, tree.Node(lone, kind="riddle")))

    def test_a_compilation_put_together_by_hand_runs(self, kit: Any) -> None:
        lone, nodes = kit.step("a"), graph.DiGraph()
        nodes.add_node(lone, kind="task")
        bench = kit.Bench(lone, compilation=compiler.Compilation(nodes, tree.Node(lone, kind="task")))
        assert bench.next() == {"a": "IgnoreDecider"}

    @pytest.mark.parametrize("missing", ["graph", "hierarchy"])
    def test_graph_and_hierarchy_must_have_the_same_nodes(self, kit: Any, missing: str) -> None:
        made = compiler.PatternCompiler(kit.linear("f", "a")).compile()
        nodes, more = graph.DiGraph(made.execution_graph), kit.step("more")
        hierarchy = made.hierarchy
        if missing == "graph":
            hierarchy = tree.Node(hierarchy.item, kind="flow", noop=True)
            for child in (*(n.item for n in made.hierarchy), more):
                hierarchy.add(tree.Node(child, kind="task"))
        else:
            nodes.add_node(more, kind="task")
        with pytest.raises(exc.CompilationFailure, match=r"more.*add it to both"):
            kit.Bench(kit.linear("f", "a"), compilation=compiler.Compilation(nodes, hierarchy))

    @pytest.mark.parametrize(
        "call",
        [
            lambda r, atom: r.reset_atoms([atom]),
            lambda r, atom: r.check_atom_transition(atom, "PENDING", "RUNNING"),
            lambda r, atom: list(r.selector.iter_next_atoms(atom)),
            lambda r, atom: r.completer.complete(atom, EXECUTED, 1),
        ],
    )
    def test_a_foreign_atom_is_named(self, kit: Any, bench: Any, call: Callable[..., Any]) -> None:
        with pytest.raises(exc.NotFound, match=r"stranger.* is no task or retry of flow 'f'"):
            call(bench.runtime, kit.step("stranger"))


class TestResets:
    DONE = "a=SUCCESS b=SUCCESS c=SUCCESS r=SUCCESS"

    def test_all(self, bench: Any) -> None:
        everything = "a=PENDING/EXECUTE b=PENDING/EXECUTE c=PENDING/EXECUTE r=PENDING/EXECUTE"
        assert told(bench.runtime.reset_all()) == everything
        assert bench.news() == []
        bench.set(self.DONE)
        assert told(bench.runtime.reset_all()) == everything
        assert bench.news() == [f"{name} SUCCESS>PENDING" for name in "abcr"]
        assert set(bench.standing().split()) == set(everything.split())

    def test_all_intentions_only(self, bench: Any) -> None:
        bench.set(self.DONE)
        given = bench.runtime.reset_all(state=None, intention=states.REVERT)
        assert told(given) == "a=None/REVERT b=None/REVERT c=None/REVERT r=None/REVERT"
        assert bench.news() == []
        assert bench.standing("a", "r") == "a=SUCCESS/REVERT r=SUCCESS/REVERT"

    def test_some(self, bench: Any) -> None:
        bench.set(self.DONE)
        chosen = [bench.atoms["c"], bench.atoms["a"]]
        assert told(bench.runtime.reset_atoms(iter(chosen), intention=None)) == "c=PENDING/None a=PENDING/None"
        assert bench.news() == ["c SUCCESS>PENDING", "a SUCCESS>PENDING"]
        assert bench.standing("a", "b", "c") == "a=PENDING/EXECUTE b=SUCCESS/EXECUTE c=PENDING/EXECUTE"
        assert bench.runtime.reset_atoms([]) == []

    def test_what_follows_an_atom_without_itself(self, bench: Any) -> None:
        bench.set(self.DONE)
        assert told(bench.runtime.reset_subgraph(bench.atoms["a"])) == "b=PENDING/EXECUTE c=PENDING/EXECUTE"
        assert bench.news() == ["b SUCCESS>PENDING", "c SUCCESS>PENDING"]
        assert bench.standing("a", "b") == "a=SUCCESS/EXECUTE b=PENDING/EXECUTE"
        assert bench.runtime.reset_subgraph(bench.atoms["c"]) == []

    def test_a_retry_and_what_follows_it(self, bench: Any) -> None:
        bench.set("r=SUCCESS/RETRY a=REVERTED/REVERT b=PENDING/REVERT c=PENDING/REVERT")
        given = bench.runtime.retry_subflow(bench.atoms["r"])
        assert told(given) == "r=None/EXECUTE a=PENDING/EXECUTE b=PENDING/EXECUTE c=PENDING/EXECUTE"
        assert bench.news() == ["a REVERTED>PENDING"]
        assert bench.standing("r", "b") == "r=SUCCESS/EXECUTE b=PENDING/EXECUTE"


class TestSelector:
    def test_forwards(self, bench: Any) -> None:
        assert bench.next() == {"r": "IgnoreDecider"}
        bench.set("r=SUCCESS")
        assert bench.next() == bench.next("r") == {"a": "IgnoreDecider"}
        bench.set("a=SUCCESS")
        assert bench.next() == bench.next("a") == {"b": "IgnoreDecider"}
        bench.set("b=SUCCESS c=SUCCESS")
        assert bench.next() == bench.next("c") == {}

    def test_backwards_as_far_as_the_retry(self, bench: Any) -> None:
        bench.set("r=SUCCESS/REVERT a=SUCCESS/REVERT b=SUCCESS/REVERT c=SUCCESS/REVERT")
        assert bench.next() == bench.next("c") == {"c": "NoOpDecider"}
        bench.set("c=REVERTED")
        assert bench.next() == bench.next("c") == {"b": "NoOpDecider"}
        bench.set("b=REVERTED a=REVERTED")
        assert bench.next() == bench.next("a") == {"r": "NoOpDecider"}
        bench.set("r=SUCCESS/RETRY")
        assert bench.next() == bench.next("a") == {"r": "NoOpDecider"}

    def test_after_a_failure(self, bench: Any) -> None:
        bench.set("r=SUCCESS/RETRY a=SUCCESS/REVERT b=FAILURE/REVERT c=PENDING/REVERT")
        assert bench.next("b") == {"b": "NoOpDecider"}

    def test_what_was_started_meanwhile_is_not_given_any_more(self, kit: Any) -> None:
        bench = kit.Bench(kit.unordered("f", "a", "b"))
        atoms = bench.runtime.selector.iter_next_atoms()
        assert next(atoms)[0].name == "a"
        bench.set("b=RUNNING")
        assert list(atoms) == []


class TestDeciders:
    def fork(self, kit: Any, answer: bool, depth: depths.Depth = depths.Depth.ALL) -> tuple[Any, list[Any]]:
        asked: list[Any] = []

        def ask(history: Any) -> bool:
            asked.append(history)
            return answer

        return kit.Bench(kit.graph("g", "a", "b", "c", links=[("a", "b", ask, depth), ("b", "c")])).set(
            "a=SUCCESS"
        ), asked

    def test_asking_changes_nothing(self, kit: Any) -> None:
        bench, asked = self.fork(kit, False)
        ((atom, decider),) = bench.runtime.selector.iter_next_atoms(bench.atoms["a"])
        assert (atom.name, asked) == ("b", [])
        assert len(decider.tally(bench.runtime)) == 1
        assert asked == [{"a": 1}]
        assert bench.standing("b") == "b=PENDING/EXECUTE"

    @pytest.mark.parametrize(("depth", "left"), [(depths.Depth.ALL, {}), (depths.Depth.ATOM, {"c": "IgnoreDecider"})])
    def test_a_no_ignores(self, kit: Any, depth: depths.Depth, left: dict[str, str]) -> None:
        bench, _ = self.fork(kit, False, depth)
        ((_, decider),) = bench.runtime.selector.iter_next_atoms()
        assert decider.check_and_affect(bench.runtime) is False
        assert bench.news() == ["b PENDING>IGNORE", *([] if left else ["c PENDING>IGNORE"])]
        assert bench.next() == left

    def test_a_yes_lets_it_run(self, kit: Any) -> None:
        bench, _ = self.fork(kit, True)
        ((_, decider),) = bench.runtime.selector.iter_next_atoms()
        assert decider.check_and_affect(bench.runtime) is True
        assert bench.news() == []

    def test_nobody_to_ask(self, bench: Any) -> None:
        for decider in (deciders.NoOpDecider(), deciders.IgnoreDecider(bench.atoms["a"], [])):
            assert list(decider.tally(bench.runtime)) == []
            assert decider.check_and_affect(bench.runtime) is True
        assert deciders.NoOpDecider().affect(bench.runtime, []) is None


class TestScheduler:
    def test_tasks(self, kit: Any) -> None:
        bench = kit.Bench(kit.unordered("f", "a", "b"))
        futures, failures = bench.runtime.scheduler.schedule([bench.atoms["b"], bench.atoms["a"]])
        assert {f.atom.name: f.result() for f in futures} == {"a": (EXECUTED, 5), "b": (EXECUTED, 5)}
        assert failures == []
        assert bench.news() == ["b PENDING>RUNNING", "a PENDING>RUNNING"]
        assert bench.runtime.scheduler.schedule([]) == (set(), [])

    def test_the_first_that_cannot_be_started_keeps_the_rest_back(self, kit: Any) -> None:
        bench = kit.Bench(kit.unordered("f", "a", "b", "c")).set("b=PENDING/IGNORE")
        futures, (problem,) = bench.runtime.scheduler.schedule(list(bench.atoms.values()))
        assert [f.atom.name for f in futures] == ["a"]
        assert problem.check(exc.ExecutionFailure)
        assert "task 'b' with intention IGNORE" in problem.exception_str
        assert bench.standing("b", "c") == "b=PENDING/IGNORE c=PENDING/EXECUTE"

    def test_a_task_cannot_be_retried(self, bench: Any) -> None:
        bench.set("a=PENDING/RETRY")
        assert bench.runtime.scheduler.schedule([bench.atoms["a"]])[1][0].check(exc.ExecutionFailure)

    @pytest.mark.parametrize(
        ("before", "outcome", "news"),
        [
            ("r=PENDING", (EXECUTED, 1), ["r PENDING>RUNNING"]),
            (
                "r=SUCCESS/RETRY a=SUCCESS",
                (EXECUTED, 2),
                ["r SUCCESS>RETRYING", "a SUCCESS>PENDING", "r RETRYING>RUNNING"],
            ),
            ("r=SUCCESS/REVERT", (REVERTED, None), ["r SUCCESS>REVERTING"]),
        ],
    )
    def test_retries(self, bench: Any, before: str, outcome: Any, news: list[str]) -> None:
        (future,), failures = bench.set(before).runtime.scheduler.schedule([bench.atoms["r"]])
        assert (future.result(), failures, bench.news()) == (outcome, [], news)

    def test_a_retry_is_not_ignored(self, bench: Any) -> None:
        bench.set("r=PENDING/IGNORE")
        assert bench.runtime.scheduler.schedule([bench.atoms["r"]])[1][0].check(exc.ExecutionFailure)

    def test_a_task_is_reverted_by_its_intention(self, kit: Any) -> None:
        bench = kit.Bench(kit.linear("f", "a")).set("a=SUCCESS/REVERT")
        (future,), _ = bench.runtime.scheduler.schedule([bench.atoms["a"]])
        assert future.result() == (REVERTED, None)
        assert (bench.atoms["a"].reverted, bench.news()) == (
            [{"result": 1, "flow_failures": {}}],
            ["a SUCCESS>REVERTING"],
        )


class TestResult:
    def test_states_that_come_with_a_result(self) -> None:
        assert actions.Action.SAVE_RESULT_STATES == ("SUCCESS", "FAILURE", "REVERTED", "REVERT_FAILURE")
        assert actions.Action.NO_RESULT is not None

    def test_strategies_tell_their_decision(self, bench: Any) -> None:
        retry_atom = bench.atoms["r"]
        made = [
            completer.Revert(bench.runtime, retry_atom),
            completer.RevertAll(bench.runtime),
            completer.RevertAndRetry(bench.runtime, retry_atom),
        ]
        assert [s.strategy for s in made] == ["REVERT", "REVERT_ALL", "RETRY"]
        assert str(made[0]) == "Revert(strategy=REVERT)"
