# SPDX-License-Identifier: Apache-2.0
"""Do the executors of tasks and retries keep what engines and others build on, whatever pool is behind them?"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import sys
import threading
import types
from typing import Any

import futurist
import pytest

from taskflow import engines, exceptions, retry
from taskflow.engines.action_engine import engine as action_engines
from taskflow.engines.action_engine import executor as executors
from taskflow.types import failure
from taskflow.utils import persistence_utils

EXECUTED, REVERTED = executors.EXECUTED, executors.REVERTED


def made(kind: Any) -> Any:
    """An executor of that kind, started."""
    executor = kind()
    executor.start()
    return executor


class TestTaskExecutors:
    @pytest.fixture(params=[executors.SerialTaskExecutor, executors.ParallelThreadTaskExecutor])
    def executor(self, request: Any) -> Any:
        executor = made(request.param)
        yield executor
        executor.stop()

    def test_names_of_outcomes(self) -> None:
        assert (EXECUTED, REVERTED) == ("executed", "reverted")

    def test_executing(self, kit: Any, executor: Any) -> None:
        step = kit.Step("a", gives=lambda x: x + 1)
        future = executor.execute_task(step, "id", {"x": 1})
        assert (future.result(10), future.atom) == ((EXECUTED, 2), step)

    def test_what_an_execution_raises_is_its_result(self, kit: Any, executor: Any) -> None:
        outcome, result = executor.execute_task(kit.step("a!"), "id", {}).result(10)
        assert (outcome, type(result), result.exception_str) == (EXECUTED, failure.Failure, "a")

    def test_reverting_merges_into_a_copy(self, kit: Any, executor: Any) -> None:
        step, arguments, failures = kit.Step("a", undo="undone"), {"x": 1}, {"b": 2}
        future = executor.revert_task(step, "id", arguments, 5, failures)
        assert (future.result(10), future.atom) == ((REVERTED, "undone"), step)
        assert step.reverted == [{"x": 1, "result": 5, "flow_failures": failures}]
        assert arguments == {"x": 1}

    def test_progress_is_heard_while_it_runs_only(self, kit: Any, executor: Any) -> None:
        heard: list[tuple[str, Any]] = []
        step = kit.Step("a", gives=lambda: step.update_progress(0.5))
        executor.execute_task(step, "id", {}, lambda event, details: heard.append((event, details["progress"]))).result(
            10
        )
        step.update_progress(0.7)
        assert heard == [("update_progress", 0.5)]

    def test_after_its_end_it_takes_nothing_until_it_is_started_again(self, kit: Any, executor: Any) -> None:
        executor.stop()
        with pytest.raises(RuntimeError, match="start"):
            executor.execute_task(kit.step("a"), "id", {})
        with pytest.raises(RuntimeError, match="start"):
            executor.revert_task(kit.step("a"), "id", {}, None, {})
        executor.start()
        assert executor.execute_task(kit.step("a"), "id", {}).result(10) == (EXECUTED, 5)

    def test_the_serial_one_needs_no_start_and_runs_at_once_here(self, kit: Any) -> None:
        threads: list[int] = []
        step = kit.Step("a", gives=lambda: threads.append(threading.get_ident()))
        assert executors.SerialTaskExecutor().execute_task(step, "id", {}).done()
        assert threads == [threading.get_ident()]

    def test_abstract_ones(self) -> None:
        for kind in (executors.TaskExecutor, executors.ParallelTaskExecutor):
            with pytest.raises(TypeError, match="abstract"):
                kind()
        assert executors.TaskExecutor.start(None) is executors.TaskExecutor.stop(None) is None


class TestRetryExecutor:
    def test_executing_and_reverting(self, kit: Any) -> None:
        executor, judge = executors.SerialRetryExecutor(), kit.Judge("r", retry.REVERT, gives="value", undo="undone")
        future = executor.execute_retry(judge, {"history": [], "x": 1})
        assert (future.result(), future.atom, judge.executed) == ((EXECUTED, "value"), judge, [{"x": 1}])
        future = executor.revert_retry(judge, {"history": [], "flow_failures": {}})
        assert (future.result(), future.atom) == ((REVERTED, "undone"), judge)

    def test_what_it_raises_is_its_result(self, kit: Any) -> None:
        executor = executors.SerialRetryExecutor()
        judge = kit.Judge("r", retry.REVERT, gives=ValueError("no"), undo=KeyError("k"))
        assert executor.execute_retry(judge, {"history": []}).result()[1].check(ValueError) is ValueError
        assert (
            executor.revert_retry(judge, {"history": [], "flow_failures": {}}).result()[1].check(KeyError) is KeyError
        )

    def test_after_its_end_it_takes_nothing(self, kit: Any) -> None:
        executor = made(executors.SerialRetryExecutor)
        executor.stop()
        with pytest.raises(RuntimeError):
            executor.execute_retry(kit.Judge("r", retry.REVERT), {"history": []})
        executor.start()
        assert executor.execute_retry(kit.Judge("r", retry.REVERT), {"history": []}).result() == (EXECUTED, 1)


class TestChoice:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (None, executors.ParallelThreadTaskExecutor),
            ("thread", executors.ParallelThreadTaskExecutor),
            ("Threads", executors.ParallelThreadTaskExecutor),
            ("THREADED", executors.ParallelThreadTaskExecutor),
            ("greenthread", executors.ParallelGreenThreadTaskExecutor),
            ("GreenThreads", executors.ParallelGreenThreadTaskExecutor),
            ("greenthreaded", executors.ParallelGreenThreadTaskExecutor),
        ],
    )
    def test_by_word(self, kit: Any, value: Any, kind: Any) -> None:
        engine = engines.load(kit.linear("f", "a"), engine="parallel", executor=value)
        assert type(engine._task_executor) is kind

    @pytest.mark.parametrize(
        "pool", [concurrent.futures.ThreadPoolExecutor, futurist.ThreadPoolExecutor, futurist.SynchronousExecutor]
    )
    def test_a_pool_of_the_program_serves_several_engines_and_stays_its_own(self, kit: Any, pool: Any) -> None:
        with pool() as shared:
            for name in ("f", "g"):
                loaded = kit.load(kit.unordered(name, "a", "b", "c"), engine="parallel", executor=shared).run()
                assert loaded.engine.options["executor"] is shared
                assert type(loaded.engine._task_executor) is executors.ParallelThreadTaskExecutor
                assert (loaded.raised, loaded.state) == ("", "SUCCESS")
            assert shared.submit(abs, -1).result(10) == 1

    def test_a_pool_that_is_shut_down(self, kit: Any) -> None:
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.shutdown()
        done = kit.run(kit.linear("f", "a"), engine="parallel", executor=pool)
        assert isinstance(done.error, RuntimeError)
        assert (done.state, done.atom_states("a")) == ("FAILURE", ["RUNNING/EXECUTE"])

    def test_each_run_has_a_pool_of_its_own(self, kit: Any) -> None:
        seen: list[threading.Thread] = []
        loaded = kit.load(kit.Step("a", gives=lambda: seen.append(threading.current_thread())), engine="parallel")
        loaded.run()
        loaded.engine.reset()
        loaded.run()
        assert len(set(map(id, seen))) == 2
        assert not any(thread.is_alive() for thread in seen)

    def test_tables(self) -> None:
        engine = action_engines.ParallelActionEngine
        assert engine._default_executor_cls is executors.ParallelThreadTaskExecutor
        words = {word for known, _ in engine._executor_str_matchers for word in known}
        assert words >= {"thread", "threads", "threaded", "greenthread", "greenthreads", "greenthreaded"}
        assert executors.ParallelThreadTaskExecutor in [kind for _, kind in engine._executor_cls_matchers]

    def test_options_of_executors_and_their_converters(self, kit: Any) -> None:
        ((name, convert),) = executors.ParallelTaskExecutor.constructor_options
        assert (name, convert(None), convert("2"), convert(3.9)) == ("max_workers", None, 2, 3)

    @pytest.mark.parametrize("workers", [0, -1, "0"])
    def test_too_few_workers_are_refused_when_the_run_starts(self, kit: Any, workers: Any) -> None:
        loaded = kit.load(kit.linear("f", "a"), engine="parallel", max_workers=workers).run()
        assert isinstance(loaded.error, ValueError)
        assert "max_workers" in loaded.raised
        assert (loaded.events, loaded.state) == ([], "PENDING")

    def test_constructed_directly(self, kit: Any) -> None:
        flow = kit.linear("f", "a")
        engine = action_engines.ParallelActionEngine(
            flow, persistence_utils.create_flow_detail(flow), None, {"max_workers": "2"}
        )
        engine.run()
        assert engine.storage.get_flow_state() == "SUCCESS"


class TestGreenThreads:
    def test_without_eventlet_it_is_said_when_the_run_starts(self, kit: Any, monkeypatch: Any) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name == "eventlet" else find(name, *a)
        )
        loaded = kit.load(kit.linear("f", "a"), engine="parallel", executor="greenthreads").run()
        assert isinstance(loaded.error, RuntimeError)
        assert "install it" in loaded.raised
        assert (loaded.events, loaded.state) == ([], "PENDING")

    @pytest.mark.parametrize(("given", "workers"), [(None, 1000), ("7", 7)])
    def test_a_pool_is_made_by_futurist(self, kit: Any, monkeypatch: Any, given: Any, workers: int) -> None:
        class Pool(futurist.SynchronousExecutor):
            def __init__(self, max_workers: int) -> None:
                super().__init__()
                asked.append(max_workers)

        asked: list[int] = []
        monkeypatch.setattr(importlib.util, "find_spec", lambda *_: types.SimpleNamespace())
        monkeypatch.setattr(futurist, "GreenThreadPoolExecutor", Pool)
        done = kit.run(kit.linear("f", "a"), engine="parallel", executor="greenthreads", max_workers=given)
        assert (done.state, asked) == ("SUCCESS", [workers])
        assert executors.ParallelGreenThreadTaskExecutor.DEFAULT_WORKERS == 1000
        assert "eventlet" not in sys.modules


class TestManyThreads:
    def test_layers_of_tasks_that_need_each_others_values(self, kit: Any) -> None:
        def add(**values: int) -> int:
            return sum(values.values()) + 1

        layers, width = 20, 50
        steps = [
            [
                kit.Step(
                    f"t{x}.{y}",
                    gives=add,
                    provides=f"v{x}.{y}",
                    rebind={f"n{k}": f"v{x - 1}.{(y + k) % width}" for k in range(3)} if x else None,
                )
                for y in range(width)
            ]
            for x in range(layers)
        ]
        flow = kit.graph("f", *(step for layer in steps for step in layer))
        done = kit.run(flow, engine="parallel", max_workers=32)
        values = {done.engine.storage.get(f"t{layers - 1}.{y}") for y in range(width)}
        assert values == {sum(3**k for k in range(layers))}

    def test_a_failure_among_many_reverts_them_all(self, kit: Any) -> None:
        flow = kit.unordered("f", *(f"t{i}" for i in range(1000)), "F!")
        done = kit.run(flow, engine="parallel", max_workers=32)
        assert (done.raised, done.state) == ("RuntimeError: F", "REVERTED")
        assert all(len(step.reverted) == len(step.executed) for step in flow)

    def test_two_threads_may_not_run_one_engine(self, kit: Any) -> None:
        began, go_on = threading.Event(), threading.Event()

        def work(**_: Any) -> None:
            began.set()
            go_on.wait(10)

        loaded = kit.load(kit.linear("f", kit.Step("a", gives=work)), engine="parallel")
        first = threading.Thread(target=loaded.run)
        first.start()
        assert began.wait(10)
        try:
            with pytest.raises(exceptions.ExecutionFailure, match="flow 'f' is running already"):
                loaded.engine.run()
        finally:
            go_on.set()
            first.join(10)
        assert loaded.state == "SUCCESS"
