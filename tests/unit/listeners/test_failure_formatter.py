# SPDX-License-Identifier: Apache-2.0
"""What does the formatter tell about a failure and what came before it?"""

from __future__ import annotations

import collections
import contextlib
import os
import types
import typing
from unittest import mock

import pytest

from taskflow import engines, exceptions, formatters, retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.types import failure, tree

MORE = "  ... (predecessors that are further away are not shown)"


class Step(task.Task):
    def __init__(self, name, gives=5, **kwargs):
        super().__init__(name, **kwargs)
        self.gives = gives

    def execute(self, **kwargs):
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


class Broken(Step):
    def __init__(self, name="c", **kwargs):
        super().__init__(name, RuntimeError("woe"), **kwargs)


def linear(name, *items, **kwargs):
    return linear_flow.Flow(name, **kwargs).add(*items)


def unordered(name, *items):
    return unordered_flow.Flow(name).add(*items)


def named(name):
    return lambda node: node.item.name == name


def run(flow, **kwargs):
    """An engine that has run a flow, with the intention of the failed task as it was when it failed."""
    engine = engines.load(flow, **kwargs)
    with pytest.raises(RuntimeError, match="woe"):
        engine.run()
    engine.storage.set_atom_intention("c", "EXECUTE")
    return engine


def describe(engine, matcher=None, **kwargs):
    fail = engine.storage.get_execute_failures()["c"]
    return formatters.FailureFormatter(engine, **kwargs).format(fail, matcher or named("c"))


def while_failing(flow, store=None, **kwargs):
    """What is told at the moment when a task of the flow fails."""
    engine = engines.load(flow, store=store)
    formatter = formatters.FailureFormatter(engine, **kwargs)
    told = []

    def hear(state, details):
        told.append(formatter.format(details["result"], named(details["task_name"]))[1])

    engine.atom_notifier.register("FAILURE", hear)
    with pytest.raises(RuntimeError, match="woe"):
        engine.run()
    (text,) = told
    return text.split(os.linesep)


def atom(name, requires="{}", provides="5"):
    known = f"'intention': 'EXECUTE', 'state': 'SUCCESS', 'requires': {requires}, 'provides': {provides}"
    return f"Atom '{name}' {{{known}}}"


def cache():
    return collections.defaultdict(dict)


def test_predecessors_of_a_line():
    assert while_failing(linear("f", Step("a"), Step("b"), Broken())) == [
        "3 predecessors (most recent first):",
        "  " + atom("b"),
        "  |__" + atom("a"),
        "     |__Flow 'f'",
    ]


def test_a_task_without_predecessors():
    assert while_failing(Broken()) == ["0 predecessors (most recent first):", ""]


def test_the_first_task_of_a_flow():
    assert while_failing(linear("f", Broken())) == ["1 predecessors (most recent first):", "  Flow 'f'"]


def test_several_direct_predecessors():
    flow = graph_flow.Flow("g").add(
        Step("a", provides="x"), Step("b", provides="y"), Broken(requires=["x", "y"]), Step("d", requires="x")
    )
    assert while_failing(flow) == [
        "4 predecessors (most recent first):",
        "  " + atom("a"),
        "  |__Flow 'g'",
        "  " + atom("b"),
        "  |__Flow 'g'",
    ]


def test_what_ends_a_flow_comes_before_it():
    a = Step("a", {"k": 1, "pw": "hush"}, requires="secret")
    flow = linear("f", a, linear("g", Step("b")), Broken(), retry=retry.Times(1, name="r"))
    masks = {"mask_inputs_keys": ["secret"], "mask_outputs_keys": ["pw"]}
    assert while_failing(flow, store={"secret": "hush"}, **masks) == [
        "5 predecessors (most recent first):",
        "  " + atom("b"),
        "  |__Flow 'g'",
        "     |__" + atom("a", requires="{'secret': '***'}", provides="{'k': 1, 'pw': '***'}"),
        "        |__" + atom("r", provides="[(1, {})]"),
        "           |__Flow 'f'",
    ]


def test_the_ends_of_flows_in_each_other():
    flow = linear("f", linear("g", linear("h", Step("a")), linear("e")), Broken())
    assert while_failing(flow) == [
        "5 predecessors (most recent first):",
        "  Flow 'e'",
        "  |__" + atom("a"),
        "     |__Flow 'h'",
        "        |__Flow 'g'",
        "           |__Flow 'f'",
    ]


def test_what_is_met_again_is_not_followed_again():
    assert while_failing(linear("f", Step("p"), unordered("u", Step("a"), Step("b")), Broken())) == [
        "6 predecessors (most recent first):",
        "  " + atom("a"),
        "  |__Flow 'u'",
        "     |__" + atom("p"),
        "        |__Flow 'f'",
        "  " + atom("b"),
        "  |__Flow 'u' (shown above)",
    ]


def test_an_atom_that_is_met_again():
    flow = graph_flow.Flow("g").add(
        Step("a", provides="x"), Step("b", requires="x", provides="y"), Broken(requires=["x", "y"])
    )
    assert while_failing(flow) == [
        "4 predecessors (most recent first):",
        "  " + atom("a"),
        "  |__Flow 'g'",
        "  " + atom("b", requires="{'x': 5}"),
        "  |__Atom 'a' (shown above)",
    ]


def test_what_is_met_again_is_shown_where_it_is_nearest():
    a, b, broken = Step("a"), Step("b"), Broken()
    flow = graph_flow.Flow("g").add(b, a, broken)
    for source, target in ((b, broken), (a, b), (a, broken)):
        flow.link(source, target)
    assert while_failing(flow) == [
        "4 predecessors (most recent first):",
        "  " + atom("b"),
        "  |__Atom 'a' (shown below)",
        "  " + atom("a"),
        "  |__Flow 'g'",
    ]


def test_the_end_of_a_flow_that_is_met_again():
    inner = unordered("u", Step("a"), Step("b"))
    x, y, broken = Step("x"), Step("y"), Broken()
    flow = graph_flow.Flow("g").add(inner, x, y, broken)
    for source, target in ((inner, x), (inner, y), (x, broken), (y, broken)):
        flow.link(source, target)
    assert while_failing(flow) == [
        "8 predecessors (most recent first):",
        "  " + atom("x"),
        "  |__" + atom("a"),
        "  |  |__Flow 'u'",
        "  |     |__Flow 'g'",
        "  |__" + atom("b"),
        "     |__Flow 'u' (shown above)",
        "  " + atom("y"),
        "  |__Last atoms of flow 'u' (shown above)",
    ]


def test_the_only_end_of_a_flow_that_is_met_again_is_named():
    inner = linear("u", Step("a"))
    x, y, broken = Step("x"), Step("y"), Broken()
    flow = graph_flow.Flow("g").add(inner, x, y, broken)
    for source, target in ((inner, x), (inner, y), (x, broken), (y, broken)):
        flow.link(source, target)
    assert while_failing(flow)[-2:] == ["  " + atom("y"), "  |__Atom 'a' (shown above)"]


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_lines_grow_with_the_atoms_and_not_with_the_ways(rows):
    layers = [unordered(f"u{i}", *[Step(f"t{i}.{j}") for j in range(10)]) for i in range(rows)]
    lines = while_failing(linear("f", *layers, Broken()))
    assert len(lines) == 1 + 20 * rows + 1
    assert lines[0] == f"{20 * rows + 1} predecessors (most recent first):"
    for i in range(rows):
        for j in range(10):
            assert sum(atom(f"t{i}.{j}") in line for line in lines) == 1


def test_only_the_nearest_predecessors_are_shown():
    tasks = [Step(f"t{i}") for i in range(formatters.MAX_NODES + 50)]
    lines = while_failing(linear("f", unordered("u", *tasks), Broken()))
    assert lines[0] == f"{formatters.MAX_NODES} predecessors (most recent first):"
    assert len(lines) == 1 + formatters.MAX_NODES + 1
    assert lines[-1] == MORE
    assert lines[1:-1] == ["  " + atom(f"t{i}") for i in range(formatters.MAX_NODES)]


def test_only_so_many_steps_back_are_shown():
    count = formatters.MAX_DEPTH + 50
    lines = while_failing(linear("f", *[Step(f"t{i}") for i in range(count)], Broken()))
    assert lines[0] == f"{formatters.MAX_DEPTH} predecessors (most recent first):"
    assert [line.lstrip(" |_") for line in lines[1:-1]] == [
        atom(f"t{count - 1 - i}") for i in range(formatters.MAX_DEPTH)
    ]
    assert lines[-1] == MORE


@pytest.mark.parametrize("spare", [0, 1])
def test_nothing_is_said_to_be_missing_when_everything_is_shown(monkeypatch, spare):
    monkeypatch.setattr(formatters, "MAX_NODES", 3 + spare)
    monkeypatch.setattr(formatters, "MAX_DEPTH", 3 + spare)
    assert len(while_failing(linear("f", Step("a"), Step("b"), Broken()))) == 4


def test_deep_flows():
    flow = linear("f0", Step("a"))
    for i in range(1, 3000):
        flow = linear(f"f{i}", flow)
    lines = while_failing(linear("f", flow, Broken()))
    assert lines[1:3] == ["  " + atom("a"), "  |__Flow 'f0'"]
    assert lines[-1] == MORE


def test_after_reverting_there_is_nothing_to_tell():
    engine = engines.load(linear("f", Step("a"), Broken()))
    with pytest.raises(RuntimeError) as caught:
        engine.run()
    exc_info, text = describe(engine)
    assert (exc_info[0], exc_info[1], text) == (RuntimeError, caught.value, "")
    engine.storage.set_atom_intention("c", "EXECUTE")
    again, text = describe(engine)
    assert again == exc_info
    assert text.split(os.linesep) == [
        "2 predecessors (most recent first):",
        "  Atom 'a' {'intention': 'REVERT', 'state': 'REVERTED', 'requires': {}}",
        "  |__Flow 'f'",
    ]


@pytest.mark.parametrize("intention", ["REVERT", "IGNORE", "RETRY"])
def test_only_what_was_being_executed_has_predecessors(intention):
    engine = run(linear("f", Step("a"), Broken()))
    engine.storage.set_atom_intention("c", intention)
    assert describe(engine)[1] == ""


def test_nothing_is_told_of_an_atom_that_is_not_found():
    engine = run(linear("f", Step("a"), Broken()))
    assert describe(engine, named("nobody"))[1] == ""


def test_nothing_is_told_of_a_flow():
    engine = run(linear("f", Step("a"), Broken()))
    assert describe(engine, named("f"))[1] == ""


@pytest.mark.parametrize("lacking", [{"storage": None}, {"compilation": None}])
def test_nothing_is_told_without_storage_or_compilation(lacking):
    engine = run(linear("f", Step("a"), Broken()))
    fail = engine.storage.get_execute_failures()["c"]
    bare = types.SimpleNamespace(**{"storage": engine.storage, "compilation": engine.compilation, **lacking})
    assert formatters.FailureFormatter(bare).format(fail, named("c")) == (fail.exc_info, "")


@pytest.mark.parametrize("name", ["c", "nobody"])
def test_a_lost_exception_is_told_as_text(name):
    engine = run(linear("f", Step("a"), Broken()))
    lost = failure.Failure.from_dict(engine.storage.get_execute_failures()["c"].to_dict())
    exc_info, text = formatters.FailureFormatter(engine).format(lost, named(name))
    assert exc_info is None
    begin = lost.pformat(traceback=True) + os.linesep
    assert text.startswith(begin)
    assert "Traceback (most recent call last):" in begin
    assert text.removeprefix(begin).startswith("2 predecessors" if name == "c" else "") or name == "nobody"
    assert (text == begin) == (name == "nobody")


def test_hidden_atoms_are_neither_shown_nor_read():
    engine = run(linear("f", Step("a", requires="x"), Broken()), store={"x": 1})
    with (
        mock.patch.object(engine.storage, "get", side_effect=AssertionError("read")),
        mock.patch.object(engine.storage, "fetch_mapped_args", side_effect=AssertionError("read")),
    ):
        text = describe(engine, hide_inputs_outputs_of=("a",))[1]
    assert "Atom 'a' {'intention': 'REVERT', 'state': 'REVERTED'}" in text


def test_execute_results_are_not_reached_through_the_long_name():
    flow = linear("f", Step("a", provides="x"), Step("b", requires="x"), Broken(), retry=retry.Times(2))
    with mock.patch("taskflow.storage.Storage.get_execute_result") as long_name:
        engine = run(flow)
        describe(engine, hide_inputs_outputs_of=["a", "b", "c", "f_retry"])
    assert long_name.mock_calls == []


@pytest.mark.parametrize("error", [exceptions.NotFound("gone"), exceptions.StorageFailure("gone")])
@pytest.mark.parametrize(
    ("method", "left"),
    [
        ("fetch_mapped_args", "{'intention': 'EXECUTE', 'state': 'SUCCESS', 'provides': 5}"),
        ("get", "{'intention': 'EXECUTE', 'state': 'SUCCESS', 'requires': {}}"),
    ],
)
def test_what_storage_can_not_give_is_left_out(method, left, error):
    engine = engines.load(linear("f", Step("a")))
    engine.run()
    formatter = formatters.FailureFormatter(engine)
    node = engine.compilation.hierarchy.find_first_match(named("a"))
    with contextlib.ExitStack() as patches:
        for name in {method, "get_execute_result" if method == "get" else method}:
            patches.enter_context(mock.patch.object(engine.storage, name, side_effect=error))
        assert formatter._format_node(engine.storage, cache(), node) == f"Atom 'a' {left}"


def test_an_atom_that_storage_does_not_know():
    engine = engines.load(linear("f", Step("a")))
    engine.compile()
    node = engine.compilation.hierarchy.find_first_match(named("a"))
    unknown = mock.Mock()
    for method in ("get", "get_execute_result", "fetch_mapped_args", "get_atom_intention", "get_atom_state"):
        getattr(unknown, method).side_effect = exceptions.NotFound("who?")
    assert formatters.FailureFormatter(engine)._format_node(unknown, cache(), node) == "Atom 'a'"


def test_values_are_read_once_for_each_atom():
    flow = graph_flow.Flow("g").add(
        Step("a", provides="x"), Step("b", requires="x", provides="y"), Broken(requires=["x", "y"])
    )
    engine = run(flow)
    storage = engine.storage
    calls = []
    for method in ("get", "fetch_mapped_args", "get_atom_state"):
        real = getattr(storage, method)

        def spy(*args, _real=real, _method=method, **kwargs):
            calls.append((_method, kwargs.get("atom_name") or args[0]))
            return _real(*args, **kwargs)

        setattr(storage, method, spy)
    describe(engine)
    assert sorted(calls) == sorted(
        (method, name) for method in ("get", "fetch_mapped_args", "get_atom_state") for name in "ab"
    )


def test_a_cache_that_is_used_again_saves_reading():
    engine = engines.load(linear("f", Step("a")))
    engine.run()
    formatter = formatters.FailureFormatter(engine)
    node = engine.compilation.hierarchy.find_first_match(named("a"))
    known = cache()
    text = formatter._format_node(engine.storage, known, node)
    assert text == atom("a")
    assert formatter._format_node(mock.Mock(spec=[]), known, node) == text


class Hedgehog:
    def __repr__(self):
        raise RuntimeError("do not touch")


def nested(depth):
    data = []
    for _ in range(depth):
        data = [data]
    return data


@pytest.mark.parametrize("gives", [Hedgehog(), [Hedgehog()], nested(100_000)], ids=["object", "list", "deep"])
@pytest.mark.parametrize("keys", [(), ("pw",)])
def test_a_value_that_has_no_text_does_not_hide_the_others(gives, keys):
    lines = while_failing(linear("f", Step("a", gives), Broken()), mask_outputs_keys=keys)
    assert lines[1].startswith("  Atom 'a' {'intention': 'EXECUTE', 'state': 'SUCCESS', 'requires': {}, 'provides': <")
    assert lines[2] == "  |__Flow 'f'"


@pytest.mark.parametrize("place", ["class", "object"])
def test_texts_of_nodes_can_be_replaced(place):
    engine = run(linear("f", Step("a"), Broken()))
    formatter = formatters.FailureFormatter(engine)
    owner = formatters.FailureFormatter if place == "class" else formatter
    with mock.patch.object(owner, "_format_node", return_value="node") as node_text:
        text = formatter.format(engine.storage.get_execute_failures()["c"], named("c"))[1]
    assert text.split(os.linesep) == ["2 predecessors (most recent first):", "  node", "  |__node"]
    assert [(call.args[0], call.args[2].item.name, call.args[2].metadata["kind"]) for call in node_text.mock_calls] == [
        (engine.storage, "a", "task"),
        (engine.storage, "f", "flow"),
    ]


@pytest.mark.parametrize("kind", ["flow_end", "other", None])
def test_other_nodes_have_no_text(kind):
    engine = engines.load(linear("f"))
    node = tree.Node(linear("f"), kind=kind)
    with pytest.raises(TypeError):
        formatters.FailureFormatter(engine)._format_node(engine.storage, cache(), node)


def test_a_subclass_may_format_in_its_own_way():
    class Short(formatters.FailureFormatter):
        def format(self, fail, atom_matcher):
            exc_info, text = super().format(fail, atom_matcher)
            return None, text.partition(" ")[0]

    engine = run(linear("f", Step("a"), Broken()))
    fail = engine.storage.get_execute_failures()["c"]
    assert Short(engine).format(fail, named("c")) == (None, "2")


def mask(data, *keys):
    return formatters.FailureFormatter(None)._mask_keys(data, keys)


@pytest.mark.parametrize(
    ("data", "masked"),
    [
        ({"pw": 1, "k": 2}, {"pw": "***", "k": 2}),
        ({"pw": None, "token": False}, {"pw": "***", "token": "***"}),
        ({"pw": {"k": [1]}}, {"pw": "***"}),
        ({"a": {"b": {"pw": 1, "c": 2}}}, {"a": {"b": {"pw": "***", "c": 2}}}),
        ([{"pw": 1}, [{"pw": 2}], "pw"], [{"pw": "***"}, [{"pw": "***"}], "pw"]),
        ({"a": [{"token": 1}]}, {"a": [{"token": "***"}]}),
        ({1: 2, None: 3}, {1: 2, None: 3}),
    ],
)
def test_values_of_keys_are_masked_in_dicts_and_lists(data, masked):
    assert mask(data, "pw", "token") == masked


@pytest.mark.parametrize("data", [{}, [], "pw", 5, 0.5, False, None, b"pw"])
def test_what_has_nothing_to_mask_is_unchanged(data):
    assert mask(data, "pw") == data
    assert type(mask(data, "pw")) is type(data)


class Login(typing.NamedTuple):
    user: str
    pw: str


class HashableMapping(collections.abc.Mapping):
    def __init__(self, **values):
        self.values_of = values

    def __getitem__(self, key):
        return self.values_of[key]

    def __iter__(self):
        return iter(self.values_of)

    def __len__(self):
        return len(self.values_of)

    def __hash__(self):
        return 1


@pytest.mark.parametrize(
    ("data", "masked"),
    [
        (({"pw": 1}, 2), ({"pw": "***"}, 2)),
        ([(1, {"pw": 1}), ()], [(1, {"pw": "***"}), ()]),
        (Login("me", "hush"), Login("me", "***")),
        ([Login("me", [{"pw": 1}])], [Login("me", "***")]),
        (collections.deque([{"pw": 1}, 2], maxlen=3), collections.deque([{"pw": "***"}, 2], maxlen=3)),
        (collections.OrderedDict(pw=1, k=2), {"pw": "***", "k": 2}),
        (collections.defaultdict(list, pw=[1]), {"pw": "***"}),
        (types.MappingProxyType({"pw": 1}), {"pw": "***"}),
        ({1, (2, 3)}, {1, (2, 3)}),
        (frozenset([Login("me", "hush")]), frozenset([Login("me", "***")])),
        ({HashableMapping(pw=1)}, [{"pw": "***"}]),
    ],
)
def test_values_of_keys_are_masked_in_other_containers(data, masked):
    result = mask(data, "pw")
    assert result == masked
    assert type(result) is type(masked)


def test_masking_copies():
    data = {"pw": 1, "in": [{"pw": 2}, {"k": 3}]}
    result = mask(data, "pw")
    assert data == {"pw": 1, "in": [{"pw": 2}, {"k": 3}]}
    assert result is not data
    assert result["in"] is not data["in"]
    assert result["in"][1] is not data["in"][1]


def test_data_that_contains_itself_is_masked():
    data = {"pw": 1}
    data["self"] = [data]
    result = mask(data, "pw")
    assert result["pw"] == "***"
    assert result["self"][0] is result


@pytest.mark.parametrize("kind", [list, tuple])
def test_data_that_is_shared_is_masked_once(kind):
    data = {"pw": 1}
    for _ in range(200):
        data = kind([data, data])
    result = mask(data, "pw")
    for _ in range(200):
        assert result[0] is result[1]
        result = result[0]
    assert result == {"pw": "***"}


def test_retry_histories_are_masked():
    flow = linear("f", Broken(), retry=retry.ForEach([{"pw": "hush", "k": 1}], name="r", provides="v"))
    lines = while_failing(flow, mask_outputs_keys=["pw"])
    assert lines[1] == "  " + atom("r", provides="[({'pw': '***', 'k': 1}, {})]")
