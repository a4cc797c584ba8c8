# SPDX-License-Identifier: Apache-2.0
"""How is a step of a flow written, and how does it tell of its progress?"""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from taskflow import atom, binding, logging
from taskflow.types import notifier
from taskflow.utils import names

if TYPE_CHECKING:
    from taskflow.atom import Provides, Rebind, Requires

LOG = logging.getLogger(__name__)

REVERT_RESULT = "result"
REVERT_FLOW_FAILURES = "flow_failures"
EVENT_UPDATE_PROGRESS = "update_progress"

# How progress reaches the engine
# -------------------------------
# While an engine runs `execute` or `revert` of a task it sets `task._progress_hook` to a callable of (event_type,
# details) and afterwards sets it to None again. The hook hears each `update_progress` event exactly once, before all
# listeners and with a copy of the details of its own, whichever way the task sends it:
#
# * `task.update_progress(...)`: through the notifier if there is one, else directly; a task that nobody listens to
# therefore
#   never gets a notifier (`task._notifier` stays None);
# * `task.notifier.notify('update_progress', {...})`: the notifier of a task knows its task (weakly) and calls the
# hook first.
#
# A class whose TASK_EVENTS lack `update_progress` has no engine listening, so the hook is not called there. An error
# of the hook is logged as a warning and swallowed like that of a listener. The hook is no listener: it is not
# counted, and neither copies (`Task.copy`, the copy module) nor pickles of a task carry it.


class _TaskNotifier(notifier.RestrictedNotifier):
    """The notifier of one task, which lets the engine hear first."""

    _owner: weakref.ref[Task] | None = None

    def notify(self, event_type: Hashable, details: dict[str, Any] | None) -> None:
        if event_type == EVENT_UPDATE_PROGRESS and self._owner is not None:
            owner = self._owner()
            if owner is not None and owner._progress_hook is not None:
                owner._tell_engine(details)
        super().notify(event_type, details)

    def copy(self) -> Self:
        duplicate = super().copy()
        duplicate.__dict__.pop("_owner", None)
        return duplicate

    def __getstate__(self) -> Any:
        return atom.state_without(super().__getstate__(), "_owner")


class Task(atom.Atom):
    """A unit of work in a flow: override `execute`, and `revert` if it can be undone.

    Args:
        name: how records, events and messages name it; ``None`` takes the qualified name of the class.
        provides: symbols under which the result is known (see `taskflow.atom.Atom`).
        requires: further symbols that are passed as arguments of the same name.
        auto_extract: whether the parameters of the methods are required without being named.
        rebind: where arguments come from when the symbol has another name.
        inject: values that only this task gets, by symbol.
        ignore_list: names of parameters that are not inferred; one without a default value is inferred all the same,
            as the method could not be called without it.
        revert_rebind: what `revert` uses in place of ``rebind``.
        revert_requires: what `revert` uses in place of ``requires``.
    """

    TASK_EVENTS: Sequence[str] = (EVENT_UPDATE_PROGRESS,)
    """Events that listeners of `notifier` can register for."""

    _notifier: notifier.RestrictedNotifier | None = None
    _progress_hook: Callable[[Any, dict[str, Any]], object] | None = None

    def __init__(
        self,
        name: Any = None,
        provides: Provides = None,
        requires: Requires = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        inject: Mapping[Any, Any] | None = None,
        ignore_list: Iterable[str] | None = None,
        revert_rebind: Rebind = None,
        revert_requires: Requires = None,
    ) -> None:
        if name is None:
            name = names.class_name(self)
        super().__init__(
            name, provides, requires, auto_extract, rebind, inject, ignore_list, revert_rebind, revert_requires
        )

    @property
    def notifier(self) -> notifier.RestrictedNotifier:
        """Where listeners register for the events of this task; made when it is first asked for."""
        own = self._notifier
        if own is None:
            # Two threads may come here at once: both must leave with the same object.
            own = self.__dict__.get("_notifier") or self.__dict__.setdefault(
                "_notifier", _TaskNotifier(self.TASK_EVENTS)
            )
        if isinstance(own, _TaskNotifier) and (own._owner is None or own._owner() is not self):
            own._owner = weakref.ref(self)
        return own

    def copy(self, retain_listeners: bool = True) -> Self:
        """Makes a shallow copy of the task.

        Args:
            retain_listeners: whether the listeners of this task are those of the copy too.

        Returns:
            The copy, with a notifier of its own and all other attributes shared.
        """
        for mapping in ("rebind", "revert_rebind", "save_as"):
            getattr(self, mapping)  # what is made when first read must be made now to be shared
        duplicate = copy.copy(self)
        own = self._notifier
        duplicate.__dict__.pop("_notifier", None)
        if own is not None and retain_listeners:
            duplicate._notifier = own.copy()
        return duplicate

    def __getstate__(self) -> Any:
        return atom.state_without(super().__getstate__(), "_progress_hook")

    def _ignorable(self, method: Callable[..., Any], ignored: Sequence[str]) -> Sequence[str]:
        if not ignored:
            return ignored
        required = binding.signature_of(method).required
        return [name for name in ignored if name not in required]

    def _tell_engine(self, details: dict[str, Any] | None) -> None:
        hook = self._progress_hook
        if hook is None or EVENT_UPDATE_PROGRESS not in self.TASK_EVENTS:
            return
        try:
            hook(EVENT_UPDATE_PROGRESS, dict(details) if details else {})
        except Exception:
            notifier.LOG.warning(
                "The engine failed to take event '%s' of task '%s' with details %r",
                EVENT_UPDATE_PROGRESS,
                self.name,
                details,
                exc_info=True,
            )

    def update_progress(self, progress: float) -> None:
        """Tells how much of the work is done; the engine stores it and listeners hear it.

        Args:
            progress: the part that is done, from 0.0 to 1.0; what lies outside is moved to the nearer end, with a
                warning.

        Raises:
            TypeError: it can not be compared with numbers.
        """
        if progress > 1.0:
            LOG.warning("Progress %r of task '%s' is above 1.0, which is taken in its place", progress, self.name)
            progress = 1.0
        elif progress < 0.0:
            LOG.warning("Progress %r of task '%s' is below 0.0, which is taken in its place", progress, self.name)
            progress = 0.0
        details = {"progress": progress}
        if self._notifier is not None:
            self.notifier.notify(EVENT_UPDATE_PROGRESS, details)
        elif self._progress_hook is not None:
            self._tell_engine(details)


class FunctorTask(Task):
    """A task made of functions.

    Args:
        execute: does the work; its parameters are the arguments of the task.
        name: the name of the task; ``None`` takes the qualified name of ``execute``.
        provides: symbols under which the result is known.
        requires: further symbols that are passed as arguments of the same name.
        auto_extract: whether the parameters of both functions are required without being named.
        rebind: where arguments come from when the symbol has another name.
        revert: undoes the work; it is given ``result`` and ``flow_failures`` by keyword besides its own arguments.
        version: the version of the task.
        inject: values that only this task gets, by symbol.

    Raises:
        ValueError: a function is not callable.
    """

    def __init__(
        self,
        execute: Callable[..., Any],
        name: Any = None,
        provides: Provides = None,
        requires: Requires = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        revert: Callable[..., Any] | None = None,
        version: Any = None,
        inject: Mapping[Any, Any] | None = None,
    ) -> None:
        if not callable(execute):
            raise ValueError(f"The function that a task executes must be callable, {execute!r} is not")  # noqa: TRY004
        if revert is not None and not callable(revert):
            raise ValueError(f"The function that reverts {execute!r} must be callable or None, {revert!r} is not")
        if name is None:
            name = names.callable_name(execute)
        self._execute = execute
        self._revert = revert
        super().__init__(
            name, provides=provides, requires=requires, auto_extract=auto_extract, rebind=rebind, inject=inject
        )
        if version is not None:
            self.version = version

    def _bound_methods(self) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        return self._execute, self._revert

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the executing function.

        Args:
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            What it returns.
        """
        return self._execute(*args, **kwargs)

    def revert(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the reverting function, if there is one.

        Args:
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            What it returns, ``None`` without one.
        """
        return None if self._revert is None else self._revert(*args, **kwargs)


def _check_functor(functor: Any, parameters: int, requires: Any) -> None:
    if not callable(functor):
        raise ValueError(f"The function must be callable, {functor!r} is not")  # noqa: TRY004
    found = binding.signature_of(functor).all_args
    if len(found) != parameters:
        raise ValueError(
            f"Function {functor!r} must have exactly {parameters} parameter(s), it has {len(found)}: {found}"
        )
    if isinstance(requires, str) or not isinstance(requires, Iterable):
        raise TypeError(f"The values for {functor!r} must be required by an iterable of symbols, not {requires!r}")


class _ManyValues(Task):
    """A task that gives all its arguments, in their order, to one function."""

    def __init__(
        self,
        functor: Callable[..., Any],
        requires: Iterable[Any],
        name: Any,
        provides: Provides,
        auto_extract: bool,
        rebind: Rebind,
        inject: Mapping[Any, Any] | None,
    ) -> None:
        if name is None:
            name = names.callable_name(functor)
        super().__init__(
            name,
            provides=provides,
            requires=list(requires),
            auto_extract=auto_extract,
            rebind=rebind,
            inject=inject,
        )
        self._functor = functor
        # By argument name: symbols are other names where something is rebound, and lack what is injected.
        self._value_names = tuple(atom.arguments_of(self))

    def _values(self, kwargs: Mapping[Any, Any]) -> list[Any]:
        return [kwargs[name] for name in self._value_names]


class MapFunctorTask(_ManyValues):
    """Calls a function with each of its arguments.

    Args:
        functor: a function of one parameter.
        requires: the symbols of the values, in order.
        name: the name of the task; ``None`` takes the qualified name of the function.
        provides: symbols under which the result is known, usually one for each value.
        auto_extract: as for every task.
        rebind: where values come from when the symbol has another name.
        inject: values that only this task gets, by symbol.

    Raises:
        ValueError: the function is not callable or has another number of parameters.
        TypeError: ``requires`` is no iterable of symbols.
    """

    def __init__(
        self,
        functor: Callable[[Any], Any],
        requires: Iterable[Any],
        name: Any = None,
        provides: Provides = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        inject: Mapping[Any, Any] | None = None,
    ) -> None:
        _check_functor(functor, 1, requires)
        super().__init__(functor, requires, name, provides, auto_extract, rebind, inject)

    def execute(self, *args: Any, **kwargs: Any) -> list[Any]:  # noqa: ARG002 - all values come by keyword
        """Calls the function for each value.

        Args:
            args: not used.
            kwargs: the values.

        Returns:
            What it returned, in the order of ``requires``.
        """
        return [self._functor(value) for value in self._values(kwargs)]


class ReduceFunctorTask(_ManyValues):
    """Folds its arguments into one value.

    Args:
        functor: a function of two parameters.
        requires: the symbols of the values, in order; at least two.
        name: the name of the task; ``None`` takes the qualified name of the function.
        provides: symbols under which the result is known.
        auto_extract: as for every task.
        rebind: where values come from when the symbol has another name.
        inject: values that only this task gets, by symbol.

    Raises:
        ValueError: the function is not callable or has another number of parameters, or there are less than two
            symbols.
        TypeError: ``requires`` is no iterable of symbols with a length.
    """

    def __init__(
        self,
        functor: Callable[[Any, Any], Any],
        requires: Iterable[Any],
        name: Any = None,
        provides: Provides = None,
        auto_extract: bool = True,
        rebind: Rebind = None,
        inject: Mapping[Any, Any] | None = None,
    ) -> None:
        _check_functor(functor, 2, requires)
        if len(requires) < 2:  # type: ignore[arg-type]
            raise ValueError(f"Folding by {functor!r} takes at least two required symbols, not {requires!r}")
        super().__init__(functor, requires, name, provides, auto_extract, rebind, inject)

    def execute(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - all values come by keyword
        """Calls the function on the first two values, then on what it returned and the next one, and so on.

        Args:
            args: not used.
            kwargs: the values.

        Returns:
            What it returned last.
        """
        return functools.reduce(self._functor, self._values(kwargs))
