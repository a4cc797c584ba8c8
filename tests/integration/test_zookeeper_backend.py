# SPDX-License-Identifier: Apache-2.0
"""What do records look like as nodes, and what does the ZooKeeper backend promise beyond what all backends do?"""

from __future__ import annotations

import itertools
import json
import threading

import kazoo.client
import pytest
from kazoo import exceptions as k_exc

from taskflow import engines, states, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence import backends, models
from taskflow.persistence.backends import impl_zookeeper
from taskflow.types import failure as ft
from taskflow.utils import kazoo_utils

LIMIT = 0xFFFFF


@pytest.fixture
def root(zookeeper):
    return zookeeper.fresh()


@pytest.fixture
def bare(zookeeper):
    with zookeeper.client() as client:
        yield client


@pytest.fixture
def conf(zookeeper, root):
    return {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root}


@pytest.fixture
def backend(conf):
    with backends.backend(conf) as backend:
        yield backend


@pytest.fixture
def connection(backend):
    return backend.get_connection()


@pytest.fixture
def other(conf):
    """A connection of another backend on the same records."""
    with backends.backend(conf) as backend:
        yield backend.get_connection()


@pytest.fixture
def book(connection):
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    flow_detail.add(models.RetryDetail("r", "R"))
    connection.save_logbook(book)
    return book


def nodes(client, path):
    """Everything below a path: relative path -> data."""
    found = {}
    for name in client.get_children(path):
        found[name] = client.get(f"{path}/{name}")[0]
        found |= {f"{name}/{below}": data for below, data in nodes(client, f"{path}/{name}").items()}
    return found


class Counted:
    """Counts the transactions of a client, and what they consist of."""

    def __init__(self, monkeypatch):
        self.sizes = []
        commit = kazoo.client.TransactionRequest.commit_async

        def counting(request):
            self.sizes.append(len(request.operations))
            return commit(request)

        monkeypatch.setattr(kazoo.client.TransactionRequest, "commit_async", counting)


@pytest.fixture
def transactions(monkeypatch):
    return Counted(monkeypatch)


class TestLayout:
    def test_of_records_and_links(self, bare, root, book):
        found = nodes(bare, root)
        assert set(found) == {
            *("books", "books/B", "books/B/F", "flow_details", "flow_details/F", "flow_details/F/T"),
            *("flow_details/F/R", "atom_details", "atom_details/T", "atom_details/R"),
        }
        for empty in ("books", "flow_details", "atom_details", "books/B/F", "flow_details/F/T", "flow_details/F/R"):
            assert found[empty] == b""
        assert found["flow_details/F"] == b'{"name": "f", "meta": {}, "state": null, "uuid": "F"}'
        assert found["atom_details/T"] == (
            b'{"atom": {"failure": null, "revert_failure": null, "meta": {}, "name": "t", "results": null, '
            b'"revert_results": null, "state": null, "version": null, "intention": "EXECUTE", "uuid": "T"}, '
            b'"type": "TASK_DETAIL"}'
        )
        stored = json.loads(found["books/B"])
        assert list(stored) == ["name", "meta", "uuid", "updated_at", "created_at"]
        assert stored["created_at"]["year"] == book.created_at.year

    def test_nodes_stay_and_have_the_default_permissions(self, bare, root, book):
        acl, stat = bare.get_acls(f"{root}/atom_details/T")
        assert stat.ephemeralOwner == 0
        assert [(entry.perms, entry.id.scheme, entry.id.id) for entry in acl] == [(31, "world", "anyone")]

    def test_upgrade_makes_parents_and_can_be_repeated(self, zookeeper, bare, root):
        conf = {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": f"{root}/deep/below"}
        with backends.backend(conf) as backend:
            backend.get_connection().upgrade()
        assert sorted(bare.get_children(f"{root}/deep/below")) == ["atom_details", "books", "flow_details"]

    @pytest.mark.parametrize("given", [None, ""])
    def test_default_path(self, given):
        assert impl_zookeeper.ZkBackend({"path": given}).path == "/taskflow"
        assert impl_zookeeper.ZkBackend(None).path == "/taskflow"

    def test_relative_path_is_refused(self):
        with pytest.raises(ValueError, match="slash"):
            impl_zookeeper.ZkBackend({"path": "records"})

    @pytest.mark.parametrize("value", [float("nan"), {1: 2, None: 3, False: 4}, ("a", {"b"}), "\u00e9\U0001f600", b"x"])
    def test_data_is_ascii_text_of_json(self, bare, root, connection, book, value):
        detail = book.find("F").find("T").copy()
        detail.put(states.SUCCESS, value)
        connection.update_atom_details(detail)
        data = bare.get(f"{root}/atom_details/T")[0]
        assert data.isascii()
        assert json.loads(data)["type"] == "TASK_DETAIL"
        connection.write(book.find("F"), [(book.find("F").find("T"), {"results": value})])
        assert bare.get(f"{root}/atom_details/T")[0] == data

    def test_foreign_nodes_in_other_places_do_no_harm(self, bare, root, connection, book):
        bare.create(f"{root}/else", b"what")
        (read,) = connection.get_logbooks()
        assert read.uuid == "B"


class TestTransactions:
    def test_each_call_is_one(self, connection, book, transactions):
        flow_detail = book.find("F")
        flow_detail.state = states.RUNNING
        for detail in flow_detail:
            detail.state = states.RUNNING
        connection.update_flow_details(flow_detail)
        assert transactions.sizes == [3]
        connection.update_atom_details(models.TaskDetail("t", "T"))
        assert transactions.sizes == [3, 1]
        more = models.FlowDetail("g", "G")
        more.add(models.TaskDetail("u", "U"))
        book.add(more)
        connection.save_logbook(book)
        # The changed book and atom detail; two records and two links.
        assert transactions.sizes[2:] == [6]
        connection.destroy_logbook("B")
        assert transactions.sizes[3:] == [1 + 2 * 2 + 3 * 2]
        connection.clear_all()
        assert transactions.sizes[4:] == [3]

    def test_what_is_there_already_is_not_written(self, connection, book, transactions):
        connection.save_logbook(book)
        connection.update_flow_details(book.find("F"))
        connection.update_atom_details(book.find("F").find("T"))
        assert transactions.sizes == []

    def test_unit_of_work_is_one_and_reads_nothing_that_was_written_here(
        self, connection, book, transactions, monkeypatch
    ):
        flow_detail, detail = book.find("F"), book.find("F").find("T")
        asked = []
        get = kazoo.client.KazooClient.get_async
        monkeypatch.setattr(
            kazoo.client.KazooClient, "get_async", lambda *args, **kw: asked.append(args[1]) or get(*args, **kw)
        )
        added = models.TaskDetail("u", "U")
        changes = [(detail, {"state": "RUNNING"}), (flow_detail, {"state": "RUNNING"}), (detail, {"results": [1]})]
        assert connection.write(flow_detail, changes, [added]) == ()
        assert transactions.sizes == [4]
        assert detail.state is None
        read = connection.get_flow_details("F")
        assert (read.state, read.find("T").state, read.find("T").results) == ("RUNNING", "RUNNING", [1])
        assert read.find("U").name == "u"

    def test_a_run_takes_one_transaction_a_task(self, backend, transactions):
        flow = linear_flow.Flow("f").add(*(task.FunctorTask(lambda: 1, name=f"t{i}") for i in range(10)))
        engine = engines.load(flow, backend=backend)
        engine.compile()
        engine.prepare()
        del transactions.sizes[:]
        engine.run()
        assert len(transactions.sizes) <= 10 + 3

    @pytest.mark.parametrize("missing", ["flow", "atom"])
    def test_of_a_record_that_is_not_there(self, connection, book, missing):
        stray = models.FlowDetail("s", "S")
        with pytest.raises(exc.NotFound):
            if missing == "flow":
                connection.write(stray, [], [models.TaskDetail("u", "U")])
            else:
                connection.write(book.find("F"), [(models.TaskDetail("u", "U"), {"state": "RUNNING"})])
        with pytest.raises(exc.NotFound):
            connection.get_atom_details("U")

    def test_added_record_that_is_there_already_is_merged(self, connection, book):
        detail = models.TaskDetail("t", "T")
        detail.state = states.SUCCESS
        connection.write(book.find("F"), [(book.find("F"), {"state": "RUNNING"})], [detail])
        read = connection.get_flow_details("F")
        assert (read.state, read.find("T").state, len(read)) == ("RUNNING", "SUCCESS", 2)

    def test_changes_of_others_are_found_out_and_kept(self, connection, other, book):
        flow_detail, detail = book.find("F"), book.find("F").find("T")
        connection.write(flow_detail, [(detail, {"state": "RUNNING"})])
        theirs = other.get_atom_details("T")
        theirs.meta["progress"] = 0.5
        other.update_atom_details(theirs)
        connection.write(flow_detail, [(detail, {"state": "SUCCESS"})])
        read = connection.get_atom_details("T")
        assert (read.state, read.meta) == ("SUCCESS", {"progress": 0.5})

    def test_what_others_changed_back_is_written_again(self, connection, other, book):
        flow_detail, detail = book.find("F"), book.find("F").find("T")
        connection.write(flow_detail, [(detail, {"state": "RUNNING"})])
        theirs = other.get_atom_details("T")
        theirs.state = "PENDING"
        other.update_atom_details(theirs)
        connection.write(flow_detail, [(detail, {"state": "RUNNING"})])
        assert other.get_atom_details("T").state == "RUNNING"

    def test_what_others_removed_is_not_made_again(self, connection, other, book):
        flow_detail, detail = book.find("F"), book.find("F").find("T")
        other.destroy_logbook("B")
        with pytest.raises(exc.NotFound):
            connection.write(flow_detail, [(detail, {"state": "RUNNING"})])
        with pytest.raises(exc.NotFound):
            connection.write(flow_detail, [], [models.TaskDetail("u", "U")])
        assert list(other.get_logbooks()) == []

    def test_writers_of_one_record_all_win_in_turn(self, conf, connection, book):
        def write(number):
            with backends.backend(conf) as backend:
                mine = backend.get_connection()
                detail = mine.get_atom_details("T")
                for value in range(10):
                    field = ("state", "results", "revert_results")[number]
                    mine.write(book.find("F"), [(detail, {field: f"{number}-{value}"})])

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        read = connection.get_atom_details("T")
        assert (read.state, read.results, read.revert_results) == ("0-9", "1-9", "2-9")

    def test_removal_too_large_for_one_takes_several(self, zookeeper, root, transactions):
        conf = {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root}
        with backends.backend(conf) as backend:
            connection = backend.get_connection()
            book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
            book.add(flow_detail)
            for number in range(60):
                flow_detail.add(models.TaskDetail(f"t{number}", f"T{number}"))
            connection.save_logbook(book)
        with backends.backend({**conf, "jute_maxbuffer": 10_000}) as backend:
            connection = backend.get_connection()
            del transactions.sizes[:]
            connection.destroy_logbook("B")
            assert len(transactions.sizes) > 1
            assert sum(transactions.sizes) == 60 * 2 + 3
            with pytest.raises(exc.NotFound):
                connection.destroy_logbook("B")
            connection.clear_all()
        with zookeeper.client() as client:
            assert client.get_children(root) == []

    def test_interrupted_removal_is_finished_by_the_next(self, bare, root, connection, book):
        bare.delete(f"{root}/atom_details/T")
        bare.delete(f"{root}/flow_details/F/R")
        connection.destroy_logbook("B")
        assert set(nodes(bare, root)) == {"books", "flow_details", "atom_details", "atom_details/R"}

    def test_flow_in_two_books_goes_with_the_first(self, connection, book):
        second = models.LogBook("second", "S")
        second.add(book.find("F"))
        connection.save_logbook(second)
        assert [fd.uuid for fd in connection.get_logbook("S")] == ["F"]
        connection.destroy_logbook("B")
        connection.destroy_logbook("S")
        assert list(connection.get_logbooks()) == []


class TestErrors:
    @pytest.mark.parametrize("data", [b"{", b"[1]", b'"x"', b"\xff"])
    def test_data_that_is_no_record(self, bare, root, connection, book, data):
        bare.set(f"{root}/books/B", data)
        with pytest.raises(exc.StorageFailure) as caught:
            connection.get_logbook("B")
        assert isinstance(caught.value.cause, ValueError)

    @pytest.mark.parametrize("uuid", ["", "unknown", "F/T"])
    def test_unknown_record(self, connection, book, uuid):
        for get in (connection.get_logbook, connection.get_flow_details, connection.get_atom_details):
            with pytest.raises(exc.NotFound):
                get(uuid)
        with pytest.raises(exc.NotFound):
            connection.destroy_logbook(uuid)

    def test_nothing_is_left_below_a_root_that_was_cleared(self, connection, book):
        connection.clear_all()
        with pytest.raises(exc.NotFound):
            list(connection.get_logbooks())
        with pytest.raises(exc.NotFound):
            connection.clear_all()
        connection.upgrade()
        assert list(connection.get_logbooks()) == []

    @pytest.mark.parametrize("way", ["save_logbook", "update_flow_details", "update_atom_details", "write", "added"])
    def test_value_that_can_not_be_encoded(self, connection, book, transactions, way):
        flow_detail = book.find("F")
        detail = flow_detail.find("T")
        value = object()
        with pytest.raises(exc.StorageFailure, match="'t'.*T") as caught:
            if way == "write":
                connection.write(flow_detail, [(detail, {"results": value})])
            elif way == "added":
                added = models.TaskDetail("t", "T2")
                added.results = value
                connection.write(flow_detail, [], [added])
            else:
                detail.results = value
                given = {"save_logbook": book, "update_flow_details": flow_detail, "update_atom_details": detail}[way]
                getattr(connection, way)(given)
        assert caught.value.permanent
        assert caught.value.atom_uuid == ("T2" if way == "added" else "T")
        assert isinstance(caught.value.cause, ValueError)
        assert transactions.sizes == []

    def test_metadata_that_can_not_be_encoded(self, connection, book):
        book.meta["lock"] = threading.Lock()
        with pytest.raises(exc.StorageFailure, match="LogBook 'b'.*'meta'") as caught:
            connection.save_logbook(book)
        assert caught.value.atom_uuid is None

    def test_failure_with_odd_arguments_is_stored(self, connection, book):
        try:
            raise RuntimeError(object(), threading.Lock())
        except RuntimeError:
            failure = ft.Failure()
        retry_detail = book.find("F").find("R")
        changes = [
            (book.find("F").find("T"), {"failure": failure, "state": "FAILURE"}),
            (retry_detail, {"results": [(1, {"t": failure})]}),
        ]
        connection.write(book.find("F"), changes)
        assert connection.get_atom_details("T").failure.exception_str == failure.exception_str
        ((value, failures),) = connection.get_atom_details("R").results
        assert value == 1
        assert "lock" in failures["t"].to_dict()["exc_args"][1]

    def test_of_a_node_that_appears_or_vanishes_outside_of_transactions(self, connection, monkeypatch):
        def failing(error):
            def ask(*args, **kwargs):
                raise error

            return ask

        for error, kind in [
            (k_exc.NodeExistsError, exc.Duplicate),
            (k_exc.NoNodeError, exc.NotFound),
            (k_exc.MarshallingError, exc.StorageFailure),
        ]:
            monkeypatch.setattr(connection._client, "ensure_path_async", failing(error()))
            with pytest.raises(kind) as caught:
                connection.upgrade()
            assert isinstance(caught.value.cause, error)


class TestSizes:
    def near(self, connection, bare, root, book, extra=0):
        """A text with which the packet that changes T is exactly as large as the server permits, and some more."""
        detail = book.find("F").find("T")
        connection.write(book.find("F"), [(detail, {"results": ""})])
        data = bare.get(f"{root}/atom_details/T")[0]
        request = bare.transaction()
        request.set_data(f"{root}/atom_details/T", data, 1)
        from kazoo.protocol import serialization

        size = len(serialization.Transaction(request.operations).serialize()) + 8
        return "x" * (LIMIT - size + extra)

    def test_largest_value_is_taken_and_survives_the_server(self, zookeeper, bare, root, connection, book):
        value = self.near(connection, bare, root, book)
        connection.write(book.find("F"), [(book.find("F").find("T"), {"results": value})])
        assert connection.get_atom_details("T").results == value
        zookeeper.kill()
        zookeeper.start()
        assert connection.get_atom_details("T").results == value

    def test_larger_value_is_refused_before_anything_is_sent(self, bare, root, connection, book, transactions):
        value = self.near(connection, bare, root, book, extra=1)
        before = nodes(bare, root)
        del transactions.sizes[:]
        flow_detail, detail = book.find("F"), book.find("F").find("T")
        with pytest.raises(exc.StorageFailure, match="jute.maxbuffer.*atom 't' .T") as caught:
            connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"}), (detail, {"results": value})])
        assert caught.value.permanent
        assert caught.value.atom_uuid == "T"
        detail.results = value
        for save, given in (
            (connection.update_atom_details, detail),
            (connection.update_flow_details, flow_detail),
            (connection.save_logbook, book),
        ):
            with pytest.raises(exc.StorageFailure, match="atom 't' .T"):
                save(given)
        assert transactions.sizes == []
        assert nodes(bare, root) == before

    def test_unit_that_is_too_large_as_a_whole_is_written_in_parts(self, connection, book, transactions):
        flow_detail = book.find("F")
        added = [models.TaskDetail(f"n{number}", f"N{number}") for number in range(4)]
        for number, detail in enumerate(added):
            detail.results = "x" * (262_200 + number)
        connection.write(flow_detail, [], added)
        assert len(transactions.sizes) == 2
        assert {detail.uuid for detail in connection.get_flow_details("F")} >= {f"N{number}" for number in range(4)}
        changes = [(detail, {"results": "y" * 400_000}) for detail in added]
        connection.write(flow_detail, [(flow_detail, {"state": "SUCCESS"}), *changes])
        assert all(detail.results == "y" * 400_000 for detail in connection.get_flow_details("F") if "n" in detail.name)
        # The versions are known that all parts left.
        connection.write(flow_detail, [(detail, {"results": 1}) for detail in added])
        assert len(transactions.sizes) == 5

    def test_parts_are_written_in_the_order_of_the_changes(self, monkeypatch, connection, book):
        flow_detail = book.find("F")
        added = [models.TaskDetail(f"n{number}", f"N{number}") for number in range(4)]
        connection.write(flow_detail, [], added)
        commit, commits = kazoo_utils.checked_commit, itertools.count(1)

        def killed(transaction):
            if next(commits) == 2:
                raise KeyboardInterrupt
            return commit(transaction)

        monkeypatch.setattr(kazoo_utils, "checked_commit", killed)
        changes = [(detail, {"results": "y" * 400_000}) for detail in reversed(added)]
        with pytest.raises(KeyboardInterrupt):
            connection.write(flow_detail, [(flow_detail, {"state": "SUCCESS"}), *changes])
        stored = connection.get_flow_details("F")
        assert stored.state is None
        kept = [stored.find(uuid).results is not None for uuid in ("N3", "N2", "N1", "N0")]
        assert kept == [True, True, False, False]

    def test_book_is_one_transaction_or_none(self, connection, book, transactions):
        for number in range(4):
            detail = models.TaskDetail(f"n{number}", f"N{number}")
            detail.results = "x" * (262_200 + number)
            book.find("F").add(detail)
        with pytest.raises(exc.StorageFailure, match="of .* nodes .* 10.* bytes. .*'n3' .N3. with 26"):
            connection.save_logbook(book)
        assert transactions.sizes == []

    def test_limit_is_an_option(self, conf, book):
        with backends.backend({**conf, "jute_maxbuffer": "2000"}) as backend:
            connection = backend.get_connection()
            detail = connection.get_atom_details("T")
            with pytest.raises(exc.StorageFailure, match="packets of up to 2000 bytes"):
                connection.write(book.find("F"), [(detail, {"results": "x" * 2000})])
            connection.write(book.find("F"), [(detail, {"results": "x" * 1000})])

    def test_server_with_a_smaller_limit_than_the_option_says(self, conf, connection, book):
        changes = [(book.find("F").find("T"), {"results": "x" * 2_000_000})]
        with backends.backend({**conf, "jute_maxbuffer": 4_000_000}) as backend:
            careless = backend.get_connection()
            with pytest.raises(exc.StorageFailure, match="jute.maxbuffer smaller"):
                careless.write(book.find("F"), changes)
        assert connection.get_atom_details("T").results is None

    def test_limit_of_no_use_is_refused(self):
        with pytest.raises(ValueError, match="jute_maxbuffer"):
            impl_zookeeper.ZkBackend({"jute_maxbuffer": "much"})
        with pytest.raises(ValueError, match="reconnect_timeout"):
            impl_zookeeper.ZkBackend({"reconnect_timeout": -1})

    def test_result_that_is_too_large_fails_the_task(self, backend):
        flow = linear_flow.Flow("f").add(
            task.FunctorTask(lambda: 1, name="small"), task.FunctorTask(lambda: "x" * LIMIT, name="large")
        )
        book = models.LogBook("book")
        engine = engines.load(flow, backend=backend, book=book)
        with pytest.raises(exc.StorageFailure, match=r"task 'large' of flow 'f' can not be stored.*jute\.maxbuffer"):
            engine.run()
        (flow_detail,) = backend.get_connection().get_logbook(book.uuid)
        recorded = {detail.name: detail.state for detail in flow_detail}
        assert recorded == {"small": states.REVERTED, "large": states.REVERTED}

    def test_results_that_are_too_large_together_only(self, backend):
        flow = unordered_flow.Flow("f").add(
            *(task.FunctorTask(lambda: "x" * (LIMIT // 2), name=f"half{number}") for number in range(5))
        )
        engine = engines.load(flow, backend=backend)
        engine.run()
        stored = backend.get_connection().get_flow_details(engine.storage.flow_uuid)
        assert {len(detail.results) for detail in stored} == {LIMIT // 2}

    def test_flow_of_any_size(self, backend):
        flow = unordered_flow.Flow("f").add(*(task.FunctorTask(lambda: 1, name=f"t{n}") for n in range(5_000)))
        engine = engines.load(flow, backend=backend)
        engine.run()
        stored = backend.get_connection().get_flow_details(engine.storage.flow_uuid)
        assert [detail.results for detail in stored] == [1] * 5_000


class TestReading:
    def test_many_records_are_asked_for_together(self, connection):
        book = models.LogBook("b", "B")
        for number in range(250):
            book.add(models.FlowDetail(f"f{number}", f"F{number}"))
        connection.save_logbook(book)
        assert {fd.uuid for fd in connection.get_flows_for_book("B", lazy=True)} == {f"F{n}" for n in range(250)}
        assert len(connection.get_logbook("B")) == 250
        assert len(connection.get_logbook("B", lazy=True)) == 0

    def test_books_are_listed_without_loading_them(self, connection, book):
        for number in range(3):
            connection.save_logbook(models.LogBook("more", f"M{number}"))
        assert {read.uuid: len(read) for read in connection.get_logbooks(lazy=True)} == {
            "B": 0,
            **{f"M{number}": 0 for number in range(3)},
        }
        assert {read.uuid: len(read) for read in connection.get_logbooks()}["B"] == 1

    def test_book_that_goes_while_others_are_listed(self, connection, book, other):
        connection.save_logbook(models.LogBook("more", "M"))
        uuids = connection._get_children(connection.book_path)
        listing = connection.get_logbooks(lazy=True)
        connection._get_children = lambda path: uuids
        other.destroy_logbook("M")
        assert [read.uuid for read in listing] == ["B"]

    def test_missing_atom_is_reported(self, bare, root, connection, book):
        bare.delete(f"{root}/atom_details/T")
        with pytest.raises(exc.NotFound, match="'T'"):
            connection.get_flow_details("F")
        with pytest.raises(exc.NotFound, match="'T'"):
            list(connection.get_atoms_for_flow("F"))

    def test_unknown_parents_are_reported_when_iterated(self, connection):
        flows, atoms = connection.get_flows_for_book("X"), connection.get_atoms_for_flow("X")
        with pytest.raises(exc.NotFound):
            next(flows)
        with pytest.raises(exc.NotFound):
            next(atoms)
