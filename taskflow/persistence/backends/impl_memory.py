# SPDX-License-Identifier: Apache-2.0
"""The backend that keeps records in the memory of this process."""

from __future__ import annotations

import contextlib
import copy
import posixpath
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from taskflow import exceptions as exc
from taskflow.persistence import base, models, path_based
from taskflow.persistence.backends import fake_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import fasteners

FakeFilesystem = fake_filesystem.FakeFilesystem
FakeInode = fake_filesystem.FakeInode


class _Pending:
    """What was written but does not show in the file system yet.

    Nearly nobody looks at the file system of a run that keeps no copies, so a write only notes which details it
    concerned. The values are taken from the details when somebody looks. The newest unit of work of each flow is kept
    with its values, since its writer may not have given them to the details yet.
    """

    __slots__ = ("added", "atoms", "flows", "newest")

    def __init__(self) -> None:
        self.atoms: dict[str, models.AtomDetail] = {}
        self.flows: dict[str, models.FlowDetail] = {}
        self.added: list[tuple[models.FlowDetail, tuple[models.AtomDetail, ...]]] = []
        self.newest: dict[str, tuple[base.Change, ...]] = {}


class _Unit:
    """What a transaction is going to do, once it is certain that all of it can be done."""

    __slots__ = ("owner", "steps", "values")

    def __init__(self) -> None:
        self.owner = threading.get_ident()
        self.values: dict[str, Any] = {}
        self.steps: list[tuple[Callable[..., None], tuple[Any, ...]]] = []


def _copied(detail: Any, form: dict[str, Any]) -> dict[str, Any]:
    """Copies the fields of a stored form; arguments of exceptions that can not be copied give way to their repr."""
    made = {}
    for field, value in form.items():
        try:
            made[field] = copy.deepcopy(value)
        except Exception as e:
            try:
                made[field] = copy.deepcopy(path_based.replace_arguments(field, value, _copyable))
            except Exception:
                raise base.unstorable(detail, field, e) from e
    return made


def _copyable(argument: Any) -> Any:
    try:
        return copy.deepcopy(argument)
    except Exception:
        try:
            return repr(argument)
        except Exception:
            return f"<{type(argument).__qualname__} object>"


class MemoryBackend(path_based.PathBasedBackend):
    """Keeps records in the memory of this process.

    Args:
        conf: the options: ``path`` (default ``/``) is the root of all records, ``deep_copy`` (default true) tells
            whether values are copied when written and read.

    Attributes:
        memory: the file system that holds the records.
    """

    DEFAULT_PATH: ClassVar[str | None] = "/"
    durable: ClassVar[bool] = False

    def __init__(self, conf: dict[str, Any] | None = None) -> None:
        super().__init__(conf)
        self._deep_copy = bool(self._conf.get("deep_copy", True))
        self.memory = FakeFilesystem(deep_copy=self._deep_copy)
        self._guard = self.memory._guard
        self._lock: fasteners.ReaderWriterLock | None = None
        self._pending = _Pending()
        self._unit: _Unit | None = None
        self.memory._before_access = self._flush

    @property
    def lock(self) -> fasteners.ReaderWriterLock:
        """The lock that readers share and that each transaction has alone."""
        if self._lock is None:
            import fasteners

            # Under the guard: an operation that saw no lock must be over before anybody can take the new one.
            with self._guard:
                if self._lock is None:
                    self._lock = fasteners.ReaderWriterLock()
        return self._lock

    @contextlib.contextmanager
    def _locked(self, write: bool) -> Iterator[None]:
        # Until somebody asks for the public lock, the guard alone does, at a tenth of the price.
        while (lock := self._lock) is None:
            with self._guard:
                if self._lock is None:
                    yield
                    return
        with lock.write_lock() if write else lock.read_lock(), self._guard:
            yield

    def _flush(self) -> None:
        """Brings the file system up to date with what was written."""
        pending = self._pending
        if not pending.newest:
            return
        with self._guard:
            pending, self._pending = self._pending, _Pending()
            for flow_detail, atom_details in pending.added:
                flow_path = self._paths("flow_details", flow_detail.uuid)
                for atom_detail in atom_details:
                    atom_path = self._paths("atom_details", atom_detail.uuid)
                    self.memory._put(atom_path, None)
                    self.memory._link(atom_path, f"{flow_path}/{atom_detail.uuid}")
            for flow_detail in pending.flows.values():
                self.memory._put(self._paths("flow_details", flow_detail.uuid), flow_detail.to_dict())
            for atom_detail in pending.atoms.values():
                self.memory._put(self._paths("atom_details", atom_detail.uuid), base._format_atom(atom_detail))
            for changes in pending.newest.values():
                for detail, fields in changes:
                    is_atom = isinstance(detail, models.AtomDetail)
                    path = self._paths("atom_details" if is_atom else "flow_details", detail.uuid)
                    form = self.memory._peek(path)
                    target = form["atom"] if is_atom else form
                    for field, value in fields.items():
                        target[field] = path_based.stored_value(detail, field, value)

    def _paths(self, folder: str, uuid: str) -> str:
        return FakeFilesystem.normpath(posixpath.join(self._path, folder, uuid))

    def get_connection(self) -> Connection:
        """Returns a connection; the layout is already up to date."""
        return Connection(self)

    def close(self) -> None:
        """Does nothing: the records stay, and the backend can still be used."""


class Connection(path_based.PathBasedConnection):
    """Reads and writes the records of a memory backend.

    Args:
        backend: the backend that this connection belongs to.
    """

    _backend: MemoryBackend

    def __init__(self, backend: MemoryBackend) -> None:
        super().__init__(backend)
        self._memory = backend.memory
        # The paths of the three folders, which everything begins with.
        self._folders: dict[tuple[str, ...], str] = {}
        self.upgrade()

    @contextlib.contextmanager
    def _reporting(self, write: bool) -> Iterator[None]:
        try:
            with self._backend._locked(write):
                yield
        except exc.TaskFlowException:
            raise
        except Exception as e:
            msg = f"The memory backend at {self._backend.path!r} could not {'write' if write else 'read'}"
            raise exc.StorageFailure(msg, cause=e) from e

    def _join_path(self, *parts: str) -> str:
        known = self._folders.get(parts)
        if known is not None:
            return known
        folder, name = parts[0], parts[-1]
        if len(parts) == 2 and folder in self._folders.values() and "/" not in name and name.strip("."):
            return f"{folder}/{name}"
        path = self._memory.normpath(posixpath.join(*parts))
        if folder == self._backend.path:
            self._folders[parts] = path
        return path

    def _current_unit(self) -> _Unit | None:
        unit = self._backend._unit
        return unit if unit is not None and unit.owner == threading.get_ident() else None

    def _get_item(self, path: str) -> Any:
        with self._reporting(write=False):
            unit = self._current_unit()
            if unit is not None and path in unit.values:
                return self._memory._copy(unit.values[path])
            return self._memory[path]

    def _copy_of(self, path: str, value: Any) -> Any:
        if not self._backend._deep_copy:
            return copy.copy(value)
        try:
            return copy.deepcopy(value)
        except Exception as e:
            if "atom" not in value:
                failure = exc.StorageFailure(
                    f"The value for {path!r} can not be copied, so it can not be stored", cause=e
                )
                failure.permanent = True  # type: ignore[attr-defined]
                failure.atom_uuid = None  # type: ignore[attr-defined]
                raise failure from e
        detail = models.atom_detail_class(value["type"])(value["atom"]["name"], value["atom"]["uuid"])
        return {**value, "atom": _copied(detail, value["atom"])}

    def _set_item(self, path: str, value: Any, transaction: _Unit) -> None:
        transaction.values[path] = made = self._copy_of(path, value)
        transaction.steps.append((self._memory._put, (path, made)))

    def _del_tree(self, path: str, transaction: _Unit) -> None:
        self._memory._find(path)
        transaction.steps.append((self._memory.delete, (path, True)))

    def _get_children(self, path: str) -> list[str]:
        with self._reporting(write=False):
            return self._memory.ls(path)

    def _ensure_path(self, path: str) -> None:
        with self._reporting(write=True):
            self._memory.ensure_path(path)

    def _create_link(self, src_path: str, dest_path: str, transaction: _Unit) -> None:
        transaction.steps.append((self._memory._link, (src_path, dest_path)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[_Unit]:
        with self._reporting(write=True):
            self._backend._flush()
            self._backend._unit = unit = _Unit()
            try:
                yield unit
            finally:
                self._backend._unit = None
            for step, arguments in unit.steps:
                step(*arguments)

    def upgrade(self) -> None:
        """Makes the three folders where they are missing."""
        with self._reporting(write=True):
            super().upgrade()

    def validate(self) -> None:
        """Does nothing: memory is always there."""

    def write(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail] = (),
    ) -> Sequence[models.AtomDetail]:
        """Writes one unit of work; without deep copies it is only noted, until somebody reads.

        See Connection.write() of the base module. The dictionaries in ``changes`` must not be modified afterwards.
        """
        backend = self._backend
        note = self._write_copies if backend._deep_copy else self._write_references
        with backend._guard:
            if backend._lock is None:
                note(flow_detail, changes, added)
                return ()
        with self._transaction():
            note(flow_detail, changes, added)
        return ()

    def _stored_path(self, detail: Any) -> str:
        path = self._path_of(detail)
        if not self._memory._exists(path):
            msg = f"{type(detail).__name__} '{detail.name}' ({detail.uuid}) is not stored, save it first"
            raise exc.NotFound(msg)
        return path

    def _write_references(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail],
    ) -> None:
        backend = self._backend
        atoms = backend._pending.atoms
        flows = backend._pending.flows
        unknown: list[Any] = []
        for detail, _ in changes:
            known: Any = flows.get(detail._uuid) if detail is flow_detail else atoms.get(detail._uuid)
            if known is not detail:
                unknown.append(detail)
                if known is not None:
                    # Another object for the same record: what was written through that one comes first.
                    backend._flush()
                    atoms = backend._pending.atoms
                    flows = backend._pending.flows
        for detail in unknown:
            self._stored_path(detail)
        if added:
            if flow_detail.uuid not in flows:
                self._stored_path(flow_detail)
            for atom_detail in added:
                models.atom_detail_type(atom_detail)
            backend._pending.added.append((flow_detail, tuple(added)))
            for atom_detail in added:
                atoms[atom_detail.uuid] = atom_detail
        for detail, _ in changes if unknown else ():
            if detail is flow_detail:
                flows[detail.uuid] = flow_detail
            else:
                atoms[detail.uuid] = detail  # type: ignore[assignment]
        backend._pending.newest[flow_detail.uuid] = tuple(changes)

    def _write_copies(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail],
    ) -> None:
        forms: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for detail, fields in path_based.gather_changes(changes):
            form = self._memory._peek(self._stored_path(detail))
            values = {field: path_based.stored_value(detail, field, value) for field, value in fields.items()}
            forms.append((form["atom"] if isinstance(detail, models.AtomDetail) else form, _copied(detail, values)))
        new = []
        if added:
            flow_path = self._stored_path(flow_detail)
            for atom_detail in added:
                envelope = base._format_atom(atom_detail)
                new.append((atom_detail.uuid, {**envelope, "atom": _copied(atom_detail, envelope["atom"])}))
        for target, copies in forms:
            target.update(copies)
        for uuid, form in new:
            atom_path = self._join_path(self.atom_path, uuid)
            self._memory._put(atom_path, form)
            self._memory._link(atom_path, f"{flow_path}/{uuid}")
