# SPDX-License-Identifier: Apache-2.0
"""Does the backup example refuse what it cannot do with one clear line, leaving nothing behind?"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import taskflow
from taskflow import engines, task
from taskflow.patterns import linear_flow
from taskflow.persistence import backends

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "backup_folder.py"


class Place:
    """A folder of a test's own, with a source in it, where the program is run."""

    def __init__(self, folder):
        self.folder = folder
        self.temporary = folder / "temporary"
        self.source = folder / "source"
        self.source.mkdir()
        self.temporary.mkdir()
        for number in range(5):
            (self.source / f"file-{number}").write_bytes(random.Random(number).randbytes(100_000))
        (self.source / "folder").mkdir()

    def run(self, *arguments, **options):
        path = os.pathsep.join([str(Path(taskflow.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(PROGRAM), *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, **options
        )

    def tree(self):
        found = {}
        for path in self.folder.rglob("*"):
            known = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            found[str(path.relative_to(self.folder))] = (known.st_mode, known.st_uid, content)
        return found

    def refused(self, *arguments, because, **options):
        """Run the program; check that it refuses on one line, and that everything is as it was before."""
        before = self.tree()
        done = self.run(*arguments, **options)
        assert done.returncode not in {0, -9}, done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith("backup_folder: ")
        assert because in line
        assert self.tree() == before
        return done


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def options(place, source="source", to="to", state="state.db"):
    return ("--source", place.folder / source, "--to", place.folder / to, "--state", place.folder / state)


# --- what makes no sense


@pytest.mark.parametrize(
    ("named", "because"),
    [
        ({"source": "nowhere"}, "there is no folder"),
        ({"source": "source/file-0"}, "is not a folder"),
        ({"to": "source"}, "lies inside the source"),
        ({"to": "source/folder"}, "lies inside the source"),
        ({"to": "source/new/folder"}, "lies inside the source"),
        ({"to": "link/new"}, "lies inside the source"),
        ({"to": "../{name}/source/new"}, "lies inside the source"),
        ({"to": "file"}, "is not a folder"),
        ({"to": "file/below"}, "is not a folder"),
        ({"state": "nowhere/state.db"}, "there is no folder"),
        ({"state": "file/state.db"}, "there is no folder"),
        ({"state": "source"}, "is not a file"),
        ({"state": "what?.db"}, "without '?'"),
        ({"state": "file"}, "is not a SQLite database"),
        ({"state": "cut.db"}, "is not a SQLite database"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(place, named, because):
    (place.folder / "file").write_text("This is the text of a file, and of no database at all. " * 20)
    (place.folder / "cut.db").write_bytes(b"SQLite format 3\0" + b"rubbish" * 300)
    (place.folder / "link").symlink_to("source/folder")
    named = {key: value.format(name=place.folder.name) for key, value in named.items()}
    done = place.refused(*options(place, **named), because=because)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (["--pace", "slowly"], "'slowly' is no number of seconds"),
        (["--pace", "-1"], "'-1' is no number of seconds"),
        (["--pace", "nan"], "'nan' is no number of seconds"),
        (["--sauce", "x"], "--sauce"),
        (["--source"], "expected one argument"),
        (["--demo", "--to", "x"], "folders of its own"),
        (["--demo", "--source", "nowhere"], "there is no folder"),
        (["--demo", "--source", "source/folder"], "at least 10"),
    ],
)
def test_wrong_arguments_are_refused_on_one_line(place, arguments, because):
    done = place.refused(*arguments, because=because)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_newline_in_a_path_does_not_break_the_line(place):
    place.refused(*options(place, source="no\nwhere"), because=r"no\nwhere")


# --- state files of something else


def test_the_database_of_another_program_is_left_alone(place):
    for mode in ("delete", "wal"):
        with contextlib.closing(sqlite3.connect(place.folder / f"{mode}.db")) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("CREATE TABLE things (name TEXT)")
        place.refused(*options(place, state=f"{mode}.db"), because="is not a state file of this program")


def test_the_open_database_of_another_program_is_left_alone(place):
    with contextlib.closing(sqlite3.connect(place.folder / "open.db")) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE things (name TEXT)")
        place.refused(*options(place, state="open.db"), because="is not a state file of this program")


def test_the_state_file_of_another_flow_is_left_alone(place):
    with backends.backend({"connection": f"sqlite:///{place.folder / 'other.db'}"}) as backend:
        engines.run(linear_flow.Flow("another").add(task.FunctorTask(lambda: 1, name="one")), backend=backend)
    place.refused(*options(place, state="other.db"), because="is not a state file of this program")


@pytest.mark.parametrize("differs", ["source", "to"])
def test_the_state_file_of_another_backup_is_left_alone(place, differs):
    assert place.run(*options(place)).returncode == 0
    shutil.copytree(place.source, place.folder / "other")
    place.refused(*options(place, **{differs: "other"}), because="is that of another backup")


# --- no right


#: Of Linux: what lets root read and write everything, and how a process gives up such a right for those it starts.
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
PR_CAPBSET_DROP = 24
LIBC = ctypes.CDLL(None, use_errno=True)


def without_special_rights():
    """Make the program subject to the permissions of files, also where the tests are run by root."""
    if os.geteuid() == 0:
        for right in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if LIBC.prctl(PR_CAPBSET_DROP, right, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "cannot give up a right")


@pytest.mark.parametrize(
    ("closed", "mode", "named", "because"),
    [
        ("source", 0o300, {}, "no right to read"),
        ("source/folder", 0o000, {}, "cannot read the folder"),
        ("source/file-3", 0o200, {}, "cannot read"),
        ("closed", 0o500, {"to": "closed"}, "no right to write to"),
        ("closed", 0o500, {"to": "closed/new/folder"}, "no right to write to"),
        ("closed", 0o500, {"state": "closed/state.db"}, "cannot use the state file"),
        ("closed.db", 0o400, {"state": "closed.db"}, "cannot use the state file"),
    ],
)
def test_without_the_right_to_read_or_write_it_says_where(place, closed, mode, named, because):
    (place.folder / "closed").mkdir()
    (place.folder / "closed.db").touch()
    before = place.tree()
    where = place.folder / closed
    usual = where.stat().st_mode
    where.chmod(mode)
    try:
        done = place.run(*options(place, **named), preexec_fn=without_special_rights)
    finally:
        where.chmod(usual)
    assert done.returncode in {2, 3}
    (line,) = done.stderr.splitlines()
    assert because in line
    assert where.name in line
    assert place.tree() == before


# --- no space


@pytest.fixture
def small(place):
    """Yield a function that mounts a small file system of its own at `small` in the place."""
    mounted = []
    where = place.folder / "small"

    def mount(size):
        where.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "backup-test", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a small file system needs the right to mount one: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("to", ["small", "small/new/folder"])
def test_without_space_for_the_archive_everything_is_undone(place, small, to):
    small("300k")
    done = place.refused(*options(place, to=to), because="no space left")
    assert f"{place.folder / to}/" in done.stderr


def test_without_space_for_archive_and_state_everything_is_undone(place, small):
    small("300k")
    place.refused(*options(place, to="small", state="small/state.db"), because="no space left")


def test_without_space_to_begin_a_state_file_nothing_is_begun(place, small):
    small("16k")
    done = place.refused(*options(place, state="small/state.db"), because="no space left")
    assert "cannot write the state file" in done.stderr


def test_without_space_to_go_on_in_the_state_file_everything_is_undone(place, small):
    small("400k")
    for number in range(3000):
        (place.source / "folder" / f"{number}-{'long' * 40}").touch()
    done = place.refused(*options(place, state="small/state.db"), because="no space left")
    assert "cannot write the state file" in done.stderr
    assert "prepare-destination: done" in done.stdout


def test_a_limit_on_the_size_of_files_is_reported_like_a_full_disk(place):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = place.refused(*options(place), because="file too large", preexec_fn=limit)
    assert "files.tar.gz" in done.stderr


def test_a_resumed_run_without_space_keeps_the_state_file_it_found(place, small):
    where = small("8m")
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, options(place, to="small")), "--pace", "0.2"],
        env={**os.environ, "PYTHONPATH": str(Path(taskflow.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        for line in process.stdout:
            if line.startswith("pack-archive: started"):
                process.kill()
    with (where / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    done = place.run(*options(place, to="small"))
    assert done.returncode == 3
    assert "no space left" in done.stderr
    assert [path.name for path in where.iterdir()] == ["filler"]
    (where / "filler").unlink()
    assert place.run(*options(place, to="small")).returncode == 0
