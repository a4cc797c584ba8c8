# SPDX-License-Identifier: Apache-2.0
"""Is whatever is given to an engine by mistake answered with an error that names it?"""

from __future__ import annotations

import concurrent.futures
import re
from typing import Any

import pytest

from taskflow import engines, exceptions, states
from taskflow import task as tasks
from taskflow.engines.action_engine import engine as action_engines
from taskflow.utils import persistence_utils


def make_flow(name: str = "made") -> Any:
    return tasks.FunctorTask(make_flow, name=name)


class TestLoading:
    @pytest.mark.parametrize("bad", [5, "x", ["a"], object()])
    @pytest.mark.parametrize("argument", ["store", "backend", "book", "flow_detail"])
    def test_arguments_that_are_something_else(self, kit: Any, argument: str, bad: Any) -> None:
        with pytest.raises(TypeError, match=rf"'{argument}' must be .*not {re.escape(repr(bad))}"):
            engines.load(kit.linear("f", "a"), **{argument: bad})

    @pytest.mark.parametrize("bad", [5, ["serial"], object()])
    def test_an_engine_that_is_no_text(self, kit: Any, bad: Any) -> None:
        with pytest.raises(TypeError, match=re.escape(repr(bad))):
            engines.load(kit.linear("f", "a"), engine=bad)

    @pytest.mark.parametrize("bad", [5, ["taskflow.engines"], None])
    def test_a_namespace_that_is_no_text(self, kit: Any, bad: Any) -> None:
        with pytest.raises(TypeError, match=re.escape(f"entry-point group by its name, not in {bad!r}")):
            engines.load(kit.linear("f", "a"), namespace=bad)

    def test_a_uri_that_is_none(self, kit: Any) -> None:
        with pytest.raises(ValueError, match=r"The URI of engine 'parallel' is not valid: Port out of range"):
            engines.load(kit.linear("f", "a"), engine="parallel://me:secret@host:99999")

    @pytest.mark.parametrize("bad", [5, "x", [1]])
    def test_options_that_are_no_dict(self, kit: Any, bad: Any) -> None:
        flow = kit.linear("f", "a")
        with pytest.raises(TypeError, match=re.escape(f"must be a dict of names and values, not {bad!r}")):
            action_engines.SerialActionEngine(flow, persistence_utils.create_flow_detail(flow), None, bad)

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"max_workers": "x"}, ValueError, "option 'max_workers' cannot be 'x'"),
            ({"max_workers": []}, TypeError, "option 'max_workers' cannot be []"),
            ({"executor": "greenthreads", "max_workers": "x"}, ValueError, "option 'max_workers' cannot be 'x'"),
            ({"executor": "processes", "wait_timeout": "x"}, ValueError, "option 'wait_timeout' cannot be 'x'"),
            ({"executor": "processes", "wait_timeout": -1}, ValueError, "wait_timeout must be above 0 seconds"),
            ({"executor": b"threads"}, TypeError, "Unknown executor b'threads'"),
            ({"executor": concurrent.futures.ThreadPoolExecutor}, TypeError, "Unknown executor <class"),
        ],
    )
    def test_options_of_executors(self, kit: Any, options: Any, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=re.escape(text)):
            engines.load(kit.linear("f", "a"), engine="parallel", **options)


class TestFactories:
    @pytest.mark.parametrize("name", ["", ".", "..", "os.", ".os"])
    def test_names_of_nothing(self, name: str) -> None:
        with pytest.raises(ImportError, match=re.escape(f"{name!r} cannot be imported")):
            engines.load_from_factory(name)

    def test_what_cannot_be_called(self) -> None:
        with pytest.raises(TypeError, match=r"Flow factory 'os\.path' is .*expected a function or a class"):
            engines.load_from_factory("os.path")

    @pytest.mark.parametrize("arguments", [{"factory_args": 5}, {"factory_kwargs": 5}, {"factory_kwargs": "x"}])
    def test_arguments_that_are_none(self, arguments: Any) -> None:
        with pytest.raises(TypeError, match=r"'os\.getenv' cannot be called with .* list of arguments and a dict"):
            engines.load_from_factory("os.getenv", **arguments)


class TestRunning:
    @pytest.mark.parametrize("engine", ["serial", "parallel"])
    @pytest.mark.parametrize("bad", ["a", "5", [], -1, float("nan")])
    def test_a_timeout_that_is_no_time(self, kit: Any, engine: str, bad: Any) -> None:
        loaded = kit.load(kit.linear("f", "a"), engine=engine)
        for run in (loaded.engine.run, lambda timeout: next(loaded.engine.run_iter(timeout))):
            with pytest.raises((TypeError, ValueError), match=re.escape(f"not {bad!r}")):
                run(timeout=bad)
        assert loaded.events == []
        assert loaded.run().raised == ""

    @pytest.mark.parametrize("engine", ["serial", "parallel"])
    @pytest.mark.parametrize("timeout", [0, 0.0, None, 1e12, float("inf")])
    def test_a_timeout_of_any_length(self, kit: Any, engine: str, timeout: Any) -> None:
        loaded = kit.load(kit.linear("f", "a"), engine=engine)
        loaded.engine.run(timeout=timeout)
        assert loaded.state == "SUCCESS"

    @pytest.mark.parametrize("bad", [5, "x", ["a"]])
    def test_injections_of_an_atom_that_are_no_dict(self, kit: Any, bad: Any) -> None:
        flow = kit.linear("f", "a")
        next(iter(flow)).inject = bad
        assert kit.run(flow).raised == (
            f"TypeError: Atom 'a' of flow 'f' has {bad!r} to inject: expected a dict of names and values"
        )

    def test_a_priority_that_is_no_number(self, kit: Any) -> None:
        flow = kit.unordered("f", "a", "b")
        next(iter(flow)).priority = "high"
        done = kit.run(flow)
        assert done.raised == "TypeError: The priority of task 'a' is 'high': expected a number"
        assert (done.state, done.atoms) == ("FAILURE", [])

    @pytest.mark.parametrize("bad", ["LOST", "", 5])
    def test_an_atom_recorded_in_a_state_that_does_not_exist(self, kit: Any, bad: Any) -> None:
        loaded = kit.load(kit.linear("f", "a", "b"))
        loaded.engine.compile()
        loaded.engine.prepare()
        loaded.engine.storage.set_atom_state("b", bad)
        loaded.run()
        assert isinstance(loaded.error, exceptions.InvalidState)
        assert f"Atom 'b' is recorded in state {bad!r}, which no atom has" in loaded.raised
        assert loaded.atoms == []
        loaded.engine.storage.set_atom_state("b", states.PENDING)
        assert loaded.run().raised == ""

    @pytest.mark.parametrize("bad", ["LOSE", "", 5])
    def test_an_atom_recorded_with_an_intention_that_does_not_exist(self, kit: Any, bad: Any) -> None:
        loaded = kit.load(kit.linear("f", "a", "b"))
        loaded.engine.compile()
        loaded.engine.prepare()
        loaded.engine.storage.set_atom_intention("b", bad)
        loaded.run()
        assert isinstance(loaded.error, exceptions.InvalidState)
        assert f"Atom 'b' is recorded with the intention {bad!r}, which no atom has" in loaded.raised
        assert loaded.atoms == []
        loaded.engine.storage.set_atom_intention("b", None)
        assert loaded.run().raised == ""

    @pytest.mark.parametrize("state", ["SUSPENDING", "RESUMING", "REVERTING"])
    def test_a_flow_that_cannot_run_is_named(self, kit: Any, state: str) -> None:
        loaded = kit.load(kit.linear("f", "a"))
        loaded.engine.compile()
        loaded.engine.prepare()
        loaded.engine.storage.set_flow_state(state)
        with pytest.raises(exceptions.InvalidState, match=rf"^Flow transition.*not allowed: flow 'f' is {state}, \w+"):
            loaded.engine.run()

    @pytest.mark.parametrize("state", ["RUNNING", "SUSPENDING", "SUSPENDED", "RESUMING", "FAILURE"])
    def test_a_flow_that_cannot_be_reset_is_named(self, kit: Any, state: str) -> None:
        loaded = kit.load(kit.linear("f", "a"))
        loaded.engine.compile()
        loaded.engine.prepare()
        loaded.engine.storage.set_flow_state(state)
        with pytest.raises(exceptions.InvalidState, match=rf"^Flow transition.*not allowed: flow 'f' is {state}, \w+"):
            loaded.engine.reset()

    @pytest.mark.parametrize("depth", ["ALL", "ATOM"])
    def test_a_decider_that_raises_tells_which_link_it_is_of(self, kit: Any, depth: str) -> None:
        flow = kit.graph("g", "a", "b", links=[("a", "b", lambda: True, depth)])
        done = kit.run(flow)
        assert isinstance(done.error, TypeError)
        assert done.error.__notes__ == ["Raised by decider(history=...) of a link from task 'a'"]
        assert (done.state, done.atom_states("a", "b")) == ("FAILURE", ["SUCCESS/EXECUTE", "PENDING/EXECUTE"])


class Pool(concurrent.futures.Executor):
    """A pool that gives back whatever it was told to, and runs nothing."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)

    def submit(self, *_: Any, **__: Any) -> Any:
        answer = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        return answer() if callable(answer) else answer


class TestPools:
    @pytest.mark.parametrize("given", [None, 5])
    def test_what_is_no_future(self, kit: Any, given: Any) -> None:
        done = kit.run(kit.linear("f", "a"), engine="parallel", executor=Pool(given))
        assert f"gave {given!r} when task 'a' was submitted: expected a future" in done.raised
        assert done.state == "FAILURE"

    def test_a_future_that_was_cancelled_by_its_pool(self, kit: Any) -> None:
        def cancelled() -> concurrent.futures.Future[Any]:
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            future.cancel()
            return future

        done = kit.run(kit.unordered("f", "a", "b"), engine="parallel", executor=Pool(cancelled))
        assert isinstance(done.error, exceptions.ExecutionFailure)
        assert "Task 'a' of flow 'f' was cancelled by the executor that it was given to" in done.raised
        assert (done.state, done.atom_states("a", "b")) == ("FAILURE", ["PENDING/EXECUTE", "PENDING/EXECUTE"])

    def test_a_future_that_fails_by_itself(self, kit: Any) -> None:
        lost: concurrent.futures.Future[Any] = concurrent.futures.Future()
        lost.set_exception(OSError("connection lost"))
        done = kit.run(kit.linear("f", "a"), engine="parallel", executor=Pool(lost))
        assert (done.raised, done.state) == ("OSError: connection lost", "FAILURE")

    def test_a_pool_that_is_shut_down_while_tasks_wait(self, kit: Any) -> None:
        pool = concurrent.futures.ThreadPoolExecutor(1)

        def shut(**_: Any) -> None:
            pool.shutdown(wait=False, cancel_futures=True)

        flow = kit.unordered("f", kit.Step("a", gives=shut), "b", "c")
        loaded = kit.load(flow, engine="parallel", executor=pool).run()
        assert isinstance(loaded.error, exceptions.ExecutionFailure | RuntimeError)
        assert loaded.state == "FAILURE"
        assert "FAILURE/EXECUTE" not in loaded.atom_states("a", "b", "c")
        assert kit.run(flow, flow_detail=loaded.engine.storage._flowdetail).state == "SUCCESS"
