# SPDX-License-Identifier: Apache-2.0
"""Which atoms' results may an atom use, and from nearest to farthest in what order?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import logging
from taskflow.engines.action_engine import layout as layouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskflow.engines.action_engine.compiler import Compilation

LOG = logging.getLogger(__name__)


class ScopeWalker:
    """Iterates over the scopes of an atom, innermost first, each a list of the atoms visible in it.

    Visible are the atoms that have to end before this one may start. An inner scope without visible atoms is an
    empty list as long as an outer one still has some.

    Args:
        compilation: What the flow was compiled to.
        atom: A task or retry of that flow.
        names_only: Whether to yield names in place of the atoms.

    Raises:
        ValueError: The atom is not part of the compiled flow.
    """

    __slots__ = ("_layout", "_levels", "_names_only", "_node")

    def __init__(self, compilation: Compilation, atom: Any, names_only: bool = False) -> None:
        layout = compilation.layout
        if layout is None:
            raise ValueError("Scopes need a compilation that the pattern compiler made")
        node = layout.number_of(atom)
        if node < 0:
            raise ValueError(f"Unable to find atom '{atom}' in the compiled flow '{layout.root}'")
        self._layout = layout
        self._node = node
        self._names_only = names_only
        self._levels: list[list[Any]] | None = None

    @classmethod
    def at(cls, layout: layouts.Layout, node: int) -> ScopeWalker:
        """Make a walker (of names) for a node whose number is known."""
        made = cls.__new__(cls)
        made._layout = layout
        made._node = node
        made._names_only = True
        made._levels = None
        return made

    def __iter__(self) -> Iterator[list[Any]]:
        if self._levels is None:
            self._levels = [list(level) for level in self._walk()]
        return iter(self._levels)

    def providers(self, symbol: Any) -> Iterator[tuple[int, Any]]:
        """The visible atoms that say to provide a symbol, nearest first: what tells their scope, and their names.

        The same as filtering the scopes, at the cost of the providers found and without walking the flow.
        """
        return self._layout.visible_providers(symbol, self._node)

    def sole_provider(self, symbol: Any) -> Any:
        """The name of the one atom that says to provide a symbol, if it is quick to tell that it is visible.

        Most symbols have one provider, near whoever uses them. ``None`` says nothing: :meth:`providers` does.
        """
        layout, node = self._layout, self._node
        provider = layout.sole_providers.get(symbol)
        if provider is not None:
            if provider in layout.pred[node]:
                return layout.names[provider]
            home = layout.parent[node]
            if provider < node and layout.parent[provider] == home >= 0 and layout.pattern[home] == layouts.CHAIN:
                return layout.names[provider]
        return None

    def _walk(self) -> Iterator[list[Any]]:
        layout, node = self._layout, self._node
        shown = layout.names if self._names_only else layout.items
        left = self._predecessors()
        child, above = node, layout.parent[node]
        while above >= 0 and left:
            # What lies between the flow's entry and the child that we come from, backwards.
            level = [i for i in range(child - 1, above, -1) if i in left]
            left.difference_update(level)
            yield [shown[i] for i in level]
            child, above = above, layout.parent[above]

    def _predecessors(self) -> set[int]:
        layout = self._layout
        kinds, pred = layout.kinds, layout.pred
        stack, seen = [self._node], {self._node}
        while stack:
            for p in pred[stack.pop()]:
                if p not in seen:
                    seen.add(p)
                    stack.append(p)
        seen.discard(self._node)
        return {i for i in seen if kinds[i] <= layouts.RETRY}
