# SPDX-License-Identifier: Apache-2.0
"""How does a run show in the log?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from taskflow import formatters, logging, states
from taskflow.listeners import base
from taskflow.types import failure

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from taskflow.engines import base as engines
    from taskflow.types import tree

LOG = logging.getLogger(__name__)

# The states that are logged as failures are.
_BAD_FLOW_STATES = frozenset((states.FAILURE, states.REVERTED))
_BAD_TASK_STATES = frozenset((states.FAILURE, states.REVERTED, states.REVERT_FAILURE, states.RETRYING))

_FLOW_MOVED = "Flow '%s' (%s) transitioned into state '%s' from state '%s'"
_TASK_MOVED = "Task '%s' (%s) transitioned into state '%s' from state '%s'"
_TASK_GAVE = f"{_TASK_MOVED} with result '%s'"
_TASK_FAILED_AFTER = f"{_TASK_MOVED}%s%s"


def _first_given(*loggers: Any) -> Any:
    return next((logger for logger in loggers if logger is not None), LOG)


class LoggingListener(base.DumpingListener):
    """Logs the events of the flow and its tasks, all at one level, failures with their tracebacks.

    Args:
        engine: the engine.
        task_listen_for: the states of tasks to be logged.
        flow_listen_for: the states of the flow to be logged.
        retry_listen_for: as for every listener; retries are not logged.
        log: the logger or logger adapter; by default the logger of the class, else that of this module.
        level: the level to log at.
    """

    #: The logger of a subclass, when none is given.
    _LOGGER: Any = None

    def __init__(
        self,
        engine: engines.Engine,
        task_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        flow_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        retry_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        log: Any = None,
        level: int = logging.DEBUG,
    ) -> None:
        super().__init__(
            engine,
            task_listen_for=task_listen_for,
            flow_listen_for=flow_listen_for,
            retry_listen_for=retry_listen_for,
        )
        self._logger = _first_given(log, self._LOGGER)
        self._level = level

    def _dump(self, message: str, *args: Any, **kwargs: Any) -> None:
        self._logger.log(self._level, message, *args, **kwargs)


class DynamicLoggingListener(base.Listener):
    """Logs the events of the flow and its tasks at levels by what they mean, failures with what came before them.

    Args:
        engine: the engine.
        task_listen_for: the states of tasks to be logged.
        flow_listen_for: the states of the flow to be logged.
        retry_listen_for: as for every listener; retries are not logged.
        log: the logger or logger adapter; by default the logger of the class, else that of this module.
        failure_level: the level of failures, and of what has been reverted.
        level: the level of everything else.
        hide_inputs_outputs_of: names of tasks whose arguments and results are not logged.
        fail_formatter: describes failures (see `taskflow.formatters.FailureFormatter`, which is the default).
        mask_inputs_keys: keys whose values are masked wherever they occur in arguments.
        mask_outputs_keys: keys whose values are masked wherever they occur in results.
    """

    #: The logger of a subclass, when none is given.
    _LOGGER: Any = None

    def __init__(
        self,
        engine: engines.Engine,
        task_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        flow_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        retry_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        log: Any = None,
        failure_level: int = logging.WARNING,
        level: int = logging.DEBUG,
        hide_inputs_outputs_of: Collection[str] = (),
        fail_formatter: Any = None,
        mask_inputs_keys: Collection[Hashable] = (),
        mask_outputs_keys: Collection[Hashable] = (),
    ) -> None:
        super().__init__(
            engine,
            task_listen_for=task_listen_for,
            flow_listen_for=flow_listen_for,
            retry_listen_for=retry_listen_for,
        )
        self._logger = _first_given(log, self._LOGGER)
        self._failure_level = failure_level
        self._level = level
        self._hide_inputs_outputs_of = frozenset(hide_inputs_outputs_of)
        self._mask_outputs_keys = mask_outputs_keys
        if fail_formatter is None:
            fail_formatter = formatters.FailureFormatter(
                engine,
                hide_inputs_outputs_of=self._hide_inputs_outputs_of,
                mask_inputs_keys=mask_inputs_keys,
                mask_outputs_keys=mask_outputs_keys,
            )
        self._fail_formatter = fail_formatter

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._logger.log(
            self._failure_level if state in _BAD_FLOW_STATES else self._level,
            _FLOW_MOVED,
            details["flow_name"],
            details["flow_uuid"],
            state,
            details["old_state"],
        )

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        name = details["task_name"]
        args = (name, details["task_uuid"], state, details["old_state"])
        level = self._failure_level if state in _BAD_TASK_STATES else self._level
        if "result" not in details or state not in base.FINISH_STATES:
            self._logger.log(level, _TASK_MOVED, *args)
            return
        result = details["result"]
        if isinstance(result, failure.Failure):
            self._log_failure(args, result)
            return
        wanted = state == states.FAILURE or self._logger.isEnabledFor(self._level)
        if wanted and name not in self._hide_inputs_outputs_of:
            if self._mask_outputs_keys:
                result = formatters.mask(result, self._mask_outputs_keys)
            self._logger.log(level, _TASK_GAVE, *args, result)
        else:
            self._logger.log(level, _TASK_MOVED, *args)

    def _log_failure(self, args: tuple[Any, ...], fail: failure.Failure) -> None:
        # Describing it reads the results of other atoms: not for a record that nobody gets.
        if not self._logger.isEnabledFor(self._failure_level):
            return

        def is_of_task(node: tree.Node) -> bool:
            return bool(node.item.name == args[0])

        exc_info, text = self._fail_formatter.format(fail, is_of_task)
        if text:
            self._logger.log(self._failure_level, _TASK_FAILED_AFTER, *args, os.linesep, text, exc_info=exc_info)
        else:
            self._logger.log(self._failure_level, _TASK_MOVED, *args, exc_info=exc_info)
