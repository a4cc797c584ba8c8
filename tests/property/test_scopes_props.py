# SPDX-License-Identifier: Apache-2.0
"""Does every atom of any flow see the atoms, and get the values, that a plain look at graph and tree gives?"""

from __future__ import annotations

import composed_flows
import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from taskflow import engines, exceptions, states
from taskflow.engines.action_engine import compiler, scopes


def _atoms_of(compilation):
    return [node for node, data in compilation.execution_graph.nodes(data=True) if data["kind"] in compiler.ATOMS]


def _tree_node(compilation, atom):
    return next(node for node in compilation.hierarchy.dfs_iter(include_self=True) if node.item is atom)


def _expanded(node):
    """The atoms of a tree node in depth-first order."""
    own = [node.item] if node.metadata["kind"] in compiler.ATOMS else []
    return own + [atom for child in node for atom in _expanded(child)]


def levels_by_rule(compilation, atom):
    """Walks up from the atom; a level has the atoms of earlier siblings that precede it, the nearest first."""
    left = {node for node in nx.ancestors(compilation.execution_graph, atom) if node in set(_atoms_of(compilation))}
    levels = []
    node = _tree_node(compilation, atom)
    while node.parent is not None and left:
        siblings = list(node.parent)
        earlier = siblings[: next(i for i, one in enumerate(siblings) if one is node)]
        level = [one for sibling in reversed(earlier) for one in reversed(_expanded(sibling)) if one in left]
        left.difference_update(level)
        levels.append(level)
        node = node.parent
    assert not left
    return levels


@given(st.booleans().flatmap(lambda own: composed_flows.composed(own_values=own)))
def test_levels_of_every_atom(root):
    compilation = compiler.PatternCompiler(root).compile()
    for atom in _atoms_of(compilation):
        wanted = levels_by_rule(compilation, atom)
        assert list(scopes.ScopeWalker(compilation, atom)) == wanted, atom.name
        names = [[one.name for one in level] for level in wanted]
        walker = scopes.ScopeWalker(compilation, atom, names_only=True)
        assert list(walker) == names, atom.name
        assert list(walker) == names, atom.name


def _value_by_rule(levels, giving, ignored):
    """The name of the atom whose value is taken: the first that is not ignored in the first level with such a one."""
    for level in levels:
        usable = [one.name for one in level if one.name in giving and one.name not in ignored]
        if usable:
            return usable[0]
    return None


@given(composed_flows.composed(own_values=False), st.data())
def test_values_come_from_the_nearest_provider(root, data):
    engine = engines.load(root, engine="serial")
    engine.compile()
    engine.prepare()
    compilation, storage = engine.compilation, engine.storage
    atoms = _atoms_of(compilation)
    for atom in atoms:
        storage.save(atom.name, {symbol: (atom.name, symbol) for symbol in composed_flows.SYMBOLS})
    ignored = {atom.name for atom in atoms if data.draw(st.integers(0, 4)) == 0}
    for name in ignored:
        storage.set_atom_state(name, states.IGNORE)
    for atom in atoms:
        levels = levels_by_rule(compilation, atom)
        for symbol in composed_flows.SYMBOLS:
            giving = {one.name for one in atoms if symbol in one.provides}
            wanted = _value_by_rule(levels, giving, ignored)
            visible = any(one.name in giving for level in levels for one in level)
            missing = storage.fetch_unsatisfied_args(atom.name, {"a": symbol})
            assert missing == (set() if visible else {"a"}), (atom.name, symbol)
            try:
                found = storage.fetch_mapped_args({"a": symbol}, atom_name=atom.name)
            except exceptions.NotFound:
                found = None
            assert found == (None if wanted is None else {"a": (wanted, symbol)}), (atom.name, symbol)
