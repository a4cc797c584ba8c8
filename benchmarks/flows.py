# SPDX-License-Identifier: Apache-2.0
"""Which flows are measured? Only names that this library and the published TaskFlow 6.5 share are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

if TYPE_CHECKING:
    from collections.abc import Callable

#: Tasks in one layer of a layered graph.
WIDTH = 20

#: Tasks in each level of nested flows.
TASKS_PER_LEVEL = 10


class Nothing(task.Task):
    """Does nothing."""

    def execute(self) -> None:
        """Do nothing."""


class Undoable(task.Task):
    """Does nothing, and undoes nothing."""

    def execute(self) -> None:
        """Do nothing."""

    def revert(self, **_kwargs: Any) -> None:
        """Do nothing."""


class Relay(task.Task):
    """Hands its one argument on."""

    def execute(self, value: int) -> int:
        """Return what came in."""
        return value


class Sum(task.Task):
    """Takes three arguments and returns a number."""

    def execute(self, a: int, b: int, c: int) -> int:
        """Return a number that any number of layers leave small."""
        return (a + b + c) & 0xFFFF


class Source(task.Task):
    """Gives a number."""

    def execute(self) -> int:
        """Return a number."""
        return 1


class Fail(task.Task):
    """Fails."""

    def execute(self) -> None:
        """Raise."""
        raise RuntimeError("as it should")


class FailOnce(task.Task):
    """Fails at its first attempt."""

    attempted = False

    def execute(self) -> None:
        """Raise, the first time."""
        if not self.attempted:
            self.attempted = True
            raise RuntimeError("as it should")


def linear(size: int) -> Any:
    """Tasks one after the other."""
    return linear_flow.Flow("linear").add(*(Nothing(f"t{i}") for i in range(size)))


def unordered(size: int) -> Any:
    """Tasks that do not wait for each other."""
    return unordered_flow.Flow("unordered").add(*(Nothing(f"t{i}") for i in range(size)))


def layered(size: int) -> Any:
    """Layers of twenty tasks; each takes what three tasks of the layer before it give."""
    tasks: list[Any] = []
    for i in range(size):
        layer, place = divmod(i, WIDTH)
        if layer == 0:
            tasks.append(Source(f"t{i}", provides=f"v{i}"))
            continue
        above = [f"v{(layer - 1) * WIDTH + (place + step) % WIDTH}" for step in range(3)]
        tasks.append(Sum(f"t{i}", provides=f"v{i}", rebind=above))
    return graph_flow.Flow("layered").add(*tasks)


def chain(size: int) -> Any:
    """Tasks that each take what the one before gives."""
    tasks: list[Any] = [Source("t0", provides="v0")]
    tasks.extend(Relay(f"t{i}", provides=f"v{i}", rebind=[f"v{i - 1}"]) for i in range(1, size))
    return linear_flow.Flow("chain").add(*tasks)


def nested(size: int) -> Any:
    """Linear flows within each other, ten tasks in each."""
    flow = None
    for level in range(max(1, size // TASKS_PER_LEVEL)):
        outer = linear_flow.Flow(f"level{level}")
        outer.add(*(Nothing(f"t{level}-{i}") for i in range(TASKS_PER_LEVEL)))
        if flow is not None:
            outer.add(flow)
        flow = outer
    return flow


def failing(size: int) -> Any:
    """Tasks one after the other, then one that fails."""
    return linear_flow.Flow("failing").add(*(Undoable(f"t{i}") for i in range(size)), Fail("fails"))


def retried(size: int) -> Any:
    """Sub-flows with a retry of their own, and one task that fails once."""
    return unordered_flow.Flow("retried").add(
        *(linear_flow.Flow(f"f{i}", retry=retry.Times(2, name=f"r{i}")).add(FailOnce(f"t{i}")) for i in range(size))
    )


SHAPES: dict[str, Callable[[int], Any]] = {
    "linear": linear,
    "unordered": unordered,
    "layered": layered,
    "chain": chain,
    "nested": nested,
    "failing": failing,
    "retried": retried,
}
