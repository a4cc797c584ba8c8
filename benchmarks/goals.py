# SPDX-License-Identifier: Apache-2.0
"""Which figures are aimed at, and are they reached?"""

from __future__ import annotations

import dataclasses

from benchmarks import figures, plan, running

#: Per comparison and part: how many times longer the published library takes, at least.
FASTER = {
    ("linear", "run"): 250.0,
    ("linear-large", "run"): 1000.0,
    ("unordered", "run"): 12.0,
    ("unordered-threads", "run"): 12.0,
    ("layered", "run"): 200.0,
    ("layered-threads", "run"): 100.0,
    ("chain", "run"): 200.0,
    ("nested", "run"): 100.0,
    ("failing", "run"): 250.0,
    ("retried", "run"): 40.0,
    ("linear", "load"): 20.0,
    ("unordered", "load"): 15.0,
    ("layered", "load"): 15.0,
    ("chain", "load"): 15.0,
    ("import", "import"): 3.0,
}

#: How many times more a task may cost in the largest flow than in one of a thousand.
GROWTH = 1.3

#: Bytes that a task may take beyond the user's own object.
FOOTPRINT = 4096.0

#: Microseconds that loading and running a task may cost beyond the bare loop.
OVERHEAD = 40.0
OVERHEAD_OF = ("linear", "unordered", "layered", "chain")

#: How many times a bare pool's time a flow may take that runs in such a pool.
POOL = 2.0
POOL_OF = ("unordered-threads", "layered-threads", "unordered-processes")


@dataclasses.dataclass(frozen=True, slots=True)
class Goal:
    """One figure that is aimed at.

    Attributes:
        title: What it is.
        wanted: The figure aimed at.
        least: Whether that is a least figure; else a most.
        unit: What both figures are in.
        found: The figure found; ``None`` if it was not measured.
        at_least: Whether the figure found is itself only a least one.
    """

    title: str
    wanted: float
    least: bool
    unit: str
    found: float | None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Whether the goal is met, in words."""
        if self.found is None:
            return "not measured"
        if self.least and self.found < self.wanted and self.at_least:
            return "open: the other was stopped too early"
        return "met" if (self.found >= self.wanted) == self.least or self.found == self.wanted else "not met"


def judge(findings: running.Findings, settings: plan.Settings) -> list[Goal]:
    """All goals, with what was found about them."""
    by_part = {(f.name, f.part): f for f in figures.of_findings(findings)}
    goals = []
    for key, wanted in FASTER.items():
        figure = by_part.get(key)
        title = f"{figure.title if figure else key[0]}: {key[1]}, times faster"
        ratio, at_least = (figure.ratio, figure.at_least) if figure else (None, False)
        goals.append(Goal(title, wanted, True, "x", ratio, at_least))
    growth = {(g.shape, g.size): g for g in figures.of_growth(findings.growth, settings.base)}
    largest = max(settings.growth)
    for shape in plan.SHAPES_THAT_GROW:
        grown = growth.get((shape, largest))
        for part, found in (
            ("load", grown.load_growth if grown else None),
            ("run", grown.run_growth if grown else None),
        ):
            title = f"{shape}: {part} of a task at {largest:,} against {settings.base:,}"
            goals.append(Goal(title, GROWTH, False, "x", found))
    for shape in plan.SHAPES_THAT_GROW:
        facts = findings.footprint.get(shape, {})
        goals.append(Goal(f"{shape}: peak memory of a task", FOOTPRINT, False, " B", facts.get("peak")))
    for name in OVERHEAD_OF:
        load, run = by_part.get((name, "load")), by_part.get((name, "run"))
        spent = None
        if load is not None and run is not None and run.floor is not None:
            spent = load.cpu + run.cpu - run.floor
        title = f"{run.title if run else name}: load and run beyond the bare loop"
        goals.append(Goal(title, OVERHEAD, False, " us", spent))
    for name in POOL_OF:
        run = by_part.get((name, "run"))
        title = f"{run.title if run else name}: run, times the bare pool"
        goals.append(Goal(title, POOL, False, "x", run.times_floor if run else None))
    return goals
