# SPDX-License-Identifier: Apache-2.0
"""How is a file written beside its place, and how does a folder get to the disk?"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

METADATA = "metadata"

# Written, and then moved over the old file. One name is enough since writers exclude each other, and what a killed one
# left is overwritten by the next.
NEW = ".metadata.new"

_WRITING = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC

# How many files are written together at most; each of them is open meanwhile.
_AT_ONCE = 64
_begin_writing = getattr(os, "posix_fadvise", None)

# Brings what is in a file to the disk; its times need not get there.
sync_data = getattr(os, "fdatasync", os.fsync)


def write_beside(contents: Mapping[str, bytes], made: list[str], sync: bool, times: Mapping[str, int]) -> None:
    """Writes new files beside the old ones; if that fails, nothing is left of it.

    Args:
        contents: what they are to hold, by the folders of their records.
        made: gets the folders that were not there.
        sync: whether they have to be on the disk.
        times: when old ones were changed last, in nanoseconds, as far as that is known; new ones are newer.
    """
    paths = list(contents)
    try:
        for at in range(0, len(paths), _AT_ONCE):
            _write_some({path: contents[path] for path in paths[at : at + _AT_ONCE]}, made, sync, times)
    except BaseException:
        clean_up(paths, made)
        raise


def clean_up(begun: Iterable[str], made: Iterable[str]) -> None:
    """Removes what was written beside its place, and the folders that were made for it."""
    for path in begun:
        with contextlib.suppress(OSError):
            os.unlink(f"{path}/{NEW}")
    for path in made:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _write_some(contents: dict[str, bytes], made: list[str], sync: bool, times: Mapping[str, int]) -> None:
    opened: list[int] = []
    try:
        for path, data in contents.items():
            new = f"{path}/{NEW}"
            try:
                descriptor = os.open(new, _WRITING, 0o666)
            except FileNotFoundError:
                made.append(path)
                make_folder(path, sync)
                descriptor = os.open(new, _WRITING, 0o666)
            opened.append(descriptor)
            write_all(descriptor, data)
            before = times.get(path)
            if before is not None and before >= os.fstat(descriptor).st_mtime_ns:
                # The clock was set back, or ticks slowly; a journal must not take it for what it replaced.
                os.utime(descriptor, ns=(before + 1, before + 1))
        if sync:
            if len(opened) > 1 and _begin_writing is not None:
                # All of them on their way before one is waited for: then they have most of the wait in common.
                for descriptor in opened:
                    _begin_writing(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            for descriptor in opened:
                os.fsync(descriptor)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes to a file, from where it stands.

    Args:
        descriptor: of the file.
        data: all that is to be written.
    """
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def copy_over(source: str, file: str) -> None:
    """Replaces a file by a copy of one from another file system, with its times; that one is gone then.

    Args:
        source: the one to copy.
        file: the one to replace.
    """
    beside = f"{os.path.dirname(file)}/{NEW}"
    shutil.copy2(source, beside)
    os.replace(beside, file)
    os.unlink(source)


def make_folder(path: str, sync: bool) -> None:
    """Makes a folder where there is none; its name is yet to be synced.

    Args:
        path: that of the folder.
        sync: whether the names of those above it have to get to the disk, if they are missing too.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    except FileNotFoundError:
        parent = os.path.dirname(path)
        make_folder(parent, sync)
        if sync:
            sync_all([os.path.dirname(parent)])
        make_folder(path, sync)


def sync_all(paths: Iterable[str]) -> None:
    """Brings files, or the names in folders, to the disk; what is gone is passed over."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_all(descriptor: int, size: int) -> bytes:
    """Reads a file from where it stands.

    Args:
        descriptor: of the file.
        size: how long it is expected to be.
    """
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while data:
        data = os.read(descriptor, 1 << 20)
        parts.append(data)
    return b"".join(parts)
