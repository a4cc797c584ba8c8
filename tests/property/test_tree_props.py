# SPDX-License-Identifier: Apache-2.0
"""Do trees agree with a recursive model?"""

from hypothesis import given
from hypothesis import strategies as st

from taskflow.types import tree

# A tree is a list of its children's trees; items are the numbers of nodes in preorder.
shapes = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=4), max_leaves=25)


def build(shape):
    nodes = []

    def grow(part):
        node = tree.Node(len(nodes))
        nodes.append(node)
        for inner in part:
            node.add(grow(inner))
        return node

    return grow(shape), nodes


def preorder(node, forward=True):
    children = list(node) if forward else list(node)[::-1]
    return [node.item, *(item for child in children for item in preorder(child, forward))]


def levels(node, forward):
    found, level = [], [node]
    while level:
        found += [each.item for each in level]
        level = [child for each in level for child in (list(each) if forward else list(each)[::-1])]
    return found


@given(shapes)
def test_walks(shape):
    root, nodes = build(shape)

    for forward in (True, False):
        assert [n.item for n in root.dfs_iter(True, right_to_left=forward)] == preorder(root, forward)
        assert [n.item for n in root.dfs_iter(right_to_left=forward)] == preorder(root, forward)[1:]
        assert [n.item for n in root.bfs_iter(True, right_to_left=forward)] == levels(root, forward)
    assert root.child_count(only_direct=False) == len(nodes) - 1
    for node in nodes:
        assert root.find(node.item) is node
        assert [n.item for n in node.path_iter()][-1] == 0


@given(shapes)
def test_drawing(shape):
    root, nodes = build(shape)

    def draw(node):
        lines = [str(node.item)]
        children = list(node)
        for child in children:
            first, *rest = draw(child)
            lines.append(f"|__{first}")
            bar = " " if child is children[-1] else "|"
            lines += [f"{bar}  {line}" for line in rest]
        return lines

    assert root.pformat(linesep="\n") == "\n".join(draw(root))


@given(shapes)
def test_graph_has_the_same_edges(shape):
    root, nodes = build(shape)

    made = root.to_digraph()

    assert list(made) == levels(root, forward=True)
    assert set(made.edges) == {(node.parent.item, node.item) for node in nodes[1:]}


@given(shapes, st.data())
def test_removal(shape, data):
    root, nodes = build(shape)
    gone = data.draw(st.sampled_from(nodes))
    below = preorder(gone)

    assert root.remove(gone.item) is gone
    assert gone.parent is None
    assert preorder(gone) == below
    left = preorder(root)
    assert sorted(left if gone is root else left + below) == list(range(len(nodes)))


@given(shapes)
def test_freezing(shape):
    root, nodes = build(shape)
    root.freeze()

    assert all(node.frozen for node in nodes)
