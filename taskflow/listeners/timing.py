# SPDX-License-Identifier: Apache-2.0
"""How long do a flow and its tasks take, and when does what happen?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging, states
from taskflow.listeners import base

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow.engines import base as engines

LOG = logging.getLogger(__name__)

STARTING_STATES = frozenset((states.RUNNING, states.REVERTING))
FINISHED_STATES = frozenset((states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE))
WATCH_STATES = STARTING_STATES | FINISHED_STATES | {states.PENDING}

# How many of those that had not ended are named in the log.
_MOST_NAMES = 10

# The key of a task's metadata that keeps, besides the last duration, that of what started with a state.
_OWN_KEYS = {states.RUNNING: "execute_duration", states.REVERTING: "revert_duration"}


class DurationListener(base.Listener):
    """Stores how many seconds the flow and each of its tasks took, as ``duration`` in their metadata.

    A task's ``duration`` is that of the last time it was executed or reverted. What either took the last time is in
    ``execute_duration`` and ``revert_duration``. The flow's is from when it ran to when it ended, in whichever way; a
    suspension in between counts, as long as the listener stays.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: engines.Engine) -> None:
        super().__init__(engine, task_listen_for=WATCH_STATES, flow_listen_for=WATCH_STATES, retry_listen_for=None)
        # By kind and name: the state that the time runs from, and the clock then.
        self._running: dict[str, dict[str, tuple[str, float]]] = {"task": {}, "flow": {}}

    def deregister(self) -> None:
        """Stops listening; warns of what has started and not ended."""
        super().deregister()
        for kind, running in self._running.items():
            if running:
                names = ", ".join(sorted(running)[:_MOST_NAMES])
                LOG.warning("No duration was stored of %s %s(s) that had not ended: %s", len(running), kind, names)
                running.clear()

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._receiver("flow", details["flow_name"], state)

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._receiver("task", details["task_name"], state)

    def _receiver(self, kind: str, name: str, state: str) -> None:
        running = self._running[kind]
        if state in STARTING_STATES:
            running[name] = state, time.monotonic()
            self._started(kind, name)
        elif state in FINISHED_STATES:
            if name in running:
                began_as, began_at = running.pop(name)
                seconds = time.monotonic() - began_at
                self._store(kind, name, began_as, seconds)
                self._finished(kind, name, seconds)
        elif state == states.PENDING:
            running.pop(name, None)

    def _store(self, kind: str, name: str, began_as: str, seconds: float) -> None:
        update = {"duration": seconds}
        try:
            if kind == "task":
                update[_OWN_KEYS[began_as]] = seconds
                self._engine.storage.update_atom_metadata(name, update)
            else:
                self._engine.storage.update_flow_metadata(update)
        except exc.StorageFailure:
            LOG.warning("Could not store %s as metadata of %s '%s'", update, kind, name, exc_info=True)

    def _started(self, kind: str, name: str) -> None:
        """Called when a time begins to run."""

    def _finished(self, kind: str, name: str, seconds: float) -> None:
        """Called when a time has ended."""


class PrintingDurationListener(DurationListener):
    """Stores durations, and prints them.

    Args:
        engine: the engine.
        printer: called with each text; ``print`` by default.
    """

    def __init__(self, engine: engines.Engine, printer: Callable[[str], object] | None = None) -> None:
        super().__init__(engine)
        self._printer: Callable[[str], object] = print if printer is None else printer

    def _started(self, kind: str, name: str) -> None:
        self._printer(f"'{name}' {kind} started.")

    def _finished(self, kind: str, name: str, seconds: float) -> None:
        self._printer(f"It took {kind} '{name}' {seconds:.2f} seconds to finish.")


class EventTimeListener(base.Listener):
    """Stores when what entered a state: ``<state>-timestamp``, seconds since the epoch, in its metadata."""

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        update = _timestamp(state)
        try:
            self._engine.storage.update_flow_metadata(update)
        except exc.StorageFailure:
            LOG.warning("Could not store %s as metadata of flow '%s'", update, details["flow_name"], exc_info=True)

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._store("task", details["task_name"], state)

    def _retry_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._store("retry", details["retry_name"], state)

    def _store(self, kind: str, name: str, state: str) -> None:
        update = _timestamp(state)
        try:
            self._engine.storage.update_atom_metadata(name, update)
        except exc.StorageFailure:
            LOG.warning("Could not store %s as metadata of %s '%s'", update, kind, name, exc_info=True)


def _timestamp(state: str) -> dict[str, float]:
    return {f"{state}-timestamp": time.time()}
