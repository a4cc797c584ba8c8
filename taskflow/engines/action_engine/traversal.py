# SPDX-License-Identifier: Apache-2.0
"""Which nodes of the public execution graph are reached from a node, in what order?

For tools that look at ``engine.compilation``; the engine itself works on numbers.
"""

from __future__ import annotations

import collections
import enum
from typing import TYPE_CHECKING, Any

from taskflow.engines.action_engine import compiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taskflow.types import graph, tree


class Direction(enum.Enum):
    """Along the links, or against them."""

    FORWARD = 1
    BACKWARD = 2


def _reached(
    execution_graph: graph.DiGraph,
    starting_node: Any,
    direction: Direction,
    closed: frozenset[str],
    take: Callable[[collections.deque[Any]], Any],
) -> Iterator[Any]:
    """Walk from a node; a node of a closed kind is reached but not passed."""
    beyond = execution_graph.successors if direction == Direction.FORWARD else execution_graph.predecessors
    seen = set()
    waiting = collections.deque(beyond(starting_node))
    while waiting:
        node = take(waiting)
        if node in seen:
            continue
        seen.add(node)
        attributes = execution_graph.nodes[node]
        if not attributes.get("noop"):
            yield node
        if attributes["kind"] not in closed:
            waiting.extend(n for n in beyond(node) if n not in seen)


def _closed(through_flows: bool, through_retries: bool, through_tasks: bool) -> frozenset[str]:
    kinds = [*(() if through_flows else compiler.FLOWS)]
    if not through_retries:
        kinds.append(compiler.RETRY)
    if not through_tasks:
        kinds.append(compiler.TASK)
    return frozenset(kinds)


def breadth_first_iterate(
    execution_graph: graph.DiGraph,
    starting_node: Any,
    direction: Direction,
    through_flows: bool = True,
    through_retries: bool = True,
    through_tasks: bool = True,
) -> Iterator[Any]:
    """Yield the atoms connected with a node, the nearest first, each once.

    Args:
        execution_graph: The graph of a compilation.
        starting_node: Where to begin; yielded only if a way leads back to it.
        direction: Along or against the links.
        through_flows: Whether to go on beyond flow markers.
        through_retries: Whether to go on beyond retries.
        through_tasks: Whether to go on beyond tasks.

    Yields:
        The nodes that are not marked ``noop``.
    """
    closed = _closed(through_flows, through_retries, through_tasks)
    return _reached(execution_graph, starting_node, direction, closed, lambda waiting: waiting.popleft())


def depth_first_iterate(
    execution_graph: graph.DiGraph,
    starting_node: Any,
    direction: Direction,
    through_flows: bool = True,
    through_retries: bool = True,
    through_tasks: bool = True,
) -> Iterator[Any]:
    """Yield the atoms connected with a node, following each way to its end, the one linked last first, each once.

    Args:
        execution_graph: The graph of a compilation.
        starting_node: Where to begin; yielded only if a way leads back to it.
        direction: Along or against the links.
        through_flows: Whether to go on beyond flow markers.
        through_retries: Whether to go on beyond retries.
        through_tasks: Whether to go on beyond tasks.

    Yields:
        The nodes that are not marked ``noop``.
    """
    closed = _closed(through_flows, through_retries, through_tasks)
    return _reached(execution_graph, starting_node, direction, closed, lambda waiting: waiting.pop())


def depth_first_reverse_iterate(node: tree.Node, start_from_idx: int = -1) -> Iterator[Any]:
    """Yield the atoms below a node of the hierarchy backwards: the last child first, with what is in it before that.

    Args:
        node: A node of the hierarchy.
        start_from_idx: How many of its children count, from the first; all of them when negative.

    Yields:
        The items that are not marked ``noop``.
    """
    children = list(node)
    if start_from_idx >= 0:
        children = children[:start_from_idx]
    waiting = [(child, False) for child in children]
    while waiting:
        at, opened = waiting.pop()
        if opened or at.empty():
            if not at.metadata.get("noop"):
                yield at.item
        else:
            waiting.append((at, True))
            waiting.extend((child, False) for child in at)
