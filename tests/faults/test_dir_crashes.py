# SPDX-License-Identifier: Apache-2.0
"""Is a folder of records good for going on, whichever change of a file was the last of a process?"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).parent
TASKS = ["a", "b", "c"]


@pytest.fixture
def folder():
    # In memory where that is possible: some ten thousand files are made, and nobody cuts the power.
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield folder


def crashes(folder, scenario, fsync="yes"):
    """Every crash that is possible: what it left, and what came of going on."""
    program = [sys.executable, "-m", "dir_crash_program", folder, scenario, fsync]
    done = subprocess.run(program, cwd=HERE, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["code"] for line in lines] == [9] * (len(lines) - 1) + [0]
    assert {line["went on"] for line in lines} == {0}
    return lines


@pytest.mark.parametrize(
    ("scenario", "fsync"), [("run", "yes"), ("revert", "yes"), ("retry", "yes"), ("nested", "yes"), ("run", "no")]
)
def test_a_flow_is_gone_on_with_after_every_crash(folder, scenario, fsync):
    lines = crashes(folder, scenario, fsync)
    assert len(lines) > 40
    undisturbed = collections.Counter(lines[-1]["log"])
    kinds = {"execute": {"SUCCESS"}, "revert": {"REVERTED"}}
    for line in lines:
        repeated = collections.Counter(line["whole log"]) - undisturbed
        assert not undisturbed - collections.Counter(line["whole log"]), line
        # At most the one thing that was going on is done a second time, and never what was recorded.
        assert sum(repeated.values()) <= 1, line
        for what in repeated:
            kind, name = what.split()
            assert line["left"][name][0] not in kinds[kind], line
        assert line["records"]["flow"][0] == ("SUCCESS" if scenario == "run" else "REVERTED"), line
        for name in TASKS:
            expected = "SUCCESS" if scenario == "run" else "REVERTED"
            assert line["records"][name][0] == expected, line
            if line["left"].get(name, [None])[0] == "SUCCESS":
                assert line["left"][name][1] == [name], line
        # What a task needs is recorded before that it runs.
        states = [line["left"].get(name, [None])[0] for name in TASKS]
        if scenario == "run" and "RUNNING" in states:
            assert set(states[: states.index("RUNNING")]) <= {"SUCCESS"}, line


@pytest.mark.parametrize("fsync", ["yes", "no"])
def test_a_book_is_destroyed_after_every_crash(folder, fsync):
    lines = crashes(folder, "destroy", fsync)
    assert len(lines) > 10
    for line in lines:
        assert line["records"] == {}, line
        assert line["folders"] == ["records/atom_details", "records/books", "records/flow_details"], line
