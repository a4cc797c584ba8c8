# SPDX-License-Identifier: Apache-2.0
"""What have all flows in common, and which symbols does one need and give?"""

from __future__ import annotations

import abc
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from taskflow import atom
from taskflow.utils import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

LINK_INVARIANT = "invariant"
LINK_MANUAL = "manual"
LINK_RETRY = "retry"
LINK_REASONS = "reasons"
LINK_DECIDER = "decider"
LINK_DECIDER_DEPTH = "decider_depth"


class Symbols(NamedTuple):
    """What an item of a flow needs and gives."""

    requires: AbstractSet[Any]
    provides: AbstractSet[Any]


_NO_SYMBOLS = Symbols(frozenset(), frozenset())


def _composed_requires(flow: Flow) -> frozenset[Any]:
    """Symbols that something outside the flow must provide; optional arguments are not among them."""
    return frozenset(_gather(flow).requires)


# The property of all patterns of this package. Nested flows that have it are read in a loop instead of by recursion.
composed_requires = property(_composed_requires, doc=_composed_requires.__doc__)


class Flow(abc.ABC):
    """Base of everything that holds atoms and other flows.

    A flow remembers what the flows inside it need and give until these are changed. It therefore takes for granted
    that atoms keep their `requires` and `provides` once they were added to a flow that lies inside another one.

    Args:
        name: the name; anything but a text is turned into one.
        retry: the controller that decides what happens when something in the flow fails.
    """

    # Whether what a flow needs and gives is told by `_compose`; not so where a subclass has ideas of its own about it.
    _composed = False

    _known_symbols: Symbols | None = None
    _dependents: dict[int, weakref.ref[Flow]] | None = None

    def __init_subclass__(cls, composed: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not composed and cls._composed:
            pattern: Any = next(base for base in cls.__mro__ if base.__dict__.get("_composed"))
            composed = all(
                getattr(cls, name) is getattr(pattern, name) for name in ("requires", "provides", "__iter__")
            )
        cls._composed = composed

    def __init__(self, name: Any, retry: Any = None) -> None:
        self._name = str(name)
        self._retry = retry
        if retry is not None and retry.name is None:
            retry.name = f"{self._name}_retry"

    @property
    def name(self) -> str:
        """The name of the flow; it needs not be unique."""
        return self._name

    @property
    def retry(self) -> Any:
        """The retry controller, ``None`` if there is none."""
        return self._retry

    @abc.abstractmethod
    def add(self, *items: Any) -> Self:
        """Adds atoms and flows; what is in the flow already is skipped.

        Args:
            items: what to add.

        Returns:
            The flow itself.
        """

    @abc.abstractmethod
    def __len__(self) -> int:
        """Tells how many items were added; the retry controller is not counted."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """Goes through the items that were added."""

    @abc.abstractmethod
    def iter_links(self) -> Iterable[tuple[Any, Any, dict[str, Any]]]:
        """Goes through the dependencies between items.

        Returns:
            Triples of an item, an item that comes after it, and what is known about that link.
        """

    @abc.abstractmethod
    def iter_nodes(self) -> Iterable[tuple[Any, dict[str, Any]]]:
        """Goes through the items.

        Returns:
            Pairs of an item and what is known about it.
        """

    @property
    @abc.abstractmethod
    def requires(self) -> frozenset[Any]:
        """Symbols that something outside the flow must provide; optional arguments are not among them."""

    @property
    def provides(self) -> frozenset[Any]:
        """Symbols that the retry controller and the items provide."""
        if self._composed:
            return frozenset(_gather(self).provides)
        given = set(self._given_by_retry().provides)
        for item in self:
            given.update(item.provides)
        return frozenset(given)

    def __str__(self) -> str:
        cls = names.class_name(self).removeprefix("taskflow.patterns.")
        return f'"{cls}: {self.name}(len={len(self)})"'

    def __getstate__(self) -> Any:
        # Both are about other objects of this process, and found again when needed.
        return atom.state_without(super().__getstate__(), "_known_symbols", "_dependents")

    def _given_by_retry(self) -> Symbols:
        if self._retry is None:
            return _NO_SYMBOLS
        return Symbols(self._retry.requires, self._retry.provides)

    def _compose(self, read: Callable[[Any], Symbols]) -> Symbols:  # noqa: ARG002 - for the patterns
        """Puts together what the flow needs and gives; only called where a pattern is `_composed`.

        Args:
            read: tells it of an item of this flow.
        """
        raise TypeError(f"Flow {self} does not tell how its symbols are composed")

    def _inner_flows(self) -> Iterable[Flow]:
        """Gives the flows directly inside that are composed too."""
        return [item for item in self if isinstance(item, Flow) and item._composed]

    def _can_be_remembered(self) -> bool:
        """Tells whether nothing inside can change what it needs and gives without `_changed` being called."""
        return all(
            isinstance(item, atom.Atom) or (isinstance(item, Flow) and item._known_symbols is not None) for item in self
        )

    def _depend_on(self, inner: Flow) -> None:
        """Asks to be told when what the inner flow needs and gives may have changed."""
        if inner._dependents is None:
            inner._dependents = {}
        inner._dependents[id(self)] = weakref.ref(self)

    def _inner_changed(self, inner: Flow) -> None:  # noqa: B027 - most patterns keep no index
        """Hears that a flow inside may need and give other symbols now; for patterns that keep an index of them."""

    def _changed(self) -> None:
        """Forgets what is known about the symbols of this flow, and tells all flows around it."""
        if self._known_symbols is None and self._dependents is None:
            return
        stack: list[Flow] = [self]
        while stack:
            flow = stack.pop()
            flow._known_symbols = None
            dependents = flow._dependents
            flow._dependents = None
            for reference in (dependents or {}).values():
                outer = reference()
                if outer is not None:
                    outer._inner_changed(flow)
                    stack.append(outer)


def symbols_of(item: Any) -> Symbols:
    """Tells what an item of a flow needs and gives.

    Args:
        item: an atom, a flow, or anything else with `requires` and `provides`.

    Returns:
        Both sets.
    """
    if isinstance(item, Flow) and item._composed:
        return item._known_symbols or _gather(item)
    return Symbols(item.requires, item.provides)


def _gather(root: Flow) -> Symbols:
    """Composes the symbols of a flow, those of flows inside it first, however deep they lie."""
    composed: dict[int, Symbols] = {}
    entered: set[int] = set()
    is_inside_itself = False

    def read(item: Any) -> Symbols:
        nonlocal is_inside_itself
        if not (isinstance(item, Flow) and item._composed):
            return Symbols(item.requires, item.provides)
        known = item._known_symbols or composed.get(id(item))
        if known is None:
            # Still being composed, so it contains itself; going round adds no symbol. Compiling such a flow is refused.
            is_inside_itself = True
            known = _NO_SYMBOLS
        return known

    remembered: list[Flow] = []
    stack = [root]
    while stack:
        flow = stack[-1]
        if id(flow) not in entered:
            entered.add(id(flow))
            unknown = [f for f in flow._inner_flows() if f._known_symbols is None and id(f) not in entered]
            if unknown:
                stack.extend(unknown)
                continue
        stack.pop()
        if id(flow) in composed:
            continue
        symbols = composed[id(flow)] = flow._compose(read)
        if flow._can_be_remembered():
            flow._known_symbols = symbols
            remembered.append(flow)
            for inner in flow._inner_flows():
                flow._depend_on(inner)
    if is_inside_itself:
        for flow in remembered:
            flow._known_symbols = None
    return composed[id(root)]
