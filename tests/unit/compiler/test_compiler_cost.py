# SPDX-License-Identifier: Apache-2.0
"""Does it take a time proportional to its size to compile a flow, and does depth do no harm?

The bounds are generous: four times the size may take eight times the time. What they find is work that grows with
the square, which takes sixteen times.
"""

from __future__ import annotations

import gc
import time

import pytest

from taskflow import engines, task
from taskflow.engines.action_engine import compiler, scopes
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

SMALL, LARGE = 5_000, 20_000
DEEP = 5_000
BOUND = 8.0


class Plain(task.Task):
    def execute(self):
        return 1


class Step(task.Task):
    """A task of a graph, with values as its only links."""

    def execute(self, **kwargs):
        return 1


def _linear(size):
    return linear_flow.Flow("F").add(*[Plain(f"t{i}") for i in range(size)])


def _unordered(size):
    return unordered_flow.Flow("F").add(*[Plain(f"t{i}") for i in range(size)])


def _chain(size):
    return graph_flow.Flow("F").add(
        *[Step(f"t{i}", provides=f"x{i}", requires=[f"x{i - 1}"] if i else None) for i in range(size)]
    )


def _layered(size, width=50):
    tasks = []
    for i in range(size):
        layer, at = divmod(i, width)
        needs = [f"x{(layer - 1) * width + (at + k) % width}" for k in range(3)] if layer else None
        tasks.append(Step(f"t{i}", provides=f"x{i}", requires=needs))
    return graph_flow.Flow("F").add(*tasks)


def _wide_joined(size):
    """Unordered flows one behind the other: links between every two of their tasks would be a product."""
    half = size // 2
    return linear_flow.Flow("F").add(
        unordered_flow.Flow("G").add(*[Plain(f"a{i}") for i in range(half)]),
        unordered_flow.Flow("H").add(*[Plain(f"b{i}") for i in range(size - half)]),
    )


SHAPES = {"linear": _linear, "unordered": _unordered, "chain": _chain, "layered": _layered, "joined": _wide_joined}


def _seconds(made, work):
    """The processor time of ``work(made)``.

    The collector rests meanwhile: its passes grow with everything that the test process holds.
    """
    gc.collect()
    gc.disable()
    try:
        began = time.process_time()
        work(made)
        return time.process_time() - began
    finally:
        gc.enable()


def _assert_proportional(make, work, few=SMALL, many=LARGE):
    small = min(_seconds(make(few), work) for _ in range(2))
    bound = BOUND * max(small, 0.005)
    tries = []
    while len(tries) < 3:
        tries.append(_seconds(make(many), work))
        if tries[-1] < bound:
            return
    pytest.fail(f"{few}: {small:.3f} s, {many}: {min(tries):.3f} s")


@pytest.mark.parametrize("shape", SHAPES)
def test_compiling_and_preparing(shape):
    def work(flow):
        engine = engines.load(flow, engine="serial")
        engine.compile()
        engine.prepare()

    _assert_proportional(SHAPES[shape], work)


@pytest.mark.parametrize("shape", SHAPES)
def test_compiling_and_reading_graph_and_hierarchy(shape):
    def work(flow):
        compilation = compiler.PatternCompiler(flow).compile()
        assert len(compilation.execution_graph) >= SMALL
        assert compilation.hierarchy.child_count(only_direct=False) >= SMALL

    _assert_proportional(SHAPES[shape], work)


def test_making_a_walker_for_every_atom():
    def make(size):
        flow = _linear(size)
        return compiler.PatternCompiler(flow).compile(), list(flow)

    def work(made):
        compilation, atoms = made
        for one in atoms:
            scopes.ScopeWalker(compilation, one, names_only=True)

    _assert_proportional(make, work)


class Relay(task.Task):
    """Takes a value and gives one under the same name."""

    default_provides = "x"

    def execute(self, x):
        return x


def _relays(size):
    return linear_flow.Flow("F").add(Plain("p", provides="x"), *[Relay(f"t{i}") for i in range(size)])


def _relays_in_pairs(size):
    flow = linear_flow.Flow("F").add(Plain("p", provides="x"))
    for i in range(size // 2):
        flow.add(linear_flow.Flow(f"G{i}").add(Relay(f"a{i}"), Relay(f"b{i}")))
    return flow


def _relays_side_by_side(size):
    """None of the many that give the value may use that of a neighbour."""
    return linear_flow.Flow("F").add(
        Plain("p", provides="x"), unordered_flow.Flow("G").add(*[Relay(f"t{i}") for i in range(size)])
    )


@pytest.mark.parametrize("make", [_relays, _relays_in_pairs, _relays_side_by_side])
def test_looking_for_the_provider_of_every_argument(make):
    def prepared(size):
        engine = engines.load(make(size), engine="serial")
        engine.compile()
        engine.prepare()
        return engine

    _assert_proportional(prepared, lambda engine: engine.validate(), 1_000, 4_000)
    _assert_proportional(prepared, lambda engine: engine.run(), 1_000, 4_000)


def _nested(depth, pattern):
    flow = pattern("F0").add(Plain("t0"))
    for i in range(1, depth):
        flow = pattern(f"F{i}").add(flow)
    return flow


@pytest.mark.parametrize("pattern", [linear_flow.Flow, unordered_flow.Flow], ids=["linear", "unordered"])
def test_deeply_nested_flows_compile_and_run(pattern):
    engine = engines.load(_nested(DEEP, pattern), engine="serial")
    engine.run()
    assert engine.storage.get_atom_state("t0") == "SUCCESS"
    assert len(engine.compilation.execution_graph) == 2 * DEEP + 1
    assert engine.compilation.hierarchy.child_count(only_direct=False) == DEEP
    assert engine.compilation.hierarchy.frozen


def test_deeply_nested_flows_with_atoms_at_every_level():
    flow = linear_flow.Flow("F0").add(Step("t0", provides="x0"))
    for i in range(1, DEEP):
        flow = linear_flow.Flow(f"F{i}").add(Plain(f"t{i}"), flow)
    compilation = compiler.PatternCompiler(flow).compile()
    innermost = next(node.item for node in compilation.hierarchy.dfs_iter() if node.item.name == "t0")
    levels = list(scopes.ScopeWalker(compilation, innermost, names_only=True))
    assert levels[0] == []
    assert levels[1:] == [[f"t{i}"] for i in range(1, DEEP)]


def test_deeply_nested_graph_flows():
    flow = graph_flow.Flow("F0").add(Step("t0", provides="x", requires=["y"]))
    for i in range(1, 500):
        flow = graph_flow.Flow(f"F{i}").add(flow)
    engine = engines.load(flow, engine="serial", store={"y": 1})
    engine.run()
    assert engine.storage.fetch("x") == 1
