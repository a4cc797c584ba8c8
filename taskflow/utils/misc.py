# SPDX-License-Identifier: Apache-2.0
"""Where are the small functions that user programs import from this path?

Everything that needs a larger module of the standard library imports it when it is called: most programs use two or
three of these functions. What has a question of its own to answer stands in a module of its own.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import io
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from taskflow.utils import cached, decoding, uris

if TYPE_CHECKING:
    import datetime as dt
    import types
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from taskflow.types import failure

T = TypeVar("T")

UNKNOWN_HOSTNAME = "<unknown>"
NUMERIC_TYPES = (int, float)

StrEnum = enum.StrEnum

cachedproperty = cached.cachedproperty

binary_encode = decoding.binary_encode
binary_decode = decoding.binary_decode
decode_json = decoding.decode_json
decode_msgpack = decoding.decode_msgpack

parse_uri = uris.parse_uri
merge_uri = uris.merge_uri
extract_driver_and_conf = uris.extract_driver_and_conf


class StringIO(io.StringIO):
    """A text buffer that can write lines."""

    def write_nl(self, value: str, linesep: str = os.linesep) -> None:
        """Writes a text and a line separator.

        Args:
            value: the text.
            linesep: what to write after it.
        """
        self.write(value)
        self.write(linesep)


class BytesIO(io.BytesIO):
    """A buffer of bytes that can be used again."""

    def reset(self) -> None:
        """Empties the buffer."""
        self.seek(0)
        self.truncate()


def get_hostname(unknown_hostname: str = UNKNOWN_HOSTNAME) -> str:
    """Tells the fully qualified name of this host.

    Args:
        unknown_hostname: what to return when it is not known.

    Returns:
        The name.
    """
    import socket

    try:
        return socket.getfqdn() or unknown_hostname
    except OSError:
        return unknown_hostname


def match_type(obj: object, matchers: Iterable[tuple[Any, T]]) -> T | None:
    """Finds what belongs to the type of an object.

    Args:
        obj: the object.
        matchers: pairs of a type (or tuple of types) and what belongs to it.

    Returns:
        What belongs to the first type that the object is an instance of, or ``None``.
    """
    for kinds, result in matchers:
        if isinstance(obj, kinds):
            return result
    return None


def countdown_iter(start_at: float, decr: float = 1) -> Iterator[float]:
    """Counts down while there is something left.

    Args:
        start_at: the first value.
        decr: how much is taken away in each step.

    Yields:
        The values above zero.

    Raises:
        ValueError: ``decr`` is not above zero (raised when the first value is asked for).
    """
    if decr <= 0:
        raise ValueError(f"The decrement must be above 0, not {decr}")
    while start_at > 0:
        yield start_at
        start_at -= decr


def reverse_enumerate(items: Sequence[T]) -> Iterator[tuple[int, T]]:
    """Enumerates a sequence from its end, without copying it.

    Args:
        items: the sequence.

    Yields:
        Pairs of an index and the item there.
    """
    for i in range(len(items) - 1, -1, -1):
        yield i, items[i]


def sequence_minus(seq1: Iterable[T], seq2: Iterable[T]) -> list[T]:
    """Takes the items of one sequence away from another one.

    Args:
        seq1: the sequence to take away from.
        seq2: what to take away; each item takes one equal item with it.

    Returns:
        What is left, in order.
    """
    left = list(seq1)
    for item in seq2:
        with contextlib.suppress(ValueError):
            left.remove(item)
    return left


def pick_first_not_none(*values: T | None) -> T | None:
    """Finds the first value that is not ``None``.

    Args:
        values: the values.

    Returns:
        That value, or ``None`` when there is none.
    """
    return next((value for value in values if value is not None), None)


def as_int(obj: Any, quiet: bool = False) -> Any:
    """Makes a whole number of an object, also of texts with a fraction or exponent.

    Args:
        obj: the object.
        quiet: return the object itself when it is no number.

    Returns:
        The number; fractions are cut off.

    Raises:
        TypeError: the object is no number and ``quiet`` is false.
    """
    for convert in (int, lambda value: int(float(value))):
        try:
            return convert(obj)
        except (ValueError, TypeError, OverflowError):
            continue
    if quiet:
        return obj
    raise TypeError(f"A number is expected, {obj!r} can not be made an integer")


def clamp(value: Any, minimum: Any, maximum: Any, on_clamped: Callable[[], object] | None = None) -> Any:
    """Keeps a value inside of bounds.

    Args:
        value: the value.
        minimum: the lowest value permitted.
        maximum: the highest value permitted.
        on_clamped: called when the value was outside.

    Returns:
        The value, or the bound that it crossed.

    Raises:
        ValueError: the bounds are in the wrong order.
    """
    if minimum > maximum:
        raise ValueError(f"The minimum {minimum} must not be above the maximum {maximum}")
    if value > maximum:
        bounded = maximum
    elif value < minimum:
        bounded = minimum
    else:
        return value
    if on_clamped is not None:
        on_clamped()
    return bounded


def fix_newlines(text: str, replacement: str = os.linesep) -> str:
    """Joins the lines of a text anew.

    Args:
        text: the text, with any kind of line ends.
        replacement: what to put between the lines.

    Returns:
        The text without line end after the last line.
    """
    return replacement.join(text.splitlines())


def is_iterable(obj: object) -> bool:
    """Tells whether an object can be iterated over, texts not counted.

    Args:
        obj: the object.

    Returns:
        Whether it has ``__iter__`` and is no ``str``.
    """
    from collections import abc

    return isinstance(obj, abc.Iterable) and not isinstance(obj, str)


def safe_copy_dict(obj: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None) -> dict[Any, Any]:
    """Makes a shallow copy of a dictionary that may be absent.

    Args:
        obj: a dictionary, pairs, or anything false.

    Returns:
        A new dictionary.
    """
    return dict(obj) if obj else {}


def get_version_string(obj: Any) -> str | None:
    """Tells the version of an object as text.

    Args:
        obj: something that may have an attribute ``version``.

    Returns:
        The version, with the parts of a list or tuple joined by dots, or ``None`` when it has none.
    """
    version = getattr(obj, "version", None)
    if version is None:
        return None
    if isinstance(version, (list, tuple)):
        return ".".join(map(str, version))
    return version if isinstance(version, str) else str(version)


def millis_to_datetime(milliseconds: float | str) -> dt.datetime:
    """Makes a local time of a timestamp.

    Args:
        milliseconds: milliseconds since the epoch.

    Returns:
        The local time without time zone.
    """
    import datetime as dt

    return dt.datetime.fromtimestamp(float(milliseconds) / 1000)  # noqa: DTZ006 - documented as naive


def _class_in(module: types.ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as e:
            raise ImportError(f"Module {module.__name__!r} has no class {path!r}") from e
    return found


def find_subclasses(locations: Iterable[Any], base_cls: type[T], exclude_hidden: bool = True) -> set[type[T]]:
    """Finds classes.

    Args:
        locations: where they are: names of modules, ``"module:Class"``, modules, or the classes themselves.
        base_cls: what they must be derived from; it counts itself.
        exclude_hidden: leave out the members of modules whose names start with an underscore.

    Returns:
        The classes.

    Raises:
        TypeError: a location is something else, or names a class that is not derived from ``base_cls``.
        ImportError: a module or class does not exist.
    """
    import importlib
    import types

    found: set[type[T]] = set()
    for location in locations:
        place: Any = location
        if isinstance(location, str):
            module_name, colon, path = location.partition(":")
            place = importlib.import_module(module_name)
            if colon:
                place = _class_in(place, path)
        if isinstance(place, types.ModuleType):
            members = [member for name, member in vars(place).items() if not (exclude_hidden and name.startswith("_"))]
            found.update(member for member in members if isinstance(member, type) and issubclass(member, base_cls))
        elif isinstance(place, type) and issubclass(place, base_cls):
            found.add(place)
        else:
            raise TypeError(
                f"{location!r} must be a module or a class derived from {base_cls.__name__!r}, or the name of one"
            )
    return found


# Decorators and context managers.


class _Frozen(Protocol):
    frozen: Any


def disallow_when_frozen(excp_cls: type[Exception]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Makes a decorator for methods that must not be called while their object is frozen.

    Args:
        excp_cls: raised (without arguments) when the attribute ``frozen`` of the object is true.

    Returns:
        The decorator.
    """

    def decorate(method: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(method)
        def guarded(self: _Frozen, *args: Any, **kwargs: Any) -> T:
            if self.frozen:
                raise excp_cls
            return method(self, *args, **kwargs)

        return guarded

    return decorate


@contextlib.contextmanager
def capture_failure() -> Iterator[failure.Failure]:
    """Captures the exception that is being handled.

    Yields:
        Its failure.

    Raises:
        RuntimeError: no exception is being handled.
    """
    exc_info = sys.exc_info()
    if exc_info[0] is None:
        raise RuntimeError("No exception is being handled, so there is no failure to capture")
    # Failures stand on this module, so it can not import them before it is complete.
    from taskflow.types import failure

    yield failure.Failure(exc_info)
