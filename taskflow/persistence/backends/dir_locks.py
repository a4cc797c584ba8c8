# SPDX-License-Identifier: Apache-2.0
"""How do the threads and processes that work in one folder keep out of each other's way?

Between processes there are record locks (``fcntl.lockf``) on empty files named ``lock``, one beside each record, which
OpenStack TaskFlow takes too, and one for the whole folder. Whoever changes a few records that exist shares the folder's
lock and has those of the records alone; whoever makes or removes records has the folder's lock alone.

Such locks belong to the process, and it loses all that it has on a file when it closes the file anywhere. So threads
need locks of their own, and one place has to know which files are locked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOCK = "lock"

# Two bytes of the folder's lock file: one is the lock itself; who waits for it holds the other, so that newcomers queue
# up behind and many who share the lock can not keep out one who wants it alone.
_ITSELF, _QUEUE = 0, 1

# How long to wait, in seconds, before somebody asks again who may not wait for the lock itself.
_PAUSE = 0.0005

_places: weakref.WeakValueDictionary[str, Place] = weakref.WeakValueDictionary()
_places_guard = threading.Lock()


class Place:
    """A folder of records, as all threads of this process see it; see place_of()."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forgets who held what, as a process has to that was forked."""
        # Held by the one thread that writes.
        self.turn = threading.RLock()
        # Held while lock files are opened or closed, and while a record is replaced.
        self.guard = threading.RLock()
        # By kinds and uuids: there are several paths to one place, and closing a file anywhere gives its lock away.
        self._held: dict[str, int] = {}

    @contextlib.contextmanager
    def reading(self, folder: str) -> Iterator[None]:
        """Keeps a record from being written, also by other processes; makes no lock file where there is none.

        Args:
            folder: that of the record.
        """
        while True:
            with self.guard:
                if self.holds(folder):
                    yield
                    return
                try:
                    descriptor = os.open(f"{folder}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    yield
                    return
                try:
                    if _take_now(descriptor, fcntl.LOCK_SH):
                        yield
                        return
                finally:
                    os.close(descriptor)
            # Whoever has it may wait for a writer of this process, and that one for the guard.
            time.sleep(_PAUSE)

    @contextlib.contextmanager
    def writing(self, folder: str) -> Iterator[None]:
        """Keeps everybody from reading and writing a record, except for transactions that have it anyway."""
        with self.guard:
            if self.holds(folder):
                yield
                return
            descriptor = _open(folder)
            try:
                _lock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def holds(self, folder: str) -> bool:
        """Tells whether a transaction has a record for itself; in its thread the guard is enough then.

        Args:
            folder: that of the record.
        """
        return _record_of(folder) in self._held

    @contextlib.contextmanager
    def changing(self, root: str, folders: Sequence[str] | None) -> Iterator[None]:
        """Keeps other transactions away, in the thread whose turn it is.

        Args:
            root: where all records are.
            folders: those of the records that are going to be changed, if all of them exist; None to have everything.
        """
        descriptor = _open(root)
        try:
            _lock(descriptor, fcntl.LOCK_EX, _QUEUE)
            _lock(descriptor, fcntl.LOCK_EX if folders is None else fcntl.LOCK_SH, _ITSELF)
            _lock(descriptor, fcntl.LOCK_UN, _QUEUE)
            try:
                # In one order, so that no two processes wait for each other.
                for folder in sorted(set(folders or ())):
                    self._hold(folder)
                yield
            finally:
                with self.guard:
                    while self._held:
                        os.close(self._held.popitem()[1])
        finally:
            os.close(descriptor)

    def _hold(self, folder: str) -> None:
        with self.guard:
            try:
                descriptor = _open(folder)
            except FileNotFoundError:
                return
            self._held[_record_of(folder)] = descriptor
            _lock(descriptor, fcntl.LOCK_EX)


def place_of(root: str) -> Place:
    """Returns what all backends of this process share that work in a folder."""
    real = os.path.realpath(root)
    with _places_guard:
        place = _places.get(real)
        if place is None:
            place = _places[real] = Place()
        return place


def take(descriptor: int) -> None:
    """Waits for an open file, which nobody else is to have until this process closes it."""
    _lock(descriptor, fcntl.LOCK_EX)


def _renew() -> None:
    global _places_guard  # noqa: PLW0603 - whoever held it does not exist in a process that was forked
    _places_guard = threading.Lock()
    for place in list(_places.values()):
        place.renew()


os.register_at_fork(after_in_child=_renew)


def _open(folder: str) -> int:
    return os.open(f"{folder}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _lock(descriptor: int, kind: int, start: int | None = None) -> None:
    # A lock on the whole file is what the published library takes.
    length = 0 if start is None else 1
    try:
        fcntl.lockf(descriptor, kind, length, start or 0)
    except OSError as e:
        if e.errno != errno.EDEADLK:
            raise
    else:
        return
    # Threads of two processes that each wait for the other process in two folders look like a deadlock, but are none.
    while not _take_now(descriptor, kind, length, start or 0):
        time.sleep(_PAUSE)


def _take_now(descriptor: int, kind: int, length: int = 0, start: int = 0) -> bool:
    try:
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _record_of(folder: str) -> str:
    return folder[folder.rindex(os.sep, 0, folder.rindex(os.sep)) :]
