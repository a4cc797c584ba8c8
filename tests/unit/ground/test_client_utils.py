# SPDX-License-Identifier: Apache-2.0
"""Are the clients of ZooKeeper and Redis made, and the answers of their servers told, as documented?

Stand-ins take the places of the packages, which are optional.
"""

import pickle
import sys
import types
import typing
from unittest import mock

import pytest

from taskflow import exceptions as exc
from taskflow.utils import kazoo_utils, redis_utils


class KazooException(Exception):
    pass


class RolledBackError(KazooException):
    pass


class NoNodeError(KazooException):
    pass


class Create(typing.NamedTuple):
    path: str
    data: bytes
    acl: list
    flags: int


class CheckVersion(typing.NamedTuple):
    path: str
    version: int


class SetData(typing.NamedTuple):
    path: str
    data: bytes
    version: int


FAILURES = [
    (Create("/a", b"secret", [], 0), RolledBackError()),
    (CheckVersion("/b", 3), NoNodeError()),
    (SetData("/c", b"secret", -1), RolledBackError()),
]


@pytest.fixture
def kazoo(monkeypatch):
    package = types.ModuleType("kazoo")
    package.client = types.ModuleType("kazoo.client")
    package.client.KazooClient = mock.Mock()
    package.exceptions = types.ModuleType("kazoo.exceptions")
    package.exceptions.KazooException = KazooException
    for module in (package, package.client, package.exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    kazoo_utils._transaction_exception.cache_clear()
    yield package
    kazoo_utils._transaction_exception.cache_clear()


DEFAULTS = {
    "hosts": "localhost:2181",
    "logger": kazoo_utils.LOG,
    "read_only": False,
    "randomize_hosts": False,
    "keyfile": None,
    "keyfile_password": None,
    "certfile": None,
    "use_ssl": False,
    "verify_certs": True,
}


class TestMakeClient:
    def options(self, kazoo, conf):
        made = kazoo_utils.make_client(conf)
        assert made is kazoo.client.KazooClient.return_value
        (call,) = kazoo.client.KazooClient.mock_calls
        assert call.args == ()
        return call.kwargs

    def test_defaults(self, kazoo):
        assert self.options(kazoo, {}) == DEFAULTS

    def test_all_options(self, kazoo):
        retry, handler = object(), object()
        conf = {
            "hosts": "h:1",
            "read_only": "yes",
            "randomize_hosts": True,
            "keyfile": "k",
            "keyfile_password": "p",
            "certfile": "c",
            "use_ssl": "ON",
            "verify_certs": "off",
            "command_retry": retry,
            "connection_retry": None,
            "handler": handler,
            "timeout": "2.5",
            "ca": "/ca.pem",
            "anything": "else",
        }
        assert self.options(kazoo, conf) == {
            "hosts": "h:1",
            "logger": kazoo_utils.LOG,
            "read_only": True,
            "randomize_hosts": True,
            "keyfile": "k",
            "keyfile_password": "p",
            "certfile": "c",
            "use_ssl": True,
            "verify_certs": False,
            "command_retry": retry,
            "connection_retry": None,
            "handler": handler,
            "timeout": 2.5,
            "ca": "/ca.pem",
        }

    @pytest.mark.parametrize("text", ["1", "t", "true", "on", "y", "yes", " TRUE ", True, 1])
    def test_true_texts(self, kazoo, text):
        assert self.options(kazoo, {"read_only": text, "verify_certs": text}) == {**DEFAULTS, "read_only": True}

    @pytest.mark.parametrize("text", ["0", "f", "false", "off", "n", "no", "No", False, 0])
    def test_false_texts(self, kazoo, text):
        assert self.options(kazoo, {"read_only": text, "verify_certs": text}) == {**DEFAULTS, "verify_certs": False}

    @pytest.mark.parametrize("text", ["maybe", "", None, 2])
    def test_other_texts_are_the_default(self, kazoo, text):
        assert self.options(kazoo, {"read_only": text, "verify_certs": text}) == DEFAULTS

    @pytest.mark.parametrize(
        ("hosts", "expected"),
        [
            (" a:1,b:2 ", "a:1,b:2"),
            (["a:1", "b"], "a:1,b"),
            (("a",), "a"),
            ({"a:1"}, "a:1"),
            ({"a": 1, "b": "2"}, "a:1,b:2"),
        ],
    )
    def test_hosts(self, kazoo, hosts, expected):
        assert self.options(kazoo, {"hosts": hosts})["hosts"] == expected

    @pytest.mark.parametrize("hosts", [None, "", "  ", [], {}, 5, object()])
    def test_no_hosts(self, kazoo, hosts):
        with pytest.raises(TypeError, match="hosts"):
            kazoo_utils.make_client({"hosts": hosts})

    def test_a_bad_timeout(self, kazoo):
        with pytest.raises(ValueError):
            kazoo_utils.make_client({"timeout": "soon"})

    def test_the_table(self):
        assert [(key, default) for key, _, default in kazoo_utils.CONF_TRANSFERS] == [
            ("read_only", False),
            ("randomize_hosts", False),
            ("keyfile", None),
            ("keyfile_password", None),
            ("certfile", None),
            ("use_ssl", False),
            ("verify_certs", True),
        ]
        assert [key for key, convert, _ in kazoo_utils.CONF_TRANSFERS if convert is None] == [
            "keyfile",
            "keyfile_password",
            "certfile",
        ]


def test_finalize_client_stops_then_closes():
    client = mock.Mock()
    kazoo_utils.finalize_client(client)
    assert client.mock_calls == [mock.call.stop(), mock.call.close()]


class TestCheckCompatible:
    def client(self, *version):
        return mock.Mock(server_version=mock.Mock(return_value=version))

    @pytest.mark.parametrize(
        ("version", "bounds"),
        [
            ((3, 4, 0), {"min_version": (3, 4, 0)}),
            ((3, 4, 0), {"min_version": (3, 4), "max_version": (3, 5)}),
            ((3, 5), {"max_version": ("3", "5")}),
            ((3, 10), {"min_version": ("3", "9")}),
        ],
    )
    def test_inside(self, version, bounds):
        client = self.client(*version)
        assert kazoo_utils.check_compatible(client, **bounds) is None
        assert client.server_version.call_count == 1

    @pytest.mark.parametrize(
        ("version", "bounds", "told"),
        [
            ((3, 3, 9), {"min_version": (3, 4, 0)}, ["3.3.9", "3.4.0"]),
            ((3, 5, 1), {"max_version": (3, 5)}, ["3.5.1", "3.5"]),
            ((4,), {"min_version": (1,), "max_version": ("3",)}, ["4", "3"]),
        ],
    )
    def test_outside(self, version, bounds, told):
        with pytest.raises(exc.IncompatibleVersion) as caught:
            kazoo_utils.check_compatible(self.client(*version), **bounds)
        assert all(text in str(caught.value) for text in told)

    def test_without_bounds_nobody_is_asked(self):
        client = mock.Mock()
        kazoo_utils.check_compatible(client)
        assert client.mock_calls == []


class TestTransactions:
    def transaction(self, operations, results):
        return mock.Mock(operations=operations, commit=mock.Mock(return_value=results))

    def test_nothing_to_commit(self, kazoo):
        txn = self.transaction([], None)
        assert kazoo_utils.checked_commit(txn) == []
        assert txn.commit.call_count == 0

    def test_success(self, kazoo):
        results = ["/a", True]
        assert kazoo_utils.checked_commit(self.transaction([1, 2], results)) is results

    def test_failed_operations(self, kazoo):
        operations = [operation for operation, _ in FAILURES]
        results = [FAILURES[0][1], FAILURES[1][1], "fine"]
        with pytest.raises(kazoo_utils.KazooTransactionException) as caught:
            kazoo_utils.checked_commit(self.transaction(operations, results))
        assert isinstance(caught.value, KazooException)
        assert caught.value.failures == ((operations[0], results[0]), (operations[1], results[1]))
        assert "secret" not in str(caught.value)

    def test_missing_results(self, kazoo):
        with pytest.raises(kazoo_utils.KazooTransactionException) as caught:
            kazoo_utils.checked_commit(self.transaction([1, 2], ["/a"]))
        assert caught.value.failures == ()
        assert str(caught.value)

    def test_the_exception(self, kazoo):
        cls = kazoo_utils.KazooTransactionException
        assert cls is kazoo_utils.KazooTransactionException
        error = cls("m", iter(FAILURES))
        assert error.failures == tuple(FAILURES)
        assert error.args == ("m",)
        with pytest.raises(AttributeError):
            error.failures = ()
        loaded = pickle.loads(pickle.dumps(cls("m", [("op", ValueError("v"))])))
        assert type(loaded) is cls
        assert loaded.args == ("m",)
        assert repr(loaded.failures) == "(('op', ValueError('v')),)"

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [
            (-1, "RolledBackError@Create(path='/a'), NoNodeError@CheckVersion(path='/b', version=3), LAST"),
            (0, "RolledBackError@Create(path='/a'), NoNodeError@CheckVersion(path='/b', version=3), LAST"),
            (3, "RolledBackError@Create(path='/a'), NoNodeError@CheckVersion(path='/b', version=3), LAST"),
            (1, "RolledBackError@Create(path='/a') and 2 more..."),
            (2, "RolledBackError@Create(path='/a'), NoNodeError@CheckVersion(path='/b', version=3) and 1 more..."),
        ],
    )
    def test_prettify(self, limit, expected):
        text = kazoo_utils.prettify_failures(FAILURES, limit=limit)
        assert text == expected.replace("LAST", "RolledBackError@SetData(path='/c')")

    def test_prettify_nothing(self):
        assert kazoo_utils.prettify_failures([]) == ""


@pytest.mark.parametrize(
    ("call", "package"),
    [
        (lambda: kazoo_utils.make_client({}), "kazoo"),
        (lambda: kazoo_utils.KazooTransactionException, "kazoo"),
        (lambda: redis_utils.RedisClient, "redis"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(monkeypatch, call, package):
    kazoo_utils._transaction_exception.cache_clear()
    redis_utils._client_class.cache_clear()
    for name in ("kazoo", "kazoo.client", "kazoo.exceptions", "redis"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"'{package}'.*pip install taskflow\["):
        call()


@pytest.mark.parametrize("module", [kazoo_utils, redis_utils])
def test_unknown_attributes(module):
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = module.no_such_thing


class FakeRedis:
    """Notes what reaches the real client."""

    def __init__(self, *args, **kwargs):
        self.made_with = (args, kwargs)
        self.log = []

    def close(self):
        self.log.append("close")

    def execute_command(self, *args, **options):
        self.log.append(("execute_command", args, options))
        return "answer"

    def transaction(self, *args, **kwargs):
        self.log.append(("transaction", args, kwargs))
        return ["answer"]

    def pubsub(self, **kwargs):
        self.log.append(("pubsub", kwargs))
        return "subscriber"


class ConnectionFailed(Exception):
    pass


class ResponseError(Exception):
    pass


@pytest.fixture
def redis(monkeypatch):
    package = types.ModuleType("redis")
    package.Redis = FakeRedis
    package.exceptions = types.SimpleNamespace(ConnectionError=ConnectionFailed, ResponseError=ResponseError)
    monkeypatch.setitem(sys.modules, "redis", package)
    redis_utils._client_class.cache_clear()
    yield package
    redis_utils._client_class.cache_clear()


class TestRedisClient:
    def test_is_a_redis_client(self, redis):
        assert redis_utils.RedisClient is redis_utils.RedisClient
        client = redis_utils.RedisClient("h", port=5)
        assert isinstance(client, FakeRedis)
        assert client.made_with == (("h",), {"port": 5})
        assert client.closed is False
        assert client.execute_command("GET", "k", x=1) == "answer"
        assert client.transaction(len, "k") == ["answer"]
        assert client.pubsub(y=2) == "subscriber"
        assert client.log == [
            ("execute_command", ("GET", "k"), {"x": 1}),
            ("transaction", (len, "k"), {}),
            ("pubsub", {"y": 2}),
        ]

    def test_can_not_be_used_after_it_was_closed(self, redis):
        client = redis_utils.RedisClient()
        client.close()
        client.close()
        assert client.closed is True
        for call in (lambda: client.execute_command("GET"), lambda: client.transaction(len), client.pubsub):
            with pytest.raises(ConnectionFailed, match="closed"):
                call()
        assert client.log == ["close"]


class TestExpiry:
    def test_constants(self):
        assert redis_utils.DOES_NOT_EXPIRE == -1
        assert redis_utils.KEY_NOT_FOUND == -2
        assert isinstance(redis_utils.KEY_NOT_FOUND, redis_utils.UnknownExpire)

    @pytest.mark.parametrize(("answer", "expected"), [(10, 0.01), (0, 0.0), (2500, 2.5)])
    def test_seconds(self, answer, expected):
        client = mock.Mock(pttl=mock.Mock(return_value=answer))
        made = redis_utils.get_expiry(client, "k", prior_version="x")
        assert made == expected
        assert type(made) is float
        assert client.mock_calls == [mock.call.pttl("k")]

    @pytest.mark.parametrize("answer", [-1, -2])
    def test_unknown(self, answer):
        made = redis_utils.get_expiry(mock.Mock(pttl=mock.Mock(return_value=answer)), "k")
        assert made is redis_utils.UnknownExpire(answer)

    @pytest.mark.parametrize(
        ("expiry", "millis", "answer", "expected"), [(10, 10000, 1, True), (-10, 0, 0, False), (0.0015, 1, 1, True)]
    )
    def test_apply(self, expiry, millis, answer, expected):
        client = mock.Mock(pexpire=mock.Mock(return_value=answer))
        assert redis_utils.apply_expiry(client, "k", expiry, prior_version="x") is expected
        assert client.mock_calls == [mock.call.pexpire("k", millis)]


class TestServerVersion:
    @pytest.mark.parametrize(
        ("version", "minimum", "expected"),
        [
            ("2.6.1", (2, 6), True),
            ("2.6.1", (2, 7), False),
            ("2.6", (2, 6), True),
            ("6.0.0-rc1", (6, 0, 0), True),
            ("7.2.4.v1", (7, 2, 5), False),
            ("3.0rc2", (3, 0), True),
            ("10", (9, 9), True),
        ],
    )
    def test_comparison(self, redis, version, minimum, expected):
        client = mock.Mock(info=mock.Mock(return_value={"redis_version": version}))
        assert redis_utils.is_server_new_enough(client, minimum) == (expected, version)
        assert client.mock_calls == [mock.call.info()]

    def test_a_known_version_is_not_asked_for(self):
        client = mock.Mock()
        assert redis_utils.is_server_new_enough(client, (2,), prior_version="3.0") == (True, "3.0")
        assert client.mock_calls == []

    @pytest.mark.parametrize("default", [True, False])
    @pytest.mark.parametrize("info", [{}, {"redis_version": ""}, ResponseError("no such command")])
    def test_no_version(self, redis, info, default):
        client = mock.Mock(info=mock.Mock(side_effect=[info]))
        assert redis_utils.is_server_new_enough(client, (2,), default=default, prior_version="") == (default, "")

    def test_text_without_numbers(self, redis):
        client = mock.Mock(info=mock.Mock(return_value={"redis_version": "unstable"}))
        assert redis_utils.is_server_new_enough(client, (2,), default=True) == (True, "unstable")
