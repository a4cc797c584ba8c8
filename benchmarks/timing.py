# SPDX-License-Identifier: Apache-2.0
"""How is the time of the parts of a measurement taken, and what is left of repeated measurements?"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class LimitReached(BaseException):
    """A measurement has used up the processor time that it was given; no error that what is measured might catch."""


@dataclasses.dataclass(slots=True)
class Cost:
    """What a part took, in seconds; a part that was cut short took at least that."""

    wall: float
    cpu: float
    cut: bool = False

    def least(self, other: Cost) -> Cost:
        """The smaller figures of two measurements of one part."""
        if self.cut != other.cut:
            return other if self.cut else self
        return Cost(min(self.wall, other.wall), min(self.cpu, other.cpu), self.cut)


@dataclasses.dataclass(slots=True)
class Result:
    """What was measured: seconds per part, and whatever was counted.

    Attributes:
        parts: Per name, what it took.
        facts: What was counted.
        limit: The processor time, in seconds, after which a part is stopped.
    """

    parts: dict[str, Cost] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    limit: float | None = None

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done in a block."""
        wall, cpu = time.perf_counter(), time.process_time()
        cut = False
        try:
            with _limited(self.limit):
                yield
        except LimitReached:
            cut = True
            raise
        finally:
            self.parts[name] = Cost(time.perf_counter() - wall, time.process_time() - cpu, cut)

    def merge(self, other: Result | None) -> Result:
        """The least of two measurements, part by part; counts are those of the later one."""
        if other is None:
            return self
        parts = dict(self.parts)
        for name, cost in other.parts.items():
            parts[name] = parts[name].least(cost) if name in parts else cost
        return Result(parts, {**self.facts, **other.facts})

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"parts": {name: dataclasses.asdict(cost) for name, cost in self.parts.items()}, "facts": self.facts}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Result:
        """From plain values."""
        return cls({name: Cost(**cost) for name, cost in values["parts"].items()}, values["facts"])


def _stop(_number: int, _frame: Any) -> None:
    raise LimitReached


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise :class:`LimitReached` out of a block that uses more processor time; only in a main thread."""
    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def repeated(
    measure: Callable[..., None], arguments: dict[str, Any], repeats: int, seconds: float, limit: float | None
) -> Result:
    """Measure several times and keep the least.

    Args:
        measure: Called with a :class:`Result` to fill and the arguments.
        arguments: Its keyword arguments.
        repeats: The most repeats.
        seconds: No repeat is begun after so many seconds; the first always is.
        limit: The processor time, in seconds, that a part may take.

    Returns:
        The least of all repeats.
    """
    began = time.perf_counter()
    found: Result | None = None
    for _ in range(repeats):
        gc.collect()
        result = Result(limit=limit)
        # The part that was cut short says so.
        with contextlib.suppress(LimitReached):
            measure(result, **arguments)
        found = result.merge(found) if found is not None else result
        if time.perf_counter() - began >= seconds or any(cost.cut for cost in result.parts.values()):
            break
    return found if found is not None else Result()
