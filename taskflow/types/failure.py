# SPDX-License-Identifier: Apache-2.0
"""What is known about an exception that was caught, and how does that travel through records and between processes?"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from taskflow import exceptions as exc
from taskflow.utils import names, tracebacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException | None, TracebackType | None]

# In the nested dict form each cause repeats all that follow it, so its size doubles with each.
# This many are still small.
_NESTED_CAUSES = 5

# Chains are cut here, nearest causes first: who retries in an ``except`` block for days chains thousands of exceptions.
_MAX_CAUSES = 100


def _copy_exc_info(exc_info: Sequence[Any] | None) -> ExcInfo | None:
    """Makes an own tuple with the same type and traceback and, where that is possible, a copy of the exception."""
    if exc_info is None:
        return None
    exc_type, value, tb = exc_info
    if value is not None:
        import copy

        try:
            duplicate = copy.copy(value)
            if duplicate is not value:
                # These are no part of an exception's own state, yet printing the copy should tell the same story.
                duplicate.__cause__ = value.__cause__
                duplicate.__context__ = value.__context__
                duplicate.__suppress_context__ = value.__suppress_context__
            value = duplicate
        except Exception:  # noqa: S110 - an exception that can not be copied is shared instead
            pass
    return exc_type, value, tb


def _are_equal_exc_info_tuples(a: Sequence[Any] | None, b: Sequence[Any] | None) -> bool:
    """Tells whether two exceptions are the same one, or look alike in type, texts and traceback."""
    if a is None or b is None:
        return a is b
    if a is b or a == b:
        return True
    if not _are_alike(a, b):
        return False
    return a[2] is b[2] or tracebacks.format_traceback(a[2]) == tracebacks.format_traceback(b[2])


def _are_alike(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Compares exceptions, leaving their tracebacks aside."""
    if a[0] is not b[0] or type(a[1]) is not type(b[1]):
        return False
    if a[1] is b[1]:
        return True
    return _text_of(a[1]) == _text_of(b[1]) and _text_of(a[1], repr) == _text_of(b[1], repr)


def _text_of(value: object, converter: Any = str) -> str:
    try:
        return str(converter(value))
    except Exception:
        # The words with which the interpreter's own printer replaces such a text.
        return f"<exception {converter.__name__}() failed>"


def _args_of(value: object) -> tuple[Any, ...]:
    try:
        return tuple(getattr(value, "args", ()))
    except Exception:
        return ()


def _type_names(exc_type: type[BaseException]) -> tuple[str, ...]:
    root = Exception if issubclass(exc_type, Exception) else BaseException
    return tuple([names.class_name(cls) for cls in exc_type.__mro__ if issubclass(cls, root)])


class Failure:
    """The unchanging record of one exception.

    It is stored, sent to and from workers, given to ``revert()``, put in the histories of retries. One that was
    captured keeps the exception with its traceback, and thereby the frames and all their variables; one that was
    re-created from a record has texts only. `without_frames` makes the second kind of the first.

    Without arguments the exception that is being handled is captured.

    Args:
        exc_info: what to capture: type, exception, traceback.
        kwargs: to re-create a failure: ``exception_str`` (required), ``traceback_str``, ``exc_type_names``,
            ``exc_args``, ``causes`` and ``exc_info``.

    Raises:
        TypeError: there is nothing to capture, it is no `Exception`, or there are unknown keyword arguments.
        ValueError: ``exc_info`` does not have three parts.
        KeyError: ``exception_str`` is missing among the keyword arguments.
    """

    DICT_VERSION = 1

    # Every list of type names ends with one of these.
    BASE_EXCEPTIONS = ("BaseException", "Exception")

    SCHEMA: dict[str, Any] = {
        "$ref": "#/definitions/failure",
        "definitions": {
            "failure": {
                "type": "object",
                "required": ["exception_str", "traceback_str", "exc_type_names"],
                "additionalProperties": True,
                "properties": {
                    "version": {"type": "integer", "minimum": 0},
                    "exc_type_names": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    "exception_str": {"type": "string"},
                    "exc_args": {"type": "array"},
                    "traceback_str": {"type": "string"},
                    "causes": {"type": "array", "items": {"$ref": "#/definitions/failure"}},
                },
            },
        },
    }

    __slots__ = (
        "__weakref__",
        "_causes",
        "_exc_args",
        "_exc_info",
        "_exc_type_names",
        "_exception_str",
        "_frozen_tb",
        "_traceback_str",
    )

    _exc_info: ExcInfo | None
    _exc_type_names: tuple[str, ...]
    _exc_args: tuple[Any, ...]
    _exception_str: str
    _traceback_str: str | None
    _frozen_tb: tuple[TracebackType, tracebacks.Sources] | None
    _causes: tuple[Failure, ...] | None

    def __init__(self, exc_info: ExcInfo | None = None, **kwargs: Any) -> None:
        if kwargs:
            self._restore(exc_info, kwargs)
            return
        if exc_info is None:
            exc_info = sys.exc_info()  # type: ignore[assignment]
        if len(exc_info) != 3:  # type: ignore[arg-type]
            raise ValueError(f"exc_info must have 3 parts (type, exception, traceback), not {len(exc_info)}")  # type: ignore[arg-type]
        exc_type = exc_info[0]  # type: ignore[index]
        if not isinstance(exc_type, type) or not issubclass(exc_type, Exception):
            found = "no exception is being handled" if exc_type is None else f"{exc_type!r} is not"
            raise TypeError(f"Only a type derived from Exception can be captured as a failure: {found}")
        self._capture(exc_info)  # type: ignore[arg-type]

    def _capture(self, exc_info: ExcInfo) -> None:
        exc_type, value, tb = exc_info
        self._exc_info = exc_info
        self._exc_type_names = _type_names(exc_type)
        self._exc_args = _args_of(value)
        self._exception_str = _text_of(value)
        self._causes = None
        if tb is None:
            self._traceback_str = ""
            self._frozen_tb = None
        else:
            self._traceback_str = None
            self._frozen_tb = (tb, tracebacks.freeze_sources(tb))

    def _restore(self, exc_info: ExcInfo | None, fields: dict[str, Any]) -> None:
        fields = dict(fields)
        self._exc_info = exc_info
        self._exception_str = fields.pop("exception_str")
        self._traceback_str = fields.pop("traceback_str", None)
        self._exc_type_names = tuple(fields.pop("exc_type_names", ()))
        self._exc_args = tuple(fields.pop("exc_args", ()))
        causes = fields.pop("causes", None)
        self._causes = None if causes is None else tuple(causes)
        self._frozen_tb = None
        if fields:
            raise TypeError(f"Failure.__init__ got unexpected keyword argument(s): {', '.join(fields)}")

    @classmethod
    def from_exception(cls, exception: BaseException) -> Failure:
        """Captures an exception.

        Args:
            exception: the exception.

        Returns:
            Its failure.
        """
        return cls((type(exception), exception, exception.__traceback__))

    @property
    def exception(self) -> Any:
        """The exception itself, or ``None`` when it is lost."""
        return self._exc_info[1] if self._exc_info is not None else None

    @property
    def exc_info(self) -> ExcInfo | None:
        """Type, exception and traceback, or ``None`` when they are lost."""
        return self._exc_info

    @property
    def exception_str(self) -> str:
        """The text of the exception."""
        return self._exception_str

    @property
    def exception_args(self) -> tuple[Any, ...]:
        """The arguments of the exception."""
        return self._exc_args

    @property
    def traceback_str(self) -> str | None:
        """The text of the traceback, without header line."""
        frozen = self._frozen_tb
        if frozen is not None:
            self._traceback_str = tracebacks.format_traceback(*frozen)
            self._frozen_tb = None
        return self._traceback_str

    @property
    def causes(self) -> tuple[Failure, ...]:
        """The failures of the exceptions that led to this one, nearest first."""
        if self._causes is None:
            self._causes = self._find_causes()
        return self._causes

    def _find_causes(self) -> tuple[Failure, ...]:
        value = self.exception
        if value is None:
            return ()
        seen = {id(value)}
        found: list[Failure] = []
        while len(found) < _MAX_CAUSES:
            inner = value.__cause__
            if inner is None or id(inner) in seen:
                inner = None if value.__suppress_context__ else value.__context__
            if inner is None or id(inner) in seen:
                break
            seen.add(id(inner))
            cause = Failure.__new__(Failure)
            # Not through the constructor: a KeyboardInterrupt or cancellation in the chain is a cause like any other.
            cause._capture((type(inner), inner, inner.__traceback__))
            found.append(cause)
            value = inner
        _link(found)
        return tuple(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._exc_type_names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failure):
            return NotImplemented
        return _agree(self, other, Failure._equals)

    __hash__ = None  # type: ignore[assignment]

    def matches(self, other: object) -> bool:
        """Tells whether another failure records the same event, even if one of them lost its exception on the way.

        Args:
            other: what to compare with.

        Returns:
            ``True`` when all texts agree, in the causes too, and so do the exceptions where both have one.
        """
        return isinstance(other, Failure) and _agree(self, other, Failure._looks_like)

    def _texts_equal(self, other: Failure) -> bool:
        return (
            self._exc_type_names == other._exc_type_names
            and self._exception_str == other._exception_str
            and self._exc_args == other._exc_args
            and self.traceback_str == other.traceback_str
        )

    def _equals(self, other: Failure) -> bool:
        return self._texts_equal(other) and _are_equal_exc_info_tuples(self._exc_info, other._exc_info)

    def _looks_like(self, other: Failure) -> bool:
        # The tracebacks are compared by their texts only: of one that was pickled nothing else is left.
        if self._exc_info is None or other._exc_info is None:
            return self._texts_equal(other)
        return self._texts_equal(other) and _are_alike(self._exc_info, other._exc_info)

    def check(self, *exc_classes: Any) -> Any:
        """Looks whether the exception is one of the given kinds.

        Types are compared by their names, so this works for exceptions of classes that this process does not have.

        Args:
            exc_classes: exception classes, or texts with qualified class names.

        Returns:
            The first argument that matches, or ``None``.
        """
        for candidate in exc_classes:
            wanted = names.class_name(candidate) if isinstance(candidate, type) else candidate
            if wanted in self._exc_type_names:
                return candidate
        return None

    def reraise(self) -> NoReturn:
        """Raises the exception again.

        Raises:
            WrappedFailure: the exception is lost, so this failure is raised in its place.
        """
        if self._exc_info is None:
            raise exc.WrappedFailure([self])
        exc_type, value, tb = self._exc_info
        if value is None:
            value = exc_type()
        try:
            if value.__traceback__ is not tb:
                raise value.with_traceback(tb)
            raise value
        finally:
            # The traceback now refers to this frame; a reference back would make all frames wait for the collector.
            del value, tb

    @staticmethod
    def reraise_if_any(failures: Iterable[Failure]) -> None:
        """Raises the given failures, if there are any.

        Args:
            failures: the failures.

        Raises:
            WrappedFailure: there are several, or the exception of the only one is lost.
        """
        if not isinstance(failures, (list, tuple)):
            failures = list(failures)
        if len(failures) == 1:
            failures[0].reraise()
        elif failures:
            raise exc.WrappedFailure(failures)

    def pformat(self, traceback: bool = False) -> str:
        """Formats the failure for people.

        Args:
            traceback: add the traceback.

        Returns:
            Lines joined by ``os.linesep``.
        """
        if self._exc_type_names:
            lines = [f"Failure: {self._exc_type_names[0]}: {self._exception_str}"]
        else:
            lines = [f"Failure: {self._exception_str}"]
        if traceback:
            text = self.traceback_str
            if text and not text.isspace():
                lines += ["Traceback (most recent call last):", text.rstrip()]
            else:
                lines.append("Traceback not available.")
        return os.linesep.join(lines)

    def __str__(self) -> str:
        return self.pformat()

    def copy(self) -> Failure:
        """Makes an equal failure with an own copy of the exception.

        Returns:
            The copy, with the same traceback.
        """
        # Asked for first, since the copy of an exception is not chained to the causes of the original.
        return self._twin(_copy_exc_info(self._exc_info), self.causes)

    def without_frames(self) -> Failure:
        """Makes a failure of texts only, for histories that live long.

        The exception and the traceback hold the frames that were active, and those hold all their variables.

        Returns:
            A failure that this one matches, without exception and traceback object.
        """
        if self._exc_info is None and not any(cause._exc_info for cause in self.causes):
            return self
        causes = [cause._twin(None, ()) for cause in self.causes]
        _link(causes)
        return self._twin(None, tuple(causes))

    def _twin(self, exc_info: ExcInfo | None, causes: tuple[Failure, ...]) -> Failure:
        twin = Failure.__new__(Failure)
        twin._exc_info = exc_info
        twin._exc_type_names = self._exc_type_names
        twin._exc_args = self._exc_args
        twin._exception_str = self._exception_str
        twin._traceback_str = self.traceback_str
        twin._frozen_tb = None
        twin._causes = causes
        return twin

    def to_dict(self, include_args: bool = True) -> dict[str, Any]:
        """Makes a dictionary of the failure.

        Of a long chain, the causes are written without the causes that they have themselves, as those are the entries
        after them: written out, they would double the size with each.

        Args:
            include_args: include the arguments of the exceptions, which may be any objects.

        Returns:
            The dictionary, which `from_dict` understands.
        """
        causes = self.causes[:_MAX_CAUSES]
        record = self._to_flat_dict(include_args)
        if len(causes) > _NESTED_CAUSES:
            record["causes"] = [cause._to_flat_dict(include_args) for cause in causes]
        else:
            record["causes"] = [cause.to_dict(include_args) for cause in causes]
        return record

    def _to_flat_dict(self, include_args: bool) -> dict[str, Any]:
        return {
            "exception_str": self._exception_str,
            "traceback_str": self.traceback_str,
            "exc_type_names": list(self._exc_type_names),
            "version": self.DICT_VERSION,
            "exc_args": self._exc_args if include_args else (),
            "causes": [],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Failure:
        """Re-creates a failure from its dictionary.

        Args:
            data: what `to_dict` made; it is not changed.

        Returns:
            The failure, without exception.

        Raises:
            ValueError: the version is missing or unknown.
            KeyError: ``exception_str`` is missing.
            TypeError: there are unknown keys.
        """
        fields = dict(data)
        version = fields.pop("version", None)
        if version != cls.DICT_VERSION:
            raise ValueError(f"A failure of version {cls.DICT_VERSION} is expected, not of version {version!r}")
        if fields.get("causes") is not None:
            fields["causes"] = cls._causes_from(fields["causes"])
        failure = cls.__new__(cls)
        failure._restore(fields.pop("exc_info", None), fields)
        return failure

    @classmethod
    def _causes_from(cls, records: Sequence[dict[str, Any]]) -> tuple[Failure, ...]:
        causes = [cls.from_dict(record) for record in records]
        if len(causes) > _NESTED_CAUSES and not any(cause._causes for cause in causes):
            _link(causes)
        return tuple(causes)

    def __getstate__(self) -> dict[str, Any]:
        state = self.to_dict()
        if self._exc_info is not None:
            # Traceback objects can not be pickled.
            state["exc_info"] = (self._exc_info[0], self._exc_info[1])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        causes = state.get("causes")
        exc_info = state.get("exc_info")
        self._exc_info = None if exc_info is None else (exc_info[0], exc_info[1], None)
        self._exception_str = state["exception_str"]
        self._traceback_str = state["traceback_str"]
        self._exc_type_names = tuple(state["exc_type_names"])
        self._exc_args = tuple(state.get("exc_args") or ())
        self._frozen_tb = None
        self._causes = self._causes_from(causes) if causes else ()

    @classmethod
    def validate(cls, data: object) -> None:
        """Checks that data from elsewhere is the dictionary of a failure.

        Args:
            data: the data.

        Raises:
            InvalidFormat: it is not; where it does not have the shape of `SCHEMA`, the cause tells what is wrong where.
        """
        pending: list[tuple[str, Any]] = [("failure", data)]
        for where, record in pending:  # grows while it is walked
            problem = _shape_problem(record)
            if problem is not None:
                from taskflow.utils import schema_utils

                raise exc.InvalidFormat(
                    "Failure data has an unexpected shape", schema_utils.ValidationError(f"{where}{problem}")
                )
            pending.extend((f"{where}.causes[{i}]", cause) for i, cause in enumerate(record.get("causes", ())))
        for where, record in pending:
            root = record["exc_type_names"][-1]
            if root not in cls.BASE_EXCEPTIONS:
                raise exc.InvalidFormat(
                    f"Failure data must trace its exception back to one of {list(cls.BASE_EXCEPTIONS)},"
                    f" but in {where} the last type name is {root!r}"
                )


def _agree(one: Failure, other: Failure, same: Callable[[Failure, Failure], bool]) -> bool:
    """Compares two failures and all their causes.

    The failures of a chain occur again among the causes of each other, so what was compared is remembered; without that
    the time would double with each cause.
    """
    pending = [(one, other)]
    compared: set[tuple[int, int]] = set()
    while pending:
        a, b = pending.pop()
        pair = (id(a), id(b))
        if a is b or pair in compared:
            continue
        compared.add(pair)
        if not same(a, b) or len(a.causes) != len(b.causes):
            return False
        pending.extend(zip(a.causes, b.causes, strict=True))
    return True


def _link(causes: Sequence[Failure]) -> None:
    """Gives each failure of a chain the later ones as its causes."""
    tail: tuple[Failure, ...] = ()
    for cause in reversed(causes):
        cause._causes = tail
        tail = (cause, *tail)


def _shape_problem(record: Any) -> str | None:
    """Tells what is wrong with one dictionary, its causes left aside."""
    if not isinstance(record, dict):
        return f" must be an object, not {record!r}"
    for key in ("exception_str", "traceback_str"):
        if not isinstance(record.get(key), str):
            return f".{key} must be a text, not {record.get(key)!r}"
    type_names = record.get("exc_type_names")
    if not isinstance(type_names, (list, tuple)) or not type_names or not all(isinstance(n, str) for n in type_names):
        return f".exc_type_names must be an array of at least one text, not {type_names!r}"
    for key in ("exc_args", "causes"):
        if not isinstance(record.get(key, ()), (list, tuple)):
            return f".{key} must be an array, not {record[key]!r}"
    version = record.get("version", 0)
    # To JSON, 1.0 is an integer too.
    whole = version.is_integer() if isinstance(version, float) else isinstance(version, int)
    if isinstance(version, bool) or not whole or version < 0:
        return f".version must be an integer of at least 0, not {version!r}"
    return None
