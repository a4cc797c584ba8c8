# SPDX-License-Identifier: Apache-2.0
"""Can tools start single atoms and record by hand what came of them, and decide about failures as engines do?"""

from __future__ import annotations

from typing import Any

import pytest

from taskflow import retry, states, task
from taskflow.engines.action_engine import completer, executor
from taskflow.types import failure

EXECUTED, REVERTED = executor.EXECUTED, executor.REVERTED
FAILED = failure.Failure.from_exception(RuntimeError("no luck"))


class TestTaskAction:
    @pytest.fixture
    def bench(self, kit: Any) -> Any:
        return kit.Bench(kit.linear("f", "a"))

    def test_what_is_as_it_was_is_dropped(self, bench: Any) -> None:
        change, a = bench.runtime.task_action.change_state, bench.atoms["a"]
        reported: list[float] = []
        a.notifier.register(task.EVENT_UPDATE_PROGRESS, lambda _event, details: reported.append(details["progress"]))
        change(a, states.RUNNING, progress=0.0)
        change(a, states.RUNNING, progress=0.0)
        assert (bench.news(), reported) == (["a PENDING>RUNNING"], [0.0])
        change(a, states.RUNNING, progress=0.4)
        assert (bench.news(), reported) == (["a RUNNING>RUNNING"], [0.0, 0.4])
        assert bench.storage.get_task_progress("a") == 0.4
        change(a, states.RUNNING)
        assert (bench.news(), reported) == (["a RUNNING>RUNNING"], [0.0, 0.4])

    def test_states_with_a_result_are_always_told(self, bench: Any) -> None:
        change, a = bench.runtime.task_action.change_state, bench.atoms["a"]
        change(a, states.SUCCESS, progress=1.0, result=9)
        change(a, states.SUCCESS, progress=1.0, result=10)
        assert bench.news() == ["a PENDING>SUCCESS(9)", "a SUCCESS>SUCCESS(10)"]
        assert bench.storage.get("a") == 10
        change(a, states.IGNORE, progress=0.0)
        assert bench.news() == ["a SUCCESS>IGNORE"]

    @pytest.mark.parametrize(
        ("result", "state", "told"), [(7, "SUCCESS", "(7)"), (None, "SUCCESS", "(None)"), (FAILED, "FAILURE", "(!)")]
    )
    def test_executing(self, bench: Any, result: Any, state: str, told: str) -> None:
        action, a = bench.runtime.task_action, bench.atoms["a"]
        future = action.schedule_execution(a)
        assert (future.result(), future.atom) == ((EXECUTED, 5), a)
        assert bench.standing("a") == "a=RUNNING/EXECUTE"
        action.complete_execution(a, result)
        assert bench.news() == ["a PENDING>RUNNING", f"a RUNNING>{state}{told}"]
        assert bench.storage.get("a") == result
        assert bench.storage.get_task_progress("a") == (0.0 if result is FAILED else 1.0)

    @pytest.mark.parametrize(("result", "state"), [(None, "REVERTED"), (FAILED, "REVERT_FAILURE")])
    def test_reverting(self, bench: Any, result: Any, state: str) -> None:
        action, a = bench.runtime.task_action, bench.atoms["a"]
        action.complete_execution(a, 7)
        future = action.schedule_reversion(a)
        assert (future.result(), future.atom) == ((REVERTED, None), a)
        assert a.reverted == [{"result": 7, "flow_failures": {}}]
        action.complete_reversion(a, result)
        assert bench.standing("a") == f"a={state}/EXECUTE"
        assert list(bench.storage.get_revert_failures()) == (["a"] if result is FAILED else [])

    def test_reverting_what_has_no_result(self, bench: Any) -> None:
        bench.runtime.task_action.schedule_reversion(bench.atoms["a"])
        assert bench.atoms["a"].reverted == [{"result": None, "flow_failures": {}}]

    def test_arguments_and_progress_go_the_usual_ways(self, kit: Any) -> None:
        eager = kit.Step("a", gives=lambda x: eager.update_progress(0.3) or x, requires=["x"])
        bench = kit.Bench(kit.linear("f", eager))
        bench.storage.inject({"x": 12})
        assert bench.runtime.task_action.schedule_execution(eager).result() == (EXECUTED, 12)
        assert bench.storage.get_task_progress("a") == 0.3


class TestRetryAction:
    @pytest.fixture
    def bench(self, kit: Any) -> Any:
        return kit.Bench(kit.linear("f", "a", retry=retry.Times(2, "r")))

    def test_attempt_by_attempt(self, bench: Any) -> None:
        action, r, a = bench.runtime.retry_action, bench.atoms["r"], bench.atoms["a"]
        for number, answer in ((1, retry.RETRY), (2, retry.REVERT)):
            future = action.schedule_execution(r)
            assert (future.result(), future.atom) == ((EXECUTED, number), r)
            action.complete_execution(r, number)
            assert action.on_failure(r, a, FAILED) == answer
            assert bench.history()[-1] == (number, ["a"])
            action.change_state(r, states.RETRYING)
            action.change_state(r, states.RETRYING)
        assert bench.news() == [
            "r PENDING>RUNNING",
            "r RUNNING>SUCCESS(1)",
            "r SUCCESS>RETRYING",
            "r RETRYING>RUNNING",
            "r RUNNING>SUCCESS(2)",
            "r SUCCESS>RETRYING",
        ]

    def test_reverting_forgets_the_attempts(self, bench: Any) -> None:
        action, r = bench.runtime.retry_action, bench.atoms["r"]
        action.complete_execution(r, 1)
        assert action.schedule_reversion(r).result() == (REVERTED, None)
        action.complete_reversion(r, None)
        assert bench.news()[-2:] == ["r SUCCESS>REVERTING", "r REVERTING>REVERTED(None)"]
        assert bench.history() == []

    def test_failures(self, bench: Any) -> None:
        action, r = bench.runtime.retry_action, bench.atoms["r"]
        action.complete_execution(r, FAILED)
        action.complete_reversion(r, FAILED)
        assert bench.news() == ["r PENDING>FAILURE(!)", "r FAILURE>REVERT_FAILURE(!)"]


class TestCompleter:
    def test_outcomes(self, kit: Any) -> None:
        bench = kit.Bench(kit.linear("f", "a", "b"))
        complete, a, b = bench.runtime.completer.complete, bench.atoms["a"], bench.atoms["b"]
        complete(a, EXECUTED, 5)
        complete(b, EXECUTED, FAILED)
        complete(b, REVERTED, None)
        complete(a, REVERTED, FAILED)
        assert bench.news() == [
            "a PENDING>SUCCESS(5)",
            "b PENDING>FAILURE(!)",
            "b FAILURE>REVERTED(None)",
            "a SUCCESS>REVERT_FAILURE(!)",
        ]

    def test_an_unknown_outcome_is_refused(self, kit: Any) -> None:
        bench = kit.Bench(kit.linear("f", "a"))
        with pytest.raises(ValueError, match=r"'done' of atom 'a' is unknown: expected 'executed' or 'reverted'"):
            bench.runtime.completer.complete(bench.atoms["a"], "done", 5)
        assert bench.news() == []

    @pytest.mark.parametrize(
        ("options", "outcome", "kept", "left"),
        [
            ({}, EXECUTED, False, "a=PENDING/REVERT b=PENDING/REVERT"),
            ({}, REVERTED, True, "a=PENDING/EXECUTE b=PENDING/EXECUTE"),
            ({"never_resolve": True}, EXECUTED, True, "a=PENDING/EXECUTE b=PENDING/EXECUTE"),
            ({"never_resolve": "no"}, EXECUTED, False, "a=PENDING/REVERT b=PENDING/REVERT"),
        ],
    )
    def test_which_failures_are_kept(self, kit: Any, options: Any, outcome: str, kept: bool, left: str) -> None:
        bench = kit.Bench(kit.linear("f", "a", "b"), options)
        assert bench.runtime.completer.complete_failure(bench.atoms["b"], outcome, FAILED) is kept
        assert bench.standing("a", "b") == left

    def around(self, kit: Any, answer: Any, options: Any = None) -> Any:
        inner = kit.linear("inner", "a", "b", retry=kit.Judge("r", answer))
        bench = kit.Bench(kit.linear("top", "t", inner, "z"), options)
        for name in ("t", "r", "a"):
            bench.storage.save(name, 1)
        return bench

    ALL = "t=SUCCESS/REVERT r=SUCCESS/REVERT a=SUCCESS/REVERT b=PENDING/REVERT z=PENDING/REVERT"
    INNER = ALL.replace("t=SUCCESS/REVERT", "t=SUCCESS/EXECUTE")

    @pytest.mark.parametrize(
        ("answer", "defer", "left"),
        [
            ("RETRY", False, INNER.replace("r=SUCCESS/REVERT", "r=SUCCESS/RETRY")),
            ("RETRY", True, INNER.replace("r=SUCCESS/REVERT", "r=SUCCESS/RETRY")),
            ("REVERT", False, INNER),
            ("REVERT", True, ALL),
            ("REVERT_ALL", False, ALL),
            ("REVERT_ALL", True, ALL),
        ],
    )
    def test_what_a_retry_decides(self, kit: Any, answer: str, defer: bool, left: str) -> None:
        bench = self.around(kit, answer, {"defer_reverts": defer})
        assert bench.runtime.completer.complete_failure(bench.atoms["b"], EXECUTED, FAILED) is False
        assert bench.standing("t", "r", "a", "b", "z") == left
        assert bench.history() == [(1, ["b"])]
        assert bench.news() == []

    @pytest.mark.parametrize(
        ("answer", "error"), [("maybe", ValueError), (None, ValueError), (KeyError("k"), KeyError)]
    )
    def test_a_retry_that_cannot_answer(self, kit: Any, answer: Any, error: type[Exception]) -> None:
        bench = self.around(kit, answer)
        with pytest.raises(error):
            bench.runtime.completer.complete_failure(bench.atoms["b"], EXECUTED, FAILED)
        assert bench.standing("r", "a", "b") == "r=SUCCESS/EXECUTE a=SUCCESS/EXECUTE b=PENDING/EXECUTE"

    def test_a_retry_that_is_to_be_reverted_stays_so(self, kit: Any) -> None:
        bench = self.around(kit, "RETRY")
        completer.RevertAll(bench.runtime).apply()
        tweaked = completer.RevertAndRetry(bench.runtime, bench.atoms["r"]).apply()
        assert [(atom.name, state, wish) for atom, state, wish in tweaked] == [(n, None, "REVERT") for n in "abz"]
        assert bench.standing("r") == "r=SUCCESS/REVERT"

    def test_resuming_decides_about_failures_anew(self, kit: Any) -> None:
        bench = self.around(kit, "RETRY")
        bench.storage.save("b", FAILED, states.FAILURE)
        assert bench.runtime.completer.resume() == set()
        assert bench.standing("r", "b") == "r=SUCCESS/RETRY b=FAILURE/REVERT"

    def test_resuming_begins_what_a_retry_was_about_to(self, kit: Any) -> None:
        bench = self.around(kit, "RETRY")
        bench.storage.set_atom_state("r", states.RETRYING)
        bench.storage.set_atom_intention("r", states.RETRY)
        bench.storage.set_atom_state("b", states.RUNNING)
        assert bench.runtime.completer.resume() == set()
        assert bench.standing("r", "a", "b") == "r=RETRYING/EXECUTE a=PENDING/EXECUTE b=PENDING/EXECUTE"
        assert bench.news() == ["a SUCCESS>PENDING", "b RUNNING>PENDING"]

    def test_resuming_gives_what_was_under_way(self, kit: Any) -> None:
        bench = self.around(kit, "RETRY", {"never_resolve": True})
        bench.storage.set_atom_state("t", states.RUNNING)
        bench.storage.set_atom_state("a", states.REVERTING)
        bench.storage.save("b", FAILED, states.FAILURE)
        assert bench.runtime.completer.resume() == {bench.atoms["t"], bench.atoms["a"]}
        assert bench.standing("b") == "b=FAILURE/EXECUTE"
