# SPDX-License-Identifier: Apache-2.0
"""Back up a folder with a flow that can be killed at any moment and resumed: how do tasks, reverts and resuming fit?

::

    python examples/backup_folder.py --source DIR --to DIR --state FILE.db
    python examples/backup_folder.py --demo

The flow lists the files, hashes them in parallel branches, packs an archive, writes a manifest, reads the archive
back and compares every hash, publishes the backup by one rename and leaves a receipt with it. What was done is kept
in the state file, so the same command, given again after a crash, goes on where the first one was. If anything
fails, each task's revert removes what that task had made.

``--demo`` shows it in three acts: killed, resumed, and failing because a file changes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import _backup_demo as demo
import _backup_plan as plans
import _backup_state as state_files
import _backup_tasks as tasks
import _backup_view as views

from taskflow import engines, exceptions, states

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments on one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with the message."""
        raise plans.BadInputError(f"{message} (--help lists what there is)")


@dataclasses.dataclass
class Stop:
    """Whether the user asked to stop, and by which signal."""

    event: threading.Event = dataclasses.field(default_factory=threading.Event)
    signal: int = 0

    def ask(self, number: int, _frame: object) -> None:
        """Note the wish. A second signal ends the program at once, which a state file survives as well."""
        self.signal = number
        self.event.set()
        signal.signal(number, signal.SIG_DFL)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options that were given."""
    parser = Parser(prog="backup_folder", description="Back up a folder, in steps that survive being killed.")
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="what to back up (default: this project's own files)"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to (default: a fresh temporary folder)")
    parser.add_argument("--state", type=Path, metavar="FILE.db", help="remembers the run; give it again to resume")
    parser.add_argument(
        "--pace", type=seconds, default=None, metavar="SECONDS", help="wait so long after each packed entry"
    )
    parser.add_argument("--demo", action="store_true", help="show it: killed, resumed, and undone after a failure")
    options = parser.parse_args(arguments)
    if options.demo and (options.to or options.state):
        parser.error("--demo uses folders of its own; leave --to and --state out")
    return options


def seconds(text: str) -> float:
    """Return a number of seconds.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 3600:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a wish that the tasks look at."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def temporary_base(needed: bool) -> Iterator[Path | None]:
    """Yield a fresh temporary folder for what the user did not name; gone at the end if nothing stayed in it."""
    base = Path(tempfile.mkdtemp(prefix="taskflow-backup-")).resolve() if needed else None
    try:
        yield base
    finally:
        if base is not None:
            with contextlib.suppress(OSError):
                base.rmdir()


def settle(options: argparse.Namespace, known: state_files.Record | None, state: Path, base: Path | None) -> plans.Plan:
    """Return the plan to follow: that of the earlier run, or a new one.

    Raises:
        BadInputError: The options do not fit the earlier run, or make no sense.
    """
    if known is None:
        source = (options.source or plans.PROJECT).resolve()
        destination = (options.to or (base or Path()) / "backup").resolve()
        plans.check_source(source)
        plans.check_destination(destination, source)
        skips = () if options.source else plans.PROJECT_SKIPS
        return plans.make_plan(source, destination, state, state_files.new_identity(), skips)
    plan = known.plan
    for given, planned in ((options.source, plan.source), (options.to, plan.destination)):
        if given and str(given.resolve()) != planned:
            told = f"{plans.shown(plan.source)} to {plans.shown(plan.destination)}"
            raise plans.BadInputError(f"the state file {plans.shown(state)} is that of another backup, of {told}")
    if not known.finished:
        plans.check_source(Path(plan.source))
        plans.check_destination(Path(plan.destination), Path(plan.source))
    if known.undone:
        return dataclasses.replace(plan, created_folders=plans.missing_folders(Path(plan.destination)))
    return plan


def run_flow(
    state: state_files.StateFile, known: state_files.Record | None, plan: plans.Plan, stop: Stop, pace: float
) -> None:
    """Run the flow to its end, from wherever it is, and show it."""
    kept = known.in_state(states.SUCCESS) if known and not known.undone else set()
    with state.backend() as backend:
        if known:
            book, detail = state_files.find(backend, known, plan)
        else:
            book, detail = state_files.begin(backend, plan, state_files.new_identity())
        view = views.fitting()
        ledger = state_files.StorageLedger(detail, view.started)
        context = tasks.Context(plan, ledger, stop.event, pace)
        flow = tasks.build(context)
        try:
            engine = engines.load(
                flow,
                flow_detail=detail,
                book=book,
                backend=backend,
                engine="parallel",
                executor="threads",
                max_workers=tasks.BRANCHES,
            )
            ledger.attach(engine)
            views.follow(view, engine, flow)
            engine.run()
        except state_files.ERRORS:
            if state.is_new:
                tasks.undo(context)
            raise
        except exceptions.WrappedFailure as error:
            raise first_of(error) from error
        finally:
            view.close()
            views.say()
            views.show_table(state_files.rows(detail), kept)
            views.say()


def first_of(error: exceptions.WrappedFailure) -> plans.BackupError:
    """Return one error that speaks for several, or for one that an earlier run had recorded."""
    failures = list(error)
    first = failures[0]
    if isinstance(first.exception, plans.BackupError):
        return first.exception
    return plans.BackupError(" ".join(first.exception_str.split()))


def announce(known: state_files.Record | None, plan: plans.Plan, state: Path) -> None:
    """Say what is going to happen."""
    views.say(f"Source:      {plans.shown(plan.source)}")
    views.say(f"Backup:      {plans.shown(plan.final)}")
    views.say(f"State file:  {plans.shown(state)}" + (" (left out of the backup)" if plan.skipped_paths else ""))
    if known and known.undone:
        views.say("An earlier run failed and was undone; starting anew.")
    elif known:
        done = [row.name for row in known.rows if row.state == states.SUCCESS]
        views.say(f"Resuming; finished earlier and not repeated: {', '.join(done) or 'nothing'}")
    views.say()


def show_finished(known: state_files.Record, state: Path) -> int:
    """Say that there is nothing left to do; return the exit code."""
    where = plans.shown(known.plan.final)
    if not known.plan.final.is_dir():
        raise plans.BadInputError(f"{plans.shown(state)} says that the backup is done, but it is no longer at {where}")
    views.say(f"This backup is done already: {where}")
    views.say()
    views.show_table(known.rows, known.in_state(states.SUCCESS))
    return 0


def back_up(options: argparse.Namespace, base: Path | None) -> int:
    """Make or resume a backup; return the exit code."""
    path = (options.state or (base or Path()) / "state.db").absolute()
    path = path.parent.resolve() / path.name
    with contextlib.closing(state_files.StateFile(path)) as state, stopping() as stop:
        try:
            known = state_files.read(path)
            plan = settle(options, known, path, base)
        except BaseException:
            state.discard()
            raise
        if known and known.finished:
            return show_finished(known, path)
        announce(known, plan, path)
        try:
            run_flow(state, known, plan, stop, options.pace or 0.0)
        except tasks.StoppedError:
            name = signal.Signals(stop.signal).name
            command = f"python {shlex.quote(sys.argv[0])} --state {plans.shown(shlex.quote(str(path)))}"
            complain(f"stopped by {name}; to resume: {command}")
            return 128 + stop.signal
        except plans.BackupError as error:
            # Kept only where the user named it and may want to look at it, or to try again.
            if error.exit_code != plans.BackupError.exit_code or not options.state:
                state.discard()
            raise
    views.say(f"The backup is at {plans.shown(plan.final)}")
    return 0


def complain(text: str) -> None:
    """Print one line about what went wrong."""
    sys.stderr.write(f"backup_folder: {text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        options = parse(arguments)
        if options.demo:
            return demo.run(Path(__file__).resolve(), options.source, options.pace)
        with temporary_base(needed=options.to is None or options.state is None) as base:
            return back_up(options, base)
    except plans.BackupError as error:
        complain(str(error))
        return error.exit_code
    except OSError as error:
        where = f" {plans.shown(error.filename)}" if isinstance(error.filename, str) else ""
        complain(f"the system refused something{where}: {plans.reason(error)}")
        return plans.CannotWriteError.exit_code
    except KeyboardInterrupt:
        complain("stopped before anything was begun")
        return 130


if __name__ == "__main__":
    sys.exit(main())
