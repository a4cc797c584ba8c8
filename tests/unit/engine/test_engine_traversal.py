# SPDX-License-Identifier: Apache-2.0
"""In which order do tools walk over a compiled flow, and where do they stop?"""

from __future__ import annotations

from typing import Any

import pytest

from taskflow import retry
from taskflow.engines.action_engine import compiler, traversal


def graph_of(flow: Any) -> tuple[Any, dict[str, Any]]:
    """The execution graph of a flow, and its nodes by name."""
    made = compiler.PatternCompiler(flow).compile().execution_graph
    return made, {node.name: node for node in made}


@pytest.fixture
def nested(kit: Any) -> Any:
    return kit.linear("f", "a", kit.linear("g", "b"), "c", retry=retry.Times(2, "r"))


@pytest.mark.parametrize(
    ("start", "direction", "depth_first", "breadth_first"),
    [("a", traversal.Direction.FORWARD, "cdb", "bcd"), ("d", traversal.Direction.BACKWARD, "cab", "bca")],
)
def test_a_diamond(kit: Any, start: str, direction: Any, depth_first: str, breadth_first: str) -> None:
    flow = kit.graph("g", *"abcd", links=["ab", "ac", "bd", "cd"])
    nodes, atoms = graph_of(flow)
    for walk, names in (
        (traversal.depth_first_iterate, depth_first),
        (traversal.breadth_first_iterate, breadth_first),
    ):
        assert "".join(n.name for n in walk(nodes, atoms[start], direction)) == names


@pytest.mark.parametrize(
    ("options", "after_r", "before_c"),
    [
        ({}, "abc", "bar"),
        ({"through_flows": False}, "a", ""),
        ({"through_retries": False}, "abc", "bar"),
        ({"through_tasks": False}, "a", "b"),
    ],
)
def test_not_past_some_kinds(nested: Any, options: dict[str, bool], after_r: str, before_c: str) -> None:
    nodes, atoms = graph_of(nested)
    walk, way = traversal.breadth_first_iterate, traversal.Direction
    assert "".join(n.name for n in walk(nodes, atoms["r"], way.FORWARD, **options)) == after_r
    assert "".join(n.name for n in walk(nodes, atoms["c"], way.BACKWARD, **options)) == before_c


def test_children_of_a_tree_node_backwards(nested: Any) -> None:
    root = compiler.PatternCompiler(nested).compile().hierarchy
    seen = [[n.name for n in traversal.depth_first_reverse_iterate(root, start)] for start in (-1, 0, 1, 2)]
    assert seen == [["c", "b", "a", "r"], [], ["r"], ["a", "r"]]
