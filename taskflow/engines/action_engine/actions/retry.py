# SPDX-License-Identifier: Apache-2.0
"""How is one retry started and asked, and its outcome recorded?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import retry as retries
from taskflow import states
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import resolution
from taskflow.engines.action_engine.actions import base
from taskflow.types import failure

if TYPE_CHECKING:
    from taskflow import storage as storages
    from taskflow.types import notifier as notifiers


class RetryAction(base.Action):
    """Starts retries, records what comes of them, and asks them about failures.

    Args:
        storage: Where that is saved.
        notifier: Who hears of it.
        retry_executor: What runs them.
    """

    _kind = layouts.RETRY

    def __init__(self, storage: storages.Storage, notifier: notifiers.Notifier, retry_executor: Any) -> None:
        super().__init__(storage, notifier)
        self._retry_executor = retry_executor

    def change_state(self, retry: Any, state: str, result: Any = base.Action.NO_RESULT) -> None:
        """Save that a retry is in a state, and tell; nothing happens if it is in it already and nothing came of it.

        Args:
            retry: The retry.
            state: The state; ``REVERTED`` forgets its attempts.
            result: What came of it; only of use with a state of ``SAVE_RESULT_STATES``.
        """
        self._change(retry, state, None, result)

    def schedule_execution(self, retry: Any) -> Any:
        """Start executing a retry; see :meth:`Action.schedule_execution`."""
        self.change_state(retry, states.RUNNING)
        storage = self._storage
        arguments = storage.fetch_mapped_args(retry.rebind, atom_name=retry.name, optional_args=retry.optional)
        arguments[retries.EXECUTE_REVERT_HISTORY] = storage.get_retry_history(retry.name)
        return self._retry_executor.execute_retry(retry, arguments)

    def complete_execution(self, retry: Any, result: Any) -> None:
        """Record what an execution gave; see :meth:`Action.complete_execution`."""
        failed = isinstance(result, failure.Failure)
        self.change_state(retry, states.FAILURE if failed else states.SUCCESS, result=result)

    def schedule_reversion(self, retry: Any) -> Any:
        """Start reverting a retry; see :meth:`Action.schedule_reversion`."""
        self.change_state(retry, states.REVERTING)
        storage = self._storage
        arguments = storage.fetch_mapped_args(
            retry.revert_rebind, atom_name=retry.name, optional_args=retry.revert_optional
        )
        arguments[retries.EXECUTE_REVERT_HISTORY] = storage.get_retry_history(retry.name)
        arguments[retries.REVERT_FLOW_FAILURES] = storage.get_execute_failures()
        return self._retry_executor.revert_retry(retry, arguments)

    def complete_reversion(self, retry: Any, result: Any) -> None:
        """Record what a reversion gave; see :meth:`Action.complete_reversion`."""
        failed = isinstance(result, failure.Failure)
        self.change_state(retry, states.REVERT_FAILURE if failed else states.REVERTED, result=result)

    def on_failure(self, retry: Any, atom: Any, last_failure: failure.Failure) -> Any:
        """Put a failure into the newest attempt of a retry, and ask the retry what to do.

        Args:
            retry: The retry.
            atom: What has failed.
            last_failure: Its failure.

        Returns:
            The answer.
        """
        self._storage.save_retry_failure(retry.name, atom.name, last_failure)
        return resolution.ask(self._storage, retry)
