# SPDX-License-Identifier: Apache-2.0
"""How is one task started, and its outcome recorded?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import atom as atoms
from taskflow import exceptions as exc
from taskflow import states
from taskflow.engines.action_engine import launching
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine.actions import base
from taskflow.types import failure

if TYPE_CHECKING:
    from taskflow import storage as storages
    from taskflow.types import notifier as notifiers


class TaskAction(base.Action):
    """Starts tasks and records what comes of them.

    Args:
        storage: Where that is saved.
        notifier: Who hears of it.
        task_executor: What runs them.
    """

    _kind = layouts.TASK

    def __init__(self, storage: storages.Storage, notifier: notifiers.Notifier, task_executor: Any) -> None:
        super().__init__(storage, notifier)
        self._task_executor = task_executor

    def change_state(
        self, task: Any, state: str, progress: float | None = None, result: Any = base.Action.NO_RESULT
    ) -> None:
        """Save that a task is in a state, and tell; nothing happens where state and progress are what they were.

        Args:
            task: The task.
            state: The state.
            progress: How far it is, 0.0 to 1.0; ``None`` to leave what is recorded.
            result: What came of it; only of use with a state of ``SAVE_RESULT_STATES``.
        """
        self._change(task, state, progress, result)

    def schedule_execution(self, task: Any) -> Any:
        """Start executing a task; see :meth:`Action.schedule_execution`."""
        self.change_state(task, states.RUNNING, progress=0.0)
        storage = self._storage
        arguments = storage.fetch_mapped_args(
            atoms.arguments_of(task), atom_name=task.name, optional_args=task.optional
        )
        return self._task_executor.execute_task(
            task,
            storage.get_atom_uuid(task.name),
            arguments,
            progress_callback=launching.progress_saver(storage, task),
        )

    def complete_execution(self, task: Any, result: Any) -> None:
        """Record what an execution gave; see :meth:`Action.complete_execution`."""
        if isinstance(result, failure.Failure):
            self.change_state(task, states.FAILURE, result=result)
        else:
            self.change_state(task, states.SUCCESS, progress=1.0, result=result)

    def schedule_reversion(self, task: Any) -> Any:
        """Start reverting a task; see :meth:`Action.schedule_reversion`."""
        storage = self._storage
        try:
            result = storage.get(task.name)
        except exc.NotFound:
            result = None
        self.change_state(task, states.REVERTING, progress=0.0)
        arguments = storage.fetch_mapped_args(
            atoms.arguments_of(task, revert=True), atom_name=task.name, optional_args=task.revert_optional
        )
        return self._task_executor.revert_task(
            task,
            storage.get_atom_uuid(task.name),
            arguments,
            result,
            storage.get_execute_failures(),
            progress_callback=launching.progress_saver(storage, task),
        )

    def complete_reversion(self, task: Any, result: Any) -> None:
        """Record what a reversion gave; see :meth:`Action.complete_reversion`."""
        if isinstance(result, failure.Failure):
            self.change_state(task, states.REVERT_FAILURE, result=result)
        else:
            self.change_state(task, states.REVERTED, progress=1.0, result=result)
