# SPDX-License-Identifier: Apache-2.0
"""Which parameters does a method have, and where does the value of each come from?"""

from __future__ import annotations

import types
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow import logging

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

LOG = logging.getLogger(__name__)

_HAS_VAR_POSITIONAL = 0x04
_HAS_VAR_KEYWORDS = 0x08


class Signature(NamedTuple):
    """Parameters of a callable, without ``*args`` and ``**kwargs``, in the order of their declaration."""

    all_args: tuple[str, ...]
    required: tuple[str, ...]
    takes_any_keyword: bool


# Signatures are told by the function and not by the bound method, which is a new object at each access.
_SIGNATURES: weakref.WeakKeyDictionary[types.FunctionType, Signature] = weakref.WeakKeyDictionary()


def _inspect_signature(target: Callable[..., Any]) -> Signature:
    # Most atoms are plain functions and never come here; a first flow should not wait for this import.
    import inspect

    named = [
        parameter
        for parameter in inspect.signature(target).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return Signature(
        tuple(parameter.name for parameter in named),
        tuple(parameter.name for parameter in named if parameter.default is parameter.empty),
        any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(target).parameters.values()),
    )


def _read_function(function: types.FunctionType, bound: bool) -> Signature:
    """Reads a function's signature from its code, or by `inspect` where a decorator says that it is another one."""
    code = function.__code__
    skipped = int(bound and code.co_argcount > 0)
    disguised = function.__dict__ and not function.__dict__.keys().isdisjoint(
        ("__wrapped__", "__signature__", "_partialmethod", "__partialmethod__")
    )
    if disguised or (bound and not skipped and not code.co_flags & _HAS_VAR_POSITIONAL):
        return _inspect_signature(types.MethodType(function, function) if bound else function)
    positional = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    without_default = positional[: len(positional) - len(function.__defaults__ or ())]
    keyword_defaults = function.__kwdefaults__ or {}
    return Signature(
        positional[skipped:] + keyword_only,
        without_default[skipped:] + tuple(name for name in keyword_only if name not in keyword_defaults),
        bool(code.co_flags & _HAS_VAR_KEYWORDS),
    )


_METHOD_SIGNATURES: weakref.WeakKeyDictionary[types.FunctionType, Signature] = weakref.WeakKeyDictionary()


def signature_of(target: Callable[..., Any]) -> Signature:
    """Reads the parameters that a caller of a callable can name.

    Args:
        target: a function, bound method, class or callable object.

    Returns:
        Its parameters; those that are bound already (``self``) are not among them.

    Raises:
        ValueError: nothing is known about its parameters.
        TypeError: it can not be called.
    """
    function: Any = target
    bound = isinstance(target, types.MethodType)
    if isinstance(target, types.MethodType):
        function = target.__func__
    if type(function) is not types.FunctionType:
        return _inspect_signature(target)
    cache = _METHOD_SIGNATURES if bound else _SIGNATURES
    known = cache.get(function)
    if known is None:
        known = cache[function] = _read_function(function, bound)
    return known


def names_in(given: Iterable[Any]) -> list[Any]:
    """Lists names, of which a user may give one as a text.

    Args:
        given: a text, which is one name, or names.

    Returns:
        The names.
    """
    return [given] if isinstance(given, str) else list(given)


def _list_of(names_: Iterable[Any]) -> str:
    return ", ".join(sorted(repr(name) for name in names_))


class Call(NamedTuple):
    """One method of one atom."""

    atom: Any
    method: str
    signature: Signature

    def __str__(self) -> str:
        return f"{self.method}() of atom '{self.atom}'"


def _apply_rebind(call: Call, bound: dict[Any, Any], positions: Sequence[str], rebind: Any) -> None:
    if rebind is None:
        return
    if isinstance(rebind, dict):
        bound.update(rebind)
    elif isinstance(rebind, (list, tuple)):
        bound.update(zip(positions, rebind, strict=False))
        for symbol in rebind[len(positions) :]:
            if bound.get(symbol, symbol) != symbol:
                LOG.warning(
                    "The surplus rebind symbol %r of %s takes the place of %r for the argument of that name",
                    symbol,
                    call,
                    bound[symbol],
                )
            bound[symbol] = symbol
    else:
        raise TypeError(
            f"Invalid rebind value {rebind!r} ({type(rebind)}) for {call}: expected a dict of argument name to symbol, "
            "or a list or tuple of symbols in the order of the required arguments"
        )


def bind(
    call: Call, requires: Any, rebind: Any, auto_extract: bool, ignored: Collection[Any]
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Finds where each argument of a method comes from.

    Args:
        call: the method.
        requires: names to pass besides those of the signature.
        rebind: argument names to symbols, or symbols by position.
        auto_extract: whether the signature is used for more than checking.
        ignored: parameters that are not to be inferred.

    Returns:
        Two mappings of argument name to symbol: the required ones and the optional ones.

    Raises:
        TypeError: ``requires`` or ``rebind`` is of a wrong type.
        ValueError: something is bound that the method does not take, or something that it needs is not bound.
    """
    signature = call.signature
    positions = [name for name in signature.required if name not in ignored]
    required: dict[Any, Any] = {name: name for name in positions} if auto_extract else {}
    if requires:
        required.update((name, name) for name in names_in(requires))
    _apply_rebind(call, required, positions, rebind)
    optional = {}
    if auto_extract:
        optional = {name: name for name in signature.all_args if name not in required and name not in ignored}
    if not signature.takes_any_keyword:
        extra = [name for name in required if name not in signature.all_args]
        if extra:
            raise ValueError(
                f"Extra arguments given to atom '{call.atom}': {_list_of(extra)}; its {call.method}() takes only "
                f"({', '.join(signature.all_args)}). What 'requires' and 'rebind' name must be parameters of it; "
                "'revert_requires' and 'revert_rebind' separate revert() from execute()"
            )
    missing = [name for name in positions if name not in required]
    if missing:
        raise ValueError(
            f"Missing arguments for atom '{call.atom}': {_list_of(missing)}; its {call.method}() needs them and they "
            "are not bound, so name them in 'requires' or 'rebind'"
        )
    return required, optional
