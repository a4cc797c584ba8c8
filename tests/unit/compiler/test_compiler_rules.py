# SPDX-License-Identifier: Apache-2.0
"""What can be compiled, how often, and what is refused?"""

from __future__ import annotations

import threading

import networkx as nx
import pytest

from taskflow import engines, exceptions, flow, retry, task
from taskflow.engines.action_engine import compiler
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.types import tree

PATTERNS = [linear_flow.Flow, unordered_flow.Flow, graph_flow.Flow]


def _nothing():
    return None


def t(name):
    return task.FunctorTask(_nothing, name=name)


def test_names_that_tools_use():
    assert (compiler.TASK, compiler.RETRY, compiler.FLOW, compiler.FLOW_END) == ("task", "retry", "flow", "flow_end")
    assert compiler.ATOMS == ("task", "retry")
    assert compiler.FLOWS == ("flow", "flow_end")
    assert compiler.LINK_INVARIANT == flow.LINK_INVARIANT
    assert compiler.LINK_RETRY == flow.LINK_RETRY
    made = compiler.Compilation
    assert (made.TASK, made.RETRY, made.FLOW, made.FLOW_END) == ("task", "retry", "flow", "flow_end")


def test_a_compilation_is_read_only():
    compilation = compiler.PatternCompiler(linear_flow.Flow("F")).compile()
    assert compilation.execution_graph is compilation.execution_graph
    assert compilation.hierarchy is compilation.hierarchy
    for name in ("execution_graph", "hierarchy"):
        with pytest.raises(AttributeError):
            setattr(compilation, name, None)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (linear_flow.Flow, '"linear_flow.Flow: F(len=1)[$]"'),
        (unordered_flow.Flow, '"unordered_flow.Flow: F(len=1)[$]"'),
        (graph_flow.Flow, '"graph_flow.Flow: F(len=1)[$]"'),
    ],
)
def test_a_terminator_tells_whose_end_it_is(pattern, text):
    root = pattern("F").add(t("a"))
    end = compiler.Terminator(root)
    assert end.flow is root
    assert end.name == "F[$]"
    assert str(end) == text
    with pytest.raises(AttributeError):
        end.flow = None


def test_the_first_success_is_kept():
    root = linear_flow.Flow("F").add(t("a"))
    patterns = compiler.PatternCompiler(root)
    first = patterns.compile()
    root.add(t("b"))
    assert patterns.compile() is first
    assert [node.name for node in first.execution_graph] == ["F", "a", "F[$]"]
    assert [node.item.name for node in first.hierarchy] == ["a"]


def test_later_changes_do_not_show_in_what_is_built_on_demand():
    root = linear_flow.Flow("F").add(t("a"))
    compilation = compiler.PatternCompiler(root).compile()
    root.add(t("b"))
    assert [node.name for node in compilation.execution_graph] == ["F", "a", "F[$]"]
    assert [node.item.name for node in compilation.hierarchy] == ["a"]


def test_a_failure_is_not_kept():
    inner = linear_flow.Flow("G").add(t("a"))
    root = graph_flow.TargetedFlow("F").add(inner)
    bad = retry.AlwaysRevert("k")
    root.add(bad)
    patterns = compiler.PatternCompiler(root)
    for _ in range(2):
        with pytest.raises(TypeError):
            patterns.compile()
    root.set_target(inner)
    assert bad not in patterns.compile().execution_graph


def test_frozen_unless_asked_otherwise():
    root = linear_flow.Flow("F").add(t("a"), unordered_flow.Flow("G").add(t("b")))
    frozen = compiler.PatternCompiler(root).compile()
    assert frozen.execution_graph.frozen
    assert all(node.frozen for node in frozen.hierarchy.dfs_iter(include_self=True))
    with pytest.raises(nx.NetworkXError):
        frozen.execution_graph.add_edge(root, "x")
    with pytest.raises(tree.FrozenNode):
        frozen.hierarchy.add(tree.Node("x"))


def test_not_frozen_when_asked():
    root = linear_flow.Flow("F").add(t("a"), unordered_flow.Flow("G").add(t("b")))
    loose = compiler.PatternCompiler(root, freeze=False).compile()
    assert not loose.execution_graph.frozen
    assert not any(node.frozen for node in loose.hierarchy.dfs_iter(include_self=True))
    loose.execution_graph.add_edge(root, "x")
    loose.hierarchy.add(tree.Node("x"))
    assert loose.hierarchy.child_count() == 3


class Odd:
    name = "odd"
    requires = frozenset()
    provides = frozenset()


@pytest.mark.parametrize(
    "root", [42, None, "flow", object(), linear_flow.Flow, Odd(), retry.AlwaysRevert("k")], ids=repr
)
def test_a_root_that_is_neither_task_nor_flow(root):
    with pytest.raises(TypeError, match="^Unknown object .* requested to compile"):
        compiler.PatternCompiler(root).compile()


@pytest.mark.parametrize("item", [42, "task", Odd(), retry.AlwaysRevert("k")], ids=["int", "str", "odd", "retry"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_item_that_is_neither_task_nor_flow(pattern, item):
    if pattern is graph_flow.Flow and isinstance(item, (int, str)):
        with pytest.raises(AttributeError):
            pattern("G").add(item)
        return
    root = linear_flow.Flow("F").add(t("a"), pattern("G").add(item))
    with pytest.raises(TypeError, match="^Unknown object .* requested to compile"):
        compiler.PatternCompiler(root).compile()


def test_a_bad_item_is_told_with_its_flow():
    root = linear_flow.Flow("outside").add(linear_flow.Flow("around-it").add(42))
    with pytest.raises(TypeError, match="^Unknown object .*42.* requested to compile") as caught:
        compiler.PatternCompiler(root).compile()
    assert "around-it" in str(caught.value)


def test_subclasses_of_tasks_and_flows_are_compiled():
    class Mine(linear_flow.Flow):
        pass

    class Step(task.Task):
        def execute(self):
            return None

    compilation = compiler.PatternCompiler(Mine("F").add(Step("a"))).compile()
    assert [node.name for node in compilation.execution_graph] == ["F", "a", "F[$]"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("outer", PATTERNS)
def test_a_task_in_two_subflows(pattern, outer):
    shared = t("shared")
    root = outer("F").add(pattern("G").add(shared), pattern("H").add(shared))
    with pytest.raises(ValueError):
        compiler.PatternCompiler(root).compile()


def test_a_task_in_a_flow_and_its_subflow():
    shared = t("shared")
    root = linear_flow.Flow("F").add(shared, linear_flow.Flow("G").add(shared))
    with pytest.raises(ValueError):
        compiler.PatternCompiler(root).compile()


def test_a_flow_in_two_flows():
    shared = linear_flow.Flow("shared")
    root = linear_flow.Flow("F").add(linear_flow.Flow("G").add(shared), linear_flow.Flow("H").add(shared))
    with pytest.raises(ValueError):
        compiler.PatternCompiler(root).compile()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_flow_inside_itself(depth):
    root = inner = linear_flow.Flow("F")
    for i in range(depth):
        deeper = linear_flow.Flow(f"G{i}")
        inner.add(deeper)
        inner = deeper
    inner.add(root)
    with pytest.raises(ValueError):
        compiler.PatternCompiler(root).compile()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_retry_shared_by_siblings(pattern):
    shared = retry.AlwaysRevert("shared")
    root = pattern("F").add(
        linear_flow.Flow("G", retry=shared).add(t("a")), linear_flow.Flow("H", retry=shared).add(t("b"))
    )
    with pytest.raises(ValueError):
        compiler.PatternCompiler(root).compile()


@pytest.mark.parametrize("between", [0, 1, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_retry_shared_by_a_flow_and_one_inside_it(pattern, between):
    shared = retry.AlwaysRevert("shared")
    inner = pattern("inner", retry=shared).add(t("a"))
    for i in range(between):
        inner = linear_flow.Flow(f"between{i}").add(inner)
    root = pattern("F", retry=shared).add(inner)
    with pytest.raises(ValueError):
        compiler.PatternCompiler(root).compile()


def test_equal_tasks_are_the_same_task_to_a_flow_only_if_they_say_so():
    """Atoms are told apart by what they are, not by their name: two tasks of one name are two nodes."""
    root = unordered_flow.Flow("F").add(t("same"), t("same"))
    compilation = compiler.PatternCompiler(root).compile()
    assert [node.name for node in compilation.execution_graph] == ["F", "same", "same", "F[$]"]


def test_many_threads_get_one_compilation():
    root = linear_flow.Flow("F").add(*[t(f"t{i}") for i in range(200)])
    patterns = compiler.PatternCompiler(root)
    barrier = threading.Barrier(8)
    made = []

    def work():
        barrier.wait(10)
        made.append(patterns.compile())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 8
    assert len({id(one) for one in made}) == 1
    assert len({id(one.execution_graph) for one in made}) == 1


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_engine_refuses_equal_names_at_any_level(pattern):
    root = pattern("F", retry=retry.AlwaysRevert("b")).add(
        t("a"), t("c"), linear_flow.Flow("G", retry=retry.AlwaysRevert("d")).add(t("b"), t("a"))
    )
    compiler.PatternCompiler(root).compile()
    engine = engines.load(root)
    with pytest.raises(exceptions.Duplicate, match="^Atoms with duplicate names") as caught:
        engine.compile()
    text = str(caught.value)
    assert 0 < text.index("a", len("Atoms with duplicate names")) < text.rindex("b")
    assert "'c'" not in text
    assert "'d'" not in text


def test_flow_names_may_repeat_and_may_equal_atom_names():
    root = linear_flow.Flow("same").add(t("same"), linear_flow.Flow("same"), linear_flow.Flow("same").add(t("other")))
    engine = engines.load(root)
    engine.run()
    assert engine.storage.get_atoms_states(["same", "other"]) == {
        "same": ("SUCCESS", "EXECUTE"),
        "other": ("SUCCESS", "EXECUTE"),
    }


def test_an_atom_without_a_name_is_refused_when_storage_is_prepared():
    engine = engines.load(linear_flow.Flow("F").add(t("")))
    engine.compile()
    with pytest.raises(ValueError):
        engine.prepare()


@pytest.mark.parametrize("root", [42, None, retry.AlwaysRevert("k")], ids=repr)
def test_an_engine_looks_at_its_flow_when_it_compiles(root):
    engine = engines.load(root)
    with pytest.raises(TypeError, match="^Unknown object .* requested to compile"):
        engine.compile()


def test_an_engine_shows_its_compilation():
    root = linear_flow.Flow("F").add(t("a"))
    engine = engines.load(root)
    assert engine.compilation is None
    engine.compile()
    assert isinstance(engine.compilation, compiler.Compilation)
    assert [node.name for node in engine.compilation.execution_graph] == ["F", "a", "F[$]"]
    assert engine.compilation.hierarchy.item is root
