# SPDX-License-Identifier: Apache-2.0
"""What can be asked of every engine?"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from taskflow.types import notifier as notifiers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskflow import storage as storages
    from taskflow.persistence import base, models


class Engine(abc.ABC):
    """Runs a flow.

    Args:
        flow: The flow, or a lone task.
        flow_detail: Its record.
        backend: Where the record is saved; ``None`` for nowhere but in memory.
        options: Options of the engine; unknown ones are kept and ignored.
    """

    def __init__(
        self,
        flow: Any,
        flow_detail: models.FlowDetail,
        backend: base.Backend | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        self._flow = flow
        self._flow_detail = flow_detail
        self._backend = backend
        try:
            self._options: dict[str, Any] = dict(options) if options else {}
        except (TypeError, ValueError) as e:
            raise TypeError(f"Options of an engine must be a dict of names and values, not {options!r}") from e
        self._notifier = notifiers.Notifier()
        self._atom_notifier = notifiers.Notifier()

    @property
    def notifier(self) -> notifiers.Notifier:
        """Tells of the states of the flow."""
        return self._notifier

    @property
    def atom_notifier(self) -> notifiers.Notifier:
        """Tells of the states of tasks and retries."""
        return self._atom_notifier

    @property
    def options(self) -> dict[str, Any]:
        """The options, as a dict of the engine's own."""
        return self._options

    @property
    @abc.abstractmethod
    def storage(self) -> storages.Storage:
        """What is known of the flow: states, results, who provides what."""

    @property
    @abc.abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Figures of the last (or present) run."""

    @abc.abstractmethod
    def compile(self) -> None:
        """Compile the flow; once only."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make sure that every atom has a record; needs :meth:`compile`."""

    @abc.abstractmethod
    def validate(self) -> None:
        """Check that whatever atoms require can be provided; needs :meth:`prepare`."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Set everything back to its beginning."""

    @abc.abstractmethod
    def run(self) -> None:
        """Run the flow to its end, doing what of the above has not been done."""

    @abc.abstractmethod
    def suspend(self) -> None:
        """Start nothing new, and end when what is running has ended."""
