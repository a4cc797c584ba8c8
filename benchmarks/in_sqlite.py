# SPDX-License-Identifier: Apache-2.0
"""What do flows cost that are kept in an SQLite file, and what would the bare driver take for the same commits?"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import sqlite3
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks import flows, in_memory, wal
from taskflow.persistence import backends, models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks import timing


@contextlib.contextmanager
def _database(folder: str, synchronous: str) -> Iterator[tuple[pathlib.Path, Any]]:
    """A new file with the tables in it, and a backend for it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="sqlite-") as place:
        path = pathlib.Path(place) / "flows.db"
        configuration = {"connection": f"sqlite:///{path}"}
        if synchronous:
            configuration["sqlite_synchronous"] = synchronous
        with backends.backend(configuration) as backend:
            yield path, backend


def _load(built: Any, backend: Any, pool: str = "") -> Any:
    options = in_memory.options_of(pool, workers=4)
    return in_memory.load(built, backend=backend, book=models.LogBook("benchmark"), **options)


def flow(result: timing.Result, shape: str, size: int, folder: str, synchronous: str = "", pool: str = "") -> None:
    """Load a flow, then run it; without ``synchronous`` as the library comes."""
    built = flows.SHAPES[shape](size)
    with _database(folder, synchronous) as (_, backend):
        with result.part("load"):
            engine = _load(built, backend, pool)
        with result.part("run"):
            in_memory.finish(engine, in_memory.ending(shape))


def counted(result: timing.Result, shape: str, size: int, folder: str, synchronous: str = "", pool: str = "") -> None:
    """Count transactions and bytes written; the file is brought into WAL mode, which stays, before the library comes.

    A reader that holds on to the first state keeps SQLite from starting the log anew, so that the log has everything.
    """
    built = flows.SHAPES[shape](size)
    with _database(folder, synchronous) as (path, backend):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("PRAGMA journal_mode=WAL")
            reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM atomdetails").fetchall()
            engine = _load(built, backend, pool)
            loaded = wal.read(path)
            in_memory.finish(engine, in_memory.ending(shape))
            ran = wal.read(path)
            reader.execute("COMMIT")
            reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        result.facts.update(
            load_commits=loaded.commits,
            load_bytes=loaded.size,
            run_commits=ran.commits - loaded.commits,
            run_bytes=ran.size - loaded.size,
            file_bytes=path.stat().st_size,
        )


_FIRST = "UPDATE atomdetails SET state = 'RUNNING', meta = ?, updated_at = ? WHERE uuid = ?"
_SECOND = "UPDATE atomdetails SET state = 'SUCCESS', results = 'null', meta = ?, updated_at = ? WHERE uuid = ?"


def floor(result: timing.Result, shape: str, size: int, folder: str, commits: int, synchronous: str) -> None:
    """The bare driver: the rows that such a flow leaves, each changed twice, in a number of commits."""
    with _database(folder, synchronous) as (path, backend):
        in_memory.finish(_load(flows.SHAPES[shape](size), backend), in_memory.ending(shape))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={synchronous}")
            rows = [row[0] for row in connection.execute("SELECT uuid FROM atomdetails ORDER BY rowid")]
            connection.execute("UPDATE atomdetails SET state = 'PENDING', results = NULL, meta = '{}'")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # As in a line: the second change of a row goes together with the first of the next.
            changes = [change for uuid in rows for change in ((_FIRST, "0.0", uuid), (_SECOND, "1.0", uuid))]
            total = len(changes)
            bounds = [total * i // commits for i in range(commits + 1)]
            with result.part("run"):
                for begin, end in itertools.pairwise(bounds):
                    connection.execute("BEGIN IMMEDIATE")
                    for n in range(begin, end):
                        statement, progress, uuid = changes[n]
                        values = (f'{{"progress": {progress}}}', f"2025-01-01 00:00:00.{n:06}", uuid)
                        connection.execute(statement, values)
                    connection.execute("COMMIT")
