# SPDX-License-Identifier: Apache-2.0
"""How are records kept as files in a folder, so that no kill leaves half of one?

What one transaction writes is put together in memory first; then each file is written beside its place, brought to the
disk and moved over the old one. Files of atoms come first, then those of flows and of books, links last: a reader never
meets a link to what is not there yet. A process that is killed between two of these moves leaves the first part of the
unit. An engine goes on from that: it orders what it changes so that what ended comes before what begins, and it decides
again about a failure whose consequences are not all recorded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow.persistence import path_based
from taskflow.utils import texts, uris

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence

    import fasteners

METADATA = "metadata"
LOCK = "lock"

# Written, and then moved over the old file. Writers of this library exclude each other, so one name is enough, and what
# a killed one left is overwritten by the next.
_NEW = ".metadata.new"

_RESERVED = frozenset((METADATA, LOCK, _NEW, os.curdir, os.pardir))
_ATOMS, _FLOWS, _BOOKS = "atom_details", "flow_details", "books"
_TURN = {_ATOMS: 0, _FLOWS: 1, _BOOKS: 2}


class DirBackend(path_based.PathBasedBackend):
    """Keeps records as files in a folder, which threads and processes may share.

    Args:
        conf: the options: ``path``, the folder (or, where that is absent, the path in a ``connection`` such as
            ``dir:///var/lib/records``); ``max_cache_size``, how many files at most are kept in memory (all
            when absent); ``encoding`` of the files; ``fsync``, whether what is written must be on the disk before the
            program goes on (true when absent; without it a power failure, but no kill, may lose the newest writes).

    Raises:
        ValueError: there is no ``path``, or ``max_cache_size`` is below one.
    """

    DEFAULT_FILE_ENCODING = "utf-8"

    def __init__(self, conf: dict[str, Any] | None) -> None:
        super().__init__(conf)
        if not self._path:
            # As in dir:///var/lib/records
            self._path = _path_in(self._conf.get("connection"))
        if not self._path:
            raise ValueError("The directory backend needs the option 'path': the folder that is to hold the records")
        self._path = os.path.abspath(self._path)
        self.encoding: str = self._conf.get("encoding", self.DEFAULT_FILE_ENCODING)
        self.fsync = texts.as_bool(self._conf.get("fsync", True))
        self.file_cache: MutableMapping[str, dict[str, Any]] = _cache(self._conf.get("max_cache_size"))
        # For the cache, and for the locks on files: closing one of them ends all that this process has on that file.
        self._guard = threading.RLock()
        self._lock: fasteners.ReaderWriterLock | None = None
        # What the transaction under way is to write, and the thread that it belongs to.
        self._unit: _Unit | None = None

    @property
    def lock(self) -> fasteners.ReaderWriterLock:
        """The lock that each transaction has alone, among the threads of this process."""
        if self._lock is None:
            import fasteners

            with self._guard:
                if self._lock is None:
                    self._lock = fasteners.ReaderWriterLock()
        return self._lock

    def get_connection(self) -> Connection:
        """Returns a connection; nothing is read or made yet."""
        return Connection(self)

    def close(self) -> None:
        """Does nothing: no file stays open."""


def _path_in(address: Any) -> str | None:
    try:
        path: str = uris.parse_uri(address).path
    except (TypeError, ValueError):
        return None
    return path if path.strip("/") else None


def _cache(size: Any) -> MutableMapping[str, dict[str, Any]]:
    if size is None:
        return {}
    most = int(size)
    if most < 1:
        raise ValueError(f"The option 'max_cache_size' must be at least 1, not {size!r}")
    import cachetools

    made: MutableMapping[str, dict[str, Any]] = cachetools.LRUCache(most)
    return made


class _Unit:
    """What a transaction is to do to the files, in the order in which it came."""

    def __init__(self) -> None:
        self.owner = threading.get_ident()
        self.texts: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.removed: list[str] = []


class Connection(path_based.PathBasedConnection):
    """Reads and writes the records of a directory backend.

    Args:
        backend: the backend that this connection belongs to.
    """

    _backend: DirBackend

    def validate(self) -> None:
        """Checks that the three folders are there.

        Raises:
            StorageFailure: one of them is not a folder.
        """
        for path in (self.book_path, self.flow_path, self.atom_path):
            if not os.path.isdir(path):
                error = RuntimeError(f"Missing the folder {path!r}; upgrade() makes it")
                message = f"The directory backend at {self._backend.path!r} can not be used"
                raise exc.StorageFailure(message, cause=error)

    # -- paths

    def _join_path(self, *parts: str) -> str:
        for name in parts[1:]:
            if not isinstance(name, str) or name in _RESERVED or os.sep in name or "\0" in name:
                failure = exc.StorageFailure(
                    f"{name!r} can not be the uuid of a record in {parts[0]!r}: as the name of a folder it would leave "
                    "that place, or is needed for something else"
                )
                failure.permanent = True  # type: ignore[attr-defined]
                raise failure
        return os.path.join(*parts)

    def _folder_of(self, path: str) -> str:
        """Which of the three folders a path lies directly in."""
        return os.path.basename(os.path.dirname(path))

    def _ensure_path(self, path: str) -> None:
        with self._reporting(path):
            os.makedirs(path, exist_ok=True)

    @contextlib.contextmanager
    def _reporting(self, path: str) -> Iterator[None]:
        try:
            yield
        except exc.TaskFlowException:
            raise
        except OSError as e:
            if e.errno == errno.ENOENT:
                raise exc.NotFound(f"There is nothing at {path!r}", cause=e) from e
            raise exc.StorageFailure(f"The directory backend could not use {path!r}: {e}", cause=e) from e
        except Exception as e:
            raise exc.StorageFailure(f"The directory backend could not use {path!r}", cause=e) from e

    # -- reading

    def _current_unit(self) -> _Unit | None:
        unit = self._backend._unit
        return unit if unit is not None and unit.owner == threading.get_ident() else None

    def _get_item(self, path: str) -> Any:
        unit = self._current_unit()
        if unit is not None and path in unit.texts:
            text = unit.texts[path]
        else:
            with self._reporting(path):
                text = self._text_of(path)
        with self._reporting(path):
            item = json.loads(text)
            if not isinstance(item, dict):
                raise ValueError(  # noqa: TRY004 - it is about the text
                    f"Expected a JSON object in {os.path.join(path, METADATA)!r}, found {type(item)}"
                )
        return item

    def _text_of(self, path: str) -> str:
        backend = self._backend
        file = os.path.join(path, METADATA)
        with backend._guard, _file_lock(path, create=False):
            about = os.stat(file)
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            known = backend.file_cache.get(file)
            if known is not None and known.get("stamp") == stamp:
                data: str = known["data"]
                return data
            with open(file, encoding=backend.encoding, newline="") as opened:
                data = opened.read()
            backend.file_cache[file] = {"data": data, "mtime": about.st_mtime, "stamp": stamp}
            return data

    def _get_children(self, path: str) -> list[str]:
        with self._reporting(path), os.scandir(path) as entries:
            if path == self.book_path:
                # What has no metadata is no book (yet, or any more).
                return [
                    entry.name
                    for entry in entries
                    if entry.is_dir() and os.path.exists(os.path.join(entry.path, METADATA))
                ]
            return [entry.name for entry in entries if entry.is_symlink()]

    # -- writing

    def _set_item(self, path: str, value: Any, transaction: _Unit) -> None:
        transaction.texts[path] = path_based.encode_item(value)

    def _create_link(self, src_path: str, dest_path: str, transaction: _Unit) -> None:
        transaction.links[dest_path] = src_path

    def _del_tree(self, path: str, transaction: _Unit) -> None:
        if os.path.dirname(path) == self._backend.path and not os.path.isdir(path):
            raise exc.NotFound(f"There is no folder {path!r}; upgrade() makes it")
        transaction.removed.append(path)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[_Unit]:
        backend = self._backend
        with self._reporting(backend.path), backend.lock.write_lock(), self._alone():
            backend._unit = unit = _Unit()
            try:
                yield unit
            finally:
                backend._unit = None
            with backend._guard:
                self._carry_out(unit)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Excludes transactions of other processes: reading what is changed and writing it belong together."""
        os.makedirs(self._backend.path, exist_ok=True)
        with _file_lock(self._backend.path, create=True):
            yield

    def _carry_out(self, unit: _Unit) -> None:
        backend = self._backend
        touched: dict[str, None] = {}
        paths = sorted(unit.texts, key=lambda path: _TURN.get(self._folder_of(path), len(_TURN)))
        for path in paths:
            if not os.path.isdir(path):
                os.makedirs(path, exist_ok=True)
                touched[os.path.dirname(path)] = None
            self._write_beside(path, unit.texts[path])
        for path in paths:
            file = os.path.join(path, METADATA)
            with _file_lock(path, create=True):
                backend.file_cache.pop(file, None)
                os.replace(os.path.join(path, _NEW), file)
            if backend.fsync:
                _sync_folder(path)
        self._sync(touched)
        touched.clear()
        # Links to atoms come before links to the flow that they belong to.
        for place in sorted(unit.links, key=lambda path: os.path.dirname(path).startswith(self.book_path + os.sep)):
            if not os.path.islink(place):
                os.symlink(unit.links[place], place)
                touched[os.path.dirname(place)] = None
        self._sync(touched)
        self._remove(unit.removed)

    def _write_beside(self, path: str, text: str) -> None:
        data = text.encode(self._backend.encoding)
        descriptor = os.open(os.path.join(path, _NEW), os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
            if self._backend.fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remove(self, paths: Sequence[str]) -> None:
        # A book is gone for readers before anything of it is: nobody is to meet one with parts missing.
        for path in paths:
            if os.path.dirname(path) == self.book_path:
                self._forget(path)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(path, METADATA))
        touched: dict[str, None] = {}
        for path in paths:
            self._forget(path)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)
            touched[os.path.dirname(path)] = None
        self._sync(touched)

    def _forget(self, path: str) -> None:
        cache = self._backend.file_cache
        cache.pop(os.path.join(path, METADATA), None)
        for file in [file for file in cache if file.startswith(path + os.sep)] if path == self.book_path else ():
            cache.pop(file, None)

    def _sync(self, folders: dict[str, None]) -> None:
        if self._backend.fsync:
            for folder in folders:
                _sync_folder(folder)


def _sync_folder(path: str) -> None:
    """Brings the names in a folder to the disk; a folder that is gone has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_lock(folder: str, create: bool) -> contextlib.AbstractContextManager[Any]:
    """The lock between processes on what is in a folder; reading makes no lock file."""
    file = os.path.join(folder, LOCK)
    if not create and not os.path.exists(file):
        return contextlib.nullcontext()
    import fasteners

    lock: contextlib.AbstractContextManager[Any] = fasteners.InterProcessLock(file)
    return lock
