# SPDX-License-Identifier: Apache-2.0
"""What is the smallest piece of work, and which values does it take and give?"""

from __future__ import annotations

import abc
import collections
import types
import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple, Self, overload

from taskflow import logging
from taskflow.types import sets
from taskflow.utils import names

LOG = logging.getLogger(__name__)

Provides = str | Sequence[Any] | Set[Any] | None
Requires = Iterable[Any] | None
Rebind = Mapping[Any, Any] | Sequence[Any] | None

# The engine gives these to every revert by keyword, so nobody has to provide them.
_GIVEN_TO_REVERT = frozenset({"result", "flow_failures"})

_NOTHING: sets.OrderedSet[Any] = sets.OrderedSet()
_NO_NAMES: Mapping[Any, Any] = types.MappingProxyType({})

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


class Binding(NamedTuple):
    """What an atom's methods take: never changed, hence shared by all atoms that are bound alike."""

    rebind: Mapping[Any, Any]
    optional: sets.OrderedSet[Any]
    revert_rebind: Mapping[Any, Any]
    revert_optional: sets.OrderedSet[Any]
    requires: sets.OrderedSet[Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _names_in(given: Iterable[Any]) -> list[Any]:
    return [given] if isinstance(given, str) else list(given)


def _list_of(names_: Iterable[Any]) -> str:
    return ", ".join(sorted(repr(name) for name in names_))


class _Call(NamedTuple):
    """One method of one atom, for messages."""

    atom: Any
    method: str
    signature: Signature

    def __str__(self) -> str:
        return f"{self.method}() of atom '{self.atom}'"


def _apply_rebind(call: _Call, bound: dict[Any, Any], positions: Sequence[str], rebind: Any) -> None:
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


def _bind(
    call: _Call, requires: Any, rebind: Any, auto_extract: bool, ignored: Collection[Any]
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Finds where each argument of a method comes from.

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
        required.update((name, name) for name in _names_in(requires))
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
            f"Missing arguments for atom '{call.atom}': {_list_of(missing)}; its {call.method}() needs them and they are "
            "not bound, so name them in 'requires' or 'rebind'"
        )
    return required, optional


def _outputs_of(provides: Any) -> Mapping[Any, Any]:
    """Maps each provided symbol to the index of its value in the result; ``None`` stands for the whole result."""
    if provides is None:
        return _NO_NAMES
    if isinstance(provides, str):
        return {provides: None}
    if isinstance(provides, Sequence):
        return {symbol: position for position, symbol in enumerate(provides)}
    if isinstance(provides, Set):
        return {symbol: symbol for symbol in provides}
    raise TypeError(
        f"Atom provides must be a text, a sequence of symbols or a set of symbols, not {provides!r} ({type(provides)})"
    )


class _OwnMapping:
    """Gives an atom its own ordered copy of a shared mapping when somebody reads it.

    Three ordered dictionaries would be most of an atom's size and of the time to make it, and few are ever read.
    """

    def __init__(self, read: Callable[[Atom], Mapping[Any, Any]], doc: str) -> None:
        self._read = read
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, atom: None, owner: type) -> Self: ...

    @overload
    def __get__(self, atom: Atom, owner: type) -> collections.OrderedDict[Any, Any]: ...

    def __get__(self, atom: Atom | None, owner: type) -> Self | collections.OrderedDict[Any, Any]:
        if atom is None:
            return self
        # Two threads may come here at once: both must leave with the same object.
        made: collections.OrderedDict[Any, Any] = collections.OrderedDict(self._read(atom))
        kept: collections.OrderedDict[Any, Any] = atom.__dict__.setdefault(self._name, made)
        return kept


class _ClassBinding(NamedTuple):
    """The binding of those instances of a class that were given no arguments about it."""

    execute: weakref.ref[Any]
    revert: weakref.ref[Any]
    binding: Binding


# The functions are held weakly: a method that uses super() refers to its class, which would then never go away.
_CLASS_BINDINGS: weakref.WeakKeyDictionary[type, _ClassBinding] = weakref.WeakKeyDictionary()


def state_without(state: Any, *left_out: str) -> Any:
    """Takes attributes out of what `object.__getstate__` gave.

    Args:
        state: that state; it is not changed.
        left_out: names of attributes.

    Returns:
        The state without them.
    """
    if isinstance(state, tuple):
        return tuple(state_without(part, *left_out) for part in state)
    if isinstance(state, dict):
        return {name: value for name, value in state.items() if name not in left_out}
    return state


class Atom(abc.ABC):
    """The smallest unit of work: something that can be executed, and usually be undone.

    Args:
        name: how records, events and messages name it; unique within all that one engine runs.
        provides: symbols under which the result is known: a text names the whole result, a sequence names its elements by
            position, a set names its entries by key. ``None`` takes `default_provides`.
        requires: further symbols that are passed as arguments of the same name, to both methods.
        auto_extract: whether parameters of the methods are required (or taken optionally) without being named.
        rebind: where arguments come from when the symbol has another name: a dict of argument name to symbol, or a sequence
            of symbols for the required parameters in their order. Used for both methods.
        inject: values that only this atom gets, by symbol.
        ignore_list: names of parameters that are not inferred.
        revert_rebind: what `revert` uses in place of ``rebind``.
        revert_requires: what `revert` uses in place of ``requires``.

    Raises:
        TypeError: ``provides``, ``requires`` or ``rebind`` is of a wrong type.
        ValueError: the arguments of a method do not fit to what is asked for.
    """

    priority: float = 0
    """Of atoms that could start at the same time those with the bigger number start first."""

    default_provides: Provides = None
    """What is provided when the constructor is given no ``provides``."""

    rebind = _OwnMapping(lambda atom: atom._atom_binding.rebind, "Argument name to symbol, for `execute`.")
    revert_rebind = _OwnMapping(lambda atom: atom._atom_binding.revert_rebind, "Argument name to symbol, for `revert`.")
    save_as = _OwnMapping(lambda atom: atom._atom_outputs, "Provided symbol to its index in the result.")

    # Parameters that the engine always fills, for classes of atoms that have some.
    _given_names: frozenset[str] = frozenset()

    # Mappings that a subclass hides behind class attributes of its own, so that an instance must have them from the start.
    _hidden_mappings: Sequence[str] = ()

    _atom_binding: Binding
    _atom_outputs: Mapping[Any, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hidden = tuple(name for name, mapping in _MAPPINGS.items() if getattr(cls, name) is not mapping)
        if hidden != cls._hidden_mappings:
            cls._hidden_mappings = hidden

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
        if provides is None:
            provides = self.default_provides
        outputs = _outputs_of(provides)
        self.name = name
        self.version: Any = (1, 0)
        self.inject = inject
        self._atom_outputs = outputs or _NO_NAMES
        self.provides: sets.OrderedSet[Any] = sets.OrderedSet(outputs) if outputs else _NOTHING
        binding = self._bind_arguments(requires, auto_extract, rebind, ignore_list, revert_rebind, revert_requires)
        self._atom_binding = binding
        self.requires: sets.OrderedSet[Any] = binding.requires
        self.optional: sets.OrderedSet[Any] = binding.optional
        self.revert_optional: sets.OrderedSet[Any] = binding.revert_optional
        for attribute in self._hidden_mappings:
            _MAPPINGS[attribute].__get__(self, type(self))

    def _bound_methods(self) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        """Gives the callables whose parameters are looked at; without the second, revert takes what execute takes."""
        return self.execute, self.revert

    def _bind_arguments(
        self,
        requires: Any,
        auto_extract: bool,
        rebind: Any,
        ignore_list: Iterable[str] | None,
        revert_rebind: Any,
        revert_requires: Any,
    ) -> Binding:
        cls = type(self)
        execute, revert = self._bound_methods()
        told_nothing = (
            rebind is None
            and auto_extract
            and not (requires or self.inject or ignore_list or revert_rebind or revert_requires)
            and revert is not None
            and cls._build_arg_mapping is Atom._build_arg_mapping
        )
        if told_nothing:
            known = _CLASS_BINDINGS.get(cls)
            execute_function = getattr(execute, "__func__", execute)
            revert_function = getattr(revert, "__func__", revert)
            if known is not None and known.execute() is execute_function and known.revert() is revert_function:
                return known.binding
        if requires and not isinstance(requires, str):
            # Both methods need it, and it may be something that can be gone through only once.
            requires = list(requires)
        ignored = [] if ignore_list is None else _names_in(ignore_list)
        binding = self._bind_both(
            execute, revert, (requires, rebind), (revert_requires or requires, revert_rebind or rebind), auto_extract, ignored
        )
        if told_nothing and cls._is_owner_of(execute, self) and cls._is_owner_of(revert, self):
            _CLASS_BINDINGS[cls] = _ClassBinding(weakref.ref(execute_function), weakref.ref(revert_function), binding)
        return binding

    @staticmethod
    def _is_owner_of(method: Any, atom: Atom) -> bool:
        return isinstance(method, types.MethodType) and method.__self__ is atom and _can_refer_to(method.__func__)

    def _bind_both(
        self,
        execute: Callable[..., Any],
        revert: Callable[..., Any] | None,
        given: tuple[Any, Any],
        given_for_revert: tuple[Any, Any],
        auto_extract: bool,
        ignored: Sequence[str],
    ) -> Binding:
        rebind, requires, optional = self._build_arg_mapping(
            execute,
            requires=given[0],
            rebind=given[1],
            auto_extract=auto_extract,
            ignore_list=[*self._ignorable(execute, ignored), *self._given_names],
        )
        if revert is None:
            return Binding(dict(rebind), sets.OrderedSet(optional), dict(rebind), sets.OrderedSet(optional), sets.OrderedSet(requires))
        revert_rebind, revert_requires, revert_optional = self._build_arg_mapping(
            revert,
            requires=given_for_revert[0],
            rebind=given_for_revert[1],
            auto_extract=auto_extract,
            ignore_list=[*self._ignorable(revert, ignored), *self._given_names, *sorted(_GIVEN_TO_REVERT)],
        )
        return Binding(
            dict(rebind) or _NO_NAMES,
            sets.OrderedSet(optional) if optional else _NOTHING,
            dict(revert_rebind) or _NO_NAMES,
            sets.OrderedSet(revert_optional) if revert_optional else _NOTHING,
            sets.OrderedSet(requires).union(revert_requires),
        )

    def _ignorable(self, method: Callable[..., Any], ignored: Sequence[str]) -> Sequence[str]:
        """Chooses those of the names to ignore that may really be left out of a call of the method."""
        return ignored

    def _build_arg_mapping(
        self,
        executor: Callable[..., Any],
        requires: Requires = None,
        rebind: Rebind = None,
        auto_extract: bool = True,
        ignore_list: Iterable[str] | None = None,
    ) -> tuple[Mapping[Any, Any], Iterable[Any], Iterable[Any]]:
        """Binds the arguments of one method; subclasses may override it to bind otherwise.

        Args:
            executor: the callable whose parameters are bound.
            requires: names to pass besides those that its signature tells.
            rebind: argument names to symbols, or symbols by position.
            auto_extract: whether the signature is used at all.
            ignore_list: parameters that are not to be inferred.

        Returns:
            Argument names to symbols; the required symbols; the optional symbols.
        """
        method = "execute" if executor == self._bound_methods()[0] else "revert"
        call = _Call(self.name, method, signature_of(executor))
        required, optional = _bind(call, requires, rebind, auto_extract, tuple(ignore_list or ()))
        needed = sets.OrderedSet(required.values())
        wanted = sets.OrderedSet(optional)
        if self.inject:
            injected = self.inject.keys()
            needed = needed.difference(injected)
            wanted = wanted.difference(injected)
        return collections.OrderedDict({**required, **optional}), needed, wanted

    def pre_execute(self) -> None:
        """Runs before `execute`; an error in it counts as one of `execute`, which is then not called."""

    @abc.abstractmethod
    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Does the work.

        Args:
            args: not used by the engine, which passes arguments by keyword.
            kwargs: the values of the arguments.

        Returns:
            The result; it must be something that the persistence backend can store.
        """

    def post_execute(self) -> None:
        """Runs after `execute`, whether or not that failed."""

    def pre_revert(self) -> None:
        """Runs before `revert`; an error in it counts as one of `revert`, which is then not called."""

    def revert(self, *args: Any, **kwargs: Any) -> Any:
        """Undoes the work; does nothing unless overridden.

        Args:
            args: not used by the engine, which passes arguments by keyword.
            kwargs: the values of the arguments, and ``result`` and ``flow_failures``.

        Returns:
            What is stored as result of the revert.
        """

    def post_revert(self) -> None:
        """Runs after `revert`, whether or not that failed."""

    def __str__(self) -> str:
        version = self.version
        if isinstance(version, (list, tuple)):
            version = ".".join(str(part) for part in version)
        return f'"{self.name}=={version}"'

    def __repr__(self) -> str:
        return f"<{names.class_name(self)} {self}>"


_MAPPINGS: Mapping[str, _OwnMapping] = {name: getattr(Atom, name) for name in ("rebind", "revert_rebind", "save_as")}


def _can_refer_to(function: Hashable) -> bool:
    try:
        weakref.ref(function)
    except TypeError:
        return False
    return True


def arguments_of(atom: Any, revert: bool = False) -> Mapping[Any, Any]:
    """Tells how the arguments of an atom's method are bound, for reading only.

    It equals the atom's `rebind` or `revert_rebind` and costs less, as no mapping needs to be made for it.

    Args:
        atom: the atom.
        revert: whether the binding of `revert` is asked for, in place of that of `execute`.

    Returns:
        Argument name to symbol; not to be changed.
    """
    name = "revert_rebind" if revert else "rebind"
    own: Mapping[Any, Any] | None = atom.__dict__.get(name)
    if own is None:
        own = getattr(atom._atom_binding, name)
    return own


def outputs_of(atom: Any) -> Mapping[Any, Any]:
    """Tells what an atom provides, for reading only.

    It equals the atom's `save_as` and costs less, as no mapping needs to be made for it.

    Args:
        atom: the atom.

    Returns:
        Symbol to the index of its value in the result, ``None`` for the whole; not to be changed.
    """
    own: Mapping[Any, Any] | None = atom.__dict__.get("save_as")
    if own is None:
        own = atom._atom_outputs
    return own
