# SPDX-License-Identifier: Apache-2.0
"""Does what a task tells while it runs in a process reach its listeners: all of it, in order, and in time?"""

from __future__ import annotations

import logging
import pathlib
import sys
import threading
import time

from taskflow import engines, states, task
from taskflow.patterns import linear_flow, unordered_flow

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import process_executor_tasks as pt  # noqa: E402


def _load(*atoms, flow=linear_flow.Flow, store=None, **options):
    options.setdefault("max_workers", 2)
    return engines.load(flow("f").add(*atoms), engine="parallel", executor="processes", store=store, **options)


def _heard(atom, event_type, heard):
    atom.notifier.register(event_type, lambda event, details: heard.append((event, details)))


def test_progress_is_heard_and_stored_while_the_task_runs(tmp_path):
    waits = pt.Waits("w", str(tmp_path / "go"))
    heard = []

    def on_progress(_event, details):
        heard.append(details["progress"])
        if details["progress"] == 0.5:
            stored.append(engine.storage.get_task_progress("w"))
            (tmp_path / "go").touch()

    stored = []
    waits.notifier.register(task.EVENT_UPDATE_PROGRESS, on_progress)
    engine = _load(waits)
    engine.run()
    assert heard == [0.0, 0.5, 1.0]
    assert stored == [0.5]


def test_all_events_that_are_listened_to_arrive_in_order_on_the_original_task(caplog):
    reports, heard = pt.Reports("r"), []
    for event_type in reports.TASK_EVENTS:
        _heard(reports, event_type, heard)
    engine = _load(reports)
    with caplog.at_level(logging.WARNING):
        engine.run()
    assert heard == [
        ("update_progress", {"progress": 0.0}),
        ("update_progress", {"progress": 0.25}),
        ("custom", {"n": 1}),
        ("update_progress", {"progress": 0.5, "more": "words"}),
        ("custom", {"n": 2}),
        ("update_progress", {"progress": 0.75}),
        ("update_progress", {"progress": 1.0}),
    ]
    # What can not travel is dropped with a warning, whichever end finds out.
    dropped = [record.getMessage() for record in caplog.records if "is dropped" in record.getMessage()]
    assert len(dropped) == 2
    assert "task 'r'" in dropped[0]
    assert "details['lock'] (_thread.lock)" in dropped[0]
    assert engine.storage.get_task_progress("r") == 1.0


def test_details_of_progress_are_stored():
    reports, found = pt.Reports("r"), []
    engine = _load(reports)

    def look(_event, details):
        if details == {"n": 2}:
            found.append(engine.storage.get_task_progress_details("r"))

    reports.notifier.register("custom", look)
    engine.run()
    assert found == [{"at_progress": 0.5, "details": {"more": "words"}}]


def test_a_listener_of_everything_hears_everything_once():
    reports, heard = pt.Reports("r"), []
    _heard(reports, "*", heard)
    _load(reports).run()
    kinds = [event for event, _ in heard]
    assert kinds == ["update_progress"] * 2 + ["custom", "update_progress", "custom"] + ["update_progress"] * 2


def test_events_are_heard_before_the_outcome():
    order, floods = [], pt.Floods("f")
    floods.notifier.register("drop", lambda _event, details: order.append(details["i"]))
    engine = _load(floods, store={"count": 300})
    engine.atom_notifier.register(states.SUCCESS, lambda _event, details: order.append("outcome"))
    engine.run()
    assert order == [*range(300), "outcome"]


def test_a_slow_listener_makes_the_task_wait_and_loses_nothing():
    heard, floods = [], pt.Floods("f")

    def slow(_event, details):
        if details["i"] % 500 == 0:
            time.sleep(0.02)
        heard.append(details["i"])

    floods.notifier.register("drop", slow)
    engine = _load(floods, store={"count": 6000})
    engine.run()
    assert heard == list(range(6000))
    assert engine.storage.get("f") == 6000


def test_a_slow_listener_of_one_task_does_not_keep_others_from_ending():
    begun, ended, floods = threading.Event(), threading.Event(), pt.Floods("slow")

    def wait_for_the_other(_event, details):
        begun.set()
        assert ended.wait(30)

    floods.notifier.register("drop", wait_for_the_other)
    engine = _load(floods, pt.Pid("quick"), flow=unordered_flow.Flow, store={"count": 1})

    def on_success(_event, details):
        if details["task_name"] == "quick":
            assert begun.wait(30)
            ended.set()

    engine.atom_notifier.register(states.SUCCESS, on_success)
    engine.run()
    assert ended.is_set()


def test_a_listener_that_fails_is_logged_and_changes_nothing(caplog):
    floods = pt.Floods("f")
    floods.notifier.register("drop", lambda _event, details: 1 / 0)
    with caplog.at_level(logging.WARNING):
        engine = _load(floods, store={"count": 2})
        engine.run()
    assert sum("Failed to call" in record.getMessage() for record in caplog.records) == 2
    assert engine.storage.get("f") == 2


def test_what_a_task_says_after_its_end_is_ignored():
    talks, heard = pt.TalksOn("t"), []
    _heard(talks, "update_progress", heard)
    waits_a_little = pt.Interrupted("next")
    engine = _load(talks, waits_a_little, max_workers=1)
    engine.run()
    assert [details["progress"] for _, details in heard][-1] == 1.0
    assert engine.storage.get_task_progress("t") == 1.0


def test_listeners_are_not_sent_along():
    lock = threading.Lock()
    holds = pt.Holds("h")
    holds.notifier.register(task.EVENT_UPDATE_PROGRESS, lambda _event, details: lock.locked())
    engine = _load(holds)
    engine.run()
    assert engine.storage.get("h") == "done"


def test_a_suspension_cancels_what_has_not_begun_and_a_later_run_does_it(tmp_path):
    first = pt.Waits("first", str(tmp_path / "go"))
    engine = _load(first, pt.Pid("b"), pt.Pid("c"), flow=unordered_flow.Flow, max_workers=1)

    def on_progress(_event, details):
        if details["progress"] == 0.5:
            engine.suspend()
            (tmp_path / "go").touch()

    first.notifier.register(task.EVENT_UPDATE_PROGRESS, on_progress)
    heard = []
    engine.atom_notifier.register("*", lambda event, details: heard.append((event, details["task_name"])))
    # The loop has to look up in order to see the suspension while the only process is busy.
    engine.run(timeout=0.05)
    assert engine.storage.get_flow_state() == states.SUSPENDED
    assert engine.storage.get_atom_state("first") == states.SUCCESS
    left = {name: engine.storage.get_atom_state(name) for name in ("b", "c")}
    assert states.PENDING in left.values()
    engine.run()
    assert engine.storage.get_flow_state() == states.SUCCESS
    assert {heard.count((states.SUCCESS, name)) for name in ("first", "b", "c")} == {1}
