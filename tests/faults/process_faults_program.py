# SPDX-License-Identifier: Apache-2.0
"""Which program is killed and interrupted in the tests of processes? Called with what to do and a folder."""

from __future__ import annotations

import atexit
import concurrent.futures
import multiprocessing
import os
import pathlib
import sys
import threading
import time

from taskflow import engines, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow, unordered_flow

WHAT, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])


class Odd(Exception):
    """An exception that the main module defines."""


class Tells(task.Task):
    """Leaves a file with its process id when it begins and one when it has ended."""

    def __init__(self, name, seconds):
        super().__init__(name)
        self.seconds = seconds

    def execute(self):
        begun = FOLDER / f"{self.name}.new"
        begun.write_text(str(os.getpid()))
        begun.rename(FOLDER / f"{self.name}.begun")
        time.sleep(self.seconds)
        (FOLDER / f"{self.name}.ended").touch()
        return self.name


class Raises(task.Task):
    def execute(self):
        raise Odd("seldom")

    def revert(self, result, flow_failures):
        (FOLDER / "checked").write_text(str(result.check(Odd) is Odd))


def at_exit():
    with (FOLDER / "at_exit").open("a") as f:
        f.write("called\n")


atexit.register(at_exit)

if WHAT == "broken main" and __name__ != "__main__":
    raise RuntimeError("this main module can not be imported")


def flow(seconds):
    return unordered_flow.Flow("f").add(Tells("short", 0), Tells("long", seconds), Tells("third", 0))


def load(seconds, **options):
    options.setdefault("executor", "processes")
    options.setdefault("max_workers", 2)
    return engines.load(flow(seconds), engine="parallel", **options)


def report(text):
    (FOLDER / "report").write_text(text)


def main():
    if WHAT == "run":
        load(60).run()
    elif WHAT == "run in a given pool":
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            load(60, executor=pool).run()
    elif WHAT == "interrupt":
        engine = load(float(sys.argv[3]))
        try:
            engine.run()
        except KeyboardInterrupt:
            report(f"KeyboardInterrupt {engine.storage.get_atom_state('long')}")
            raise
    elif WHAT == "leave in the middle":
        steps = load(1).run_iter()
        while not (FOLDER / "long.begun").exists():
            next(steps)
            time.sleep(0.05)
        globals()["steps"] = steps
    elif WHAT == "fork":
        engine = load(2)
        thread = threading.Thread(target=engine.run)
        thread.start()
        while not (FOLDER / "long.begun").exists():
            time.sleep(0.05)
        child = os.fork()
        if child == 0:
            atexit.unregister(at_exit)
            sys.exit(0)
        code = os.waitpid(child, 0)[1]
        thread.join()
        report(f"{code} {engine.storage.get_flow_state()}")
    elif WHAT == "main names":
        try:
            engines.run(linear_flow.Flow("f").add(Raises()), engine="parallel", executor="processes")
        except Odd as e:
            report(f"{type(e) is Odd} {e}")
    elif WHAT == "broken main":
        try:
            load(0).run()
        except (exc.ExecutionFailure, exc.WrappedFailure) as e:
            report(str(e))


if __name__ == "__main__":
    main()

if WHAT == "no guard":
    try:
        load(0).run()
    except (exc.ExecutionFailure, exc.WrappedFailure) as e:
        report(str(e))
