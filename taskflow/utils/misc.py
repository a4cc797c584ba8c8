# SPDX-License-Identifier: Apache-2.0
"""Where are the small functions that user programs import from this path?

Everything that needs a larger module of the standard library imports it when it is called: most programs use two or three
of these functions.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import io
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

if TYPE_CHECKING:
    import datetime
    import types
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from urllib import parse

    from taskflow.types import failure

    class Uri(parse.SplitResult):
        """A split URI whose query can be asked for as a dictionary."""

        def params(self, collapse: bool = True) -> dict[str, Any]: ...


T = TypeVar("T")
Obj = TypeVar("Obj")

UNKNOWN_HOSTNAME = "<unknown>"
NUMERIC_TYPES = (int, float)

StrEnum = enum.StrEnum

_MISSING = object()

# RFC 3986 section 3.1.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


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


def millis_to_datetime(milliseconds: float | str) -> datetime.datetime:
    """Makes a local time of a timestamp.

    Args:
        milliseconds: milliseconds since the epoch.

    Returns:
        The local time without time zone.
    """
    import datetime

    return datetime.datetime.fromtimestamp(float(milliseconds) / 1000)  # noqa: DTZ006 - documented as naive


# Texts, JSON and msgpack.


def binary_encode(text: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    """Encodes a text, unless it is bytes already.

    Args:
        text: the text.
        encoding: how to encode it.
        errors: what to do about characters that the encoding does not have.

    Returns:
        Bytes.

    Raises:
        TypeError: neither text nor bytes.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode(encoding, errors)
    raise TypeError(f"Text or bytes are expected for encoding, not {type(text).__name__}")


def binary_decode(data: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Decodes bytes, unless they are text already.

    Args:
        data: the bytes.
        encoding: how to decode them; where that fails, UTF-8 is tried.
        errors: what to do about bytes that can not be decoded.

    Returns:
        Text.

    Raises:
        TypeError: neither text nor bytes.
        UnicodeDecodeError: the bytes can not be decoded.
    """
    if isinstance(data, str):
        return data
    if not isinstance(data, bytes):
        raise TypeError(f"Text or bytes are expected for decoding, not {type(data).__name__}")
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError:
        return data.decode("utf-8", errors)


def _check_root(root: Any, root_types: Any, kind: str) -> Any:
    if root_types:
        permitted = root_types if isinstance(root_types, type) else tuple(root_types)
        if not isinstance(root, permitted):
            raise ValueError(  # noqa: TRY004 - it is the data that is wrong
                f"The {kind} data must have one of {root_types} as its root, not {type(root).__name__}"
            )
    return root


def decode_json(raw_data: str | bytes, root_types: Any = (dict,)) -> Any:
    """Decodes JSON.

    Args:
        raw_data: the JSON text.
        root_types: the types of which the outermost object must be; nothing permits all.

    Returns:
        The decoded object.

    Raises:
        ValueError: no JSON, or another outermost object.
        TypeError: neither text nor bytes.
    """
    import json

    text = binary_decode(raw_data)
    try:
        root = json.loads(text)
    except RecursionError as e:
        raise ValueError("The JSON data is nested too deeply") from e
    return _check_root(root, root_types, "JSON")


def decode_msgpack(raw_data: bytes, root_types: Any = (dict,)) -> Any:
    """Decodes msgpack.

    Args:
        raw_data: the bytes.
        root_types: the types of which the outermost object must be; nothing permits all.

    Returns:
        The decoded object.

    Raises:
        ValueError: no msgpack, or another outermost object.
        TypeError: no bytes.
        ImportError: the ``msgpack`` package is not installed.
    """
    import msgpack  # type: ignore[import-untyped,unused-ignore]

    if not isinstance(raw_data, (bytes, bytearray, memoryview)):
        raise TypeError(f"Bytes are expected as msgpack data, not {type(raw_data).__name__}")
    try:
        root = msgpack.unpackb(raw_data, raw=False, strict_map_key=False)
    except Exception as e:  # it raises exceptions of many unrelated types
        raise ValueError(f"The data is no msgpack: {e}") from e
    return _check_root(root, root_types, "msgpack")


# URIs and drivers.


@functools.cache
def _uri_class() -> type[Uri]:
    """Makes the class of split URIs, on demand as `urllib.parse` is a large import."""
    from urllib import parse

    class Uri(parse.SplitResult):
        """A split URI whose query can be asked for as a dictionary."""

        __slots__ = ()

        def params(self, collapse: bool = True) -> dict[str, Any]:
            """Tells the parameters of the query.

            Args:
                collapse: of a repeated name keep the last value only, instead of the list of its values.

            Returns:
                Names with values; those with blank values are left out.
            """
            found = parse.parse_qs(self.query)
            return {name: values[-1] if collapse or len(values) == 1 else values for name, values in found.items()}

    return Uri  # type: ignore[return-value]


def parse_uri(uri: str) -> Uri:
    """Splits a URI.

    Args:
        uri: the URI.

    Returns:
        A `urllib.parse.SplitResult` with one more method, ``params``, for the query.

    Raises:
        TypeError: no text.
        ValueError: the text does not start with a scheme.
    """
    if not isinstance(uri, str):
        raise TypeError(f"A URI must be a text, not {type(uri).__name__}")
    if not _SCHEME.match(uri):
        raise ValueError(f"A URI must start with a scheme and a colon, {uri!r} does not")
    from urllib import parse

    return _uri_class()(*parse.urlsplit(uri))


def merge_uri(uri: Uri, conf: dict[str, Any]) -> dict[str, Any]:
    """Adds what a URI says to a configuration, which has precedence.

    Args:
        uri: the split URI.
        conf: the configuration; it is changed.

    Returns:
        The same configuration.

    Raises:
        ValueError: the port is out of range.
    """
    port = uri.port
    if uri.username:
        conf.setdefault("username", uri.username)
    if uri.password:
        conf.setdefault("password", uri.password)
    if port is not None:
        conf.setdefault("port", port)
    hostname = uri.hostname
    if hostname:
        if port is not None:
            # Without brackets nobody could tell the last part of an IPv6 address from the port.
            hostname = f"[{hostname}]:{port}" if ":" in hostname else f"{hostname}:{port}"
        conf.setdefault("hostname", hostname)
    for name, value in uri.params().items():
        conf.setdefault(name, value)
    return conf


def extract_driver_and_conf(conf: str | Mapping[str, Any], conf_key: str) -> tuple[Any, Any]:
    """Tells which driver a configuration asks for.

    Args:
        conf: the configuration, or only the value of ``conf_key``.
        conf_key: where in the configuration the name of a driver, or a URI with it as scheme, is.

    Returns:
        The name of the driver, and the configuration together with what the URI says.

    Raises:
        KeyError: the configuration does not have that key.
    """
    if isinstance(conf, str):
        conf = {conf_key: conf}
    driver = conf[conf_key]
    try:
        uri = parse_uri(driver)
    except (TypeError, ValueError):
        return driver, conf
    return uri.scheme, merge_uri(uri, dict(conf))


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

    found = set()
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

    yield failure.Failure(exc_info)  # type: ignore[arg-type]


class _Guard:
    """The lock of one value that is being computed, and how many threads want it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0


# Guards exist only while values are computed, so that instances need no attribute of their own for them.
_guards: dict[tuple[int, str], _Guard] = {}
_guards_lock = threading.Lock()


class cachedproperty:  # noqa: N801 - used as a decorator
    """A read-only property that is computed once for each instance, by one thread.

    The value is kept in the instance as an ordinary attribute named like the method with an underscore before it.

    Args:
        fget: the method; or the name of the attribute that keeps the value, then the method is decorated by the result.
        require_lock: let other threads wait while one computes the value.
    """

    def __init__(self, fget: Callable[[Any], Any] | str | None = None, require_lock: bool = True) -> None:
        self._require_lock = require_lock
        self._attr_name = ""
        self._fget: Callable[[Any], Any] | None = None
        self.__doc__ = None
        if isinstance(fget, str):
            self._attr_name = fget
        elif fget is not None:
            self(fget)

    def __call__(self, fget: Callable[[Any], Any]) -> cachedproperty:
        """Decorates the method.

        Args:
            fget: the method.

        Returns:
            This property.
        """
        self._fget = fget
        self._attr_name = self._attr_name or f"_{fget.__name__}"
        self.__doc__ = getattr(fget, "__doc__", None)
        return self

    @overload
    def __get__(self, instance: None, owner: type) -> cachedproperty: ...

    @overload
    def __get__(self, instance: Obj, owner: type[Obj] | None = None) -> Any: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = getattr(instance, self._attr_name, _MISSING)
        if value is not _MISSING:
            return value
        if not self._require_lock:
            return self._compute(instance)
        key = (id(instance), self._attr_name)
        with _guards_lock:
            guard = _guards.setdefault(key, _Guard())
            guard.users += 1
        try:
            with guard.lock:
                value = getattr(instance, self._attr_name, _MISSING)
                return self._compute(instance) if value is _MISSING else value
        finally:
            with _guards_lock:
                guard.users -= 1
                if not guard.users:
                    del _guards[key]

    def _compute(self, instance: Any) -> Any:
        if self._fget is None:
            raise AttributeError(f"Cached property {self._attr_name!r} has no method that computes it")
        value = self._fget(instance)
        setattr(instance, self._attr_name, value)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        raise AttributeError(f"Cached property of {type(instance).__name__!r} can not be set")

    def __delete__(self, instance: Any) -> None:
        raise AttributeError(f"Cached property of {type(instance).__name__!r} can not be deleted")
