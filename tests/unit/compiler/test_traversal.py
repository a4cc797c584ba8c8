# SPDX-License-Identifier: Apache-2.0
"""Which atoms are reached from a node of the execution graph, and in what order?"""

from __future__ import annotations

import pytest

from taskflow import retry, task
from taskflow.engines.action_engine import compiler, traversal
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.types import graph

FORWARD, BACKWARD = traversal.Direction.FORWARD, traversal.Direction.BACKWARD


class Plain(task.Task):
    def execute(self):
        pass


@pytest.fixture
def compiled():
    inner = linear_flow.Flow("w").add(Plain("w1"), Plain("w2"))
    middle = unordered_flow.Flow("u", retry.Times(1, "r2")).add(Plain("b"), Plain("c"), inner)
    root = linear_flow.Flow("f", retry.Times(1, "r")).add(Plain("a"), middle, Plain("d"))
    return compiler.PatternCompiler(root).compile()


def node(compilation, name):
    return next(n for n in compilation.execution_graph if n.name == name)


def names(items):
    return [item.name for item in items]


@pytest.mark.parametrize(
    ("walk", "start", "direction", "options", "expected"),
    [
        (traversal.breadth_first_iterate, "f", FORWARD, {}, ["r", "a", "r2", "b", "c", "w1", "d", "w2"]),
        (traversal.depth_first_iterate, "f", FORWARD, {}, ["r", "a", "r2", "w1", "w2", "d", "c", "b"]),
        (traversal.breadth_first_iterate, "d", BACKWARD, {}, ["b", "c", "r2", "w2", "w1", "a", "r"]),
        (traversal.depth_first_iterate, "a", FORWARD, {"through_flows": False}, []),
        (traversal.breadth_first_iterate, "a", FORWARD, {"through_retries": False}, ["r2"]),
        (traversal.breadth_first_iterate, "d", BACKWARD, {"through_retries": False}, ["b", "c", "r2", "w2", "w1"]),
        (traversal.breadth_first_iterate, "f", FORWARD, {"through_tasks": False}, ["r", "a"]),
        (traversal.depth_first_iterate, "d", FORWARD, {}, []),
    ],
)
def test_what_is_reached(compiled, walk, start, direction, options, expected):
    found = walk(compiled.execution_graph, node(compiled, start), direction, **options)
    assert names(found) == expected


@pytest.mark.parametrize("walk", [traversal.breadth_first_iterate, traversal.depth_first_iterate])
def test_the_start_comes_again_only_by_a_way_back(walk):
    cycle = graph.DiGraph()
    for n in "xy":
        cycle.add_node(n, kind="task")
    cycle.add_edge("x", "y")
    assert list(walk(cycle, "x", FORWARD)) == ["y"]
    cycle.add_edge("y", "x")
    assert list(walk(cycle, "x", FORWARD)) == ["y", "x"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (-1, ["d", "w2", "w1", "c", "b", "r2", "a", "r"]),
        (0, []),
        (1, ["r"]),
        (2, ["a", "r"]),
        (3, ["w2", "w1", "c", "b", "r2", "a", "r"]),
    ],
)
def test_a_tree_backwards(compiled, count, expected):
    assert names(traversal.depth_first_reverse_iterate(compiled.hierarchy, count)) == expected
