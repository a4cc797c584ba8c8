# SPDX-License-Identifier: Apache-2.0
"""How does a graph and a tree that somebody put together by hand become the integers that runs work on?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import flow as flows
from taskflow.engines.action_engine import compiler
from taskflow.engines.action_engine import layout as layouts

if TYPE_CHECKING:
    from taskflow.types import graph, tree


def layout_of(execution_graph: graph.DiGraph, hierarchy: tree.Node) -> layouts.Layout:
    """Read a layout off the two public parts of a compilation.

    Args:
        execution_graph: Its nodes have the attribute ``kind``, and ``retry`` where a retry governs them; its edges may
            have a decider.
        hierarchy: The tree of the same flows and atoms.

    Returns:
        The layout.

    Raises:
        CompilationFailure: A node is of an unknown kind or is in one of the two only, or links form a cycle.
    """
    return _Reader(execution_graph, hierarchy).read()


class _Reader:
    """Numbers nodes by the tree, then links them by the graph."""

    def __init__(self, execution_graph: graph.DiGraph, hierarchy: tree.Node) -> None:
        self._graph = execution_graph
        self._hierarchy = hierarchy
        self._layout = layouts.Layout(hierarchy.item)
        self._numbers: dict[Any, int] = {}
        self._kinds: dict[Any, int] = {}
        self._ends: dict[int, Any] = {}

    def read(self) -> layouts.Layout:
        for node, attributes in self._graph.nodes(data=True):
            kind = attributes.get("kind")
            if kind not in compiler.KINDS:
                raise exc.CompilationFailure(
                    f"Unknown kind {kind!r} of node {str(node)!r}: expected one of {', '.join(compiler.KINDS)}"
                )
            self._kinds[node] = compiler.KINDS.index(kind)
            if kind == compiler.FLOW_END:
                self._ends[id(node.flow)] = node
        self._number()
        self._link()
        layout = self._layout
        layout.regular = all(u < v for u, targets in enumerate(layout.succ) for v in targets)
        if len(layout.order) != len(layout):
            raise exc.CompilationFailure(f"Not all of {str(layout.root)!r} could be put in order")
        return layout

    def _number(self) -> None:
        layout = self._layout
        parents: dict[tree.Node, int] = {}
        waiting: list[tuple[tree.Node, bool]] = [(self._hierarchy, False)]
        while waiting:
            node, entered = waiting.pop()
            if entered:
                self._leave(node, parents[node])
                continue
            above = parents.get(node.parent, -1) if node.parent is not None else -1
            if node.metadata.get("noop"):
                number = parents[node] = self._add(node.item, layouts.FLOW, above)
                layout._entries[id(node.item)] = number
                layout.children_of[number] = []
                waiting.append((node, True))
                # What lies in a flow comes directly behind its entry, the retry first.
                inside = sorted(node, key=lambda child: self._kinds.get(child.item) != layouts.RETRY)
                waiting.extend((child, False) for child in reversed(inside))
            else:
                number = self._add(node.item, self._kinds.get(node.item, layouts.TASK), above)
                if node.item not in self._kinds:
                    raise exc.CompilationFailure(
                        f"Atom {str(node.item)!r} is in the hierarchy but not in the execution graph: add it to both"
                    )
            self._numbers[node.item] = number
            if above >= 0 and layout.kinds[number] != layouts.RETRY:
                layout.children_of[above].append(number)
        for item in self._kinds:
            if item not in self._numbers:
                raise exc.CompilationFailure(
                    f"Node {str(item)!r} is in the execution graph but not in the hierarchy: add it to both"
                )

    def _leave(self, node: tree.Node, entry: int) -> None:
        layout = self._layout
        end = self._add(node.item, layouts.FLOW_END, layout.parent[entry])
        layout.names[end] = f"{node.item.name}[$]"
        layout.end_of[entry] = end
        # Nothing is assumed about how the graph orders what is in this flow: its links are looked at.
        layout.pattern[entry] = layouts.GRAPH
        layout.links_of[entry] = ([], [], [])
        terminator = self._ends.get(id(node.item))
        if terminator is not None:
            self._numbers[terminator] = end

    def _add(self, item: Any, kind: int, parent: int) -> int:
        layout = self._layout
        layout.items.append(item)
        layout.kinds.append(kind)
        layout.names.append(item.name)
        layout.succ.append(())
        layout.pred.append(())
        layout.parent.append(parent)
        layout.retry_of.append(-1)
        return len(layout.items) - 1

    def _link(self) -> None:
        layout, numbers = self._layout, self._numbers
        for node, attributes in self._graph.nodes(data=True):
            retry = attributes.get("retry")
            if retry is not None:
                layout.retry_of[numbers[node]] = numbers[retry]
        succ: list[list[int]] = [[] for _ in layout.items]
        pred: list[list[int]] = [[] for _ in layout.items]
        for source, target, attributes in self._graph.edges(data=True):
            u, v = numbers[source], numbers[target]
            succ[u].append(v)
            pred[v].append(u)
            decider = attributes.get(flows.LINK_DECIDER)
            if decider is not None:
                layout.deciders.setdefault(v, []).append((u, decider, attributes.get(flows.LINK_DECIDER_DEPTH)))
        layout.succ = [tuple(targets) for targets in succ]
        layout.pred = [tuple(sources) for sources in pred]
