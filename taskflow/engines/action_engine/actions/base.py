# SPDX-License-Identifier: Apache-2.0
"""What have the actions on tasks and on retries in common?"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import recorder as recorders

if TYPE_CHECKING:
    from taskflow import storage as storages
    from taskflow.types import notifier as notifiers


class Action(abc.ABC):
    """Starts atoms of one kind and records what comes of them.

    Args:
        storage: Where that is saved.
        notifier: Who hears of it.
    """

    #: Says that a state comes without a result (``None`` is one).
    NO_RESULT = recorders.NO_RESULT

    #: The states that a result is saved with.
    SAVE_RESULT_STATES = recorders.RESULT_STATES

    #: What kind of atoms, as a layout numbers kinds.
    _kind: int

    def __init__(self, storage: storages.Storage, notifier: notifiers.Notifier) -> None:
        self._storage = storage
        self._notifier = notifier

    @abc.abstractmethod
    def schedule_execution(self, atom: Any) -> Any:
        """Start executing an atom.

        Args:
            atom: The atom.

        Returns:
            A future of ``(EXECUTED, value or Failure)``.
        """

    @abc.abstractmethod
    def schedule_reversion(self, atom: Any) -> Any:
        """Start reverting an atom.

        Args:
            atom: The atom.

        Returns:
            A future of ``(REVERTED, value or Failure)``.
        """

    @abc.abstractmethod
    def complete_execution(self, atom: Any, result: Any) -> None:
        """Record what an execution gave.

        Args:
            atom: The atom.
            result: The value, or the Failure.
        """

    @abc.abstractmethod
    def complete_reversion(self, atom: Any, result: Any) -> None:
        """Record what a reversion gave.

        Args:
            atom: The atom.
            result: The value, or the Failure.
        """

    def _change(self, atom: Any, state: str, progress: float | None, result: Any) -> None:
        # A flow of this atom alone, as far as the recorder needs to know it.
        layout = layouts.Layout(atom)
        layout.items.append(atom)
        layout.kinds.append(self._kind)
        layout.names.append(atom.name)
        details = [self._storage.detail_of(atom.name)]
        recorders.Recorder(layout, details, self._storage, self._notifier).change(0, state, progress, result)
