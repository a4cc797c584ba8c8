# SPDX-License-Identifier: Apache-2.0
"""Does progress of a task reach its listeners and the engine?"""

import copy
import gc
import math
import pickle
import weakref
from unittest import mock

import pytest

from taskflow import task
from taskflow.types import notifier


class Work(task.Task):
    def execute(self):
        pass


class Uploads(task.Task):
    TASK_EVENTS = ("update_progress", "uploaded")

    def execute(self):
        pass


class Silent(task.Task):
    TASK_EVENTS = ("other",)

    def execute(self):
        pass


class Ear:
    def __init__(self):
        self.heard = []

    def __call__(self, event_type, details):
        self.heard.append((event_type, details))


def heard_by(made):
    ear = Ear()
    made.notifier.register(task.EVENT_UPDATE_PROGRESS, ear)
    return ear.heard


def picklable_callback(event_type, details):
    pass


def test_constants():
    assert task.REVERT_RESULT == "result"
    assert task.REVERT_FLOW_FAILURES == "flow_failures"
    assert task.EVENT_UPDATE_PROGRESS == "update_progress"
    assert task.Task.TASK_EVENTS == ("update_progress",)


@pytest.mark.parametrize(
    ("given", "told", "warnings"),
    [(0.5, 0.5, 0), (0, 0, 0), (1, 1, 0), (0.0, 0.0, 0), (1.0, 1.0, 0), (1.5, 1.0, 1), (-0.1, 0.0, 1), (7, 1.0, 1)],
)
def test_progress_is_clamped_with_one_warning(given, told, warnings):
    made = Work()
    heard = heard_by(made)

    with mock.patch.object(task.LOG, "warning") as warning:
        assert made.update_progress(given) is None

    assert heard == [("update_progress", {"progress": told})]
    assert type(heard[0][1]["progress"]) is type(told)
    assert warning.call_count == warnings


def test_not_a_number_passes():
    made = Work()
    heard = heard_by(made)

    made.update_progress(math.nan)

    assert math.isnan(heard[0][1]["progress"])


@pytest.mark.parametrize("progress", [None, "0.5"])
def test_what_is_no_number_is_refused(progress):
    with pytest.raises(TypeError):
        Work().update_progress(progress)


class TestNotifier:
    def test_is_restricted_to_the_events_of_the_task(self):
        made = Uploads()

        made.notifier.register("uploaded", Ear())
        made.notifier.register(notifier.Notifier.ANY, Ear())
        with pytest.raises(ValueError, match="other"):
            made.notifier.register("other", Ear())

        assert isinstance(made.notifier, notifier.RestrictedNotifier)
        assert set(made.notifier.events_iter()) == {"update_progress", "uploaded"}
        assert len(made.notifier) == 2

    def test_is_read_only_and_always_the_same(self):
        made = Work()

        with pytest.raises(AttributeError):
            made.notifier = notifier.Notifier()
        assert made.notifier is made.notifier

    def test_is_only_made_when_read(self):
        made = Work()
        made.update_progress(0.5)
        made.copy()
        assert made._notifier is None
        assert len(made.notifier) == 0
        assert made._notifier is made.notifier

    def test_does_not_keep_its_task_alive(self):
        made = Work()
        kept, gone = made.notifier, weakref.ref(made)
        del made
        gc.collect()

        assert gone() is None
        kept.notify("update_progress", {"progress": 0.1})


class TestHook:
    """The engine hears every event once, whichever way it is sent."""

    @pytest.mark.parametrize("listened", [False, True])
    def test_by_the_method(self, listened):
        made, hook = Work(), Ear()
        heard = heard_by(made) if listened else None
        made._progress_hook = hook

        made.update_progress(0.5)

        assert hook.heard == [("update_progress", {"progress": 0.5})]
        assert heard in (None, hook.heard)

    def test_by_the_notifier(self):
        made, hook = Work(), Ear()
        made._progress_hook = hook

        made.notifier.notify("update_progress", {"progress": 0.5, "extra": 1})
        made.notifier.notify("update_progress", None)

        assert hook.heard == [("update_progress", {"progress": 0.5, "extra": 1}), ("update_progress", {})]

    def test_before_listeners_and_with_details_of_its_own(self):
        made = Work()
        order = []
        made.notifier.register("*", lambda event_type, details: order.append(dict(details)))
        made._progress_hook = lambda event_type, details: order.append("hook") or details.clear()
        details = {"progress": 0.5}

        made.notifier.notify("update_progress", details)

        assert order == ["hook", {"progress": 0.5}]
        assert details == {"progress": 0.5}

    def test_is_no_listener(self):
        made = Work()
        made._progress_hook = Ear()

        assert len(made.notifier) == 0
        assert list(made.notifier.listeners_iter()) == []

    def test_hears_no_other_events(self):
        made, hook = Uploads(), Ear()
        made._progress_hook = hook

        made.notifier.notify("uploaded", {})

        assert hook.heard == []

    def test_is_silent_where_the_class_does_not_have_the_event(self):
        made, hook, ear = Silent(), Ear(), Ear()
        made._progress_hook = hook

        made.update_progress(0.5)
        made.notifier.register("*", ear)
        made.update_progress(0.6)
        made.notifier.notify("update_progress", {"progress": 0.7})

        assert hook.heard == []
        assert [details["progress"] for _, details in ear.heard] == [0.6, 0.7]

    @pytest.mark.parametrize("listened", [False, True])
    def test_errors_are_logged_and_swallowed(self, listened):
        made = Work()
        heard = heard_by(made) if listened else []
        made._progress_hook = mock.Mock(side_effect=RuntimeError("no"))

        with mock.patch.object(notifier.LOG, "warning") as warning:
            made.update_progress(0.5)

        assert warning.call_count == 1
        assert len(heard) == int(listened)

    @pytest.mark.parametrize(
        "duplicate",
        [
            lambda made: made.copy(),
            lambda made: made.copy(retain_listeners=False),
            copy.copy,
            copy.deepcopy,
            lambda made: pickle.loads(pickle.dumps(made)),
        ],
    )
    @pytest.mark.parametrize("notified", [False, True])
    def test_does_not_travel(self, duplicate, notified):
        made, hook = Work(), Ear()
        if notified:
            made.notifier.register("update_progress", picklable_callback)
        made._progress_hook = hook

        again = duplicate(made)
        again.update_progress(0.5)
        again.notifier.notify("update_progress", {})

        assert hook.heard == []
        assert again._progress_hook is None
        made.update_progress(0.7)
        made.notifier.notify("update_progress", {"progress": 0.8})
        assert [details["progress"] for _, details in hook.heard] == [0.7, 0.8]

    @pytest.mark.parametrize("duplicate", [lambda made: made.copy(), lambda made: pickle.loads(pickle.dumps(made))])
    def test_works_on_a_duplicate(self, duplicate):
        made = Work()
        made.notifier.register("update_progress", picklable_callback)
        again, hook = duplicate(made), Ear()
        again._progress_hook = hook

        again.update_progress(0.5)
        again.notifier.notify("update_progress", {"progress": 0.6})

        assert [details["progress"] for _, details in hook.heard] == [0.5, 0.6]


class TestCopy:
    def test_notifiers_are_independent(self):
        made = Work()
        heard = heard_by(made)
        again = made.copy()
        again.notifier.deregister_event("update_progress")
        made.update_progress(0.1)
        again.update_progress(0.2)

        assert [details["progress"] for _, details in heard] == [0.1]
        assert len(made.notifier) == 1

    def test_listeners_are_kept_or_left_out(self):
        made = Work()
        heard = heard_by(made)
        made.copy().update_progress(0.3)
        alone = made.copy(retain_listeners=False)
        alone.update_progress(0.4)

        assert [details["progress"] for _, details in heard] == [0.3]
        assert len(alone.notifier) == 0

    def test_everything_else_is_shared(self):
        made = Work("w", provides="x", inject={"a": []})
        made.own = object()

        again = made.copy()

        assert type(again) is Work
        assert again.own is made.own
        assert again.inject is made.inject
        assert again.rebind is made.rebind
        assert again.save_as is made.save_as
        assert again.revert_rebind is made.revert_rebind
        assert again.requires is made.requires
