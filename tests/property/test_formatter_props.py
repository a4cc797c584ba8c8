# SPDX-License-Identifier: Apache-2.0
"""Is what the formatter draws, for any flow and any data, complete, without repetition and masked?"""

from __future__ import annotations

import contextlib
import os
import re

import hypothesis
from hypothesis import strategies as st

from taskflow import engines, formatters, retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

LINE = re.compile(r"  (?P<columns>(?:\|  |   )*(?:\|__)?)(?P<text>\S.*)")
FULL = re.compile(r"(?P<kind>Flow|Atom) '(?P<name>\w+)'(?: \{.*\})?")
AGAIN = re.compile(r"(?P<kind>Flow|Atom|Last atoms of flow) '(?P<name>\w+)' \(shown (?P<where>above|below)\)")


class Step(task.Task):
    def execute(self):
        return None


class Broken(task.Task):
    def execute(self):
        raise RuntimeError("woe")


@st.composite
def flows(draw, depth=3):
    """A flow of flows and tasks; the last item of the outermost one fails after all the others."""
    numbers = iter(range(10_000))

    def build(depth):
        number = next(numbers)
        kind = draw(st.sampled_from(["line", "heap", "graph"]))
        control = retry.AlwaysRevert(f"r{number}") if draw(st.booleans()) else None
        items = [
            build(depth - 1) if depth and draw(st.integers(0, 2)) == 0 else Step(f"t{next(numbers)}")
            for _ in range(draw(st.integers(0, 4)))
        ]
        if kind == "line":
            return linear_flow.Flow(f"f{number}", retry=control).add(*items)
        if kind == "heap":
            return unordered_flow.Flow(f"f{number}", retry=control).add(*items)
        flow = graph_flow.Flow(f"f{number}", retry=control).add(*items)
        for j, target in enumerate(items):
            for source in items[:j]:
                if draw(st.booleans()):
                    flow.link(source, target)
        return flow

    return linear_flow.Flow("top").add(*[build(depth) for _ in range(draw(st.integers(1, 3)))], Broken("broken"))


def told(flow):
    """The lines at the moment of the failure, and the engine."""
    engine = engines.load(flow)
    formatter = formatters.FailureFormatter(engine)
    texts = []

    def hear(state, details):
        texts.append(formatter.format(details["result"], lambda node: node.item.name == "broken")[1])

    engine.atom_notifier.register("FAILURE", hear)
    with contextlib.suppress(RuntimeError):
        engine.run()
    (text,) = texts
    return text.split(os.linesep), engine


def direct_predecessors(graph):
    """Name -> names right before it, ends of flows replaced by what is before them: slowly, by the definition."""

    def of(node):
        names = []
        for before in graph.predecessors(node):
            if graph.nodes[before]["kind"] == "flow_end":
                names.extend(of(before))
            else:
                names.append(before.name)
        return names

    return {node.name: of(node) for node, data in graph.nodes(data=True) if data["kind"] != "flow_end"}


def parse(lines):
    """Entries of depth and text, from the columns of the drawing."""
    entries = []
    for line in lines:
        found = LINE.fullmatch(line)
        assert found, line
        entries.append((len(found["columns"]) // 3, found["text"]))
    return entries


@hypothesis.given(flows())
def test_all_predecessors_are_drawn_once_under_what_they_precede(flow):
    lines, engine = told(flow)
    before = direct_predecessors(engine.compilation.execution_graph)
    entries = parse(lines[1:])
    assert lines[0] == f"{len(entries)} predecessors (most recent first):"

    children = {"broken": []}
    path = ["broken"]
    seen, referred = set(), []
    for depth, text in entries:
        assert depth < len(path), "a line hangs below none"
        del path[depth + 1 :]
        again = AGAIN.fullmatch(text)
        found = again or FULL.fullmatch(text)
        name = found["name"]
        children[path[-1]].append((found["kind"], name))
        if again:
            referred.append((again, name in seen))
            path.append(None)
        else:
            assert name not in seen or not before[name], f"{name} is expanded twice"
            seen.add(name)
            children.setdefault(name, [])
            path.append(name)

    ancestors, todo = set(), ["broken"]
    while todo:
        for name in before[todo.pop()]:
            if name not in ancestors:
                ancestors.add(name)
                todo.append(name)
    assert seen == ancestors
    for again, was_seen in referred:
        if again["kind"] != "Last atoms of flow":
            assert again["name"] in seen
            assert again["where"] == ("above" if was_seen else "below")
    for name, drawn in children.items():
        if all(kind != "Last atoms of flow" for kind, _ in drawn):
            assert [child for _, child in drawn] == before[name]


@hypothesis.given(flows(), st.integers(1, 12), st.integers(1, 6))
def test_limits_hold_and_what_they_cut_off_is_told(flow, most_nodes, most_steps):
    whole, _ = told(flow)
    old = formatters.MAX_NODES, formatters.MAX_DEPTH
    formatters.MAX_NODES, formatters.MAX_DEPTH = most_nodes, most_steps
    try:
        lines, _ = told(flow)
    finally:
        formatters.MAX_NODES, formatters.MAX_DEPTH = old
    cut = lines[-1].startswith("  ...")
    entries = parse(lines[1:-1] if cut else lines[1:])
    assert len(entries) <= most_nodes
    assert all(depth < most_steps for depth, _ in entries)
    if cut:
        assert len(entries) < len(whole) - 1
    else:
        assert lines == whole


KEYS = st.sampled_from(["pw", "token", "k", "name", 1, None])
SECRETS = frozenset(["pw", "token"])
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=30,
)


def masked(data):
    if isinstance(data, dict):
        return {key: "***" if key in SECRETS else masked(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(masked, data))
    return data


@hypothesis.given(DATA, st.sampled_from([list, tuple, set, frozenset]))
def test_masking_agrees_with_its_definition(data, kind):
    before = repr(data)
    result = formatters.FailureFormatter(None)._mask_keys(data, kind(SECRETS))
    assert result == masked(data)
    assert repr(result) == repr(masked(data))
    assert repr(data) == before


@hypothesis.given(DATA)
def test_masking_again_changes_nothing(data):
    formatter = formatters.FailureFormatter(None)
    once = formatter._mask_keys(data, SECRETS)
    assert formatter._mask_keys(once, SECRETS) == once
