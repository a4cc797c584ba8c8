# SPDX-License-Identifier: Apache-2.0
"""What is particular to the memory backend."""

import threading

import fasteners
import pytest

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory
from taskflow.types import failure as ft


def make_failure(*args):
    try:
        raise ValueError(*args)
    except ValueError:
        return ft.Failure()


def make_book():
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    flow_detail.add(models.RetryDetail("r", "R"))
    return book, flow_detail


@pytest.fixture(params=[True, False], ids=["copies", "references"])
def backend(request):
    return impl_memory.MemoryBackend({"deep_copy": request.param})


@pytest.fixture
def stored(backend):
    book, flow_detail = make_book()
    backend.get_connection().save_logbook(book)
    return flow_detail


def test_memory_does_not_outlive_the_process():
    assert impl_memory.MemoryBackend.durable is False


def test_default_options():
    backend = impl_memory.MemoryBackend()
    assert backend.path == "/"
    assert isinstance(backend.memory, impl_memory.FakeFilesystem)
    connection = backend.get_connection()
    assert connection.backend is backend
    assert (connection.book_path, connection.flow_path, connection.atom_path) == (
        "/books",
        "/flow_details",
        "/atom_details",
    )
    assert backend.memory.ls("/") == ["books", "flow_details", "atom_details"]


def test_records_lie_below_the_path():
    backend = impl_memory.MemoryBackend({"path": "/x/y"})
    connection = backend.get_connection()
    connection.save_logbook(make_book()[0])
    assert connection.book_path == "/x/y/books"
    assert backend.memory.pformat().splitlines() == [
        "/",
        "|__x",
        "   |__y",
        "      |__books",
        "      |  |__B",
        "      |     |__F (link to /x/y/flow_details/F)",
        "      |__flow_details",
        "      |  |__F",
        "      |     |__T (link to /x/y/atom_details/T)",
        "      |     |__R (link to /x/y/atom_details/R)",
        "      |__atom_details",
        "         |__T",
        "         |__R",
    ]


def test_relative_path_fails_when_connecting():
    backend = impl_memory.MemoryBackend({"path": "x"})
    with pytest.raises(exc.StorageFailure) as caught:
        backend.get_connection()
    assert isinstance(caught.value.cause, ValueError)


def test_closing_keeps_the_records(backend, stored):
    backend.close()
    assert backend.get_connection().get_flow_details("F").name == "f"


def test_lock_is_a_reader_writer_lock_that_everybody_shares(backend):
    assert isinstance(backend.lock, fasteners.ReaderWriterLock)
    assert backend.lock is backend.lock


def test_holder_of_the_lock_keeps_others_out(backend, stored):
    connection = backend.get_connection()
    done = threading.Event()

    def write():
        connection.write(stored, [(stored, {"state": "RUNNING"})])
        done.set()

    with backend.lock.write_lock():
        thread = threading.Thread(target=write)
        thread.start()
        assert not done.wait(0.05)
        assert connection.get_flow_details("F").state is None
    thread.join()
    assert connection.get_flow_details("F").state == "RUNNING"


def test_envelopes_in_the_file_system(backend, stored):
    assert backend.memory["/atom_details/T"] == {"atom": stored.find("T").to_dict(), "type": "TASK_DETAIL"}
    assert backend.memory["/atom_details/R"]["type"] == "RETRY_DETAIL"
    assert backend.memory["/flow_details/F"] == stored.to_dict()
    assert backend.memory["/flow_details/F/T"]["atom"]["name"] == "t"
    assert backend.memory["/books/B/F"]["name"] == "f"
    assert set(backend.memory["/books/B"]) == {"name", "meta", "uuid", "updated_at", "created_at"}


def test_file_system_shows_units_of_work_at_once(backend, stored):
    memory = backend.memory
    connection = backend.get_connection()
    task, retry = stored.find("T"), stored.find("R")
    failure = make_failure("boom")
    new = models.TaskDetail("new", "N")
    result = {"a": [1]}
    changes = [
        (task, {"state": "SUCCESS", "results": result, "meta": {"progress": 1.0}}),
        (retry, {"results": [(1, {"t": failure})], "failure": failure}),
        (stored, {"state": "RUNNING", "meta": {"k": 1}}),
    ]
    assert list(connection.write(stored, changes, [new])) == []
    # The writer has not given the values to the details yet.
    assert task.state is None
    assert memory["/flow_details/F"] == {"name": "f", "meta": {"k": 1}, "state": "RUNNING", "uuid": "F"}
    atom = memory["/atom_details/T"]["atom"]
    assert (atom["state"], atom["results"], atom["meta"]) == ("SUCCESS", {"a": [1]}, {"progress": 1.0})
    assert memory["/atom_details/R"]["atom"]["results"] == [(1, {"t": failure.to_dict(include_args=True)})]
    assert memory["/atom_details/R"]["atom"]["failure"] == failure.to_dict(include_args=True)
    assert memory.ls("/flow_details/F") == ["T", "R", "N"]
    assert "|  |  |__N (link to /atom_details/N)" in memory.pformat().replace("|     |", "|  |  |")
    # Now it has, and goes on; what it does without writing is not its own to show.
    for detail, fields in changes:
        for field, value in fields.items():
            setattr(detail, field, value)
    connection.write(stored, [(new, {"state": "RUNNING"})])
    assert memory["/atom_details/N"]["atom"]["state"] == "RUNNING"
    assert memory["/atom_details/T"]["atom"]["state"] == "SUCCESS"
    assert memory.get("/flow_details/F/N")["atom"]["name"] == "new"


def test_copies_do_not_change_with_the_values(stored, backend):
    connection = backend.get_connection()
    result = [1]
    connection.write(stored, [(stored.find("T"), {"results": result})])
    copied = backend.memory["/atom_details/T"]["atom"]["results"] is not result
    assert copied is backend._deep_copy


def test_many_units_of_work_before_anybody_looks(backend, stored):
    connection = backend.get_connection()
    task = stored.find("T")
    for n in range(100):
        fields = {"state": f"S{n}", "meta": {"progress": n / 100}}
        connection.write(stored, [(task, fields)])
        task.state, task.meta = fields["state"], fields["meta"]
    read = connection.get_atom_details("T")
    assert (read.state, read.meta) == ("S99", {"progress": 0.99})


def test_two_objects_for_one_record_take_turns(backend, stored):
    connection = backend.get_connection()
    one, other = stored.find("T"), models.TaskDetail("t", "T")
    connection.write(stored, [(one, {"state": "A"})])
    one.state = "A"
    connection.write(stored, [(other, {"state": "B"})])
    other.state = "B"
    assert connection.get_atom_details("T").state == "B"
    connection.write(stored, [(one, {"state": "C"})])
    one.state = "C"
    assert connection.get_atom_details("T").state == "C"


def test_whole_details_are_saved_after_units_of_work(backend, stored):
    connection = backend.get_connection()
    task = stored.find("T")
    connection.write(stored, [(task, {"state": "A", "results": 1})])
    task.state, task.results = "A", 1
    clone = task.copy()
    clone.state = "B"
    connection.update_atom_details(clone)
    read = connection.get_atom_details("T")
    assert (read.state, read.results) == ("B", 1)


@pytest.mark.parametrize("unknown", [models.TaskDetail("x", "X"), models.FlowDetail("y", "Y")])
def test_unit_of_work_about_an_unknown_record_changes_nothing(backend, stored, unknown):
    connection = backend.get_connection()
    flow_detail = unknown if isinstance(unknown, models.FlowDetail) else stored
    with pytest.raises(exc.NotFound):
        connection.write(flow_detail, [(stored.find("T"), {"state": "A"}), (unknown, {"state": "A"})])
    assert connection.get_atom_details("T").state is None
    with pytest.raises(exc.NotFound):
        connection.write(models.FlowDetail("y", "Y"), [], [models.TaskDetail("n", "N")])
    with pytest.raises(exc.NotFound):
        connection.get_atom_details("N")


def test_destroyed_records_are_unknown(backend, stored):
    connection = backend.get_connection()
    task = stored.find("T")
    connection.write(stored, [(task, {"state": "A"})])
    connection.destroy_logbook("B")
    with pytest.raises(exc.NotFound):
        connection.write(stored, [(task, {"state": "B"})])
    assert backend.memory.ls_r("/") == ["atom_details", "flow_details", "books"]


def test_atom_details_of_a_foreign_class_are_refused(backend, stored):
    class Special(models.TaskDetail):
        pass

    connection = backend.get_connection()
    with pytest.raises((TypeError, exc.StorageFailure)):
        connection.write(stored, [], [Special("s", "S")])
    with pytest.raises(exc.NotFound):
        connection.get_atom_details("S")


def test_value_that_can_not_be_copied_is_refused_for_good():
    backend = impl_memory.MemoryBackend()
    book, flow_detail = make_book()
    connection = backend.get_connection()
    connection.save_logbook(book)
    task = flow_detail.find("T")
    lock = threading.Lock()
    with pytest.raises(exc.StorageFailure, match="'results'.*can not be stored") as caught:
        connection.write(flow_detail, [(flow_detail.find("R"), {"state": "A"}), (task, {"results": lock})])
    error = caught.value
    assert (error.permanent, error.atom_uuid) == (True, "T")
    assert isinstance(error.cause, TypeError)
    assert error.__cause__ is error.cause
    assert connection.get_atom_details("R").state is None
    clone = task.copy()
    clone.results = lock
    with pytest.raises(exc.StorageFailure) as caught:
        connection.update_atom_details(clone)
    assert (caught.value.permanent, caught.value.atom_uuid) == (True, "T")
    assert isinstance(caught.value.cause, TypeError)
    assert connection.get_atom_details("T").results is None
    task.results = lock
    with pytest.raises(exc.StorageFailure):
        connection.update_flow_details(flow_detail)
    new = models.TaskDetail("n", "N")
    new.results = lock
    with pytest.raises(exc.StorageFailure):
        connection.write(flow_detail, [], [new])
    with pytest.raises(exc.NotFound):
        connection.get_atom_details("N")


def test_references_may_be_anything():
    backend = impl_memory.MemoryBackend({"deep_copy": False})
    book, flow_detail = make_book()
    connection = backend.get_connection()
    connection.save_logbook(book)
    lock = threading.Lock()
    connection.write(flow_detail, [(flow_detail.find("T"), {"results": lock})])
    assert connection.get_atom_details("T").results is lock


def test_python_values_come_back_as_they_were(backend, stored):
    connection = backend.get_connection()
    value = ({1: (2, 3)}, {4})
    connection.write(stored, [(stored.find("T"), {"results": value, "version": (1, 2)})])
    read = connection.get_atom_details("T")
    assert read.results == value
    assert read.version == (1, 2)


def test_clearing_everything_removes_the_folders_until_the_next_connection(backend, stored):
    connection = backend.get_connection()
    connection.clear_all()
    for read in (
        lambda: connection.get_logbook("B"),
        lambda: list(connection.get_logbooks()),
        lambda: connection.get_flow_details("F"),
        connection.clear_all,
    ):
        with pytest.raises(exc.NotFound):
            read()
    assert list(backend.get_connection().get_logbooks()) == []


def test_many_threads_write_and_read(backend, stored):
    connection = backend.get_connection()
    errors = []

    def work(number):
        try:
            atom = models.TaskDetail(f"t{number}", f"T{number}")
            connection.write(stored, [], [atom])
            for n in range(30):
                connection.write(stored, [(atom, {"state": f"S{n}"})])
                atom.state = f"S{n}"
                if n % 10 == 0:
                    backend.memory.pformat()
                    connection.get_flow_details("F")
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    lock = backend.lock
    for thread in threads:
        thread.join()
    assert errors == []
    assert lock is backend.lock
    assert [connection.get_atom_details(f"T{n}").state for n in range(8)] == ["S29"] * 8
