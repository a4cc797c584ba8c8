# SPDX-License-Identifier: Apache-2.0
"""How is ZooKeeper reached, and how is told what went wrong there?

The ``kazoo`` package is imported when it is used, so this module can be imported without it.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Failures = Sequence[tuple[Any, Exception]]

    class KazooTransactionException(Exception):
        """Operations of a transaction failed."""

        def __init__(self, message: str, failures: Iterable[tuple[Any, Exception]]) -> None: ...

        @property
        def failures(self) -> tuple[tuple[Any, Exception], ...]:
            """Pairs of an operation and the exception that it led to."""


LOG = logging.getLogger(__name__)

_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})


def _to_bool(default: bool) -> Callable[[Any], bool]:
    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        return text in _TRUE or (default and text not in _FALSE)

    return convert


# Options that are always given to the client: name in the configuration and of the argument, conversion, default.
CONF_TRANSFERS: tuple[tuple[str, Callable[[Any], Any] | None, Any], ...] = (
    ("read_only", _to_bool(False), False),
    ("randomize_hosts", _to_bool(False), False),
    ("keyfile", None, None),
    ("keyfile_password", None, None),
    ("certfile", None, None),
    ("use_ssl", _to_bool(False), False),
    ("verify_certs", _to_bool(True), True),
)

# Options that are only given to the client when they are configured.
_OPTIONAL_TRANSFERS: tuple[tuple[str, Callable[[Any], Any] | None], ...] = (
    ("command_retry", None),
    ("connection_retry", None),
    ("handler", None),
    ("timeout", float),
    ("ca", None),
    ("check_hostname", _to_bool(False)),
    ("auth_data", None),
    ("sasl_options", None),
    ("default_acl", None),
)


def _import_kazoo(module: str) -> Any:
    try:
        return importlib.import_module(f"kazoo.{module}")
    except ImportError as e:
        raise ImportError("ZooKeeper needs the package 'kazoo': pip install taskflow[zookeeper]") from e


def __getattr__(name: str) -> Any:
    if name == "KazooTransactionException":
        return _transaction_exception()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _transaction_exception() -> type[KazooTransactionException]:
    """Makes the class `KazooTransactionException`, on demand as its base class is kazoo's."""
    exceptions = _import_kazoo("exceptions")

    class KazooTransactionException(exceptions.KazooException):  # type: ignore[misc,name-defined]
        """Operations of a transaction failed.

        Args:
            message: what happened, for people.
            failures: pairs of an operation and the exception that it led to.
        """

        def __init__(self, message: str, failures: Iterable[tuple[Any, Exception]]) -> None:
            super().__init__(message)
            self._failures = tuple(failures)

        def __reduce__(self) -> tuple[Any, ...]:
            return type(self), (*self.args, self._failures)

        @property
        def failures(self) -> tuple[tuple[Any, Exception], ...]:
            """Pairs of an operation and the exception that it led to."""
            return self._failures

    # Under this name the class is found again, for example by pickle.
    KazooTransactionException.__qualname__ = "KazooTransactionException"
    return KazooTransactionException


def prettify_failures(failures: Failures, limit: int = -1) -> str:
    """Formats the failed operations of a transaction, without the data of the nodes.

    Args:
        failures: pairs of an operation and the exception that it led to.
        limit: how many to format at most; all when it is not above zero.

    Returns:
        The text.
    """
    shown = failures[:limit] if 0 < limit < len(failures) else failures
    texts = []
    for operation, error in shown:
        about = f"path={operation.path!r}"
        version = getattr(operation, "version", -1)
        if version != -1:
            about += f", version={version}"
        texts.append(f"{type(error).__name__}@{type(operation).__name__}({about})")
    text = ", ".join(texts)
    return f"{text} and {len(failures) - len(shown)} more..." if len(shown) < len(failures) else text


def checked_commit(txn: Any) -> Any:
    """Commits a transaction and looks whether all of its operations succeeded.

    Args:
        txn: the transaction.

    Returns:
        The results of the operations.

    Raises:
        KazooTransactionException: at least one of them failed.
    """
    exceptions = _import_kazoo("exceptions")
    operations = list(txn.operations)
    if not operations:
        return []
    results = txn.commit()
    failures = [
        (operation, result)
        for operation, result in zip(operations, results, strict=False)
        if isinstance(result, exceptions.KazooException)
    ]
    error_class = _transaction_exception()
    if len(results) != len(operations):
        raise error_class(f"A transaction of {len(operations)} operations returned {len(results)} results", failures)
    if failures:
        raise error_class(
            f"{len(failures)} of {len(operations)} operations failed: {prettify_failures(failures, 3)}",
            failures,
        )
    return results


def finalize_client(client: Any) -> None:
    """Stops and closes a client.

    Args:
        client: the client, which need not have been started.
    """
    client.stop()
    client.close()


def _numbers(version: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in version)


def check_compatible(
    client: Any, min_version: Iterable[Any] | None = None, max_version: Iterable[Any] | None = None
) -> None:
    """Checks the version of the server.

    Args:
        client: a started client.
        min_version: the parts of the oldest version permitted.
        max_version: the parts of the newest version permitted.

    Raises:
        IncompatibleVersion: the server is too old or too new.
    """
    if min_version is None and max_version is None:
        return
    found = _numbers(client.server_version())
    for bound, what, is_wrong in (
        (min_version, "at least", tuple.__lt__),
        (max_version, "at most", tuple.__gt__),
    ):
        if bound is not None and is_wrong(found, _numbers(bound)):
            wanted = ".".join(map(str, _numbers(bound)))
            raise exc.IncompatibleVersion(
                f"ZooKeeper of version {what} {wanted} is needed, the server has {'.'.join(map(str, found))}"
            )


def _join_hosts(hosts: Any) -> str:
    if isinstance(hosts, str):
        joined = hosts.strip()
    elif isinstance(hosts, dict):
        joined = ",".join(f"{host}:{port}" for host, port in hosts.items())
    elif isinstance(hosts, (list, tuple, set, frozenset)):
        joined = ",".join(map(str, hosts))
    else:
        joined = ""
    if not joined:
        raise TypeError(f"ZooKeeper hosts must be a text, a list of texts or a dictionary of ports, not {hosts!r}")
    return joined


def make_client(conf: Mapping[str, Any]) -> Any:
    """Makes a client.

    Args:
        conf: the options in `CONF_TRANSFERS`, ``hosts``, ``timeout`` (seconds), ``command_retry``,
            ``connection_retry``, ``handler``, ``ca`` (path of a file with certificates), ``check_hostname``,
            ``auth_data``, ``sasl_options`` and ``default_acl``; all may be left out.

    Returns:
        The client, not started yet.

    Raises:
        TypeError: there are no hosts.
        ValueError: the timeout is no number.
    """
    client = _import_kazoo("client")
    options: dict[str, Any] = {"hosts": _join_hosts(conf.get("hosts", "localhost:2181")), "logger": LOG}
    for name, convert, default in CONF_TRANSFERS:
        value = conf.get(name, default)
        options[name] = value if convert is None else convert(value)
    for name, convert in _OPTIONAL_TRANSFERS:
        if name in conf:
            options[name] = conf[name] if convert is None else convert(conf[name])
    return client.KazooClient(**options)
