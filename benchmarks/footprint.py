# SPDX-License-Identifier: Apache-2.0
"""How much memory does a flow take beyond the user's own tasks? Each measurement needs a process of its own."""

from __future__ import annotations

import gc
import pathlib
import resource
from typing import TYPE_CHECKING

from benchmarks import flows, in_memory

if TYPE_CHECKING:
    from benchmarks import timing

_SELF = pathlib.Path("/proc/self")


def resident() -> int:
    """Bytes of memory that are held now; where only the peak can be told, the peak."""
    try:
        return int((_SELF / "statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return peak()


def peak() -> int:
    """The most bytes of memory that were held since :func:`forget_peak`, or since the start."""
    try:
        for line in (_SELF / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Start looking for the peak anew, where the system offers that."""
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return


def flow(result: timing.Result, shape: str, size: int) -> None:
    """Load and run a flow; bytes per task are counted from when the user's own objects were made."""
    built = flows.SHAPES[shape](size)
    # What is imported at first use is no memory per task.
    in_memory.finish(in_memory.load(flows.SHAPES[shape](flows.WIDTH)), in_memory.ending(shape))
    gc.collect()
    forget_peak()
    before = resident()
    engine = in_memory.load(built)
    loaded = resident()
    in_memory.finish(engine, in_memory.ending(shape))
    result.facts.update(
        loaded=(loaded - before) / size, ran=(resident() - before) / size, peak=(peak() - before) / size, tasks=size
    )
