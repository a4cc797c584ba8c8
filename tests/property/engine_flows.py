# SPDX-License-Identifier: Apache-2.0
"""Which flows are the engines tried with? (hypothesis strategies for the descriptions of `engine_model`)"""

from __future__ import annotations

import dataclasses
from typing import Any

import engine_model as em
from hypothesis import strategies as st

DEPTHS = st.sampled_from(em.WIDEST_FIRST)


@dataclasses.dataclass
class Wanted:
    """What may occur in a flow."""

    atoms: int = 10
    levels: int = 3
    retries: bool = False
    deciders: bool = True
    failures: bool = True
    revert_failures: bool = True
    priorities: bool = True


class _Builder:
    def __init__(self, draw: Any, wanted: Wanted) -> None:
        self.draw = draw
        self.wanted = wanted
        self.left = wanted.atoms
        self.made = {"t": 0, "f": 0}

    def name(self, kind: str) -> str:
        self.made[kind] += 1
        return f"{kind}{self.made[kind]}"

    def one_in(self, number: int) -> bool:
        return self.draw(st.integers(0, number - 1)) == number - 1

    def fails(self, rarity: int) -> tuple[int, ...] | str:
        if not self.wanted.failures or not self.one_in(rarity):
            return ()
        if not self.wanted.retries:
            return em.ALWAYS
        return self.draw(st.sampled_from([(1,), (1, 2), (2,), em.ALWAYS]))

    def task(self) -> em.Task:
        return em.Task(
            self.name("t"),
            fails=self.fails(3 if self.wanted.retries else 5),
            revert_fails=self.wanted.revert_failures and self.one_in(12),
            priority=self.draw(st.sampled_from([0, 0, 1, -1])) if self.wanted.priorities else 0,
        )

    def retry(self, flow: str) -> em.Retry | None:
        if not self.wanted.retries or self.left <= 0 or self.one_in(3):
            return None
        self.left -= 1
        kind = self.draw(st.sampled_from(["times", "times", "times", "revert", "revert_all"]))
        attempts, final = 1, em.REVERT
        if kind == "times":
            attempts = self.draw(st.integers(1, 3))
            final = self.draw(st.sampled_from([em.REVERT, em.REVERT, em.REVERT_ALL]))
        return em.Retry(
            f"r_{flow}",
            kind,
            attempts,
            final,
            fails=self.fails(16),
            revert_fails=self.wanted.revert_failures and self.one_in(20),
        )

    def link(self, source: str, target: str) -> em.Link:
        if self.wanted.deciders and self.one_in(2):
            return em.Link(source, target, self.draw(DEPTHS), not self.one_in(2))
        return em.Link(source, target)

    def flow(self, level: int) -> em.Flow:
        name = self.name("f")
        kind = self.draw(st.sampled_from(["linear", "unordered", "graph", "graph"]))
        retry = self.retry(name)
        children: list[em.Task | em.Flow] = []
        for _ in range(self.draw(st.integers(0, 4) if level else st.integers(2, 5))):
            if level + 1 < self.wanted.levels and self.one_in(3):
                children.append(self.flow(level + 1))
            elif self.left > 0:
                self.left -= 1
                children.append(self.task())
        links: list[em.Link] = []
        if kind == "graph":
            names = [child.name for child in children]
            if self.one_in(4):
                names.reverse()
            for position, target in enumerate(names):
                links.extend(self.link(source, target) for source in names[:position] if self.one_in(2))
        return em.Flow(name, kind, tuple(children), tuple(links), retry)


@st.composite
def flows(draw: Any, **wanted: Any) -> em.Flow:
    """Flows of tasks, nested to a few levels, of any pattern."""
    return _Builder(draw, Wanted(**wanted)).flow(0)
