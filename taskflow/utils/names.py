# SPDX-License-Identifier: Apache-2.0
"""How are classes and callables named in records and messages, and when are two callbacks the same one?"""

from __future__ import annotations

import types

# All names that the module of the builtins ever had: names stored by old programs are still compared with ours.
_BUILTIN_MODULES = frozenset({"builtins", "__builtin__", "__builtins__", "exceptions"})


def class_name(obj: object) -> str:
    """Tells the qualified name of a class, or of the class of an instance.

    Args:
        obj: a class, or an instance of it.

    Returns:
        ``module.Name``, or ``Name`` alone for a builtin.
    """
    cls = obj if isinstance(obj, type) else type(obj)
    if cls.__module__ in _BUILTIN_MODULES:
        return cls.__name__
    return f"{cls.__module__}.{cls.__name__}"


def short_class_name(obj: object) -> str:
    """Tells the name of a class, or of the class of an instance, without its module.

    Args:
        obj: a class, or an instance of it.

    Returns:
        The name.
    """
    return obj.__name__ if isinstance(obj, type) else type(obj).__name__


def callable_name(fn: object) -> str:
    """Tells the qualified name of a function, method, class or callable instance.

    Args:
        fn: the callable.

    Returns:
        ``module.qualname``; for a bound method, the module is that of its owner's class.
    """
    qualname = getattr(fn, "__qualname__", None)
    if qualname is None:
        kind = type(fn)
        return f"{kind.__module__}.{kind.__qualname__}"
    module = getattr(fn, "__module__", None)
    if isinstance(fn, types.MethodType) or module is None:
        owner = getattr(fn, "__self__", fn)
        cls = owner if isinstance(owner, type) else type(owner)
        module = cls.__module__
    return f"{module}.{qualname}"


def same_callback(a: object, b: object) -> bool:
    """Tells whether two callbacks are the same one.

    Args:
        a: one callback.
        b: the other.

    Returns:
        ``True`` when they are identical or equal (bound methods are equal when function and owner are the same).
    """
    return a is b or bool(a == b)
