# SPDX-License-Identifier: Apache-2.0
"""What do the graph classes add to those of networkx?"""

import collections
import os
import pickle

import networkx as nx
import pytest

from taskflow.types import graph

ALL = [graph.Graph, graph.DiGraph, graph.OrderedGraph, graph.OrderedDiGraph]
DIRECTED = [graph.DiGraph, graph.OrderedDiGraph]


def lines(text):
    return text.split(os.linesep)


def test_bases():
    assert issubclass(graph.Graph, nx.Graph)
    assert not issubclass(graph.Graph, nx.DiGraph)
    assert issubclass(graph.DiGraph, nx.DiGraph)
    assert issubclass(graph.OrderedGraph, graph.Graph)
    assert issubclass(graph.OrderedDiGraph, graph.DiGraph)


@pytest.mark.parametrize("cls", [graph.OrderedGraph, graph.OrderedDiGraph])
def test_ordered_classes_keep_ordered_dictionaries(cls):
    made = cls([("b", "a", {"k": 1})])

    assert type(made.adj._atlas) is collections.OrderedDict
    assert type(made["b"]._atlas) is collections.OrderedDict
    assert type(next(iter(made.edges(data=True)))[2]) is collections.OrderedDict
    assert list(made) == ["b", "a"]


@pytest.mark.parametrize("cls", ALL)
class TestAllClasses:
    @pytest.mark.parametrize(
        "change",
        [
            lambda g: g.add_node(9),
            lambda g: g.add_nodes_from([9]),
            lambda g: g.add_edge(1, 2),
            lambda g: g.add_edges_from([(8, 9)]),
            lambda g: g.remove_node(1),
            lambda g: g.remove_nodes_from([1]),
            lambda g: g.remove_edge(1, 2),
            lambda g: g.remove_edges_from([(1, 2)]),
            lambda g: g.clear(),
        ],
    )
    def test_frozen_graphs_do_not_change(self, cls, change):
        made = cls([(1, 2)])
        assert made.frozen is False
        assert made.freeze() is made
        assert made.freeze() is made

        with pytest.raises(nx.NetworkXError):
            change(made)
        assert made.frozen is True
        assert nx.is_frozen(made)
        assert list(made.edges) == [(1, 2)]

    def test_copies_are_not_frozen(self, cls):
        made = cls([(1, 2)], name="g").freeze()

        for copied, name in [(made.copy(), "g"), (cls(made), "")]:
            assert type(copied) is cls
            assert copied.name == name
            assert not copied.frozen
            copied.add_node(3)
        assert len(made) == 2

    def test_pickles_stay_frozen(self, cls):
        again = pickle.loads(pickle.dumps(cls([(1, 2)], name="g").freeze()))

        assert again.frozen
        assert again.name == "g"
        with pytest.raises(nx.NetworkXError):
            again.add_node(3)

    def test_name(self, cls):
        made = cls(name="first")
        assert made.name == "first"
        made.name = "second"
        assert made.copy().name == "second"
        assert cls().name == ""

    def test_subgraphs_are_of_the_same_class(self, cls):
        part = cls([(1, 2), (2, 3)]).subgraph([1, 2])

        assert type(part) is cls
        assert list(part.edges) == [(1, 2)]

    def test_fresh_copies_are_empty(self, cls):
        made = cls([(1, 2)], name="g")
        made.graph["k"] = 1
        fresh = made.freeze().fresh_copy()

        assert type(fresh) is cls
        assert (len(fresh), fresh.size(), fresh.name, fresh.frozen) == (0, 0, "", False)
        assert "k" not in fresh.graph

    def test_attributes_of_nodes(self, cls):
        made, given = cls(), {"a": 1}
        made.add_node("n", given)
        made.add_node("n", b=2)
        given["c"] = 3
        assert made.nodes["n"] == {"a": 1, "b": 2}

        made.add_node("n", {}, z=9)
        made.add_node("n", attr_dict={"a": 5}, z=9)
        assert made.nodes["n"] == {"a": 5, "b": 2}
        assert "node_for_adding" not in cls().nodes
        made.add_node("m", {"node_for_adding": 1, 2: 3})
        assert made.nodes["m"] == {"node_for_adding": 1, 2: 3}

    def test_attributes_of_edges(self, cls):
        made, given = cls(), {"a": 1}
        made.add_edge("u", "v", given)
        made.add_edge("u", "v", b=2)
        given["c"] = 3
        assert made.edges["u", "v"] == {"a": 1, "b": 2}

        made.add_edge("u", "v", {}, z=9)
        made.add_edge("u", "v", attr_dict={"a": 5}, z=9)
        assert made.edges["u", "v"] == {"a": 5, "b": 2}

    def test_description(self, cls):
        made = cls(name="g")
        made.add_edge("x", "y", {"k": 1})
        made.add_edge("y", "z")
        made.add_node("w", size=2)
        arrow = "->" if made.is_directed() else "<->"
        shown = collections.OrderedDict(k=1) if cls in (graph.OrderedGraph, graph.OrderedDiGraph) else {"k": 1}
        density = 2 / 12 * (1 if made.is_directed() else 2)

        assert lines(made.pformat()) == [
            "Name: g",
            f"Type: {cls.__name__}",
            "Frozen: False",
            f"Density: {density:.3f}",
            "Nodes: 4",
            "  - x",
            "  - y",
            "  - z",
            "  - w ({'size': 2})",
            "Edges: 2",
            f"  x {arrow} y ({shown})",
            f"  y {arrow} z",
            *(["Cycles: 0"] if made.is_directed() else []),
        ]

    def test_description_of_an_empty_frozen_graph(self, cls):
        described = lines(cls().freeze().pformat())

        assert described[0] == "Name: "
        assert described[2:6] == ["Frozen: True", "Density: 0.000", "Nodes: 0", "Edges: 0"]

    def test_dot(self, cls):
        made = cls([("x", "y")], name="g1")
        kind, arrow = ("digraph", "->") if made.is_directed() else ("graph", "--")
        assert made.export_to_dot() == f'strict {kind} "g1" {{\nx;\ny;\nx {arrow} y;\n}}\n'

        made.add_node("a", k=1)
        assert "\na [k=1];\n" in made.export_to_dot()


def test_dot_without_its_package_says_what_to_install(monkeypatch):
    def missing(_):
        raise ImportError("no")

    monkeypatch.setattr(nx.nx_pydot, "to_pydot", missing)
    with pytest.raises(ImportError, match="pydot"):
        graph.DiGraph().export_to_dot()


@pytest.mark.parametrize("cls", DIRECTED)
class TestDirected:
    def test_edge_data_is_a_copy(self, cls):
        made = cls([(1, 2, {"k": [1]})])

        data = made.get_edge_data(1, 2)
        assert type(data) is dict
        assert data == {"k": [1]}
        data["k2"] = 1
        assert made.get_edge_data(1, 2) == {"k": [1]}
        assert made.get_edge_data(1, 2)["k"] is data["k"]
        assert made.get_edge_data(2, 1) is None
        assert made.get_edge_data(8, 9, "none") == "none"

    def test_topological_order(self, cls):
        made = cls()
        made.add_nodes_from(range(6))
        made.add_edges_from([(5, 0), (3, 1), (0, 2)])

        assert list(made.topological_sort()) == [3, 4, 5, 1, 0, 2]
        assert made.is_directed_acyclic()

    def test_circles_have_no_order(self, cls):
        made = cls([(1, 2), (2, 1)])
        order = made.topological_sort()

        with pytest.raises(nx.NetworkXUnfeasible):
            list(order)
        assert not made.is_directed_acyclic()

    def test_ends(self, cls):
        made = cls([(1, 2), (2, 3)])
        made.add_node(4)

        assert list(made.no_successors_iter()) == [3, 4]
        assert list(made.no_predecessors_iter()) == [1, 4]

    def test_predecessors(self, cls):
        made = cls([("b", "a"), ("c", "a"), ("d", "b"), ("e", "c"), ("e", "d"), ("a", "f")])

        assert list(made.bfs_predecessors_iter("a")) == ["b", "c", "d", "e"]
        assert list(made.bfs_predecessors_iter("e")) == []
        assert list(cls([(1, 2), (2, 1), (1, 1)]).bfs_predecessors_iter(1)) == [2]
        unknown = made.bfs_predecessors_iter("zz")
        with pytest.raises(nx.NetworkXError):
            next(unknown)

    def test_circles_are_described(self, cls):
        described = lines(cls([(1, 2), (2, 1), (3, 3)]).pformat())

        start = described.index("Cycles: 2")
        assert set(described[start + 1 :]) == {"  1 --> 2 --> 1", "  3 --> 3"}

    def test_many_circles_are_cut_short(self, cls):
        described = lines(cls((u, v) for u in range(30) for v in range(30)).pformat())

        start = described.index("Cycles: 100 or more")
        assert len(described) == start + 101

    def test_long_graphs_are_described(self, cls):
        assert len(lines(cls((i, i + 1) for i in range(3_000)).pformat())) == 6_008


class TestMerging:
    def test_alone_it_is_returned_itself(self):
        made = graph.DiGraph(name="g")

        assert graph.merge_graphs(made) is made
        assert graph.merge_graphs(made, allow_overlaps=True, other=1) is made

    @pytest.mark.parametrize("cls", ALL)
    def test_everything_is_in_the_result(self, cls):
        first = cls([(1, 2, {"k": 1})], name="first").freeze()
        second = cls([(3, 4)], name="second").freeze()
        second.nodes[3]["size"] = 5
        second.graph["more"] = 1
        third = cls(name="third")
        third.add_node(5)

        merged = graph.merge_graphs(first, second, third)

        assert type(merged) is cls
        assert (merged.name, merged.frozen, merged.graph["more"]) == ("first", False, 1)
        assert list(merged) == [1, 2, 3, 4, 5]
        assert list(merged.edges(data=True)) == [(1, 2, {"k": 1}), (3, 4, {})]
        assert merged.nodes[3] == {"size": 5}
        assert len(first) == 2
        merged.edges[1, 2]["k"] = 2
        assert first.edges[1, 2] == {"k": 1}

    def test_class_of_the_first(self):
        assert type(graph.merge_graphs(graph.OrderedDiGraph([(1, 2)]), graph.DiGraph([(3, 4)]))) is graph.OrderedDiGraph

    def test_overlaps(self):
        first, second = graph.DiGraph([(1, 2, {"a": 1, "b": 1})]), graph.DiGraph([(1, 2, {"a": 2})])

        with pytest.raises(ValueError, match="2 in common"):
            graph.merge_graphs(first, second)
        merged = graph.merge_graphs(first, second, allow_overlaps=True)
        assert merged.edges[1, 2] == {"a": 2, "b": 1}

    def test_own_detector_sees_what_was_merged_so_far(self):
        seen = []

        def detect(to_graph, from_graph):
            seen.append((sorted(to_graph), sorted(from_graph)))
            return 0

        graphs = [graph.Graph([(i, i + 1)]) for i in (1, 2, 3)]
        merged = graph.merge_graphs(*graphs, overlap_detector=detect)

        assert seen == [([1, 2], [2, 3]), ([1, 2, 3], [3, 4])]
        assert len(merged) == 4
        with pytest.raises(ValueError, match="common"):
            graph.merge_graphs(*graphs[::2], overlap_detector=lambda to_graph, from_graph: 1)

    @pytest.mark.parametrize("detector", [3, 0, "x"])
    def test_detector_must_be_callable(self, detector):
        with pytest.raises(ValueError, match="callable"):
            graph.merge_graphs(graph.Graph(), overlap_detector=detector)

    def test_directed_and_undirected_do_not_mix(self):
        with pytest.raises(nx.NetworkXError):
            graph.merge_graphs(graph.Graph([(1, 2)]), graph.DiGraph([(3, 4)]))
        with pytest.raises(nx.NetworkXError):
            graph.merge_graphs(graph.DiGraph([(1, 2)]), graph.Graph([(3, 4)]))

    def test_many_graphs_are_merged_in_one_pass(self):
        merged = graph.merge_graphs(*(graph.DiGraph([(2 * i, 2 * i + 1)]) for i in range(5_000)))

        assert len(merged) == 10_000
