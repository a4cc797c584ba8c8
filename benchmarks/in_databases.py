# SPDX-License-Identifier: Apache-2.0
"""What do flows cost in PostgreSQL, MariaDB and SQLite, beside the published library and the bare drivers?

``python -m benchmarks.in_databases`` starts private servers (Debian: ``apt-get install postgresql mariadb-server``) and
runs flows of 200 tasks in each database, in turn by this library, by the published one (``--reference PYTHON``), and by
the bare driver. All commits wait for the disk, except on the lines that say NORMAL. Every figure is the least of some
rounds.

The same file, run by its path with another interpreter, is the process that measures whichever library that one has.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = pathlib.Path(__file__).resolve().parent.parent
BATCH = 50
ROW = '{"progress": 1.0}'


def work(n: int) -> int:
    """What a task does: nothing to speak of."""
    return n


# -- in the process that measures: a flow


def _backend(url: str, synchronous: str) -> Any:
    import sqlalchemy as sa

    from taskflow.persistence import backends

    backend = backends.fetch({"connection": url})
    if synchronous:

        def prepare(handle: Any, _record: Any) -> None:
            # For both libraries in the same way.
            handle.execute("PRAGMA journal_mode=WAL").fetchone()
            handle.execute(f"PRAGMA synchronous={synchronous}")

        sa.event.listen(backend.engine, "connect", prepare)
    return backend


def run_flow(url: str, shape: str, size: int, synchronous: str = "") -> float:
    """Run a flow in a database, after a small one that warms up.

    Returns:
        Seconds that the run took, without loading.
    """
    from taskflow import engines, task
    from taskflow.patterns import linear_flow, unordered_flow
    from taskflow.persistence import models

    if size > 3:
        run_flow(url, shape, 3, synchronous)
    backend = _backend(url, synchronous)
    with contextlib.closing(backend), contextlib.closing(backend.get_connection()) as connection:
        connection.upgrade()
        flow = {"linear": linear_flow, "unordered": unordered_flow}[shape].Flow("f")
        for i in range(size):
            flow.add(task.FunctorTask(work, name=f"t{i}", inject={"n": i}, provides=f"p{i}"))
        kind = {"engine": "serial"}
        if shape == "unordered":
            kind = {"engine": "parallel", "executor": "threads", "max_workers": 4}
        book = models.LogBook("b")
        connection.save_logbook(book)
        engine = engines.load(flow, backend=backend, book=book, **kind)
        engine.compile()
        engine.prepare()
        began = time.perf_counter()
        engine.run()
        took = time.perf_counter() - began
        done = {detail.state for fd in connection.get_logbook(book.uuid) for detail in fd if detail.name != "_T"}
        assert "PENDING" not in done, done
        return took


# -- the bare drivers


def _bare(url: str, synchronous: str) -> tuple[Any, str]:
    """A connection of the driver itself, and its mark for a parameter."""
    import sqlalchemy as sa

    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        import sqlite3

        handle = sqlite3.connect(str(address.database))
        handle.execute("PRAGMA journal_mode=WAL")
        handle.execute(f"PRAGMA synchronous={synchronous or 'FULL'}")
        return handle, "?"
    arguments = sa.create_engine(url).dialect.create_connect_args(address)[1]
    driver = importlib.import_module(address.get_driver_name())
    return driver.connect(**arguments), "%s"


def run_bare(url: str, size: int, commits: int, changes: int, synchronous: str = "") -> float:
    """Change rows of the size that a task's record has.

    Args:
        url: The database; it has the tables.
        size: How many rows there are.
        commits: In how many commits.
        changes: How often each row is changed.
        synchronous: SQLite's setting.

    Returns:
        Seconds.
    """
    handle, mark = _bare(url, synchronous)
    with contextlib.closing(handle):
        cursor = handle.cursor()
        first = f"UPDATE atomdetails SET state = 'RUNNING', meta = {mark} WHERE uuid = {mark}"
        second = f"UPDATE atomdetails SET state = 'SUCCESS', results = {mark}, meta = {mark} WHERE uuid = {mark}"
        insert = f"INSERT INTO atomdetails (uuid, name, state, meta) VALUES ({', '.join([mark] * 4)})"
        uuids = [f"{commits:08}-{changes:04}-4000-8000-{i:012}" for i in range(size)]
        cursor.executemany(insert, [(uuid, f"t{i}", "PENDING", "{}") for i, uuid in enumerate(uuids)])
        handle.commit()
        steps: list[tuple[str, tuple[str, ...]]] = []
        for i, uuid in enumerate(uuids):
            if changes > 1:
                steps.append((first, (ROW, uuid)))
            steps.append((second, (str(i), ROW, uuid)))
        bounds = [len(steps) * i // commits for i in range(commits + 1)]
        began = time.perf_counter()
        for begin, end in itertools.pairwise(bounds):
            part = steps[begin:end]
            if commits < size:
                # As many at once as the driver offers.
                for statement in {statement for statement, _ in part}:
                    cursor.executemany(statement, [values for one, values in part if one == statement])
            else:
                for statement, values in part:
                    cursor.execute(statement, values)
            handle.commit()
        return time.perf_counter() - began


# -- in the process that compares


def _measured(python: str, ours: bool, function: str, *arguments: Any) -> float:
    command = [python, "-P", __file__, "--measure", json.dumps([function, arguments])]
    environment = {"PYTHONPATH": str(TOP)} if ours else {}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.splitlines()[-1])


def _servers(name: str) -> Any:
    full = f"servers_{name}"
    spec = importlib.util.spec_from_file_location(full, TOP / "tests" / "servers" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[full] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _places(folder: str) -> Iterator[dict[str, tuple[Any, str]]]:
    """Per name: what makes the address of an empty database, and SQLite's setting."""
    base = _servers("base")
    numbers = itertools.count()

    def file() -> str:
        return f"sqlite:///{folder}/flow{next(numbers)}.db"

    with (
        base.running(_servers("postgresql").PostgreSQL) as postgresql,
        base.running(_servers("mariadb").MariaDB) as mariadb,
    ):
        yield {
            "SQLite FULL": (file, "FULL"),
            "SQLite NORMAL": (file, "NORMAL"),
            "PostgreSQL psycopg2": (lambda: postgresql.fresh("psycopg2"), ""),
            "PostgreSQL psycopg": (lambda: postgresql.fresh("psycopg"), ""),
            "MariaDB PyMySQL": (mariadb.fresh, ""),
        }


def compare(reference: str, size: int, rounds: int, folder: str) -> dict[str, dict[str, float]]:
    """Measure everything in turn, and keep the least of each in microseconds a task."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place, _places(place) as places:
        for _, (name, (make, setting)) in itertools.product(range(rounds), places.items()):
            row = found.setdefault(name, {})
            for shape in ("linear", "unordered"):
                url = make()
                took = {f"{shape} ours": _measured(sys.executable, True, "run_flow", url, shape, size, setting)}
                if shape == "linear":
                    took["a row a commit"] = run_bare(url, size, size, 1, setting)
                    took["two changes a commit"] = run_bare(url, size, size, 2, setting)
                else:
                    took["a row of 50"] = run_bare(url, size, size // BATCH, 1, setting)
                    took["two changes of 50"] = run_bare(url, size, size // BATCH * 2, 2, setting)
                if reference:
                    took[f"{shape} published"] = _measured(reference, False, "run_flow", make(), shape, size, setting)
                for what, seconds in took.items():
                    row[what] = min(row.get(what, float("inf")), seconds / size * 1e6)
            print(f"{name}: { ({what: round(value) for what, value in row.items()}) }", flush=True)
    return found


def show(found: dict[str, dict[str, float]]) -> None:
    """Print the figures: microseconds a task, and how they compare."""
    for shape, floors in (
        ("linear", ("a row a commit", "two changes a commit")),
        ("unordered", ("a row of 50", "two changes of 50")),
    ):
        print(f"\n{shape}, microseconds a task")
        print(
            f"{'':22}{'ours':>8}{'published':>12}{'times':>7}", *(f"{floor:>22}{'ours/bare':>10}" for floor in floors)
        )
        for name, row in found.items():
            ours, published = row[f"{shape} ours"], row.get(f"{shape} published", float("nan"))
            bare = "".join(f"{row[floor]:23.0f}{ours / row[floor]:10.2f}" for floor in floors)
            print(f"{name:22}{ours:8.0f}{published:12.0f}{published / ours:7.1f}{bare}")


def main() -> None:
    """Compare, or measure one thing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.in_databases", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--reference", default="", metavar="PYTHON", help="an interpreter that has the published library"
    )
    parser.add_argument("--size", type=int, default=200, help="tasks of a flow")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is gone through")
    parser.add_argument("--folder", default=None, help="where SQLite's files are; on a disk, not in memory")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.measure:
        function, arguments = json.loads(said.measure)
        print({"run_flow": run_flow, "run_bare": run_bare}[function](*arguments))
        return
    show(compare(said.reference, said.size, said.rounds, said.folder))


if __name__ == "__main__":
    main()
