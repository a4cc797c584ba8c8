# SPDX-License-Identifier: Apache-2.0
"""What is measured, at which sizes and how often?"""

from __future__ import annotations

import dataclasses
from typing import Any

Request = dict[str, Any]

SHAPES_THAT_GROW = ("linear", "unordered", "layered")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured.

    Attributes:
        scale: What all fixed sizes are multiplied with.
        growth: The sizes at which the cost of a task is looked at.
        reference_growth: The same for the published library.
        base: The size in ``growth`` that the largest one is compared with.
        footprint: The size at which memory is measured.
        sqlite: The size of flows in SQLite, and that for the published library.
        rounds: How often everything is gone through; each keeps the least.
        growth_rounds: The same for the growing sizes.
        seconds: How long quick measurements are repeated in one round.
        limit: The processor seconds after which the published library is stopped in loading or running; what is known
            then is a least figure.
        folder: Where databases are made: the figures are those of its disk.
    """

    folder: str
    scale: float = 1.0
    growth: tuple[int, ...] = (200, 1_000, 10_000, 100_000)
    reference_growth: tuple[int, ...] = (200, 500)
    base: int = 1_000
    footprint: int = 100_000
    sqlite: tuple[int, int] = (1_000, 50)
    rounds: int = 3
    growth_rounds: int = 2
    seconds: float = 0.25
    limit: float | None = 45.0

    def quick(self) -> Settings:
        """The same in about a minute."""
        return dataclasses.replace(
            self,
            growth=(200, 1_000, 10_000),
            reference_growth=(200,),
            footprint=20_000,
            sqlite=(100, 10),
            rounds=2,
            growth_rounds=1,
            seconds=0.05,
            limit=1.5,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that is measured side by side.

    Attributes:
        name: A short name, unique.
        title: What it is, for people.
        tasks: By how many tasks the time is divided.
        ours: What is asked for this library.
        floor: What is asked for the least that it could cost.
        reference: What is asked for the published library, and the number of tasks of that.
        clock: ``cpu`` or ``wall``: which time the ratios are made of.
        counted: What is asked to count, once.
        group: In which table it is shown.
    """

    name: str
    title: str
    tasks: int
    ours: Request
    floor: Request | None = None
    reference: Request | None = None
    reference_tasks: int = 0
    clock: str = "cpu"
    counted: Request | None = None
    group: str = "memory"


def _flow(name: str, title: str, shape: str, size: int, tasks: int = 0, pool: str = "") -> Comparison:
    arguments = {"shape": shape, "size": size}
    with_pool = {**arguments, "pool": pool} if pool else arguments
    request: Request = {"measure": "in_memory.flow", "arguments": with_pool}
    floor: Request = {"measure": "floors.pool" if pool else "floors.loop", "arguments": with_pool}
    # A pool of processes is nothing that the published library has.
    reference = None if pool == "processes" else request
    # The processor time of other processes is not that of the one that is measured.
    clock = "wall" if pool == "processes" else "cpu"
    group = "pools" if pool else "memory"
    return Comparison(name, title, tasks or size, request, floor, reference, tasks or size, clock, group=group)


def _in_memory(settings: Settings) -> list[Comparison]:
    def size(full: int) -> int:
        return max(20, int(full * settings.scale))

    thousand, some = size(1_000), size(200)
    return [
        _flow("linear", "a line", "linear", thousand),
        _flow("linear-large", "a long line", "linear", size(4_000)),
        _flow("unordered", "unordered", "unordered", thousand),
        _flow("layered", "layers of 20, 3 inputs each", "layered", thousand),
        _flow("chain", "a chain of values", "chain", thousand),
        _flow("nested", "nested lines of 10", "nested", size(500)),
        _flow("failing", "a line that fails, reverted", "failing", thousand),
        _flow("retried", "sub-flows retried once", "retried", some),
        _flow("unordered-threads", "unordered, 4 threads", "unordered", thousand, pool="threads"),
        _flow("layered-threads", "layers, 4 threads", "layered", thousand, pool="threads"),
        _flow("linear-threads", "a line, 4 threads", "linear", some, pool="threads"),
        _flow("unordered-processes", "unordered, 4 processes", "unordered", some, pool="processes"),
    ]


def _listened(settings: Settings) -> list[Comparison]:
    size = max(20, int(1_000 * settings.scale))

    def request(event: str) -> Request:
        return {"measure": "in_memory.listened", "arguments": {"size": size, "event": event}}

    return [
        Comparison("listener-one", "a listener on SUCCESS", size, request("SUCCESS"), request(""), group="listeners"),
        Comparison("listener-all", "a listener on *", size, request("*"), request(""), group="listeners"),
    ]


def _in_sqlite(settings: Settings) -> list[Comparison]:
    found = []
    for shape, pool, title in (
        ("linear", "", "a line"),
        ("unordered", "", "unordered"),
        ("unordered", "threads", "unordered, 4 threads"),
    ):
        for synchronous in ("FULL", "NORMAL"):
            size, reference_size = settings.sqlite
            arguments = {
                "shape": shape,
                "size": size,
                "folder": settings.folder,
                "synchronous": synchronous,
                "pool": pool,
            }
            # The published library has no such option; it comes with what is called FULL.
            reference: Request = {
                "measure": "in_sqlite.flow",
                "arguments": {**arguments, "size": reference_size, "synchronous": ""},
            }
            found.append(
                Comparison(
                    f"sqlite-{shape}{'-' + pool if pool else ''}-{synchronous}",
                    f"{title}, {synchronous}",
                    size,
                    {"measure": "in_sqlite.flow", "arguments": arguments},
                    # The number of commits is put in once it was counted.
                    {
                        "measure": "in_sqlite.floor",
                        "arguments": {name: value for name, value in arguments.items() if name != "pool"},
                    },
                    reference if synchronous == "FULL" and not pool else None,
                    reference_size,
                    # Waiting for the disk is what FULL is about.
                    clock="wall" if synchronous == "FULL" else "cpu",
                    counted={"measure": "in_sqlite.counted", "arguments": arguments},
                    group="sqlite",
                )
            )
    return found


def comparisons(settings: Settings) -> list[Comparison]:
    """All that is measured side by side."""
    return [*_in_memory(settings), *_listened(settings), *_in_sqlite(settings)]


def growing(shape: str, size: int, collector: bool = True) -> Request:
    """What is asked to see what a task costs in a flow of some size, with or without Python's garbage collector."""
    return {"measure": "in_memory.flow", "arguments": {"shape": shape, "size": size, "collector": collector}}


def footprint(shape: str, size: int) -> Request:
    """What is asked to see how much memory a task takes."""
    return {"measure": "footprint.flow", "arguments": {"shape": shape, "size": size}}
