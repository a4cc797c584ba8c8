# SPDX-License-Identifier: Apache-2.0
"""How is a set kept that never changes and remembers the order of its elements?"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

T = TypeVar("T")


def _searchable(operand: Iterable[Any]) -> Container[Any]:
    """Gives something whose ``in`` is cheap and may be asked more than once."""
    return operand if isinstance(operand, AbstractSet) else dict.fromkeys(operand)


class OrderedSet(AbstractSet[T], Hashable):
    """An immutable set that iterates in the order in which its elements were first met.

    It equals every other set with the same elements, whatever the order, and hashes like a ``frozenset``.

    Args:
        iterable: the elements, each hashable; of equal ones the first is kept.
    """

    __slots__ = ("_elements",)

    _elements: dict[T, None]

    def __init__(self, iterable: Iterable[T] | None = None) -> None:
        self._elements = {} if iterable is None else dict.fromkeys(iterable)

    def __contains__(self, value: object) -> bool:
        return value in self._elements

    def __iter__(self) -> Iterator[T]:
        return iter(self._elements)

    def __len__(self) -> int:
        return len(self._elements)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AbstractSet):
            return NotImplemented
        return len(self._elements) == len(other) and all(value in self._elements for value in other)

    def __hash__(self) -> int:
        return hash(frozenset(self._elements))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._elements)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Protocols 0 and 1 cannot pickle slots by themselves.
        return type(self), (list(self._elements),)

    def copy(self) -> OrderedSet[T]:
        """Makes an equal set.

        Returns:
            A new set with the same elements in the same order.
        """
        return type(self)(self._elements)

    def union(self, *sets: Iterable[Any]) -> OrderedSet[Any]:
        """Joins this set and others.

        Args:
            sets: iterables of hashable elements.

        Returns:
            A new set: own elements first, then those of the others as they come.
        """
        joined: dict[Any, None] = dict(self._elements)
        for operand in sets:
            joined.update(dict.fromkeys(operand))
        return type(self)(joined)

    def intersection(self, *sets: Iterable[Any]) -> OrderedSet[T]:
        """Keeps what every other set has too.

        Args:
            sets: iterables of hashable elements; each is gone through once.

        Returns:
            A new set in the order of this one.
        """
        kept: Iterable[T] = self._elements
        for operand in sets:
            wanted = _searchable(operand)
            kept = [value for value in kept if value in wanted]
        return type(self)(kept)

    def difference(self, *sets: Iterable[Any]) -> OrderedSet[T]:
        """Leaves out what any other set has.

        Args:
            sets: iterables of hashable elements; each is gone through once.

        Returns:
            A new set in the order of this one.
        """
        kept: Iterable[T] = self._elements
        for operand in sets:
            unwanted = _searchable(operand)
            kept = [value for value in kept if value not in unwanted]
        return type(self)(kept)

    def issubset(self, other: Iterable[Any] | Container[Any]) -> bool:
        """Tells whether another collection has every element of this one.

        Args:
            other: an iterable of hashable elements, or anything that answers ``in``.

        Returns:
            True if nothing is missing there.
        """
        if isinstance(other, Iterator) or not isinstance(other, Container):
            other = _searchable(other)
        return all(value in other for value in self._elements)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Tells whether this set has every element of another collection.

        Args:
            other: an iterable of hashable elements.

        Returns:
            True if nothing is missing here.
        """
        return all(value in self._elements for value in other)
