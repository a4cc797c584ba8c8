# SPDX-License-Identifier: Apache-2.0
"""What does a new storage know, and from where?"""

from __future__ import annotations

import threading
import uuid

import pytest

from taskflow import exceptions, states, storage
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory


def test_constants():
    assert storage.RETRY_ATTEMPTS == 3
    assert storage.RETRY_WAIT_TIMEOUT == 5
    assert storage.STATES_WITH_RESULTS == ("FAILURE", "REVERTED", "REVERTING", "REVERT_FAILURE", "SUCCESS")
    assert storage.META_INJECTED == "injected"
    assert storage.META_PROGRESS == "progress"
    assert storage.META_PROGRESS_DETAILS == "progress_details"
    assert storage.Storage.injector_name == "_TaskFlow_INJECTOR"


def test_properties_tell_the_flow(kit):
    made = kit.storage()
    assert made.flow_name == "flow"
    assert made.flow_uuid == made._flowdetail.uuid
    assert made.flow_meta is made._flowdetail.meta
    made.update_flow_metadata({"colour": "blue"})
    assert made.flow_meta["colour"] == "blue"


@pytest.mark.parametrize("name", ["flow_name", "flow_uuid", "flow_meta", "backend", "lock"])
def test_properties_are_read_only(kit, name):
    made = kit.storage()
    with pytest.raises(AttributeError):
        setattr(made, name, None)


def test_without_a_backend_a_private_memory_backend_holds_the_flow():
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    made = storage.Storage(detail)
    assert isinstance(made.backend, impl_memory.MemoryBackend)
    assert made.backend.get_connection().get_flow_details(detail.uuid).name == "flow"
    assert made.backend is not storage.Storage(models.FlowDetail("g", str(uuid.uuid4()))).backend


def test_without_a_backend_results_need_not_be_copyable(kit):
    made = storage.Storage(models.FlowDetail("flow", str(uuid.uuid4())))
    made.ensure_atom(kit.make_task("t", provides="x"))
    result = threading.Lock()
    made.save("t", result)
    assert made.get("t") is result
    assert made.fetch("x") is result
    made.inject({"l": result})
    assert made.fetch("l") is result


def test_the_private_backend_can_be_read_as_a_file_system(kit):
    made = storage.Storage(models.FlowDetail("flow", str(uuid.uuid4())))
    made.ensure_atom(kit.make_task("t"))
    made.save("t", 5)
    memory = made.backend.memory
    assert f"/atom_details/{made.get_atom_uuid('t')}" in memory.ls_r("/", absolute=True)
    assert memory[f"/atom_details/{made.get_atom_uuid('t')}"]["atom"]["results"] == 5
    assert made.get_atom_uuid("t") in memory.pformat()


def test_the_given_detail_and_backend_are_used_as_they_are(kit):
    backend = impl_memory.MemoryBackend()
    detail = kit.stored_flow(backend)
    made = storage.Storage(detail, backend)
    assert made.backend is backend
    assert made._flowdetail is detail
    made.ensure_atom(kit.make_task("t"))
    made.set_flow_state(states.RUNNING)
    made.save("t", "done")
    assert made._flowdetail is detail
    assert detail.state == states.RUNNING
    assert [(atom.name, atom.results) for atom in detail] == [("t", "done")]


def test_a_book_sees_the_progress_of_its_flow(kit):
    backend = impl_memory.MemoryBackend()
    book = models.LogBook("book")
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    book.add(detail)
    backend.get_connection().save_logbook(book)
    made = storage.Storage(detail, backend)
    made.ensure_atom(kit.make_task("t"))
    made.save("t", 5)
    made.set_flow_state(states.SUCCESS)
    assert book.find(detail.uuid).state == states.SUCCESS
    text = book.pformat()
    assert "TaskDetail: 't'" in text
    assert "results = 5" in text


def test_a_flow_its_backend_does_not_know_can_be_read_but_not_saved(kit):
    backend = impl_memory.MemoryBackend()
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    made = storage.Storage(detail, backend)
    assert made.get_flow_state() == states.PENDING
    assert made.fetch_all() == {}
    with pytest.raises(exceptions.NotFound):
        backend.get_connection().get_flow_details(detail.uuid)
    with pytest.raises(exceptions.NotFound):
        made.ensure_atom(kit.make_task("t"))
    with pytest.raises(exceptions.NotFound):
        made.set_flow_state(states.RUNNING)
    assert made.get_flow_state() == states.PENDING


def test_existing_details_are_known_by_name(kit):
    first = kit.storage(kit.make_task("t", provides="x"), kit.make_retry("r"))
    first.save("t", 5)
    for second in (storage.Storage(first._flowdetail, first.backend), kit.reloaded(first)):
        assert second.get_atom_uuid("t") == first.get_atom_uuid("t")
        assert second.get_atom_uuid("r") == first.get_atom_uuid("r")
        assert second.get_atom_state("t") == states.SUCCESS
        assert second.get("t") == 5


def test_outputs_of_existing_details_are_unknown_until_the_atoms_are_ensured(kit):
    first = kit.storage(kit.make_task("t", provides="x"))
    first.save("t", 5)
    second = kit.reloaded(first)
    with pytest.raises(exceptions.NotFound, match="^Name 'x' is not mapped"):
        second.fetch("x")
    assert second.fetch_all() == {}
    second.ensure_atom(kit.make_task("t", provides="x"))
    assert second.fetch("x") == 5


def test_failures_of_existing_details_are_known(kit):
    first = kit.storage(kit.make_task("t"))
    failed = kit.make_failure()
    first.save("t", failed, states.FAILURE)
    for second in (storage.Storage(first._flowdetail, first.backend), kit.reloaded(first)):
        assert second.has_failures()
        assert list(second.get_failures()) == ["t"]
        assert second.get_failures()["t"].matches(failed)


def test_injected_values_of_an_existing_detail_are_known(kit):
    first = kit.storage()
    first.inject({"a": 1, "b": None})
    for second in (storage.Storage(first._flowdetail, first.backend), kit.reloaded(first)):
        assert second.fetch("a") == 1
        assert second.fetch_all() == {"a": 1, "b": None}


def test_an_injector_detail_of_another_kind_is_refused():
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    detail.add(models.RetryDetail(storage.Storage.injector_name, str(uuid.uuid4())))
    with pytest.raises(TypeError):
        storage.Storage(detail)


def test_an_injector_detail_without_values_is_empty():
    """A process may die after it made the detail and before it stored the values."""
    detail = models.FlowDetail("flow", str(uuid.uuid4()))
    detail.add(models.TaskDetail(storage.Storage.injector_name, str(uuid.uuid4())))
    made = storage.Storage(detail)
    assert made.fetch_all() == {}
    made.inject({"a": 1})
    assert made.fetch("a") == 1
    assert len(detail) == 1


def test_methods_can_be_replaced_on_one_storage(kit):
    made = kit.storage(kit.make_task("t"))
    called = []
    made.update_atom_metadata = lambda *args, **kwargs: called.append(args)
    made.update_atom_metadata("t", {"a": 1})
    assert called == [("t", {"a": 1})]
    made.set_task_progress("t", 0.5)
    assert made.get_task_progress("t") == 0.5


def test_losing_a_cached_failure_loses_the_exception_only(kit):
    made = kit.storage(kit.make_task("t"))
    failed = kit.make_failure()
    made.save("t", failed, states.FAILURE)
    assert made._failures["t"] == {"EXECUTE": failed}
    made._failures["t"] = {}
    assert made.get("t").matches(failed)
    assert made.get_atom_state("t") == states.FAILURE


def test_backend_errors_reach_whoever_makes_the_storage():
    class Unmergeable(models.FlowDetail):
        def to_dict(self):
            raise exceptions.StorageFailure("cannot be stored")

    with pytest.raises(exceptions.StorageFailure):
        storage.Storage(Unmergeable("flow", str(uuid.uuid4())))
