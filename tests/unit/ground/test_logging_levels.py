# SPDX-License-Identifier: Apache-2.0
"""Do the loggers of the library have one more level, and stay silent until somebody configures logging?"""

import logging as standard
import warnings

import pytest

from taskflow import logging


@pytest.mark.parametrize("name", ["CRITICAL", "DEBUG", "ERROR", "FATAL", "INFO", "NOTSET", "WARN", "WARNING"])
def test_levels_are_those_of_the_standard_library(name):
    expected = standard.WARNING if name == "WARN" else getattr(standard, name)
    assert getattr(logging, name) == expected


def test_the_additional_level():
    assert logging.TRACE == logging.BLATHER == 5


def test_a_logger_is_an_adapter_over_the_standard_one_with_a_handler():
    log = logging.getLogger("taskflow.tests.ground.handler")
    assert isinstance(log, standard.LoggerAdapter)
    assert log.logger is standard.getLogger("taskflow.tests.ground.handler")
    assert [type(h) for h in log.logger.handlers] == [standard.NullHandler]
    logging.getLogger("taskflow.tests.ground.handler")
    assert len(log.logger.handlers) == 1


def test_the_default_name():
    assert logging.getLogger().logger.name == "taskflow"


def test_trace_logs_at_its_level_and_names_the_caller(caplog):
    log = logging.getLogger("taskflow.tests.ground.trace")
    with caplog.at_level(logging.TRACE, logger="taskflow.tests.ground.trace"):
        log.trace("found %s", "it")
        log.debug("as usual")
    assert [(r.levelno, r.getMessage(), r.funcName) for r in caplog.records] == [
        (5, "found it", "test_trace_logs_at_its_level_and_names_the_caller"),
        (10, "as usual", "test_trace_logs_at_its_level_and_names_the_caller"),
    ]


def test_trace_is_silent_above_its_level(caplog):
    log = logging.getLogger("taskflow.tests.ground.silent")
    with caplog.at_level(logging.DEBUG, logger="taskflow.tests.ground.silent"):
        log.trace("nobody reads this")
    assert caplog.records == []
    assert log.isEnabledFor(logging.DEBUG) is False


def test_warn_is_warning_without_a_deprecation(caplog):
    log = logging.getLogger("taskflow.tests.ground.warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.warn("careful")  # noqa: G010 - the old name is what is looked at
    assert [(r.levelname, r.message, r.funcName) for r in caplog.records] == [
        ("WARNING", "careful", "test_warn_is_warning_without_a_deprecation")
    ]


def test_log_takes_a_level(caplog):
    log = logging.getLogger("taskflow.tests.ground.level")
    log.log(logging.ERROR, "%d", 1)
    assert caplog.records[0].levelno == standard.ERROR


def test_extra_attributes_are_on_each_record(caplog):
    logging.getLogger("taskflow.tests.ground.extra", extra={"flow": "f"}).warning("x")
    assert caplog.records[0].flow == "f"
