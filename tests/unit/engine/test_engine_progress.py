# SPDX-License-Identifier: Apache-2.0
"""Which progress of a task is told and kept, and which state changes does progress decide?"""

from __future__ import annotations

import logging

import pytest

from taskflow import engines, task


class Reports(task.Task):
    """Reports what it is told to, in execute and in revert; fails when told so."""

    def __init__(self, name="t", execute=(), revert=(), fails=False):
        super().__init__(name=name)
        self.told = (execute, revert)
        self.fails = fails
        self.heard = []
        self.notifier.register("update_progress", self._hear)

    def _hear(self, event, details):
        self.heard.append(details["progress"])

    def execute(self):
        for progress in self.told[0]:
            self.update_progress(progress)
        if self.fails:
            raise RuntimeError("F")

    def revert(self, **kwargs):
        for progress in self.told[1]:
            self.update_progress(progress)


HEARD = {
    "nothing reported": (Reports, [0.0, 1.0], 1.0),
    "values": (lambda: Reports(execute=(0.25, 0.5)), [0.0, 0.25, 0.5, 1.0], 1.0),
    "out of range": (lambda: Reports(execute=(-1, 2)), [0.0, 0.0, 1.0, 1.0], 1.0),
}


@pytest.mark.parametrize(("make", "heard", "stored"), HEARD.values(), ids=HEARD)
def test_success(kit, make, heard, stored):
    step = make()
    run = kit.run(step)
    assert step.heard == heard
    assert run.engine.storage.get_task_progress("t") == stored


def test_revert_reports_again_from_zero_to_one(kit):
    step = Reports(execute=(0.5,), revert=(0.75,))
    run = kit.run(kit.linear("f", step, "F!"))
    assert step.heard == [0.0, 0.5, 1.0, 0.0, 0.75, 1.0]
    assert run.engine.storage.get_task_progress("t") == 1.0


def test_a_failed_execution_has_no_closing_one(kit):
    step = Reports(execute=(0.5,), fails=True)
    run = kit.run(kit.linear("f", step), never_resolve=True)
    assert step.heard == [0.0, 0.5]
    assert run.engine.storage.get_task_progress("t") == 0.5
    step = Reports(execute=(0.5,), fails=True)
    kit.run(kit.linear("f", step))
    assert step.heard == [0.0, 0.5, 0.0, 1.0]


def test_a_failed_revert_has_no_closing_one(kit):
    class Fails(Reports):
        def revert(self, **kwargs):
            super().revert(**kwargs)
            raise RuntimeError("revert")

    step = Fails(revert=(0.5,))
    run = kit.run(kit.linear("f", step, "F!"))
    assert step.heard == [0.0, 1.0, 0.0, 0.5]
    assert run.engine.storage.get_task_progress("t") == 0.5


def test_resets_and_ignoring_report_zero(kit):
    step = Reports()
    run = kit.run(kit.graph("f", "a", step, links=[("a", "t", False)]))
    assert step.heard == [0.0]
    run.engine.reset()
    assert step.heard == [0.0, 0.0]
    step = Reports()
    run = kit.run(kit.linear("f", step))
    run.engine.reset()
    assert step.heard == [0.0, 1.0, 0.0]
    assert run.engine.storage.get_task_progress("t") == 0.0


def test_progress_is_stored_while_the_task_runs(kit):
    seen = []

    class Looks(Reports):
        def execute(self):
            seen.append(engine.storage.get_task_progress("t"))
            self.update_progress(0.25)
            seen.append(engine.storage.get_task_progress("t"))

    engine = engines.load(Looks())
    engine.run()
    assert seen == [0.0, 0.25]


DETAILS = {
    "more keys": (
        {"progress": 0.5, "one": 1, "two": [2]},
        0.5,
        {"at_progress": 0.5, "details": {"one": 1, "two": [2]}},
    ),
    "no more keys": ({"progress": 0.5}, 0.5, None),
    "no progress": ({"one": 1}, 0.0, "untouched"),
    "nothing": ({}, 0.0, "untouched"),
}


@pytest.mark.parametrize(("told", "progress", "kept"), DETAILS.values(), ids=DETAILS)
def test_details_of_progress(kit, told, progress, kept):
    class Tells(task.Task):
        def execute(self):
            self.notifier.notify("update_progress", dict(told))
            seen.append(engine.storage.get_task_progress("t"))

    seen = []
    engine = engines.load(Tells("t"))
    engine.run()
    assert seen == [progress]
    assert engine.storage.get_task_progress("t") == 1.0
    (detail,) = engine.storage._flowdetail
    if kept == "untouched":
        assert "progress_details" not in detail.meta
    else:
        assert detail.meta["progress_details"] == kept
        assert engine.storage.get_task_progress_details("t") == kept


def test_details_of_progress_are_kept_until_the_next_report(kit):
    class Tells(task.Task):
        def execute(self):
            self.notifier.notify("update_progress", {"progress": 0.5, "one": 1})
            self.notifier.notify("update_progress", {"progress": 0.75, "two": 2})

    run = kit.run(Tells("t"))
    kept = {"at_progress": 0.75, "details": {"two": 2}}
    assert run.engine.storage.get_task_progress_details("t") == kept


def test_errors_of_storing_progress_are_logged_and_swallowed(kit, caplog, monkeypatch):
    class Tells(task.Task):
        def execute(self):
            monkeypatch.setattr(engine.storage, "set_task_progress", refuse)
            try:
                self.update_progress(0.5)
            finally:
                monkeypatch.undo()
            return "done"

    def refuse(*args, **kwargs):
        raise RuntimeError("no progress today")

    engine = engines.load(Tells("t"))
    with caplog.at_level(logging.ERROR):
        engine.run()
    assert engine.storage.get("t") == "done"
    assert any(record.exc_info for record in caplog.records)


def test_progress_is_not_stored_through_update_atom_metadata(kit, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no metadata today")

    run = kit.load(Reports(execute=(0.5,)))
    monkeypatch.setattr(run.engine.storage, "update_atom_metadata", refuse)
    assert run.run().raised == ""
    assert run.engine.storage.get_task_progress("t") == 1.0


def test_a_task_without_the_event_runs_without_progress(kit):
    class Own(task.Task):
        TASK_EVENTS = ("uploaded",)
        heard = []

        def execute(self):
            self.notifier.notify("uploaded", {"bytes": 3})
            return 5

    step = Own("t")
    step.notifier.register("uploaded", lambda event, details: Own.heard.append(details))
    run = kit.run(step)
    assert Own.heard == [{"bytes": 3}]
    assert run.events == kit.events("t.f RUNNING, t.t RUNNING, t.t SUCCESS(5), t.f SUCCESS")


def test_the_engine_leaves_no_listener_behind(kit):
    for step in (kit.step("a"), kit.step("F!")):
        kit.run(step)
        assert len(step.notifier) == 0


def test_an_interrupted_task_with_progress_is_told_to_run_again(kit):
    flow = kit.linear("f", "a")
    for progress, moves in ((0.0, ["a.t RUNNING>SUCCESS"]), (0.4, ["a.t RUNNING>RUNNING", "a.t RUNNING>SUCCESS"])):
        run = kit.left(flow, "a=RUNNING")
        run.engine.storage.set_task_progress("a", progress)
        run.run()
        assert [move for move in run.moves if move.startswith("a.t")] == moves
