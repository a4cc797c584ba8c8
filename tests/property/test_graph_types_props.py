# SPDX-License-Identifier: Apache-2.0
"""Do the graph classes agree with simple models of what they add?"""

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from taskflow.types import graph

nodes = st.integers(0, 7)
edges = st.lists(st.tuples(nodes, nodes), max_size=15)
classes = st.sampled_from([graph.DiGraph, graph.OrderedDiGraph])


@given(classes, edges, nodes)
def test_predecessors_are_those_that_reach_a_node(cls, pairs, goal):
    made = cls(pairs)
    made.add_node(goal)
    found = list(made.bfs_predecessors_iter(goal))

    assert len(found) == len(set(found))
    assert set(found) == {n for n in made if n != goal and nx.has_path(made, n, goal)}
    distances = [nx.shortest_path_length(made, n, goal) for n in found]
    assert distances == sorted(distances)


@given(classes, edges)
def test_order_exists_if_there_is_no_circle(cls, pairs):
    made = cls((u, v) for u, v in pairs if u < v)
    assert made.is_directed_acyclic()
    order = list(made.topological_sort())
    assert sorted(order) == sorted(made)
    assert all(order.index(u) < order.index(v) for u, v in made.edges)


@given(classes, edges)
def test_ends(cls, pairs):
    made = cls(pairs)

    assert list(made.no_successors_iter()) == [n for n in made if not any(u == n for u, _ in pairs)]
    assert list(made.no_predecessors_iter()) == [n for n in made if not any(v == n for _, v in pairs)]


@given(st.sampled_from([graph.Graph, graph.DiGraph]), st.lists(edges, min_size=1, max_size=4), st.booleans())
def test_merged_graphs_have_everything(cls, parts, allow):
    graphs = [
        cls((u + 10 * i * (not allow), v + 10 * i * (not allow)) for u, v in part) for i, part in enumerate(parts)
    ]
    for i, each in enumerate(graphs):
        for node in each:
            each.nodes[node]["last"] = i

    merged = graph.merge_graphs(*graphs, allow_overlaps=allow)

    assert list(merged) == list(dict.fromkeys(node for each in graphs for node in each))
    for u, v in (edge for each in graphs for edge in each.edges):
        assert merged.has_edge(u, v)
    assert merged.number_of_edges() == len({frozenset(e) if cls is graph.Graph else e for g in graphs for e in g.edges})
    for node in merged:
        assert merged.nodes[node]["last"] == max(i for i, each in enumerate(graphs) if node in each)


@given(st.sampled_from([graph.Graph, graph.DiGraph, graph.OrderedGraph, graph.OrderedDiGraph]), edges)
def test_description_has_a_line_for_everything(cls, pairs):
    made = cls(pairs, name="g")
    described = made.pformat().splitlines()

    assert f"Nodes: {len(made)}" in described
    assert f"Edges: {made.number_of_edges()}" in described
    assert sum(line.startswith("  - ") for line in described) == len(made)
