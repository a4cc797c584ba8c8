# SPDX-License-Identifier: Apache-2.0
"""What is the smallest piece of work, and which values does it take and give?"""

from __future__ import annotations

import abc
import collections
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, Self, overload

from taskflow import binding
from taskflow.types import sets
from taskflow.utils import names

Provides = str | Sequence[Any] | AbstractSet[Any] | None
Requires = Iterable[Any] | None
Rebind = Mapping[Any, Any] | Sequence[Any] | None

# The engine gives these to every revert by keyword, so nobody has to provide them.
_GIVEN_TO_REVERT = frozenset({"result", "flow_failures"})

_NOTHING: sets.OrderedSet[Any] = sets.OrderedSet()
# Shared and never changed; a read-only proxy could not be pickled.
_NO_NAMES: Mapping[Any, Any] = {}


class Binding(NamedTuple):
    """What an atom's methods take: never changed, hence shared by all atoms that are bound alike."""

    rebind: Mapping[Any, Any]
    optional: sets.OrderedSet[Any]
    revert_rebind: Mapping[Any, Any]
    revert_optional: sets.OrderedSet[Any]
    requires: sets.OrderedSet[Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _outputs_of(provides: Any) -> Mapping[Any, Any]:
    """Maps each provided symbol to the index of its value in the result; ``None`` stands for the whole result."""
    if provides is None:
        return _NO_NAMES
    if isinstance(provides, str):
        return {provides: None}
    if isinstance(provides, Sequence):
        return {symbol: position for position, symbol in enumerate(provides)}
    if isinstance(provides, AbstractSet):
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
        kept: collections.OrderedDict[Any, Any] | None = atom.__dict__.get(self._name)
        if kept is None:
            made: collections.OrderedDict[Any, Any] = collections.OrderedDict(self._read(atom))
            # Two threads may come here at once: both must leave with the same object.
            kept = atom.__dict__.setdefault(self._name, made)
            atom._own_mappings = True
        return kept

    def __set__(self, atom: Atom, value: Any) -> None:
        atom.__dict__[self._name] = value
        atom._own_mappings = True

    def __delete__(self, atom: Atom) -> None:
        try:
            del atom.__dict__[self._name]
        except KeyError:
            raise AttributeError(f"{type(atom).__name__!r} object has no attribute {self._name!r} of its own") from None


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
        provides: symbols under which the result is known: a text names the whole result, a sequence names its
            elements by position, a set names its entries by key. ``None`` takes `default_provides`.
        requires: further symbols that are passed as arguments of the same name, to both methods.
        auto_extract: whether parameters of the methods are required (or taken optionally) without being named.
        rebind: where arguments come from when the symbol has another name: a dict of argument name to symbol, or a
            sequence of symbols for the required parameters in their order. Used for both methods.
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

    # Mappings that a subclass hides behind class attributes of its own, so that an instance must have them from the
    # start.
    _hidden_mappings: Sequence[str] = ()

    _atom_binding: Binding
    _atom_outputs: Mapping[Any, Any]
    # Whether an instance has mappings of its own. Its __dict__ is not asked: as long as nobody does, the interpreter
    # needs to make none, which is half of the memory of a small atom.
    _own_mappings = False

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
        bound = self._bind_arguments(requires, auto_extract, rebind, ignore_list, revert_rebind, revert_requires)
        self._atom_binding = bound
        self.requires: sets.OrderedSet[Any] = bound.requires
        self.optional: sets.OrderedSet[Any] = bound.optional
        self.revert_optional: sets.OrderedSet[Any] = bound.revert_optional
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
        ignored = [] if ignore_list is None else binding.names_in(ignore_list)
        bound = self._bind_both(
            execute,
            revert,
            (requires, rebind),
            (revert_requires or requires, revert_rebind or rebind),
            auto_extract,
            ignored,
        )
        if told_nothing and cls._is_owner_of(execute, self) and cls._is_owner_of(revert, self):
            _CLASS_BINDINGS[cls] = _ClassBinding(weakref.ref(execute_function), weakref.ref(revert_function), bound)
        return bound

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
            return Binding(
                dict(rebind),
                sets.OrderedSet(optional),
                dict(rebind),
                sets.OrderedSet(optional),
                sets.OrderedSet(requires),
            )
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

    def _ignorable(self, method: Callable[..., Any], ignored: Sequence[str]) -> Sequence[str]:  # noqa: ARG002 - for subclasses
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
        call = binding.Call(self.name, method, binding.signature_of(executor))
        required, optional = binding.bind(call, requires, rebind, auto_extract, tuple(ignore_list or ()))
        needed = sets.OrderedSet(required.values())
        wanted = sets.OrderedSet(optional)
        if self.inject:
            injected = self.inject.keys()
            needed = needed.difference(injected)
            wanted = wanted.difference(injected)
        return collections.OrderedDict({**required, **optional}), needed, wanted

    def pre_execute(self) -> None:  # noqa: B027 - most atoms have none of these
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

    def post_execute(self) -> None:  # noqa: B027
        """Runs after `execute`, whether or not that failed."""

    def pre_revert(self) -> None:  # noqa: B027
        """Runs before `revert`; an error in it counts as one of `revert`, which is then not called."""

    def revert(self, *args: Any, **kwargs: Any) -> Any:  # noqa: B027
        """Undoes the work; does nothing unless overridden.

        Args:
            args: not used by the engine, which passes arguments by keyword.
            kwargs: the values of the arguments, and ``result`` and ``flow_failures``.

        Returns:
            What is stored as result of the revert.
        """

    def post_revert(self) -> None:  # noqa: B027
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
    if atom._own_mappings:
        own: Mapping[Any, Any] | None = atom.__dict__.get("revert_rebind" if revert else "rebind")
        if own is not None:
            return own
    bound: Binding = atom._atom_binding
    return bound.revert_rebind if revert else bound.rebind


def outputs_of(atom: Any) -> Mapping[Any, Any]:
    """Tells what an atom provides, for reading only.

    It equals the atom's `save_as` and costs less, as no mapping needs to be made for it.

    Args:
        atom: the atom.

    Returns:
        Symbol to the index of its value in the result, ``None`` for the whole; not to be changed.
    """
    if atom._own_mappings:
        own: Mapping[Any, Any] | None = atom.__dict__.get("save_as")
        if own is not None:
            return own
    promised: Mapping[Any, Any] = atom._atom_outputs
    return promised
