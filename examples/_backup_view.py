# SPDX-License-Identifier: Apache-2.0
"""What a backup shows of itself: progress while it runs, and a table of its tasks at the end."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from taskflow import states, task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import _backup_state as state_files
    import _backup_tasks as tasks

#: Plain lines tell of progress in steps of so many percent.
STEP = 10

#: Columns of numbers, set to the right.
NUMBERS = ("Tries", "Time")

#: What a task's state is called.
WORDS = {
    states.SUCCESS: "done",
    states.FAILURE: "failed",
    states.REVERTING: "being undone",
    states.REVERTED: "undone",
    states.REVERT_FAILURE: "could not be undone",
    states.RUNNING: "interrupted",
    states.PENDING: "not begun",
}


class View(Protocol):
    """Shows a run. Called from several threads."""

    def started(self, name: str, tries: int) -> None:
        """Show that a try of a task begins."""

    def advanced(self, name: str, fraction: float) -> None:
        """Show how much of a task is done."""

    def changed(self, name: str, state: str) -> None:
        """Show the new state of a task."""

    def close(self) -> None:
        """Stop showing."""


class PlainView:
    """Shows a run as lines of text, for files, pipes and logs."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def started(self, name: str, tries: int) -> None:
        """Print that a try of a task begins."""
        say(f"{name}: started" if tries == 1 else f"{name}: started again (try {tries})")

    def advanced(self, name: str, fraction: float) -> None:
        """Print how much of a task is done, in steps."""
        percent = int(fraction * 100) // STEP * STEP
        if 0 < percent < 100 and percent > self._shown.get(name, 0):
            say(f"{name}: {percent}%")
        self._shown[name] = percent

    def changed(self, name: str, state: str) -> None:
        """Print the new state of a task."""
        if state in {states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE}:
            say(f"{name}: {WORDS[state]}")

    def close(self) -> None:
        """Nothing is open."""


class RichView:
    """Shows a run as a bar per task, on a terminal."""

    def __init__(self) -> None:
        from rich import progress

        self._bars = progress.Progress(
            progress.TextColumn("{task.description:<20}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[word]}"),
        )
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._bars.start()

    def _bar(self, name: str) -> Any:
        with self._lock:
            if name not in self._known:
                self._known[name] = self._bars.add_task(name, total=1.0, word="")
            return self._known[name]

    def started(self, name: str, tries: int) -> None:
        """Show a bar for a task."""
        self._bars.update(self._bar(name), word="" if tries == 1 else f"try {tries}")

    def advanced(self, name: str, fraction: float) -> None:
        """Move a task's bar."""
        self._bars.update(self._bar(name), completed=fraction)

    def changed(self, name: str, state: str) -> None:
        """Write a task's new state beside its bar."""
        if state in WORDS and state not in {states.RUNNING, states.PENDING}:
            self._bars.update(self._bar(name), word=WORDS[state])
            if state != states.REVERTING:
                self._bars.stop_task(self._bar(name))

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()


def say(text: str = "") -> None:
    """Print a line now, whole, also when several threads print."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        # Whoever read along has gone, as in `| head`. That is no reason to give up a backup.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def on_terminal() -> bool:
    """Tell whether bars and colours can be shown."""
    return sys.stdout.isatty() and importlib.util.find_spec("rich") is not None


def fitting() -> View:
    """Return the view that fits where the output goes."""
    return RichView() if on_terminal() else PlainView()


def follow(view: View, engine: Any, flow: Iterable[tasks.BackupTask]) -> None:
    """Let a view be told of what an engine does."""

    def changed(state: str, details: dict[str, Any]) -> None:
        view.changed(details["task_name"], state)

    engine.atom_notifier.register("*", changed)
    for one in flow:
        one.notifier.register(task.EVENT_UPDATE_PROGRESS, _advancing(view, one.name))


def _advancing(view: View, name: str) -> Any:
    def advanced(event: str, details: dict[str, Any]) -> None:  # noqa: ARG001 - the caller passes both
        view.advanced(name, float(details["progress"]))

    return advanced


def show_table(rows: Sequence[state_files.Row], kept: Collection[str] = ()) -> None:
    """Print the table of tasks.

    Args:
        rows: What is recorded of them.
        kept: Names of the tasks that an earlier run had finished, so that this one did not repeat them.
    """
    heads: tuple[str, ...] = ("Task", "State", "Tries", "Time", "Remark")
    lines: list[tuple[str, ...]] = [
        (
            row.name,
            WORDS.get(row.state, row.state.lower()),
            str(row.tries),
            "" if row.seconds is None else f"{row.seconds:.2f} s",
            remark(row, kept),
        )
        for row in rows
    ]
    if not any(line[-1] for line in lines):
        heads, lines = heads[:-1], [line[:-1] for line in lines]
    if on_terminal():
        _show_rich_table(heads, lines)
        return
    widths = [max(len(cell) for cell in column) for column in zip(heads, *lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    for line in (heads, rule, *lines):
        cells = [
            cell.rjust(width) if head in NUMBERS else cell.ljust(width)
            for head, cell, width in zip(heads, line, widths, strict=True)
        ]
        say("  ".join(cells).rstrip())


def remark(row: state_files.Row, kept: Collection[str]) -> str:
    """Return what is worth saying of a task on resumption."""
    if row.name in kept:
        return "finished earlier, not repeated"
    return "repeated" if row.tries > 1 else ""


def _show_rich_table(heads: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> None:
    from rich import console, table

    shown = table.Table()
    for head in heads:
        shown.add_column(head, justify="right" if head in NUMBERS else "left")
    for line in lines:
        shown.add_row(*line)
    console.Console().print(shown)
