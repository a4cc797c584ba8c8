# SPDX-License-Identifier: Apache-2.0
"""Which flow is killed, and what does the process do that is killed?

Run as ``python -m kill_serial_flow <database file> <effects log> <0|1: does the last task fail?>``.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from typing import Any

from taskflow import engines, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy

BOOK = "b3c1f2de-6a35-4c3e-9d0b-6f0c7d1d5a10"


class Line(list):
    """Parts that run one after the other."""


class Crowd(list):
    """Parts that run in any order."""


class Mesh(dict):
    """Parts that each need the values of some of the others: part -> names of those."""


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{i:02}" for i in range(1, count + 1)]


def _layers(letter: str, layers: int, width: int) -> Mesh:
    """Every part of a layer needs its own and the next part of the layer before."""
    made = Mesh()
    for layer, at in itertools.product(range(layers), range(width)):
        needs = [f"{letter}{layer - 1}{k % width}" for k in (at, at + 1)] if layer else []
        made[f"{letter}{layer}{at}"] = needs
    return made


WHOLE = Line(
    [
        *_names("a", 10),
        Crowd([*_names("b", 10), Line(_names("c", 4)), Line(["d01", Crowd(_names("e", 4)), "d02"])]),
        _layers("m", 5, 4),
        Crowd([Line(_names("g", 3)), Line(_names("h", 3)), Mesh({"i1": [], "i2": ["i1"], "i3": ["i1", "i2"]})]),
        "z01",
        "end",
    ]
)


def atoms_of(part: Any) -> list[str]:
    """The names of all tasks of a part."""
    return [part] if isinstance(part, str) else [name for inner in part for name in atoms_of(inner)]


def order_of(part: Any) -> set[tuple[str, str]]:
    """Pairs of tasks of which the first has to end before the second may start."""
    if isinstance(part, str):
        return set()
    pairs = set().union(*(order_of(inner) for inner in part))
    if isinstance(part, Line):
        for first, second in itertools.pairwise(part):
            pairs |= set(itertools.product(atoms_of(first), atoms_of(second)))
    if isinstance(part, Mesh):
        pairs |= {(needed, name) for name, needs in part.items() for needed in needs}
    return pairs


def values_of(part: Any) -> dict[str, int]:
    """What every task gives: one more than the sum of what it needs."""
    if isinstance(part, str):
        return {part: 1}
    if isinstance(part, Mesh):
        values: dict[str, int] = {}
        for name, needs in part.items():
            values[name] = 1 + sum(values[needed] for needed in needs)
        return values
    return {name: value for inner in part for name, value in values_of(inner).items()}


class Effect(task.Task):
    """Leaves a line in the log before it returns, in such a way that it survives the process."""

    def __init__(self, name: str, log: str, fails: bool = False, **kwargs: Any) -> None:
        super().__init__(name, provides=f"of-{name}", **kwargs)
        self.log = log
        self.fails = fails

    def leave(self, what: str) -> None:
        time.sleep(0.002)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, f"{what} {self.name}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        time.sleep(0.001)

    def execute(self, **kwargs: int) -> int:
        self.leave("execute")
        if self.fails:
            raise RuntimeError("the end is reached")
        return 1 + sum(kwargs.values())

    def revert(self, **kwargs: Any) -> None:
        self.leave("revert")


def make_flow(log: str, fails: bool) -> Any:
    """The factory that is stored with the flow."""
    numbers = itertools.count(1)

    def made(part: Any, needs: Any = ()) -> Any:
        if isinstance(part, str):
            return Effect(part, log, fails and part == "end", requires=[f"of-{name}" for name in needs])
        pattern = {Line: linear_flow.Flow, Crowd: unordered_flow.Flow, Mesh: graph_flow.Flow}[type(part)]
        flow = pattern(f"{type(part).__name__}-{next(numbers)}")
        if isinstance(part, Mesh):
            return flow.add(*[made(inner, inner_needs) for inner, inner_needs in part.items()])
        return flow.add(*[made(inner) for inner in part])

    return made(WHOLE)


def load(database: str, log: str, fails: bool) -> Any:
    """An engine for the stored flow, or for a new one when none was stored completely."""
    backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": f"sqlite:///{database}"})
    connection = backend.get_connection()
    connection.upgrade()
    books = {book.uuid: book for book in connection.get_logbooks()}
    connection.close()
    book = books.get(BOOK, models.LogBook("book", BOOK))
    for detail in book:
        if "factory" in detail.meta:
            return engines.load_from_detail(detail, backend=backend, engine="serial")
    return engines.load_from_factory(make_flow, [log, fails], book=book, backend=backend, engine="serial")


def main(database: str, log: str, fails: str) -> None:
    # Under its own name, so that the factory can be found again.
    from kill_serial_flow import load as load_by_name

    engine = load_by_name(database, log, fails == "1")
    print("ready", flush=True)
    try:
        engine.run()
    except Exception as error:
        print("raised", error, flush=True)
    else:
        print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
