# SPDX-License-Identifier: Apache-2.0
"""What do flows cost that are kept in memory?"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any

from benchmarks import flows
from taskflow import engines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks import timing

#: Per kind of pool, the option that asks an engine for it.
POOLS = {"threads": "threaded", "processes": "processes"}


def options_of(pool: str, workers: int) -> dict[str, Any]:
    """The options of an engine with a pool; a serial one without."""
    if not pool:
        return {"engine": "serial"}
    return {"engine": "parallel", "executor": POOLS[pool], "max_workers": workers}


def load(flow: Any, **options: Any) -> Any:
    """An engine that is ready to run."""
    engine = engines.load(flow, **options)
    engine.compile()
    engine.prepare()
    return engine


def finish(engine: Any, expected: str) -> None:
    """Run an engine to the state that it should end in."""
    try:
        engine.run()
    except RuntimeError:
        if expected == "SUCCESS":
            raise
    state = engine.storage.get_flow_state()
    if state != expected:
        raise ValueError(f"The flow ended {state}, expected {expected}")


def ending(shape: str) -> str:
    """The state that a flow of a shape ends in."""
    return "REVERTED" if shape == "failing" else "SUCCESS"


@contextlib.contextmanager
def collecting(wanted: bool) -> Iterator[None]:
    """Keep the garbage collector on, or off, in a block."""
    if not wanted:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()


def flow(
    result: timing.Result, shape: str, size: int, pool: str = "", workers: int = 4, collector: bool = True
) -> None:
    """Load a flow, then run it."""
    built = flows.SHAPES[shape](size)
    try:
        engines.load(flows.linear(1), **options_of(pool, workers))
    except ValueError as e:
        result.facts["missing"] = str(e)
        return
    with collecting(collector):
        with result.part("load"):
            engine = load(built, **options_of(pool, workers))
        with result.part("run"):
            finish(engine, ending(shape))


def listened(result: timing.Result, size: int, event: str = "") -> None:
    """Run a line of tasks while a listener hears one event of atoms, or all of them with ``*``."""
    heard: list[str] = []

    def hear(state: str, details: dict[str, Any]) -> None:
        heard.append(state)

    engine = load(flows.linear(size))
    if event:
        engine.atom_notifier.register(event, hear)
    with result.part("run"):
        finish(engine, "SUCCESS")
    # A listener that fails is logged only, and would be quick.
    expected = {"": 0, "*": 2 * size}.get(event, size)
    if len(heard) != expected:
        raise ValueError(f"The listener on {event!r} heard {len(heard)} events, expected {expected}")
