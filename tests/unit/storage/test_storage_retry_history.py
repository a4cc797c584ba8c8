# SPDX-License-Identifier: Apache-2.0
"""What does a storage remember of the attempts of a retry?"""

from __future__ import annotations

import pytest

from taskflow import exceptions, retry, states


def test_the_history_of_a_retry_that_never_ran_is_empty(kit):
    made = kit.storage(kit.make_retry("r"))
    history = made.get_retry_history("r")
    assert isinstance(history, retry.History)
    assert len(history) == 0
    assert list(history) == []
    assert history.failure is None


def test_attempts_are_added_in_order(kit):
    made = kit.storage(kit.make_retry("r", provides="x"))
    made.save("r", "first")
    made.save("r", "second")
    for one in (made, kit.reloaded(made, kit.make_retry("r", provides="x"))):
        history = one.get_retry_history("r")
        assert list(history.provided_iter()) == ["first", "second"]
        assert list(history) == [("first", {}), ("second", {})]
        assert history[-1] == ("second", {})
        assert one.fetch("x") == "second"


def test_failures_belong_to_the_newest_attempt(kit):
    made = kit.storage(kit.make_retry("r"))
    early, late = kit.make_failure("early"), kit.make_failure("late", ValueError)
    made.save("r", 1)
    made.save_retry_failure("r", "a", early)
    made.save("r", 2)
    made.save_retry_failure("r", "b", late)
    history = made.get_retry_history("r")
    assert [name for name, _ in history.outcomes_iter()] == ["a", "b"]
    assert [name for name, _ in history.outcomes_iter(index=0)] == ["a"]
    assert history.caused_by(RuntimeError, index=0)
    assert not history.caused_by(RuntimeError, index=1)
    assert history.caused_by(ValueError)
    assert not history.caused_by(KeyError)


def test_results_and_failures_of_attempts_survive_a_reload(kit):
    made = kit.storage(kit.make_retry("r", provides="x"))
    failed = kit.make_failure()
    made.save("r", 42)
    made.save_retry_failure("r", "t", failed)
    made.save("r", 43)
    made.save_retry_failure("r", "u", failed)
    again = kit.reloaded(made, kit.make_retry("r", provides="x"))
    pairs = list(again.get_retry_history("r"))
    assert [value for value, _ in pairs] == [42, 43]
    assert [list(failures) for _, failures in pairs] == [["t"], ["u"]]
    assert pairs[0][1]["t"].matches(failed)
    assert again.fetch("x") == 43


def test_the_first_failure_of_an_atom_in_an_attempt_stays(watched, watched_storage, parts):
    made = watched_storage(parts.make_retry("r"))
    first = parts.make_failure("first")
    made.save("r", 1)
    made.save_retry_failure("r", "t", first)
    watched.updates.clear()
    made.save_retry_failure("r", "t", parts.make_failure("second"))
    assert watched.updates == []
    assert [str(one) for _, one in made.get_retry_history("r").outcomes_iter()] == [str(first)]
    made.save_retry_failure("r", "u", parts.make_failure("other"))
    assert watched.updates == ["atom"]


def test_a_failure_before_any_attempt_is_refused_at_once(watched, watched_storage, parts):
    made = watched_storage(parts.make_retry("r"))
    with pytest.raises(exceptions.StorageFailure) as caught:
        made.save_retry_failure("r", "t", parts.make_failure())
    assert isinstance(caught.value.__cause__, exceptions.NotFound)
    assert watched.updates == []
    assert len(made.get_retry_history("r")) == 0


def test_a_retry_that_failed_itself(kit):
    made = kit.storage(kit.make_retry("r"))
    failed = kit.make_failure()
    made.save("r", failed, states.FAILURE)
    history = made.get_retry_history("r")
    assert len(history) == 0
    assert history.failure is failed
    assert history.caused_by(RuntimeError, include_retry=True)
    assert not history.caused_by(RuntimeError)
    assert kit.reloaded(made).get_retry_history("r").failure.matches(failed)


def test_emptying_the_history(kit):
    made = kit.storage(kit.make_retry("r", provides="x"))
    made.save("r", 1)
    made.cleanup_retry_history("r", states.REVERTED)
    for one in (made, kit.reloaded(made, kit.make_retry("r", provides="x"))):
        assert one.get_atom_state("r") == states.REVERTED
        assert len(one.get_retry_history("r")) == 0
        assert one.fetch_all() == {}


def test_the_revert_result_of_a_retry_is_stored(kit):
    made = kit.storage(kit.make_retry("r"))
    made.save("r", 1)
    made.save("r", "undone", states.REVERTED)
    assert made.get_revert_result("r") == "undone"
    made.set_flow_state(states.RUNNING)
    assert made.get_revert_result("r") == "undone"
    assert kit.reloaded(made).get_revert_result("r") == "undone"


def test_histories_of_all_retries(kit):
    made = kit.storage(kit.make_retry("a"), kit.make_task("t"), kit.make_retry("b"))
    made.save("b", 1)
    made.save("t", 5)
    histories = made.get_retry_histories()
    assert sorted(name for name, _ in histories) == ["a", "b"]
    assert {name: list(history) for name, history in histories} == {"a": [], "b": [(1, {})]}
    assert kit.storage(kit.make_task("t")).get_retry_histories() == []


@pytest.mark.parametrize("call", ["get_retry_history", "save_retry_failure"])
def test_a_task_has_no_history(kit, call):
    made = kit.storage(kit.make_task("t"))
    arguments = () if call == "get_retry_history" else ("u", kit.make_failure())
    with pytest.raises(TypeError):
        getattr(made, call)("t", *arguments)


@pytest.mark.parametrize("call", ["get_retry_history", "save_retry_failure"])
def test_an_unknown_retry(kit, call):
    arguments = () if call == "get_retry_history" else ("u", kit.make_failure())
    with pytest.raises(exceptions.NotFound):
        getattr(kit.storage(), call)("nobody", *arguments)
