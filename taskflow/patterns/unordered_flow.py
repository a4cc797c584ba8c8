# SPDX-License-Identifier: Apache-2.0
"""How is a flow built whose items run in any order, or at the same time?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from taskflow import flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Flow(flow.Flow, composed=True):
    """A flow whose items do not depend on each other.

    Args:
        name: the name of the flow.
        retry: the controller that decides what happens when something in the flow fails.
    """

    def __init__(self, name: Any, retry: Any = None) -> None:
        super().__init__(name, retry)
        self._items: dict[Any, None] = {}

    def add(self, *items: Any) -> Self:
        """Adds items; what is in the flow already is skipped.

        Args:
            items: atoms and flows.

        Returns:
            The flow itself.

        Raises:
            ValueError: an item is ``None``.
            TypeError: an item is not hashable.
        """
        new = {item: None for item in items if item not in self._items}
        if None in new:
            raise ValueError(f"None is no item for flow '{self.name}'; add atoms and flows")
        if new:
            self._items.update(new)
            self._changed()
        return self

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def iter_links(self) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
        """Goes through the dependencies, of which there are none.

        Returns:
            An empty iterator.
        """
        return iter(())

    def iter_nodes(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Goes through the items as they were added.

        Yields:
            Each item with an empty dictionary.
        """
        for item in self._items:
            yield item, {}

    requires = flow.composed_requires

    def _compose(self, read: Callable[[Any], flow.Symbols]) -> flow.Symbols:
        retry = self._given_by_retry()
        needed, given = set(retry.requires), set(retry.provides)
        for item in self:
            symbols = read(item)
            # What one item gives is of no use to another, which may well run before it.
            needed.update(symbol for symbol in symbols.requires if symbol not in retry.provides)
            given.update(symbols.provides)
        return flow.Symbols(frozenset(needed), frozenset(given))
