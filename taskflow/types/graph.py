# SPDX-License-Identifier: Apache-2.0
"""Which graphs does the library show to its users?"""

from __future__ import annotations

import collections
import itertools
import os
from typing import TYPE_CHECKING, Any, Self

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# A graph may have more simple cycles than anybody could wait for or read.
_MOST_CYCLES_SHOWN = 100

_MISSING_PYDOT = "Exporting a graph to the DOT language needs the package pydot; install it"


class Graph(nx.Graph):  # type: ignore[misc] # the library comes without types
    """An undirected graph that can be frozen.

    Args:
        incoming_graph_data: anything that networkx makes graphs from.
        name: the name of the graph.
    """

    frozen = False

    def __init__(self, incoming_graph_data: Any = None, name: str = "") -> None:
        super().__init__(incoming_graph_data=incoming_graph_data, name=name)

    def freeze(self) -> Self:
        """Makes all further changes fail with `networkx.NetworkXError`.

        Returns:
            The graph itself.
        """
        if not self.frozen:
            nx.freeze(self)
        return self

    def export_to_dot(self) -> str:
        """Describes the graph in the DOT language; needs the package ``pydot``.

        Returns:
            The description.

        Raises:
            ImportError: the package is not installed.
        """
        try:
            return str(nx.nx_pydot.to_pydot(self).to_string())
        except ImportError as e:
            raise ImportError(_MISSING_PYDOT) from e

    def pformat(self) -> str:
        """Describes the graph for a reader, one line for each node, edge and cycle.

        Returns:
            The lines, without a line end behind the last.
        """
        lines = [
            f"Name: {self.name}",
            f"Type: {type(self).__name__}",
            f"Frozen: {nx.is_frozen(self)}",
            f"Density: {nx.density(self):.3f}",
            f"Nodes: {self.number_of_nodes()}",
        ]
        lines.extend(f"  - {node}{_shown(attributes)}" for node, attributes in self.nodes(data=True))
        lines.append(f"Edges: {self.number_of_edges()}")
        arrow = "->" if self.is_directed() else "<->"
        lines.extend(f"  {u} {arrow} {v}{_shown(attributes)}" for u, v, attributes in self.edges(data=True))
        lines.extend(self._cycle_lines())
        return os.linesep.join(lines)

    def _cycle_lines(self) -> list[str]:
        return []

    def add_edge(self, u: Any, v: Any, attr_dict: Mapping[Any, Any] | None = None, **attr: Any) -> None:
        """Adds an edge, or attributes to one that is there.

        Args:
            u: the node at one end.
            v: the node at the other end.
            attr_dict: attributes of the edge.
            attr: attributes of the edge, not looked at where ``attr_dict`` is given.
        """
        super().add_edge(u, v)
        self._adj[u][v].update(attr if attr_dict is None else attr_dict)

    def add_node(self, n: Any, attr_dict: Mapping[Any, Any] | None = None, **attr: Any) -> None:
        """Adds a node, or attributes to one that is there.

        Args:
            n: the node.
            attr_dict: attributes of the node.
            attr: attributes of the node, not looked at where ``attr_dict`` is given.
        """
        super().add_node(n)
        self._node[n].update(attr if attr_dict is None else attr_dict)

    def fresh_copy(self) -> Self:
        """Makes an empty graph of the same class.

        Returns:
            The graph, without nodes, edges or attributes.
        """
        return type(self)()


class DiGraph(nx.DiGraph):  # type: ignore[misc] # the library comes without types
    """A directed graph that can be frozen.

    Args:
        incoming_graph_data: anything that networkx makes graphs from.
        name: the name of the graph.
    """

    frozen = False

    def __init__(self, incoming_graph_data: Any = None, name: str = "") -> None:
        super().__init__(incoming_graph_data=incoming_graph_data, name=name)

    # The same for both kinds; they have no common base in networkx that would not make one a case of the other.
    freeze = Graph.freeze
    export_to_dot = Graph.export_to_dot
    pformat = Graph.pformat
    fresh_copy = Graph.fresh_copy

    def _cycle_lines(self) -> list[str]:
        if self.is_directed_acyclic():
            return ["Cycles: 0"]
        cycles = list(itertools.islice(nx.simple_cycles(self), _MOST_CYCLES_SHOWN + 1))
        more = "" if len(cycles) <= _MOST_CYCLES_SHOWN else " or more"
        cycles = cycles[:_MOST_CYCLES_SHOWN]
        lines = [f"Cycles: {len(cycles)}{more}"]
        lines.extend("  " + " --> ".join(str(node) for node in [*cycle, cycle[0]]) for cycle in cycles)
        return lines

    def add_edge(self, u: Any, v: Any, attr_dict: Mapping[Any, Any] | None = None, **attr: Any) -> None:
        """Adds an edge, or attributes to one that is there.

        Args:
            u: the node where it starts.
            v: the node where it ends.
            attr_dict: attributes of the edge.
            attr: attributes of the edge, not looked at where ``attr_dict`` is given.
        """
        super().add_edge(u, v)
        self._adj[u][v].update(attr if attr_dict is None else attr_dict)

    def add_node(self, n: Any, attr_dict: Mapping[Any, Any] | None = None, **attr: Any) -> None:
        """Adds a node, or attributes to one that is there.

        Args:
            n: the node.
            attr_dict: attributes of the node.
            attr: attributes of the node, not looked at where ``attr_dict`` is given.
        """
        super().add_node(n)
        self._node[n].update(attr if attr_dict is None else attr_dict)

    def get_edge_data(self, u: Any, v: Any, default: Any = None) -> Any:
        """Gives the attributes of an edge.

        Args:
            u: the node where it starts.
            v: the node where it ends.
            default: what is returned if there is no such edge.

        Returns:
            A dictionary of them that may be changed without changing the graph.
        """
        try:
            return dict(self._adj[u][v])
        except KeyError:
            return default

    def topological_sort(self) -> Iterator[Any]:
        """Goes through the nodes so that each comes after all that have edges to it.

        Returns:
            An iterator: first the nodes without such, then those that follow from them, and so on; it raises
            `networkx.NetworkXUnfeasible` where the graph has a cycle.
        """
        nodes: Iterator[Any] = nx.topological_sort(self)
        return nodes

    def is_directed_acyclic(self) -> bool:
        """Tells whether there is no cycle.

        Returns:
            True if there is none.
        """
        return bool(nx.is_directed_acyclic_graph(self))

    def no_successors_iter(self) -> Iterator[Any]:
        """Goes through the nodes that no edge starts from.

        Yields:
            Each such node.
        """
        for node, after in self._adj.items():
            if not after:
                yield node

    def no_predecessors_iter(self) -> Iterator[Any]:
        """Goes through the nodes that no edge leads to.

        Yields:
            Each such node.
        """
        for node, before in self._pred.items():
            if not before:
                yield node

    def bfs_predecessors_iter(self, n: Any) -> Iterator[Any]:
        """Goes through all nodes that a node can be reached from, the nearest first.

        Args:
            n: the node.

        Yields:
            Each such node once; never the node itself.

        Raises:
            networkx.NetworkXError: the node is not in the graph.
        """
        met = {n}
        queue = collections.deque([n])
        while queue:
            for before in self.predecessors(queue.popleft()):
                if before not in met:
                    met.add(before)
                    queue.append(before)
                    yield before


class OrderedDiGraph(DiGraph):
    """A directed graph whose nodes, edges and edge attributes are kept in ordered dictionaries.

    Args:
        incoming_graph_data: anything that networkx makes graphs from.
        name: the name of the graph.
    """

    node_dict_factory = collections.OrderedDict
    adjlist_outer_dict_factory = collections.OrderedDict
    adjlist_inner_dict_factory = collections.OrderedDict
    edge_attr_dict_factory = collections.OrderedDict


class OrderedGraph(Graph):
    """An undirected graph whose nodes, edges and edge attributes are kept in ordered dictionaries.

    Args:
        incoming_graph_data: anything that networkx makes graphs from.
        name: the name of the graph.
    """

    node_dict_factory = collections.OrderedDict
    adjlist_outer_dict_factory = collections.OrderedDict
    adjlist_inner_dict_factory = collections.OrderedDict
    edge_attr_dict_factory = collections.OrderedDict


def _shown(attributes: Mapping[Any, Any]) -> str:
    return f" ({attributes})" if attributes else ""


def _common_nodes(to_graph: Any, from_graph: Any) -> int:
    return sum(1 for node in from_graph if node in to_graph)


def merge_graphs(graph: Any, *graphs: Any, **kwargs: Any) -> Any:
    """Puts several graphs into one.

    Args:
        graph: the first graph; the result is of its class and has its name.
        graphs: further graphs; where they give a node or an edge an attribute that it has already, theirs holds.
        kwargs: ``allow_overlaps`` (default false): whether graphs may have something in common; ``overlap_detector``:
            called with what was put together so far and the next graph, it returns how much these have in common (by
            default the number of nodes).

    Returns:
        A new graph that is not frozen; without further graphs the first graph itself.

    Raises:
        ValueError: graphs have something in common though they must not, or the detector can not be called.
        networkx.NetworkXError: some graphs are directed and others are not.
    """
    detector: Callable[[Any, Any], int] = kwargs.get("overlap_detector") or _common_nodes
    if kwargs.get("overlap_detector") is not None and not callable(kwargs["overlap_detector"]):
        raise ValueError(f"The overlap detector must be callable, {kwargs['overlap_detector']!r} is not")
    if not graphs:
        return graph
    merged = graph.copy()
    for added in graphs:
        if not kwargs.get("allow_overlaps", False):
            overlaps = detector(merged, added)
            if overlaps:
                raise ValueError(
                    f"Graph {added} can not be merged into {merged}: they have {overlaps} in common; give their nodes "
                    "different names or allow overlaps"
                )
        if merged.is_directed() != added.is_directed():
            raise nx.NetworkXError(f"Graph {added} can not be merged into {merged}: only one of them is directed")
        merged.graph.update({**added.graph, "name": merged.name})
        merged.add_nodes_from(added.nodes(data=True))
        merged.add_edges_from(added.edges(data=True))
    return merged
