# SPDX-License-Identifier: Apache-2.0
"""How are the figures shown, as text, as reStructuredText and as JSON?"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import platform
import sqlite3
from typing import TYPE_CHECKING, Any

from benchmarks import figures, goals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks import plan, running

Table = tuple[str, list[str], list[list[str]]]

GROUPS = {
    "memory": "In memory, serial engine; floor: a bare loop over the same methods",
    "pools": "In memory, four workers; floor: a bare pool's submit and result",
    "listeners": "With a listener; floor: the same run without one",
    "sqlite": "In an SQLite file; floor: as many commits of the same rows by the bare driver",
    "import": "Import; floor: the start of the interpreter",
}


#: Which time the ratios of a table are made of, where that is not simply the processor's.
CLOCKS = {
    "pools": "processor time, for processes of elapsed time",
    "sqlite": "elapsed time with FULL, of processor time with NORMAL",
}


#: After this line of a page come figures that are written by a program.
MARKER = ".. The rest of this page is written by python -m benchmarks --publish."


def number(value: float | None) -> str:
    """A figure with as many places as mean something."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(value: float | None, at_least: bool = False) -> str:
    """How many times, as text."""
    return "" if value is None else f"{'>= ' if at_least else ''}{number(value)}x"


def _comparisons(findings: running.Findings) -> list[Table]:
    every = figures.of_findings(findings)
    tables = []
    for group, title in GROUPS.items():
        rows = [
            [
                f"{figure.title}: {figure.part}" if figure.part != "import" else figure.title,
                f"{figure.tasks:,}",
                number(figure.cpu),
                number(figure.wall),
                number(figure.floor),
                times(figure.times_floor),
                number(figure.reference),
                times(figure.ratio, figure.at_least),
            ]
            for figure in every
            if figure.group == group
        ]
        if rows:
            heads = ["us per task", "tasks", "cpu", "wall", "floor", "x floor", "6.5", "6.5 : ours"]
            tables.append((f"{title} (ratios of {CLOCKS.get(group, 'processor time')})", heads, rows))
    return tables


def tables(findings: running.Findings, settings: plan.Settings) -> list[Table]:
    """All tables: a title, the heads of the columns, and the rows."""
    found = _comparisons(findings)
    grown = figures.of_growth(findings.growth, settings.base)
    if grown:
        rows = [
            [g.shape, f"{g.size:,}", number(g.load), times(g.load_growth), number(g.run), times(g.run_growth)]
            for g in grown
        ]
        heads = ["shape", "tasks", "load", "growth", "run", "growth"]
        found.append(
            (
                f"The cost of a task in flows of growing sizes (us of processor time; growth since {settings.base:,})",
                heads,
                rows,
            )
        )
    if findings.footprint:
        rows = [
            [shape, f"{facts['tasks']:,}", *(number(facts[name]) for name in ("loaded", "ran", "peak"))]
            for shape, facts in findings.footprint.items()
        ]
        heads = ["shape", "tasks", "after load", "after run", "peak"]
        found.append(("Memory of a task beyond the user's own objects (bytes, resident)", heads, rows))
    written = figures.of_counts(findings, settings)
    if written:
        rows = [[w.title, w.library, f"{w.tasks:,}", number(w.commits), number(w.log), number(w.file)] for w in written]
        heads = ["flow", "library", "tasks", "commits", "log bytes", "file bytes"]
        found.append(("Written to SQLite for a task", heads, rows))
    rows = [
        [
            goal.title,
            f"{'at least' if goal.least else 'at most'} {number(goal.wanted)}{goal.unit}",
            "" if goal.found is None else f"{'>= ' if goal.at_least else ''}{number(goal.found)}{goal.unit}",
            goal.verdict,
        ]
        for goal in goals.judge(findings, settings)
    ]
    found.append(("Goals", ["figure", "wanted", "found", ""], rows))
    return found


def missing(findings: running.Findings) -> list[str]:
    """What could not be measured, and why."""
    return [
        f"{row.comparison.title}: not measured, {row.ours.facts['missing']}"
        for row in findings.rows.values()
        if row.ours is not None and "missing" in row.ours.facts
    ]


def as_text(found: Sequence[Table]) -> str:
    """Tables for a terminal."""
    lines = []
    for title, heads, rows in found:
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines.extend(["", title])
        for row in (heads, *rows):
            first, *rest = zip(row, widths, strict=True)
            cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
            lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, ""])


def as_rst(found: Sequence[Table], about: str) -> str:
    """Tables for a page of the documentation."""
    lines = [about, ""]
    for title, heads, rows in found:
        lines.extend([f".. list-table:: {title}", "   :header-rows: 1", ""])
        for row in (heads, *rows):
            for place, cell in enumerate(row):
                mark = "   * - " if place == 0 else "     - "
                # A star or a bar would be read as markup.
                text = cell.replace("*", r"\*").replace("|", r"\|")
                lines.append(f"{mark}{text}".rstrip())
        lines.append("")
    return "\n".join(lines)


def put_into_page(page: str, found: Sequence[Table], about: str) -> str:
    """The text of a page whose last part, from its marker on, is replaced by the tables.

    Args:
        page: the text of the page.
        found: the tables.
        about: the sentence about the circumstances.

    Returns:
        The new text.

    Raises:
        ValueError: the page has no marker.
    """
    head, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"The page lacks the line {MARKER!r}, after which the figures come")
    block = "\n".join(f"   {line}".rstrip() for line in as_text(found).strip("\n").split("\n"))
    return f"{head}{MARKER}\n\n{about}\n\n.. code-block:: text\n\n{block}\n"


def circumstances(versions: dict[str, str]) -> dict[str, Any]:
    """Where and when the figures were found."""
    now = dt.datetime.now(tz=dt.UTC)
    return {
        "at": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "sqlite": sqlite3.sqlite_version,
        **versions,
    }


def as_sentence(about: dict[str, Any]) -> str:
    """The circumstances in one sentence."""
    reference = f"TaskFlow {about['reference']}" if about.get("reference") else "no published TaskFlow at hand"
    return (
        f"taskflow {about.get('taskflow', '')} beside {reference}; Python {about['python']}, SQLite {about['sqlite']}, "
        f"{about['processors']} processors ({about['system']}), load {about['load'][0]}, {about['at'][:10]}."
    )


def as_json(findings: running.Findings, settings: plan.Settings, about: dict[str, Any]) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "about": about,
        "settings": dataclasses.asdict(settings),
        "figures": [dataclasses.asdict(figure) for figure in figures.of_findings(findings)],
        "growth": [dataclasses.asdict(g) for g in figures.of_growth(findings.growth, settings.base)],
        "reference_growth": [
            dataclasses.asdict(g) for g in figures.of_growth(findings.reference_growth, settings.base)
        ],
        "footprint": findings.footprint,
        "written": [dataclasses.asdict(w) for w in figures.of_counts(findings, settings)],
        "missing": missing(findings),
        "goals": [{**dataclasses.asdict(g), "verdict": g.verdict} for g in goals.judge(findings, settings)],
    }
