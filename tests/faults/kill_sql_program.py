# SPDX-License-Identifier: Apache-2.0
"""Which flow is killed in databases and folders, run by every kind of engine, and what does the killed process do?

Run as ``python -m kill_sql_program <address of the backend> <effects log> <0|1: fails at the end?> <serial|threads|
processes>``.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from taskflow import engines, retry, task
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence import backends, models

BOOK = "b3c1f2de-6a35-4c3e-9d0b-6f0c7d1d5a10"
WORKERS = 3
# How often the part with the retry is tried until it works.
TRIES = 3

LINE = [f"a{i}" for i in range(6)]
CROWD = [f"b{i}" for i in range(10)]
RETRIED = ["r0", "r1", "r2"]
LAST = [*(f"z{i}" for i in range(4)), "end"]
# Those that run once, and everybody.
ONCE = [*LINE, *CROWD, *LAST]
ALL = [*ONCE, *RETRIED]


def leave(log: str, *words: Any) -> None:
    """Leaves a line in the log in such a way that it survives the process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{' '.join(str(word) for word in words)}\n".encode())
    finally:
        os.close(descriptor)


class Effect(task.Task):
    """Leaves a line in the log before it returns."""

    def __init__(self, name: str, log: str, fails: bool = False) -> None:
        super().__init__(name, provides=f"of-{name}")
        self.log = log
        self.fails = fails

    def execute(self) -> str:
        time.sleep(0.001)
        leave(self.log, "execute", self.name, 0)
        if self.fails:
            raise RuntimeError("the end is reached")
        time.sleep(0.001)
        return f"result of {self.name}"

    def revert(self, **kwargs: Any) -> None:
        time.sleep(0.001)
        leave(self.log, "revert", self.name, 0)
        time.sleep(0.001)


class Tried(task.Task):
    """Leaves a line in the log with the number of the attempt, and fails in all attempts but the last."""

    def __init__(self, name: str, log: str, fails: bool = False) -> None:
        super().__init__(name, provides=f"of-{name}")
        self.log = log
        self.fails = fails

    def execute(self, attempt: int) -> str:
        leave(self.log, "execute", self.name, attempt)
        time.sleep(0.002)
        if self.fails and attempt < TRIES:
            raise ValueError(f"not yet in attempt {attempt}")
        return f"result of {self.name}"

    def revert(self, attempt: int, **kwargs: Any) -> None:
        leave(self.log, "revert", self.name, attempt)
        time.sleep(0.001)


def make_flow(log: str, fails: bool) -> Any:
    """The factory that is stored with the flow."""
    retried = linear_flow.Flow("retried", retry.Times(TRIES, "retry", provides="attempt"))
    retried.add(*(Tried(name, log, name == RETRIED[-1]) for name in RETRIED))
    return linear_flow.Flow("whole").add(
        *(Effect(name, log) for name in LINE),
        unordered_flow.Flow("crowd").add(*(Effect(name, log) for name in CROWD)),
        retried,
        *(Effect(name, log, fails and name == "end") for name in LAST),
    )


def options_of(kind: str) -> dict[str, Any]:
    """How an engine of a kind is asked for."""
    if kind == "serial":
        return {"engine": "serial"}
    return {"engine": "parallel", "executor": kind, "max_workers": WORKERS}


def load(url: str, log: str, fails: bool, kind: str) -> Any:
    """An engine for the stored flow, or for a new one when none was stored completely."""
    backend = backends.fetch(url)
    connection = backend.get_connection()
    connection.upgrade()
    books = {book.uuid: book for book in connection.get_logbooks()}
    connection.close()
    book = books.get(BOOK, models.LogBook("book", BOOK))
    for detail in book:
        if "factory" in detail.meta:
            return engines.load_from_detail(detail, backend=backend, **options_of(kind))
    return engines.load_from_factory(make_flow, [log, fails], book=book, backend=backend, **options_of(kind))


def main(url: str, log: str, fails: str, kind: str) -> None:
    # Under its own name, so that the factory can be found again.
    from kill_sql_program import load as load_by_name

    engine = load_by_name(url, log, fails == "1", kind)
    print("ready", flush=True)
    try:
        engine.run()
    except Exception as error:
        print("raised", type(error).__name__, error, flush=True)
    else:
        print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
