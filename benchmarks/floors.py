# SPDX-License-Identifier: Apache-2.0
"""What is the least that running the same tasks could cost: a bare loop, a bare pool?"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import multiprocessing
from typing import TYPE_CHECKING, Any

from benchmarks import flows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks import timing


def members(flow: Any) -> Iterator[Any]:
    """The tasks of a flow and of the flows in it, in their order."""
    open_flows = [iter(flow)]
    while open_flows:
        item = next(open_flows[-1], None)
        if item is None:
            open_flows.pop()
        elif hasattr(item, "execute"):
            yield item
        else:
            open_flows.append(iter(item))


def wiring(shape: str, size: int) -> tuple[list[Any], list[list[int]], list[list[int]]]:
    """The tasks of a flow, per task those that it waits for, and those whose values it takes."""
    tasks = list(members(flows.SHAPES[shape](size)))
    numbers = range(len(tasks))
    if shape == "layered":
        providers = {name: i for i in numbers for name in tasks[i].save_as}
        # In the order of the arguments, which is that of their names.
        takes = [[providers[tasks[i].rebind[name]] for name in sorted(tasks[i].rebind)] for i in numbers]
        return tasks, takes, takes
    if shape in {"unordered", "retried"}:
        return tasks, [[] for _ in numbers], [[] for _ in numbers]
    waits = [[i - 1] if i else [] for i in numbers]
    return tasks, waits, waits if shape == "chain" else [[] for _ in numbers]


def loop(result: timing.Result, shape: str, size: int) -> None:
    """A queue of what is ready, two changes of state and one callback for each task, and the task's own method."""
    tasks, waits, takes = wiring(shape, size)
    following: list[list[int]] = [[] for _ in tasks]
    for i, before in enumerate(waits):
        for b in before:
            following[b].append(i)
    missing = [len(before) for before in waits]
    values: list[Any] = [None] * len(tasks)
    states = ["PENDING"] * len(tasks)
    ended: list[int] = []
    ready = collections.deque(i for i, count in enumerate(missing) if not count)
    told = ended.append
    with result.part("run"):
        while ready:
            i = ready.popleft()
            states[i] = "RUNNING"
            try:
                values[i] = tasks[i].execute(*[values[n] for n in takes[i]])
            except RuntimeError:
                states[i] = "FAILURE"
                if shape == "retried":
                    ready.append(i)
                    continue
                break
            states[i] = "SUCCESS"
            told(i)
            for n in following[i]:
                missing[n] -= 1
                if not missing[n]:
                    ready.append(n)
        if shape == "failing":
            while ended:
                i = ended.pop()
                states[i] = "REVERTING"
                tasks[i].revert()
                states[i] = "REVERTED"


def pool(result: timing.Result, shape: str, size: int, pool: str = "threads", workers: int = 4) -> None:
    """A bare pool: submit what may start, wait for its results, submit what follows."""
    tasks, waits, takes = wiring(shape, size)
    depth = [0] * len(tasks)
    waves: list[list[int]] = []
    for i, before in enumerate(waits):
        depth[i] = 1 + max(depth[b] for b in before) if before else 0
        if depth[i] == len(waves):
            waves.append([])
        waves[depth[i]].append(i)
    values: list[Any] = [None] * len(tasks)
    kinds: dict[str, Any] = {
        "threads": concurrent.futures.ThreadPoolExecutor,
        # Fresh interpreters, as the engine uses: a forked copy of a program with threads may hang.
        "processes": functools.partial(
            concurrent.futures.ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn")
        ),
    }
    kind = kinds[pool]
    with result.part("run"), kind(workers) as made:
        for wave in waves:
            futures = [made.submit(tasks[i].execute, *[values[n] for n in takes[i]]) for i in wave]
            for i, future in zip(wave, futures, strict=True):
                values[i] = future.result()
