# SPDX-License-Identifier: Apache-2.0
"""Which failures does a storage report, and do they keep their exceptions?"""

from __future__ import annotations

import pytest

from taskflow import states, storage


def test_a_new_flow_has_no_failures(kit):
    made = kit.storage(kit.make_task("t"))
    assert not made.has_failures()
    assert made.get_failures() == {}
    assert made.get_execute_failures() == {}
    assert made.get_revert_failures() == {}


def test_a_failed_execution(kit):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"))
    failed = kit.make_failure()
    made.save("t", failed, states.FAILURE)
    assert made.has_failures()
    assert made.get_execute_failures() == {"t": failed}
    assert made.get_failures() == {"t": failed}
    assert made.get_revert_failures() == {}
    assert made.get("t") is failed


def test_a_failed_revert(kit):
    made = kit.storage(kit.make_task("t"))
    broken, stuck = kit.make_failure("broken"), kit.make_failure("stuck")
    made.save("t", broken, states.FAILURE)
    made.set_atom_intention("t", states.REVERT)
    made.save("t", stuck, states.REVERT_FAILURE)
    assert made.get_execute_failures() == {"t": broken}
    assert made.get_revert_failures() == {"t": stuck}
    assert made.get("t") is broken
    assert made.get_revert_result("t") is stuck


@pytest.mark.parametrize(
    ("intention", "state", "executing", "reverting"),
    [
        (states.EXECUTE, states.FAILURE, True, False),
        (states.REVERT, states.FAILURE, False, True),
        (states.REVERT, states.REVERT_FAILURE, False, True),
        (states.EXECUTE, states.REVERT_FAILURE, True, False),
        (states.RETRY, states.FAILURE, False, False),
        (states.IGNORE, states.FAILURE, False, False),
    ],
)
def test_failures_are_reported_under_the_intention_they_were_saved_with(kit, intention, state, executing, reverting):
    made = kit.storage(kit.make_task("t"))
    failed = kit.make_failure()
    made.set_atom_intention("t", intention)
    made.save("t", failed, state)
    assert list(made.get_execute_failures()) == (["t"] if executing else [])
    assert list(made.get_revert_failures()) == (["t"] if reverting else [])
    assert made.has_failures() == (executing or reverting)
    stored = kit.detail(made, "t")
    assert (stored.failure if state == states.FAILURE else stored.revert_failure).matches(failed)


def test_the_exception_is_kept_through_later_saves(kit):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"))
    failed = kit.make_failure()
    made.save("t", failed, states.FAILURE)
    for i in range(3):
        made.set_task_progress("t", i / 3)
        made.set_atom_state("t", states.REVERTING)
        made.set_atom_state("t", states.FAILURE)
        made.set_flow_state(states.RUNNING if i % 2 else states.FAILURE)
        made.ensure_atom(kit.make_task(f"more{i}"))
    assert made.get("t").exception is failed.exception
    assert made.get_failures()["t"] is failed
    assert kit.detail(made, "t").failure.exception is failed.exception


def test_a_second_storage_on_the_live_detail_has_the_exception(kit):
    first = kit.storage(kit.make_task("t"), kit.make_task("u"))
    failed = kit.make_failure()
    first.save("t", failed, states.FAILURE)
    first.set_task_progress("t", 0.5)
    first.set_flow_state(states.FAILURE)
    second = storage.Storage(first._flowdetail, first.backend)
    assert second.get_failures()["t"].exception is failed.exception
    second.update_flow_metadata({"a": 1})
    with pytest.raises(RuntimeError) as caught:
        second.get("t").reraise()
    assert caught.value is failed.exception


def test_a_storage_on_reloaded_details_reports_the_same_failures(kit):
    first = kit.storage(kit.make_task("t"), kit.make_task("u"), kit.make_task("v"))
    broken, stuck = kit.make_failure("broken"), kit.make_failure("stuck")
    first.save("t", broken, states.FAILURE)
    first.set_atom_intention("u", states.REVERT)
    first.save("u", stuck, states.REVERT_FAILURE)
    second = kit.reloaded(first)
    assert second.has_failures()
    assert set(second.get_execute_failures()) == {"t"}
    assert second.get_execute_failures()["t"].matches(broken)
    assert set(second.get_revert_failures()) == {"u"}
    assert second.get_revert_failures()["u"].matches(stuck)


def test_the_failure_of_a_retry_is_reported_too(kit):
    made = kit.storage(kit.make_retry("r"))
    failed = kit.make_failure()
    made.save("r", failed, states.FAILURE)
    assert made.get_failures() == {"r": failed}
    assert set(kit.reloaded(made).get_failures()) == {"r"}


def test_the_failure_of_an_atom_that_left_the_flow_is_still_reported(kit):
    first = kit.storage(kit.make_task("gone"), kit.make_task("kept"))
    first.save("gone", kit.make_failure(), states.FAILURE)
    second = kit.reloaded(first, kit.make_task("kept"))
    assert set(second.get_failures()) == {"gone"}
    assert second.has_failures()


def test_a_failure_that_no_longer_matches_the_stored_one_is_not_given(kit):
    made = kit.storage(kit.make_task("t"))
    made.save("t", kit.make_failure("first"), states.FAILURE)
    second = kit.make_failure("second")
    made.set_atom_intention("t", states.IGNORE)
    made.save("t", second, states.FAILURE)
    assert made.get("t").exception_str == "second"


def test_a_success_forgets_the_failed_execution(kit):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"))
    made.save("t", kit.make_failure(), states.FAILURE)
    made.save("u", kit.make_failure(), states.FAILURE)
    made.set_atom_state("t", states.PENDING)
    assert set(made.get_failures()) == {"t", "u"}
    made.save("t", 5)
    assert set(made.get_failures()) == {"u"}
    made.save("u", 5)
    assert not made.has_failures()


def test_changing_the_answer_does_not_change_what_is_known(kit):
    made = kit.storage(kit.make_task("t"))
    made.save("t", kit.make_failure(), states.FAILURE)
    made.get_failures().clear()
    assert set(made.get_failures()) == {"t"}
