# SPDX-License-Identifier: Apache-2.0
"""Which nodes, links and attributes has the execution graph of a compiled flow?"""

from __future__ import annotations

import networkx as nx
import pytest

from taskflow import deciders, retry, task
from taskflow.engines.action_engine import compiler
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.types import graph

INVARIANT = {"invariant": True}
MANUAL = {"manual": True}
BEHIND_RETRY = {"invariant": True, "retry": True}


def _nothing(**kwargs):
    return None


def t(name, requires=(), provides=None):
    return task.FunctorTask(_nothing, name=name, requires=requires, provides=provides)


def r(name):
    return retry.AlwaysRevert(name)


def linear(name, *items, by=None):
    return linear_flow.Flow(name, retry=by).add(*items)


def unordered(name, *items, by=None):
    return unordered_flow.Flow(name, retry=by).add(*items)


def linked(name, *items, by=None, links=()):
    flow = graph_flow.Flow(name, retry=by).add(*items)
    by_name = {item.name: item for item in items}
    for u, v in links:
        flow.link(by_name[u], by_name[v])
    return flow


def compiled(root):
    return compiler.PatternCompiler(root).compile()


def names_of(execution_graph):
    return [node.name for node in execution_graph]


def edges_of(execution_graph):
    return {(u.name, v.name): data for u, v, data in execution_graph.edges(data=True)}


def owners_of(execution_graph):
    """The nodes that lie under a retry, with the retry's name."""
    return {node.name: data["retry"].name for node, data in execution_graph.nodes(data=True) if "retry" in data}


CASES = {
    "empty": (linear("F"), ["F", "F[$]"], {("F", "F[$]"): INVARIANT}, {}),
    "empty unordered": (unordered("F"), ["F", "F[$]"], {("F", "F[$]"): INVARIANT}, {}),
    "empty graph": (linked("F"), ["F", "F[$]"], {("F", "F[$]"): INVARIANT}, {}),
    "empty with a retry": (
        linear("F", by=r("k")),
        ["F", "k", "F[$]"],
        {("F", "k"): INVARIANT, ("k", "F[$]"): INVARIANT},
        {},
    ),
    "nested linear": (
        linear("F", t("a"), t("b"), t("c"), linear("G", t("d"))),
        ["F", "a", "b", "c", "G", "d", "G[$]", "F[$]"],
        dict.fromkeys(
            [("F", "a"), ("a", "b"), ("b", "c"), ("c", "G"), ("G", "d"), ("d", "G[$]"), ("G[$]", "F[$]")], INVARIANT
        ),
        {},
    ),
    "unordered": (
        unordered("F", t("a"), t("b")),
        ["F", "a", "b", "F[$]"],
        dict.fromkeys([("F", "a"), ("F", "b"), ("a", "F[$]"), ("b", "F[$]")], INVARIANT),
        {},
    ),
    "unordered inside linear": (
        linear("F", t("a"), unordered("U", t("b"), t("c")), t("d")),
        ["F", "a", "U", "b", "c", "U[$]", "d", "F[$]"],
        dict.fromkeys(
            [
                ("F", "a"),
                ("a", "U"),
                ("U", "b"),
                ("U", "c"),
                ("b", "U[$]"),
                ("c", "U[$]"),
                ("U[$]", "d"),
                ("d", "F[$]"),
            ],
            INVARIANT,
        ),
        {},
    ),
    "graph chain": (
        linked("F", t("a"), t("b"), t("c"), t("d"), links=["ab", "bc", "cd"]),
        ["F", "a", "b", "c", "d", "F[$]"],
        {
            ("F", "a"): INVARIANT,
            ("a", "b"): MANUAL,
            ("b", "c"): MANUAL,
            ("c", "d"): MANUAL,
            ("d", "F[$]"): INVARIANT,
        },
        {},
    ),
    "value for a subflow": (
        linked("F", t("a", provides="x"), linear("G", t("b"), t("c", requires=["x"]))),
        ["F", "a", "G", "b", "c", "G[$]", "F[$]"],
        {
            ("a", "G"): {"reasons": {"x"}},
            **dict.fromkeys([("F", "a"), ("G", "b"), ("b", "c"), ("c", "G[$]"), ("G[$]", "F[$]")], INVARIANT),
        },
        {},
    ),
    "value of a subflow": (
        linked("F", linear("G", t("b", provides="x")), t("a", requires=["x"])),
        ["F", "G", "b", "G[$]", "a", "F[$]"],
        {
            ("G[$]", "a"): {"reasons": {"x"}},
            **dict.fromkeys([("F", "G"), ("G", "b"), ("b", "G[$]"), ("a", "F[$]")], INVARIANT),
        },
        {},
    ),
    "empty subflow in a line": (
        linear("F", t("a"), linear("E"), t("b")),
        ["F", "a", "E", "E[$]", "b", "F[$]"],
        dict.fromkeys([("F", "a"), ("a", "E"), ("E", "E[$]"), ("E[$]", "b"), ("b", "F[$]")], INVARIANT),
        {},
    ),
    "empty subflow in a graph": (
        linked("F", t("a"), linear("E"), t("b"), links=["ab"]),
        ["F", "a", "E", "E[$]", "b", "F[$]"],
        {
            ("a", "b"): MANUAL,
            **dict.fromkeys([("F", "a"), ("F", "E"), ("E", "E[$]"), ("b", "F[$]"), ("E[$]", "F[$]")], INVARIANT),
        },
        {},
    ),
    "retry over a line": (
        linear("F", t("a"), t("b"), by=r("k")),
        ["F", "a", "b", "k", "F[$]"],
        {
            ("F", "k"): INVARIANT,
            ("k", "a"): BEHIND_RETRY,
            ("a", "b"): INVARIANT,
            ("b", "F[$]"): INVARIANT,
        },
        {"a": "k", "b": "k"},
    ),
    "retry over an unordered flow": (
        unordered("F", t("a"), t("b"), by=r("k")),
        ["F", "a", "b", "k", "F[$]"],
        {
            ("F", "k"): INVARIANT,
            ("k", "a"): BEHIND_RETRY,
            ("k", "b"): BEHIND_RETRY,
            ("a", "F[$]"): INVARIANT,
            ("b", "F[$]"): INVARIANT,
        },
        {"a": "k", "b": "k"},
    ),
    "retry over an empty flow with a retry": (
        linear("F", linear("G", by=r("k2")), by=r("k1")),
        ["F", "G", "k2", "G[$]", "k1", "F[$]"],
        {
            ("F", "k1"): INVARIANT,
            ("k1", "G"): BEHIND_RETRY,
            ("G", "k2"): INVARIANT,
            ("k2", "G[$]"): INVARIANT,
            ("G[$]", "F[$]"): INVARIANT,
        },
        {"G": "k1", "k2": "k1", "G[$]": "k1"},
    ),
    "retry within a retry": (
        linear("F", t("a"), linear("G", t("b"), t("c"), by=r("k2")), t("d"), by=r("k1")),
        ["F", "a", "G", "b", "c", "k2", "G[$]", "d", "k1", "F[$]"],
        {
            ("F", "k1"): INVARIANT,
            ("k1", "a"): BEHIND_RETRY,
            ("a", "G"): INVARIANT,
            ("G", "k2"): INVARIANT,
            ("k2", "b"): BEHIND_RETRY,
            ("b", "c"): INVARIANT,
            ("c", "G[$]"): INVARIANT,
            ("G[$]", "d"): INVARIANT,
            ("d", "F[$]"): INVARIANT,
        },
        {"a": "k1", "d": "k1", "G": "k1", "G[$]": "k1", "k2": "k1", "b": "k2", "c": "k2"},
    ),
    "retry over a graph": (
        linked("F", t("a"), t("b"), t("c"), by=r("k"), links=["bc"]),
        ["F", "a", "b", "c", "k", "F[$]"],
        {
            ("F", "k"): INVARIANT,
            ("k", "a"): BEHIND_RETRY,
            ("k", "b"): BEHIND_RETRY,
            ("b", "c"): MANUAL,
            ("a", "F[$]"): INVARIANT,
            ("c", "F[$]"): INVARIANT,
        },
        {"a": "k", "b": "k", "c": "k"},
    ),
    "retry over a nested line": (
        linear("F", t("a"), linear("G", t("b"), t("c")), t("d"), by=r("k1")),
        ["F", "a", "G", "b", "c", "G[$]", "d", "k1", "F[$]"],
        {
            ("F", "k1"): INVARIANT,
            ("k1", "a"): BEHIND_RETRY,
            **dict.fromkeys(
                [("a", "G"), ("G", "b"), ("b", "c"), ("c", "G[$]"), ("G[$]", "d"), ("d", "F[$]")], INVARIANT
            ),
        },
        {"a": "k1", "b": "k1", "c": "k1", "d": "k1", "G": "k1", "G[$]": "k1"},
    ),
    "retry of an inner flow only": (
        linear("F", t("a"), linear("G", unordered("U", t("b"), t("c")), by=r("k")), t("d")),
        ["F", "a", "G", "U", "b", "c", "U[$]", "k", "G[$]", "d", "F[$]"],
        {
            ("k", "U"): BEHIND_RETRY,
            **dict.fromkeys(
                [
                    ("F", "a"),
                    ("a", "G"),
                    ("G", "k"),
                    ("U", "b"),
                    ("U", "c"),
                    ("b", "U[$]"),
                    ("c", "U[$]"),
                    ("U[$]", "G[$]"),
                    ("G[$]", "d"),
                    ("d", "F[$]"),
                ],
                INVARIANT,
            ),
        },
        {"U": "k", "b": "k", "c": "k", "U[$]": "k"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_nodes_in_order(case):
    root, nodes, _, _ = CASES[case]
    assert names_of(compiled(root).execution_graph) == nodes


@pytest.mark.parametrize("case", CASES)
def test_links_and_their_attributes(case):
    root, _, edges, _ = CASES[case]
    assert edges_of(compiled(root).execution_graph) == edges


@pytest.mark.parametrize("case", CASES)
def test_nodes_inside_a_flow_with_a_retry_name_the_innermost_one(case):
    root, _, _, owners = CASES[case]
    assert owners_of(compiled(root).execution_graph) == owners


@pytest.mark.parametrize("case", CASES)
def test_one_way_in_and_one_way_out(case):
    root = CASES[case][0]
    execution_graph = compiled(root).execution_graph
    assert [node.name for node in execution_graph.no_predecessors_iter()] == ["F"]
    assert [node.name for node in execution_graph.no_successors_iter()] == ["F[$]"]
    assert execution_graph.is_directed_acyclic()


def test_a_line_is_its_own_topological_order():
    root = CASES["nested linear"][0]
    execution_graph = compiled(root).execution_graph
    assert [node.name for node in execution_graph.topological_sort()] == names_of(execution_graph)


def test_the_graph_is_one_of_ours_and_has_the_name_of_the_root():
    execution_graph = compiled(linear("F", t("a"))).execution_graph
    assert type(execution_graph) is graph.DiGraph
    assert execution_graph.name == "F"
    assert execution_graph.frozen


def test_nodes_are_the_objects_themselves():
    a, k, inner = t("a"), r("k"), linear("G", t("b"))
    root = linear("F", a, inner, by=k)
    execution_graph = compiled(root).execution_graph
    for node in (root, a, k, inner):
        assert node in execution_graph
    terminators = [node for node in execution_graph if isinstance(node, compiler.Terminator)]
    assert {node.flow for node in terminators} == {root, inner}
    assert execution_graph.nodes[a]["retry"] is k


def test_kinds_of_nodes():
    a, k, inner = t("a"), r("k"), unordered("G")
    root = linear("F", a, inner, by=k)
    nodes = compiled(root).execution_graph.nodes
    assert dict(nodes[a]) == {"kind": "task", "retry": k}
    assert dict(nodes[k]) == {"kind": "retry"}
    assert dict(nodes[root]) == {"kind": "flow", "noop": True}
    assert dict(nodes[inner]) == {"kind": "flow", "noop": True, "retry": k}
    ends = {node.name: dict(data) for node, data in nodes(data=True) if isinstance(node, compiler.Terminator)}
    assert ends == {
        "F[$]": {"kind": "flow_end", "noop": True},
        "G[$]": {"kind": "flow_end", "noop": True, "retry": k},
    }


def test_a_task_alone():
    a = t("a")
    execution_graph = compiled(a).execution_graph
    assert list(execution_graph.nodes(data=True)) == [(a, {"kind": "task"})]
    assert not execution_graph.edges
    assert execution_graph.name == "a"


def test_links_keep_reasons_and_deciders():
    a, b = t("a", provides="x"), t("b", requires=["x"])

    def decider(history):
        return True

    flow = graph_flow.Flow("F").add(a, b)
    flow.link(a, b, decider=decider, decider_depth="flow")
    data = compiled(flow).execution_graph.get_edge_data(a, b)
    assert data == {
        "manual": True,
        "reasons": {"x"},
        "decider": decider,
        "decider_depth": deciders.Depth.FLOW,
    }


def test_a_decider_on_a_subflow_sits_on_the_links_of_its_ends():
    first, second = linear("G", t("a")), linear("H", t("b"))

    def decider(history):
        return True

    flow = graph_flow.Flow("F").add(first, second)
    flow.link(first, second, decider=decider)
    edges = edges_of(compiled(flow).execution_graph)
    assert edges["G[$]", "H"] == {"manual": True, "decider": decider}


def test_links_of_the_graph_are_copies_of_those_of_the_flow():
    a, b = t("a", provides="x"), t("b", requires=["x"])
    flow = graph_flow.Flow("F").add(a, b)
    execution_graph = compiler.PatternCompiler(flow, freeze=False).compile().execution_graph
    execution_graph.edges[a, b]["mine"] = True
    execution_graph.edges[a, b]["reasons"].add("y")
    ((_, _, data),) = flow.iter_links()
    assert data == {"reasons": {"x"}}


def test_only_the_visible_part_of_a_targeted_flow_is_compiled():
    a, b, c = t("a"), t("b"), t("c")
    flow = graph_flow.TargetedFlow("F").add(a, b, c)
    flow.link(a, b).link(b, c)
    flow.set_target(b)
    compilation = compiled(flow)
    assert edges_of(compilation.execution_graph) == {
        ("F", "a"): INVARIANT,
        ("a", "b"): MANUAL,
        ("b", "F[$]"): INVARIANT,
    }
    assert c not in compilation.execution_graph


def test_whatever_networkx_offers_works_on_the_graph():
    a, b = t("a"), t("b")
    execution_graph = compiled(linear("F", a, b)).execution_graph
    assert nx.has_path(execution_graph, a, b)
    assert nx.is_frozen(execution_graph)
    with pytest.raises(nx.NetworkXError):
        execution_graph.add_node("more")
    assert len(execution_graph.subgraph([a, b]).edges) == 1
    assert execution_graph.pformat().startswith("Name: F")


def _tree(node):
    return (node.item.name, [_tree(child) for child in node])


@pytest.mark.parametrize(
    ("root", "tree"),
    [
        (t("a"), ("a", [])),
        (linear("F"), ("F", [])),
        (linear("F", t("b"), t("a")), ("F", [("b", []), ("a", [])])),
        (linear("F", t("a"), by=r("k")), ("F", [("k", []), ("a", [])])),
        (unordered("F", t("b"), t("a"), by=r("k")), ("F", [("k", []), ("b", []), ("a", [])])),
        (
            linked("F", t("a"), t("b"), t("c"), links=["ca", "ab"], by=r("k")),
            ("F", [("k", []), ("c", []), ("a", []), ("b", [])]),
        ),
        (
            linear("F", t("a"), unordered("U", linear("G", t("b"), by=r("k"))), t("d")),
            ("F", [("a", []), ("U", [("G", [("k", []), ("b", [])])]), ("d", [])]),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_the_hierarchy_has_flows_with_their_retry_first(root, tree):
    assert _tree(compiled(root).hierarchy) == tree


def test_nodes_of_the_hierarchy():
    a, k, inner = t("a"), r("k"), unordered("G")
    root = linear("F", a, inner, by=k)
    hierarchy = compiled(root).hierarchy
    assert hierarchy.item is root
    assert hierarchy.parent is None
    assert hierarchy.frozen
    assert hierarchy.metadata == {"kind": "flow", "noop": True}
    assert [(node.item, node.metadata) for node in hierarchy] == [
        (k, {"kind": "retry"}),
        (a, {"kind": "task"}),
        (inner, {"kind": "flow", "noop": True}),
    ]
    assert all(node.parent is hierarchy for node in hierarchy)
    assert hierarchy.find(a).item is a


def test_the_hierarchy_of_a_task_alone():
    a = t("a")
    hierarchy = compiled(a).hierarchy
    assert (hierarchy.item, hierarchy.metadata, hierarchy.child_count()) == (a, {"kind": "task"}, 0)
