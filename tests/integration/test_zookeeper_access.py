# SPDX-License-Identifier: Apache-2.0
"""How is a ZooKeeper server reached, who is let in, and what becomes of clients that were handed over?"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import warnings

import kazoo.client
import pytest
import servers_base
import servers_zookeeper
from kazoo import exceptions as k_exc
from kazoo import retry as k_retry
from kazoo import security
from kazoo.handlers import threading as k_threading

from taskflow import exceptions as exc
from taskflow.persistence import backends, models
from taskflow.persistence.backends import impl_zookeeper
from taskflow.persistence.backends.zookeeper import clients
from taskflow.utils import kazoo_utils


@pytest.fixture
def root(zookeeper):
    return zookeeper.fresh()


@pytest.fixture
def opened():
    made = []

    def fetch(conf, **kwargs):
        backend = backends.fetch(conf, **kwargs)
        made.append(backend)
        return backend

    yield fetch
    for backend in made:
        backend.close()


def save(backend):
    connection = backend.get_connection()
    connection.upgrade()
    book = models.LogBook("b")
    connection.save_logbook(book)
    assert [read.uuid for read in connection.get_logbooks()] == [book.uuid]
    return connection


class TestAddresses:
    @pytest.mark.parametrize("form", ["uri", "uri and path", "text", "list", "dict", "query"])
    def test_where_the_server_is(self, zookeeper, root, opened, form):
        host, port = zookeeper.hosts.split(":")
        conf = {
            "uri": {"connection": f"zookeeper://{zookeeper.hosts}{root}"},
            "uri and path": {"connection": f"zookeeper://{zookeeper.hosts}/elsewhere", "path": root},
            "text": {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root},
            "list": {"connection": "zookeeper:", "hosts": [zookeeper.hosts], "path": root},
            "dict": {"connection": "zookeeper://nowhere.invalid", "hosts": {host: port}, "path": root},
            "query": f"zookeeper://?hosts={zookeeper.hosts}&path={root}&timeout=5",
        }[form]
        backend = opened(conf)
        assert backend.path == root
        save(backend)

    def test_options_are_not_changed(self):
        conf = {"connection": "zookeeper://somewhere:2181/path"}
        assert impl_zookeeper.ZkBackend(conf).path == "/path"
        assert conf == {"connection": "zookeeper://somewhere:2181/path"}

    def test_no_connection_is_made_before_it_is_needed(self):
        backend = impl_zookeeper.ZkBackend({"hosts": "127.0.0.1:1"})
        assert not backend._client.connected
        backend.close()
        backend.close()

    @pytest.mark.parametrize("hosts", ["", [], {}, None, 3])
    def test_hosts_that_are_none(self, hosts):
        with pytest.raises(TypeError, match="hosts"):
            impl_zookeeper.ZkBackend({"hosts": hosts})

    def test_nobody_there(self, monkeypatch):
        # The client waits 15 seconds by itself.
        start = kazoo.client.KazooClient.start
        monkeypatch.setattr(kazoo.client.KazooClient, "start", lambda self, timeout: start(self, timeout=timeout / 50))
        backend = impl_zookeeper.ZkBackend({"hosts": f"127.0.0.1:{servers_base.free_port()}"})
        for _ in range(2):
            with pytest.raises(exc.StorageFailure, match="reached at 127.0.0.1") as caught:
                backend.get_connection()
            assert isinstance(caught.value.cause, k_threading.KazooTimeoutError)
        backend.close()


class TestVersions:
    @pytest.mark.parametrize("setting", [None, "envi", "ruok"])
    def test_server_whose_commands_are_restricted(self, zookeeper, root, opened, setting):
        if setting is None:
            save(opened({"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root}))
            return
        with servers_base.running(Quiet if setting == "ruok" else Open) as server:
            save(opened({"connection": "zookeeper", "hosts": server.hosts, "path": root}))

    def test_server_that_is_too_old(self, zookeeper, root, opened, monkeypatch):
        monkeypatch.setattr(kazoo.client.KazooClient, "server_version", lambda client: (3, 3, 6))
        conf = {"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root}
        with pytest.raises(exc.StorageFailure, match="check_compatible") as caught:
            opened(conf).get_connection()
        assert isinstance(caught.value.cause, exc.IncompatibleVersion)
        for no in (False, "false", "no", "0"):
            save(opened({**conf, "path": f"{root}/{no}", "check_compatible": no}))

    def test_server_that_neither_tells_nor_knows_transactions(self, zookeeper, root, opened, monkeypatch):
        def unknown(request):
            raise k_exc.UnimplementedError

        monkeypatch.setattr(kazoo.client.TransactionRequest, "commit_async", unknown)
        backend = opened({"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root})
        with pytest.raises(exc.StorageFailure, match="version") as caught:
            backend.get_connection()
        assert isinstance(caught.value.cause, k_exc.UnimplementedError)

    def test_version_is_asked_for_once_until_closed(self, zookeeper, root, opened, monkeypatch):
        asked = []
        monkeypatch.setattr(impl_zookeeper.ZkConnection, "validate", lambda connection: asked.append(connection))
        backend = opened({"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root})
        for _ in range(3):
            backend.get_connection()
        assert len(asked) == 1
        backend.close()
        backend.get_connection()
        assert len(asked) == 2


class Quiet(servers_zookeeper.ZooKeeper):
    """A server that tells nobody its version."""

    def __init__(self):
        super().__init__({"4lw.commands.whitelist": "ruok"})

    def is_ready(self):
        return self.ask(b"ruok") == b"imok"


class Open(servers_zookeeper.ZooKeeper):
    """A server that answers all commands."""

    def __init__(self):
        super().__init__({"4lw.commands.whitelist": "*"})


class TestClients:
    def test_own_client_is_stopped_and_started_again(self, zookeeper, root, opened):
        backend = opened({"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root})
        connection = save(backend)
        connection.close()
        assert len(list(connection.get_logbooks())) == 1
        before = threading.active_count()
        backend.close()
        assert threading.active_count() < before
        with pytest.raises(exc.StorageFailure, match="get a new connection"):
            list(connection.get_logbooks())
        assert len(list(backend.get_connection().get_logbooks())) == 1
        backend.close()
        backend.close()

    def test_client_handed_over_is_never_stopped(self, zookeeper, root):
        with zookeeper.client() as client:
            backend = impl_zookeeper.ZkBackend({"path": root}, client=client)
            save(backend)
            backend.close()
            assert client.connected
            assert len(list(backend.get_connection().get_logbooks())) == 1
            backend.close()

    def test_client_handed_over_is_started_if_needed(self, zookeeper, root, opened):
        client = kazoo.client.KazooClient(hosts=zookeeper.hosts)
        backend = opened({"connection": "zookeeper", "path": root}, client=client)
        try:
            assert not client.connected
            connection = save(backend)
            assert client.connected
        finally:
            client.stop()
            client.close()
        with pytest.raises(exc.StorageFailure, match="stopped"):
            list(connection.get_logbooks())
        assert not client.connected

    def test_client_with_a_root_of_its_own(self, zookeeper, root):
        with zookeeper.client() as client:
            client.ensure_path(root)
            with zookeeper.client(hosts=f"{zookeeper.hosts}{root}") as below:
                save(impl_zookeeper.ZkBackend({}, client=below))
            assert client.exists(f"{root}/taskflow/books")

    def test_many_threads_ask_for_the_first_connection(self, zookeeper, root, opened):
        backend = opened({"connection": "zookeeper", "hosts": zookeeper.hosts, "path": root})
        errors = []

        def work():
            try:
                backend.get_connection().upgrade()
            except Exception as e:
                errors.append(e)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []

    def test_client_that_gave_up_is_started_again(self, zookeeper, proxy, root, opened):
        conf = {"connection": "zookeeper", "hosts": proxy.hosts, "path": root, "timeout": 1}
        backend = opened({**conf, "connection_retry": k_retry.KazooRetry(max_tries=1, delay=0.01)})
        connection = save(backend)
        proxy.refusing = True
        proxy.cut()
        servers_base.wait_for(lambda: backend._client.client_state == "CLOSED", "the client gives up")
        proxy.refusing = False
        assert len(list(connection.get_logbooks())) == 1

    @pytest.mark.parametrize("given", [False, True])
    def test_client_that_is_about_to_connect_again_is_waited_for(self, zookeeper, proxy, root, opened, given):
        with contextlib.ExitStack() as stack:
            kwargs = {"client": stack.enter_context(zookeeper.client(hosts=proxy.hosts))} if given else {}
            backend = opened({"connection": "zookeeper", "hosts": proxy.hosts, "path": root}, **kwargs)
            save(backend)
            proxy.refusing = True
            proxy.cut()
            servers_base.wait_for(lambda: not backend._client.connected, "the connection is lost")
            timer = threading.Timer(0.3, setattr, (proxy, "refusing", False))
            timer.start()
            assert len(list(backend.get_connection().get_logbooks())) == 1
            timer.join()

    def test_client_that_can_not_connect_again(self, zookeeper, proxy, root, opened, monkeypatch):
        backend = opened({"connection": "zookeeper", "hosts": proxy.hosts, "path": root})
        save(backend)
        proxy.refusing = True
        proxy.cut()
        servers_base.wait_for(lambda: not backend._client.connected, "the connection is lost")
        start = clients.start
        monkeypatch.setattr(clients, "start", lambda client: start(client, 0.2))
        with pytest.raises(exc.StorageFailure, match="reached") as caught:
            backend.get_connection()
        assert isinstance(caught.value.cause, k_threading.KazooTimeoutError)

    def test_failing_to_stop_is_reported(self, zookeeper, root, monkeypatch):
        backend = impl_zookeeper.ZkBackend({"hosts": zookeeper.hosts, "path": root})
        backend.get_connection()

        def fails(client):
            raise k_exc.WriterNotClosedException("still open")

        with monkeypatch.context() as patched:
            patched.setattr(kazoo_utils, "finalize_client", fails)
            with pytest.raises(exc.StorageFailure) as caught:
                backend.close()
        assert isinstance(caught.value.cause, k_exc.WriterNotClosedException)
        backend.close()


class TestPermissions:
    def conf(self, zookeeper, root, user, **more):
        return {
            "connection": f"zookeeper://{user}:secret@{zookeeper.hosts}{root}",
            "default_acl": security.CREATOR_ALL_ACL,
            **more,
        }

    def test_records_of_one_are_hidden_from_others(self, zookeeper, root, opened):
        with zookeeper.client() as client:
            client.ensure_path(root)
        mine = save(opened(self.conf(zookeeper, f"{root}/mine", "me")))
        assert len(list(opened(self.conf(zookeeper, f"{root}/mine", "me")).get_connection().get_logbooks())) == 1
        (book,) = mine.get_logbooks()
        for conf in (
            self.conf(zookeeper, f"{root}/mine", "other"),
            {"connection": f"zookeeper://{zookeeper.hosts}{root}/mine"},
        ):
            other = opened(conf).get_connection()
            arguments = {"save_logbook": [models.LogBook("x")], "clear_all": []}
            for refused in ("get_logbook", "save_logbook", "clear_all", "destroy_logbook"):
                started = time.monotonic()
                with pytest.raises(exc.StorageFailure) as caught:
                    getattr(other, refused)(*arguments.get(refused, [book.uuid]))
                assert caught.value.permanent
                assert time.monotonic() - started < 5
        assert [read.uuid for read in mine.get_logbooks()] == [book.uuid]

    def test_one_may_read_but_not_write(self, zookeeper, root, opened):
        readable = [*security.CREATOR_ALL_ACL, *security.READ_ACL_UNSAFE]
        mine = save(opened(self.conf(zookeeper, root, "me", default_acl=readable)))
        other = opened({"connection": f"zookeeper://{zookeeper.hosts}{root}"}).get_connection()
        (book,) = other.get_logbooks()
        book.meta["x"] = 1
        with pytest.raises(exc.StorageFailure) as caught:
            other.save_logbook(book)
        assert caught.value.permanent
        assert list(mine.get_logbooks())[0].meta == {}

    def test_credentials_as_options(self, zookeeper, root, opened):
        conf = {"connection": f"zookeeper://{zookeeper.hosts}{root}", "default_acl": security.CREATOR_ALL_ACL}
        save(opened({**conf, "auth_data": [("digest", "me:secret")]}))
        with zookeeper.client(auth_data=[("digest", "me:secret")]) as client:
            ((entry,), _) = client.get_acls(f"{root}/books")
        assert (entry.id.scheme, entry.id.id.split(":")[0]) == ("digest", "me")

    def test_scheme_that_the_server_does_not_know(self, zookeeper, root, opened):
        conf = {"connection": f"zookeeper://{zookeeper.hosts}{root}", "auth_data": [("nonsense", "me")]}
        backend = opened({**conf, "reconnect_timeout": 0.5})
        started = time.monotonic()
        with pytest.raises(exc.StorageFailure):
            save(backend)
        assert time.monotonic() - started < 20


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {name: servers_zookeeper.make_certificate(folder, name) for name in ("server", "client", "stranger")}


@pytest.fixture(scope="module")
def secure(certificates):
    port = servers_base.free_port()
    settings = {
        "secureClientPort": port,
        "secureClientPortAddress": "127.0.0.1",
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location": certificates["server"][2],
        "ssl.trustStore.location": certificates["client"][2],
        "ssl.clientAuth": "need",
    }
    with servers_base.running(lambda: servers_zookeeper.ZooKeeper(settings)) as server:
        servers_base.wait_for(lambda: servers_base.answers(port), "the port for TLS answers")
        server.secure_hosts = f"127.0.0.1:{port}"
        yield server


@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestTLS:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch):
        start = kazoo.client.KazooClient.start
        monkeypatch.setattr(kazoo.client.KazooClient, "start", lambda self, timeout: start(self, timeout=timeout / 10))
        yield
        # The client forgets to close sockets whose other end it did not like.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def conf(self, secure, certificates, **more):
        return {
            "connection": "zookeeper",
            "hosts": secure.secure_hosts,
            "path": secure.fresh(),
            "use_ssl": "true",
            "ca": str(certificates["server"][0]),
            "certfile": str(certificates["client"][0]),
            "keyfile": str(certificates["client"][1]),
            **more,
        }

    def test_both_sides_know_each_other(self, secure, certificates, opened):
        save(opened(self.conf(secure, certificates)))

    def test_server_is_not_looked_at(self, secure, certificates, opened):
        save(opened(self.conf(secure, certificates, ca=None, verify_certs="no")))

    @pytest.mark.parametrize("wrong", ["stranger as server", "stranger as client", "nobody as client", "no TLS at all"])
    def test_one_side_is_unknown(self, secure, certificates, opened, wrong):
        conf = self.conf(secure, certificates)
        if wrong == "stranger as server":
            conf["ca"] = str(certificates["stranger"][0])
        elif wrong == "stranger as client":
            conf |= {"certfile": str(certificates["stranger"][0]), "keyfile": str(certificates["stranger"][1])}
        elif wrong == "nobody as client":
            conf |= {"certfile": None, "keyfile": None}
        else:
            conf["use_ssl"] = "false"
        backend = impl_zookeeper.ZkBackend(conf)
        with pytest.raises(exc.StorageFailure, match="reached"):
            backend.get_connection()
        backend.close()
