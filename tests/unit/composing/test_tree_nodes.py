# SPDX-License-Identifier: Apache-2.0
"""Do trees behave?"""

import os

import pytest

from taskflow.types import graph, tree

DEEP = 20_000


def node(item, *children, **metadata):
    made = tree.Node(item, **metadata)
    for child in children:
        made.add(child)
    return made


def sample():
    return node("r", node("a", node("b"), node("c", node("d"), node("e"))), node("f"))


def deep():
    root = bottom = tree.Node(0)
    for i in range(1, DEEP):
        child = tree.Node(i)
        bottom.add(child)
        bottom = child
    return root, bottom


def items(nodes):
    return "".join(n.item for n in nodes)


def test_a_new_node():
    made = tree.Node("x", kind="task", size=3)

    assert (made.item, made.parent, made.metadata, made.frozen) == ("x", None, {"kind": "task", "size": 3}, False)
    assert made.empty()
    assert made
    assert made != tree.Node("x")
    with pytest.raises(TypeError):
        len(made)


def test_constants():
    assert tree.Node.STARTING_PREFIX == ""
    assert tree.Node.EMPTY_SPACE_SEP == " "
    assert tree.Node.HORIZONTAL_CONN == "__"
    assert tree.Node.VERTICAL_CONN == "|"
    assert os.linesep == tree.Node.LINE_SEP
    assert str(tree.FrozenNode())


def test_adding():
    child, root, other = tree.Node("c"), tree.Node("r"), tree.Node("o")

    assert root.add(child) is None
    root.add(child)
    other.add(child)

    assert root.child_count() == 2
    assert child.parent is other
    assert not root.empty()


def test_counting():
    root = sample()

    assert root.child_count() == 2
    assert root.child_count(only_direct=False) == 6
    assert root[1].child_count(only_direct=False) == 0


def test_access_by_position():
    root = sample()

    assert (root[0].item, root[-1].item, items(root[0:2])) == ("a", "f", "af")
    with pytest.raises(IndexError):
        root[2]
    assert items(root) == "af"
    assert items(root.reverse_iter()) == "fa"
    assert root.index("f") == 1
    assert node("r", node("x"), node("x")).index("x") == 0
    for absent in ("b", "r", "zz"):
        with pytest.raises(ValueError, match=absent):
            root.index(absent)


@pytest.mark.parametrize(
    ("walk", "given", "order"),
    [
        ("dfs_iter", {}, "abcdef"),
        ("dfs_iter", {"include_self": True}, "rabcdef"),
        ("dfs_iter", {"right_to_left": False}, "facedb"),
        ("bfs_iter", {}, "facbed"),
        ("bfs_iter", {"include_self": True}, "rfacbed"),
        ("bfs_iter", {"right_to_left": True}, "afbcde"),
    ],
)
def test_walks(walk, given, order):
    found = getattr(sample(), walk)(**given)

    assert items(found) == order
    assert items(found) == order


def test_path_to_the_root():
    lowest = sample().find("e")

    assert items(lowest.path_iter()) == "ecar"
    assert items(lowest.path_iter(include_self=False)) == "car"


class TestFinding:
    @pytest.mark.parametrize(
        ("item", "given", "found"),
        [
            ("d", {}, True),
            ("r", {}, True),
            ("zz", {}, False),
            ("d", {"only_direct": True}, False),
            ("a", {"only_direct": True}, True),
            ("r", {"only_direct": True}, True),
            ("r", {"only_direct": True, "include_self": False}, False),
            ("r", {"include_self": False}, False),
        ],
    )
    def test_by_item(self, item, given, found):
        result = sample().find(item, **given)

        assert (result is not None) is found
        assert result is None or result.item == item

    def test_first_by_condition(self):
        root = sample()

        assert root.find_first_match(lambda n: n.item in "fd").item == "d"
        assert root.find_first_match(lambda n: n.item in "fa", only_direct=True).item == "f"
        assert root.find_first_match(lambda n: True).item == "r"
        assert root.find_first_match(lambda n: True, include_self=False).item == "a"
        assert root.find_first_match(lambda n: True, only_direct=True, include_self=False).item == "f"
        assert root.find_first_match(lambda n: False) is None

    def test_membership(self):
        root = sample()

        assert "r" in root
        assert "e" in root
        assert "zz" not in root


class TestRemoving:
    def test_disassociating(self):
        root, child = tree.Node("r"), tree.Node("c")
        root.add(child)
        root.add(tree.Node("d"))
        root.add(child)

        assert child.disassociate() == 2
        assert child.parent is None
        assert items(root) == "d"
        assert child.disassociate() == 0

    def test_removing(self):
        root = sample()

        removed = root.remove("c")
        assert (removed.item, removed.parent, items(removed)) == ("c", None, "de")
        assert items(root.dfs_iter()) == "abf"
        for given in ({"only_direct": True}, {"only_direct": True, "include_self": False}):
            with pytest.raises(ValueError, match="b"):
                root.remove("b", **given)
        with pytest.raises(ValueError, match="zz"):
            root.remove("zz")
        inner = root[0]
        assert inner.remove("a") is inner
        assert items(root) == "f"


class TestFreezing:
    def test_nothing_can_be_changed(self):
        root = sample()
        assert root.freeze() is None
        root.freeze()

        for made in root.dfs_iter(include_self=True):
            assert made.frozen
            for change in (lambda n: n.add(None), lambda n: n.disassociate(), lambda n: n.remove("zz")):
                with pytest.raises(tree.FrozenNode):
                    change(made)

    def test_only_what_is_below_is_frozen(self):
        root = sample()
        root[0].freeze()

        root.add(tree.Node("g"))
        assert items(root) == "afg"
        assert root[0][1][0].frozen


def test_graph_of_a_tree():
    root = node("r", node("a", node("b")), node("c"), kind="top")

    made = root.to_digraph()

    assert type(made) is graph.OrderedDiGraph
    assert made.name == ""
    assert list(made.nodes(data=True)) == [("r", {"kind": "top"}), ("a", {}), ("c", {}), ("b", {})]
    assert list(made.edges) == [("r", "a"), ("r", "c"), ("a", "b")]
    assert not made.frozen
    assert list(root[0].to_digraph().edges) == [("a", "b")]


class TestPrinting:
    full = node(
        "r",
        node("a", node("b"), node("c", node("d"), node("e"))),
        node("f", node("g", node("h")), node("i")),
    )
    lines = ("r", "|__a", "|  |__b", "|  |__c", "|     |__d", "|     |__e", "|__f", "   |__g", "   |  |__h", "   |__i")

    def test_drawing(self):
        assert self.full.pformat() == os.linesep.join(self.lines)

    def test_a_subtree_has_no_connector_at_its_top(self):
        assert self.full[1].pformat(linesep="\n") == "f\n|__g\n|  |__h\n|__i"

    def test_a_single_node(self):
        assert tree.Node(5).pformat() == "5"

    def test_own_marks_have_columns_of_equal_width(self):
        root = node("r", node("a", node("b", node("c"))), node("d"))

        drawn = root.pformat(
            stringify_node=lambda n: n.item.upper(),
            linesep=";",
            vertical_conn="!!",
            horizontal_conn="-->",
            empty_space=".",
            starting_prefix="> ",
        )
        assert drawn == "> R;> !!-->A;> !!...!!-->B;> !!........!!-->C;> !!-->D"

    def test_shared_child_is_drawn_wherever_it_is(self):
        child = tree.Node("c")
        assert node("r", child, child).pformat(linesep=" ") == "r |__c |__c"


def test_deep_trees_need_no_recursion():
    root, bottom = deep()
    root.freeze()

    assert bottom.frozen
    assert root.find(DEEP - 1) is bottom
    assert root.child_count(only_direct=False) == DEEP - 1
    assert sum(1 for _ in bottom.path_iter()) == DEEP
    assert sum(1 for _ in root.bfs_iter()) == DEEP - 1
    assert len(root.to_digraph()) == DEEP


def test_deep_trees_are_drawn():
    root = bottom = tree.Node(0)
    for i in range(1, 2_000):
        child = tree.Node(i)
        bottom.add(child)
        bottom = child

    assert len(root.pformat().splitlines()) == 2_000
