# SPDX-License-Identifier: Apache-2.0
"""In which order is everything measured, so that what else the machine does hits all sides alike?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks import plan, timing

if TYPE_CHECKING:
    from collections.abc import Callable

#: A reference that took longer, in seconds, is not measured again in the next round.
SLOW = 3.0

#: How often an import is timed in one round.
IMPORTS = 4


class Side(Protocol):
    """What measures with one library."""

    def ask(self, request: dict[str, Any]) -> timing.Result:
        """Have something measured."""

    def close(self) -> None:
        """End it."""


@dataclasses.dataclass(slots=True)
class Row:
    """What was found about one comparison."""

    comparison: plan.Comparison
    ours: timing.Result | None = None
    floor: timing.Result | None = None
    reference: timing.Result | None = None
    counted: dict[str, Any] = dataclasses.field(default_factory=dict)
    reference_counted: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Findings:
    """All that was found."""

    rows: dict[str, Row] = dataclasses.field(default_factory=dict)
    growth: dict[str, dict[int, timing.Result]] = dataclasses.field(default_factory=dict)
    reference_growth: dict[str, dict[int, timing.Result]] = dataclasses.field(default_factory=dict)
    footprint: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    imports: dict[str, timing.Result] = dataclasses.field(default_factory=dict)


class Runner:
    """Measures everything in turn.

    Args:
        settings: How much.
        ours: Starts a process that measures this library.
        reference: The same for the published one, if it is there.
        say: Told what is measured now.
    """

    def __init__(
        self,
        settings: plan.Settings,
        ours: Callable[[], Side],
        reference: Callable[[], Side] | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._settings = settings
        self._start_ours = ours
        self._start_reference = reference
        self._ours: Side | None = None
        self._reference: Side | None = None
        self._say = say
        self.findings = Findings()

    def close(self) -> None:
        """End the processes."""
        for side in (self._ours, self._reference):
            if side is not None:
                side.close()
        self._ours = self._reference = None

    def _ask_ours(self, request: plan.Request) -> timing.Result:
        if self._ours is None:
            self._ours = self._start_ours()
        return self._ours.ask({**request, "repeats": 1000, "seconds": self._settings.seconds})

    def _ask_reference(self, request: plan.Request) -> timing.Result:
        """A process in which something was cut short may be in any state, and is not used again."""
        if self._reference is None:
            if self._start_reference is None:
                raise ValueError("There is no reference to ask")
            self._reference = self._start_reference()
        found = self._reference.ask({**request, "repeats": 3, "seconds": 0.0, "limit": self._settings.limit})
        if any(cost.cut for cost in found.parts.values()):
            self._reference.close()
            self._reference = None
        return found

    # -- side by side ------------------------------------------------------------------------------------------------

    def compare(self, chosen: list[plan.Comparison]) -> None:
        """Go through comparisons, some rounds."""
        for comparison in chosen:
            self.findings.rows[comparison.name] = Row(comparison)
        for turn in range(self._settings.rounds):
            for comparison in chosen:
                self._say(f"round {turn + 1} of {self._settings.rounds}: {comparison.group}, {comparison.title}")
                self._compare(self.findings.rows[comparison.name])

    def _compare(self, row: Row) -> None:
        wanted = row.comparison
        reference = wanted.reference if self._start_reference is not None else None
        if wanted.counted is not None and not row.counted:
            row.counted = self._ask_ours(wanted.counted).facts
            if reference is not None:
                count = {"measure": "in_sqlite.counted", "arguments": reference["arguments"]}
                row.reference_counted = self._ask_reference(count).facts
        row.ours = self._ask_ours(wanted.ours).merge(row.ours)
        if "missing" in row.ours.facts:
            return
        if wanted.floor is not None:
            floor = wanted.floor
            if row.counted:
                floor = {**floor, "arguments": {**floor["arguments"], "commits": row.counted["run_commits"]}}
            row.floor = self._ask_ours(floor).merge(row.floor)
        if reference is not None and (row.reference is None or _seconds(row.reference) < SLOW):
            row.reference = self._ask_reference(reference).merge(row.reference)
            # The machine may have changed its pace meanwhile.
            row.ours = self._ask_ours(wanted.ours).merge(row.ours)

    # -- apart -------------------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """See what a task costs in flows of growing sizes; each in a process of its own, as memory remembers."""
        rounds = self._settings.growth_rounds
        for turn in range(rounds):
            for shape in plan.SHAPES_THAT_GROW:
                for size in self._settings.growth:
                    self._say(f"round {turn + 1} of {rounds}: growth, {shape}, {size:,} tasks")
                    _keep(self.findings.growth, shape, size, self._alone(plan.growing(shape, size)))
                for size in (self._settings.base, max(self._settings.growth)) if turn == 0 else ():
                    found = self._alone(plan.growing(shape, size, collector=False))
                    _keep(self.findings.growth, f"{shape}, collector off", size, found)
                if self._start_reference is not None and turn == 0:
                    for size in self._settings.reference_growth:
                        found = self._ask_reference(plan.growing(shape, size))
                        _keep(self.findings.reference_growth, shape, size, found)

    def weigh(self) -> None:
        """See how much memory a task takes."""
        for shape in plan.SHAPES_THAT_GROW:
            self._say(f"memory, {shape}")
            found = self._alone(plan.footprint(shape, self._settings.footprint), once=True)
            self.findings.footprint[shape] = found.facts

    def _alone(self, request: plan.Request, once: bool = False) -> timing.Result:
        side = self._start_ours()
        try:
            # Longer than elsewhere, since making the flow takes most of that time and the process has to warm up.
            return side.ask({**request, "repeats": 1 if once else 1000, "seconds": 4 * self._settings.seconds})
        finally:
            side.close()

    def time_imports(self, sides: dict[str, Callable[[], timing.Result]]) -> None:
        """Time the import, in turn on all sides."""
        self._say("import taskflow.engines")
        for _ in range(IMPORTS * self._settings.rounds):
            for name, cost in sides.items():
                self.findings.imports[name] = cost().merge(self.findings.imports.get(name))


def _seconds(result: timing.Result) -> float:
    return sum(cost.cpu for cost in result.parts.values())


def _keep(found: dict[str, dict[int, timing.Result]], shape: str, size: int, result: timing.Result) -> None:
    sizes = found.setdefault(shape, {})
    sizes[size] = result.merge(sizes.get(size))
