# SPDX-License-Identifier: Apache-2.0
"""Whose results may an atom use, nearest first?"""

from __future__ import annotations

import pytest

from taskflow import engines, retry, task
from taskflow.engines.action_engine import compiler, scopes
from taskflow.patterns import graph_flow, linear_flow, unordered_flow


def _nothing(**kwargs):
    return None


def t(name, requires=(), provides=None):
    return task.FunctorTask(_nothing, name=str(name), requires=requires, provides=provides)


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


def atom_named(compilation, name):
    (found,) = [
        node
        for node, data in compilation.execution_graph.nodes(data=True)
        if data["kind"] in compiler.ATOMS and node.name == name
    ]
    return found


def levels_of(compilation, name):
    return list(scopes.ScopeWalker(compilation, atom_named(compilation, name), names_only=True))


CASES = {
    "alone": (t("1"), {"1": []}),
    "line": (linear("R", t(1), t(2)), {"1": [], "2": [["1"]]}),
    "line with a line in it": (linear("R", t(1), t(2), linear("S", t("s1"))), {"s1": [[], ["2", "1"]]}),
    "line around a line": (
        linear("R", t(1), t(2), t(3), linear("S", t("s1"), t("s2")), t(4)),
        {
            "3": [["2", "1"]],
            "s1": [[], ["3", "2", "1"]],
            "s2": [["s1"], ["3", "2", "1"]],
            "4": [["s2", "s1", "3", "2", "1"]],
        },
    ),
    "unordered": (unordered("R", *[t(i) for i in range(10)]), {str(i): [] for i in range(10)}),
    "chain of values": (
        linked(
            "R",
            t(1, provides="a"),
            t(2, requires=["a"], provides="b"),
            t(3, requires=["a", "b"], provides="c"),
            t(4, requires=["c"], provides="d"),
            t(5, requires=["d"]),
        ),
        {
            "1": [],
            "2": [["1"]],
            "3": [["2", "1"]],
            "4": [["3", "2", "1"]],
            "5": [["4", "3", "2", "1"]],
        },
    ),
    "graph beside an unlinked graph": (
        linked(
            "R",
            t("r1"),
            t("r2"),
            t("r3"),
            linked("S", t("s1"), t("s2"), links=[("s1", "s2")]),
            links=[("r1", "r2"), ("r2", "r3")],
        ),
        {"r3": [["r2", "r1"]], "s1": [], "s2": [["s1"]]},
    ),
    "subflow linked to a subflow": (
        linked(
            "R",
            linear("S", t("s1"), t("s2")),
            linked("T", t("t1"), t("t2"), links=[("t1", "t2")]),
            links=[("S", "T")],
        ),
        {"s1": [], "s2": [["s1"]], "t1": [[], ["s2", "s1"]], "t2": [["t1"], ["s2", "s1"]]},
    ),
    "unordered in a line": (
        linear("R", t(1), t(2), unordered("U", *[t(name) for name in "abcde"]), t(3)),
        {**{name: [[], ["2", "1"]] for name in "abcde"}, "3": [["e", "d", "c", "b", "a", "2", "1"]]},
    ),
    "retries": (
        linear(
            "f",
            t("a"),
            unordered("u", t("b"), t("c"), linear("w", t("w1"), t("w2")), by=r("r2")),
            t("d"),
            by=r("r"),
        ),
        {
            "r": [],
            "a": [["r"]],
            "r2": [[], ["a", "r"]],
            "b": [["r2"], ["a", "r"]],
            "c": [["r2"], ["a", "r"]],
            "w1": [[], ["r2"], ["a", "r"]],
            "w2": [["w1"], ["r2"], ["a", "r"]],
            "d": [["w2", "w1", "c", "b", "r2", "a", "r"]],
        },
    ),
    "later provider shadows": (
        linear("R", t("p1", provides="x"), t("p2", provides="x"), t("q", requires=["x"])),
        {"q": [["p2", "p1"]]},
    ),
    "empty flow between": (linear("R", t(1), linear("E"), t(2)), {"2": [["1"]]}),
    "empty outer levels": (
        linear("R", linear("A"), linear("B", linear("C", t(1), t(2)))),
        {"1": [], "2": [["1"]]},
    ),
    "inner empty levels": (
        linear("R", t(1), unordered("A", unordered("B", unordered("C", t(2))))),
        {"2": [[], [], [], ["1"]]},
    ),
    "retry of an empty flow": (linear("R", linear("E", by=r("k")), t(1)), {"1": [["k"]], "k": []}),
}


@pytest.mark.parametrize(("case", "name"), [(case, name) for case, (_, wanted) in CASES.items() for name in wanted])
def test_levels(case, name):
    root, wanted = CASES[case]
    assert levels_of(compiled(root), name) == wanted[name]


def test_two_unrelated_providers_share_a_level():
    root = linked("R", t("p1", provides="x"), t("p2", provides="x"), t("q"), links=[("p1", "q"), ("p2", "q")])
    compilation = compiled(root)
    (level,) = levels_of(compilation, "q")
    assert sorted(level) == ["p1", "p2"]
    assert levels_of(compilation, "p1") == []
    assert levels_of(compilation, "p2") == []


def test_atoms_themselves_unless_names_are_asked_for():
    a, k, b = t("a"), r("k"), t("b")
    compilation = compiled(linear("F", a, b, by=k))
    (level,) = scopes.ScopeWalker(compilation, b)
    assert level == [a, k]
    assert all(x is y for x, y in zip(level, [a, k], strict=True))
    assert list(scopes.ScopeWalker(compilation, b, names_only=True)) == [["a", "k"]]
    assert list(scopes.ScopeWalker(compilation, k)) == []


@pytest.mark.parametrize("names_only", [False, True])
def test_every_walk_starts_over(names_only):
    compilation = compiled(linear("F", t(1), linear("G", t(2), t(3))))
    walker = scopes.ScopeWalker(compilation, atom_named(compilation, "3"), names_only=names_only)
    first = [list(level) for level in walker]
    halted = iter(walker)
    next(halted)
    assert [list(level) for level in walker] == first
    assert [list(level) for level in halted] == first[1:]
    assert len(first) == 2


def test_an_atom_that_is_not_in_the_flow():
    compilation = compiled(linear("F", t(1)))
    with pytest.raises(ValueError):
        scopes.ScopeWalker(compilation, t(1))


def test_atoms_are_told_apart_by_what_they_are():
    class Alike(task.Task):
        def execute(self):
            return None

        def __eq__(self, other):
            return isinstance(other, Alike) and self.kind == other.kind

        def __hash__(self):
            return hash(self.kind)

    first, second, third = Alike("first"), Alike("second"), Alike("third")
    first.kind, second.kind, third.kind = "a", "b", "c"
    compilation = compiled(linear("F", first, second, third))
    assert list(scopes.ScopeWalker(compilation, third, names_only=True)) == [["second", "first"]]


@pytest.mark.parametrize(
    ("root", "value"),
    [
        (linear("F", t("p1", provides="x"), t("p2", provides="x")), "p2"),
        (linear("F", t("p1", provides="x"), linear("G", t("p2", provides="x"))), "p2"),
        (linear("F", t("p1", provides="x"), unordered("G", t("other"))), "p1"),
    ],
    ids=["shadowed", "nested", "outer"],
)
def test_an_engine_gives_the_nearest_value(root, value):
    class Name(task.Task):
        def execute(self, **kwargs):
            return self.name

    def replaced(flow):
        made = type(flow)(flow.name)
        for item in flow:
            if isinstance(item, task.Task):
                made.add(Name(item.name, provides=list(item.save_as)[0] if item.save_as else None))
            else:
                made.add(replaced(item))
        return made

    seen = []

    class Ask(task.Task):
        def execute(self, x):
            seen.append(x)

    engines.run(linear_flow.Flow("R").add(replaced(root), Ask("q")), engine="serial")
    assert seen == [value]
