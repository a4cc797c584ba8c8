# SPDX-License-Identifier: Apache-2.0
"""What does a printing listener print, and where?"""

from __future__ import annotations

import contextlib

import pytest

from taskflow import engines, retry, task
from taskflow.listeners import printing
from taskflow.patterns import linear_flow


class Step(task.Task):
    def execute(self):
        return "100%"


class Broken(task.Task):
    def execute(self):
        raise RuntimeError("woe")


def run(*items, **kwargs):
    engine = engines.load(linear_flow.Flow("f", retry=retry.AlwaysRevert()).add(*items))
    with printing.PrintingListener(engine, **kwargs), contextlib.suppress(RuntimeError):
        engine.run()
    return engine


@pytest.mark.parametrize("stderr", [False, True])
def test_events_are_printed_one_a_line(capsys, stderr):
    engine = run(Step("a"), stderr=stderr)
    flow, atom = engine.storage.flow_uuid, engine.storage.get_atom_uuid("a")
    expected = (
        f"{engine} has moved flow 'f' ({flow}) into state 'RUNNING' from state 'PENDING'\n"
        f"{engine} has moved task 'a' ({atom}) into state 'RUNNING' from state 'PENDING'\n"
        f"{engine} has moved task 'a' ({atom}) into state 'SUCCESS' from state 'RUNNING' with result '100%'"
        " (failure=False)\n"
        f"{engine} has moved flow 'f' ({flow}) into state 'SUCCESS' from state 'RUNNING'\n"
    )
    assert tuple(capsys.readouterr()) == (("", expected) if stderr else (expected, ""))


def test_the_stream_is_that_of_the_construction(capsys, monkeypatch):
    engine = engines.load(linear_flow.Flow("f"))
    listener = printing.PrintingListener(engine)
    monkeypatch.setattr("sys.stdout", None)
    with listener:
        engine.run()
    monkeypatch.undo()
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("stderr", [False, True])
def test_a_failure_is_followed_by_its_traceback(capsys, stderr):
    run(Broken("a"), flow_listen_for=None, task_listen_for=["FAILURE"], stderr=stderr)
    lines = capsys.readouterr()[stderr].splitlines()
    assert lines[0].endswith("with result 'Failure: RuntimeError: woe' (failure=True)")
    assert lines[1] == "Traceback (most recent call last):"
    assert any('raise RuntimeError("woe")' in line for line in lines[2:-1])
    assert lines[-1] == "RuntimeError: woe"
