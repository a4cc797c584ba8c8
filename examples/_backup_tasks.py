# SPDX-License-Identifier: Apache-2.0
"""The tasks of a backup, each with the revert that removes what it made, and the flow that links them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import json
import os
import tarfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

import _backup_plan as plans

from taskflow import task
from taskflow.patterns import graph_flow

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

FLOW = "backup-folder"
#: Hashing is shared out among so many branches. Fixed, because a resumed run finds its tasks again by their names.
BRANCHES = 4
HASHES = tuple(f"hash-{number}" for number in range(BRANCHES))
NAMES = (
    "prepare-destination",
    "list-files",
    *HASHES,
    "pack-archive",
    "write-manifest",
    "verify-archive",
    "publish",
    "write-receipt",
)

#: Bytes read at once.
CHUNK = 256 * 1024
#: Seconds between two reports of a task's progress, at least: each is written to the disk.
REPORT_EVERY = 0.2

Listing = list[list[str]]  # [path, kind, target of a link or ""]


class StoppedError(BaseException):
    """The user asked to stop. Not an `Exception`: the task did not fail, it is to be run again on resumption."""


class Ledger(Protocol):
    """Who is told when a task begins and ends a try; the state file keeps it."""

    def started(self, name: str) -> None:
        """Note that a try begins."""

    def ended(self, name: str, seconds: float) -> None:
        """Note that a try ended by itself."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What all tasks of one run share.

    Args:
        plan: What is backed up, and where to.
        ledger: Is told of every try.
        stop: Set when the user asks to stop.
        pace: Seconds to wait after each packed file, folder or link.
    """

    plan: plans.Plan
    ledger: Ledger
    stop: threading.Event
    pace: float = 0.0

    def check(self) -> None:
        """Go no further when the user asked to stop."""
        if self.stop.is_set():
            raise StoppedError


class BackupTask(task.Task):
    """A task that counts its tries, reports its progress and can be asked to stop."""

    def __init__(self, context: Context, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.context = context
        self.plan = context.plan
        self._began = 0.0

    def pre_execute(self) -> None:
        """Record the try before it begins, so that a killed one counts, too."""
        self.context.check()
        self._began = time.monotonic()
        self.context.ledger.started(self.name)

    def post_execute(self) -> None:
        """Record how long the try took."""
        self.context.ledger.ended(self.name, time.monotonic() - self._began)

    def each(self, items: Iterable[Any], total: int) -> Iterator[Any]:
        """Yield the items, reporting progress now and then and stopping when asked to."""
        reported = time.monotonic()
        for done, item in enumerate(items, start=1):
            self.context.check()
            yield item
            if done < total and time.monotonic() - reported >= REPORT_EVERY:
                self.update_progress(done / total)
                reported = time.monotonic()


class PrepareDestination(BackupTask):
    """Makes the destination, where needed, and the folder in it where the backup is put together."""

    default_provides = "staging"

    def execute(self) -> str:
        """Return the path of the folder to work in."""
        with writing(self.plan.staging):
            for folder in self.plan.created_folders:
                Path(folder).mkdir(exist_ok=True)
            self.plan.staging.mkdir(exist_ok=True)
        return str(self.plan.staging)

    def revert(self, **_: Any) -> None:
        """Remove these folders again; one that somebody else put something into stays."""
        for folder in (str(self.plan.staging), *reversed(self.plan.created_folders)):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


class ListFiles(BackupTask):
    """Lists what there is to back up."""

    default_provides = ("listing", "special_files")

    def execute(self) -> tuple[Listing, list[str]]:
        """Return the listing, and the paths of pipes, sockets and devices, which no archive can hold."""
        listing: Listing = []
        special: list[str] = []
        for path, entry in plans.walk(self.plan):
            self.context.check()
            if entry.is_symlink():
                listing.append([path, plans.LINK, link_target(self.plan, path)])
            elif entry.is_dir():
                listing.append([path, plans.FOLDER, ""])
            elif entry.is_file():
                listing.append([path, plans.FILE, ""])
            else:
                special.append(path)
        return listing, special


class HashFiles(BackupTask):
    """Computes the SHA-256 of one branch's share of the files."""

    def __init__(self, context: Context, branch: int) -> None:
        super().__init__(context, HASHES[branch], provides=f"hashes_{branch}")
        self.branch = branch

    def execute(self, listing: Listing) -> dict[str, str]:
        """Return path -> hexadecimal hash."""
        files = [path for path, kind, _ in listing if kind == plans.FILE]
        hashes = {}
        share = files[self.branch :: BRANCHES]
        for path in self.each(share, len(share)):
            with SourceFile(self.context, path) as source:
                hashes[path] = digest(source)
        return hashes


class PackArchive(BackupTask):
    """Packs everything into a compressed archive in the staging folder."""

    default_provides = "archive"

    def execute(self, staging: str, listing: Listing) -> str:
        """Return the archive's path; what an earlier, killed try left of it is overwritten."""
        target = Path(staging, plans.ARCHIVE)
        try:
            with writing(target):
                self._pack(target, listing)
        except BaseException:
            # At once, not only in the revert: where the disk is full, the failure could not be recorded otherwise.
            remove(target)
            raise
        return str(target)

    def _pack(self, target: Path, listing: Listing) -> None:
        with (
            target.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            add_entry(archive, self.plan, "", tarfile.DIRTYPE)
            for path, kind, link in self.each(listing, len(listing)):
                if kind == plans.FILE:
                    with SourceFile(self.context, path) as source:
                        archive.addfile(member(self.plan, path, source.found), source)  # type: ignore[arg-type]
                else:
                    add_entry(
                        archive, self.plan, path, tarfile.DIRTYPE if kind == plans.FOLDER else tarfile.SYMTYPE, link
                    )
                if self.context.pace:
                    self.context.stop.wait(self.context.pace)
        sync(target)

    def revert(self, **_: Any) -> None:
        """Remove the archive."""
        remove(self.plan.staging / plans.ARCHIVE)


class WriteManifest(BackupTask):
    """Writes down what the archive must hold."""

    default_provides = "manifest"

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, name, requires=[f"hashes_{branch}" for branch in range(BRANCHES)])

    def execute(self, staging: str, listing: Listing, special_files: list[str], archive: str, **hashes: Any) -> str:
        """Return the manifest's path."""
        known = {path: value for part in hashes.values() for path, value in part.items()}
        entries = [
            {"path": path, "kind": kind}
            | ({"sha256": known[path]} if kind == plans.FILE else {})
            | ({"target": target} if kind == plans.LINK else {})
            for path, kind, target in listing
        ]
        content = {
            "source": self.plan.source,
            "archive": Path(archive).name,
            "top_folder": self.plan.top,
            "entries": entries,
            "left_out": special_files,
        }
        path = Path(staging, plans.MANIFEST)
        write_json(path, content)
        return str(path)

    def revert(self, **_: Any) -> None:
        """Remove the manifest."""
        remove(self.plan.staging / plans.MANIFEST)


class VerifyArchive(BackupTask):
    """Reads the archive back and compares everything in it with the manifest. Makes nothing, so reverts nothing."""

    default_provides = "verified"

    def execute(self, archive: str, manifest: str) -> dict[str, Any]:
        """Return what is known of the archive now: files, bytes in them, the archive's own size and hash."""
        expected = {entry["path"]: entry for entry in json.loads(Path(manifest).read_text("ascii"))["entries"]}
        count = size = 0
        for info, content in self._members(archive, len(expected)):
            path = info.name.removeprefix(self.plan.top).removeprefix("/")
            entry = expected.pop(path, None)
            if entry is None or not matches(entry, info, content):
                where = shown_in(self.plan, path)
                raise plans.BackupError(f"verification failed: {where} changed between hashing and packing")
            if content is not None:
                count, size = count + 1, size + info.size
        if expected:
            raise plans.BackupError(f"verification failed: {shown_in(self.plan, min(expected))} is not in the archive")
        with Path(archive).open("rb") as packed:
            return {
                "files": count,
                "bytes": size,
                "packed_bytes": Path(archive).stat().st_size,
                "sha256": digest(packed),
            }

    def _members(self, archive: str, total: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        try:
            with gzip.open(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as members:
                order = iter(members)
                if next(order).name != self.plan.top:
                    raise plans.BackupError("verification failed: the archive does not begin with its top folder")
                for info in self.each(order, total):
                    yield info, members.extractfile(info) if info.isreg() else None
                # To the very end, where gzip keeps the checksum.
                while unpacked.read(CHUNK):
                    pass
        except (OSError, EOFError, StopIteration, tarfile.TarError) as error:
            raise plans.BackupError(f"verification failed: the archive cannot be read back: {error}") from error


class Publish(BackupTask):
    """Gives the finished backup its name, in one step: it is there whole, or not at all."""

    default_provides = "published"

    def execute(self, staging: str, verified: dict[str, Any]) -> str:  # noqa: ARG002 - only what is verified is published
        """Return the path of the published backup; a run killed after the renaming finds it done."""
        final = self.plan.final
        with writing(final):
            if Path(staging).exists():
                rename_folder(Path(staging), final)
        if not final.is_dir():
            raise plans.BackupError(f"what was to be published has vanished: {plans.shown(staging)}")
        return str(final)

    def revert(self, **_: Any) -> None:
        """Give it its working name back, under which the other tasks remove what they made."""
        if self.plan.final.exists():
            rename_folder(self.plan.final, self.plan.staging)


class WriteReceipt(BackupTask):
    """Leaves a receipt with the published backup."""

    default_provides = "receipt"

    def execute(self, published: str, verified: dict[str, Any], listing: Listing) -> str:
        """Return the receipt's path."""
        kinds = [kind for _, kind, _ in listing]
        receipt = {
            "source": self.plan.source,
            "backup": self.plan.name,
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "folders": kinds.count(plans.FOLDER),
            "links": kinds.count(plans.LINK),
            **verified,
        }
        path = Path(published, plans.RECEIPT)
        write_json(path, receipt)
        return str(path)

    def revert(self, **_: Any) -> None:
        """Remove the receipt."""
        remove(self.plan.final / plans.RECEIPT)


class SourceFile:
    """A file of the source, opened for reading; errors name it, and reading ends when the user asks to stop."""

    def __init__(self, context: Context, path: str) -> None:
        self.context = context
        self.where = plans.shown(Path(context.plan.source, path))
        descriptor, self.found = plans.open_file(context.plan, path)
        self._file = os.fdopen(descriptor, "rb")
        self._left = self.found.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end that the file had when it was opened."""
        self.context.check()
        wanted = min(size, self._left)
        try:
            data = self._file.read(wanted)
        except OSError as error:
            raise plans.CannotReadError(f"cannot read {self.where}: {plans.reason(error)}") from error
        if len(data) < wanted:
            raise plans.BackupError(f"the source changed while it was backed up: {self.where} became shorter")
        self._left -= len(data)
        return data


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into an error that names the path."""
    try:
        yield
    except OSError as error:
        raise plans.CannotWriteError(f"cannot write {plans.shown(path)}: {plans.reason(error)}") from error


def digest(file: Any) -> str:
    """Return the hexadecimal SHA-256 of the rest of a file."""
    value = hashlib.sha256()
    while data := file.read(CHUNK):
        value.update(data)
    return value.hexdigest()


def link_target(plan: plans.Plan, path: str) -> str:
    """Return where a symbolic link of the source points to."""
    where = Path(plan.source, path)
    try:
        return os.readlink(where)  # noqa: PTH115 - the text as it is, not tidied into a Path
    except OSError as error:
        raise plans.BackupError(f"the source changed while it was listed: {plans.shown(where)} is gone") from error


def member(plan: plans.Plan, path: str, found: os.stat_result) -> tarfile.TarInfo:
    """Return the archive's heading for one entry. Its name never leads out of the top folder."""
    info = tarfile.TarInfo(f"{plan.top}/{path}" if path else plan.top)
    info.size, info.mode, info.mtime = found.st_size, found.st_mode & 0o7777, found.st_mtime
    info.uid, info.gid = found.st_uid, found.st_gid
    return info


def add_entry(archive: tarfile.TarFile, plan: plans.Plan, path: str, kind: bytes, target: str = "") -> None:
    """Add a folder or a symbolic link to the archive."""
    where = Path(plan.source, path)
    try:
        found = where.lstat()
    except OSError as error:
        raise plans.BackupError(f"the source changed while it was backed up: {plans.shown(where)} is gone") from error
    info = member(plan, path, found)
    info.type, info.linkname, info.size = kind, target, 0
    archive.addfile(info)


def matches(entry: dict[str, str], info: tarfile.TarInfo, content: IO[bytes] | None) -> bool:
    """Tell whether what is in the archive is what the manifest says."""
    if entry["kind"] == plans.FILE:
        return content is not None and digest(content) == entry["sha256"]
    if entry["kind"] == plans.LINK:
        return info.issym() and info.linkname == entry["target"]
    return info.isdir()


def shown_in(plan: plans.Plan, path: str) -> str:
    """Return the printable path of something in the source."""
    return plans.shown(Path(plan.source, path))


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(path.name + plans.UNFINISHED)
    try:
        with writing(path):
            unfinished.write_text(json.dumps(content, indent=1) + "\n", "ascii")
            sync(unfinished)
            unfinished.replace(path)
            sync(path.parent)
    except BaseException:
        remove(path)
        raise


def rename_folder(old: Path, new: Path) -> None:
    """Rename a folder durably; never over one that is there."""
    if new.exists():
        raise FileExistsError(errno.EEXIST, "there is something of that name already", str(new))
    old.rename(new)
    sync(new.parent)


def remove(path: Path) -> None:
    """Remove a file, or what an interrupted writing left of it, if it is there."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + plans.UNFINISHED).unlink(missing_ok=True)


def undo(context: Context) -> None:
    """Revert all tasks by hand; for when the state file can no longer say how far the flow got."""
    for one in reversed(list(build(context))):
        one.revert()


def build(context: Context) -> graph_flow.Flow:
    """Return the flow. Most links follow from what the tasks provide and require."""
    flow = graph_flow.Flow(FLOW)
    hashing = [HashFiles(context, branch) for branch in range(BRANCHES)]
    pack = PackArchive(context, "pack-archive")
    flow.add(
        PrepareDestination(context, "prepare-destination"),
        ListFiles(context, "list-files"),
        *hashing,
        pack,
        WriteManifest(context, "write-manifest"),
        VerifyArchive(context, "verify-archive"),
        Publish(context, "publish"),
        WriteReceipt(context, "write-receipt"),
    )
    for branch in hashing:
        # Packing reads every file a second time, later: the verification then notices what changed in between.
        flow.link(branch, pack)
    return flow
