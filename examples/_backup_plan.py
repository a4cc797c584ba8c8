# SPDX-License-Identifier: Apache-2.0
"""What is backed up, to where, and under which names: the part of a backup that is settled before it starts."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The folder that this program belongs to; backed up when no other is named.
PROJECT = Path(__file__).resolve().parent.parent

#: Left out when the project itself is backed up: what tools put there and can make again.
PROJECT_SKIPS = (
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
    "venv",
)

#: SQLite puts these next to a database while it is open.
DATABASE_SUFFIXES = ("", "-journal", "-wal", "-shm")

ARCHIVE = "files.tar.gz"
MANIFEST = "manifest.json"
RECEIPT = "receipt.json"
#: Added to a file's name until its content is complete.
UNFINISHED = ".partial"

FILE, FOLDER, LINK = "file", "folder", "link"


class BackupError(Exception):
    """The backup cannot be made; the text is one line for the person who asked for it."""

    exit_code = 1


class BadInputError(BackupError):
    """What was asked for makes no sense here, and nothing was begun."""

    exit_code = 2


class CannotWriteError(BackupError):
    """There is no space, or no right, to write something."""

    exit_code = 3


class CannotReadError(BackupError):
    """A part of the source cannot be read."""

    exit_code = 3


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as text that fits on one line whatever characters are in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(path))


def reason(error: OSError) -> str:
    """Return in plain words why the system refused something."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "no space left"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "no right to do so"
    return (error.strerror or str(error) or type(error).__name__).lower()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a resumed run must know again; kept in the state file from the first moment.

    Args:
        source: Absolute path of the folder to back up.
        destination: Absolute path of the folder that gets the backup.
        name: Name of the backup, a folder in the destination.
        created_folders: Folders on the way to the destination that did not exist, outermost first.
        skipped_names: Files and folders of these names are left out wherever they are.
        skipped_paths: These paths, relative to the source, are left out.
    """

    source: str
    destination: str
    name: str
    created_folders: tuple[str, ...] = ()
    skipped_names: tuple[str, ...] = ()
    skipped_paths: tuple[str, ...] = ()

    @property
    def staging(self) -> Path:
        """The folder in which the backup is put together; beside the final one, so that a rename publishes it."""
        return Path(self.destination, f".{self.name}{UNFINISHED}")

    @property
    def final(self) -> Path:
        """The folder that holds the finished backup."""
        return Path(self.destination, self.name)

    @property
    def top(self) -> str:
        """The folder inside the archive that holds the source's content."""
        return safe_name(self.source)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan in a form that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """Return the plan that `to_dict` was called on.

        Raises:
            KeyError: A field is missing.
        """
        return cls(
            source=data["source"],
            destination=data["destination"],
            name=data["name"],
            created_folders=tuple(data["created_folders"]),
            skipped_names=tuple(data["skipped_names"]),
            skipped_paths=tuple(data["skipped_paths"]),
        )


def safe_name(path: str) -> str:
    """Return the last part of a path, reduced to characters that every system and shell takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(path).name).strip(".")[:60] or "backup"


def missing_folders(folder: Path) -> tuple[str, ...]:
    """Return the folders that must be created so that `folder` exists, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(str(folder))
        folder = folder.parent
    return tuple(reversed(missing))


def make_plan(source: Path, destination: Path, state: Path, identity: str, skips: tuple[str, ...]) -> Plan:
    """Return the plan of a new backup.

    Args:
        source: The folder to back up.
        destination: The folder that gets the backup.
        state: The file that records the run; left out of the backup if it lies in the source.
        identity: Text that no other run has; makes the backup's name unique.
        skips: Names that are left out.
    """
    state_files = []
    if state.is_relative_to(source):
        inside = str(state.relative_to(source))
        state_files = [inside + suffix for suffix in DATABASE_SUFFIXES]
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Plan(
        source=str(source),
        destination=str(destination),
        name=f"{safe_name(str(source))}-{stamp}-{identity[:8]}",
        created_folders=missing_folders(destination),
        skipped_names=skips,
        skipped_paths=tuple(state_files),
    )


def check_source(source: Path) -> None:
    """Make sure that there is a folder to back up.

    Raises:
        BadInputError: There is not, or it may not be read.
    """
    if not source.exists():
        raise BadInputError(f"there is no folder {shown(source)} to back up")
    if not source.is_dir():
        raise BadInputError(f"the source {shown(source)} is not a folder")
    if not os.access(source, os.R_OK | os.X_OK):
        raise BadInputError(f"no right to read the source {shown(source)}")


def check_destination(destination: Path, source: Path) -> None:
    """Make sure that a backup can be put where it was asked for.

    Raises:
        BadInputError: The destination lies in the source, is no folder, or may not be written.
    """
    if destination.is_relative_to(source):
        raise BadInputError(f"the destination {shown(destination)} lies inside the source {shown(source)}")
    nearest = destination
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise BadInputError(f"the destination {shown(destination)} cannot be used: {shown(nearest)} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInputError(f"no right to write to {shown(nearest)}")


def walk(plan: Plan) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (path relative to the source, directory entry) of all that is to be backed up, folders before contents.

    Raises:
        CannotReadError: A folder cannot be read.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(Path(plan.source, folder)) as entries:
                ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            where = shown(Path(plan.source, folder))
            raise CannotReadError(f"cannot read the folder {where}: {reason(error)}") from error
        subfolders = []
        for entry in ordered:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name in plan.skipped_names or path in plan.skipped_paths:
                continue
            yield path, entry
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(path)
        pending.extend(reversed(subfolders))


def open_file(plan: Plan, path: str) -> tuple[int, os.stat_result]:
    """Open a file of the source for reading; return its descriptor and what the system says of it.

    Raises:
        CannotReadError: It may not be read.
        BackupError: It is no longer the plain file that was listed.
    """
    where = Path(plan.source, path)
    try:
        # Not following links and not waiting for a pipe's writer: the file may have been exchanged since it was listed.
        descriptor = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError as error:
        raise CannotReadError(f"cannot read {shown(where)}: {reason(error)}") from error
    except OSError as error:
        raise BackupError(f"the source changed while it was backed up: {shown(where)}: {reason(error)}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise BackupError(f"the source changed while it was backed up: {shown(where)} is no plain file any more")
    return descriptor, found
