# SPDX-License-Identifier: Apache-2.0
"""What is recorded about one atom: its state, results, failures and metadata."""

from __future__ import annotations

import abc
import copy
import os
from typing import TYPE_CHECKING, Any, Self

from taskflow import exceptions as exc
from taskflow import states
from taskflow.types import failure as ft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# One attempt of a retry: what execute returned and the failures that were collected under it, by atom name.
Attempt = tuple[Any, dict[str, ft.Failure]]


def duplicate(detail: Any) -> Any:
    """Makes an object of the same class with the same attribute values, without calling the constructor."""
    clone = object.__new__(type(detail))
    for name in detail._SLOTS:
        setattr(clone, name, getattr(detail, name))
    extra = getattr(detail, "__dict__", None)
    if extra:
        clone.__dict__.update(extra)
    return clone


def own_meta(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata of a stored form, empty unless it is a dictionary."""
    meta = data.get("meta")
    return meta if isinstance(meta, dict) else {}


def meta_lines(meta: dict[str, Any], indent: int) -> Iterator[str]:
    """Draws metadata, below a detail at that indentation."""
    if not meta:
        return
    yield f"{' ' * indent} - metadata:"
    for key, value in meta.items():
        if key == "progress" and isinstance(value, int | float):
            text = f"{value * 100.0:.2f}%"
        else:
            text = f"{value}"
        yield f"{' ' * (indent + 2)} + {key} = {text}"


# Everything that is recorded about an atom, but its name and its identity.
_FIELDS = ("state", "intention", "version", "meta", "results", "failure", "revert_results", "revert_failure")


class AtomDetail(abc.ABC):
    """What is recorded about one atom: state, intention, results, failures and metadata.

    Args:
        name: the name of the atom.
        uuid: the identity of this record.
    """

    __slots__ = (
        "_name",
        "_uuid",
        "failure",
        "intention",
        "meta",
        "results",
        "revert_failure",
        "revert_results",
        "state",
        "version",
    )
    _SLOTS = __slots__

    def __init__(self, name: str, uuid: str) -> None:
        self._name = name
        self._uuid = uuid
        self.state: str | None = None
        self.intention: str | None = states.EXECUTE
        self.results: Any = None
        self.failure: ft.Failure | None = None
        self.revert_results: Any = None
        self.revert_failure: ft.Failure | None = None
        self.meta: dict[str, Any] = {}
        self.version: Any = None

    @property
    def name(self) -> str:
        """The name of the atom."""
        return self._name

    @property
    def uuid(self) -> str:
        """The identity of this record."""
        return self._uuid

    @property
    def last_results(self) -> Any:
        """What the last execution gave."""
        return self.results

    def update(self, ad: AtomDetail) -> Self:
        """Takes over every field of another atom detail by reference; name and uuid stay."""
        for field in _FIELDS if ad is not self else ():
            setattr(self, field, getattr(ad, field))
        return self

    @abc.abstractmethod
    def merge(self, other: AtomDetail, deep_copy: bool = False) -> Self:
        """Takes over state, intention, and failures, metadata and version where they differ.

        Args:
            other: the atom detail to take from.
            deep_copy: copy instead of sharing what is taken.

        Returns:
            This atom detail.
        """
        if other is not self:
            self.state = other.state
            self.intention = other.intention
            for field in ("failure", "revert_failure"):
                given = getattr(other, field)
                if getattr(self, field) != given:
                    setattr(self, field, (given.copy() if deep_copy else given) if given else None)
            for field in ("meta", "version"):
                value = getattr(other, field)
                if getattr(self, field) != value:
                    setattr(self, field, copy.deepcopy(value) if deep_copy else value)
        return self

    @abc.abstractmethod
    def put(self, state: str, result: Any) -> bool:
        """Records a state and what came with it; tells whether anything changed."""

    @abc.abstractmethod
    def reset(self, state: str) -> None:
        """Forgets results and failures and goes to the given state."""

    @abc.abstractmethod
    def copy(self) -> Self:
        """Makes a shallow copy, which has its own metadata."""
        clone: Self = duplicate(self)
        clone.meta = dict(self.meta)
        if type(self.version) is not str:
            clone.version = copy.copy(self.version)
        return clone

    def to_dict(self) -> dict[str, Any]:
        """Returns the stored form, with failures as dictionaries."""
        return {
            "failure": self.failure.to_dict(include_args=True) if self.failure else None,
            "revert_failure": self.revert_failure.to_dict(include_args=True) if self.revert_failure else None,
            "meta": self.meta,
            "name": self._name,
            "results": self._stored_results(),
            "revert_results": self.revert_results,
            "state": self.state,
            "version": self.version,
            "intention": self.intention,
            "uuid": self._uuid,
        }

    def _stored_results(self) -> Any:
        return self.results

    @classmethod
    def _read_results(cls, stored: Any) -> Any:
        return stored

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Makes an atom detail from its stored form; what is missing becomes None.

        Raises:
            KeyError: name or uuid is missing.
        """
        detail = cls(data["name"], data["uuid"])
        detail.state = data.get("state")
        detail.intention = data.get("intention")
        detail.results = cls._read_results(data.get("results"))
        detail.revert_results = data.get("revert_results")
        detail.version = data.get("version")
        detail.meta = own_meta(data)
        failure, revert_failure = data.get("failure"), data.get("revert_failure")
        if failure:
            detail.failure = ft.Failure.from_dict(failure)
        if revert_failure:
            detail.revert_failure = ft.Failure.from_dict(revert_failure)
        return detail

    def outcome(self, state: str, result: Any) -> dict[str, Any]:
        """Tells which fields get which new values when an execution or reversion ends so; changes nothing.

        Args:
            state: the new state.
            result: a result, or the failure for the two states of failure.

        Returns:
            Field name -> new value, for the fields that change.
        """
        after = self.copy()
        if not after.put(state, result):
            return {}
        return {
            field: getattr(after, field)
            for field in AtomDetail._SLOTS
            if getattr(after, field) is not getattr(self, field) and field != "meta"
        }

    # Results are compared by identity: a user's __eq__ may be expensive, raise, or return no truth value.
    def _note_clear(self, fields: dict[str, Any], *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                fields[name] = None

    def _put(self, fields: dict[str, Any]) -> bool:
        for name, value in fields.items():
            setattr(self, name, value)
        return bool(fields)

    def _lines(self, indent: int) -> Iterator[str]:
        blank = " " * indent
        version = self.version
        if isinstance(version, tuple | list):
            version = ".".join(str(part) for part in version)
        yield f"{blank}{type(self).__name__}: '{self._name}'"
        yield f"{blank} - uuid = {self._uuid}"
        yield f"{blank} - state = {self.state}"
        yield f"{blank} - version = {version}"
        yield f"{blank} - results = {self.results!s}"
        yield f"{blank} - failure = {bool(self.failure)}"
        yield from meta_lines(self.meta, indent)

    def pformat(self, indent: int = 0, linesep: str = os.linesep) -> str:
        """Draws this atom detail, one line per attribute."""
        return linesep.join(self._lines(indent))


class TaskDetail(AtomDetail):
    """What is recorded about one task."""

    __slots__ = ()

    def reset(self, state: str) -> None:
        """Forgets results and failures and goes to the given state; metadata and version stay."""
        self.results = self.failure = self.revert_results = self.revert_failure = None
        self.state = state
        self.intention = states.EXECUTE

    def put(self, state: str, result: Any) -> bool:
        """Records a state and the result or failure that came with it.

        Args:
            state: the new state.
            result: a result, or the failure for the two states of failure.

        Returns:
            Whether anything changed.
        """
        return self._put(self.outcome(state, result))

    def outcome(self, state: str, result: Any) -> dict[str, Any]:
        """Tells which fields get which new values when an execution or reversion ends so; changes nothing.

        Args:
            state: the new state.
            result: a result, or the failure for the two states of failure.

        Returns:
            Field name -> new value, for the fields that change.
        """
        fields: dict[str, Any] = {}
        if self.state != state:
            fields["state"] = state
        if state == states.SUCCESS:
            if self.results is not result:
                fields["results"] = result
            self._note_clear(fields, "revert_results", "revert_failure", "failure")
        elif state == states.FAILURE:
            if self.failure != result:
                fields["failure"] = result
            self._note_clear(fields, "results", "revert_results", "revert_failure")
        elif state == states.REVERTED:
            if self.revert_results is not result:
                fields["revert_results"] = result
            self._note_clear(fields, "revert_failure")
        elif state == states.REVERT_FAILURE:
            if self.revert_failure != result:
                fields["revert_failure"] = result
            self._note_clear(fields, "results", "revert_results")
        return fields

    def merge(self, other: AtomDetail, deep_copy: bool = False) -> Self:
        """Takes over the other's fields; results always by reference, since they may not be copyable.

        Raises:
            NotImplementedError: the other is no task detail.
        """
        if not isinstance(other, TaskDetail):
            msg = f"Task detail '{self._name}' can take over a task detail only, not {other!r}"
            raise exc.NotImplementedError(msg)
        if other is not self:
            super().merge(other, deep_copy=deep_copy)
            self.results = other.results
            self.revert_results = other.revert_results
        return self

    def copy(self) -> Self:
        """Makes a shallow copy, which has its own metadata and shares the results."""
        return super().copy()


class RetryDetail(AtomDetail):
    """What is recorded about one retry; its results are the history of attempts."""

    __slots__ = ()

    def __init__(self, name: str, uuid: str) -> None:
        super().__init__(name, uuid)
        self.results: list[Attempt] = []

    def _last_attempt(self) -> Attempt:
        try:
            return self.results[-1]
        except IndexError as e:
            msg = f"Retry '{self._name}' has made no attempt yet, so it has no last results"
            raise exc.NotFound(msg, cause=e) from e

    @property
    def last_results(self) -> Any:
        """What execute returned in the newest attempt.

        Raises:
            NotFound: there was no attempt yet.
        """
        return self._last_attempt()[0]

    @property
    def last_failures(self) -> dict[str, ft.Failure]:
        """The failures collected under the newest attempt, by atom name.

        Raises:
            NotFound: there was no attempt yet.
        """
        return self._last_attempt()[1]

    def reset(self, state: str) -> None:
        """Forgets history and failures and goes to the given state; metadata and version stay."""
        self.results = []
        self.failure = self.revert_results = self.revert_failure = None
        self.state = state
        self.intention = states.EXECUTE

    def put(self, state: str, result: Any) -> bool:
        """Records a state and what came with it; a success begins a new attempt in the history.

        Args:
            state: the new state.
            result: a result, or the failure for the two states of failure.

        Returns:
            Whether anything changed.
        """
        return self._put(self.outcome(state, result))

    def outcome(self, state: str, result: Any) -> dict[str, Any]:
        """Tells which fields get which new values when an execution or reversion ends so; changes nothing.

        Args:
            state: the new state.
            result: a result, or the failure for the two states of failure.

        Returns:
            Field name -> new value, for the fields that change.
        """
        fields: dict[str, Any] = {}
        if self.state != state:
            fields["state"] = state
        if state == states.SUCCESS:
            fields["results"] = [*self.results, (result, {})]
            self._note_clear(fields, "failure", "revert_failure", "revert_results")
        elif state == states.FAILURE:
            if self.failure != result:
                fields["failure"] = result
            self._note_clear(fields, "revert_results", "revert_failure")
        elif state == states.REVERTED:
            if self.revert_results is not result:
                fields["revert_results"] = result
            self._note_clear(fields, "revert_failure")
        elif state == states.REVERT_FAILURE:
            if self.revert_failure != result:
                fields["revert_failure"] = result
            self._note_clear(fields, "revert_results")
        return fields

    def merge(self, other: AtomDetail, deep_copy: bool = False) -> Self:
        """Takes over the other's fields; the history is rebuilt, its results by reference.

        Raises:
            NotImplementedError: the other is no retry detail.
        """
        if not isinstance(other, RetryDetail):
            msg = f"Retry detail '{self._name}' can take over a retry detail only, not {other!r}"
            raise exc.NotImplementedError(msg)
        if other is not self:
            super().merge(other, deep_copy=deep_copy)
            self.results = _copied_history(other.results, deep_copy)
            self.revert_results = other.revert_results
        return self

    def copy(self) -> Self:
        """Makes a shallow copy, which has its own metadata and history and shares the results in it."""
        clone = super().copy()
        clone.results = _copied_history(self.results, deep_copy=False)
        return clone

    def _stored_results(self) -> Any:
        return stored_history(self.results)

    @classmethod
    def _read_results(cls, stored: Any) -> list[Attempt]:
        return [
            (result, {name: ft.Failure.from_dict(failure) for name, failure in failures.items()})
            for result, failures in stored or ()
        ]


def _copied_history(history: Iterable[Attempt], deep_copy: bool) -> list[Attempt]:
    if deep_copy:
        return [(result, {name: f.copy() for name, f in failures.items()}) for result, failures in history]
    return [(result, dict(failures)) for result, failures in history]


def stored_history(history: Iterable[Attempt] | None) -> list[tuple[Any, dict[str, Any]]]:
    """Returns the stored form of a retry's history: the same pairs, with failures as dictionaries."""
    return [
        (result, {name: failure.to_dict(include_args=True) for name, failure in failures.items()})
        for result, failures in history or ()
    ]
