# SPDX-License-Identifier: Apache-2.0
"""Is the execution graph of any flow the one that the four steps of its construction give?"""

from __future__ import annotations

import composed_flows
import networkx as nx
from hypothesis import given

from taskflow import engines, task
from taskflow.engines.action_engine import compiler


class End:
    """Stands for the terminator of a flow."""

    def __init__(self, flow):
        self.flow = flow

    def __eq__(self, other):
        return isinstance(other, End) and self.flow is other.flow

    def __hash__(self):
        return id(self.flow)

    def __repr__(self):
        return f"end of {self.flow}"


def _way_in(item):
    return item


def _way_out(item):
    return item if isinstance(item, task.Task) else End(item)


def _attributes(around, **attributes):
    return attributes if around is None else {**attributes, "retry": around}


def constructed(item, around=None):
    """The nodes (in order) and edges of an item inside a flow whose nearest retry is ``around``."""
    if isinstance(item, task.Task):
        return {item: _attributes(around, kind="task")}, {}
    inside = item.retry if item.retry is not None else around
    # Step 1: the flow, and the graphs of its children in their order.
    nodes = {item: _attributes(around, kind="flow", noop=True)}
    edges = {}
    for child in item:
        more_nodes, more_edges = constructed(child, inside)
        nodes.update(more_nodes)
        edges.update(more_edges)
    # Step 2: links between the children.
    for u, v, metadata in item.iter_links():
        edges[_way_out(u), _way_in(v)] = dict(metadata)
    # Step 3: the retry or the flow in front of whatever nothing is in front of.
    entered = {v for _, v in edges}
    firsts = [node for node in nodes if node is not item and node not in entered]
    if item.retry is not None:
        nodes[item.retry] = _attributes(around, kind="retry")
        edges[item, item.retry] = {"invariant": True}
        for node in firsts:
            edges[item.retry, node] = {"invariant": True, "retry": True}
    else:
        for node in firsts:
            edges[item, node] = {"invariant": True}
    # Step 4: the terminator behind whatever nothing is behind.
    left = {u for u, _ in edges}
    lasts = [node for node in nodes if node not in left]
    nodes[End(item)] = _attributes(around, kind="flow_end", noop=True)
    for node in lasts:
        edges[node, End(item)] = {"invariant": True}
    return nodes, edges


def _shown(node):
    return End(node.flow) if isinstance(node, compiler.Terminator) else node


def compiled(root):
    return compiler.PatternCompiler(root).compile()


def _flows_in(item):
    if not isinstance(item, task.Task):
        yield item
        for child in item:
            yield from _flows_in(child)


@given(composed_flows.composed())
def test_nodes_and_their_attributes_come_in_order(root):
    nodes, _ = constructed(root)
    execution_graph = compiled(root).execution_graph
    found = [(_shown(node), dict(data)) for node, data in execution_graph.nodes(data=True)]
    assert found == list(nodes.items())


@given(composed_flows.composed())
def test_edges_and_their_attributes(root):
    _, edges = constructed(root)
    found = {(_shown(u), _shown(v)): dict(data) for u, v, data in compiled(root).execution_graph.edges(data=True)}
    assert found == edges


@given(composed_flows.composed())
def test_every_flow_has_one_way_in_and_one_way_out(root):
    execution_graph = compiled(root).execution_graph
    assert nx.is_directed_acyclic_graph(execution_graph)
    for flow in _flows_in(root):
        content = set(constructed(flow)[0])
        inside = [node for node in execution_graph if _shown(node) in content]
        assert len(inside) == len(content)
        part = execution_graph.subgraph(inside)
        assert [_shown(node) for node, degree in part.in_degree() if degree == 0] == [flow]
        assert [_shown(node) for node, degree in part.out_degree() if degree == 0] == [End(flow)]
        for u, v in execution_graph.edges:
            if _shown(v) in content and _shown(u) not in content:
                assert v is flow
            if _shown(u) in content and _shown(v) not in content:
                assert _shown(u) == End(flow)


def _tree(node):
    return (node.item, dict(node.metadata), [_tree(child) for child in node])


def _expected_tree(item):
    if isinstance(item, task.Task):
        return (item, {"kind": "task"}, [])
    children = [_expected_tree(child) for child in item]
    if item.retry is not None:
        children.insert(0, (item.retry, {"kind": "retry"}, []))
    return (item, {"kind": "flow", "noop": True}, children)


@given(composed_flows.composed())
def test_the_hierarchy_follows_the_nesting(root):
    hierarchy = compiled(root).hierarchy
    assert _tree(hierarchy) == _expected_tree(root)
    assert hierarchy.parent is None
    assert all(child.parent is node for node in hierarchy.dfs_iter(include_self=True) for child in node)


@given(composed_flows.composed(own_values=False))
def test_an_engine_compiles_to_the_same(root):
    engine = engines.load(root, engine="serial")
    engine.run()
    nodes, edges = constructed(root)
    execution_graph = engine.compilation.execution_graph
    assert [_shown(node) for node in execution_graph] == list(nodes)
    assert {(_shown(u), _shown(v)) for u, v in execution_graph.edges} == set(edges)
    atoms = [node.name for node, data in nodes.items() if data["kind"] in ("task", "retry")]
    assert engine.storage.get_atoms_states(atoms) == dict.fromkeys(atoms, ("SUCCESS", "EXECUTE"))
