# SPDX-License-Identifier: Apache-2.0
"""When does a listener hear which events, and what does a dumping listener make of them?"""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from taskflow import engines, retry, task
from taskflow.listeners import base
from taskflow.patterns import linear_flow
from taskflow.types import notifier


class Step(task.Task):
    def execute(self):
        return self.name


class Broken(task.Task):
    def execute(self):
        raise RuntimeError("woe")

    def revert(self, **kwargs):
        return "undone"


class Hearing(base.Listener):
    def __init__(self, engine, **kwargs):
        super().__init__(engine, **kwargs)
        self.heard = []

    def _flow_receiver(self, state, details):
        self.heard.append(("flow", details["flow_name"], state))

    def _task_receiver(self, state, details):
        self.heard.append(("task", details["task_name"], state))

    def _retry_receiver(self, state, details):
        self.heard.append(("retry", details["retry_name"], state))


class Dumping(base.DumpingListener):
    def __init__(self, engine, **kwargs):
        super().__init__(engine, **kwargs)
        self.dumped = []

    def _dump(self, message, *args, **kwargs):
        self.dumped.append((message, args, kwargs))


def load(*items, **kwargs):
    return engines.load(linear_flow.Flow("f", **kwargs).add(*items))


def run(engine):
    try:
        engine.run()
    except RuntimeError as e:
        return e
    return None


ALL = [
    ("flow", "f", "RUNNING"),
    ("retry", "r", "RUNNING"),
    ("retry", "r", "SUCCESS"),
    ("task", "a", "RUNNING"),
    ("task", "a", "SUCCESS"),
    ("flow", "f", "SUCCESS"),
]


def heard(**kwargs):
    engine = load(Step("a"), retry=retry.Times(2, name="r"))
    listener = Hearing(engine, **kwargs)
    with listener:
        engine.run()
    return listener.heard


def test_constants():
    assert base.FINISH_STATES == ("FAILURE", "SUCCESS", "REVERTED", "REVERT_FAILURE")
    assert base.DEFAULT_LISTEN_FOR == ("*",)


def test_everything_is_heard_by_default():
    assert heard() == ALL


@pytest.mark.parametrize("nothing", [None, (), [], frozenset()])
@pytest.mark.parametrize("kind", ["flow", "task", "retry"])
def test_a_kind_that_is_not_listened_for_is_not_heard(kind, nothing):
    assert heard(**{f"{kind}_listen_for": nothing}) == [event for event in ALL if event[0] != kind]


@pytest.mark.parametrize("kind", ["flow", "task", "retry"])
def test_only_the_given_states_are_heard(kind):
    expected = [event for event in ALL if event[0] != kind or event[2] == "SUCCESS"]
    assert heard(**{f"{kind}_listen_for": ("SUCCESS", "PENDING")}) == expected


def test_a_plain_listener_does_nothing():
    engine = load(Step("a"), retry=retry.Times(2))
    with base.Listener(engine):
        engine.run()
    assert engine.storage.get_flow_state() == "SUCCESS"


def test_engine_is_kept():
    engine = load(Step("a"))
    assert base.Listener(engine)._engine is engine


def test_other_events_of_the_atom_notifier_reach_nobody():
    engine = load(Step("a"))
    listener = Hearing(engine)
    with listener:
        engine.atom_notifier.notify("RUNNING", {"task_name": "a"})
        engine.atom_notifier.notify("RUNNING", {"task_uuid": "1"})
        engine.atom_notifier.notify("RUNNING", {"retry_name": "a", "task_uuid": "1"})
        engine.atom_notifier.notify("RUNNING", {})
    assert listener.heard == []


def test_registering_again_changes_nothing():
    engine = load(Step("a"))
    listener = Hearing(engine)
    listener.register()
    listener.register()
    assert (len(engine.notifier), len(engine.atom_notifier)) == (1, 2)
    listener.deregister()
    assert (len(engine.notifier), len(engine.atom_notifier)) == (0, 0)


def test_deregistering_is_harmless_when_nothing_is_registered():
    engine = load(Step("a"))
    listener = Hearing(engine)
    listener.deregister()
    with listener:
        pass
    listener.deregister()
    engine.run()
    assert listener.heard == []


def test_a_listener_can_be_registered_again():
    engine = load(Step("a"))
    listener = Hearing(engine, retry_listen_for=None)
    with listener:
        pass
    with listener:
        engine.run()
    assert [state for _, _, state in listener.heard] == ["RUNNING", "RUNNING", "SUCCESS", "SUCCESS"]


def test_a_receiver_that_is_registered_already_is_skipped_and_left_there():
    engine = load(Step("a"))
    listener = Hearing(engine, task_listen_for=None, retry_listen_for=None)
    engine.notifier.register("*", listener._flow_receiver)
    with listener:
        assert len(engine.notifier) == 1
    assert engine.notifier.is_registered("*", listener._flow_receiver)


def test_an_event_that_is_named_twice_is_heard_once():
    assert heard(flow_listen_for=("RUNNING", "RUNNING"), task_listen_for=(), retry_listen_for=()) == ALL[:1]


def test_a_refused_event_takes_those_of_its_kind_back():
    engine = load(Step("a"))
    engine._notifier = notifier.RestrictedNotifier(["RUNNING"], allow_any=False)
    listener = Hearing(engine, flow_listen_for=("RUNNING", "DANCING"))
    with pytest.raises(ValueError):
        listener.register()
    assert len(engine.notifier) == 0
    listener.deregister()
    assert len(engine.atom_notifier) == 0


def test_entering_gives_the_listener():
    listener = Hearing(load(Step("a")))
    with listener as entered:
        assert entered is listener


def test_exceptions_of_the_body_pass():
    engine = load(Broken("a"))
    with pytest.raises(RuntimeError, match="woe"), Hearing(engine):
        engine.run()
    assert (len(engine.notifier), len(engine.atom_notifier)) == (0, 0)


@pytest.mark.parametrize("error", [None, KeyError("body")])
def test_an_error_of_deregistering_is_logged_on_leaving(caplog, error):
    class Stuck(base.Listener):
        def deregister(self):
            raise OSError("stuck")

    def body():
        with Stuck(load(Step("a"))):
            if error is not None:
                raise error

    if error is None:
        body()
    else:
        with pytest.raises(KeyError) as caught:
            body()
        assert caught.value is error
    (record,) = [r for r in caplog.records if r.name == "taskflow.listeners.base"]
    assert record.levelno == logging.WARNING
    assert str(record.exc_info[1]) == "stuck"


@pytest.mark.parametrize("receiver", ["_flow_receiver", "_task_receiver", "_retry_receiver"])
def test_a_listener_that_raises_does_not_disturb_the_run(receiver):
    engine = load(Step("a"), retry=retry.Times(2))
    listener = base.Listener(engine)
    calls = []

    def fail(state, details):
        calls.append(state)
        raise RuntimeError("listener")

    setattr(listener, receiver, fail)
    with listener:
        engine.run()
    assert calls
    assert engine.storage.get_flow_state() == "SUCCESS"


def test_receivers_of_a_subclass_may_call_those_above():
    class Both(Hearing):
        def _task_receiver(self, state, details):
            super()._task_receiver(state, details)
            self.heard.append("below")

    engine = load(Step("a"))
    listener = Both(engine, flow_listen_for=None, task_listen_for=["SUCCESS"])
    with listener:
        engine.run()
    assert listener.heard == [("task", "a", "SUCCESS"), "below"]


def test_a_dumping_listener_needs_a_place_to_dump_to():
    with pytest.raises(TypeError):
        base.DumpingListener(load(Step("a")))


def test_what_is_dumped_of_a_successful_run():
    engine = load(Step("a"), retry=retry.Times(2))
    listener = Dumping(engine)
    with listener:
        engine.run()
    flow, atom = engine.storage.flow_uuid, engine.storage.get_atom_uuid("a")
    assert [args for _, args, _ in listener.dumped] == [
        (engine, "f", flow, "RUNNING", "PENDING"),
        (engine, "a", atom, "RUNNING", "PENDING"),
        (engine, "a", atom, "SUCCESS", "RUNNING", "a", False),
        (engine, "f", flow, "SUCCESS", "RUNNING"),
    ]
    assert [kwargs for _, _, kwargs in listener.dumped] == [{}, {}, {"exc_info": None}, {}]
    moved = f"{engine} has moved task 'a' ({atom})"
    assert [message % args for message, args, _ in listener.dumped] == [
        f"{engine} has moved flow 'f' ({flow}) into state 'RUNNING' from state 'PENDING'",
        f"{moved} into state 'RUNNING' from state 'PENDING'",
        f"{moved} into state 'SUCCESS' from state 'RUNNING' with result 'a' (failure=False)",
        f"{engine} has moved flow 'f' ({flow}) into state 'SUCCESS' from state 'RUNNING'",
    ]


def test_what_is_dumped_of_a_failing_task():
    engine = load(Broken("a"))
    listener = Dumping(engine, flow_listen_for=None)
    with listener:
        error = run(engine)
    assert [(args[3], args[5:]) for _, args, _ in listener.dumped if args[3] != "FAILURE"] == [
        ("RUNNING", ()),
        ("REVERTING", ()),
        ("REVERTED", ("undone", False)),
    ]
    ((message, args, kwargs),) = [entry for entry in listener.dumped if entry[1][3] == "FAILURE"]
    fail, failed = args[5:]
    assert failed is True
    assert fail.exception is error
    assert kwargs == {"exc_info": fail.exc_info}
    assert (message % args).endswith("from state 'RUNNING' with result 'Failure: RuntimeError: woe' (failure=True)")


def test_a_failing_revert_is_dumped_as_a_failure():
    class Stuck(Broken):
        def revert(self, **kwargs):
            raise RuntimeError("no way back")

    listener = Dumping(load(Stuck("a")), task_listen_for=["REVERT_FAILURE"], flow_listen_for=None)
    with listener:
        run(listener._engine)
    ((_, args, kwargs),) = listener.dumped
    assert args[6] is True
    assert kwargs["exc_info"][1] is args[5].exception


def test_importing_listeners_loads_nothing_heavy():
    code = """
import sys
import taskflow.engines
before = set(sys.modules)
import taskflow.listeners.base, taskflow.listeners.capturing, taskflow.listeners.printing, taskflow.listeners.timing
import taskflow.listeners.logging
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) <= {"taskflow", "_bisect", "bisect"}
