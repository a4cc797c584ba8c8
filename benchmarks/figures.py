# SPDX-License-Identifier: Apache-2.0
"""Which figures follow from what was measured?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks import plan, running, timing

MICRO = 1e6


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """The cost of one part of one comparison; times in microseconds per task.

    Attributes:
        name: Of the comparison.
        title: For people.
        group: The table that it belongs to.
        part: ``load``, ``run`` or ``import``.
        tasks: By how many tasks was divided.
        clock: Which time ``times_floor`` and ``ratio`` are made of.
        cpu: Processor time of this library.
        wall: Elapsed time of this library.
        floor: The least that it could cost.
        times_floor: How many times that it costs.
        reference: The published library.
        ratio: How many times longer that one takes.
        at_least: Whether the published library was stopped before its end, so that the ratio is a least one.
    """

    name: str
    title: str
    group: str
    part: str
    tasks: int
    clock: str
    cpu: float
    wall: float
    floor: float | None = None
    times_floor: float | None = None
    reference: float | None = None
    ratio: float | None = None
    at_least: bool = False


def _time(cost: timing.Cost, clock: str) -> float:
    return cost.wall if clock == "wall" else cost.cpu


def of_row(row: running.Row) -> list[Figure]:
    """The figures of one comparison, part by part."""
    wanted = row.comparison
    found = []
    for part, cost in row.ours.parts.items() if row.ours is not None else ():
        ours = _time(cost, wanted.clock) / wanted.tasks
        floor = reference = None
        cut = False
        if row.floor is not None and part in row.floor.parts:
            floor = _time(row.floor.parts[part], wanted.clock) / wanted.tasks
        if row.reference is not None and part in row.reference.parts:
            published = row.reference.parts[part]
            reference, cut = _time(published, wanted.clock) / wanted.reference_tasks, published.cut
        found.append(
            Figure(
                wanted.name,
                wanted.title,
                wanted.group,
                part,
                wanted.tasks,
                wanted.clock,
                cost.cpu / wanted.tasks * MICRO,
                cost.wall / wanted.tasks * MICRO,
                None if floor is None else floor * MICRO,
                None if floor is None else ours / floor,
                None if reference is None else reference * MICRO,
                None if reference is None else reference / ours,
                cut,
            )
        )
    return found


def of_imports(imports: dict[str, timing.Result]) -> list[Figure]:
    """The figure of the import; its floor is the start of the interpreter. Divided by one, so in microseconds."""
    ours, published = imports.get("ours"), imports.get("reference")
    if ours is None:
        return []
    cost, start = ours.parts["import"], ours.parts["start"].cpu
    reference = None if published is None else published.parts["import"].cpu
    return [
        Figure(
            "import",
            "import taskflow.engines",
            "import",
            "import",
            1,
            "cpu",
            cost.cpu * MICRO,
            cost.wall * MICRO,
            start * MICRO,
            cost.cpu / start,
            None if reference is None else reference * MICRO,
            None if reference is None else reference / cost.cpu,
        )
    ]


def of_findings(findings: running.Findings) -> list[Figure]:
    """All figures of comparisons."""
    found = [figure for row in findings.rows.values() for figure in of_row(row)]
    return [*found, *of_imports(findings.imports)]


@dataclasses.dataclass(frozen=True, slots=True)
class Growth:
    """What a task costs in a flow of some size, in microseconds of processor time, and how that compares.

    Attributes:
        shape: Of the flow.
        size: Of the flow.
        load: To load.
        run: To run.
        load_growth: Times what it costs at the base size.
        run_growth: The same for the run.
    """

    shape: str
    size: int
    load: float
    run: float
    load_growth: float | None = None
    run_growth: float | None = None


def of_growth(growth: dict[str, dict[int, timing.Result]], base: int) -> list[Growth]:
    """The cost of a task by shape and size."""
    found = []
    for shape, sizes in growth.items():
        at_base = sizes.get(base)
        for size, result in sorted(sizes.items()):
            if {"load", "run"} - set(result.parts) or any(cost.cut for cost in result.parts.values()):
                continue
            load, run = (result.parts[part].cpu / size * MICRO for part in ("load", "run"))
            times: list[float | None] = [None, None]
            if at_base is not None:
                times = [
                    value / (at_base.parts[part].cpu / base * MICRO)
                    for value, part in zip((load, run), ("load", "run"), strict=True)
                ]
            found.append(Growth(shape, size, load, run, *times))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What is written per task to an SQLite file: transactions, and bytes of its log and of the file in the end."""

    title: str
    library: str
    tasks: int
    commits: float
    log: float
    file: float


def of_counts(findings: running.Findings, settings: plan.Settings) -> list[Written]:
    """What the flows in SQLite wrote."""
    found = []
    for row in findings.rows.values():
        for library, counted, size in (
            ("taskflow", row.counted, settings.sqlite[0]),
            ("6.5", row.reference_counted, settings.sqlite[1]),
        ):
            if counted:
                commits = counted["load_commits"] + counted["run_commits"]
                log = counted["load_bytes"] + counted["run_bytes"]
                found.append(
                    Written(
                        row.comparison.title,
                        library,
                        size,
                        commits / size,
                        log / size,
                        counted["file_bytes"] / size,
                    )
                )
    return found
