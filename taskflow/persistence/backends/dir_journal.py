# SPDX-License-Identifier: Apache-2.0
"""How does one sync make a unit of several files durable?

The unit is appended to a journal, a file of the folder, and the journal is synced; then the files take their places,
and the system writes them when it likes. Whatever a process shows to others is in the journal on the disk before.

A process that is killed needs no journal: what it wrote is in the memory of the system. The journal is for crashes of
the machine, which a new boot id betrays. Whoever comes first then brings the files up to what the journal says, under
the lock of the whole folder, and starts the journal anew:

* Only the newest record of a file counts, and only if the file is not newer: somebody who knows of no journal may have
  gone on with it. A record holds the time of the very file that was written with it, so the clock that is asked is
  one and the same. That much may be repeated if it is interrupted.
* What is gone stays gone. An atom is made only where the flow is that it was linked to: nobody removes one without the
  other.

The lock of the journal is held from the first byte of a record until its files are in place, and a mark in the record
tells that they are. So whoever appends knows of every earlier record that it is done, or that its writer died; then,
or when the journal is full, all files that it speaks of are synced as they are, and it starts anew. That is a new
epoch: a number in each record, which those of earlier epochs do not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from typing import TYPE_CHECKING

from taskflow import exceptions as exc
from taskflow.persistence.backends import dir_files, dir_locks, dir_spares

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NAME = ".journal"

# Differs after each start of the machine; elsewhere than on Linux only the times of the files are left to go by.
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# In bytes: where it starts anew; by how much it grows, since writing over what is there costs a sync half as much as
# making a file longer; and the largest unit that is worth writing twice.
FULL, GROWTH, LARGEST = 2 << 20, 256 << 10, 1 << 20

# What it is, epoch, boot, checksum of these.
_HEAD = struct.Struct("<8s8s36sI")
_KIND = b"tf-jrnl1"
_FIRST = 64

# Epoch, length and checksum of what follows, whether the files are in place.
_MARK = struct.Struct("<8sII?")
_DONE_AT = _MARK.size - 1


class Journal:
    """The journal of a folder, as one backend sees it, in whichever thread has its turn.

    Args:
        root: the folder.
        place: its locks.
    """

    def __init__(self, root: str, place: dir_locks.Place) -> None:
        self._root = root
        self._place = place
        self.file = os.path.join(root, NAME)
        self.spares = dir_spares.Spares(root)
        self._boot = _boot_of_machine()
        # Whether it is known that no crash of the machine left anything to do.
        self.settled = False
        # Whether a unit is being recorded; a handler of a signal may come in between and write, too.
        self._busy = False
        self._forget()

    def renew(self) -> None:
        """Forgets what another thread was doing, as a process has to that was forked."""
        self._busy = False
        self._forget()

    def _forget(self, head: bytes = b"", boot: bytes | None = None) -> None:
        self._head_boot = boot
        self._epoch = head[8:16]
        self._tail = _FIRST
        self._size = 0
        # What it speaks of: items, with the newest content and its time, and links. Contents only while replaying.
        self._files: dict[str, tuple[int, bytes]] = {}
        self._links: dict[str, str] = {}
        self._parents: set[str] = set()
        self._unfinished = False
        # Last: whoever finds another one reads everything anew.
        self._head = head

    # -- what is in it

    @contextlib.contextmanager
    def _opened(self, flags: int = 0) -> Iterator[int]:
        descriptor = os.open(self.file, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
        try:
            dir_locks.take(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _boot_in(self, head: bytes) -> bytes | None:
        """Returns the boot that a head is of, None where nothing has been recorded yet."""
        if not head.strip(b"\0"):
            # Whoever began to make it died, or the machine did.
            return None
        if len(head) == _HEAD.size and head.startswith(_KIND):
            _, _, boot, checksum = _HEAD.unpack(head)
            found: bytes = boot
            # Whoever died while it wrote this had synced before all that there was to it.
            return found if checksum == zlib.crc32(head[:-4]) else None
        raise self._damaged("it does not begin as one")

    def _damaged(self, how: str) -> exc.StorageFailure:
        return exc.StorageFailure(
            f"{self.file!r} is not a journal that can be used: {how}. It may hold what was recorded before a crash of "
            "the machine; restore it, or remove it to go on with the files as they are"
        )

    def _catch_up(self, descriptor: int, contents: bool = False) -> bytes | None:
        """Reads what others appended; returns the boot that it is of, None if it has not been begun."""
        head = os.pread(descriptor, _HEAD.size, 0)
        if not head or head != self._head:
            self._forget(head, self._boot_in(head))
        boot = self._head_boot
        if boot is None:
            return None
        while True:
            mark = os.pread(descriptor, _MARK.size, self._tail)
            if len(mark) < _MARK.size or not mark.startswith(self._epoch):
                return boot
            _, length, checksum, done = _MARK.unpack(mark)
            # Nothing that is not whole has a length to rely on.
            plausible = length <= FULL or length <= os.fstat(descriptor).st_size
            payload = os.pread(descriptor, length, self._tail + _MARK.size) if plausible else b""
            if len(payload) != length or zlib.crc32(payload) != checksum:
                # Its writer died, or the machine did, before it was whole.
                return boot
            self._note(payload, contents)
            self._tail += _MARK.size + length
            self._unfinished = not done

    def _note(self, payload: bytes, contents: bool) -> None:
        at = payload.index(b"\n") + 1
        files, links = json.loads(payload[:at])
        for name, time, size in files:
            # Last in the order in which the files are to be brought up to date.
            self._files.pop(name, None)
            self._files[name] = (time, payload[at : at + size] if contents else b"")
            at += size
        for place, target in links:
            self._links[place] = target
            self._parents.add(os.path.dirname(place))

    # -- appending

    @contextlib.contextmanager
    def recording(
        self, contents: Mapping[str, bytes], links: Mapping[str, str], times: Mapping[str, int]
    ) -> Iterator[dict[str, str]]:
        """Records a unit; what is done in this context are the changes of its files, and cannot get lost any more.

        Args:
            contents: of items, by their paths, which exist or are the targets of links.
            links: their targets, by their own paths.
            times: when items were changed last, in nanoseconds, as far as that is known.

        Returns:
            The file that is to replace that of each item, by the path of the item; see Spares.replace().
        """
        with self._opened(os.O_CREAT) as descriptor:
            boot = self._catch_up(descriptor)
            if boot not in {None, self._boot}:
                raise self._outdated()
            # Whoever is being interrupted has not died.
            anew = self._unfinished and not self._busy
            if anew:
                # Whoever died left files that nobody else will use.
                with contextlib.suppress(OSError):
                    self.spares.clear()
            busy, self._busy = self._busy, True
            new: list[tuple[str, int]] = []
            try:
                new = self.spares.write(contents.values())
                for number, (path, (file, time)) in enumerate(zip(contents, new, strict=True)):
                    before = times.get(path, 0)
                    if before > time:
                        # The clock was set back. What is older than what it replaces would not be brought up to date.
                        os.utime(file, ns=(before, before))
                        new[number] = file, before
                at = self._append(descriptor, boot, contents, links, [time for _, time in new], anew)
                dir_files.sync_data(descriptor)
                yield {path: file for path, (file, _) in zip(contents, new, strict=True)}
            except BaseException:
                self.spares.discard(file for file, _ in new)
                raise
            finally:
                self._busy = busy
            os.pwrite(descriptor, b"\1", at + _DONE_AT)
            self._unfinished = False

    def _append(
        self,
        descriptor: int,
        boot: bytes | None,
        contents: Mapping[str, bytes],
        links: Mapping[str, str],
        times: Iterable[int],
        anew: bool,
    ) -> int:
        """Appends a record, which is yet to be synced; returns where it begins."""
        start = len(os.path.join(self._root, ""))
        names = [path[start:] for path in contents]
        ends = [(place[start:], target[start:]) for place, target in links.items()]
        sizes = map(len, contents.values())
        form = list(zip(names, times, sizes, strict=True)), ends
        payload = b"".join((json.dumps(form).encode(), b"\n", *contents.values()))
        size = _MARK.size + len(payload)
        if boot is None:
            self._make(descriptor)
        elif anew or self._tail + size > FULL:
            self._start_anew(descriptor)
        at = self._tail
        record = _MARK.pack(self._epoch, len(payload), zlib.crc32(payload), False) + payload
        if at + size > self._size:
            self._size = os.fstat(descriptor).st_size
            if at + size > self._size:
                record = record.ljust(-(-(at + size) // GROWTH) * GROWTH - at, b"\0")
        _write_at(descriptor, record, at)
        for name in names:
            self._files[name] = (0, b"")
        for place, target in ends:
            self._links[place] = target
            self._parents.add(os.path.dirname(place))
        # Last, since a process that is forked meanwhile reads on from here.
        self._unfinished = True
        self._tail = at + size
        return at

    def _outdated(self) -> exc.StorageFailure:
        self.settled = False
        return exc.StorageFailure(
            f"{self.file!r} has to be gone through first, as the machine crashed or its disk failed; try again"
        )

    def _make(self, descriptor: int) -> None:
        # Its name is on the disk before there is anything in it that others would rely on.
        _write_at(descriptor, bytes(GROWTH), 0)
        os.fsync(descriptor)
        dir_files.sync_all([self._root])
        self._begin(descriptor)

    def _begin(self, descriptor: int) -> None:
        self._forget(self._write_head(descriptor, os.urandom(8), self._boot), self._boot)

    def _write_head(self, descriptor: int, epoch: bytes, boot: bytes) -> bytes:
        head = _HEAD.pack(_KIND, epoch, boot, 0)[:-4]
        head += struct.pack("<I", zlib.crc32(head))
        _write_at(descriptor, head, 0)
        return head

    def _start_anew(self, descriptor: int) -> None:
        """Syncs all files that it speaks of as they are, and empties it."""
        folders = [os.path.join(self._root, name) for name in self._files]
        try:
            dir_files.sync_all(f"{folder}/{dir_files.METADATA}" for folder in folders)
            dir_files.sync_all(folders)
            if self._links:
                dir_files.sync_all({os.path.dirname(folder) for folder in folders})
                dir_files.sync_all(os.path.join(self._root, name) for name in self._parents)
        except BaseException:
            # The system takes what it could not write for written, so nobody may rely on syncing these files again.
            self.settled = False
            self._write_head(descriptor, self._epoch, _FAILED)
            raise
        self._begin(descriptor)
        dir_files.sync_data(descriptor)

    def make_way(self, paths: Iterable[str]) -> None:
        """Sees to it that nothing is recorded about items that are about to be written in another way."""
        try:
            with self._opened() as descriptor:
                boot = self._catch_up(descriptor)
                if boot is None:
                    return
                if boot != self._boot:
                    raise self._outdated()
                start = len(os.path.join(self._root, ""))
                names = {path[start:] for path in paths}
                if self._unfinished or not names.isdisjoint(self._files) or not names.isdisjoint(self._parents):
                    self._start_anew(descriptor)
        except FileNotFoundError:
            return

    def tidy(self) -> None:
        """Removes what processes that died left beside it."""
        if os.path.isdir(self.spares.folder):
            with contextlib.suppress(FileNotFoundError), self._opened():
                self.spares.tidy()

    def give_up(self) -> None:
        """Removes what only this backend needs."""
        if len(self.spares):
            with contextlib.suppress(OSError), self._opened():
                self.spares.give_up()

    def remove(self) -> None:
        """Removes it, as all that it speaks of is removed."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file)
        self._forget()

    # -- after a crash of the machine

    def needs_replay(self) -> bool:
        """Tells whether the machine may have crashed since something was recorded."""
        try:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            self.settled = True
            return False
        try:
            boot = self._boot_in(os.pread(descriptor, _HEAD.size, 0))
        finally:
            os.close(descriptor)
        # Without a boot id nobody can know, but all that is done twice is to compare.
        self.settled = self._is_current(boot)
        return not self.settled

    def _is_current(self, boot: bytes | None) -> bool:
        return boot is None or (boot == self._boot and boot != _UNKNOWN)

    def replay(self) -> None:
        """Brings the files up to what is recorded; to be called with the lock of the whole folder."""
        with contextlib.suppress(FileNotFoundError), self._opened() as descriptor:
            boot = self._boot_in(os.pread(descriptor, _HEAD.size, 0))
            if not self._is_current(boot):
                self._forget()
                self._catch_up(descriptor, contents=True)
                self._check_end(descriptor)
                flows = {target: os.path.dirname(place) for place, target in self._links.items()}
                for name, (time, data) in self._files.items():
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        self._replay_file(name, time, data, flows.get(name), anyway=boot == _FAILED)
                for place, target in self._links.items():
                    path = os.path.join(self._root, place)
                    if os.path.isdir(os.path.dirname(path)) and not os.path.islink(path):
                        os.symlink(os.path.join(self._root, target), path)
                self._start_anew(descriptor)
        self.settled = True

    def _check_end(self, descriptor: int) -> None:
        rest = os.pread(descriptor, 2 * FULL, self._tail + 1)
        if self._epoch in rest:
            # Only the last record can be one that did not get to the disk.
            raise self._damaged(f"there are more records after the one at byte {self._tail}, which is not whole")

    def _replay_file(self, name: str, time: int, data: bytes, flow: str | None, anyway: bool) -> None:
        folder = os.path.join(self._root, name)
        file = f"{folder}/{dir_files.METADATA}"
        if flow is not None and os.path.isdir(os.path.join(self._root, flow)):
            dir_files.make_folder(folder, sync=True)
        elif not os.path.exists(file):
            return
        with self._place.writing(folder):
            with contextlib.suppress(FileNotFoundError), open(file, "rb") as there:
                if os.fstat(there.fileno()).st_mtime_ns > time or (there.read() == data and not anyway):
                    return
            dir_files.write_beside({folder: data}, [], True, {})
            new = f"{folder}/{dir_files.NEW}"
            # The time of the record, not of the repair: for whoever asks how old a record is, or repairs again.
            os.utime(new, ns=(time, time))
            os.replace(new, file)


# In place of a boot: where that is not known, and where files could not be synced.
_UNKNOWN, _FAILED = bytes(36), b"!" * 36


def _boot_of_machine() -> bytes:
    try:
        with open(BOOT_ID, "rb") as file:
            boot = file.read().strip()
    except OSError:
        return _UNKNOWN
    return boot if len(boot) == len(_UNKNOWN) else _UNKNOWN


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    written = os.pwrite(descriptor, data, at)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], at + written)
