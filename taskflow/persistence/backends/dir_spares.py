# SPDX-License-Identifier: Apache-2.0
"""How do records get new files where making a file is slow?

A file system writes out at once what has no place on the disk yet when that is moved over another file; and some look
long for the place of a new file where many were just removed, as they are if each change replaces a file (ext4 without
a journal looks at every one that was freed in the last minutes: some hundred microseconds). So a file that is replaced
is kept, and becomes one of the next new files: it has both places already.

A machine that crashes must not find a record's name leading to a file that has become another record's. So a spare is
written to only if

* the folder that its name was replaced in has been synced, so that the name leads to the new file for good;
* it has no other name: a backup may be made of hard links;
* a new file would have the same owner and permissions.

It belongs to the process that replaced it. Whatever is found here may be removed by anybody who has the lock of the
journal or of the folder; then new files are made.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
import uuid
from typing import TYPE_CHECKING

from taskflow.persistence.backends import dir_files

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = ".spares"

# How many are kept, and after how many the folders are synced that they were in.
MOST, TOGETHER = 256, 16

# In seconds.
OLD = 600

_MAKING = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_USING = os.O_WRONLY | os.O_CLOEXEC


class Spares:
    """Makes new files out of those that they replaced, for one backend; used with the lock of the journal held.

    Args:
        root: the folder of all records.
    """

    def __init__(self, root: str) -> None:
        self.folder = os.path.join(root, NAME)
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._start = os.path.join(self.folder, uuid.uuid4().hex)
        self._numbers = itertools.count()
        # Those that may be written to; and those that may not yet, with the folders to be synced before.
        self._ready: list[str] = []
        self._waiting: dict[str, str] = {}
        # Whose new files are, and who may use them.
        self._kind: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self._ready) + len(self._waiting)

    def write(self, contents: Iterable[bytes]) -> list[tuple[str, int]]:
        """Writes files that are to replace others; they need not be on the disk.

        Args:
            contents: what they are to hold.

        Returns:
            Each file, and when it was changed last by the clock of the file system, in nanoseconds.
        """
        if self._owner != os.getpid():
            # They are those of the process that was forked.
            self._begin()
        written: list[tuple[str, int]] = []
        try:
            for data in contents:
                file, descriptor = self._take()
                try:
                    written.append((file, 0))
                    dir_files.write_all(descriptor, data)
                    about = os.fstat(descriptor)
                    if about.st_size > len(data):
                        os.ftruncate(descriptor, len(data))
                        about = os.fstat(descriptor)
                    written[-1] = (file, about.st_mtime_ns)
                finally:
                    os.close(descriptor)
        except BaseException:
            self.discard(file for file, _ in written)
            raise
        return written

    def discard(self, files: Iterable[str]) -> None:
        """Removes files that were written, as far as they have not replaced others.

        Args:
            files: their paths.
        """
        for file in files:
            with contextlib.suppress(OSError):
                os.unlink(file)

    def _take(self) -> tuple[str, int]:
        if not self._ready and len(self._waiting) >= TOGETHER:
            # If that fails, nobody knows what is on the disk.
            waiting, self._waiting = self._waiting, {}
            dir_files.sync_all(dict.fromkeys(waiting.values()))
            # Where a folder was removed, its name may still be on the disk.
            gone = {folder for folder in set(waiting.values()) if not os.path.isdir(folder)}
            self._ready.extend(file for file, folder in waiting.items() if folder not in gone)
            self.discard(file for file, folder in waiting.items() if folder in gone)
        while self._ready:
            file = self._ready.pop()
            with contextlib.suppress(OSError):
                descriptor = os.open(file, _USING)
                if self._usable(os.fstat(descriptor)):
                    return file, descriptor
                os.close(descriptor)
            self.discard([file])
        file = f"{self._start}.{next(self._numbers)}"
        try:
            descriptor = os.open(file, _MAKING, 0o666)
        except FileNotFoundError:
            os.makedirs(self.folder, exist_ok=True)
            descriptor = os.open(file, _MAKING, 0o666)
        self._kind = _kind_of(os.fstat(descriptor))
        return file, descriptor

    def _usable(self, about: os.stat_result) -> bool:
        return about.st_nlink == 1 and _kind_of(about) == self._kind

    def replace(self, new: str, file: str) -> None:
        """Moves a file that was written over another one, and keeps that for later.

        Args:
            new: the one that was written.
            file: the other one; it may not be there, but its folder is.
        """
        kept = None
        if len(self) < MOST:
            kept = f"{self._start}.{next(self._numbers)}"
            try:
                os.link(file, kept, follow_symlinks=False)
            except OSError:
                # There is none yet; or the file system has no hard links, or forbids them.
                kept = None
        try:
            os.replace(new, file)
        except BaseException as e:
            if kept is not None:
                self.discard([kept])
            if not isinstance(e, OSError) or e.errno != errno.EXDEV:
                raise
            # Somebody put a part of the records somewhere else.
            dir_files.copy_over(new, file)
            kept = None
        if kept is not None:
            self._waiting[kept] = os.path.dirname(file)

    def give_up(self) -> None:
        """Removes those that belong to this backend."""
        own = [*self._ready, *self._waiting] if self._owner == os.getpid() else []
        self._begin()
        self.discard(own)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)

    def tidy(self) -> None:
        """Removes those that nobody has needed for a while; whoever they belong to may have died."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_ctime > OLD:
                        os.unlink(entry.path)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)

    def clear(self) -> None:
        """Removes all that is there, whoever it belongs to."""
        self._begin()
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self.folder}/{name}")
            os.rmdir(self.folder)


def _kind_of(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_mode, about.st_uid, about.st_gid
