# SPDX-License-Identifier: Apache-2.0
"""How does a flow become something an engine can run, and how do tools see the result?"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from taskflow import flow as flows
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import numbering

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow.types import graph, tree

# Kinds of nodes, as the metadata of the public graph and tree name them.
TASK = "task"
RETRY = "retry"
FLOW = "flow"
FLOW_END = "flow_end"
ATOMS = (TASK, RETRY)
FLOWS = (FLOW, FLOW_END)

LINK_INVARIANT = flows.LINK_INVARIANT
LINK_RETRY = flows.LINK_RETRY

# In the order of the layout's kind codes.
KINDS = (TASK, RETRY, FLOW, FLOW_END)


class Terminator:
    """The exit marker of a flow in the execution graph.

    Args:
        flow: The flow that ends here.
    """

    def __init__(self, flow: Any) -> None:
        self._flow = flow
        self._name = f"{flow.name}[$]"

    @property
    def flow(self) -> Any:
        """The flow that ends here."""
        return self._flow

    @property
    def name(self) -> str:
        """The flow's name followed by ``[$]``."""
        return self._name

    def __str__(self) -> str:
        text = str(self._flow)
        return f"{text[:-1]}[$]{text[-1:]}" if text.endswith('"') else f"{text}[$]"


class Compilation:
    """What compiling gave: the execution graph and the hierarchy of the flow.

    Args:
        execution_graph: A directed graph of atoms and flow markers, or a callable that builds it when first read.
        hierarchy: The tree of flows and atoms, or a callable that builds it when first read.
    """

    TASK = TASK
    RETRY = RETRY
    FLOW = FLOW
    FLOW_END = FLOW_END

    def __init__(self, execution_graph: Any, hierarchy: Any) -> None:
        self._execution_graph = execution_graph
        self._hierarchy = hierarchy
        self._guard = threading.RLock()
        self._unbuilt = {
            name for name, part in (("graph", execution_graph), ("tree", hierarchy)) if isinstance(part, _Unbuilt)
        }
        #: The same flow as integers; ``None`` for a compilation that was put together by hand.
        self.layout: layouts.Layout | None = None

    @property
    def execution_graph(self) -> graph.DiGraph:
        """Atoms and flow markers as nodes, what has to wait for what as edges; the same object at each reading."""
        if "graph" in self._unbuilt:
            with self._guard:
                if "graph" in self._unbuilt:
                    self._execution_graph = self._execution_graph()
                    self._unbuilt.discard("graph")
        found: graph.DiGraph = self._execution_graph
        return found

    @property
    def hierarchy(self) -> tree.Node:
        """The nesting of flows, retries and tasks; the same object at each reading."""
        if "tree" in self._unbuilt:
            with self._guard:
                if "tree" in self._unbuilt:
                    self._hierarchy = self._hierarchy()
                    self._unbuilt.discard("tree")
        found: tree.Node = self._hierarchy
        return found


class _Unbuilt:
    """A part of a compilation that nobody has looked at yet."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def __call__(self) -> Any:
        return self._build()


class PatternCompiler:
    """Compiles a flow or a lone task, once.

    Args:
        root: A task or a flow.
        freeze: Whether the graph and the tree that tools get to see refuse changes.
    """

    def __init__(self, root: Any, freeze: bool = True) -> None:
        self._root = root
        self._freeze = freeze
        self._lock = threading.Lock()
        self._compilation: Compilation | None = None

    def compile(self) -> Compilation:
        """Compile, or return what an earlier call gave.

        Returns:
            The compilation; the same object each time.

        Raises:
            TypeError: Something in the flow is neither a task nor a flow.
            ValueError: An object appears twice.
        """
        if self._compilation is None:
            with self._lock:
                if self._compilation is None:
                    layout = numbering.Builder(self._root).build()
                    compilation = Compilation(
                        _Unbuilt(lambda: build_graph(layout, self._freeze)),
                        _Unbuilt(lambda: build_tree(layout, self._freeze)),
                    )
                    compilation.layout = layout
                    self._compilation = compilation
        return self._compilation


def build_graph(layout: layouts.Layout, freeze: bool) -> graph.DiGraph:
    """Build the public execution graph of a layout.

    Args:
        layout: The compiled flow.
        freeze: Whether the graph refuses changes.

    Returns:
        A directed graph named like the root.
    """
    from taskflow.types import graph

    built = graph.DiGraph(name=layout.root.name)
    nodes = [
        Terminator(item) if kind == layouts.FLOW_END else item
        for item, kind in zip(layout.items, layout.kinds, strict=True)
    ]
    for i in layout.graph_order:
        kind = layout.kinds[i]
        attributes: dict[str, Any] = {"kind": KINDS[kind]}
        if kind >= layouts.FLOW:
            attributes["noop"] = True
        governing = layout.retry_of[i]
        if governing >= 0:
            attributes["retry"] = layout.items[governing]
        built.add_node(nodes[i], attributes)
    for flow, end in layout.end_of.items():
        linked = set()
        for u, v, snapshot in layout.links(flow):
            linked.add((u, v))
            built.add_edge(nodes[u], nodes[v], layouts.metadata_of(snapshot))
        first = flow
        if layout.kinds[flow + 1] == layouts.RETRY:
            first = flow + 1
            built.add_edge(nodes[flow], nodes[first], {LINK_INVARIANT: True})
        for v in layout.succ[first]:
            if v != end:
                attributes = {LINK_INVARIANT: True}
                if first != flow:
                    attributes[LINK_RETRY] = True
                built.add_edge(nodes[first], nodes[v], attributes)
        for u in layout.pred[end]:
            built.add_edge(nodes[u], nodes[end], {LINK_INVARIANT: True})
    if freeze:
        built.freeze()
    return built


def build_tree(layout: layouts.Layout, freeze: bool) -> tree.Node:
    """Build the public hierarchy of a layout.

    Args:
        layout: The compiled flow.
        freeze: Whether the tree refuses changes.

    Returns:
        The tree's root.
    """
    from taskflow.types import tree

    made: dict[int, tree.Node] = {}
    root: tree.Node | None = None
    for i, (item, kind) in enumerate(zip(layout.items, layout.kinds, strict=True)):
        if kind == layouts.FLOW_END:
            continue
        if kind == layouts.FLOW:
            node = made[i] = tree.Node(item, kind=FLOW, noop=True)
        else:
            node = tree.Node(item, kind=KINDS[kind])
        if root is None:
            root = node
        else:
            made[layout.parent[i]].add(node)
    if root is None:
        raise ValueError("Nothing was compiled")
    if freeze:
        root.freeze()
    return root
