# SPDX-License-Identifier: Apache-2.0
"""How does an object listen to an engine for a while?"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from taskflow import logging, states
from taskflow.types import failure, notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping
    from types import TracebackType
    from typing import Self

    from taskflow.engines import base as engines

LOG = logging.getLogger(__name__)

# The states in which something has ended, and has a result.
FINISH_STATES = (states.FAILURE, states.SUCCESS, states.REVERTED, states.REVERT_FAILURE)

# All events.
DEFAULT_LISTEN_FOR = (notifier.Notifier.ANY,)

_FLOW, _TASK, _RETRY = "flow", "task", "retry"


def _is_of_task(details: Mapping[str, Any]) -> bool:
    return "task_name" in details and "task_uuid" in details


def _is_of_retry(details: Mapping[str, Any]) -> bool:
    return "retry_name" in details and "retry_uuid" in details


class Listener:
    """Hears the events of an engine while it is registered; subclasses say what happens then.

    Use it in a ``with`` statement around the run. What it raises is logged and does not disturb the run.

    Args:
        engine: the engine.
        task_listen_for: the states of tasks to be heard, ``("*",)`` for all; with nothing in it, none is.
        flow_listen_for: likewise, of the flow.
        retry_listen_for: likewise, of retries.
    """

    def __init__(
        self,
        engine: engines.Engine,
        task_listen_for: Collection[Hashable] | None = DEFAULT_LISTEN_FOR,
        flow_listen_for: Collection[Hashable] | None = DEFAULT_LISTEN_FOR,
        retry_listen_for: Collection[Hashable] | None = DEFAULT_LISTEN_FOR,
    ) -> None:
        self._engine = engine
        self._listen_for: dict[str, tuple[Hashable, ...]] = {
            _TASK: tuple(task_listen_for or ()),
            _RETRY: tuple(retry_listen_for or ()),
            _FLOW: tuple(flow_listen_for or ()),
        }
        # What `register` added, by kind: events with the receivers, which are what can be removed again.
        self._registered: dict[str, list[tuple[Hashable, Callable[..., None]]]] = {}

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        """Hears of the flow.

        Args:
            state: its new state.
            details: ``engine``, ``flow_name``, ``flow_uuid``, ``old_state``.
        """

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        """Hears of tasks.

        Args:
            state: the new state of one.
            details: ``task_name``, ``task_uuid``, ``old_state``, and ``result`` when it has one.
        """

    def _retry_receiver(self, state: str, details: dict[str, Any]) -> None:
        """Hears of retries.

        Args:
            state: the new state of one.
            details: ``retry_name``, ``retry_uuid``, ``old_state``, and ``result`` when it has one.
        """

    def _source(self, kind: str) -> tuple[notifier.Notifier, Callable[..., Any] | None]:
        """The notifier that tells of a kind, and what sorts the other kinds out there."""
        if kind == _FLOW:
            return self._engine.notifier, None
        return self._engine.atom_notifier, _is_of_task if kind == _TASK else _is_of_retry

    def register(self) -> None:
        """Begins to listen; what is listened for already stays as it is.

        Raises:
            ValueError: an event can not be listened for.
        """
        receivers = {_TASK: self._task_receiver, _RETRY: self._retry_receiver, _FLOW: self._flow_receiver}
        for kind, events in self._listen_for.items():
            if not events or kind in self._registered:
                continue
            source, details_filter = self._source(kind)
            receiver = receivers[kind]
            added: list[tuple[Hashable, Callable[..., None]]] = []
            try:
                for event in events:
                    if not source.is_registered(event, receiver, details_filter=details_filter):
                        source.register(event, receiver, details_filter=details_filter)
                        added.append((event, receiver))
            except ValueError:
                for event, receiver in added:
                    source.deregister(event, receiver, details_filter=details_filter)
                raise
            self._registered[kind] = added

    def deregister(self) -> None:
        """Stops listening; harmless when it does not."""
        while self._registered:
            kind, added = self._registered.popitem()
            source, details_filter = self._source(kind)
            for event, receiver in added:
                source.deregister(event, receiver, details_filter=details_filter)

    def __enter__(self) -> Self:
        self.register()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.deregister()
        except Exception:
            # An error of the run itself, if there is one, is what the caller has to see.
            LOG.warning("Listener %r could not be deregistered from engine %s", self, self._engine, exc_info=True)


class DumpingListener(Listener, abc.ABC):
    """Makes a message of each event of the flow and its tasks, and leaves to subclasses where it goes."""

    @abc.abstractmethod
    def _dump(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Puts a message out.

        Args:
            message: a %-format.
            args: its arguments.
            kwargs: ``exc_info`` of a result: the exception when it is a failure, else ``None``.
        """

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._dump(
            "%s has moved flow '%s' (%s) into state '%s' from state '%s'",
            self._engine,
            details["flow_name"],
            details["flow_uuid"],
            state,
            details["old_state"],
        )

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        message = "%s has moved task '%s' (%s) into state '%s' from state '%s'"
        args = (self._engine, details["task_name"], details["task_uuid"], state, details["old_state"])
        if state not in FINISH_STATES:
            self._dump(message, *args)
            return
        result = details.get("result")
        failed = isinstance(result, failure.Failure)
        self._dump(
            message + " with result '%s' (failure=%s)",
            *args,
            result,
            failed,
            exc_info=result.exc_info if isinstance(result, failure.Failure) else None,
        )
