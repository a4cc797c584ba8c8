# SPDX-License-Identifier: Apache-2.0
"""What is recorded about a flow: log books hold flow details, flow details hold atom details."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, Self

from taskflow.persistence import atom_models, times

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

AtomDetail = atom_models.AtomDetail
TaskDetail = atom_models.TaskDetail
RetryDetail = atom_models.RetryDetail
stored_history = atom_models.stored_history


class LogBook:
    """A named collection of flow details, with metadata and times.

    Args:
        name: what people call the book.
        uuid: its identity; a random one is made when this is empty.
    """

    __slots__ = ("__weakref__", "_flowdetails_by_id", "_name", "_uuid", "created_at", "meta", "updated_at")
    _SLOTS = ("_flowdetails_by_id", "_name", "_uuid", "created_at", "meta", "updated_at")

    def __init__(self, name: str, uuid: str | None = None) -> None:
        self._name = name
        if not uuid:
            from taskflow.utils import uuids

            uuid = uuids.generate_uuid()
        self._uuid = uuid
        self._flowdetails_by_id: dict[str, FlowDetail] = {}
        self.created_at: dt.datetime | None = times.utc_now()
        self.updated_at: dt.datetime | None = None
        self.meta: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The name of this book."""
        return self._name

    @property
    def uuid(self) -> str:
        """The identity of this book."""
        return self._uuid

    def add(self, fd: FlowDetail) -> None:
        """Puts a flow detail into this book (replacing one of the same uuid) and notes the time."""
        self._flowdetails_by_id[fd.uuid] = fd
        self.updated_at = times.utc_now()

    def find(self, flow_uuid: str) -> FlowDetail | None:
        """Returns the flow detail of that uuid, or None."""
        return self._flowdetails_by_id.get(flow_uuid)

    def __iter__(self) -> Iterator[FlowDetail]:
        return iter(self._flowdetails_by_id.values())

    def __len__(self) -> int:
        return len(self._flowdetails_by_id)

    def merge(self, lb: LogBook, deep_copy: bool = False) -> Self:
        """Takes over metadata and times that differ; contained flow details, name and uuid stay.

        Args:
            lb: the book to take from.
            deep_copy: copy the values deeply instead of sharing them.

        Returns:
            This book.
        """
        if lb is not self:
            for field in ("meta", "created_at", "updated_at"):
                value = getattr(lb, field)
                if getattr(self, field) != value:
                    setattr(self, field, copy.deepcopy(value) if deep_copy else value)
        return self

    def copy(self, retain_contents: bool = True) -> Self:
        """Makes a shallow copy, which has its own metadata and its own container of flow details.

        Args:
            retain_contents: whether the copy holds the same flow details, or none.
        """
        clone: Self = atom_models.duplicate(self)
        clone.meta = dict(self.meta)
        clone._flowdetails_by_id = dict(self._flowdetails_by_id) if retain_contents else {}
        return clone

    def to_dict(self, marshal_time: bool = False) -> dict[str, Any]:
        """Returns the stored form, without the flow details.

        Args:
            marshal_time: give times as dictionaries of numbers instead of datetimes.
        """
        form = times.marshal if marshal_time else (lambda moment: moment)
        return {
            "name": self._name,
            "meta": self.meta,
            "uuid": self._uuid,
            "updated_at": form(self.updated_at),
            "created_at": form(self.created_at),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], unmarshal_time: bool = False) -> Self:
        """Makes a book from its stored form.

        Args:
            data: the stored form; keys that a book has not are passed over.
            unmarshal_time: whether the times are dictionaries of numbers.

        Raises:
            KeyError: a required key is missing.
        """
        updated_at, created_at = data["updated_at"], data["created_at"]
        if unmarshal_time:
            updated_at, created_at = times.unmarshal(updated_at), times.unmarshal(created_at)
        book = cls(data["name"], data["uuid"])
        book.meta = atom_models.own_meta(data)
        book.updated_at = updated_at
        book.created_at = created_at
        return book

    def _lines(self, indent: int) -> Iterator[str]:
        blank = " " * indent
        yield f"{blank}{type(self).__name__}: '{self._name}'"
        yield f"{blank} - uuid = {self._uuid}"
        yield from atom_models.meta_lines(self.meta, indent)
        if self.created_at is not None:
            yield f"{blank} - created_at = {self.created_at.isoformat()}"
        if self.updated_at is not None:
            yield f"{blank} - updated_at = {self.updated_at.isoformat()}"
        for flow_detail in self:
            yield from flow_detail._lines(indent + 1)

    def pformat(self, indent: int = 0, linesep: str = os.linesep) -> str:
        """Draws this book with everything in it, one line per attribute."""
        return linesep.join(self._lines(indent))


class FlowDetail:
    """What is recorded about one flow: its state, metadata and atom details.

    Args:
        name: the name of the flow.
        uuid: the identity of this record.
    """

    __slots__ = ("__weakref__", "_atomdetails_by_id", "_name", "_uuid", "meta", "state")
    _SLOTS = ("_atomdetails_by_id", "_name", "_uuid", "meta", "state")

    def __init__(self, name: str, uuid: str) -> None:
        self._name = name
        self._uuid = uuid
        self._atomdetails_by_id: dict[str, AtomDetail] = {}
        self.state: str | None = None
        self.meta: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The name of the flow."""
        return self._name

    @property
    def uuid(self) -> str:
        """The identity of this record."""
        return self._uuid

    def add(self, ad: AtomDetail) -> None:
        """Puts an atom detail in (replacing one of the same uuid)."""
        self._atomdetails_by_id[ad.uuid] = ad

    def find(self, ad_uuid: str) -> AtomDetail | None:
        """Returns the atom detail of that uuid, or None."""
        return self._atomdetails_by_id.get(ad_uuid)

    def __iter__(self) -> Iterator[AtomDetail]:
        return iter(self._atomdetails_by_id.values())

    def __len__(self) -> int:
        return len(self._atomdetails_by_id)

    def update(self, fd: FlowDetail) -> Self:
        """Takes over state, metadata and the container of atom details; both then share them."""
        if fd is not self:
            self._atomdetails_by_id = fd._atomdetails_by_id
            self.state = fd.state
            self.meta = fd.meta
        return self

    def merge(self, fd: FlowDetail, deep_copy: bool = False) -> Self:
        """Takes over state and metadata where they differ; contained atoms, name and uuid stay.

        Args:
            fd: the flow detail to take from.
            deep_copy: copy the metadata deeply instead of sharing it.

        Returns:
            This flow detail.
        """
        if fd is not self:
            if self.meta != fd.meta:
                self.meta = copy.deepcopy(fd.meta) if deep_copy else fd.meta
            if self.state != fd.state:
                self.state = fd.state
        return self

    def copy(self, retain_contents: bool = True) -> Self:
        """Makes a shallow copy, which has its own metadata and its own container of atom details.

        Args:
            retain_contents: whether the copy holds the same atom details, or none.
        """
        clone: Self = atom_models.duplicate(self)
        clone.meta = dict(self.meta)
        clone._atomdetails_by_id = dict(self._atomdetails_by_id) if retain_contents else {}
        return clone

    def to_dict(self) -> dict[str, Any]:
        """Returns the stored form, without the atom details."""
        return {"name": self._name, "meta": self.meta, "state": self.state, "uuid": self._uuid}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Makes a flow detail from its stored form.

        Raises:
            KeyError: name or uuid is missing.
        """
        flow_detail = cls(data["name"], data["uuid"])
        flow_detail.state = data.get("state")
        flow_detail.meta = atom_models.own_meta(data)
        return flow_detail

    def _lines(self, indent: int) -> Iterator[str]:
        blank = " " * indent
        yield f"{blank}{type(self).__name__}: '{self._name}'"
        yield f"{blank} - uuid = {self._uuid}"
        yield f"{blank} - state = {self.state}"
        yield from atom_models.meta_lines(self.meta, indent)
        for atom_detail in self:
            yield from atom_detail._lines(indent + 1)

    def pformat(self, indent: int = 0, linesep: str = os.linesep) -> str:
        """Draws this flow detail with its atoms, one line per attribute."""
        return linesep.join(self._lines(indent))


_CLASS_BY_TYPE: dict[str, type[AtomDetail]] = {"RETRY_DETAIL": RetryDetail, "TASK_DETAIL": TaskDetail}
_TYPE_BY_CLASS: dict[type, str] = {cls: name for name, cls in _CLASS_BY_TYPE.items()}

ATOM_TYPES = list(_CLASS_BY_TYPE)


def atom_detail_class(atom_type: str) -> type[AtomDetail]:
    """Returns the class of atom details that a stored type stands for.

    Raises:
        TypeError: there is no such type.
    """
    try:
        return _CLASS_BY_TYPE[atom_type]
    except (KeyError, TypeError):
        msg = f"Unknown atom type {atom_type!r}, expected one of {', '.join(ATOM_TYPES)}"
        raise TypeError(msg) from None


def atom_detail_type(atom_detail: AtomDetail) -> str:
    """Returns the stored type of an atom detail, by its exact class.

    Raises:
        TypeError: the class is none of those that can be stored.
    """
    try:
        return _TYPE_BY_CLASS[type(atom_detail)]
    except KeyError:
        msg = f"Unknown atom detail {atom_detail!r} of {type(atom_detail)}, only {', '.join(ATOM_TYPES)} can be stored"
        raise TypeError(msg) from None
