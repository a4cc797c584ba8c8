# SPDX-License-Identifier: Apache-2.0
"""What is written when something changes, and what stays when writing fails?"""

from __future__ import annotations

import logging
import threading
import time

import pytest

from taskflow import exceptions, states, storage
from taskflow.persistence.backends import impl_memory

# --- saving results


def test_saving_is_a_success_unless_said_otherwise(kit):
    made = kit.storage(kit.make_task("t"))
    made.save("t", 5)
    assert made.get_atom_state("t") == states.SUCCESS
    assert made.get("t") == 5


def test_what_was_saved_can_be_read_by_a_later_storage(kit):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"), kit.make_task("v"))
    failed = kit.make_failure()
    made.save("t", {"a": 1})
    made.save("u", failed, states.FAILURE)
    made.save("v", 5)
    made.save("v", "undone", states.REVERTED)
    again = kit.reloaded(made)
    assert again.get("t") == {"a": 1}
    assert again.get("u").matches(failed)
    assert again.get_revert_result("v") == "undone"
    assert again.get_atoms_states("tuv") == {
        "t": (states.SUCCESS, states.EXECUTE),
        "u": (states.FAILURE, states.EXECUTE),
        "v": (states.REVERTED, states.EXECUTE),
    }


def test_saving_what_is_there_already_writes_nothing(watched, watched_storage, parts):
    made = watched_storage(parts.make_task("t"), parts.make_task("u"))
    result = [1]
    failed = parts.make_failure()
    made.save("t", result)
    made.save("u", failed, states.FAILURE)
    watched.updates.clear()
    made.save("t", result)
    made.save("u", failed, states.FAILURE)
    assert watched.updates == []
    made.save("t", [1])
    assert watched.updates == ["atom"]


def test_a_retry_saves_every_success(watched, watched_storage, parts):
    made = watched_storage(parts.make_retry("r"))
    made.save("r", None)
    made.save("r", None)
    assert watched.updates == ["atom", "atom"]
    assert made.get("r") == [(None, {}), (None, {})]


def test_saving_for_an_unknown_atom(kit):
    with pytest.raises(exceptions.NotFound, match="^Unknown atom"):
        kit.storage().save("nobody", 1)


@pytest.mark.parametrize(
    ("provides", "result", "named"),
    [
        ("x", None, []),
        (("x", "y"), (1, 2, 3), []),
        (("x", "y"), (1,), ["y"]),
        (("x", "y"), None, ["x", "y"]),
        ({"x", "y"}, {"x": 1}, ["y"]),
        ((), None, []),
    ],
)
def test_an_output_missing_from_the_result_is_warned_about(kit, caplog, provides, result, named):
    made = kit.storage(kit.make_task("t", provides=provides))
    with caplog.at_level(logging.WARNING, logger="taskflow.storage"):
        made.save("t", result)
    records = [record for record in caplog.records if record.name == "taskflow.storage"]
    assert len(records) == len(named)
    for record, name in zip(sorted(records, key=lambda one: one.getMessage()), named, strict=True):
        assert record.levelno == logging.WARNING
        assert name in record.getMessage()


@pytest.mark.parametrize(("state", "intention"), [(states.SUCCESS, states.REVERT), (states.REVERTED, states.EXECUTE)])
def test_outputs_are_only_checked_when_execution_succeeded(kit, caplog, state, intention):
    made = kit.storage(kit.make_task("t", provides=("x",)))
    made.set_atom_intention("t", intention)
    with caplog.at_level(logging.WARNING, logger="taskflow.storage"):
        made.save("t", None, state)
    assert [record for record in caplog.records if record.name == "taskflow.storage"] == []


# --- failing writes


def _writers(kit):
    """Every method that writes, with the arguments that make it write."""
    return {
        "save": lambda made: made.save("t", "new"),
        "save failure": lambda made: made.save("t", kit.make_failure(), states.FAILURE),
        "set_atom_state": lambda made: made.set_atom_state("t", states.RUNNING),
        "set_atom_intention": lambda made: made.set_atom_intention("t", states.REVERT),
        "reset": lambda made: made.reset("t"),
        "update_atom_metadata": lambda made: made.update_atom_metadata("t", {"a": "new", "b": "new"}),
        "set_task_progress": lambda made: made.set_task_progress("t", 0.7, {"note": 1}),
        "set_flow_state": lambda made: made.set_flow_state(states.SUCCESS),
        "change_flow_state": lambda made: made.change_flow_state(states.SUCCESS),
        "update_flow_metadata": lambda made: made.update_flow_metadata({"f": "new", "g": "new"}),
        "save_retry_failure": lambda made: made.save_retry_failure("r", "t", kit.make_failure()),
        "save retry": lambda made: made.save("r", "new"),
        "cleanup_retry_history": lambda made: made.cleanup_retry_history("r", states.REVERTED),
        "inject": lambda made: made.inject({"i": "new"}),
        "inject_atom_args": lambda made: made.inject_atom_args("t", {"i": "new"}, transient=False),
        "ensure_atoms": lambda made: made.ensure_atoms([kit.make_task("new")]),
    }


WRITERS = list(_writers(None))


def _prepared(make, kit):
    made = make(kit.make_task("t", provides="x"), kit.make_retry("r", provides="y"))
    made.set_flow_state(states.RUNNING)
    made.update_flow_metadata({"f": "old"})
    made.save("t", "old")
    made.update_atom_metadata("t", {"a": "old"})
    made.save("r", "old")
    made.backend.updates.clear()
    return made


def _whole(made):
    """Everything that a storage tells, as values that compare."""
    atoms = {
        one.name: (
            one.state,
            one.intention,
            list(one.results) if isinstance(one.results, list) else one.results,
            [dict(failures) for _, failures in one.results] if isinstance(one.results, list) else None,
            one.failure,
            one.revert_results,
            one.revert_failure,
            dict(one.meta),
            one.version,
        )
        for one in made._flowdetail
    }
    failures = (made.get_execute_failures(), made.get_revert_failures(), made.has_failures())
    return made.get_flow_state(), dict(made.flow_meta), atoms, made.fetch_all(), failures


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_that_fails_keeps_the_old_values(
    watched, watched_storage, parts, quick_retries, lost_connection, writer
):
    made = _prepared(watched_storage, parts)
    before = _whole(made)
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure):
        _writers(parts)[writer](made)
    assert _whole(made) == before
    watched.broken = None
    stored = storage.Storage(watched.inner.get_connection().get_flow_details(made.flow_uuid), watched)
    stored.ensure_atoms([parts.make_task("t", provides="x"), parts.make_retry("r", provides="y")])
    assert _whole(stored) == before


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_that_fails_is_tried_three_times(
    watched, watched_storage, parts, quick_retries, lost_connection, writer
):
    made = _prepared(watched_storage, parts)
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure):
        _writers(parts)[writer](made)
    assert len(watched.updates) == 3


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_that_succeeds_in_the_end_is_a_success(
    watched, watched_storage, parts, quick_retries, lost_connection, writer
):
    made = _prepared(watched_storage, parts)
    before = _whole(made)
    watched.errors = [lost_connection, exceptions.StorageFailure("again")]
    _writers(parts)[writer](made)
    assert _whole(made) != before
    assert not watched.errors
    stored = storage.Storage(watched.inner.get_connection().get_flow_details(made.flow_uuid), watched)
    stored.ensure_atoms([parts.make_task("t", provides="x"), parts.make_retry("r", provides="y")])
    assert {one.name: one.state for one in stored._flowdetail} == {one.name: one.state for one in made._flowdetail}
    assert stored.get_flow_state() == made.get_flow_state()
    assert stored.fetch_all().keys() == made.fetch_all().keys()


@pytest.mark.parametrize("error", [exceptions.NotFound("gone"), ValueError("odd"), RuntimeError("odd")])
@pytest.mark.parametrize("writer", WRITERS)
def test_other_errors_are_raised_at_once(watched, watched_storage, parts, writer, error):
    made = _prepared(watched_storage, parts)
    before = _whole(made)
    watched.broken = error
    with pytest.raises(type(error)) as caught:
        _writers(parts)[writer](made)
    assert caught.value is error
    assert len(watched.updates) == 1
    assert _whole(made) == before


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_the_number_of_attempts_can_be_set(
    watched, watched_storage, parts, quick_retries, lost_connection, monkeypatch, attempts
):
    monkeypatch.setattr(storage, "RETRY_ATTEMPTS", attempts)
    made = watched_storage(parts.make_task("t"))
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure) as caught:
        made.save("t", 1)
    assert caught.value is lost_connection
    assert len(watched.updates) == attempts


def test_attempts_are_at_most_the_set_time_apart(watched, watched_storage, parts, lost_connection, monkeypatch):
    monkeypatch.setattr(storage, "RETRY_WAIT_TIMEOUT", 0.1)
    made = watched_storage(parts.make_task("t"))
    watched.broken = lost_connection
    began = time.monotonic()
    with pytest.raises(exceptions.StorageFailure):
        made.save("t", 1)
    took = time.monotonic() - began
    assert 0.005 < took < 1
    assert len(watched.updates) == 3


def test_others_can_read_while_a_write_waits_for_its_next_attempt(
    watched, watched_storage, parts, lost_connection, monkeypatch
):
    monkeypatch.setattr(storage, "RETRY_WAIT_TIMEOUT", 0.6)
    monkeypatch.setattr(storage, "RETRY_ATTEMPTS", 2)
    made = watched_storage(parts.make_task("t"))
    first_attempt = threading.Event()
    errors = []
    note = watched.note

    def noticed(kind):
        first_attempt.set()
        note(kind)

    watched.note = noticed
    watched.broken = lost_connection

    def write():
        try:
            made.save("t", 1)
        except exceptions.StorageFailure as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert first_attempt.wait(10)
        began = time.monotonic()
        while writer.is_alive() and time.monotonic() - began < 0.3:
            assert made.get_atom_state("t") == states.PENDING
        assert time.monotonic() - began < 0.5
    finally:
        writer.join(30)
    assert errors == [lost_connection]


@pytest.mark.parametrize("value", [threading.Lock(), (i for i in range(3))], ids=["lock", "generator"])
def test_a_value_that_cannot_be_stored_is_refused_without_waiting(kit, value):
    backend = impl_memory.MemoryBackend()
    made = storage.Storage(kit.stored_flow(backend), backend)
    made.ensure_atom(kit.make_task("t"))
    made.save("t", "old")
    began = time.monotonic()
    with pytest.raises(exceptions.StorageFailure) as caught:
        made.save("t", value)
    assert time.monotonic() - began < 2
    assert caught.value.__cause__ is not None
    assert made.get("t") == "old"
    assert kit.reloaded(made).get("t") == "old"


def test_a_connection_is_asked_again_after_the_backend_came_back(
    watched, watched_storage, parts, quick_retries, lost_connection
):
    made = watched_storage(parts.make_task("t"))
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure):
        made.save("t", 1)
    watched.broken = None
    made.save("t", 2)
    assert made.get("t") == 2
    assert watched.inner.get_connection().get_atom_details(made.get_atom_uuid("t")).results == 2


# --- states and intentions


def test_states_and_intentions_are_stored(kit):
    made = kit.storage(kit.make_task("t"), kit.make_retry("r"))
    made.set_atom_state("t", states.RUNNING)
    made.set_atom_intention("r", states.RETRY)
    for one in (made, kit.reloaded(made)):
        assert one.get_atom_state("t") == states.RUNNING
        assert one.get_atom_intention("t") == states.EXECUTE
        assert one.get_atom_state("r") == states.PENDING
        assert one.get_atom_intention("r") == states.RETRY


def test_any_state_may_follow_any_other(kit):
    made = kit.storage(kit.make_task("t"))
    for state in (states.SUCCESS, states.PENDING, states.REVERTED, states.IGNORE, states.RUNNING):
        made.set_atom_state("t", state)
        assert made.get_atom_state("t") == state


def test_an_equal_state_or_intention_is_not_written(watched, watched_storage, parts):
    made = watched_storage(parts.make_task("t"))
    made.set_atom_state("t", states.PENDING)
    made.set_atom_intention("t", states.EXECUTE)
    assert watched.updates == []
    made.set_atom_state("t", states.RUNNING)
    made.set_atom_intention("t", states.REVERT)
    assert watched.updates == ["atom", "atom"]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get_atom_state", ()),
        ("get_atom_intention", ()),
        ("get_atom_uuid", ()),
        ("set_atom_state", (states.RUNNING,)),
        ("set_atom_intention", (states.REVERT,)),
        ("update_atom_metadata", ({"a": 1},)),
        ("update_atom_metadata", ({},)),
        ("set_task_progress", (0.5,)),
        ("get_task_progress", ()),
        ("get_task_progress_details", ()),
        ("reset", ()),
        ("save", (1,)),
        ("get_retry_history", ()),
        ("cleanup_retry_history", (states.REVERTED,)),
    ],
)
def test_an_unknown_atom_is_named(kit, method, arguments):
    with pytest.raises(exceptions.NotFound, match="^Unknown atom.*nobody"):
        getattr(kit.storage(kit.make_task("t")), method)("nobody", *arguments)


def test_states_of_several_atoms_at_once(kit):
    made = kit.storage(kit.make_task("a"), kit.make_task("b"), kit.make_task("c"))
    made.set_atom_state("b", states.RUNNING)
    made.set_atom_intention("b", states.REVERT)
    assert made.get_atoms_states([]) == {}
    assert made.get_atoms_states(iter(["a", "b"])) == {
        "a": (states.PENDING, states.EXECUTE),
        "b": (states.RUNNING, states.REVERT),
    }
    assert set(made.get_atoms_states({"a", "b", "c"})) == {"a", "b", "c"}
    with pytest.raises(exceptions.NotFound):
        made.get_atoms_states(["a", "nobody"])


# --- reset


def test_a_reset_atom_is_as_new_but_keeps_its_metadata(kit):
    made = kit.storage(kit.make_task("t", provides="x", version=(2, 1)))
    made.set_atom_intention("t", states.REVERT)
    made.save("t", 5)
    made.save("t", 6, states.REVERTED)
    made.set_task_progress("t", 0.5, {"note": 1})
    made.inject_atom_args("t", {"a": 1}, transient=False)
    assert made.reset("t") is None
    for one in (made, kit.reloaded(made, kit.make_task("t", provides="x"))):
        assert one.get_atoms_states(["t"]) == {"t": (states.PENDING, states.EXECUTE)}
        for read in (one.get, one.get_revert_result):
            with pytest.raises(exceptions.NotFound):
                read("t")
        with pytest.raises(exceptions.NotFound):
            one.fetch("x")
        assert one.get_task_progress("t") == 0.5
        assert one.get_task_progress_details("t") == {"at_progress": 0.5, "details": {"note": 1}}
        assert one.fetch_mapped_args({"p": "a"}, atom_name="t") == {"p": 1}
        assert kit.detail(one, "t").version == "2.1"


def test_a_reset_forgets_the_failure(kit):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"))
    made.save("t", kit.make_failure(), states.FAILURE)
    made.save("u", kit.make_failure(), states.FAILURE)
    made.reset("t")
    assert list(made.get_failures()) == ["u"]
    assert list(kit.reloaded(made).get_failures()) == ["u"]


def test_a_reset_retry_has_no_history(kit):
    made = kit.storage(kit.make_retry("r"))
    made.save("r", 1)
    made.save_retry_failure("r", "t", kit.make_failure())
    made.reset("r")
    assert len(made.get_retry_history("r")) == 0
    assert made.get_atom_state("r") == states.PENDING


def test_a_reset_to_another_state(kit):
    made = kit.storage(kit.make_task("t"))
    made.save("t", 5)
    made.reset("t", states.IGNORE)
    assert made.get_atom_state("t") == states.IGNORE
    assert kit.detail(made, "t").results is None


def test_an_atom_already_in_the_state_is_not_reset(watched, watched_storage, parts):
    made = watched_storage(parts.make_task("t"))
    made.save("t", 5)
    made.set_atom_intention("t", states.REVERT)
    watched.updates.clear()
    made.reset("t", states.SUCCESS)
    assert made.get("t") == 5
    assert made.get_atom_intention("t") == states.REVERT
    assert watched.updates == []


def test_injected_values_cannot_be_reset(kit):
    made = kit.storage()
    assert made.reset(storage.Storage.injector_name) is None
    made.inject({"a": 1})
    assert made.reset(storage.Storage.injector_name) is None
    assert made.fetch("a") == 1


# --- metadata and progress


@pytest.mark.parametrize("shape", [dict, list, iter])
def test_metadata_of_an_atom_is_merged(kit, shape):
    made = kit.storage(kit.make_task("t"))
    made.update_atom_metadata("t", {"a": 1, "b": 2})
    made.update_atom_metadata("t", shape([("b", 3), ("c", [4])]))
    for one in (made, kit.reloaded(made)):
        assert kit.detail(one, "t").meta == {"a": 1, "b": 3, "c": [4]}


@pytest.mark.parametrize("nothing", [{}, [], None, ()])
def test_empty_metadata_is_not_written(watched, watched_storage, parts, nothing):
    made = watched_storage(parts.make_task("t"))
    made.update_atom_metadata("t", nothing)
    made.update_flow_metadata(nothing)
    assert watched.updates == []


@pytest.mark.parametrize("shape", [dict, list, iter])
def test_metadata_of_the_flow_is_merged(kit, shape):
    made = kit.storage(kit.make_task("t"))
    made.update_flow_metadata({"a": 1, "b": 2})
    made.update_flow_metadata(shape([("b", 3), ("c", [4])]))
    for one in (made, kit.reloaded(made)):
        assert one.flow_meta == {"a": 1, "b": 3, "c": [4]}


def test_progress_before_any_was_set(kit):
    made = kit.storage(kit.make_task("t"))
    assert made.get_task_progress("t") == 0.0
    assert made.get_task_progress_details("t") is None


def test_progress_and_its_details(kit):
    made = kit.storage(kit.make_task("t"))
    made.set_task_progress("t", 0.25, {"file": "a"})
    for one in (made, kit.reloaded(made)):
        assert one.get_task_progress("t") == 0.25
        assert one.get_task_progress_details("t") == {"at_progress": 0.25, "details": {"file": "a"}}
        assert kit.detail(one, "t").meta == {
            "progress": 0.25,
            "progress_details": {"at_progress": 0.25, "details": {"file": "a"}},
        }


def test_progress_without_details_keeps_the_earlier_ones(kit):
    made = kit.storage(kit.make_task("t"))
    made.set_task_progress("t", 0.25, {"file": "a"})
    made.set_task_progress("t", 0.5)
    assert made.get_task_progress("t") == 0.5
    assert made.get_task_progress_details("t") == {"at_progress": 0.25, "details": {"file": "a"}}


@pytest.mark.parametrize("empty", [{}, [], ""])
def test_progress_with_empty_details_forgets_the_earlier_ones(kit, empty):
    made = kit.storage(kit.make_task("t"))
    made.set_task_progress("t", 0.25, {"file": "a"})
    made.set_task_progress("t", 0.5, empty)
    assert made.get_task_progress("t") == 0.5
    assert made.get_task_progress_details("t") is None
    assert kit.detail(made, "t").meta["progress_details"] is None


def test_progress_takes_one_save(watched, watched_storage, parts):
    made = watched_storage(parts.make_task("t"))
    made.set_task_progress("t", 0.25, {"file": "a"})
    assert watched.updates == ["atom"]


def test_only_tasks_have_progress(kit):
    made = kit.storage(kit.make_retry("r"))
    with pytest.raises(TypeError):
        made.set_task_progress("r", 0.5)
    with pytest.raises(TypeError):
        made.get_task_progress("r")
    with pytest.raises(TypeError):
        made.get_task_progress_details("r")


# --- the flow


def test_a_flow_without_a_state_is_pending(kit):
    made = kit.storage()
    assert made._flowdetail.state is None
    assert made.get_flow_state() == states.PENDING


def test_any_flow_state_can_be_set(kit):
    made = kit.storage(kit.make_task("t"))
    for state in (states.SUCCESS, states.RESUMING, states.REVERTED, states.RUNNING):
        made.set_flow_state(state)
        assert made.get_flow_state() == state
        assert kit.reloaded(made).get_flow_state() == state


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        (None, states.RUNNING, (True, states.PENDING)),
        (states.RUNNING, states.SUCCESS, (True, states.RUNNING)),
        (states.RUNNING, states.RUNNING, (False, states.RUNNING)),
        (states.SUCCESS, states.SUSPENDING, (False, states.SUCCESS)),
        (None, states.RESUMING, (False, states.PENDING)),
        (states.REVERTED, states.PENDING, (True, states.REVERTED)),
    ],
)
def test_changing_the_flow_state(kit, old, new, answer):
    made = kit.storage()
    if old is not None:
        made.set_flow_state(old)
    assert made.change_flow_state(new) == answer
    assert made.get_flow_state() == (new if answer[0] else answer[1])
    assert kit.reloaded(made).get_flow_state() == made.get_flow_state()


@pytest.mark.parametrize(
    ("old", "new"), [(states.RUNNING, states.PENDING), (states.REVERTED, states.RUNNING), (states.FAILURE, "SUCCESS")]
)
def test_a_forbidden_change_of_the_flow_state(kit, old, new):
    made = kit.storage()
    made.set_flow_state(old)
    with pytest.raises(exceptions.InvalidState):
        made.change_flow_state(new)
    assert made.get_flow_state() == old


def test_an_ignored_change_of_the_flow_state_is_not_written(watched, watched_storage):
    made = watched_storage()
    made.change_flow_state(states.RESUMING)
    assert watched.updates == []
    made.change_flow_state(states.RUNNING)
    assert watched.updates == ["flow"]
