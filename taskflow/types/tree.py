# SPDX-License-Identifier: Apache-2.0
"""How are things kept that lie inside each other?"""

from __future__ import annotations

import collections
import os
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from taskflow.types import graph


class FrozenNode(Exception):
    """A frozen tree was to be changed."""

    def __init__(self) -> None:
        super().__init__("A frozen tree can not be changed; build another one")


class _Descendants:
    """The nodes below a node in some order, to be gone through as often as wanted."""

    def __init__(
        self, walk: Callable[[Node, bool], Iterator[Node]], root: Node, include_self: bool, forward: bool
    ) -> None:
        self._walk = walk
        self._root = root
        self._include_self = include_self
        self._forward = forward

    def __iter__(self) -> Iterator[Node]:
        nodes = self._walk(self._root, self._forward)
        if not self._include_self:
            next(nodes)
        return nodes


def _depth_first(root: Node, forward: bool) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.reverse_iter() if forward else node)


def _breadth_first(root: Node, forward: bool) -> Iterator[Node]:
    queue = collections.deque([root])
    while queue:
        node = queue.popleft()
        yield node
        queue.extend(node if forward else node.reverse_iter())


class Node:
    """An item with what lies below it.

    "Right to left" in the names of parameters is the order in which children were added.

    Args:
        item: what the node stands for.
        kwargs: metadata about it.
    """

    STARTING_PREFIX = ""
    EMPTY_SPACE_SEP = " "
    HORIZONTAL_CONN = "__"
    VERTICAL_CONN = "|"
    LINE_SEP = os.linesep

    def __init__(self, item: Any, **kwargs: Any) -> None:
        self.item = item
        self.parent: Node | None = None
        self.metadata: dict[str, Any] = dict(kwargs)
        self.frozen = False
        self._children: list[Node] = []

    def freeze(self) -> None:
        """Makes the node and all below it unchangeable."""
        if not self.frozen:
            # Those below first: whoever sees a frozen node may rely on all below being so.
            for node in reversed(list(_depth_first(self, forward=True))):
                node.frozen = True

    def _check_changeable(self) -> None:
        if self.frozen:
            raise FrozenNode

    def add(self, child: Node) -> None:
        """Adds a node behind the last child.

        Args:
            child: the node; it is not taken away from a parent that it has.

        Raises:
            FrozenNode: this node is frozen.
        """
        self._check_changeable()
        child.parent = self
        self._children.append(child)

    def empty(self) -> bool:
        """Tells whether there are no children.

        Returns:
            True if there are none.
        """
        return not self._children

    def child_count(self, only_direct: bool = True) -> int:
        """Counts what is below.

        Args:
            only_direct: whether to count only the children, not what is below these.

        Returns:
            How many nodes there are; this one is not counted.
        """
        if only_direct:
            return len(self._children)
        return sum(1 for _ in self.dfs_iter())

    @overload
    def __getitem__(self, index: int) -> Node: ...

    @overload
    def __getitem__(self, index: slice) -> list[Node]: ...

    def __getitem__(self, index: int | slice) -> Node | list[Node]:
        return self._children[index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._children)

    def reverse_iter(self) -> Iterator[Node]:
        """Goes through the children, the last added first.

        Returns:
            An iterator.
        """
        return reversed(self._children)

    def path_iter(self, include_self: bool = True) -> Iterator[Node]:
        """Goes up to the root.

        Args:
            include_self: whether this node is the first, in place of its parent.

        Yields:
            One node after the other.
        """
        node = self if include_self else self.parent
        while node is not None:
            yield node
            node = node.parent

    def dfs_iter(self, include_self: bool = False, right_to_left: bool = True) -> Iterable[Node]:
        """Goes through what is below, each node right before what is below it.

        Args:
            include_self: whether this node comes first.
            right_to_left: whether children come in the order of their addition, in place of the opposite one.

        Returns:
            An iterable that may be gone through repeatedly.
        """
        return _Descendants(_depth_first, self, include_self, right_to_left)

    def bfs_iter(self, include_self: bool = False, right_to_left: bool = False) -> Iterable[Node]:
        """Goes through what is below level by level.

        Args:
            include_self: whether this node comes first.
            right_to_left: whether children come in the order of their addition, in place of the opposite one.

        Returns:
            An iterable that may be gone through repeatedly.
        """
        return _Descendants(_breadth_first, self, include_self, right_to_left)

    def find_first_match(
        self, matcher: Callable[[Node], object], only_direct: bool = False, include_self: bool = True
    ) -> Node | None:
        """Searches by a condition.

        Args:
            matcher: called with nodes; a true answer ends the search.
            only_direct: whether to look only at the children, the last added first, not at what is below these.
            include_self: whether to look at this node too, before the others.

        Returns:
            The node found, ``None`` without one.
        """
        candidates: Iterable[Node]
        if only_direct:
            candidates = [self, *self.reverse_iter()] if include_self else self.reverse_iter()
        else:
            candidates = self.dfs_iter(include_self=include_self)
        return next((node for node in candidates if matcher(node)), None)

    def find(self, item: Any, only_direct: bool = False, include_self: bool = True) -> Node | None:
        """Searches the node of an item.

        Args:
            item: what the node stands for.
            only_direct: whether to look only at the children, not at what is below these.
            include_self: whether to look at this node too.

        Returns:
            The first node with an equal item, ``None`` without one.
        """
        return self.find_first_match(lambda node: node.item == item, only_direct, include_self)

    def __contains__(self, item: object) -> bool:
        return self.find(item) is not None

    def index(self, item: Any) -> int:
        """Tells which child an item is.

        Args:
            item: what the child stands for.

        Returns:
            The position of the first child with an equal item.

        Raises:
            ValueError: there is no such child.
        """
        for position, child in enumerate(self._children):
            if child.item == item:
                return position
        raise ValueError(f"No child of node '{self.item}' stands for {item!r}")

    def disassociate(self) -> int:
        """Takes the node away from its parent.

        Returns:
            How many times it was a child there.

        Raises:
            FrozenNode: this node is frozen.
        """
        self._check_changeable()
        parent, self.parent = self.parent, None
        if parent is None:
            return 0
        before = len(parent._children)
        parent._children = [child for child in parent._children if child is not self]
        return before - len(parent._children)

    def remove(self, item: Any, only_direct: bool = False, include_self: bool = True) -> Node:
        """Takes the node of an item away from its parent.

        Args:
            item: what the node stands for.
            only_direct: whether to look only at the children, not at what is below these.
            include_self: whether to look at this node too.

        Returns:
            The node that was taken away.

        Raises:
            FrozenNode: this node is frozen.
            ValueError: there is no such node.
        """
        self._check_changeable()
        node = self.find(item, only_direct, include_self)
        if node is None:
            raise ValueError(f"Item {item!r} not found to remove from node '{self.item}'")
        node.disassociate()
        return node

    def to_digraph(self) -> graph.OrderedDiGraph:
        """Makes a graph of the tree.

        Returns:
            A new graph: the items with their metadata, and a link from each to those of its children.
        """
        # The library behind graphs takes longer to import than most flows to run, and trees seldom become graphs.
        from taskflow.types import graph

        result = graph.OrderedDiGraph()
        for node in self.bfs_iter(include_self=True, right_to_left=True):
            result.add_node(node.item, attr_dict=node.metadata)
            if node is not self and node.parent is not None:
                result.add_edge(node.parent.item, node.item)
        return result

    def pformat(
        self,
        stringify_node: Callable[[Node], str] | None = None,
        linesep: str = LINE_SEP,
        vertical_conn: str = VERTICAL_CONN,
        horizontal_conn: str = HORIZONTAL_CONN,
        empty_space: str = EMPTY_SPACE_SEP,
        starting_prefix: str = STARTING_PREFIX,
    ) -> str:
        """Draws the tree, one line for each node.

        Args:
            stringify_node: gives the text of a node; ``None`` takes that of its item.
            linesep: what stands between lines.
            vertical_conn: the line down to further children.
            horizontal_conn: the line to the text of a child.
            empty_space: what fills gaps.
            starting_prefix: what each line starts with.

        Returns:
            The drawing.
        """
        further = vertical_conn + empty_space * len(horizontal_conn)
        blank = empty_space * len(vertical_conn + horizontal_conn)
        lines = []
        # With each node the columns of its line, and those that its children's lines start with.
        stack: list[tuple[Node, str, str]] = [(self, "", "")]
        while stack:
            node, columns, below = stack.pop()
            text = str(node.item) if stringify_node is None else stringify_node(node)
            lines.append(f"{starting_prefix}{columns}{text}")
            connected = below + vertical_conn + horizontal_conn
            is_last = True
            for child in node.reverse_iter():
                stack.append((child, connected, below + (blank if is_last else further)))
                is_last = False
        return linesep.join(lines)
