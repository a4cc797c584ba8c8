# SPDX-License-Identifier: Apache-2.0
"""What would it cost to keep as many changes of that size with nothing but the driver of a store?"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pathlib
import sqlite3
import time
from typing import Any

# What a task's record has besides its state and result.
ROW = '{"progress": 1.0}'


def run_bare(conf: dict[str, Any], size: int, commits: int, changes: int, synchronous: str = "") -> float:
    """Change records of the size that a task's has.

    Args:
        conf: The options of a backend: where it would keep them. A database has the tables already.
        size: How many records there are.
        commits: In how many commits.
        changes: How often each record is changed.
        synchronous: SQLite's setting.

    Returns:
        Seconds.
    """
    kind = conf["connection"]
    run = {"dir": _in_folder, "zookeeper": _in_zookeeper}.get(kind)
    return _in_database(kind, size, commits, changes, synchronous) if run is None else run(conf, size, commits, changes)


def _parts(steps: list[Any], commits: int) -> list[list[Any]]:
    bounds = [len(steps) * i // commits for i in range(commits + 1)]
    return [steps[begin:end] for begin, end in itertools.pairwise(bounds)]


def _handle(url: str, synchronous: str) -> tuple[Any, str]:
    """A connection of the driver itself, and its mark for a parameter."""
    import sqlalchemy as sa

    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        handle = sqlite3.connect(str(address.database))
        handle.execute("PRAGMA journal_mode=WAL")
        handle.execute(f"PRAGMA synchronous={synchronous or 'FULL'}")
        return handle, "?"
    arguments = sa.create_engine(url).dialect.create_connect_args(address)[1]
    driver = importlib.import_module(address.get_driver_name())
    return driver.connect(**arguments), "%s"


def _in_database(url: str, size: int, commits: int, changes: int, synchronous: str) -> float:
    handle, mark = _handle(url, synchronous)
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
        began = time.perf_counter()
        for part in _parts(steps, commits):
            if commits < size:
                # As many at once as the driver offers.
                for statement in {statement for statement, _ in part}:
                    cursor.executemany(statement, [values for one, values in part if one == statement])
            else:
                for statement, values in part:
                    cursor.execute(statement, values)
            handle.commit()
        return time.perf_counter() - began


def _record(i: int) -> bytes:
    """What the record of a task looks like in a folder or in ZooKeeper."""
    return (
        b'{"atom": {"failure": null, "intention": "EXECUTE", "meta": {"progress": 1.0}, "name": "t%d", "results": %d,'
        b' "revert_failure": null, "revert_results": null, "state": "SUCCESS", "uuid":'
        b' "00000000-0000-4000-8000-%012d", "version": [1, 0]}, "type": "TASK_DETAIL"}' % (i, i, i)
    )


def _in_folder(conf: dict[str, Any], size: int, commits: int, changes: int) -> float:
    """Each change is a file that is written and moved over the old one; a commit waits for the disk once, for a log."""
    folder = pathlib.Path(conf["path"])
    folder.mkdir(parents=True)
    for i in range(size):
        (folder / f"{i}").write_bytes(b"")
    steps = [i for i in range(size) for _ in range(changes)]
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        began = time.perf_counter()
        for part in _parts(steps, commits):
            os.write(log, b"".join(map(_record, part)))
            os.fdatasync(log)
            for i in part:
                new = folder / "new"
                new.write_bytes(_record(i))
                new.replace(folder / f"{i}")
        return time.perf_counter() - began
    finally:
        os.close(log)


def _in_zookeeper(conf: dict[str, Any], size: int, commits: int, changes: int) -> float:
    from kazoo import client as clients

    client = clients.KazooClient(hosts=conf["hosts"])
    client.start()
    try:
        root = f"{conf['path']}/bare-{commits}-{changes}"
        client.ensure_path(root)
        for i in range(size):
            client.create(f"{root}/{i}", b"")
        steps = [i for i in range(size) for _ in range(changes)]
        began = time.perf_counter()
        for part in _parts(steps, commits):
            transaction = client.transaction()
            for i in part:
                transaction.set_data(f"{root}/{i}", _record(i))
            transaction.commit()
        return time.perf_counter() - began
    finally:
        client.stop()
        client.close()
