# SPDX-License-Identifier: Apache-2.0
"""How is a property computed once, and only once, for each instance?"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

Obj = TypeVar("Obj")

_MISSING = object()


class _Guard:
    """The lock of one value that is being computed, and how many threads want it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0


# Guards exist only while values are computed, so that instances need no attribute of their own for them.
_guards: dict[tuple[int, str], _Guard] = {}
_guards_lock = threading.Lock()


class cachedproperty:  # noqa: N801 - used as a decorator
    """A read-only property that is computed once for each instance, by one thread.

    The value is kept in the instance as an ordinary attribute named like the method with an underscore before it.

    Args:
        fget: the method; or the name of the attribute that keeps the value, then the method is decorated by the result.
        require_lock: let other threads wait while one computes the value.
    """

    def __init__(self, fget: Callable[[Any], Any] | str | None = None, require_lock: bool = True) -> None:
        self._require_lock = require_lock
        self._attr_name = ""
        self._fget: Callable[[Any], Any] | None = None
        self.__doc__ = None
        if isinstance(fget, str):
            self._attr_name = fget
        elif fget is not None:
            self(fget)

    def __call__(self, fget: Callable[[Any], Any]) -> cachedproperty:
        """Decorates the method.

        Args:
            fget: the method.

        Returns:
            This property.
        """
        self._fget = fget
        self._attr_name = self._attr_name or f"_{fget.__name__}"
        self.__doc__ = getattr(fget, "__doc__", None)
        return self

    @overload
    def __get__(self, instance: None, owner: type) -> cachedproperty: ...

    @overload
    def __get__(self, instance: Obj, owner: type[Obj] | None = None) -> Any: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = getattr(instance, self._attr_name, _MISSING)
        if value is not _MISSING:
            return value
        if not self._require_lock:
            return self._compute(instance)
        key = (id(instance), self._attr_name)
        with _guards_lock:
            guard = _guards.setdefault(key, _Guard())
            guard.users += 1
        try:
            with guard.lock:
                value = getattr(instance, self._attr_name, _MISSING)
                return self._compute(instance) if value is _MISSING else value
        finally:
            with _guards_lock:
                guard.users -= 1
                if not guard.users:
                    del _guards[key]

    def _compute(self, instance: Any) -> Any:
        if self._fget is None:
            raise AttributeError(f"Cached property {self._attr_name!r} has no method that computes it")
        value = self._fget(instance)
        setattr(instance, self._attr_name, value)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        raise AttributeError(f"Cached property of {type(instance).__name__!r} can not be set")

    def __delete__(self, instance: Any) -> None:
        raise AttributeError(f"Cached property of {type(instance).__name__!r} can not be deleted")
