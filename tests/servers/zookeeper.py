# SPDX-License-Identifier: Apache-2.0
"""How do tests get a private ZooKeeper server and paths of their own in it?"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import servers_base as base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_JARS = pathlib.Path("/usr/share/java")
# ZooKeeper names most of what it needs by itself, but not what TLS needs.
_NEEDED = ("zookeeper.jar", "netty-codec.jar", "netty-resolver.jar", "slf4j-simple.jar")


def _class_path() -> str:
    for name in _NEEDED[:1]:
        if not (_JARS / name).exists():
            raise base.Unavailable(
                f"The file {_JARS / name} is not there. Install it: apt-get install zookeeper (make test does that)"
            )
    return os.pathsep.join(str(_JARS / name) for name in _NEEDED)


class ZooKeeper(base.Server):
    """A ZooKeeper server, alone and with its settings of durability as they come: every commit is on the disk.

    It listens on 127.0.0.1. Sessions may be as short as 0.4 seconds.

    Args:
        settings: more lines of its configuration.
        properties: system properties, for what the configuration has no line.
    """

    def __init__(
        self, settings: Mapping[str, object] | None = None, properties: Mapping[str, object] | None = None
    ) -> None:
        super().__init__("zookeeper")
        self._settings = dict(settings or {})
        self._properties = dict(properties or {})
        self._numbers = itertools.count(1)

    def command(self) -> Sequence[str]:
        """Returns the program and its arguments."""
        settings = {
            "dataDir": self.folder / "data",
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "admin.enableServer": "false",
            "tickTime": 200,
            "minSessionTimeout": 400,
            "maxSessionTimeout": 60000,
            "maxClientCnxns": 0,
            **self._settings,
        }
        configuration = self.folder / "zoo.cfg"
        configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        # One processor's worth of garbage collection, and no second compiler: such a server lives for seconds.
        options = ["-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        options += [f"-D{name}={value}" for name, value in self._properties.items()]
        options += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        java = base.find_program("java", "default-jre-headless")
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        return [java, *options, "-cp", _class_path(), main, str(configuration)]

    def is_ready(self) -> bool:
        """Tells whether the server answers."""
        return b"Mode: standalone" in self.ask(b"srvr")

    def ask(self, command: bytes) -> bytes:
        """Returns the answer to a command, which may be empty."""
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as asked:
            asked.sendall(command)
            while part := asked.recv(4096):
                answer += part
        return answer

    @property
    def hosts(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    def fresh(self) -> str:
        """Returns a path that nothing is at."""
        # Right below the root: who makes a parent first would also say who may use it.
        return f"/tests-{os.getpid()}-{next(self._numbers)}"

    make_database = fresh

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[Any]:
        """Makes a client of the bare driver that is started, for as long as the context lasts."""
        import kazoo.client

        client = kazoo.client.KazooClient(**{"hosts": self.hosts, **options})
        try:
            client.start(timeout=15)
            yield client
        finally:
            client.stop()
            client.close()


class Proxy:
    """Passes bytes on between a client and a server, until told to cut them off.

    Args:
        port: of the server.

    Attributes:
        port: where clients connect.
        refusing: new connections are closed at once.
        mute: the next thing that the server says is not passed on, and the connection is cut.
        deaf: likewise the next thing that a client says.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.refusing = False
        self.mute = threading.Event()
        self.deaf = threading.Event()
        self._run(self._accept)

    def _run(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def hosts(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                with self._lock:
                    self._pairs.append((client, server))
                self._run(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True)
        back.start()
        self._pass_on(client, server, False)
        back.join()
        with self._lock, contextlib.suppress(ValueError):
            self._pairs.remove((client, server))
        client.close()
        server.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                lost = self.mute if answers else self.deaf
                if lost.is_set():
                    lost.clear()
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> int:
        """Cuts all connections and returns how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            for pair in pairs:
                for end in pair:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def close(self) -> None:
        """Ends everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(timeout=10)
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)


def make_certificate(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Makes a key and a certificate that it signs itself; returns the files of certificate, key, and both in one."""
    certificate, key, both = folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.pem"
    openssl = base.find_program("openssl", "openssl")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    base.run_program(command, folder / "openssl.log")
    both.write_text(key.read_text() + certificate.read_text())
    return certificate, key, both


@pytest.fixture(scope="session")
def _zookeeper_of_session() -> Iterator[ZooKeeper]:
    try:
        with base.running(ZooKeeper) as server:
            yield server
    except base.Unavailable as e:
        pytest.fail(f"These tests need ZooKeeper. {e}", pytrace=False)


@pytest.fixture
def zookeeper(_zookeeper_of_session: ZooKeeper) -> ZooKeeper:
    """A running ZooKeeper server that tests share; take a path of your own by fresh()."""
    _zookeeper_of_session.ensure()
    return _zookeeper_of_session


@pytest.fixture
def proxy(zookeeper: ZooKeeper) -> Iterator[Proxy]:
    """A way to the server that can be cut."""
    proxy = Proxy(zookeeper.port)
    yield proxy
    proxy.close()
