# SPDX-License-Identifier: Apache-2.0
"""What does a capturing listener keep?"""

from __future__ import annotations

import pytest

from taskflow import engines, retry, task
from taskflow.listeners import capturing
from taskflow.patterns import linear_flow


class Step(task.Task):
    def execute(self):
        return self.name


def capture(kind=capturing.CaptureListener, **kwargs):
    inner = linear_flow.Flow("inner", retry=retry.Times(2, name="s")).add(Step("b"))
    engine = engines.load(linear_flow.Flow("f", retry=retry.Times(2, name="r")).add(Step("a"), inner))
    listener = kind(engine, **kwargs)
    with listener:
        engine.run()
    return listener


def short(listener):
    return [f"{kind} {details[kind + '_name']} {state}" for kind, state, details in listener.values]


ALL = [
    "flow f RUNNING",
    "retry r RUNNING",
    "retry r SUCCESS",
    "task a RUNNING",
    "task a SUCCESS",
    "retry s RUNNING",
    "retry s SUCCESS",
    "task b RUNNING",
    "task b SUCCESS",
    "flow f SUCCESS",
]


def test_names_of_the_kinds():
    kind = capturing.CaptureListener
    assert (kind.FLOW, kind.TASK, kind.RETRY) == ("flow", "task", "retry")


def test_everything_is_kept_in_order():
    assert short(capture()) == ALL


def test_details_are_kept_as_they_came():
    listener = capture(task_listen_for=["SUCCESS"], capture_flow=False, capture_retry=False)
    uuid = listener._engine.storage.get_atom_uuid("a")
    assert listener.values[0] == (
        "task",
        "SUCCESS",
        {"task_name": "a", "task_uuid": uuid, "old_state": "RUNNING", "result": "a"},
    )


@pytest.mark.parametrize("kind", ["flow", "task", "retry"])
def test_a_kind_can_be_left_out(kind):
    expected = [text for text in ALL if not text.startswith(kind)]
    assert short(capture(**{f"capture_{kind}": False})) == expected


@pytest.mark.parametrize(
    ("option", "left_out"),
    [
        ({"skip_tasks": ["a"]}, ["task a"]),
        ({"skip_tasks": {"a", "b", "r"}}, ["task a", "task b"]),
        ({"skip_retries": ("s",)}, ["retry s"]),
        ({"skip_flows": ["f", "a"]}, ["flow f"]),
        ({"skip_tasks": [], "skip_retries": None, "skip_flows": ()}, []),
    ],
)
def test_names_can_be_left_out(option, left_out):
    expected = [text for text in ALL if text.rpartition(" ")[0] not in left_out]
    assert short(capture(**option)) == expected


@pytest.mark.parametrize("kind", ["flow", "task", "retry"])
def test_states_can_be_chosen(kind):
    expected = [text for text in ALL if not text.startswith(kind) or text.endswith("SUCCESS")]
    assert short(capture(**{f"{kind}_listen_for": ["SUCCESS"]})) == expected


@pytest.mark.parametrize("given", [[], ["before"]])
def test_values_go_to_the_given_list(given):
    before = list(given)
    listener = capture(values=given)
    assert listener.values is given
    assert given[: len(before)] == before
    assert len(given) == len(before) + len(ALL)


def test_each_listener_has_a_list_of_its_own():
    assert capture().values is not capture().values


def test_a_subclass_says_what_an_entry_is():
    class Short(capturing.CaptureListener):
        @staticmethod
        def _format_capture(kind, state, details):
            return f"{kind} {details[kind + '_name']} {state}"

    assert capture(Short).values == ALL


def test_a_subclass_may_drop_details_of_the_default_entry():
    class Bare(capturing.CaptureListener):
        @staticmethod
        def _format_capture(kind, state, details):
            return capturing.CaptureListener._format_capture(kind, state, details)[:2]

    assert capture(Bare, capture_task=False, capture_retry=False).values == [("flow", "RUNNING"), ("flow", "SUCCESS")]
