# SPDX-License-Identifier: Apache-2.0
"""How is Redis reached, and when do its keys expire?

The ``redis`` package is imported when it is used, so this module can be imported without it.
"""

from __future__ import annotations

import enum
import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class RedisClient:
        """A Redis client that can not be used after it was closed."""

        closed: bool

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...


_LEADING_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


class UnknownExpire(enum.IntEnum):
    """What Redis answers in place of the time until a key expires."""

    DOES_NOT_EXPIRE = -1
    KEY_NOT_FOUND = -2


DOES_NOT_EXPIRE = UnknownExpire.DOES_NOT_EXPIRE
KEY_NOT_FOUND = UnknownExpire.KEY_NOT_FOUND


def _import_redis() -> Any:
    try:
        import redis
    except ImportError as e:
        raise ImportError("Redis needs the package 'redis': pip install taskflow[redis]") from e
    return redis


def __getattr__(name: str) -> Any:
    if name == "RedisClient":
        return _client_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _client_class() -> type[RedisClient]:
    """Makes the class `RedisClient`, on demand as its base class is that of the redis package."""
    redis = _import_redis()

    class RedisClient(redis.Redis):  # type: ignore[misc,name-defined]
        """A client that can not be used after it was closed, instead of silently connecting again."""

        closed = False

        def close(self) -> None:
            """Closes the client; repeated calls do nothing."""
            if not self.closed:
                self.closed = True
                super().close()

        def _check_open(self) -> None:
            if self.closed:
                raise redis.exceptions.ConnectionError("This Redis client was closed; make a new one to go on")

        def execute_command(self, *args: Any, **options: Any) -> Any:
            """Sends a command.

            Args:
                args: the command and its arguments.
                options: for the parser of the answer.

            Returns:
                The answer.

            Raises:
                ConnectionError: the client was closed.
            """
            self._check_open()
            return super().execute_command(*args, **options)

        def transaction(self, *args: Any, **kwargs: Any) -> Any:
            """Runs a transaction.

            Args:
                args: a function and the keys to watch.
                kwargs: further options.

            Returns:
                The results of the commands.

            Raises:
                ConnectionError: the client was closed.
            """
            self._check_open()
            return super().transaction(*args, **kwargs)

        def pubsub(self, **kwargs: Any) -> Any:
            """Makes an object to subscribe with.

            Args:
                kwargs: its options.

            Returns:
                The object.

            Raises:
                ConnectionError: the client was closed.
            """
            self._check_open()
            return super().pubsub(**kwargs)

    # Under this name the class is found again, for example by pickle.
    RedisClient.__qualname__ = "RedisClient"
    return RedisClient


def get_expiry(
    client: Any,
    key: Any,
    prior_version: str | None = None,  # noqa: ARG001 - older servers needed it to be told
) -> UnknownExpire | float:
    """Asks when a key expires.

    Args:
        client: the client.
        key: the key.
        prior_version: not needed.

    Returns:
        Seconds, or a member of `UnknownExpire`.
    """
    milliseconds = client.pttl(key)
    try:
        return UnknownExpire(milliseconds)
    except ValueError:
        return float(milliseconds / 1000.0)


def apply_expiry(
    client: Any,
    key: Any,
    expiry: float,
    prior_version: str | None = None,  # noqa: ARG001 - older servers needed it to be told
) -> bool:
    """Lets a key expire.

    Args:
        client: the client.
        key: the key.
        expiry: seconds from now; below zero is at once.
        prior_version: not needed.

    Returns:
        Whether the key exists.
    """
    return bool(client.pexpire(key, max(0, int(expiry * 1000))))


def is_server_new_enough(
    client: Any, min_version: tuple[int, ...], default: bool = False, prior_version: str | None = None
) -> tuple[bool, str]:
    """Tells whether the server has at least some version.

    Args:
        client: the client.
        min_version: the parts of that version.
        default: what to answer when the version of the server is not known.
        prior_version: the version text of an earlier call, to save asking again.

    Returns:
        Whether it is new enough, and its version text.
    """
    text = prior_version or _ask_version(client)
    numbers = _LEADING_NUMBERS.match(text)
    if numbers is None:
        return default, text
    found = tuple(int(part) for part in numbers.group().split("."))
    return found >= tuple(min_version), text


def _ask_version(client: Any) -> str:
    redis = _import_redis()
    try:
        return str(client.info().get("redis_version") or "")
    except redis.exceptions.ResponseError:  # forks and proxies may not have the command
        return ""
