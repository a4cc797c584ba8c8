# SPDX-License-Identifier: Apache-2.0
"""How are chosen atoms started, each in the way that its intention says?

For tools that drive a flow by hand; engines start atoms in their loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import states
from taskflow.types import failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskflow.engines.action_engine import runtime as runtimes


class RetryScheduler:
    """Starts retries.

    Args:
        runtime: What they are part of.
    """

    def __init__(self, runtime: runtimes.Runtime) -> None:
        self._runtime = runtime

    def schedule(self, retry: Any) -> Any:
        """Execute a retry, revert it, or begin its next attempt.

        Args:
            retry: The retry.

        Returns:
            The future of what was started.

        Raises:
            ExecutionFailure: Its intention is none of these.
        """
        runtime, action = self._runtime, self._runtime.retry_action
        intention = runtime.storage.get_atom_intention(retry.name)
        if intention == states.REVERT:
            return action.schedule_reversion(retry)
        if intention == states.RETRY:
            action.change_state(retry, states.RETRYING)
            runtime.retry_subflow(retry)
        elif intention != states.EXECUTE:
            raise _unknown("retry", retry, intention, "executed, reverted or retried")
        return action.schedule_execution(retry)


class TaskScheduler:
    """Starts tasks.

    Args:
        runtime: What they are part of.
    """

    def __init__(self, runtime: runtimes.Runtime) -> None:
        self._runtime = runtime

    def schedule(self, task: Any) -> Any:
        """Execute a task or revert it.

        Args:
            task: The task.

        Returns:
            The future of what was started.

        Raises:
            ExecutionFailure: Its intention is neither.
        """
        action = self._runtime.task_action
        intention = self._runtime.storage.get_atom_intention(task.name)
        if intention == states.EXECUTE:
            return action.schedule_execution(task)
        if intention == states.REVERT:
            return action.schedule_reversion(task)
        raise _unknown("task", task, intention, "executed or reverted")


class Scheduler:
    """Starts atoms of either kind.

    Args:
        runtime: What they are part of.
    """

    def __init__(self, runtime: runtimes.Runtime) -> None:
        self._runtime = runtime

    def schedule(self, atoms: Iterable[Any]) -> tuple[set[Any], list[failure.Failure]]:
        """Start atoms in the given order, until one cannot be started.

        Args:
            atoms: Tasks and retries.

        Returns:
            The futures of what was started, and what was in the way of the next one.
        """
        futures: set[Any] = set()
        for atom in atoms:
            try:
                futures.add(self._runtime.fetch_scheduler(atom).schedule(atom))
            except Exception:
                return futures, [failure.Failure()]
        return futures, []


def _unknown(kind: str, atom: Any, intention: str | None, known: str) -> exc.ExecutionFailure:
    return exc.ExecutionFailure(f"Cannot start {kind} {atom.name!r} with intention {intention}: it can only be {known}")
