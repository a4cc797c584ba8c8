# SPDX-License-Identifier: Apache-2.0
"""Does a flow survive that ZooKeeper goes away, comes back, or forgets the session, and is nothing written twice?"""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import sys
import time
from typing import Any

import kazoo.client
import pytest
import servers_base

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.persistence.backends import impl_zookeeper

HERE = pathlib.Path(__file__).parent


def _load(name: str) -> Any:
    # What is done with databases, as a module whose tests are not collected a second time.
    spec = importlib.util.spec_from_file_location(f"zookeeper_{name}", HERE / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_faults = _load("test_server_faults")
KINDS = list(_faults.KINDS)


class Run(_faults.Run):
    """A flow whose records are in ZooKeeper."""

    def __init__(self, server: Any, kind: str, fails: bool, **conf: Any) -> None:
        super().__init__(server, kind, fails, **conf)
        self.clients: list[Any] = []

    @contextlib.contextmanager
    def backend(self) -> Any:
        backend = impl_zookeeper.ZkBackend({"hosts": self.server.hosts, "path": self.name, **self.conf})
        self.clients.append(backend._client)
        try:
            connection = backend.get_connection()
            connection.upgrade()
            yield backend, connection
        finally:
            backend.close()

    @property
    def client(self) -> Any:
        """That of the flow that runs."""
        return self.clients[-1]


def expire(server: Any, client: Any) -> None:
    """Ends the session of a client behind its back."""
    with server.client(client_id=client.client_id):
        pass


@pytest.mark.parametrize(("kind", "fails"), [("serial", True), ("threads", False)])
def test_connections_are_cut_again_and_again(zookeeper, proxy, kind, fails):
    run = Run(zookeeper, kind, fails, hosts=proxy.hosts)
    run.thread.start()
    cuts = 0
    for effects in range(4, 80, 8):
        run.wait_for(effects)
        # Before or after the server got what was on its way.
        if effects % 3 == 0:
            cuts += proxy.cut()
        else:
            (proxy.mute if effects % 3 == 1 else proxy.deaf).set()
            cuts += 1
    run.finish()
    assert cuts >= 2
    assert run.stops == 0


@pytest.mark.parametrize("kind", KINDS)
def test_session_ends_again_and_again(zookeeper, kind):
    run = Run(zookeeper, kind, fails=False)
    run.thread.start()
    sessions = set()
    for effects in (5, 15, 30):
        run.wait_for(effects)
        sessions.add(run.client.client_id[0])
        expire(zookeeper, run.client)
    run.finish()
    assert len(sessions) >= 2
    assert run.stops == 0


@pytest.mark.parametrize(("kind", "way"), [("serial", "killed"), ("threads", "stopped")])
def test_server_is_started_again_at_once(zookeeper, kind, way):
    _faults.restart_at_once(Run(zookeeper, kind, fails=False), way)


@pytest.mark.parametrize("fails", [False, True])
def test_server_stays_away_and_the_flow_is_resumed(zookeeper, fails):
    _faults.stay_away(Run(zookeeper, "serial" if fails else "threads", fails, reconnect_timeout=0.05))


@pytest.mark.parametrize("timeout", [10, 0.6])
def test_silent_server_is_waited_for(zookeeper, timeout):
    # With the short timeout the client gives the connection up, and then the session is over.
    _faults.keep_silent(Run(zookeeper, "serial", fails=False, timeout=timeout), 0.3 if timeout > 1 else 1.5)


class Records:
    """A book in ZooKeeper, reached through a proxy that loses the answers to transactions."""

    def __init__(self, zookeeper, proxy, monkeypatch):
        self.path = zookeeper.fresh()
        self.server = zookeeper
        self.backend = impl_zookeeper.ZkBackend({"hosts": proxy.hosts, "path": self.path})
        self.connection = self.backend.get_connection()
        self.connection.upgrade()
        self.book, self.flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
        self.book.add(self.flow_detail)
        self.detail = models.TaskDetail("t", "T")
        self.flow_detail.add(self.detail)
        self.connection.save_logbook(self.book)
        self.lose = 0
        self.sent = 0
        commit = kazoo.client.TransactionRequest.commit_async

        def losing(request):
            self.sent += 1
            if self.lose and request.client is self.backend._client:
                self.lose -= 1
                (proxy.deaf if self.before else proxy.mute).set()
            return commit(request)

        self.before = False
        monkeypatch.setattr(kazoo.client.TransactionRequest, "commit_async", losing)

    def versions(self):
        """Path -> version of everything."""
        found = {}

        def walk(client, path):
            found[path.removeprefix(self.path)] = client.exists(path).version
            for name in client.get_children(path):
                walk(client, f"{path}/{name}")

        with self.server.client() as client:
            walk(client, self.path)
        return found


@pytest.fixture
def records(zookeeper, proxy, monkeypatch):
    records = Records(zookeeper, proxy, monkeypatch)
    yield records
    records.backend.close()


@pytest.mark.parametrize("before", [False, True])
class TestLostAnswers:
    """An answer that is lost, or a request: what is done again has the effect of one."""

    @pytest.fixture(autouse=True)
    def _losing(self, records, before):
        records.before = before
        records.lose = 1

    def test_of_a_unit_of_work(self, records, before):
        changes = [
            (records.detail, {"state": "SUCCESS", "results": {"a", "b", "c"}}),
            (records.flow_detail, {"meta": {"x": 1}}),
        ]
        records.connection.write(records.flow_detail, changes, [models.TaskDetail("u", "U")])
        versions = records.versions()
        assert (versions["/atom_details/T"], versions["/flow_details/F"], versions["/atom_details/U"]) == (1, 1, 0)
        assert len(records.connection.get_flow_details("F")) == 2
        records.connection.write(records.flow_detail, [(records.detail, {"state": "REVERTING"})])
        assert records.versions()["/atom_details/T"] == 2

    def test_of_a_history(self, records, before):
        retry_detail = models.RetryDetail("r", "R")
        records.connection.write(records.flow_detail, [], [retry_detail])
        records.lose = 1
        records.connection.write(records.flow_detail, [(retry_detail, {"results": [(1, {}), (2, {})]})])
        assert records.versions()["/atom_details/R"] == 1
        assert records.connection.get_atom_details("R").results == [(1, {}), (2, {})]

    def test_of_saving(self, records, before):
        records.book.meta["x"] = 1
        records.flow_detail.add(models.TaskDetail("u", "U"))
        assert records.connection.save_logbook(records.book) is records.book
        assert records.versions()["/books/B"] == 1
        records.lose = 1
        records.flow_detail.state = "RUNNING"
        assert records.connection.update_flow_details(records.flow_detail) is records.flow_detail
        records.lose = 1
        records.detail.state = "RUNNING"
        assert records.connection.update_atom_details(records.detail).state == "RUNNING"
        versions = records.versions()
        assert (versions["/flow_details/F"], versions["/atom_details/T"], versions["/atom_details/U"]) == (1, 1, 0)

    def test_of_removing(self, records, before):
        records.connection.destroy_logbook("B")
        assert set(records.versions()) == {"", "/books", "/flow_details", "/atom_details"}
        with pytest.raises(exc.NotFound):
            records.connection.destroy_logbook("B")
        records.lose = 1
        records.connection.clear_all()
        assert set(records.versions()) == {""}
        with pytest.raises(exc.NotFound):
            records.connection.clear_all()

    def test_of_a_change_that_somebody_else_made_meanwhile(self, records, before, monkeypatch):
        # The other one comes between the request that was lost and the look at what became of it.
        catch_up = impl_zookeeper.ZkConnection._catch_up

        def meanwhile(connection):
            monkeypatch.setattr(impl_zookeeper.ZkConnection, "_catch_up", catch_up)
            other = impl_zookeeper.ZkBackend({"hosts": records.server.hosts, "path": records.path})
            theirs = other.get_connection()
            detail = theirs.get_atom_details("T")
            detail.meta["theirs"] = True
            theirs.update_atom_details(detail)
            other.close()
            catch_up(connection)

        monkeypatch.setattr(impl_zookeeper.ZkConnection, "_catch_up", meanwhile)
        records.connection.write(records.flow_detail, [(records.detail, {"state": "SUCCESS", "results": 1})])
        read = records.connection.get_atom_details("T")
        assert (read.state, read.results, read.meta) == ("SUCCESS", 1, {"theirs": True})


def test_requests_that_are_always_lost_end_it(records):
    records.before = True
    records.lose = 1000
    with pytest.raises(exc.StorageFailure, match="lost during a commit"):
        records.connection.write(records.flow_detail, [(records.flow_detail, {"state": "RUNNING"})])
    assert records.sent == 3
    records.lose = 0
    assert records.connection.get_flow_details("F").state is None


def test_reading_goes_on_after_a_cut(zookeeper, proxy, records):
    for _ in range(5):
        proxy.mute.set()
        assert len(records.connection.get_logbook("B")) == 1
        proxy.cut()
        assert records.connection.get_atom_details("T").name == "t"
        expire(zookeeper, records.backend._client)
        records.connection.upgrade()
        assert [fd.uuid for fd in records.connection.get_flows_for_book("B")] == ["F"]


def test_server_that_stays_away_is_not_waited_for_without_end(zookeeper, proxy):
    backend = impl_zookeeper.ZkBackend({"hosts": proxy.hosts, "path": zookeeper.fresh(), "reconnect_timeout": "0.3"})
    connection = backend.get_connection()
    connection.upgrade()
    book = models.LogBook("b")
    connection.save_logbook(book)
    proxy.refusing = True
    proxy.cut()
    for call in (
        lambda: list(connection.get_logbooks()),
        lambda: connection.get_logbook(book.uuid),
        lambda: connection.save_logbook(models.LogBook("c")),
        lambda: connection.destroy_logbook(book.uuid),
        connection.upgrade,
    ):
        started = time.monotonic()
        with pytest.raises(exc.StorageFailure, match="No connection"):
            call()
        assert time.monotonic() - started < 5
    proxy.refusing = False
    servers_base.wait_for(lambda: backend._client.connected, "the client comes back")
    # What was refused is not done behind anybody's back.
    assert [read.uuid for read in connection.get_logbooks()] == [book.uuid]
    backend.close()
