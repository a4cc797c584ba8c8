# SPDX-License-Identifier: Apache-2.0
"""What every backend does, seen in databases and in memory, and where the two differ."""

import threading

import pytest

from taskflow import exceptions as exc
from taskflow.persistence import backends, models
from taskflow.types import failure as ft


def make_failure(*args):
    try:
        raise ValueError(*args)
    except ValueError:
        return ft.Failure()


def make_book(suffix=""):
    book, flow_detail = models.LogBook("b", f"B{suffix}"), models.FlowDetail("f", f"F{suffix}")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", f"T{suffix}"))
    flow_detail.add(models.RetryDetail("r", f"R{suffix}"))
    return book, flow_detail


SERVERS = {
    "postgresql psycopg2": ("postgresql", "psycopg2"),
    "postgresql psycopg": ("postgresql", "psycopg"),
    "mariadb": ("mariadb", "pymysql"),
}
# Each server has one database for all these tests, which is emptied after each of them: to make tables takes longer.
_urls = {}


@pytest.fixture(params=["sqlite file", "sqlite memory", "memory", "references", "dir", *SERVERS])
def backend(request, tmp_path):
    if request.param in SERVERS:
        name, driver = SERVERS[request.param]
        server = request.getfixturevalue(name)
        if request.param not in _urls:
            _urls[request.param] = server.fresh(driver)
        conf = {"connection": _urls[request.param]}
    else:
        conf = {
            "sqlite file": {"connection": f"sqlite:///{tmp_path}/book.db"},
            "sqlite memory": {"connection": "sqlite://"},
            "memory": {"connection": "memory"},
            "references": {"connection": "memory", "deep_copy": False},
            "dir": {"connection": "dir", "path": str(tmp_path / "records"), "fsync": False},
        }[request.param]
    with backends.backend(conf) as backend:
        yield backend
        if request.param in SERVERS:
            backend.get_connection().clear_all()


@pytest.fixture
def connection(backend):
    connection = backend.get_connection()
    yield connection
    connection.close()


@pytest.fixture
def make_whole_seconds(request):
    """MySQL and MariaDB keep whole seconds only; this makes a book that has nothing else."""

    def change(book):
        if "mariadb" in request.node.callspec.params.values():
            for name in ("created_at", "updated_at"):
                if getattr(book, name) is not None:
                    setattr(book, name, getattr(book, name).replace(microsecond=0))
        return book

    return change


@pytest.fixture
def in_database(backend):
    return hasattr(backend, "engine")


def test_connection_knows_its_backend(backend, connection):
    assert connection.backend is backend


def test_upgrade_and_validate_can_be_repeated(connection):
    for _ in range(2):
        connection.upgrade()
        connection.validate()
        connection.save_logbook(make_book()[0])
    assert len(list(connection.get_logbooks())) == 1


def test_closed_connection_still_works(connection):
    connection.save_logbook(make_book()[0])
    connection.close()
    assert connection.get_logbook("B").name == "b"
    connection.close()
    connection.close()


def test_saved_book_comes_back(connection, make_whole_seconds):
    book, flow_detail = make_book()
    book.meta = {"a": [1], "é": None}
    flow_detail.state, flow_detail.meta = "RUNNING", {"k": {"x": 1.5}}
    task, retry = flow_detail.find("T"), flow_detail.find("R")
    failure = make_failure("boom", 1)
    task.put("SUCCESS", {"result": [1, None]})
    task.version, task.meta, task.intention = "1.2", {"progress": 0.5}, "REVERT"
    task.revert_results, task.revert_failure = ["r"], failure
    retry.put("SUCCESS", 42)
    retry.last_failures["t"] = failure
    retry.put("SUCCESS", 43)
    retry.failure, retry.revert_results = failure, "rr"
    assert connection.save_logbook(make_whole_seconds(book)) is book
    read = connection.get_logbook("B")
    assert read.to_dict() == book.to_dict()
    assert [fd.to_dict() for fd in read] == [flow_detail.to_dict()]
    (flow,) = read
    assert {type(detail) for detail in flow} == {models.TaskDetail, models.RetryDetail}
    for detail in (task, retry):
        stored = flow.find(detail.uuid)
        assert (stored.name, stored.state, stored.intention, stored.version, stored.meta) == (
            detail.name,
            detail.state,
            detail.intention,
            detail.version,
            detail.meta,
        )
    stored = flow.find("T")
    assert (stored.results, stored.revert_results, stored.failure) == ({"result": [1, None]}, ["r"], None)
    assert stored.revert_failure.matches(failure)
    assert stored.revert_failure.exc_info is None
    stored = flow.find("R")
    assert [result for result, _ in stored.results] == [42, 43]
    assert stored.results[0][1]["t"].matches(failure)
    assert stored.results[1][1] == {}
    assert stored.revert_results == "rr"
    assert stored.failure.matches(failure)


@pytest.mark.parametrize("added", [True, False])
def test_reading_a_book_does_not_change_its_times(connection, added, make_whole_seconds):
    book = models.LogBook("b", "B")
    if added:
        book.add(models.FlowDetail("f", "F"))
    connection.save_logbook(make_whole_seconds(book))
    for lazy in (True, False):
        read = connection.get_logbook("B", lazy=lazy)
        assert (read.created_at, read.updated_at) == (book.created_at, book.updated_at)
        (read,) = connection.get_logbooks(lazy=lazy)
        assert (read.created_at, read.updated_at) == (book.created_at, book.updated_at)


def test_lazy_reads_leave_out_the_children(connection):
    connection.save_logbook(make_book()[0])
    assert len(connection.get_logbook("B", lazy=True)) == 0
    assert [len(book) for book in connection.get_logbooks(lazy=True)] == [0]
    assert len(connection.get_flow_details("F", lazy=True)) == 0
    assert [len(fd) for fd in connection.get_flows_for_book("B", lazy=True)] == [0]
    assert [len(fd) for fd in connection.get_flows_for_book("B")] == [2]
    assert len(connection.get_flow_details("F")) == 2
    assert {ad.uuid for ad in connection.get_atoms_for_flow("F")} == {"T", "R"}


def test_missing_records(connection):
    for read in (connection.get_logbook, connection.get_flow_details, connection.get_atom_details):
        for uuid in ("nothing", ""):
            with pytest.raises(exc.NotFound, match="uuid"):
                read(uuid)
        with pytest.raises(exc.NotFound):
            read("nothing", **({} if read == connection.get_atom_details else {"lazy": True}))
    with pytest.raises(exc.NotFound):
        connection.update_flow_details(models.FlowDetail("f", "F"))
    with pytest.raises(exc.NotFound):
        connection.update_atom_details(models.TaskDetail("t", "T"))
    with pytest.raises(exc.NotFound):
        connection.destroy_logbook("B")


def test_children_of_an_unknown_parent(connection, in_database):
    for children in (connection.get_flows_for_book("x"), connection.get_atoms_for_flow("x")):
        if in_database:
            assert list(children) == []
        else:
            with pytest.raises(exc.NotFound):
                list(children)


def test_children_that_are_saved_separately_are_all_kept(connection, in_database, make_whole_seconds):
    connection.save_logbook(make_book()[0])
    again = models.LogBook("b", "B")
    other = models.FlowDetail("g", "G")
    other.add(models.TaskDetail("u", "U"))
    again.add(other)
    again.add(models.FlowDetail("f", "F"))
    again.meta = {"new": 1}
    returned = connection.save_logbook(make_whole_seconds(again))
    read = connection.get_logbook("B")
    assert {fd.uuid: {ad.uuid for ad in fd} for fd in read} == {"F": {"T", "R"}, "G": {"U"}}
    assert (read.meta, read.updated_at, read.created_at) == ({"new": 1}, again.updated_at, again.created_at)
    if in_database:
        assert returned is not again
        assert {ad.uuid for ad in returned.find("F")} == {"T", "R"}
        assert returned.find("G") is other
        assert (returned.meta, returned.updated_at) == ({"new": 1}, again.updated_at)
    else:
        assert returned is again


@pytest.mark.parametrize("field", ["meta", "created_at", "updated_at"])
def test_each_part_of_a_book_is_saved_alone(connection, field):
    connection.save_logbook(make_book()[0])
    book = connection.get_logbook("B", lazy=True)
    setattr(book, field, {"a": 1} if field == "meta" else None)
    connection.save_logbook(book)
    assert connection.get_logbook("B").to_dict() == book.to_dict()


def test_updated_flow_detail(connection, in_database):
    connection.save_logbook(make_book()[0])
    update = models.FlowDetail("renamed", "F")
    update.state, update.meta = "SUCCESS", {"k": 1}
    task, new = models.TaskDetail("renamed", "T"), models.TaskDetail("new", "N")
    task.state = "RUNNING"
    update.add(task)
    update.add(new)
    returned = connection.update_flow_details(update)
    if in_database:
        assert returned is not update
        assert {ad.uuid for ad in returned} == {"T", "R", "N"}
        assert returned.find("T") is not task
        assert returned.find("T").state == "RUNNING"
        assert returned.name == "f"
    else:
        assert returned is update
    read = connection.get_flow_details("F")
    assert (read.name, read.state, read.meta) == ("f", "SUCCESS", {"k": 1})
    assert {ad.uuid: (ad.name, ad.state) for ad in read} == {
        "T": ("t", "RUNNING"),
        "R": ("r", None),
        "N": ("new", None),
    }


def test_updated_atom_detail_holds_the_results_that_were_given(connection):
    connection.save_logbook(make_book()[0])
    task = models.TaskDetail("renamed", "T")
    task.results, task.revert_results = {"a": (1, 2)}, [object]
    task.failure = failure = make_failure("x")
    returned = connection.update_atom_details(task)
    assert returned is not task
    assert type(returned) is models.TaskDetail
    assert returned.results is task.results
    assert returned.revert_results is task.revert_results
    assert returned.failure is failure
    assert returned.name == "t"
    retry = models.RetryDetail("r", "R")
    retry.put("SUCCESS", result := [1])
    returned = connection.update_atom_details(retry)
    assert type(returned) is models.RetryDetail
    assert returned.results[0][0] is result


def test_revert_results_of_a_retry_are_saved(connection):
    connection.save_logbook(make_book()[0])
    retry = models.RetryDetail("r", "R")
    retry.put("REVERTED", "undone")
    assert connection.update_atom_details(retry).revert_results == "undone"
    assert connection.get_atom_details("R").revert_results == "undone"


def test_tasks_and_retries_do_not_replace_each_other(connection):
    connection.save_logbook(make_book()[0])
    with pytest.raises((exc.NotImplementedError, exc.StorageFailure)):
        connection.update_atom_details(models.RetryDetail("t", "T"))
    assert type(connection.get_atom_details("T")) is models.TaskDetail


def test_values_are_cleared_again(connection):
    book, flow_detail = make_book()
    task = flow_detail.find("T")
    task.put("FAILURE", make_failure("x"))
    connection.save_logbook(book)
    task.reset("PENDING")
    connection.update_atom_details(task)
    read = connection.get_atom_details("T")
    assert (read.failure, read.state, read.results) == (None, "PENDING", None)


def test_destroyed_book_is_gone_with_everything_in_it(connection):
    connection.save_logbook(make_book()[0])
    connection.save_logbook(make_book("2")[0])
    connection.destroy_logbook("B")
    for read, uuid in (
        (connection.get_logbook, "B"),
        (connection.get_flow_details, "F"),
        (connection.get_atom_details, "T"),
        (connection.destroy_logbook, "B"),
    ):
        with pytest.raises(exc.NotFound):
            read(uuid)
    assert [book.uuid for book in connection.get_logbooks()] == ["B2"]
    assert len(connection.get_flow_details("F2")) == 2
    connection.save_logbook(make_book()[0])
    assert len(connection.get_flow_details("F")) == 2


def test_clearing_everything(backend, connection, in_database):
    connection.save_logbook(make_book()[0])
    connection.clear_all()
    if in_database or hasattr(backend, "file_cache"):
        connection.clear_all()
    else:
        with pytest.raises(exc.NotFound):
            connection.clear_all()
    connection = backend.get_connection()
    connection.upgrade()
    assert list(connection.get_logbooks()) == []
    for read, uuid in ((connection.get_flow_details, "F"), (connection.get_atom_details, "T")):
        with pytest.raises(exc.NotFound):
            read(uuid)
    connection.save_logbook(make_book()[0])
    assert len(connection.get_logbook("B")) == 1


def test_flow_in_two_books(connection, in_database):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    other = models.LogBook("c", "C")
    other.add(flow_detail)
    if in_database:
        with pytest.raises(exc.StorageFailure):
            connection.save_logbook(other)
        with pytest.raises(exc.NotFound):
            connection.get_logbook("C")
    else:
        connection.save_logbook(other)
        assert len(connection.get_logbook("C")) == 1


def test_ignoring_what_is_missing_is_for_paths_only(connection, in_database):
    if in_database:
        with pytest.raises(TypeError):
            connection.update_atom_details(models.TaskDetail("x", "X"), ignore_missing=True)
    else:
        connection.update_atom_details(models.TaskDetail("x", "X"), ignore_missing=True)
        assert connection.get_atom_details("X").name == "x"


def test_reads_do_not_share_objects_with_what_was_saved(connection):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    read = connection.get_flow_details("F")
    assert read is not flow_detail
    read.find("T").meta["x"] = 1
    read.meta["x"] = 1
    assert flow_detail.find("T").state is None
    again = connection.get_flow_details("F")
    assert again.find("T") is not read.find("T")


# -- units of work


def test_units_of_work(connection, in_database):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    task, retry = flow_detail.find("T"), flow_detail.find("R")
    failure = make_failure("boom")
    new = [models.TaskDetail(f"n{n}", f"N{n}") for n in range(3)]
    changes = [
        (task, {"state": "SUCCESS", "results": {"a": [1]}, "meta": {"progress": 1.0}, "version": "2.0"}),
        (retry, {"results": [(1, {"t": failure}), (2, {})], "failure": failure, "intention": "RETRY"}),
        (flow_detail, {"state": "RUNNING", "meta": {"k": 1}}),
        (task, {"state": "REVERTED", "revert_failure": failure, "revert_results": 5}),
    ]
    assert list(connection.write(flow_detail, changes, new)) == []
    assert (task.state, retry.results, flow_detail.state, len(flow_detail)) == (None, [], None, 2)
    read = connection.get_flow_details("F")
    assert (read.state, read.meta) == ("RUNNING", {"k": 1})
    assert {ad.uuid for ad in read} == {"T", "R", "N0", "N1", "N2"}
    stored = read.find("T")
    assert (stored.state, stored.results, stored.meta, stored.version) == (
        "REVERTED",
        {"a": [1]},
        {"progress": 1.0},
        "2.0",
    )
    assert (stored.revert_results, stored.intention) == (5, "EXECUTE")
    assert stored.revert_failure.matches(failure)
    stored = read.find("R")
    assert [result for result, _ in stored.results] == [1, 2]
    assert stored.results[0][1]["t"].matches(failure)
    assert (stored.failure.matches(failure), stored.intention) == (True, "RETRY")
    assert read.find("N1").intention == "EXECUTE"
    assert read.find("N1").meta == {}


def test_later_change_wins_whatever_the_columns(connection):
    book, flow_detail = make_book()
    flow_detail.add(models.TaskDetail("u", "U"))
    connection.save_logbook(book)
    one, other = flow_detail.find("T"), flow_detail.find("U")
    short, long = {"state": "SHORT"}, {"state": "LONG", "meta": {"a": 1}}
    connection.write(flow_detail, [(one, short), (other, long), (other, short), (one, long)])
    assert connection.get_atom_details("T").state == "LONG"
    assert connection.get_atom_details("U").state == "SHORT"
    assert connection.get_atom_details("U").meta == {"a": 1}


def test_values_can_be_cleared_in_a_unit_of_work(connection):
    book, flow_detail = make_book()
    task, retry = flow_detail.find("T"), flow_detail.find("R")
    task.put("FAILURE", make_failure("x"))
    retry.put("SUCCESS", 1)
    connection.save_logbook(book)
    connection.write(flow_detail, [(task, {"failure": None, "results": None}), (retry, {"results": []})])
    assert connection.get_atom_details("T").failure is None
    assert connection.get_atom_details("T").results is None
    assert connection.get_atom_details("R").results == []


def test_empty_unit_of_work(connection):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    assert list(connection.write(flow_detail, [])) == []
    assert list(connection.write(flow_detail, [(flow_detail.find("T"), {})])) == []


@pytest.mark.parametrize("warm", [True, False])
def test_missing_record_undoes_the_unit_of_work(connection, warm):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    task = flow_detail.find("T")
    if warm:
        connection.write(flow_detail, [(task, {"state": None})])
    unknown = models.TaskDetail("x", "X")
    with pytest.raises(exc.NotFound, match="'x'"):
        connection.write(flow_detail, [(task, {"state": "A"}), (unknown, {"state": "A"})])
    with pytest.raises(exc.NotFound, match="'x'"):
        connection.write(flow_detail, [(task, {"state": "A"}), (flow_detail, {"state": "A"}), (unknown, {"meta": {}})])
    assert connection.get_atom_details("T").state is None
    assert connection.get_flow_details("F").state is None
    stranger = models.FlowDetail("g", "G")
    for changes, added in (([(stranger, {"state": "A"})], []), ([], [models.TaskDetail("n", "N")])):
        with pytest.raises(exc.NotFound, match="'g'"):
            connection.write(stranger, changes, added)
    with pytest.raises(exc.NotFound):
        connection.get_atom_details("N")
    connection.write(flow_detail, [(task, {"state": "B"})])
    assert connection.get_atom_details("T").state == "B"


def test_atoms_that_others_added_are_reported_by_databases(backend, connection, in_database):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    other = models.FlowDetail("f", "F")
    other.add(models.TaskDetail("foreign", "X"))
    backend.get_connection().update_flow_details(other)
    expected = ["X"] if in_database else []
    new = models.TaskDetail("n", "N")
    assert [ad.uuid for ad in connection.write(flow_detail, [], [new])] == expected
    flow_detail.add(new)
    assert [ad.uuid for ad in connection.write(flow_detail, [(flow_detail, {"state": "A"})])] == expected
    assert list(connection.write(flow_detail, [(new, {"state": "A"})])) == []


def test_added_atom_that_is_stored_already_is_merged(connection):
    book, flow_detail = make_book()
    connection.save_logbook(book)
    again = models.TaskDetail("t", "T")
    again.state = "PENDING"
    connection.write(flow_detail, [(flow_detail, {"state": "A"})], [again, models.TaskDetail("n", "N")])
    assert connection.get_atom_details("T").state == "PENDING"
    assert connection.get_atom_details("N").name == "n"
    assert connection.get_flow_details("F").state == "A"
    assert len(connection.get_flow_details("F")) == 3


def test_threads_share_a_connection(connection):
    book, flow_detail = make_book()
    tasks = [models.TaskDetail(f"t{n}", f"T{n}") for n in range(6)]
    for task in tasks:
        flow_detail.add(task)
    connection.save_logbook(book)
    errors = []

    def work(task):
        try:
            for n in range(20):
                connection.write(flow_detail, [(task, {"state": f"S{n}"})])
                task.state = f"S{n}"
                connection.get_atom_details(task.uuid)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [connection.get_atom_details(task.uuid).state for task in tasks] == ["S19"] * 6


def test_threads_with_connections_of_their_own(backend):
    book, flow_detail = make_book()
    tasks = [models.TaskDetail(f"t{n}", f"T{n}") for n in range(4)]
    for task in tasks:
        flow_detail.add(task)
    backend.get_connection().save_logbook(book)
    errors = []

    def work(task):
        try:
            connection = backend.get_connection()
            for n in range(10):
                connection.write(flow_detail, [(task, {"state": f"S{n}"})])
                task.state = f"S{n}"
                connection.get_flow_details("F")
                connection.update_atom_details(task)
            connection.close()
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {ad.state for ad in backend.get_connection().get_atoms_for_flow("F")} == {"S9", None}
