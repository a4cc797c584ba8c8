# SPDX-License-Identifier: Apache-2.0
"""Does the backup example make true backups, through kills, stops, changes in its source, and when run again?"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

import taskflow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAM = EXAMPLES / "backup_folder.py"
NAMES = ["prepare-destination", "list-files", "hash-0", "hash-1", "hash-2", "hash-3"]
NAMES += ["pack-archive", "write-manifest", "verify-archive", "publish", "write-receipt"]
ROW = re.compile(
    r"^([a-z0-9-]+)  +(done|failed|undone|interrupted|not begun) +(\d+)(?: +([\d.]+) s)?(?:  (.+))?$", re.MULTILINE
)


class Place:
    """A folder of a test's own, with a source in it, where the program is run."""

    def __init__(self, folder):
        self.folder = folder
        self.source = folder / "source"
        self.to = folder / "to"
        self.state = folder / "state.db"
        self.temporary = folder / "temporary"
        self.source.mkdir()
        self.temporary.mkdir()

    def fill(self, files=12):
        for number in range(files):
            where = self.source / f"folder-{number % 3}" / f"file-{number:02}.txt"
            where.parent.mkdir(exist_ok=True)
            where.write_text(f"{number}\n" * 500)
        return max(self.source.rglob("*.txt"))

    def command(self, *arguments):
        if not arguments:
            arguments = ("--source", self.source, "--to", self.to, "--state", self.state)
        return [sys.executable, str(PROGRAM), *map(str, arguments)]

    def start(self, *arguments, pace=None, **options):
        command = self.command(*arguments) + ([] if pace is None else ["--pace", str(pace)])
        path = os.pathsep.join([str(Path(taskflow.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(command, text=True, encoding="utf-8", env=environment, cwd=self.folder, **options)

    def run(self, *arguments, **options):
        with self.start(*arguments, **options) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    def run_until(self, line, act, pace=0.05):
        """Run, and let `act` step in when a line of the output begins with `line`; return as `run` does."""
        with self.start(pace=pace) as process:
            seen = []
            for text in process.stdout:
                seen.append(text)
                if act and text.startswith(line):
                    act(process)
                    act = None
            err = process.stderr.read()
        assert act is None, "".join(seen) + err
        return process.returncode, "".join(seen), err

    def backup(self):
        """Return the only thing that the destination holds."""
        (found,) = self.to.iterdir()
        assert not found.name.startswith(".")
        return found


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def tree(folder):
    found = {}
    for path in folder.rglob("*"):
        name = os.fsencode(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
        elif path.is_dir():
            found[name] = ("folder", path.stat().st_mode)
        else:
            found[name] = ("special",)
    return found


def unpacked(backup, folder):
    with tarfile.open(backup / "files.tar.gz") as archive:
        # As an attribute it is passed over by the first Pythons 3.11, which know no filters.
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)
        archive.extractall(folder)
    (top,) = folder.iterdir()
    return tree(top)


def table(out):
    """Return name -> (state, tries, remark) from the table at the end of the output."""
    return {name: (state, int(tries), remark) for name, state, tries, _, remark in ROW.findall(out)}


def one_line(err):
    (line,) = err.splitlines()
    assert line.startswith("backup_folder: ")
    return line


def check_complete(place, tmp_path):
    backup = place.backup()
    assert sorted(path.name for path in backup.iterdir()) == ["files.tar.gz", "manifest.json", "receipt.json"]
    assert unpacked(backup, tmp_path / "unpacked") == tree(place.source)
    receipt = json.loads((backup / "receipt.json").read_text())
    assert receipt["sha256"] == hashlib.sha256((backup / "files.tar.gz").read_bytes()).hexdigest()
    assert list(place.temporary.iterdir()) == []
    assert [path.name for path in place.folder.glob("state.db*")] == ["state.db"]


# --- what is backed up


def test_a_backup_holds_exactly_what_the_source_holds(place, tmp_path):
    place.fill()
    script = place.source / "run me.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o750)
    (place.source / "empty folder" / "and another").mkdir(parents=True)
    (place.source / "empty file").touch()
    (place.source / "Grüße 你好.txt").write_text("hello")
    (place.source / "two\nlines").write_text("a name with a newline")
    (place.source / ("long-" * 45)).write_text("x")
    (place.source / "to-folder").symlink_to("folder-0")
    (place.source / "to-nothing").symlink_to("../no/such/thing")
    Path(os.fsdecode(os.fsencode(place.source) + b"/not-utf8-\xff\xfe")).write_text("bytes")
    (place.source / "big").write_bytes(random.randbytes(700_001))
    code, out, err = place.run()
    assert (code, err) == (0, "")
    check_complete(place, tmp_path)
    receipt = json.loads((place.backup() / "receipt.json").read_text())
    assert (receipt["files"], receipt["folders"], receipt["links"]) == (19, 5, 2)
    assert list(table(out)) == NAMES
    assert {(state, tries) for state, tries, _ in table(out).values()} == {("done", 1)}


def test_an_empty_source_gives_an_empty_backup(place, tmp_path):
    code, _, err = place.run()
    assert (code, err) == (0, "")
    assert unpacked(place.backup(), tmp_path / "unpacked") == {}


def test_the_manifest_names_each_file_with_its_hash_and_what_no_archive_can_hold(place):
    (place.source / "file").write_text("content")
    os.mkfifo(place.source / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(place.source)  # a socket's path must be short
        try:
            listening.bind("socket")
        finally:
            os.chdir(before)
        assert place.run()[0] == 0
    manifest = json.loads((place.backup() / "manifest.json").read_text())
    assert manifest["entries"] == [{"path": "file", "kind": "file", "sha256": hashlib.sha256(b"content").hexdigest()}]
    assert manifest["left_out"] == ["pipe", "socket"]


def test_names_in_the_archive_stay_below_one_folder(place):
    place.fill(3)
    place.run()
    with tarfile.open(place.backup() / "files.tar.gz") as archive:
        names = archive.getnames()
    assert names[0] == "source"
    assert all(name.startswith("source/") and ".." not in name.split("/") for name in names[1:])


def test_a_state_file_in_the_source_is_left_out(place, tmp_path):
    place.fill(3)
    before = tree(place.source)
    place.state = place.source / "state.db"
    code, _, err = place.run()
    assert (code, err) == (0, "")
    assert unpacked(place.backup(), tmp_path / "unpacked") == before


def test_without_options_the_project_goes_to_a_fresh_temporary_folder(place):
    code, out, err = place.run("--pace", "0")
    assert (code, err) == (0, "")
    (base,) = place.temporary.iterdir()
    assert {path.name for path in base.iterdir()} == {"backup", "state.db"}
    (backup,) = (base / "backup").iterdir()
    assert out.splitlines()[-1] == f"The backup is at {backup}"
    entries = {entry["path"] for entry in json.loads((backup / "manifest.json").read_text())["entries"]}
    assert {"examples/backup_folder.py", "pyproject.toml"} <= entries
    assert not {part for path in entries for part in path.split("/")} & {".git", ".venv", "__pycache__"}


# --- how it shows itself


def test_elsewhere_than_on_a_terminal_it_prints_plain_lines(place):
    place.fill()
    _, out, _ = place.run(pace=0.05)
    assert "\x1b" not in out
    percents = [int(number) for number in re.findall(r"^pack-archive: (\d+)%$", out, re.MULTILINE)]
    assert len(percents) >= 2
    assert percents == sorted(set(percents))


def test_on_a_terminal_it_shows_bars(place):
    place.fill()
    leading, following = os.openpty()
    shown = []

    def read():
        try:
            while data := os.read(leading, 65536):
                shown.append(data)
        except OSError:
            pass  # how Linux tells that the other side was closed

    reader = threading.Thread(target=read)
    reader.start()
    with place.start(stdout=following, pace=0.05) as process:
        os.close(following)
        assert process.wait() == 0
        assert process.stderr.read() == ""
    reader.join()
    os.close(leading)
    text = b"".join(shown).decode()
    assert "\x1b[" in text
    assert "━" in text
    assert re.search(r"pack-archive.*100%", text)
    assert "The backup is at" in text


def test_a_reader_that_goes_away_does_not_stop_the_backup(place, tmp_path):
    place.fill()
    with place.start(pace=0.05) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        assert process.wait() == 0
        assert process.stderr.read() == ""
    check_complete(place, tmp_path)


# --- run again


def test_a_finished_run_is_not_repeated(place):
    place.fill()
    assert place.run()[0] == 0
    before = tree(place.folder)
    code, out, err = place.run()
    assert (code, err) == (0, "")
    assert out.startswith(f"This backup is done already: {place.backup()}\n")
    assert list(table(out).values()) == [("done", 1, "finished earlier, not repeated")] * len(NAMES)
    assert tree(place.folder) == before


def test_a_finished_backup_that_has_vanished_since_is_not_claimed(place):
    place.fill()
    place.run()
    for file in place.backup().iterdir():
        file.unlink()
    place.backup().rmdir()
    code, out, err = place.run()
    assert (code, out) == (2, "")
    assert "no longer at" in one_line(err)


def test_the_state_file_alone_is_enough_to_resume(place, tmp_path):
    place.fill()
    code, _, _ = place.run_until("pack-archive: started", lambda process: process.kill())
    assert code == -signal.SIGKILL
    code, out, err = place.run("--state", place.state)
    assert (code, err) == (0, "")
    assert table(out)["list-files"] == ("done", 1, "finished earlier, not repeated")
    assert table(out)["pack-archive"] == ("done", 2, "repeated")
    check_complete(place, tmp_path)


# --- killed and stopped


def test_the_demo_holds_what_it_claims(place):
    place.fill(14)
    before = tree(place.source)
    code, out, err = place.run("--demo", "--source", place.source)
    assert (code, err) == (0, ""), out
    assert "Every claim held." in out
    assert "FAILED" not in out
    assert [out.count(f"Act {number}:") for number in (1, 2, 3)] == [1, 1, 1]
    assert out.count("[ok]") == 19
    assert tree(place.source) == before
    assert list(place.temporary.iterdir()) == []


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 1.0])
def test_killed_at_any_moment_it_resumes_to_a_complete_backup(place, tmp_path, share):
    place.fill(20)
    began = time.monotonic()
    with place.start(pace=0.02) as process:
        # Of a run that takes about a second. The moment differs from run to run.
        moment = random.uniform(share - 0.2, share) * 1.5
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.read()
    told = f"killed after {time.monotonic() - began:.3f} s"
    code, out, err = place.run()
    assert (code, err) == (0, ""), told
    expected = {("done", 1, ""), ("done", 1, "finished earlier, not repeated"), ("done", 2, "repeated")}
    assert set(table(out).values()) <= expected, told
    check_complete(place, tmp_path)


def test_killed_while_it_is_undone_it_goes_on_undoing(place, tmp_path):
    victim = place.fill()

    def change_then_kill(process):
        victim.write_text("changed")
        for text in process.stdout:
            if text.startswith("verify-archive: failed"):
                process.kill()

    place.to.mkdir()
    place.run_until("pack-archive: started", change_then_kill)
    code, _, err = place.run()
    assert code == 1
    assert victim.name in one_line(err)
    assert list(place.to.iterdir()) == []
    # And a third run starts anew.
    assert place.run()[0] == 0
    check_complete(place, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_says_how_to_resume(place, tmp_path, number):
    place.fill()
    code, out, err = place.run_until("pack-archive: started", lambda process: process.send_signal(number))
    assert code == 128 + number
    assert one_line(err).endswith(f"--state {place.state}")
    assert number.name in err
    assert table(out)["pack-archive"][:2] == ("interrupted", 1)
    code, out, err = place.run()
    assert (code, err) == (0, "")
    assert table(out)["pack-archive"][:2] == ("done", 2)
    assert table(out)["hash-0"] == ("done", 1, "finished earlier, not repeated")
    check_complete(place, tmp_path)


def test_a_second_run_with_the_same_state_is_refused_while_the_first_one_works(place, tmp_path):
    place.fill()
    second = []

    def run_again(process):
        process.send_signal(signal.SIGSTOP)
        second.append(place.run())
        process.send_signal(signal.SIGCONT)

    code, _, _ = place.run_until("pack-archive: started", run_again)
    ((refused, out, err),) = second
    assert (refused, out) == (2, "")
    assert "in use by another run" in one_line(err)
    assert code == 0
    check_complete(place, tmp_path)


# --- a source that changes


def grow(victim):
    with victim.open("a") as file:
        file.write("more")


def shrink(victim):
    victim.write_text("")


def keep_the_length(victim):
    victim.write_bytes(victim.read_bytes().replace(b"1", b"2"))


def vanish(victim):
    victim.unlink()


def become_a_link(victim):
    victim.unlink()
    victim.symlink_to("/etc/hostname")


def become_a_pipe(victim):
    victim.unlink()
    os.mkfifo(victim)


@pytest.mark.parametrize("change", [grow, shrink, keep_the_length, vanish, become_a_link, become_a_pipe])
def test_a_source_that_changes_fails_the_backup_and_leaves_the_destination_as_found(place, change):
    victim = place.fill()
    place.to.mkdir()
    (place.to / "notes.txt").write_text("mine")
    before = tree(place.to)
    code, out, err = place.run_until("pack-archive: started", lambda _: change(victim))
    assert code == 1
    assert victim.name in one_line(err)
    assert re.search("verification failed|source changed", err)
    assert table(out)["pack-archive"][0] == "undone"
    assert tree(place.to) == before
    assert list(place.temporary.iterdir()) == []


def test_folders_made_on_the_way_to_the_destination_go_with_a_failed_backup(place):
    victim = place.fill()
    place.to = place.folder / "some" / "where"
    assert place.run_until("pack-archive: started", lambda _: grow(victim))[0] == 1
    assert not (place.folder / "some").exists()


def test_after_a_failure_the_same_command_starts_anew(place, tmp_path):
    victim = place.fill()
    assert place.run_until("pack-archive: started", lambda _: grow(victim))[0] == 1
    code, out, err = place.run()
    assert (code, err) == (0, "")
    assert "starting anew" in out
    assert {(state, tries) for state, tries, _ in table(out).values()} == {("done", 2), ("done", 1)}
    check_complete(place, tmp_path)


def test_folders_that_somebody_else_put_something_into_are_not_removed(place):
    victim = place.fill()
    place.to = place.folder / "some" / "where"

    def change(_):
        grow(victim)
        (place.folder / "some" / "theirs").write_text("not ours")

    assert place.run_until("pack-archive: started", change)[0] == 1
    assert tree(place.folder / "some").keys() == {b"theirs"}
