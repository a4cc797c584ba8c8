# SPDX-License-Identifier: Apache-2.0
"""What is left in a folder when a process dies at each single thing that it does to a file?

Run as ``python -m dir_crash_program <folder> <scenario> <fsync>``. For every n, a process is forked that does the
scenario's work and dies at its n-th change of a file, and another one that goes on from what is there. Prints one JSON
line for each n, the last of them for the n that was never reached.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import traceback
from typing import Any

from taskflow import engines, retry, task
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence import backends, models
from taskflow.persistence.backends import dir_spares

BOOK, FLOW = "0b9a2d54-5f0c-4a6e-8a52-6d3c1d6c9f01", "0b9a2d54-5f0c-4a6e-8a52-6d3c1d6c9f02"
TASKS = ["a", "b", "c"]
CHANGES = ("replace", "symlink", "link", "mkdir", "write", "pwrite", "ftruncate", "rename", "unlink", "rmdir")
# In bytes: so much is written whole or not at all, to a page in memory as to a disk.
SECTOR = 512
real = {name: getattr(os, name) for name in CHANGES}


class Noting(task.Task):
    """Appends what it does to a log, which is not among the files that are counted."""

    def __init__(self, name: str, log: str, fails: bool = False) -> None:
        super().__init__(name, provides=f"value {name}")
        self._log = log
        self._fails = fails

    def note(self, what: str) -> None:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        real["write"](descriptor, f"{what} {self.name}\n".encode())
        os.close(descriptor)

    def execute(self) -> Any:
        self.note("execute")
        if self._fails:
            raise ValueError(f"{self.name} fails")
        return [self.name]

    def revert(self, *args: Any, **kwargs: Any) -> None:
        self.note("revert")


def build(scenario: str, log: str) -> Any:
    tasks = [Noting(name, log, fails=scenario != "run" and name == TASKS[-1]) for name in TASKS]
    if scenario == "nested":
        # Each attempt of the outer one has two of the inner one; what is beside the inner flow is undone with it.
        inner = linear_flow.Flow("inner", retry=retry.Times(2, name="inner times")).add(*tasks[1:])
        beside = unordered_flow.Flow("beside").add(tasks[0], inner)
        return linear_flow.Flow("flow", retry=retry.Times(2, name="times")).add(beside)
    controller = retry.Times(2, name="times") if scenario == "retry" else None
    return linear_flow.Flow("flow", retry=controller).add(*tasks)


def connect(folder: str) -> Any:
    backend = backends.fetch({"connection": "dir", "path": f"{folder}/records", "fsync": sys.argv[3]})
    connection = backend.get_connection()
    connection.upgrade()
    return backend, connection


def work(folder: str, scenario: str) -> None:
    backend, connection = connect(folder)
    books = {book.uuid: book for book in connection.get_logbooks()}
    if scenario == "destroy":
        if BOOK in books:
            connection.destroy_logbook(BOOK)
        return
    book = books.get(BOOK)
    flow_detail = None if book is None else book.find(FLOW)
    if book is None or flow_detail is None:
        book, flow_detail = models.LogBook("book", BOOK), models.FlowDetail("flow", FLOW)
        book.add(flow_detail)
        connection.save_logbook(book)
    if flow_detail.state in {"SUCCESS", "REVERTED"}:
        return
    engine = engines.load(
        build(scenario, f"{folder}/log"), flow_detail=flow_detail, backend=backend, store={"x": 1}, defer_reverts=True
    )
    try:
        engine.run()
    except Exception as e:
        if "fails" not in str(e):
            raise


def die_at(n: int) -> None:
    count = 0

    def counted(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == n:
                if name == "write" or (name == "pwrite" and len(args[1]) > SECTOR):
                    # Half of it got there.
                    real[name](args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os._exit(9)
            return real[name](*args, **kwargs)

        return call

    for name in CHANGES:
        setattr(os, name, counted(name))


def forked(call: Any) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        call()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def records(folder: str) -> dict[str, Any]:
    """What the files say, without the library; a file that is not whole is an error."""
    root = pathlib.Path(folder, "records")
    forms = {file.parent: json.loads(file.read_text(encoding="utf-8")) for file in sorted(root.glob("*/*/metadata"))}
    # What no book leads to was being added or removed when the process died; nobody will ever meet it.
    todo = [place for place in forms if place.parent.name == "books"]
    found: dict[str, Any] = {}
    while todo:
        place = todo.pop()
        form = forms[place]
        form = form.get("atom", form)
        assert form["name"] not in found
        found[form["name"]] = [form.get("state"), form.get("results")]
        todo += [path.readlink() for path in place.iterdir() if path.is_symlink()]
    return found


def log_of(folder: str) -> list[str]:
    log = pathlib.Path(folder, "log")
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def crash(folder: str, scenario: str, n: int) -> dict[str, Any]:
    """Lets a process die at its n-th change of a file, and another one go on."""
    real["mkdir"](folder)
    if scenario == "destroy":
        forked(lambda: work(folder, "run"))

    def dying() -> None:
        die_at(n)
        work(folder, scenario)

    line: dict[str, Any] = {"n": n, "code": forked(dying), "left": records(folder), "log": log_of(folder)}
    line["went on"] = forked(lambda: work(folder, scenario))
    line["records"], line["whole log"] = records(folder), log_of(folder)
    root = pathlib.Path(folder, "records")
    line["folders"] = sorted(str(path.relative_to(folder)) for path in root.rglob("*") if path.is_dir())
    return line


def main() -> None:
    top, scenario, _ = sys.argv[1:]
    # So that even in a small flow files are used again.
    dir_spares.TOGETHER = 2
    # Everything is imported before the first fork.
    real["mkdir"](f"{top}/warm")
    work(f"{top}/warm", scenario)
    n, code = 0, 9
    while code == 9:
        n += 1
        line = crash(f"{top}/{n}", scenario, n)
        code = line["code"]
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
