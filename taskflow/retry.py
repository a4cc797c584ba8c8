# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - controllers are called with all that the engine knows, and most need only some of it
"""What happens to a flow when something in it failed: is it tried again, or given up?"""

from __future__ import annotations

import abc
import collections
import enum
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from taskflow import atom
from taskflow import exceptions as exc

if TYPE_CHECKING:
    from taskflow.atom import Provides, Rebind, Requires
    from taskflow.types import failure as ft

    Entry = tuple[Any, dict[str, ft.Failure]]


@enum.unique
class Decision(enum.StrEnum):
    """What a retry controller decides after a failure."""

    REVERT = "REVERT"
    """Give up: a retry of an enclosing flow is asked next; without one only this flow is reverted."""

    REVERT_ALL = "REVERT_ALL"
    """Give up and revert everything that the engine runs."""

    RETRY = "RETRY"
    """Revert what is controlled and run it again."""


REVERT = Decision.REVERT
REVERT_ALL = Decision.REVERT_ALL
RETRY = Decision.RETRY

EXECUTE_REVERT_HISTORY = "history"
REVERT_FLOW_FAILURES = "flow_failures"


class History:
    """What was tried so far, and how each try failed.

    Args:
        contents: pairs of what the controller provided and the failures that followed by atom name, the oldest first.
        failure: how executing the controller itself failed, if it did.
    """

    def __init__(self, contents: list[Entry], failure: ft.Failure | None = None) -> None:
        self._contents = contents
        self._failure = failure

    @property
    def failure(self) -> ft.Failure | None:
        """How executing the controller itself failed; ``None`` if it did not."""
        return self._failure

    def outcomes_iter(self, index: int | None = None) -> Iterator[tuple[str, ft.Failure]]:
        """Goes through the failures of atoms.

        Args:
            index: position of the only try to look at; ``None`` stands for all.

        Yields:
            Pairs of an atom's name and its failure.

        Raises:
            IndexError: there is no try at that position.
        """
        entries = self._contents if index is None else [self._contents[index]]
        for _provided, outcomes in entries:
            yield from outcomes.items()

    def provided_iter(self) -> Iterator[Any]:
        """Goes through the values that the controller provided.

        Yields:
            The value of each try, the oldest first.
        """
        for provided, _outcomes in self._contents:
            yield provided

    def caused_by(self, exception_cls: Any, index: int | None = None, include_retry: bool = False) -> bool:
        """Tells whether some failure comes from a kind of exception.

        Args:
            exception_cls: the exception class, or its qualified name.
            index: position of the only try to look at; ``None`` stands for all.
            include_retry: whether the failure of the controller itself counts.

        Returns:
            True if there is one.
        """
        if any(outcome.check(exception_cls) for _name, outcome in self.outcomes_iter(index)):
            return True
        return bool(include_retry and self._failure is not None and self._failure.check(exception_cls))

    def __len__(self) -> int:
        return len(self._contents)

    def __getitem__(self, index: Any) -> Any:
        return self._contents[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._contents)


class Retry(atom.Atom):
    """Controls a flow: it is executed before the flow's content and asked when that fails.

    Args:
        name: how records, events and messages name it; ``None`` is replaced by ``<flow name>_retry`` when a flow gets
            it.
        provides: symbols under which the result is known (see `taskflow.atom.Atom`).
        requires: further symbols that are passed as arguments of the same name.
        auto_extract: whether the parameters of the methods are required without being named.
        rebind: where arguments come from when the symbol has another name.
    """

    _given_names = frozenset({EXECUTE_REVERT_HISTORY})

    def __init__(
        self,
        name: Any = None,
        provides: Provides = None,
        requires: Requires = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
    ) -> None:
        super().__init__(name=name, provides=provides, requires=requires, auto_extract=auto_extract, rebind=rebind)

    @property
    def name(self) -> Any:
        """How records, events and messages name the controller."""
        return self._name

    @name.setter
    def name(self, name: Any) -> None:
        self._name = name

    @abc.abstractmethod
    def execute(self, history: History, *args: Any, **kwargs: Any) -> Any:
        """Prepares the next try; what it returns is what the controller provides.

        Args:
            history: the tries so far.
            args: not used by the engine, which passes arguments by keyword.
            kwargs: the values of the arguments.

        Returns:
            The value for this try.
        """

    def revert(self, history: History, *args: Any, **kwargs: Any) -> Any:
        """Undoes what `execute` did; does nothing unless overridden.

        Args:
            history: the tries so far.
            args: not used by the engine, which passes arguments by keyword.
            kwargs: the values of the arguments, and ``flow_failures``.

        Returns:
            What is stored as result of the revert.
        """

    @abc.abstractmethod
    def on_failure(self, history: History, *args: Any, **kwargs: Any) -> Decision | str:
        """Decides what follows a failure in the flow.

        Args:
            history: the tries so far, the last one with the failures to decide about.
            args: not used by the engine, which passes arguments by keyword.
            kwargs: the values of the arguments of `execute`.

        Returns:
            The decision.
        """


class AlwaysRevert(Retry):
    """Never tries again; the flow is reverted."""

    def on_failure(self, *args: Any, **kwargs: Any) -> Decision:
        """Gives up.

        Args:
            args: not used.
            kwargs: not used.

        Returns:
            `REVERT`.
        """
        return REVERT

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing.

        Args:
            args: not used.
            kwargs: not used.
        """


class AlwaysRevertAll(Retry):
    """Never tries again; everything is reverted."""

    def on_failure(self, **kwargs: Any) -> Decision:  # type: ignore[override]
        """Gives up.

        Args:
            kwargs: not used.

        Returns:
            `REVERT_ALL`.
        """
        return REVERT_ALL

    def execute(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Does nothing.

        Args:
            kwargs: not used.
        """


class Times(Retry):
    """Tries a number of times; provides the number of the try, from 1.

    Args:
        attempts: how often the flow is run at most, the first time included.
        name: see `Retry`.
        provides: see `Retry`.
        requires: see `Retry`.
        auto_extract: see `Retry`.
        rebind: see `Retry`.
        revert_all: whether everything is reverted in the end, in place of the flow alone.
    """

    def __init__(
        self,
        attempts: int = 1,
        name: Any = None,
        provides: Provides = None,
        requires: Requires = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        revert_all: bool = False,
    ) -> None:
        super().__init__(name, provides, requires, auto_extract, rebind)
        self._attempts = attempts
        self._revert_action = REVERT_ALL if revert_all else REVERT

    def on_failure(self, history: History, *args: Any, **kwargs: Any) -> Decision:
        """Tries again while there are attempts left.

        Args:
            history: the tries so far.
            args: not used.
            kwargs: not used.

        Returns:
            The decision.
        """
        return RETRY if len(history) < self._attempts else self._revert_action

    def execute(self, history: History, *args: Any, **kwargs: Any) -> int:
        """Counts.

        Args:
            history: the tries so far.
            args: not used.
            kwargs: not used.

        Returns:
            The number of this try.
        """
        return len(history) + 1


def _first_untried(values: Iterable[Any], tried: list[Any]) -> Any:
    """Finds the first of the values that is left when each tried one crosses out one equal value.

    Raises:
        StopIteration: none is left.
    """
    try:
        crossings = collections.Counter(tried)
        for value in values:
            if not crossings[value]:
                return value
            crossings[value] -= 1
    except TypeError:
        # Something can not be hashed (or gone through, which shows below); then only comparing is left.
        remaining = list(values)
        for value in tried:
            if value in remaining:
                remaining.remove(value)
        return next(iter(remaining))
    raise StopIteration


class ForEachBase(Retry):
    """Base of controllers that try one value after the other.

    Args:
        name: see `Retry`.
        provides: see `Retry`.
        requires: see `Retry`.
        auto_extract: see `Retry`.
        rebind: see `Retry`.
        revert_all: whether everything is reverted in the end, in place of the flow alone.
    """

    def __init__(
        self,
        name: Any = None,
        provides: Provides = None,
        requires: Requires = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        revert_all: bool = False,
    ) -> None:
        super().__init__(name, provides, requires, auto_extract, rebind)
        self._revert_action = REVERT_ALL if revert_all else REVERT

    def _get_next_value(self, values: Iterable[Any], history: History) -> Any:
        """Finds the value to try next.

        Args:
            values: all values, in the order in which they are to be tried.
            history: the tries so far.

        Returns:
            The first value that was not tried yet; equal ones are tried as often as they occur.

        Raises:
            taskflow.exceptions.NotFound: all were tried.
        """
        try:
            return _first_untried(values, list(history.provided_iter()))
        except StopIteration:
            raise exc.NotFound(
                f"No elements left for retry '{self.name}' after {len(history)} attempt(s): give it more values"
            ) from None

    def _on_failure(self, values: Iterable[Any], history: History) -> Decision:
        """Tries again while there is a value left.

        Args:
            values: all values.
            history: the tries so far.

        Returns:
            The decision.
        """
        try:
            self._get_next_value(values, history)
        except exc.NotFound:
            return self._revert_action
        return RETRY


class ForEach(ForEachBase):
    """Tries the values that its constructor is given; provides the value of the try.

    Args:
        values: the values, in order.
        name: see `Retry`.
        provides: see `Retry`.
        requires: see `Retry`.
        auto_extract: see `Retry`.
        rebind: see `Retry`.
        revert_all: whether everything is reverted in the end, in place of the flow alone.
    """

    def __init__(
        self,
        values: Iterable[Any],
        name: Any = None,
        provides: Provides = None,
        requires: Requires = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        revert_all: bool = False,
    ) -> None:
        super().__init__(name, provides, requires, auto_extract, rebind, revert_all)
        # All values are looked at for each try, which an iterator allows only once.
        self._values = tuple(values) if isinstance(values, Iterator) else values

    def on_failure(self, history: History, *args: Any, **kwargs: Any) -> Decision:
        """Tries again while there is a value left.

        Args:
            history: the tries so far.
            args: not used.
            kwargs: not used.

        Returns:
            The decision.
        """
        return self._on_failure(self._values, history)

    def execute(self, history: History, *args: Any, **kwargs: Any) -> Any:
        """Chooses the next value.

        Args:
            history: the tries so far.
            args: not used.
            kwargs: not used.

        Returns:
            The value.
        """
        return self._get_next_value(self._values, history)


class ParameterizedForEach(ForEachBase):
    """Tries the values that it is given as argument ``values``; provides the value of the try.

    Args:
        name: see `Retry`.
        provides: see `Retry`.
        requires: see `Retry`.
        auto_extract: see `Retry`.
        rebind: see `Retry`; usually binds ``values`` to another symbol.
        revert_all: whether everything is reverted in the end, in place of the flow alone.
    """

    def on_failure(self, values: Iterable[Any], history: History, *args: Any, **kwargs: Any) -> Decision:  # type: ignore[override]
        """Tries again while there is a value left.

        Args:
            values: all values, in order.
            history: the tries so far.
            args: not used.
            kwargs: not used.

        Returns:
            The decision.
        """
        return self._on_failure(values, history)

    def execute(self, values: Iterable[Any], history: History, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Chooses the next value.

        Args:
            values: all values, in order.
            history: the tries so far.
            args: not used.
            kwargs: not used.

        Returns:
            The value.
        """
        return self._get_next_value(values, history)
