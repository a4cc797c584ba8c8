# SPDX-License-Identifier: Apache-2.0
"""Which tasks do the tests of the process executor run? They are found by name in the worker processes."""

from __future__ import annotations

import atexit
import os
import pathlib
import signal
import sys
import threading
import time

from taskflow import task


class Pid(task.Task):
    def execute(self):
        return os.getpid()


class Add(task.Task):
    def execute(self, a, b=1):
        return a + b


class Meet(task.Task):
    """Ends only if another one runs at the same time."""

    def __init__(self, name, folder, others):
        super().__init__(name)
        self.folder = folder
        self.others = others

    def execute(self):
        (pathlib.Path(self.folder) / self.name).touch()
        until = time.monotonic() + 30
        while not all((pathlib.Path(self.folder) / other).exists() for other in self.others):
            assert time.monotonic() < until, "the other one never came"
            time.sleep(0.01)
        return os.getpid()


class Written(task.Task):
    """Writes a line for all that is called."""

    def __init__(self, name, path, fail=False, result=None, **kwargs):
        super().__init__(name, **kwargs)
        self.path = path
        self.fail = fail
        self.result = result
        self.mutated = 0

    def write(self, what):
        with pathlib.Path(self.path).open("a") as f:
            f.write(f"{self.name} {what} {os.getpid()}\n")

    def pre_execute(self):
        self.write("pre_execute")

    def execute(self):
        self.mutated += 1
        self.write("execute")
        if self.fail:
            raise ValueError("no luck")
        return self.result

    def post_execute(self):
        self.write("post_execute")

    def pre_revert(self):
        self.write("pre_revert")

    def revert(self, result, flow_failures):
        failed = ",".join(sorted(flow_failures))
        self.write(f"revert result={str(result).splitlines()[0]} failed={failed}")

    def post_revert(self):
        self.write("post_revert")


class Unfit(Exception):
    """Can not be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class OneWay(Exception):
    """Can be pickled but not read again."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Fails(task.Task):
    def __init__(self, name, kind, path=None, **kwargs):
        super().__init__(name, **kwargs)
        self.kind = kind
        self.path = path

    def execute(self):
        if self.kind == "plain":
            raise ValueError("plain", 5)
        if self.kind == "unfit":
            raise Unfit("not for travelling")
        if self.kind == "unfit argument":
            raise ValueError(threading.Lock())
        if self.kind == "one way":
            raise OneWay("this", "that")
        if self.kind == "caused":
            try:
                raise KeyError("first")
            except KeyError as e:
                raise RuntimeError("second") from e
        if self.kind == "returned":
            from taskflow.types import failure

            return failure.Failure.from_exception(LookupError("given back"))
        if self.kind == "exit":
            sys.exit(3)
        if self.kind == "interrupt":
            raise KeyboardInterrupt
        raise AssertionError(self.kind)

    def revert(self, result, flow_failures):
        if self.path is not None:
            with pathlib.Path(self.path).open("a") as f:
                f.write(f"{self.name} {type(result.exception).__name__} {result.exception_str}\n")


class Holds(task.Task):
    def __init__(self, name, held=None, **kwargs):
        super().__init__(name, **kwargs)
        self.held = held

    def execute(self, given=None):
        return "done"


class ReturnsLock(task.Task):
    def execute(self):
        return {"fine": 1, "parts": [1, threading.Lock()]}


class OnlyThere:
    """Can be read in no process but the one that made it."""

    def __init__(self):
        self.home = os.getpid()

    def __setstate__(self, state):
        if state["home"] != os.getpid():
            raise LookupError("only at home")


class ReturnsOnlyThere(task.Task):
    def execute(self):
        return OnlyThere()


class Reports(task.Task):
    TASK_EVENTS = (task.EVENT_UPDATE_PROGRESS, "custom", "odd")

    def execute(self):
        self.update_progress(0.25)
        self.notifier.notify("custom", {"n": 1})
        self.notifier.notify("update_progress", {"progress": 0.5, "more": "words"})
        self.notifier.notify("odd", {"lock": threading.Lock()})
        self.notifier.notify("odd", {"there": OnlyThere()})
        self.notifier.notify("custom", {"n": 2})
        self.update_progress(0.75)


class Floods(task.Task):
    TASK_EVENTS = (task.EVENT_UPDATE_PROGRESS, "drop")

    def execute(self, count):
        for i in range(count):
            self.notifier.notify("drop", {"i": i})
        return count


class TalksOn(task.Task):
    """Leaves a thread behind that goes on reporting."""

    def execute(self):
        def talk():
            for _ in range(200):
                self.update_progress(0.9)
                time.sleep(0.002)

        threading.Thread(target=talk, daemon=True).start()
        time.sleep(0.05)


class Interrupted(task.Task):
    def execute(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


class Waits(task.Task):
    """Says that it has begun and waits for a file."""

    def __init__(self, name, path, **kwargs):
        super().__init__(name, **kwargs)
        self.path = path

    def execute(self):
        self.update_progress(0.5)
        until = time.monotonic() + 30
        while not pathlib.Path(self.path).exists():
            assert time.monotonic() < until, "nothing to wait for"
            time.sleep(0.01)
        return os.getpid()


class Inodes(task.Task):
    def execute(self):
        found = []
        for entry in pathlib.Path("/proc/self/fd").iterdir():
            try:
                found.append(entry.stat().st_ino)
            except OSError:
                continue
        return found


class AtExit(task.Task):
    def __init__(self, name, path):
        super().__init__(name)
        self.path = path

    def execute(self):
        atexit.register(pathlib.Path(self.path).touch)


class Looks(task.Task):
    """Tells how the process looks from inside."""

    def execute(self):
        return {"cwd": str(pathlib.Path.cwd()), "path": sys.path, "argv": sys.argv, "stdin": sys.stdin.read()}


class Large(task.Task):
    def execute(self, given):
        return given[::-1]


class Dies(task.Task):
    def __init__(self, name, how, path=None, **kwargs):
        super().__init__(name, **kwargs)
        self.how = how
        self.path = path

    def execute(self):
        if self.how == "exit":
            os._exit(7)
        if self.how == "closes":
            os.closerange(3, 256)
            time.sleep(30)
        if self.how == "leaves a child":
            if os.fork() == 0:
                time.sleep(6)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), getattr(signal, self.how))
        time.sleep(30)

    def revert(self, result, flow_failures):
        if self.path is not None:
            pathlib.Path(self.path).write_text(str(result))
