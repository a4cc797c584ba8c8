# SPDX-License-Identifier: Apache-2.0
"""What do flows cost in databases, folders and ZooKeeper, beside the published library and the bare drivers?

``python -m benchmarks.in_databases`` starts private servers (``make test`` installs them) and runs flows of 200 tasks
in each store, in turn by this library, by the published one, and by the bare driver. All commits wait for the disk,
except on the lines that say NORMAL. Every figure is the least of some rounds.

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
FIGURES = TOP / "docs" / "figures" / "stores.rst"
DRIVERS = ("psycopg2-binary", "psycopg[binary]", "pymysql", "kazoo")

# Tasks that do not depend on each other end together: with four threads some fifty in a commit.
BATCH = 50
SHAPES = {"linear": "a line", "unordered": "independent, 4 threads"}
# What the bare driver does meanwhile: changing each record once, or twice.
FLOORS = {
    "linear": ("a row a commit", "two changes a commit"),
    "unordered": ("a row of 50", "two changes of 50"),
}


def work(n: int) -> int:
    """What a task does: nothing to speak of."""
    return n


# -- in the process that measures: a flow


def _backend(conf: dict[str, Any], synchronous: str) -> Any:
    from taskflow.persistence import backends

    backend = backends.fetch(conf)
    if synchronous:
        import sqlalchemy as sa

        def prepare(handle: Any, _record: Any) -> None:
            # For both libraries in the same way.
            handle.execute("PRAGMA journal_mode=WAL").fetchone()
            handle.execute(f"PRAGMA synchronous={synchronous}")

        sa.event.listen(backend.engine, "connect", prepare)
    return backend


def run_flow(conf: dict[str, Any], shape: str, size: int, synchronous: str = "") -> float:
    """Run a flow, after a small one that warms up.

    Returns:
        Seconds that the run took, without loading.
    """
    from taskflow import engines, task
    from taskflow.patterns import linear_flow, unordered_flow
    from taskflow.persistence import models

    if size > 3:
        run_flow(conf, shape, 3, synchronous)
    backend = _backend(conf, synchronous)
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


# -- in the process that compares


def _measured(python: str, ours: bool, *arguments: Any) -> float:
    command = [python, "-P", __file__, "--measure", json.dumps(arguments)]
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
    """Per name: what makes the options of a backend on an empty store, and SQLite's setting."""
    base = _servers("base")
    numbers = itertools.count()

    def file() -> dict[str, Any]:
        return {"connection": f"sqlite:///{folder}/flow{next(numbers)}.db"}

    with (
        base.running(_servers("postgresql").PostgreSQL) as postgresql,
        base.running(_servers("mariadb").MariaDB) as mariadb,
        base.running(_servers("zookeeper").ZooKeeper) as zookeeper,
    ):
        yield {
            "SQLite FULL": (file, "FULL"),
            "SQLite NORMAL": (file, "NORMAL"),
            "PostgreSQL psycopg2": (lambda: {"connection": postgresql.fresh("psycopg2")}, ""),
            "PostgreSQL psycopg": (lambda: {"connection": postgresql.fresh("psycopg")}, ""),
            "MariaDB PyMySQL": (lambda: {"connection": mariadb.fresh()}, ""),
            "folder": (lambda: {"connection": "dir", "path": f"{folder}/records{next(numbers)}"}, ""),
            "ZooKeeper": (
                lambda: {
                    "connection": "zookeeper",
                    "hosts": zookeeper.hosts,
                    "path": zookeeper.fresh(),
                    # The question for the version needs a command that servers refuse by default.
                    "check_compatible": False,
                },
                "",
            ),
        }


def _beside(conf: dict[str, Any], number: int) -> dict[str, Any]:
    """The options for a store beside one that a flow was run in, with the same tables if it has any."""
    return {**conf, "path": f"{conf['path']}-bare-{number}"} if "path" in conf else conf


def compare(reference: str, size: int, rounds: int, folder: str) -> dict[str, dict[str, float]]:
    """Measure everything in turn, and keep the least of each in microseconds a task."""
    from benchmarks import bare_stores

    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place, _places(place) as places:
        for turn, (name, (make, setting)) in itertools.product(range(rounds), places.items()):
            row = found.setdefault(name, {})
            for shape in ("linear", "unordered"):
                conf = make()
                took = {f"{shape} ours": _measured(sys.executable, True, conf, shape, size, setting)}
                for changes, floor in enumerate(FLOORS[shape], 1):
                    commits = size if shape == "linear" else size // BATCH * changes
                    took[floor] = bare_stores.run_bare(_beside(conf, changes), size, commits, changes, setting)
                if reference:
                    took[f"{shape} published"] = _measured(reference, False, make(), shape, size, setting)
                for what, seconds in took.items():
                    row[what] = min(row.get(what, float("inf")), seconds / size * 1e6)
            shown = {what: round(value) for what, value in row.items()}
            print(f"{turn + 1}/{rounds} {name}: {shown}", flush=True)
    return found


def show(found: dict[str, dict[str, float]]) -> None:
    """Print the figures: microseconds a task, and how they compare."""
    for shape, floors in FLOORS.items():
        print(f"\n{shape}, microseconds a task")
        print(
            f"{'':22}{'ours':>8}{'published':>12}{'times':>7}", *(f"{floor:>22}{'ours/bare':>10}" for floor in floors)
        )
        for name, row in found.items():
            ours, published = row[f"{shape} ours"], row.get(f"{shape} published", float("nan"))
            bare = "".join(f"{row[floor]:23.0f}{ours / row[floor]:10.2f}" for floor in floors)
            print(f"{name:22}{ours:8.0f}{published:12.0f}{published / ours:7.1f}{bare}")


def _table(found: dict[str, dict[str, float]], size: int) -> Iterator[str]:
    """The figures for the documentation."""
    yield f".. list-table:: Microseconds for a task, of {size}"
    yield "   :header-rows: 1"
    yield ""
    rows = [("store", "flow", "TaskFlow 6.5", "this library", "times faster", "bare driver", "times the bare driver")]
    for name, row in found.items():
        for shape, (floor, _) in FLOORS.items():
            ours, published, bare = row[f"{shape} ours"], row.get(f"{shape} published"), row[floor]
            rows.append(
                (
                    name,
                    SHAPES[shape],
                    f"{published:,.0f}" if published else "",
                    f"{ours:,.0f}",
                    f"{published / ours:.0f}" if published else "",
                    f"{bare:,.0f}",
                    f"{ours / bare:.1f}",
                )
            )
    for cells in rows:
        for number, cell in enumerate(cells):
            yield f"   {'*' if number == 0 else ' '} -{' ' if cell else ''}{cell}"


def _reference() -> str:
    from benchmarks import reference

    python, why = reference.prepare(name="stores", drivers=DRIVERS)
    if python is None:
        print(f"Without the published library: {why}")
    return str(python or "")


def main() -> None:
    """Compare, or measure one thing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.in_databases", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--reference",
        default="",
        metavar="PYTHON",
        help="an interpreter that has the published library and the drivers",
    )
    parser.add_argument("--size", type=int, default=200, help="tasks of a flow")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is gone through")
    parser.add_argument("--folder", default=None, help="where SQLite's files are; on a disk, not in memory")
    parser.add_argument("--write", action="store_true", help="put the figures into the documentation")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.measure:
        print(run_flow(*json.loads(said.measure)))
        return
    found = compare(said.reference or _reference(), said.size, said.rounds, said.folder)
    show(found)
    if said.write:
        FIGURES.write_text("\n".join(_table(found, said.size)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
