# SPDX-License-Identifier: Apache-2.0
"""How is a flow built whose items run one after the other?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Self

from taskflow import flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Flow(flow.Flow, composed=True):
    """A flow whose items run in the order in which they were added, and are reverted in the opposite one.

    Args:
        name: the name of the flow.
        retry: the controller that decides what happens when something in the flow fails.
    """

    def __init__(self, name: Any, retry: Any = None) -> None:
        super().__init__(name, retry)
        self._items: dict[Any, None] = {}

    def add(self, *items: Any) -> Self:
        """Adds items to the end; what is in the flow already stays where it is.

        Args:
            items: atoms and flows.

        Returns:
            The flow itself.

        Raises:
            ValueError: an item is ``None``.
            TypeError: an item is not hashable.
        """
        new = dict.fromkeys(items)
        if None in new:
            raise ValueError(f"None can not be added to flow '{self.name}'; add atoms and flows")
        count = len(self._items)
        for item in new:
            self._items.setdefault(item)
        if len(self._items) != count:
            self._changed()
        return self

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def iter_links(self) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
        """Goes through the pairs of neighbours.

        Yields:
            An item, the next one, and the metadata of their link (a new dictionary each time).
        """
        for before, after in itertools.pairwise(self._items):
            yield before, after, {flow.LINK_INVARIANT: True}

    def iter_nodes(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Goes through the items in their order.

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
            if symbols.requires:
                needed.update(symbol for symbol in symbols.requires if symbol not in given)
            if symbols.provides:
                given.update(symbols.provides)
        return flow.Symbols(frozenset(needed), frozenset(given))
