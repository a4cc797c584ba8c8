# SPDX-License-Identifier: Apache-2.0
"""Which flows is the compiler tried with? (hypothesis strategies for real flows)"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from taskflow import retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskflow import flow as flows

SYMBOLS = ("x", "y", "z")


def _nothing(**kwargs: Any) -> None:
    return None


def _always(history: Any) -> bool:
    return True


class _Composer:
    """Draws one flow. Siblings are made in an order that all their links keep, so no cycle can come of it."""

    def __init__(self, draw: Any, atoms: int, own_values: bool) -> None:
        self.draw = draw
        self.left = atoms
        self.own_values = own_values
        self.numbers = itertools.count(1)

    def task(self, values: list[str]) -> task.Task:
        name = f"t{next(self.numbers)}"
        self.left -= 1
        if self.own_values:
            needs = self.draw(st.lists(st.sampled_from(values), max_size=2, unique=True)) if values else []
            gives = f"of-{name}"
            values.append(gives)
            return task.FunctorTask(_nothing, name=name, requires=needs, provides=gives)
        gives = self.draw(st.lists(st.sampled_from(SYMBOLS), max_size=2, unique=True))
        return task.FunctorTask(_nothing, name=name, provides=set(gives))

    def retry(self) -> retry.Retry | None:
        if not self.draw(st.booleans()):
            return None
        self.left -= 1
        gives = None if self.own_values else set(self.draw(st.lists(st.sampled_from(SYMBOLS), max_size=1)))
        return retry.AlwaysRevert(f"r{next(self.numbers)}", provides=gives)

    def flow(self, levels: int, values: list[str]) -> flows.Flow:
        pattern = self.draw(st.sampled_from([linear_flow.Flow, unordered_flow.Flow, graph_flow.Flow]))
        made = pattern(f"f{next(self.numbers)}", retry=self.retry())
        items: list[Any] = []
        for _ in range(self.draw(st.integers(0, 4))):
            if levels > 0 and self.draw(st.integers(0, 2)) == 0:
                items.append(self.flow(levels - 1, values))
            elif self.left > 0:
                items.append(self.task(values))
        if not isinstance(made, graph_flow.Flow):
            return made.add(*items)
        shuffled = self.draw(st.permutations(items))
        for part in self._in_parts(shuffled):
            made.add(*part, resolve_requires=self.own_values, resolve_existing=self.own_values)
        for u, v in itertools.combinations(items, 2):
            if self.draw(st.integers(0, 3)) == 0:
                made.link(u, v, decider=_always if self.draw(st.booleans()) else None)
        return made

    def _in_parts(self, items: list[Any]) -> Iterator[list[Any]]:
        cut = self.draw(st.integers(0, len(items)))
        yield items[:cut]
        yield items[cut:]


@st.composite
def composed(draw: Any, atoms: int = 20, levels: int = 3, own_values: bool = True) -> Any:
    """A flow of all patterns, nested, with retries and links.

    With ``own_values`` every task gives a value of its own and asks for some of other tasks, which links those of
    graph flows; without, many atoms give the same few symbols and graph flows are linked by hand only.
    """
    return _Composer(draw, atoms, own_values).flow(levels, [])
