# SPDX-License-Identifier: Apache-2.0
"""Which durations and moments are stored, printed and warned of?"""

from __future__ import annotations

import contextlib
import re
import time
from unittest import mock

import pytest

from taskflow import engines, exceptions, retry, task
from taskflow.listeners import timing
from taskflow.patterns import linear_flow

NAP = 0.03


class Nap(task.Task):
    """Takes its time one way or the other, and may fail."""

    def __init__(self, name, execute=0.0, revert=0.0, error=None):
        super().__init__(name)
        self.times = execute, revert
        self.error = error

    def execute(self):
        time.sleep(self.times[0])
        if self.error is not None:
            raise self.error

    def revert(self, **kwargs):
        time.sleep(self.times[1])


def run(kind, *items, retry=None, **kwargs):
    engine = engines.load(linear_flow.Flow("f", retry=retry).add(*items))
    with kind(engine, **kwargs), contextlib.suppress(RuntimeError):
        engine.run()
    return engine


def metadata(engine, name):
    return engine.storage._flowdetail.find(engine.storage.get_atom_uuid(name)).meta


@pytest.fixture
def warn():
    with mock.patch.object(timing.LOG, "warning") as warning:
        yield warning


def test_states():
    assert {"RUNNING", "REVERTING"} == timing.STARTING_STATES
    assert {"SUCCESS", "FAILURE", "REVERTED", "REVERT_FAILURE"} == timing.FINISHED_STATES
    assert timing.STARTING_STATES | timing.FINISHED_STATES | {"PENDING"} == timing.WATCH_STATES
    assert {type(s) for s in (timing.STARTING_STATES, timing.FINISHED_STATES, timing.WATCH_STATES)} == {frozenset}


def test_durations_of_tasks_and_the_flow():
    engine = run(timing.DurationListener, Nap("a", NAP), Nap("b"))
    long, short = metadata(engine, "a")["duration"], metadata(engine, "b")["duration"]
    assert isinstance(long, float)
    assert long >= NAP
    assert 0 <= short < long
    assert engine.storage.flow_meta["duration"] >= long + short


def test_durations_of_a_flow_that_is_reverted():
    engine = run(timing.DurationListener, Nap("a", 0, NAP), Nap("b", 0, 0, RuntimeError()))
    assert metadata(engine, "a")["duration"] >= NAP
    assert engine.storage.flow_meta["duration"] >= NAP
    assert "duration" in metadata(engine, "b")


def test_executing_and_reverting_are_kept_apart_too():
    engine = run(timing.DurationListener, Nap("a", NAP, 0), Nap("b", 0, NAP), Nap("c", 0, 0, RuntimeError()))
    a, b = metadata(engine, "a"), metadata(engine, "b")
    assert a["execute_duration"] >= NAP > a["revert_duration"] == a["duration"]
    assert b["revert_duration"] >= NAP > b["execute_duration"]
    assert b["revert_duration"] == b["duration"]


def test_a_task_that_is_only_executed_has_no_duration_of_reverting():
    engine = run(timing.DurationListener, Nap("a"))
    meta = metadata(engine, "a")
    assert meta["execute_duration"] == meta["duration"]
    assert "revert_duration" not in meta
    assert set(engine.storage.flow_meta) == {"duration"}


def test_the_last_attempt_counts():
    class Flaky(Nap):
        tries = 0

        def execute(self):
            self.tries += 1
            if self.tries == 1:
                time.sleep(NAP)
                raise RuntimeError("first")

    engine = run(timing.DurationListener, Flaky("a"), retry=retry.Times(2))
    assert metadata(engine, "a")["duration"] < NAP
    assert engine.storage.flow_meta["duration"] >= NAP


def test_retries_have_no_durations():
    engine = run(timing.DurationListener, Nap("a"), retry=retry.Times(1, name="r"))
    assert metadata(engine, "r") == {}


@pytest.fixture
def listener():
    engine = engines.load(linear_flow.Flow("f").add(Nap("a")))
    engine.compile()
    engine.prepare()
    return timing.DurationListener(engine)


def tell(listener, *events):
    for state in events:
        listener._task_receiver(state, {"task_name": "a", "task_uuid": "1", "old_state": "PENDING"})


@pytest.mark.parametrize("end", ["SUCCESS", "FAILURE", "REVERTED", "REVERT_FAILURE"])
def test_each_ending_stores(listener, end):
    tell(listener, "RUNNING", end)
    assert "duration" in metadata(listener._engine, "a")


@pytest.mark.parametrize(
    "events", [["SUCCESS"], ["RUNNING", "PENDING", "SUCCESS"], ["RUNNING"], ["RUNNING", "PENDING"]]
)
def test_nothing_is_stored_without_a_start_and_an_end(listener, events):
    tell(listener, *events)
    assert "duration" not in metadata(listener._engine, "a")


def test_a_second_start_starts_again(listener):
    tell(listener, "RUNNING")
    time.sleep(NAP)
    tell(listener, "RUNNING", "SUCCESS")
    assert metadata(listener._engine, "a")["duration"] < NAP


def test_an_ending_is_stored_once(listener):
    tell(listener, "RUNNING", "SUCCESS")
    first = metadata(listener._engine, "a")["duration"]
    tell(listener, "SUCCESS")
    assert metadata(listener._engine, "a")["duration"] == first


def test_a_suspended_flow_leaves_its_timer_running():
    engine = engines.load(linear_flow.Flow("f").add(Nap("a"), Nap("b")))
    listener = timing.DurationListener(engine)
    with listener:
        for _ in engine.run_iter():
            engine.suspend()
        assert engine.storage.get_flow_state() == "SUSPENDED"
        assert "duration" not in engine.storage.flow_meta
        engine.run()
    assert "duration" in engine.storage.flow_meta


def test_deregistering_warns_of_what_has_not_ended_and_drops_it(listener, warn):
    tell(listener, "RUNNING")
    listener._task_receiver("RUNNING", {"task_name": "b", "task_uuid": "2", "old_state": "PENDING"})
    listener.deregister()
    assert warn.call_count == 1
    assert {2, "task"} <= set(warn.call_args.args)
    listener._flow_receiver("RUNNING", {"flow_name": "f", "flow_uuid": "3", "old_state": "PENDING"})
    listener.deregister()
    assert warn.call_count == 2
    assert {1, "flow"} <= set(warn.call_args.args)
    listener.deregister()
    assert warn.call_count == 2


def test_each_kind_that_has_not_ended_is_warned_of(listener, warn):
    tell(listener, "RUNNING")
    listener._flow_receiver("RUNNING", {"flow_name": "f", "flow_uuid": "3", "old_state": "PENDING"})
    listener.deregister()
    assert warn.call_count == 2


def test_nobody_is_warned_of_what_has_ended(warn):
    run(timing.DurationListener, Nap("a"), Nap("b", error=RuntimeError()))
    assert warn.mock_calls == []


@pytest.mark.parametrize(
    ("method", "kind", "name"), [("update_atom_metadata", "task", "a"), ("update_flow_metadata", "flow", "f")]
)
def test_a_duration_that_can_not_be_stored_is_warned_of_once(warn, method, kind, name):
    engine = engines.load(linear_flow.Flow("f").add(Nap("a")))
    listener = timing.DurationListener(engine)
    with (
        listener,
        mock.patch.object(listener._engine.storage, method, side_effect=exceptions.StorageFailure("full")) as store,
    ):
        engine.run()
    assert engine.storage.get_flow_state() == "SUCCESS"
    update = store.call_args.args[-1]
    assert update["duration"] >= 0
    warn.assert_called_once_with(mock.ANY, update, kind, name, exc_info=True)


def test_other_errors_of_storing_do_not_disturb_the_run():
    engine = engines.load(linear_flow.Flow("f").add(Nap("a")))
    with (
        timing.DurationListener(engine),
        mock.patch.object(engine.storage, "update_atom_metadata", side_effect=OSError()) as store,
    ):
        engine.run()
    assert store.call_count == 1
    assert engine.storage.get_flow_state() == "SUCCESS"


TEXT = re.compile(r"\d+\.\d\d seconds")


def test_durations_are_printed():
    printed = []
    engine = run(timing.PrintingDurationListener, Nap("a", NAP), printer=printed.append)
    assert [TEXT.sub("N seconds", text) for text in printed] == [
        "'f' flow started.",
        "'a' task started.",
        "It took task 'a' N seconds to finish.",
        "It took flow 'f' N seconds to finish.",
    ]
    assert f" {metadata(engine, 'a')['duration']:.2f} seconds" in printed[2]


def test_reverting_is_printed_as_a_start_too():
    printed = []
    run(timing.PrintingDurationListener, Nap("a", error=RuntimeError()), printer=printed.append)
    assert [TEXT.sub("N seconds", text) for text in printed] == [
        "'f' flow started.",
        *["'a' task started.", "It took task 'a' N seconds to finish."] * 2,
        "It took flow 'f' N seconds to finish.",
    ]


def test_the_printer_is_print_by_default(capsys):
    run(timing.PrintingDurationListener, Nap("a"))
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_moments_are_stored():
    before = time.time()
    engine = run(timing.EventTimeListener, Nap("a", NAP), retry=retry.Times(1, name="r"))
    after = time.time()
    for meta in (metadata(engine, "a"), metadata(engine, "r"), engine.storage.flow_meta):
        moments = {key: value for key, value in meta.items() if key.endswith("-timestamp")}
        assert set(moments) == {"RUNNING-timestamp", "SUCCESS-timestamp"}
        assert before <= moments["RUNNING-timestamp"] <= moments["SUCCESS-timestamp"] <= after
    task_moments = metadata(engine, "a")
    assert task_moments["SUCCESS-timestamp"] - task_moments["RUNNING-timestamp"] >= NAP * 0.9


def test_moments_of_chosen_states():
    engine = run(
        timing.EventTimeListener,
        Nap("a"),
        retry=retry.Times(1, name="r"),
        task_listen_for=["SUCCESS"],
        flow_listen_for=["RUNNING"],
        retry_listen_for=None,
    )
    assert "SUCCESS-timestamp" in metadata(engine, "a")
    assert "RUNNING-timestamp" not in metadata(engine, "a")
    assert set(engine.storage.flow_meta) == {"RUNNING-timestamp"}
    assert metadata(engine, "r") == {}


@pytest.mark.parametrize(
    ("method", "names"), [("update_atom_metadata", ["r", "r", "a", "a"]), ("update_flow_metadata", ["f", "f"])]
)
def test_a_moment_that_can_not_be_stored_is_warned_of(warn, method, names):
    engine = engines.load(linear_flow.Flow("f", retry=retry.Times(1, name="r")).add(Nap("a")))
    listener = timing.EventTimeListener(engine)
    with listener, mock.patch.object(engine.storage, method, side_effect=exceptions.StorageFailure("full")):
        engine.run()
    assert engine.storage.get_flow_state() == "SUCCESS"
    assert warn.call_count == len(names)
