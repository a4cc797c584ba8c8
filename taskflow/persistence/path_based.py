# SPDX-License-Identifier: Apache-2.0
"""How records are laid out in anything that has paths: folders of items, and links that tell what belongs to what."""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from taskflow import exceptions as exc
from taskflow.persistence import base, models

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from taskflow.persistence import surveys

    Detail = models.LogBook | models.FlowDetail | models.AtomDetail

R = TypeVar("R")
D = TypeVar("D", models.LogBook, models.FlowDetail, models.AtomDetail)


class Stamp(NamedTuple):
    """What a backend knows of an item without reading it.

    When it was made and when it was written last, in UTC without a zone (None if the backend does not know), and a
    version: whatever differs after the next write, for backends that let others write during a transaction.
    """

    created_at: dt.datetime | None = None
    changed_at: dt.datetime | None = None
    version: Any = None


_SCALARS = frozenset((str, int, float, bool, type(None)))


def _same_form(one: Any, other: Any) -> bool:
    """Tells whether two stored forms are the same, without ever asking a user's class for its opinion."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _SCALARS:
        return bool(one == other)
    if kind is dict:
        return (
            len(one) == len(other)
            and list(one) == list(other)
            and all(map(_same_form, one.values(), other.values()))
            and all(map(_same_form, one, other))
        )
    if kind is list or kind is tuple:
        return len(one) == len(other) and all(map(_same_form, one, other))
    return False


def stored_value(detail: Detail, field: str, value: Any) -> Any:
    """Returns the stored form of one field of a detail."""
    if field in {"failure", "revert_failure"}:
        return value.to_dict(include_args=True) if value else None
    if field == "results" and isinstance(detail, models.RetryDetail):
        return models.stored_history(value)
    return value


def encode_item(item: dict[str, Any]) -> str:
    """Writes an item as JSON text.

    Arguments of failures that have no form in JSON are replaced by their repr: a failure can always be stored.

    Args:
        item: the stored form of a log book or a flow detail, or the envelope of an atom detail.

    Raises:
        StorageFailure: a value has no form in JSON, and never will have; its attribute ``permanent`` is true, and
            ``atom_uuid`` says whose it is (None unless an atom is concerned).
    """
    from taskflow.utils import json_utils

    try:
        return json_utils.encode(item)
    except Exception as e:
        atom = item.get("atom")
        if atom is not None:
            with contextlib.suppress(Exception):
                return json_utils.encode({**item, "atom": _with_encodable_failures(atom)})
        form: dict[str, Any] = item if atom is None else atom
        failure = exc.StorageFailure(
            f"The record of '{form.get('name')}' ({form.get('uuid')}) has a value that can not be written as JSON text:"
            f" {e}",
            cause=e,
        )
        failure.permanent = True  # type: ignore[attr-defined]
        failure.atom_uuid = None if atom is None else atom["uuid"]  # type: ignore[attr-defined]
        raise failure from e


def _with_encodable_failures(atom: dict[str, Any]) -> dict[str, Any]:
    from taskflow.utils import json_utils

    return {field: replace_arguments(field, value, json_utils.encodable) for field, value in atom.items()}


def replace_arguments(field: str, value: Any, replace: Callable[[Any], Any]) -> Any:
    """Replaces the arguments of exceptions in a field of an atom's stored form, and leaves all else.

    Args:
        field: which one.
        value: what it holds; not modified.
        replace: takes an argument and returns what is to be in its place.
    """
    if field in {"failure", "revert_failure"}:
        return _replaced(value, replace) if value else value
    if field == "results" and isinstance(value, list):
        return [_replaced_in_attempt(attempt, replace) for attempt in value]
    return value


def _replaced(form: dict[str, Any], replace: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        **form,
        "exc_args": tuple(map(replace, form.get("exc_args") or ())),
        "causes": [_replaced(cause, replace) for cause in form.get("causes") or ()],
    }


def _replaced_in_attempt(attempt: Any, replace: Callable[[Any], Any]) -> Any:
    try:
        result, failures = attempt
        return result, {name: _replaced(form, replace) for name, form in failures.items()}
    except Exception:
        # No attempt of a retry, but a result of a task that is a list.
        return attempt


def gather_changes(changes: Sequence[base.Change]) -> list[tuple[Any, Mapping[str, Any]]]:
    """Joins the changes that concern the same detail, later ones winning.

    A detail comes where its last change was: where a unit of work is written piece by piece, a retry must not be
    recorded as running again before all that it restarts was reset.
    """
    gathered: dict[int, tuple[Any, Mapping[str, Any]]] = {}
    for detail, fields in changes:
        earlier = gathered.pop(id(detail), None)
        gathered[id(detail)] = (detail, fields if earlier is None else {**earlier[1], **fields})
    return list(gathered.values())


class PathBasedBackend(base.Backend):
    """A backend whose records have paths.

    Args:
        conf: the options; ``path`` is the root of all paths.
    """

    DEFAULT_PATH: ClassVar[str | None] = None

    def __init__(self, conf: dict[str, Any] | None) -> None:
        super().__init__(conf)
        self._path: Any = self._conf.get("path") or self.DEFAULT_PATH

    @property
    def path(self) -> Any:
        """The root of all paths."""
        return self._path


class PathBasedConnection(base.Connection):
    """Reads and writes records through a few operations on paths, which subclasses provide.

    The layout, under the backend's root::

        books/<book>                  a log book
        books/<book>/<flow>           a link to flow_details/<flow>
        flow_details/<flow>           a flow detail
        flow_details/<flow>/<atom>    a link to atom_details/<atom>
        atom_details/<atom>           an atom detail in its envelope

    Args:
        backend: the backend that this connection belongs to.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    @property
    def backend(self) -> Any:
        """The backend that this connection belongs to."""
        return self._backend

    @property
    def book_path(self) -> str:
        """Where the log books are."""
        return self._join_path(self._backend.path, "books")

    @property
    def flow_path(self) -> str:
        """Where the flow details are."""
        return self._join_path(self._backend.path, "flow_details")

    @property
    def atom_path(self) -> str:
        """Where the atom details are."""
        return self._join_path(self._backend.path, "atom_details")

    @abc.abstractmethod
    def _join_path(self, *parts: str) -> str:
        """Joins parts of a path."""

    @abc.abstractmethod
    def _get_item(self, path: str) -> Any:
        """Returns the item at a path, decoded.

        Raises:
            NotFound: there is none.
        """

    @abc.abstractmethod
    def _set_item(self, path: str, value: Any, transaction: Any) -> None:
        """Creates or replaces the item at a path."""

    @abc.abstractmethod
    def _del_tree(self, path: str, transaction: Any) -> None:
        """Removes a path with everything below it."""

    @abc.abstractmethod
    def _get_children(self, path: str) -> list[str]:
        """Returns the names of what lies directly below a path."""

    @abc.abstractmethod
    def _ensure_path(self, path: str) -> None:
        """Makes a path with all its parents, where missing."""

    @abc.abstractmethod
    def _create_link(self, src_path: str, dest_path: str, transaction: Any) -> None:
        """Makes the second path a link to the first one, if it is not one already."""

    @abc.abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]:
        """Returns a context manager that yields the transaction object and ends it."""

    def _transaction_on(self, paths: Sequence[str]) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Like _transaction(), for one that changes nothing but items that have to exist already.

        Args:
            paths: those of the items; backends may keep others away from these only.
        """
        return self._transaction()

    def _stamps(self, paths: Sequence[str]) -> list[Stamp | None]:
        """Tells when the items at some paths were written, None where there is no item.

        Backends that do not know need not override this.
        """
        return [Stamp()] * len(paths)

    def _expect(self, path: str, stamp: Stamp, transaction: Any) -> None:
        """Makes a transaction fail if an item is not what it was; needless where transactions keep others out."""

    def _del_link(self, path: str, transaction: Any) -> None:
        """Removes a link, but not what it leads to."""
        self._del_tree(path, transaction)

    # -- between details and items

    def _path_of(self, detail: Detail) -> str:
        if isinstance(detail, models.AtomDetail):
            return self._join_path(self.atom_path, detail.uuid)
        if isinstance(detail, models.FlowDetail):
            return self._join_path(self.flow_path, detail.uuid)
        if isinstance(detail, models.LogBook):
            return self._join_path(self.book_path, detail.uuid)
        msg = f"No path for {detail!r}: only log books, flow details and atom details can be stored"
        raise exc.StorageFailure(msg)

    def _serialize(self, detail: Detail) -> dict[str, Any]:
        if isinstance(detail, models.AtomDetail):
            return base._format_atom(detail)
        if isinstance(detail, models.FlowDetail):
            return detail.to_dict()
        if isinstance(detail, models.LogBook):
            return detail.to_dict(marshal_time=True)
        msg = f"Can not write {detail!r}: only log books, flow details and atom details can be stored"
        raise exc.StorageFailure(msg)

    def _deserialize(self, cls: type[D], data: Any) -> D:
        if issubclass(cls, models.AtomDetail):
            return models.atom_detail_class(data["type"]).from_dict(data["atom"])
        if issubclass(cls, models.FlowDetail):
            return cls.from_dict(data)
        if issubclass(cls, models.LogBook):
            return cls.from_dict(data, unmarshal_time=True)
        msg = f"Can not read {cls!r}: only log books, flow details and atom details can be stored"
        raise exc.StorageFailure(msg)

    def _item_of(self, kind: str, folder: str, uuid: str) -> Any:
        return self._item_at(self._join_path(folder, uuid), kind, uuid)

    def _item_at(self, path: str, kind: str, uuid: str) -> Any:
        try:
            item = self._get_item(path)
        except exc.NotFound as e:
            raise exc.NotFound(f"No {kind} with uuid {uuid!r} is stored", cause=e) from e
        if item is None:
            # A bare folder, for instance the parent of all books if the uuid is empty.
            raise exc.NotFound(f"No {kind} with uuid {uuid!r} is stored")
        return item

    def _merge_into_stored(self, detail: Any, transaction: Any, ignore_missing: bool) -> Any:
        path = self._path_of(detail)
        try:
            item = self._get_item(path)
        except exc.NotFound as e:
            if not ignore_missing:
                msg = f"{type(detail).__name__} '{detail.name}' ({detail.uuid}) is not stored, save it first"
                raise exc.NotFound(msg, cause=e) from e
            self._set_item(path, self._serialize(detail), transaction)
            return detail
        kind = models.AtomDetail if isinstance(detail, models.AtomDetail) else type(detail)
        stored = self._deserialize(kind, item)
        stored.merge(detail)
        merged = self._serialize(stored)
        if not _same_form(merged, item):
            self._set_item(path, merged, transaction)
        return stored

    def _merge_flow(self, flow_detail: models.FlowDetail, transaction: Any, ignore_missing: bool) -> None:
        self._merge_into_stored(flow_detail, transaction, ignore_missing)
        flow_path = self._path_of(flow_detail)
        for atom_detail in flow_detail:
            self._merge_into_stored(atom_detail, transaction, ignore_missing=True)
            # The link comes last, so that nobody meets a link to what is not there yet.
            self._create_link(self._path_of(atom_detail), self._join_path(flow_path, atom_detail.uuid), transaction)

    # -- the operations of a connection

    def close(self) -> None:
        """Does nothing: such a connection holds nothing."""

    def upgrade(self) -> None:
        """Makes the three folders where they are missing."""
        for path in (self.book_path, self.flow_path, self.atom_path):
            self._ensure_path(path)

    def _perform(self, work: Callable[[], R], removes: bool = False) -> R:  # noqa: ARG002
        """Does a unit of work, as often as it takes.

        Args:
            work: does it; doing it again changes nothing.
            removes: whether what it is about is gone afterwards: NotFound then says that it was done before.
        """
        return work()

    def clear_all(self) -> None:
        """Removes the three folders with everything in them; upgrade() makes them anew."""
        self._perform(self._clear, removes=True)

    def _clear(self) -> None:
        with self._transaction() as transaction:
            for path in (self.book_path, self.flow_path, self.atom_path):
                self._del_tree(path, transaction)

    def save_logbook(self, book: models.LogBook) -> models.LogBook:
        """Creates a book or merges it into the stored one, with everything in it; returns the argument."""
        self._perform(lambda: self._save_book(book))
        return book

    def _save_book(self, book: models.LogBook) -> None:
        with self._transaction() as transaction:
            self._merge_into_stored(book, transaction, ignore_missing=True)
            book_path = self._path_of(book)
            for flow_detail in book:
                self._merge_flow(flow_detail, transaction, ignore_missing=True)
                link = self._join_path(book_path, flow_detail.uuid)
                self._create_link(self._path_of(flow_detail), link, transaction)

    def update_flow_details(self, flow_detail: models.FlowDetail, ignore_missing: bool = False) -> models.FlowDetail:
        """Merges a flow detail into the stored one, with its atom details, and returns the argument.

        Args:
            flow_detail: what to store.
            ignore_missing: create the flow detail if it is not stored.

        Raises:
            NotFound: it is not stored, and is not to be created.
        """
        self._perform(lambda: self._update_flow(flow_detail, ignore_missing))
        return flow_detail

    def _update_flow(self, flow_detail: models.FlowDetail, ignore_missing: bool) -> None:
        with self._transaction() as transaction:
            self._merge_flow(flow_detail, transaction, ignore_missing)

    def update_atom_details(self, atom_detail: models.AtomDetail, ignore_missing: bool = False) -> models.AtomDetail:
        """Merges an atom detail into the stored one and returns the result.

        Args:
            atom_detail: what to store.
            ignore_missing: create the atom detail if it is not stored.

        Raises:
            NotFound: it is not stored, and is not to be created.
        """
        return self._perform(lambda: self._update_atom(atom_detail, ignore_missing))

    def _update_atom(self, atom_detail: models.AtomDetail, ignore_missing: bool) -> models.AtomDetail:
        with (
            self._transaction() if ignore_missing else self._transaction_on([self._path_of(atom_detail)]) as transaction
        ):
            merged: models.AtomDetail = self._merge_into_stored(atom_detail, transaction, ignore_missing)
        return merged

    def destroy_logbook(self, book_uuid: str) -> None:
        """Removes a book with its flow details and their atom details.

        Raises:
            NotFound: there is no such book.
        """
        self._perform(lambda: self._destroy(book_uuid), removes=True)

    def _destroy(self, book_uuid: str) -> None:
        self._item_of("log book", self.book_path, book_uuid)
        with self._transaction() as transaction:
            book_path = self._join_path(self.book_path, book_uuid)
            for flow_uuid in self._get_children(book_path):
                flow_path = self._join_path(self.flow_path, flow_uuid)
                for atom_uuid in self._get_children(flow_path):
                    self._del_tree(self._join_path(self.atom_path, atom_uuid), transaction)
                self._del_tree(flow_path, transaction)
            self._del_tree(book_path, transaction)

    def get_logbooks(self, lazy: bool = False) -> Iterator[models.LogBook]:
        """Reads all books, in no particular order."""
        for book_uuid in self._get_children(self.book_path):
            try:
                book = self.get_logbook(book_uuid, lazy=lazy)
            except exc.NotFound:
                if self._is_gone(book_uuid):
                    continue
                raise
            yield book

    def _is_gone(self, book_uuid: str) -> bool:
        """Whether a book was removed since its name was read."""
        try:
            self._item_of("log book", self.book_path, book_uuid)
        except exc.NotFound:
            return True
        return False

    def get_logbook(self, book_uuid: str, lazy: bool = False) -> models.LogBook:
        """Reads a book, without its flow details if lazy.

        Raises:
            NotFound: there is no such book.
        """
        book = self._deserialize(models.LogBook, self._item_of("log book", self.book_path, book_uuid))
        if not lazy:
            # Reading must not look like a change: LogBook.add() would note the time.
            updated_at = book.updated_at
            for flow_detail in self.get_flows_for_book(book_uuid):
                book.add(flow_detail)
            book.updated_at = updated_at
        return book

    def get_flows_for_book(self, book_uuid: str, lazy: bool = False) -> Iterator[models.FlowDetail]:
        """Reads the flow details of a book, without their atom details if lazy."""
        for flow_uuid in self._get_children(self._join_path(self.book_path, book_uuid)):
            yield self.get_flow_details(flow_uuid, lazy=lazy)

    def get_flow_details(self, flow_uuid: str, lazy: bool = False) -> models.FlowDetail:
        """Reads a flow detail, without its atom details if lazy.

        Raises:
            NotFound: there is no such flow detail.
        """
        flow_detail = self._deserialize(models.FlowDetail, self._item_of("flow detail", self.flow_path, flow_uuid))
        if not lazy:
            for atom_detail in self.get_atoms_for_flow(flow_uuid):
                flow_detail.add(atom_detail)
        return flow_detail

    def get_atoms_for_flow(self, flow_uuid: str) -> Iterator[models.AtomDetail]:
        """Reads the atom details of a flow detail."""
        for atom_uuid in self._get_children(self._join_path(self.flow_path, flow_uuid)):
            yield self.get_atom_details(atom_uuid)

    def get_atom_details(self, atom_uuid: str) -> models.AtomDetail:
        """Reads an atom detail.

        Raises:
            NotFound: there is no such atom detail.
        """
        item = self._item_of("atom detail", self.atom_path, atom_uuid)
        return self._deserialize(models.AtomDetail, item)  # type: ignore[type-abstract]

    def write(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail] = (),
    ) -> Sequence[models.AtomDetail]:
        """Writes one unit of work; only the items that change are read and written.

        See Connection.write() of the base module. Atom details that somebody else stored are not looked for.
        """
        gathered = [(self._path_of(detail), detail, fields) for detail, fields in gather_changes(changes)]
        with self._transaction() if added else self._transaction_on([path for path, _, _ in gathered]) as transaction:
            items: list[tuple[str, Any]] = []
            for path, detail, fields in gathered:
                values = {field: stored_value(detail, field, value) for field, value in fields.items()}
                kind = "atom" if isinstance(detail, models.AtomDetail) else "flow"
                item = self._item_at(path, f"detail of {kind} '{detail.name}'", detail.uuid)
                form = item["atom"] if kind == "atom" else item
                if not all(field in form and _same_form(value, form[field]) for field, value in values.items()):
                    new = {**form, **values}
                    items.append((path, {**item, "atom": new} if kind == "atom" else new))
            if added:
                self._item_of(f"detail of flow '{flow_detail.name}'", self.flow_path, flow_detail.uuid)
            for path, item in items:
                self._set_item(path, item, transaction)
            flow_path = self._path_of(flow_detail)
            for atom_detail in added:
                self._merge_into_stored(atom_detail, transaction, ignore_missing=True)
                self._create_link(self._path_of(atom_detail), self._join_path(flow_path, atom_detail.uuid), transaction)
        return ()

    # -- housekeeping

    def _surveyor(self) -> Any:
        from taskflow.persistence import path_surveys

        return path_surveys.Surveyor(self)

    def destroy_flow_details(self, fd_uuid: str) -> None:
        """Removes a flow detail with its atom details, and the links to it; books stay.

        Raises:
            NotFound: there is no such flow detail.
        """
        self._perform(lambda: self._surveyor().destroy_flow(fd_uuid), removes=True)

    def survey_books(self, size: int = 100, details: bool = True) -> Iterator[Sequence[surveys.BookSummary]]:
        """Goes through all books, a page as it is its turn; see Connection.survey_books() of the base module."""
        yield from self._surveyor().books(size, details)

    def survey_flows(
        self, book_uuid: str | None = None, size: int = 100, details: bool = True
    ) -> Iterator[Sequence[surveys.FlowSummary]]:
        """Goes through flows, a page as it is its turn; see Connection.survey_flows() of the base module."""
        yield from self._surveyor().flows(book_uuid, size, details)

    def discard(
        self, books: Sequence[str], flows: Mapping[str, Sequence[str]], terms: surveys.Terms
    ) -> surveys.Removed:
        """Removes what meets the terms, in one transaction; see Connection.discard() of the base module."""
        removed: surveys.Removed = self._perform(lambda: self._surveyor().discard(books, flows, terms))
        return removed
