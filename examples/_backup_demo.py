# SPDX-License-Identifier: Apache-2.0
"""The backup in three acts, each a process of its own and checked: killed, resumed, and undone after a failure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import _backup_plan as plans
import _backup_state as state_files
import _backup_tasks as tasks
import _backup_view as views

from taskflow import states

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that packing is stretched to, so that there is a middle to be killed in.
PACKING = 4.0
#: A killed act needs some progress to watch.
FEWEST_ENTRIES = 10
#: What packing was doing when a line of this form was printed.
PROGRESS = re.compile(r"^pack-archive: (\d+)%$")

Tree = dict[str, str]  # path -> what is there, as text that differs when it differs


@dataclasses.dataclass
class Stage:
    """Where the acts are played.

    Args:
        program: The program that is shown.
        folder: Everything is in here, and is removed with it.
        source: The folder that is backed up.
        pace: Seconds that packing waits after each entry.
        entries: Number of files, folders and links in the source.
    """

    program: Path
    folder: Path
    source: Path
    pace: float
    entries: int
    broken: list[str] = dataclasses.field(default_factory=list)

    def check(self, promise: str, kept: bool) -> None:
        """Print whether something that was claimed is true."""
        views.say(f"  [{'ok' if kept else 'FAILED'}] {promise}")
        if not kept:
            self.broken.append(promise)

    def play(self, name: str, pace: float, watch: Callable[[subprocess.Popen[str], int], bool] | None = None) -> Ending:
        """Run the program on the source, show what it prints, and let a watcher step in.

        Args:
            name: Names the destination and the state file.
            pace: Seconds to wait after each packed entry.
            watch: Called with the process and the percentage of each progress line of packing, until it returns true.
        """
        command = [sys.executable, str(self.program), "--source", str(self.source), "--to", str(self.destination(name))]
        command += ["--state", str(self.state(name)), "--pace", f"{pace:.6f}"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                for line in process.stdout:
                    views.say(f"    | {line.rstrip()}".rstrip())
                    progress = PROGRESS.match(line)
                    if watch and progress and watch(process, int(progress[1])):
                        watch = None
                errors = process.stderr.read()
            except BaseException:
                process.kill()
                raise
        for line in errors.splitlines():
            views.say(f"    ! {line}")
        return Ending(process.returncode, errors, acted=watch is None)

    def destination(self, name: str) -> Path:
        """Return where an act's backup goes."""
        return self.folder / f"{name}-destination"

    def state(self, name: str) -> Path:
        """Return an act's state file."""
        return self.folder / f"{name}-state.db"


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run ended: its exit code, what it complained of, and whether the watcher had stepped in."""

    code: int
    errors: str
    acted: bool


def run(program: Path, source: Path | None, pace: float | None) -> int:
    """Play the three acts; return 0 if everything that they claim turned out to be true.

    Args:
        program: The program to show.
        source: The folder to use; the project's own files without one. A copy of it is made and used.
        pace: Seconds that packing waits after each entry; chosen to fit without one.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taskflow-backup-demo-") as name:
        stage = set_up(program, Path(name).resolve(), source or plans.PROJECT, pace)
        killed = act_one(stage)
        act_two(stage, killed)
        act_three(stage)
        heading("Afterwards")
        leftovers = sorted(path.name for path in stage.folder.iterdir() if path.name not in expected_on(stage))
        stage.check("on the stage there is nothing but the source, the destinations and the state files", not leftovers)
    stage.check("and all of that was removed now", not stage.folder.exists())
    views.say()
    if stage.broken:
        views.say(f"{len(stage.broken)} of the claims did not hold.")
        return 1
    views.say(f"Every claim held. ({time.monotonic() - began:.0f} seconds)")
    return 0


def set_up(program: Path, folder: Path, source: Path, pace: float | None) -> Stage:
    """Copy the source, since the third act changes a file of it, and say what will be shown."""
    plans.check_source(source)
    copy = folder / (plans.safe_name(str(source.resolve())))
    try:
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(*plans.PROJECT_SKIPS))
    except shutil.Error as error:
        where = plans.shown(str(error.args[0][0][0]))
        raise plans.BadInputError(f"the source cannot be copied for the demo: {where}") from error
    entries = len(tree(copy))
    if entries < FEWEST_ENTRIES:
        raise plans.BadInputError(f"the demo wants a source of at least {FEWEST_ENTRIES} files and folders")
    pace = PACKING / entries if pace is None else pace
    heading("A backup that is killed, resumed, and once undone")
    views.say(f"The folder to back up is a copy of {plans.shown(source.resolve())}:")
    views.say(f"{entries} files, folders and links. A copy, because the third act changes a file in it.")
    views.say(f"So that packing takes long enough to be killed, it waits {pace * 1000:.1f} ms after each of them.")
    return Stage(program, folder, copy, pace, entries)


def act_one(stage: Stage) -> set[str]:
    """Kill a run while it packs; return the names of the tasks that it had finished."""
    target, wait = random.randrange(10, 80, 10), random.uniform(0, stage.pace * stage.entries / 10)
    heading("Act 1: killed while it packs")
    views.say(f"This time SIGKILL comes {wait * 1000:.0f} ms after {target}% are packed; no one can catch that signal.")
    views.say()

    def kill(process: subprocess.Popen[str], percent: int) -> bool:
        if percent < target:
            return False
        time.sleep(wait)
        process.kill()
        return True

    ending = stage.play("first", stage.pace, kill)
    views.say()
    stage.check("the process was killed from outside", ending.acted and ending.code == -signal.SIGKILL)
    known = state_files.read(stage.state("first"))
    packing = known.in_state(states.RUNNING) if known else set()
    stage.check("the state file says that it was packing", packing == {"pack-archive"})
    finished = known.in_state(states.SUCCESS) if known else set()
    stage.check(
        "and that preparing, listing and hashing were finished",
        finished == {"prepare-destination", "list-files", *tasks.HASHES},
    )
    published = [path for path in stage.destination("first").iterdir() if not path.name.startswith(".")]
    stage.check("nothing is published: the half archive lies in a hidden folder", not published)
    return finished


def act_two(stage: Stage, finished: set[str]) -> None:
    """Resume the killed run, and look at what came out of it."""
    heading("Act 2: the same command again")
    views.say("It finds the state file, repeats the packing, and goes on to the end. Now without waiting.")
    views.say()
    ending = stage.play("first", 0.0)
    views.say()
    stage.check("it ended well", ending.code == 0)
    known = state_files.read(stage.state("first"))
    tries = {row.name: row.tries for row in known.rows} if known else {}
    stage.check(f"the {len(finished)} tasks finished before were not repeated", {tries.get(n) for n in finished} == {1})
    stage.check("packing was tried twice", tries.get("pack-archive") == 2)
    stage.check("everything after it once", {tries.get(name) for name in tasks.NAMES[-4:]} == {1})
    check_backup(stage, known)


def check_backup(stage: Stage, known: state_files.Record | None) -> None:
    """Compare the published backup with the source, by other means than the program's own."""
    expected = [known.plan.final] if known else []
    alone = bool(expected) and list(stage.destination("first").iterdir()) == expected
    stage.check("the destination holds the backup and nothing else", alone)
    if known is None or not alone:
        return
    names = sorted(path.name for path in known.plan.final.iterdir())
    stage.check(
        "the backup is an archive, its manifest and a receipt", names == [plans.ARCHIVE, plans.MANIFEST, plans.RECEIPT]
    )
    archive = known.plan.final / plans.ARCHIVE
    unpacked = stage.folder / "unpacked"
    with tarfile.open(archive) as packed:
        # As an attribute it is passed over by the first Pythons 3.11, which know no filters.
        packed.extraction_filter = getattr(tarfile, "tar_filter", None)
        packed.extractall(unpacked)
    stage.check("the archive, unpacked, equals the source", tree(unpacked / known.plan.top) == tree(stage.source))
    shutil.rmtree(unpacked)
    receipt = json.loads((known.plan.final / plans.RECEIPT).read_text("ascii"))
    stage.check(
        "the receipt has the archive's hash", receipt["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    )


def act_three(stage: Stage) -> None:
    """Change a file while it is backed up, and look at what is left of that backup."""
    heading("Act 3: a file changes meanwhile")
    victim = last_file(stage)
    destination = stage.destination("third")
    destination.mkdir()
    (destination / "notes.txt").write_text("This was here before.\n", "utf-8")
    before = tree(destination)
    views.say(f"While packing, {plans.shown(victim.name)} gets another line. It was hashed before, and is packed last.")
    views.say("The destination is one that existed and has a file in it.")
    views.say()

    def change(_process: subprocess.Popen[str], _percent: int) -> bool:
        with victim.open("ab") as file:
            file.write(b"Changed while it was backed up.\n")
        return True

    ending = stage.play("third", stage.pace / 2, change)
    views.say()
    stage.check("the file was changed while it packed", ending.acted)
    stage.check("the run failed", ending.code == plans.BackupError.exit_code)
    lines = ending.errors.splitlines()
    stage.check("it said why on one line, naming the file", len(lines) == 1 and plans.shown(victim.name) in lines[0])
    known = state_files.read(stage.state("third"))
    stage.check("the state file says that everything was undone", known is not None and known.undone)
    stage.check("the destination is as it was found", tree(destination) == before)


def last_file(stage: Stage) -> Path:
    """Return the file that is packed last."""
    plan = plans.Plan(str(stage.source), "", "")
    files = [path for path, entry in plans.walk(plan) if entry.is_file(follow_symlinks=False)]
    return stage.source / files[-1]


def expected_on(stage: Stage) -> set[str]:
    """Return the names of all that the acts may leave on the stage."""
    acts = ("first", "third")
    return {stage.source.name} | {path.name for act in acts for path in (stage.destination(act), stage.state(act))}


def tree(folder: Path) -> Tree:
    """Return what is in a folder, at any depth."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            with path.open("rb") as file:
                found[name] = tasks.digest(file)
        else:
            found[name] = "folder"
    return found


def heading(text: str) -> None:
    """Print a heading."""
    views.say()
    views.say(text)
    views.say("=" * len(text))
