# SPDX-License-Identifier: Apache-2.0
"""How is the client made, started and asked for the server's version, and what do its errors become?"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from kazoo import exceptions as k_exc

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence.backends.zookeeper import units
from taskflow.utils import kazoo_utils, uris

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LOG = logging.getLogger(__name__)

# Seconds; what the client itself waits for at most.
_START_TIMEOUT = 15.0

_SECRETS = ("username", "password")

# Reads the option that tells whether the server's version is looked at.
CHECKED = kazoo_utils._to_bool(default=True)


def complete(conf: dict[str, Any]) -> dict[str, Any]:
    """Returns options with those that their address has, where they are not given by themselves.

    Args:
        conf: the options; not modified.
    """
    made = dict(conf)
    address = conf.get("connection")
    if isinstance(address, str) and address.partition(":")[2].startswith("//"):
        uri = uris.parse_uri(address)
        hosts = uri.netloc.rpartition("@")[2]
        if hosts:
            made.setdefault("hosts", hosts)
        if uri.path.strip("/"):
            made.setdefault("path", uri.path)
    username, password = map(conf.get, _SECRETS)
    if username and password:
        made.setdefault("auth_data", [("digest", f"{username}:{password}")])
    return made


def number(conf: Mapping[str, Any], name: str, default: Any) -> Any:
    """Reads an option that is a number of the default's type, and not negative.

    Raises:
        ValueError: it is not.
    """
    value = conf.get(name)
    if value is None:
        return default
    try:
        found = type(default)(value)
    except (TypeError, ValueError):
        found = -1
    if not found >= 0:
        raise ValueError(f"The option {name!r} must be a number of 0 or more, not {value!r}")
    return found


def is_stopped(client: Any) -> bool:
    """Tells whether a client does not try to connect any more."""
    return getattr(client, "client_state", None) in {"CLOSED", "AUTH_FAILED"}


def start(client: Any, timeout: float = _START_TIMEOUT) -> None:
    """Starts a client, or waits for one that is about to connect again.

    Raises:
        Exception: whatever the client raises when it can not connect in time.
    """
    if client.connected:
        return
    give_up = time.monotonic() + timeout
    # To start it while it connects by itself would wait for that to end, and then fail.
    while getattr(client, "client_state", "CLOSED") in {"CONNECTING", "EXPIRED_SESSION"}:
        if client.connected:
            return
        if time.monotonic() > give_up:
            raise client.handler.timeout_exception("Connection time-out")
        time.sleep(0.01)
    if not client.connected:
        client.start(timeout=timeout)


@contextlib.contextmanager
def reporting(client: Any, what: str) -> Iterator[None]:
    """Makes errors of a client those of this library.

    Args:
        client: the client.
        what: continues "ZooKeeper could not".

    Raises:
        NotFound: a node is missing.
        Duplicate: a node is there already.
        StorageFailure: anything else that went wrong.
    """
    try:
        yield
    except exc.TaskFlowException:
        raise
    except k_exc.NoNodeError as e:
        raise exc.NotFound(f"ZooKeeper could not {what}: a node is missing", cause=e) from e
    except k_exc.NodeExistsError as e:
        raise exc.Duplicate(f"ZooKeeper could not {what}: a node is there already", cause=e) from e
    except Exception as e:
        timeout = client.handler.timeout_exception
        if not isinstance(e, (k_exc.KazooException, timeout, OSError, ValueError, TypeError)):
            raise
        failure = exc.StorageFailure(f"ZooKeeper could not {what}", cause=e)
        # What the client refuses before it sends it is refused every time.
        failure.permanent = isinstance(e, (*units.PERMANENT, ValueError, TypeError))  # type: ignore[attr-defined]
        raise failure from e


def check_version(client: Any, least: Iterable[int]) -> None:
    """Looks whether the server is new enough.

    Raises:
        IncompatibleVersion: it is not.
    """
    try:
        kazoo_utils.check_compatible(client, min_version=least)
    except exc.IncompatibleVersion:
        raise
    except Exception:
        # The client asks by a command that servers refuse unless they are configured to answer it, and that it can not
        # send through TLS. What the version matters for is whether there are transactions, so try one.
        LOG.debug("The server does not tell its version, trying what it can do", exc_info=True)
        transaction = client.transaction()
        transaction.check("/", -1)
        transaction.commit_async().get(timeout=_START_TIMEOUT)
