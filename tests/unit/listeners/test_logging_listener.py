# SPDX-License-Identifier: Apache-2.0
"""What do the logging listeners log, at which level, to which logger?"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import typing

import pytest

from taskflow import engines, retry, task
from taskflow import logging as taskflow_logging
from taskflow.listeners import logging as listeners
from taskflow.patterns import linear_flow
from taskflow.types import failure

NUMBERS = itertools.count()
FLOW_TEXT = "Flow '{}' ({}) transitioned into state '{}' from state '{}'"
TASK_TEXT = "Task '{}' ({}) transitioned into state '{}' from state '{}'"


class Step(task.Task):
    def __init__(self, name, gives=5, undo=7, **kwargs):
        super().__init__(name, **kwargs)
        self.gives = gives
        self.undo = undo

    def execute(self, **kwargs):
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives

    def revert(self, **kwargs):
        if isinstance(self.undo, Exception):
            raise self.undo
        return self.undo


class Log:
    """A logger of a test's own, with the records that it got."""

    def __init__(self, level=1, name=None):
        self.records = []
        self.logger = logging.getLogger(name or f"test.listener.{next(NUMBERS)}")
        self.logger.propagate = False
        self.logger.setLevel(level)
        handler = logging.Handler()
        handler.emit = self.records.append
        self.logger.addHandler(handler)
        self.handler = handler

    @property
    def lines(self):
        return [(record.levelname, record.getMessage()) for record in self.records]

    def of(self, state):
        return [record for record in self.records if f"into state '{state}'" in record.getMessage()]


def run(kind, *items, **kwargs):
    engine = engines.load(linear_flow.Flow("f", retry=retry.AlwaysRevert("r")).add(*items))
    listener = kind(engine, **kwargs)
    with listener, contextlib.suppress(RuntimeError, ValueError):
        engine.run()
    return engine


def texts(engine, events):
    """Lines as `Log.lines` has them; an event is level, name of the task or ``f``, old state, new state, result."""
    lines = []
    for level, name, old, new, *result in events:
        uuid = engine.storage.flow_uuid if name == "f" else engine.storage.get_atom_uuid(name)
        text = (FLOW_TEXT if name == "f" else TASK_TEXT).format(name, uuid, new, old)
        lines.append((level, text + "".join(f" with result '{value}'" for value in result)))
    return lines


def test_plain_listener_logs_all_at_one_level():
    log = Log()
    engine = run(listeners.LoggingListener, Step("a"), log=log.logger)
    flow, atom = engine.storage.flow_uuid, engine.storage.get_atom_uuid("a")
    moved = f"{engine} has moved task 'a' ({atom})"
    assert log.lines == [
        ("DEBUG", f"{engine} has moved flow 'f' ({flow}) into state 'RUNNING' from state 'PENDING'"),
        ("DEBUG", f"{moved} into state 'RUNNING' from state 'PENDING'"),
        ("DEBUG", f"{moved} into state 'SUCCESS' from state 'RUNNING' with result '5' (failure=False)"),
        ("DEBUG", f"{engine} has moved flow 'f' ({flow}) into state 'SUCCESS' from state 'RUNNING'"),
    ]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_plain_listener_logs_failures_at_the_same_level_with_the_exception(level):
    log = Log()
    error = RuntimeError("woe")
    run(listeners.LoggingListener, Step("a", gives=error), log=log.logger, level=level)
    assert {record.levelno for record in log.records} == {level}
    (record,) = log.of("FAILURE")
    assert record.exc_info[1] is error
    assert all(not other.exc_info for other in log.records if other is not record)


@pytest.mark.parametrize("kind", [listeners.LoggingListener, listeners.DynamicLoggingListener])
def test_logger_by_default_is_that_of_the_module(caplog, kind):
    with caplog.at_level(logging.DEBUG, logger="taskflow.listeners.logging"):
        run(kind, Step("a"))
    assert kind._LOGGER is None
    assert {record.name for record in caplog.records if "into state" in record.getMessage()} == {
        "taskflow.listeners.logging"
    }


@pytest.mark.parametrize("kind", [listeners.LoggingListener, listeners.DynamicLoggingListener])
def test_logger_of_the_class_comes_before_that_of_the_module_and_after_the_given_one(kind):
    own, given = Log(), Log()

    class Mine(kind):
        _LOGGER = own.logger

    run(Mine, Step("a"))
    assert len(own.records) == 4
    run(Mine, Step("a"), log=given.logger)
    assert (len(own.records), len(given.records)) == (4, 4)


@pytest.mark.parametrize("kind", [listeners.LoggingListener, listeners.DynamicLoggingListener])
def test_logger_adapters_will_do(kind):
    log = Log()
    run(kind, Step("a"), log=taskflow_logging.getLogger(log.logger.name, extra={"colour": "red"}))
    assert [record.colour for record in log.records] == ["red"] * 4


def test_levels_of_a_successful_run():
    log = Log()
    engine = run(listeners.DynamicLoggingListener, Step("a"), log=log.logger)
    assert log.lines == texts(
        engine,
        [
            ("DEBUG", "f", "PENDING", "RUNNING"),
            ("DEBUG", "a", "PENDING", "RUNNING"),
            ("DEBUG", "a", "RUNNING", "SUCCESS", 5),
            ("DEBUG", "f", "RUNNING", "SUCCESS"),
        ],
    )


def test_levels_of_a_reverted_run():
    log = Log()
    error = RuntimeError("woe")
    engine = run(listeners.DynamicLoggingListener, Step("a"), Step("b", gives=error), log=log.logger)
    failed = log.of("FAILURE")
    assert [line for line, record in zip(log.lines, log.records, strict=True) if record not in failed] == texts(
        engine,
        [
            ("DEBUG", "f", "PENDING", "RUNNING"),
            ("DEBUG", "a", "PENDING", "RUNNING"),
            ("DEBUG", "a", "RUNNING", "SUCCESS", 5),
            ("DEBUG", "b", "PENDING", "RUNNING"),
            ("DEBUG", "b", "FAILURE", "REVERTING"),
            ("WARNING", "b", "REVERTING", "REVERTED", 7),
            ("DEBUG", "a", "SUCCESS", "REVERTING"),
            ("WARNING", "a", "REVERTING", "REVERTED", 7),
            ("WARNING", "f", "RUNNING", "REVERTED"),
        ],
    )
    (record,) = failed
    ((level, text),) = texts(engine, [("WARNING", "b", "RUNNING", "FAILURE")])
    message = record.getMessage()
    assert (record.levelname, message.split(os.linesep)[0]) == (level, text)
    assert message.split(os.linesep)[1:] == [
        "3 predecessors (most recent first):",
        "  Atom 'a' {'intention': 'EXECUTE', 'state': 'SUCCESS', 'requires': {}, 'provides': 5}",
        "  |__Atom 'r' {'intention': 'EXECUTE', 'state': 'SUCCESS', 'requires': {}, 'provides': [(None, {})]}",
        "     |__Flow 'f'",
    ]
    assert record.exc_info[1] is error
    assert all(not other.exc_info for other in log.records if other is not record)


def test_a_failed_revert_is_logged_with_its_exception_and_nothing_more():
    log = Log()
    stuck = RuntimeError("no way back")
    engine = run(listeners.DynamicLoggingListener, Step("a", gives=ValueError(), undo=stuck), log=log.logger)
    (record,) = log.of("REVERT_FAILURE")
    assert [(record.levelname, record.getMessage())] == texts(engine, [("WARNING", "a", "REVERTING", "REVERT_FAILURE")])
    assert record.exc_info[1] is stuck
    (flow,) = [line for line in log.lines if line[1].startswith("Flow") and "into state 'FAILURE'" in line[1]]
    assert flow[0] == "WARNING"


def test_levels_can_be_chosen():
    log = Log()
    run(
        listeners.DynamicLoggingListener,
        Step("a", gives=RuntimeError()),
        log=log.logger,
        level=logging.INFO,
        failure_level=logging.CRITICAL,
    )
    assert {record.levelname for record in log.of("RUNNING") + log.of("REVERTING")} == {"INFO"}
    assert {record.levelname for record in log.of("FAILURE") + log.of("REVERTED")} == {"CRITICAL"}


@pytest.mark.parametrize(
    "state", ["PENDING", "RUNNING", "REVERTING", "RETRYING", "IGNORE", "FAILURE", "REVERTED", "REVERT_FAILURE"]
)
def test_levels_of_tasks_without_a_result(state):
    log = Log()
    listener = listeners.DynamicLoggingListener(engines.load(linear_flow.Flow("f")), log=log.logger)
    listener._task_receiver(state, {"task_name": "t", "task_uuid": "u", "old_state": "PENDING"})
    bad = state in {"RETRYING", "FAILURE", "REVERTED", "REVERT_FAILURE"}
    assert log.lines == [("WARNING" if bad else "DEBUG", TASK_TEXT.format("t", "u", state, "PENDING"))]


@pytest.mark.parametrize(
    ("state", "enabled", "expected"),
    [
        ("SUCCESS", True, ("INFO", " with result '5'")),
        ("SUCCESS", False, None),
        ("REVERTED", True, ("ERROR", " with result '5'")),
        ("REVERTED", False, ("ERROR", "")),
        ("FAILURE", True, ("ERROR", " with result '5'")),
        ("FAILURE", False, ("ERROR", " with result '5'")),
        ("REVERT_FAILURE", True, ("ERROR", " with result '5'")),
    ],
)
def test_results_that_are_no_failures(state, enabled, expected):
    log = Log(level=logging.INFO if enabled else logging.ERROR)
    engine = engines.load(linear_flow.Flow("f"))
    listener = listeners.DynamicLoggingListener(engine, log=log.logger, level=logging.INFO, failure_level=logging.ERROR)
    listener._task_receiver(state, {"task_name": "t", "task_uuid": "u", "old_state": "RUNNING", "result": 5})
    text = TASK_TEXT.format("t", "u", state, "RUNNING")
    assert log.lines == ([] if expected is None else [(expected[0], text + expected[1])])


def test_a_result_of_none_is_a_result():
    log = Log()
    run(listeners.DynamicLoggingListener, Step("a", gives=None), log=log.logger)
    assert log.of("SUCCESS")[0].getMessage().endswith("from state 'RUNNING' with result 'None'")


def test_results_of_hidden_tasks_are_not_shown():
    log = Log()
    run(
        listeners.DynamicLoggingListener,
        Step("a", gives="secret", provides="x"),
        Step("b", gives=RuntimeError(), undo="secret", requires="x"),
        log=log.logger,
        hide_inputs_outputs_of=["a", "b"],
    )
    assert not any("secret" in text for _, text in log.lines)
    assert "Atom 'a' {'intention': 'EXECUTE', 'state': 'SUCCESS'}" in log.of("FAILURE")[0].getMessage()


def test_masks_reach_the_description_of_a_failure():
    log = Log()
    run(
        listeners.DynamicLoggingListener,
        Step("a", gives={"pw": "secret", "k": 1}, provides="x"),
        Step("b", requires="x"),
        Step("c", gives=RuntimeError()),
        log=log.logger,
        level=logging.NOTSET,
        mask_inputs_keys=["x"],
        mask_outputs_keys=["pw"],
    )
    message = log.of("FAILURE")[0].getMessage()
    assert "'requires': {'x': '***'}" in message
    assert "'provides': {'pw': '***', 'k': 1}" in message
    assert "secret" not in message


class Pair(typing.NamedTuple):
    pw: str
    k: int


@pytest.mark.parametrize(
    ("gives", "shown"),
    [
        ({"pw": "secret", "k": 1}, "{'pw': '***', 'k': 1}"),
        ([{"pw": "secret"}, ({"pw": "secret"}, 2)], "[{'pw': '***'}, ({'pw': '***'}, 2)]"),
        (Pair("secret", 1), "Pair(pw='***', k=1)"),
        ("plain", "plain"),
    ],
)
def test_masks_reach_the_result_of_a_successful_task(gives, shown):
    log = Log()
    engine = run(
        listeners.DynamicLoggingListener,
        Step("a", gives=gives, undo=gives),
        Step("b", gives=RuntimeError()),
        log=log.logger,
        mask_outputs_keys=["pw"],
    )
    lines = texts(
        engine, [("DEBUG", "a", "RUNNING", "SUCCESS", shown), ("WARNING", "a", "REVERTING", "REVERTED", shown)]
    )
    assert [line for line in log.lines if line in lines] == lines
    assert not any("secret" in text for _, text in log.lines)


def test_a_result_that_is_masked_in_the_log_is_not_changed():
    log = Log()
    gives = {"pw": "secret"}
    engine = run(listeners.DynamicLoggingListener, Step("a", gives=gives), log=log.logger, mask_outputs_keys=["pw"])
    assert engine.storage.get("a") == {"pw": "secret"}
    assert gives == {"pw": "secret"}


class Describing:
    def __init__(self, *answer):
        self.answer = answer
        self.asked = []

    def format(self, fail, atom_matcher):
        self.asked.append((fail, atom_matcher))
        return self.answer


@pytest.mark.parametrize(("text", "added"), [("told", f"{os.linesep}told"), ("100%s", f"{os.linesep}100%s"), ("", "")])
def test_a_formatter_of_ones_own_is_asked(text, added):
    log = Log()
    own = (KeyError, KeyError("own"), None)
    describing = Describing(own, text)
    engine = run(
        listeners.DynamicLoggingListener,
        Step("a"),
        Step("b", gives=RuntimeError("woe")),
        log=log.logger,
        fail_formatter=describing,
    )
    (record,) = log.of("FAILURE")
    assert record.getMessage().endswith(f"into state 'FAILURE' from state 'RUNNING'{added}")
    assert record.exc_info == own
    ((fail, matcher),) = describing.asked
    assert isinstance(fail, failure.Failure)
    assert engine.compilation.hierarchy.find_first_match(matcher).item.name == "b"


def test_a_formatter_may_say_that_there_is_no_exception():
    log = Log()
    run(
        listeners.DynamicLoggingListener,
        Step("b", gives=RuntimeError("woe")),
        log=log.logger,
        fail_formatter=Describing(None, "told"),
    )
    assert not log.of("FAILURE")[0].exc_info


def test_a_failure_that_is_not_logged_is_not_described():
    log = Log(level=logging.CRITICAL)
    describing = Describing(None, "told")
    run(listeners.DynamicLoggingListener, Step("b", gives=RuntimeError()), log=log.logger, fail_formatter=describing)
    assert (log.records, describing.asked) == ([], [])


def test_a_formatter_that_raises_does_not_disturb_the_run():
    log = Log()
    engine = run(
        listeners.DynamicLoggingListener,
        Step("b", gives=RuntimeError()),
        log=log.logger,
        fail_formatter=Describing("too short"),
    )
    assert engine.storage.get_flow_state() == "REVERTED"
    assert log.of("REVERTED")
