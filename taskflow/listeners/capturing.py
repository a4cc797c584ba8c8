# SPDX-License-Identifier: Apache-2.0
"""How are the events of a run kept to be looked at later?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow.listeners import base

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from taskflow.engines import base as engines


class CaptureListener(base.Listener):
    """Keeps the events in a list, for tests and for looking at short runs.

    Args:
        engine: the engine.
        task_listen_for: the states of tasks to be kept.
        flow_listen_for: the states of the flow to be kept.
        retry_listen_for: the states of retries to be kept.
        capture_flow: whether to keep events of the flow at all.
        capture_task: whether to keep events of tasks at all.
        capture_retry: whether to keep events of retries at all.
        skip_tasks: names of tasks to be left out.
        skip_retries: names of retries to be left out.
        skip_flows: names of flows to be left out.
        values: the list to append to; a new one by default.
    """

    FLOW = "flow"
    TASK = "task"
    RETRY = "retry"

    def __init__(
        self,
        engine: engines.Engine,
        task_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        flow_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        retry_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        capture_flow: bool = True,
        capture_task: bool = True,
        capture_retry: bool = True,
        skip_tasks: Collection[str] | None = None,
        skip_retries: Collection[str] | None = None,
        skip_flows: Collection[str] | None = None,
        values: list[Any] | None = None,
    ) -> None:
        super().__init__(
            engine,
            task_listen_for=task_listen_for,
            flow_listen_for=flow_listen_for,
            retry_listen_for=retry_listen_for,
        )
        self._captured = {self.FLOW: capture_flow, self.TASK: capture_task, self.RETRY: capture_retry}
        self._skipped = {self.FLOW: skip_flows or (), self.TASK: skip_tasks or (), self.RETRY: skip_retries or ()}
        self.values: list[Any] = [] if values is None else values

    @staticmethod
    def _format_capture(kind: str, state: str, details: dict[str, Any]) -> Any:
        """Makes the entry of an event.

        Args:
            kind: `FLOW`, `TASK` or `RETRY`.
            state: the new state.
            details: what is known of the event.

        Returns:
            What is appended to the values.
        """
        return kind, state, details

    def _capture(self, kind: str, state: str, details: dict[str, Any]) -> None:
        if self._captured[kind] and details[f"{kind}_name"] not in self._skipped[kind]:
            self.values.append(self._format_capture(kind, state, details))

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._capture(self.FLOW, state, details)

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._capture(self.TASK, state, details)

    def _retry_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._capture(self.RETRY, state, details)
