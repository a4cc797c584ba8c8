# SPDX-License-Identifier: Apache-2.0
"""When does an engine find that an argument has no source, and how does it tell?"""

from __future__ import annotations

import re

import pytest

from taskflow import exceptions, retry, task


class Needs(task.Task):
    """Needs x to execute and y to revert."""

    def execute(self, x):
        return x

    def revert(self, y, result, flow_failures):
        return y


class Taker(task.Task):
    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)

    def execute(self, x):
        return x


def causes(error):
    seen = []
    while error is not None:
        seen.append(list(error.missing_requirements))
        error = error.cause
    return seen


def missing(run):
    assert isinstance(run.error, exceptions.MissingDependencies), run.raised
    return causes(run.error)


SOURCES = {
    "nobody": (lambda k: k.linear("f", Taker("t")), {}, ["x"]),
    "a store": (lambda k: k.linear("f", Taker("t")), {"x": 1}, []),
    "an earlier task": (lambda k: k.linear("f", "p>x", Taker("t")), {}, []),
    "a later task": (lambda k: k.linear("f", Taker("t"), "p>x"), {}, ["x"]),
    "a sibling in an unordered flow": (lambda k: k.unordered("f", "p>x", Taker("t")), {}, ["x"]),
    "an unlinked node": (lambda k: k.graph("f", Taker("t"), k.linear("g", "p>z"), k.linear("h", "q")), {}, ["x"]),
    "a node linked by its value": (lambda k: k.graph("f", Taker("t"), "p>x"), {}, []),
    "a node linked by hand only after it": (lambda k: k.linear("g", k.unordered("u", Taker("t")), "p>x"), {}, ["x"]),
    "an earlier subflow": (lambda k: k.linear("f", k.unordered("u", "q", "p>x"), Taker("t")), {}, []),
    "an outer task": (lambda k: k.linear("f", "p>x", k.linear("g", k.unordered("u", Taker("t")))), {}, []),
    "the retry around": (lambda k: k.linear("f", Taker("t"), retry=retry.Times(1, "r", provides="x")), {}, []),
    "itself": (lambda k: k.linear("f", Taker("t", provides="x")), {}, ["x"]),
    "its own injection": (lambda k: k.linear("f", Taker("t", inject={"x": 1})), {}, []),
    "another's injection": (lambda k: k.linear("f", k.Step("p", inject={"x": 1}), Taker("t")), {}, ["x"]),
}


@pytest.mark.parametrize(("flow", "store", "names"), SOURCES.values(), ids=SOURCES)
def test_sources(kit, flow, store, names):
    run = kit.run(flow(kit), store=store)
    if names:
        assert missing(run) == [names, names]
    else:
        assert run.raised == ""


def test_nothing_has_happened_when_validation_fails(kit):
    run = kit.run(kit.linear("f", "a", Taker("t")))
    assert missing(run) == [["x"], ["x"]]
    assert run.events == []
    assert run.state == "PENDING"
    assert run.atom_states("a", "t") == ["PENDING/EXECUTE"] * 2
    for name in ("f", "x"):
        assert name in str(run.error)


def test_each_atom_and_method_is_in_the_chain_of_causes_last_in_graph_order_first(kit):
    class Two(task.Task):
        def execute(self, x, w):
            return x

    flow = kit.linear("f", Needs("n"), Two("two"), Needs("m"))
    run = kit.run(flow, store={"w": 0})
    assert missing(run) == [["x", "y"], ["y"], ["x"], ["x"], ["y"], ["x"]]
    parts = []
    error = run.error.cause
    while error is not None:
        text = error.args[0]
        parts.append(re.search(r"(\w+)==1\.0", text)[1] + " " + re.search("execute|revert", text)[0])
        error = error.cause
    assert parts == ["m revert", "m execute", "two execute", "n revert", "n execute"]


def test_several_names_are_sorted(kit):
    class Many(task.Task):
        def execute(self, c, a, b):
            return a

    assert missing(kit.run(kit.linear("f", Many("m")))) == [["a", "b", "c"]] * 2


def test_names_are_those_of_the_arguments(kit):
    flow = kit.linear("f", Taker("t", rebind={"x": "symbol"}))
    assert missing(kit.run(flow)) == [["x"], ["x"], ["x"]]
    assert kit.run(flow, store={"symbol": 1}).raised == ""
    assert missing(kit.run(kit.linear("f", Taker("t", rebind={"x": "symbol"})), store={"x": 1}))


def test_a_single_task_with_one_method_missing_gets_its_own_error(kit):
    run = kit.run(Taker("t"))
    assert missing(run) == [["x"]]
    assert "execute" in str(run.error)
    assert missing(kit.run(Needs("n"), store={"x": 1})) == [["y"]]
    assert "revert" in str(kit.run(Needs("n"), store={"x": 1}).error)


def test_a_single_task_with_both_methods_missing_gets_the_collected_error(kit):
    assert missing(kit.run(Needs("n"))) == [["x", "y"], ["y"], ["x"]]


def test_requirements_of_revert_count(kit):
    run = kit.run(kit.linear("f", Needs("n")), store={"x": 1})
    assert missing(run) == [["y"], ["y"]]


def test_requirements_of_retries_count(kit):
    flow = kit.linear("f", "a", retry=retry.ParameterizedForEach("r", provides="v"))
    assert missing(kit.run(flow))[0] == ["values"]
    assert kit.run(flow, store={"values": [1]}).raised == ""


def test_optional_arguments_are_not_required(kit):
    class Optional(task.Task):
        def execute(self, x=1):
            return x

        def revert(self, result, flow_failures, y=2):
            return y

    run = kit.run(kit.linear("f", Optional("o", provides="z")))
    assert run.engine.storage.fetch("z") == 1


def test_injecting_what_is_missing_lets_the_same_engine_run(kit):
    run = kit.run(kit.linear("f", Taker("t")))
    assert missing(run)
    run.engine.storage.inject({"x": 1})
    assert run.run().raised == ""
    assert run.state == "SUCCESS"


def test_transient_and_persistent_injections_of_an_atom_count(kit):
    for transient in (True, False):
        run = kit.load(kit.linear("f", Taker("t")))
        run.engine.compile()
        run.engine.prepare()
        with pytest.raises(exceptions.MissingDependencies):
            run.engine.validate()
        run.engine.storage.inject_atom_args("t", {"x": 1}, transient=transient)
        run.engine.validate()
        assert run.run().raised == ""


def test_a_transient_value_of_the_flow_counts(kit):
    run = kit.load(kit.linear("f", Taker("t")))
    run.engine.storage.inject({"x": 1}, transient=True)
    assert run.run().raised == ""


def test_values_withdrawn_between_two_runs_are_noticed(kit):
    run = kit.run(kit.linear("f", Taker("t")), store={"x": 1})
    assert run.raised == ""
    run.engine.storage.save(run.engine.storage.injector_name, {}, "SUCCESS")
    assert missing(run.run()) == [["x"], ["x"]]
    assert run.state == "SUCCESS"


def test_a_provider_is_enough_even_when_it_gives_too_little(kit):
    flow = kit.linear("f", kit.Step("p", gives=("only",), provides=("w", "x")), Taker("t"))
    assert isinstance(kit.run(flow).error, exceptions.NotFound)
