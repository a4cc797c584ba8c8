# SPDX-License-Identifier: Apache-2.0
"""Does a flow in a database or a folder survive SIGKILLs with every kind of engine, running, retrying and reverting?"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import json
import pathlib
import random
import sqlite3
import time
from typing import Any

import pytest

import taskflow

HERE = pathlib.Path(__file__).parent
_spec = importlib.util.spec_from_file_location("kill_sql_program", HERE / "kill_sql_program.py")
program = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(program)


class File:
    """An SQLite file as a database."""

    results = "results"

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "flow.db"
        self.url = f"sqlite:///{self.path}"

    def query(self, statement: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()


class Folder:
    """A folder of records, read without the library."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "records"
        self.url = f"dir://{self.path}"

    def atoms(self) -> list[Any]:
        return [(a["name"], a["state"], a["results"]) for a in (form["atom"] for form in self.forms("atom_details"))]

    def flows(self) -> list[Any]:
        return [(form["state"], json.dumps(form["meta"])) for form in self.forms("flow_details")]

    def forms(self, folder: str) -> list[Any]:
        # What was killed while it was being made is there without metadata, or nothing leads to it yet; nothing else
        # may be incomplete.
        above = self.path / {"atom_details": "flow_details", "flow_details": "books"}[folder]
        links = {link.name for link in above.glob("*/*") if link.is_symlink()}
        files = (self.path / folder).glob("*/metadata")
        return [json.loads(file.read_text()) for file in files if file.parent.name in links]


class InServer:
    """A database in a server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.name = server.make_database()
        self.url = server.url(self.name)
        self.results = "results::text" if server.name == "postgresql" else "results"

    def query(self, statement: str) -> list[Any]:
        return self.server.query(statement, database=self.name)


class Life:
    """One stored flow, the log of its effects, and the processes that run it one after the other."""

    def __init__(self, folder: pathlib.Path, database: Any, kind: str, fails: bool, nursery: Any) -> None:
        self.database = database
        self.nursery = nursery
        self.log = folder / "effects"
        self.log.touch()
        self.kind = kind
        self.fails = fails
        self.kills = 0
        self.repeats = 0
        self.said = ""

    def effects(self) -> list[tuple[str, ...]]:
        # A process of a pool may be about to write its last line.
        return [tuple(line.split()) for line in self.log.read_text().splitlines()]

    def recorded(self) -> dict[str, tuple[str, Any]]:
        """State and results of every atom according to the database, read without the library."""
        rows = self.read(self.atoms)
        assert len(rows) == len({name for name, _, _ in rows}), "an atom has two records"
        return {name: (state, self.decoded(results)) for name, state, results in rows}

    @staticmethod
    def read(rows: Any) -> list[Any]:
        try:
            return rows()
        except Exception as e:
            if "atomdetails" in str(e) or "flowdetails" in str(e):  # killed before there were tables
                return []
            raise

    def atoms(self) -> list[Any]:
        if isinstance(self.database, Folder):
            return self.database.atoms()
        return self.database.query(f"select name, state, {self.database.results} from atomdetails")

    def flows(self) -> list[Any]:
        if isinstance(self.database, Folder):
            return self.database.flows()
        return self.database.query("select state, meta from flowdetails")

    @staticmethod
    def decoded(value: Any) -> Any:
        # Databases without a type for it hold JSON as text; a folder's records were decoded with all the rest.
        return json.loads(value) if isinstance(value, str) and value.startswith(('"', "[", "{", "null")) else value

    def flow_state(self) -> str:
        """The state of the flow; empty if it was killed before there was one."""
        rows = self.read(self.flows)
        states = [state for state, meta in rows if "factory" in str(meta)]
        assert len(states) <= 1
        return states[0] if states else ""

    def start(self) -> Any:
        return self.nursery.start([self.database.url, str(self.log), str(int(self.fails)), self.kind], self.log.parent)

    def kill(self, process: Any, effects: int, delay: float) -> bool:
        """Kills the process so long after it left so many effects; tells whether it still was there."""
        assert process.stdout.readline() == "ready\n"
        size = len(self.effects()) + effects
        give_up = time.monotonic() + 60
        while len(self.effects()) < size and process.poll() is None:
            assert time.monotonic() < give_up, "the flow does not go on"
            time.sleep(0.0005)
        time.sleep(delay)
        process.kill()
        return self.end(process)

    def end(self, process: Any) -> bool:
        # Processes of a pool hold the pipe until they notice that their parent is gone; then all effects are there.
        self.said, _ = process.communicate(timeout=60)
        self.said = self.said.removeprefix("ready\n")
        assert process.returncode in {0, -9}, self.said
        self.kills += process.returncode == -9
        return process.returncode == -9

    def look(self, before: dict[str, tuple[str, Any]], effects_before: list[tuple[str, ...]]) -> None:
        """Compares log and database after a process ended, given how they were before it started."""
        effects = self.effects()
        assert effects[: len(effects_before)] == effects_before
        new = effects[len(effects_before) :]
        recorded = self.recorded()
        assert len(new) == len(set(new)), "one process did the same twice"
        again = set(new) & set(effects_before)
        self.repeats += len(again)
        # Only what was not recorded as done may be done again, and that is what was running.
        done = {
            "execute": {"SUCCESS", "FAILURE", "REVERTING", "REVERTED"},
            "revert": {"REVERTED"},
        }
        for kind, name, _ in again:
            assert before[name][0] not in done[kind], f"{name} was {before[name][0]}, and {kind} again"
        running = {name for name, (state, _) in before.items() if state in {"RUNNING", "REVERTING"}}
        assert {name for _, name, _ in again} <= running
        # Threads and processes go on while it is being recorded what ended: more of them may have to be done again
        # than there are workers, but nothing that was not recorded as running.
        if self.kind == "serial":
            assert len(again) <= 1
        for kind, name, _ in new:
            if name in program.ONCE and kind == "execute":
                assert before.get(name, ("PENDING", None))[0] not in done["execute"], f"{name} was recorded, and ran"
        for name, (state, results) in before.items():
            if state == "SUCCESS" and name in program.ONCE:
                assert recorded[name][1] == results, "a recorded result was lost"
                assert results == f"result of {name}"
        left = collections.Counter(name for kind, name, _ in effects if kind == "execute")
        for name, (state, _) in recorded.items():
            if name in program.ALL and state in {"SUCCESS", "FAILURE", "REVERTED", "REVERT_FAILURE"}:
                assert left[name], f"{name} is recorded as {state} and did nothing"
        for name in left:
            assert recorded[name][0] is not None, "an effect of what is not recorded as started"


def live(life: Life, kills: int, rng: random.Random) -> None:
    """Runs the flow to its end by processes of which so many are killed."""
    while True:
        before, effects = life.recorded(), life.effects()
        process = life.start()
        if life.kills < kills:
            # Without an effect to wait for, the kill falls into whatever an engine does before its first task.
            wanted = rng.choice([0, 1, 2, 4, 6])
            killed = life.kill(process, wanted, rng.uniform(0, 0.008 if wanted else 0.05))
        else:
            killed = life.end(process)
        life.look(before, effects)
        if not killed:
            return
        if life.flow_state() in {"SUCCESS", "REVERTED"}:
            # Killed with nothing left to do but to say so. Another run would begin anew.
            life.said = ""
            return


@pytest.fixture
def rng():
    seed = random.randrange(2**32)
    print(f"seed of the kills: {seed}")
    return random.Random(seed)


@pytest.fixture(params=["sqlite", "folder", "postgresql", "mariadb"])
def place(request, tmp_path):
    if request.param == "folder":
        return Folder(tmp_path)
    return File(tmp_path) if request.param == "sqlite" else InServer(request.getfixturevalue(request.param))


@pytest.mark.parametrize("kind", ["serial", "threads", "processes"])
@pytest.mark.parametrize("fails", [False, True])
def test_killed_flow_loses_and_repeats_nothing(tmp_path, nursery_of, place, kind, fails, rng):
    kill_and_compare(tmp_path, nursery_of, place, kind, fails, rng)


def kill_and_compare(tmp_path, nursery_of, place, kind, fails, rng):
    """Kills processes that run a flow one after the other, and compares what they did and recorded in the end."""
    nursery = nursery_of("kill_sql_program", str(HERE), str(pathlib.Path(taskflow.__file__).parent.parent))
    life = Life(tmp_path, place, kind, fails, nursery)
    live(life, 4 if kind == "processes" else 8, rng)
    effects = collections.Counter(life.effects())
    assert sum(effects.values()) - len(effects) == life.repeats
    if kind == "serial":
        assert life.repeats <= life.kills
    wanted = {("execute", name, "0") for name in program.ONCE}
    attempts = [str(n + 1) for n in range(program.TRIES)]
    wanted |= {("execute", name, n) for name in program.RETRIED for n in attempts}
    # Each failed attempt was undone, with the attempt's own values.
    wanted |= {("revert", name, n) for name in program.RETRIED for n in (attempts if fails else attempts[:-1])}
    if fails:
        wanted |= {("revert", name, "0") for name in program.ONCE}
    assert set(effects) == wanted
    recorded = life.recorded()
    assert {recorded[name][0] for name in program.ALL} == ({"REVERTED"} if fails else {"SUCCESS"})
    assert life.flow_state() == ("REVERTED" if fails else "SUCCESS")
    if life.said:
        assert life.said.startswith("raised") if fails else life.said == "ended\n", life.said
    if not fails:
        assert all(recorded[name][1] == f"result of {name}" for name in program.ALL)
        # The history of the retry: each attempt with what failed in it.
        history = recorded["retry"][1]
        assert [(number, sorted(failures)) for number, failures in history] == [(1, ["r2"]), (2, ["r2"]), (3, [])]
    print("kills and repeats:", life.kills, life.repeats)
