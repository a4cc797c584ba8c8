# SPDX-License-Identifier: Apache-2.0
"""Does a persisted flow survive that its process is killed, again and again, while it runs and while it reverts?"""

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
_spec = importlib.util.spec_from_file_location("kill_serial_flow", HERE / "kill_serial_flow.py")
flow = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(flow)

ATOMS = flow.atoms_of(flow.WHOLE)
ORDER = flow.order_of(flow.WHOLE)

# What an atom may be recorded as once it left an effect, and once that effect may no longer be repeated.
STARTED = {
    "execute": {"RUNNING", "SUCCESS", "FAILURE", "REVERTING", "REVERTED"},
    "revert": {"REVERTING", "REVERTED"},
}
DONE = {"execute": STARTED["execute"] - {"RUNNING"}, "revert": {"REVERTED"}}


class Life:
    """One stored flow, the log of its effects, and the processes that run it one after the other."""

    def __init__(self, folder: pathlib.Path, fails: bool, nursery: Any) -> None:
        folder.mkdir()
        self.nursery = nursery
        self.database = folder / "flow.db"
        self.log = folder / "effects"
        self.fails = fails
        self.said = ""
        self.kills = 0
        self.repeats = 0

    def effects(self) -> list[tuple[str, str]]:
        if not self.log.exists():
            return []
        return [tuple(line.split()) for line in self.log.read_text().splitlines()]

    def recorded(self) -> dict[str, str]:
        """The state of every task according to the file, read without the library."""
        if not self.database.exists():
            return {}
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'atomdetails'").fetchall():
                return {}
            rows = connection.execute("select name, state from atomdetails").fetchall()
        assert len(rows) == len({name for name, _ in rows}), "an atom has two records"
        return dict(rows)

    def flow_state(self) -> str:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            ((state,),) = connection.execute("select state from flowdetails where meta like '%factory%'")
        return state

    def results(self) -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return {
                name: json.loads(text) for name, text in connection.execute("select name, results from atomdetails")
            }

    def start(self) -> Any:
        process = self.nursery.start([str(self.database), str(self.log), str(int(self.fails))], self.log.parent)
        assert process.stdout.readline() == "ready\n"
        return process

    def kill(self, process: Any, kind: str, effects: int, delay: float) -> bool:
        """Kills the process so long after it left so many effects of a kind; tells whether it still was there."""
        size = sum(1 for one, _ in self.effects() if one == kind) + effects
        give_up = time.monotonic() + 30
        while effects and sum(1 for one, _ in self.effects() if one == kind) < size and process.poll() is None:
            assert time.monotonic() < give_up, "the flow does not go on"
            time.sleep(0.0005)
        time.sleep(delay)
        process.kill()
        self.said, _ = process.communicate(timeout=30)
        killed = process.returncode == -9
        assert killed or process.returncode == 0, self.said
        self.kills += killed
        return killed

    def look(self, recorded_before: dict[str, str], effects_before: list[tuple[str, str]]) -> None:
        """Compares log and file after a process ended, given how they were before it started."""
        effects = self.effects()
        assert effects[: len(effects_before)] == effects_before
        new = effects[len(effects_before) :]
        recorded = self.recorded()
        for kind in ("execute", "revert"):
            earlier = {name for one, name in effects_before if one == kind}
            now = [name for one, name in new if one == kind]
            assert len(now) == len(set(now)), f"one process did {kind} twice"
            done_before = {name for name, state in recorded_before.items() if state in DONE[kind]}
            assert not done_before & set(now), f"recorded, and {kind} again"
            again = earlier & set(now)
            assert len(again) <= 1, f"one kill, and {kind} of {again} again"
            self.repeats += len(again)
            left = {name for one, name in effects if one == kind}
            assert all(recorded[name] in STARTED[kind] for name in left), f"{kind} before it was recorded as started"
            assert len({name for name in left if recorded[name] not in DONE[kind]}) <= 1
        done = {name for name, state in recorded.items() if state in DONE["execute"]}
        assert done <= {name for one, name in effects if one == "execute"}, "recorded without an effect"

    def look_at_order(self) -> None:
        first: dict[tuple[str, str], int] = {}
        last: dict[tuple[str, str], int] = {}
        for i, effect in enumerate(self.effects()):
            first.setdefault(effect, i)
            last[effect] = i
        for before, after in ORDER:
            if ("execute", after) in first:
                assert last["execute", before] < first["execute", after], f"{after} ran before {before} ended"
            if ("revert", before) in first:
                assert last["revert", after] < first["revert", before], f"{before} reverted before {after} was"


def _chance(rng: random.Random) -> tuple[int, float]:
    """How many effects to wait for, and how long after them to kill (seconds).

    Without effects to wait for, the kill falls into whatever an engine does before its first task.
    """
    effects = rng.choice([0, 1, 1, 1, 2])
    return effects, rng.uniform(0, 0.008 if effects else 0.04)


@pytest.fixture
def nursery(nursery_of):
    return nursery_of("kill_serial_flow", str(HERE), str(pathlib.Path(taskflow.__file__).parent.parent))


def _lives(tmp_path: pathlib.Path, fails: bool, kills: int, rng: random.Random, nursery: Any) -> list[Life]:
    """Flows that were run to their end by processes which were killed so many times altogether."""
    lives: list[Life] = []
    left = kills
    while left > 0:
        life = Life(tmp_path / f"life{len(lives)}", fails, nursery)
        lives.append(life)
        killed = True
        while killed:
            recorded, effects = life.recorded(), life.effects()
            process = life.start()
            if left > 0:
                kind = "revert" if fails and (life.kills > 0 or rng.random() < 0.8) else "execute"
                killed = life.kill(process, kind, *_chance(rng))
                left -= killed
            else:
                life.said, _ = process.communicate(timeout=60)
                assert process.returncode == 0
                killed = False
            life.look(recorded, effects)
    return lives


@pytest.fixture
def rng():
    seed = random.randrange(2**32)
    print(f"seed of the kills: {seed}")
    return random.Random(seed)


def test_a_flow_that_is_killed_thirty_times_does_every_task(tmp_path, rng, nursery):
    lives = _lives(tmp_path, fails=False, kills=30, rng=rng, nursery=nursery)
    assert sum(life.kills for life in lives) == 30
    for life in lives:
        assert life.said == "ended\n"
        counts = collections.Counter(life.effects())
        assert set(counts) == {("execute", name) for name in ATOMS}
        assert sum(counts.values()) - len(counts) == life.repeats <= life.kills
        life.look_at_order()
        assert life.recorded() == dict.fromkeys(ATOMS, "SUCCESS")
        assert life.flow_state() == "SUCCESS"
        assert life.results() == flow.values_of(flow.WHOLE)
    print("kills and repeats:", [(life.kills, life.repeats) for life in lives])


def test_a_flow_that_is_killed_while_it_reverts_undoes_every_task(tmp_path, rng, nursery):
    lives = _lives(tmp_path, fails=True, kills=12, rng=rng, nursery=nursery)
    assert sum(life.kills for life in lives) == 12
    for life in lives:
        assert life.said.startswith("raised ")
        assert "the end is reached" in life.said
        effects = life.effects()
        counts = collections.Counter(effects)
        assert set(counts) == {(kind, name) for kind in ("execute", "revert") for name in ATOMS}
        assert sum(counts.values()) - len(counts) == life.repeats <= life.kills
        turn = next(i for i, (kind, _) in enumerate(effects) if kind == "revert")
        assert {kind for kind, _ in effects[turn:]} == {"revert"}, "an execution after reverting began"
        life.look_at_order()
        assert life.recorded() == dict.fromkeys(ATOMS, "REVERTED")
        assert life.flow_state() == "REVERTED"
    print("kills and repeats:", [(life.kills, life.repeats) for life in lives])
