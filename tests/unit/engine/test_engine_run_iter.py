# SPDX-License-Identifier: Apache-2.0
"""Which states does run_iter yield, and what can its driver do between them?"""

from __future__ import annotations

import itertools
import logging

import pytest

from taskflow import engines, exceptions, retry

ROUND = ["SCHEDULING", "WAITING", "ANALYZING"]


def take(generator, until):
    """Advance a generator up to the given (state, occurrence)."""
    state, _, count = until.partition(" ")
    left = int(count or 1)
    for seen in generator:
        if seen == state:
            left -= 1
            if not left:
                return
    raise AssertionError(f"{until} was not reached")


YIELDED = {
    "empty linear": (lambda k: k.linear("f"), 1),
    "empty unordered": (lambda k: k.unordered("f"), 1),
    "empty graph": (lambda k: k.graph("f"), 1),
    "nested empty": (lambda k: k.linear("f", k.unordered("u", k.graph("g")), k.linear("l")), 1),
    "one task": (lambda k: k.step("a"), 1),
    "linear of 4": (lambda k: k.linear("f", *"abcd"), 4),
    "unordered of 4": (lambda k: k.unordered("f", *"abcd"), 1),
    "only a retry": (lambda k: k.linear("f", retry=retry.Times(1, "r")), 1),
}


@pytest.mark.parametrize(("flow", "rounds"), YIELDED.values(), ids=YIELDED)
def test_yielded_states(kit, flow, rounds):
    engine = engines.load(flow(kit))
    assert list(engine.run_iter()) == ["RESUMING", *ROUND * rounds, "SUCCESS"]
    assert engine.storage.get_flow_state() == "SUCCESS"
    assert list(engine.run_iter()) == ["RESUMING", *ROUND, "SUCCESS"]


def test_an_only_retry_provides(kit):
    run = kit.run(kit.linear("f", retry=retry.Times(1, "r", provides="x")))
    assert run.events == kit.events("f.f RUNNING, r.r RUNNING, r.r SUCCESS(1), f.f SUCCESS")
    assert run.engine.storage.fetch_all() == {"x": 1}


def test_a_reverting_flow_yields_its_end_and_raises_after_it(kit):
    run = kit.load(kit.linear("f", "a", "F!"))
    seen = []
    with pytest.raises(RuntimeError, match="^F$"):
        seen.extend(iter_into(run.engine.run_iter(), seen))
    assert seen == ["RESUMING", *ROUND * 4, "REVERTED"]


def iter_into(generator, seen):
    for state in generator:
        seen.append(state)
    return []


def test_a_failure_is_not_yielded(kit):
    run = kit.load(kit.linear("f", "a", "F!"), never_resolve=True)
    seen = []
    with pytest.raises(RuntimeError, match="^F$"):
        iter_into(run.engine.run_iter(), seen)
    assert seen == ["RESUMING", *ROUND * 2]
    assert run.state == "FAILURE"


def test_states_are_yielded_before_their_work(kit):
    run = kit.load(kit.linear("f", "a"))
    after = [(state, run.atoms[:]) for state in run.engine.run_iter()]
    assert after == [
        ("RESUMING", []),
        ("SCHEDULING", []),
        ("WAITING", ["a.t RUNNING"]),
        ("ANALYZING", ["a.t RUNNING"]),
        ("SUCCESS", ["a.t RUNNING", "a.t SUCCESS(5)"]),
    ]


def test_a_generator_that_is_never_started_does_nothing(kit):
    run = kit.load(kit.linear("f", "a"))
    generator = run.engine.run_iter()
    generator.close()
    assert run.engine.compilation is None
    assert run.events == []


def test_the_first_step_compiles_prepares_and_validates(kit):
    run = kit.load(kit.linear("f", "a"))
    generator = run.engine.run_iter()
    assert next(generator) == "RESUMING"
    assert run.engine.compilation is not None
    assert run.events == ["f.f RUNNING"]
    generator.close()
    with pytest.raises(exceptions.MissingDependencies):
        next(engines.load(kit.Step("a", requires=["x"])).run_iter())


def test_the_flow_takes_its_final_state_one_step_after_the_final_yield(kit):
    for flow, final in ((kit.linear("f", "a"), "SUCCESS"), (kit.linear("f", "F!"), "REVERTED")):
        run = kit.load(flow)
        generator = run.engine.run_iter()
        take(generator, final)
        assert run.state == "RUNNING"
        with pytest.raises(StopIteration if final == "SUCCESS" else RuntimeError):
            next(generator)
        assert run.state == final


SUSPENDED = {
    # where it is suspended: (the states from there on, names of the atoms that were executed)
    "RESUMING": (["SCHEDULING", "WAITING", "ANALYZING", "SUSPENDED"], []),
    "SCHEDULING": (["WAITING", "ANALYZING", "SUSPENDED"], []),
    "WAITING": (["ANALYZING", "SUSPENDED"], ["a"]),
    "ANALYZING": (["SUSPENDED"], ["a"]),
    "SCHEDULING 2": (["WAITING", "ANALYZING", "SUSPENDED"], ["a"]),
    "WAITING 2": (["ANALYZING", "SUSPENDED"], ["a", "b"]),
    "ANALYZING 2": (["SUSPENDED"], ["a", "b"]),
    "ANALYZING 3": (["SUCCESS"], ["a", "b", "c"]),
}


@pytest.mark.parametrize("way", ["send", "suspend"])
@pytest.mark.parametrize("where", SUSPENDED)
def test_suspending_between_steps(kit, where, way):
    run = kit.load(kit.linear("f", "a", "b", "c"))
    states, executed = SUSPENDED[where]
    generator = run.engine.run_iter()
    take(generator, where)
    if way == "send":
        rest = [generator.send(True), *generator]
    else:
        run.engine.suspend()
        rest = list(generator)
    assert rest == states
    assert run.starts == executed
    assert len(run.atoms) == 2 * len(executed)
    assert run.flow_moves == ["PENDING>RUNNING", "RUNNING>SUSPENDING", f"SUSPENDING>{states[-1]}"]
    assert run.run().starts == [name for name in "abc" if name not in executed]
    assert run.state == "SUCCESS"


@pytest.mark.parametrize("value", [None, False, 0, ""], ids=repr)
def test_sending_something_false_proceeds(kit, value):
    run = kit.load(kit.linear("f", "a"))
    generator = run.engine.run_iter()
    seen = [next(generator)]
    seen.extend(generator.send(value) for _ in range(4))
    assert seen == ["RESUMING", *ROUND, "SUCCESS"]
    assert list(generator) == []
    assert run.state == "SUCCESS"


# where it is thrown: names of the atoms that were executed
THROWN = {
    "WAITING": ["a"],
    "ANALYZING": ["a"],
    "WAITING 2": ["a", "b"],
    "ANALYZING 2": ["a", "b"],
}


@pytest.mark.parametrize("where", THROWN)
def test_throwing_an_exception_ends_in_failure_without_a_revert(kit, where):
    run = kit.load(kit.linear("f", "a", "b", "c"))
    generator = run.engine.run_iter()
    take(generator, where)
    with pytest.raises(ValueError, match="^thrown$"):
        generator.throw(ValueError("thrown"))
    assert list(generator) == []
    assert run.state == "FAILURE"
    assert run.starts == THROWN[where]
    assert run.atom_states(*THROWN[where]) == ["SUCCESS/EXECUTE"] * len(THROWN[where])
    run.run()
    assert run.moves[0] == "f.f FAILURE>RUNNING"
    assert run.starts == [name for name in "abc" if name not in THROWN[where]]
    assert run.state == "SUCCESS"


@pytest.mark.parametrize("where", ["RESUMING", "SCHEDULING", "SCHEDULING 2"])
def test_after_a_throw_nothing_new_is_submitted(kit, where):
    run = kit.load(kit.linear("f", "a", "b", "c"))
    generator = run.engine.run_iter()
    take(generator, where)
    before = list(run.starts)
    with pytest.raises(ValueError, match="^thrown$"):
        generator.throw(ValueError("thrown"))
    assert list(generator) == []
    assert run.state == "FAILURE"
    assert run.starts == before
    assert run.run().state == "SUCCESS"


def test_a_failure_of_submitted_work_is_resolved_but_only_what_was_thrown_is_raised(kit):
    run = kit.load(kit.linear("f", "a", "F!"))
    generator = run.engine.run_iter()
    take(generator, "WAITING 2")
    with pytest.raises(ValueError, match="^thrown$"):
        generator.throw(ValueError("thrown"))
    assert run.atom_states("a", "F") == ["SUCCESS/REVERT", "FAILURE/REVERT"]
    assert run.state == "FAILURE"
    run.run()
    assert run.state == "REVERTED"
    assert run.raised == "RuntimeError: F"


@pytest.mark.parametrize("where", ["RESUMING", "SCHEDULING", "WAITING", "ANALYZING"])
def test_throwing_a_base_exception_leaves_at_once(kit, where):
    run = kit.load(kit.linear("f", "a", "b"))
    generator = run.engine.run_iter()
    take(generator, where)
    with pytest.raises(KeyboardInterrupt):
        generator.throw(KeyboardInterrupt())
    assert run.flow_moves == ["PENDING>RUNNING"]
    assert run.state == "RUNNING"
    assert run.run().state == "SUCCESS"
    assert run.flow_moves == ["RUNNING>SUCCESS"]


CLOSED = {
    "RESUMING": ("SUSPENDED", []),
    "SCHEDULING": ("SUSPENDED", []),
    "WAITING": ("SUSPENDED", ["a"]),
    "ANALYZING": ("SUSPENDED", ["a"]),
    "ANALYZING 2": ("SUCCESS", ["a", "b"]),
    "SUCCESS": ("SUCCESS", ["a", "b"]),
}


@pytest.mark.parametrize("where", CLOSED)
def test_closing_suspends_and_finishes(kit, where):
    run = kit.load(kit.linear("f", "a", "b"))
    state, executed = CLOSED[where]
    generator = run.engine.run_iter()
    take(generator, where)
    generator.close()
    assert run.flow_moves == ["PENDING>RUNNING", "RUNNING>SUSPENDING", f"SUSPENDING>{state}"]
    assert run.starts == executed


def test_closing_raises_failures(kit):
    run = kit.load(kit.linear("f", "F!"))
    generator = run.engine.run_iter()
    take(generator, "REVERTED")
    with pytest.raises(RuntimeError, match="^F$"):
        generator.close()
    assert run.state == "REVERTED"


def test_suspending_at_the_final_yield_changes_nothing_but_the_way_there(kit):
    run = kit.load(kit.linear("f", "a"))
    generator = run.engine.run_iter()
    take(generator, "SUCCESS")
    with pytest.raises(StopIteration):
        generator.send(True)
    assert run.flow_moves == ["PENDING>RUNNING", "RUNNING>SUSPENDING", "SUSPENDING>SUCCESS"]


def test_an_exception_thrown_at_the_final_yield_is_raised_after_the_final_state(kit):
    run = kit.load(kit.linear("f", "a"))
    generator = run.engine.run_iter()
    take(generator, "SUCCESS")
    with pytest.raises(ValueError, match="^thrown$"):
        generator.throw(ValueError("thrown"))
    assert run.state == "SUCCESS"
    assert list(generator) == []


def test_a_second_live_generator_is_refused(kit):
    run = kit.load(kit.linear("f", "a", "b"))
    first = run.engine.run_iter()
    take(first, "SCHEDULING")
    with pytest.raises(exceptions.ExecutionFailure):
        next(run.engine.run_iter())
    assert list(first) == ["WAITING", "ANALYZING", *ROUND, "SUCCESS"]
    assert run.starts == ["a", "b"]
    assert list(run.engine.run_iter()) == ["RESUMING", *ROUND, "SUCCESS"]


def test_the_engine_lock_is_free_between_the_steps(kit):
    run = kit.load(kit.linear("f", "a"))
    for _ in run.engine.run_iter():
        run.engine.compile()
        run.engine.validate()
    assert run.state == "SUCCESS"


def test_several_engines_may_be_driven_in_turns(kit):
    runs = [kit.load(kit.linear(name, *"abc")) for name in ("f", "g")]
    states = list(zip(*(run.engine.run_iter() for run in runs), strict=True))
    assert states == [(s, s) for s in ["RESUMING", *ROUND * 3, "SUCCESS"]]
    assert [run.state for run in runs] == ["SUCCESS"] * 2


def test_a_timeout_stops_nothing(kit):
    engine = engines.load(kit.linear("f", "a", "b"))
    assert list(engine.run_iter(timeout=0.001)) == ["RESUMING", *ROUND * 2, "SUCCESS"]
    engine = engines.load(kit.linear("f", "a"))
    engine.run(timeout=5)
    assert engine.storage.get_flow_state() == "SUCCESS"


def test_a_flow_that_may_not_run_is_left_alone_and_not_logged(kit, caplog):
    run = kit.run(kit.linear("f", "a"))
    run.clear()
    run.engine.storage.set_flow_state("REVERTING")
    with caplog.at_level(logging.ERROR), pytest.raises(exceptions.InvalidState, match=r"^Flow transition.*not allowed"):
        next(run.engine.run_iter())
    assert run.state == "REVERTING"
    assert run.events == []
    assert caplog.records == []


class TestLog:
    LOGGER = "taskflow.engines.action_engine.engine"

    def errors(self, caplog):
        return [r for r in caplog.records if r.name == self.LOGGER and r.levelno == logging.ERROR]

    def test_a_kept_failure_is_logged_with_the_last_transitions(self, kit, caplog):
        run = kit.run(kit.linear("f", *"abcde", "F!"), never_resolve=True)
        assert run.state == "FAILURE"
        (record,) = self.errors(caplog)
        assert record.exc_info
        assert "SCHEDULING" in record.getMessage()
        assert "ANALYZING" in record.getMessage()

    def test_failures_of_a_reverted_flow_are_not_logged(self, kit, caplog):
        run = kit.run(kit.linear("f", "F!"))
        assert run.raised == "RuntimeError: F"
        assert self.errors(caplog) == []

    def test_the_log_comes_before_the_move_to_failure(self, kit, caplog):
        seen = []
        run = kit.load(kit.linear("f", "F!"), never_resolve=True)
        run.on["f.f FAILURE"] = lambda: seen.extend(self.errors(caplog))
        run.run()
        assert len(seen) == 1


class TestMachineFailures:
    def test_an_exception_while_submitting_ends_in_failure_and_stops_the_rest_of_the_step(self, kit):
        first, bad, last = kit.step("first"), kit.Step("bad", requires=["x"]), kit.step("last")
        short = kit.Step("p", gives=(), provides=("x",))
        for step, priority in ((first, 3), (bad, 2), (last, 1)):
            step.priority = priority
        run = kit.run(kit.linear("f", short, kit.unordered("u", first, bad, last)))
        assert isinstance(run.error, exceptions.NotFound)
        assert run.state == "FAILURE"
        assert run.atom_states("first", "bad", "last") == ["SUCCESS/EXECUTE", "RUNNING/EXECUTE", "PENDING/EXECUTE"]
        assert not last.executed

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_a_base_exception_of_a_task_comes_out_as_itself(self, kit, kind):
        run = kit.load(kit.linear("f", "a", kit.Step("b", kind())))
        with pytest.raises(kind):
            run.engine.run()
        assert run.state == "RUNNING"
        assert run.atom_states("a", "b") == ["SUCCESS/EXECUTE", "RUNNING/EXECUTE"]

    def test_once_a_failure_is_kept_nothing_more_starts(self, kit):
        flow = kit.unordered("f", kit.linear("l", "a", "b"), "F!")
        run = kit.run(flow, never_resolve=True)
        assert sorted(run.starts) == ["F", "a"]
        assert run.atom_states("a", "b", "F") == ["SUCCESS/EXECUTE", "PENDING/EXECUTE", "FAILURE/EXECUTE"]


def test_executors_run_from_before_running_until_the_generator_ends(kit, monkeypatch):
    calls = []
    run = kit.load(kit.linear("f", "a"))
    run.engine.compile()
    executor = run.engine._task_executor
    start, stop = executor.start, executor.stop
    monkeypatch.setattr(executor, "start", lambda: (calls.append(("start", run.state)), start()))
    monkeypatch.setattr(executor, "stop", lambda: (calls.append(("stop", run.state)), stop()))
    run.run()
    assert calls == [("start", "PENDING"), ("stop", "SUCCESS")]
    calls.clear()
    generator = run.engine.run_iter()
    assert list(itertools.islice(generator, 2)) == ["RESUMING", "SCHEDULING"]
    assert calls == [("start", "SUCCESS")]
    with pytest.raises(KeyboardInterrupt):
        generator.throw(KeyboardInterrupt())
    assert calls[0] == ("start", "SUCCESS")
    assert set(calls[1:]) == {("stop", "RUNNING")}
