# SPDX-License-Identifier: Apache-2.0
"""How are records written as the data of nodes, so that a change of some fields encodes only those?"""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Any

from taskflow.persistence import base, models
from taskflow.utils import json_utils

if TYPE_CHECKING:
    from collections.abc import Mapping

_RETRY = "RETRY_DETAIL"
_FAILURES = frozenset(("failure", "revert_failure"))


def _field_text(field: str, value: Any, kind: str | None) -> str:
    if kind is not None:
        if field in _FAILURES:
            return json_utils.encode_failure(value or None)
        if field == "results" and kind == _RETRY:
            return json_utils.encode_history(value or ())
    return json_utils.encode(value)


def _joined(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json_utils.encode(name)}: {text}" for name, text in texts.items()) + "}"


class Item:
    """The stored form of a record, each field as JSON text; never modified.

    Args:
        fields: name -> text.
        kind: the type of an atom detail's envelope; None for a flow detail or a log book.
    """

    __slots__ = ("data", "fields", "kind")

    def __init__(self, fields: dict[str, str], kind: str | None) -> None:
        self.fields = fields
        self.kind = kind
        text = _joined(fields)
        if kind is not None:
            text = f'{{"atom": {text}, "type": {json_utils.encode(kind)}}}'
        self.data = text.encode("ascii")

    def changed(self, detail: Any, values: Mapping[str, Any]) -> Item:
        """Returns the item with new values, in their stored form, of some fields.

        Raises:
            StorageFailure: a value can not be encoded.
        """
        fields = dict(self.fields)
        for field, value in values.items():
            try:
                fields[field] = _field_text(field, value, self.kind)
            except Exception as e:
                raise base.unstorable(detail, field, e) from e
        return Item(fields, self.kind)


def make(form: Mapping[str, Any]) -> Item:
    """Makes the item of a stored form: an atom detail's envelope, or the dictionary of a flow detail or log book.

    Raises:
        StorageFailure: a value can not be encoded.
    """
    atom = form.get("atom")
    kind = None if atom is None else form["type"]
    values = form if atom is None else atom
    fields = {}
    for field, value in values.items():
        try:
            fields[field] = _field_text(field, value, kind)
        except Exception as e:
            raise base.unstorable(_owner(values, kind), field, e) from e
    return Item(fields, kind)


def _owner(values: Mapping[str, Any], kind: str | None) -> Any:
    if kind is not None:
        return models.atom_detail_class(kind)(values["name"], values["uuid"])
    if "created_at" in values:
        return models.LogBook(values["name"], values["uuid"])
    return models.FlowDetail(values["name"], values["uuid"])


def decode(data: bytes) -> dict[str, Any]:
    """Reads the data of a node.

    Raises:
        ValueError: it is no JSON, or its root is no object.
    """
    form = json_utils.decode(data)
    if not isinstance(form, dict):
        # As for any other text that is no record.
        raise ValueError(f"The root must be a JSON object, not {type(form).__name__}")  # noqa: TRY004
    return form


def owner(value: Mapping[str, Any]) -> tuple[str, str | None]:
    """Tells whose a stored form is: a name for errors, and the uuid of the atom or None."""
    atom = value.get("atom")
    form = value if atom is None else atom
    kind = "atom" if atom is not None else "log book" if "created_at" in value else "flow"
    return f"{kind} '{form['name']}' ({form['uuid']})", None if atom is None else atom["uuid"]


def owner_of(detail: Any) -> tuple[str, str | None]:
    """Tells the same of a flow detail or an atom detail."""
    if isinstance(detail, models.AtomDetail):
        return f"atom '{detail.name}' ({detail.uuid})", detail.uuid
    return f"flow '{detail.name}' ({detail.uuid})", None


class Known:
    """What nodes held when they were last read or written, so that a change of a field need not read them first.

    It may be out of date: a write that rests on it has to be on condition of the node's version.

    Args:
        most: how many bytes are kept; what was not used for the longest time goes first.
    """

    # Whoever wrote a value of this size seldom changes the record again, and it would push out a hundred others.
    _LARGEST = 65536

    def __init__(self, most: int = 32 * 1024 * 1024) -> None:
        self._most = most
        self._size = 0
        self._lock = threading.Lock()
        self._entries: collections.OrderedDict[str, tuple[Item, int]] = collections.OrderedDict()

    def get(self, path: str) -> tuple[Item, int] | None:
        """Returns what a node held, and the version that it had then."""
        with self._lock:
            entry = self._entries.get(path)
            if entry is not None:
                self._entries.move_to_end(path)
            return entry

    def put(self, path: str, item: Item, version: int) -> None:
        """Notes what a node holds; an older version does not replace a newer one."""
        with self._lock:
            known = self._entries.get(path)
            if known is not None and known[1] > version:
                return
            self._forget(path)
            if len(item.data) > self._LARGEST:
                return
            self._entries[path] = (item, version)
            self._size += len(item.data)
            while self._size > self._most:
                self._forget(next(iter(self._entries)))

    def forget(self, path: str) -> None:
        """Drops what is known of a node."""
        with self._lock:
            self._forget(path)

    def clear(self) -> None:
        """Drops everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _forget(self, path: str) -> None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            self._size -= len(entry[0].data)
