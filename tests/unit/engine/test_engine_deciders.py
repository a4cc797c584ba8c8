# SPDX-License-Identifier: Apache-2.0
"""Which deciders are asked for an atom, with what, and what does a no pass over?"""

from __future__ import annotations

import pytest

from taskflow import engines, retry, states, task
from taskflow.deciders import Depth
from taskflow.patterns import graph_flow, linear_flow


class Asked:
    """A decider that notes the histories that it gets."""

    def __init__(self, answer, name="", log=None):
        self.answer = answer
        self.name = name
        self.calls = []
        self.log = log if log is not None else []

    def __call__(self, history):
        self.calls.append(dict(history))
        self.log.append(self.name)
        return self.answer


CHAIN = ["a", "b", "c", "d"]
CHAIN_LINKS = [("b", "c"), ("c", "d")]
DEPTHS = {
    Depth.ALL: ["b", "c", "d"],
    Depth.FLOW: ["b", "c", "d"],
    Depth.NEIGHBORS: ["b", "c"],
    Depth.ATOM: ["b"],
    None: ["b", "c", "d"],
}


@pytest.mark.parametrize("depth", DEPTHS, ids=str)
def test_what_a_no_ignores_in_a_chain(kit, depth):
    run = kit.run(kit.graph("f", *CHAIN, links=[("a", "b", False, depth), *CHAIN_LINKS]))
    ignored = DEPTHS[depth]
    assert [event for event in run.events if event.endswith("IGNORE")] == [f"{name}.t IGNORE" for name in ignored]
    assert run.starts == [name for name in CHAIN if name not in ignored]
    assert run.atom_states(*ignored) == ["IGNORE/IGNORE"] * len(ignored)
    assert run.state == "SUCCESS"
    assert run.raised == ""


@pytest.mark.parametrize("answer", [True, 1, "yes", [0]], ids=repr)
def test_a_true_answer_runs(kit, answer):
    decider = Asked(answer)
    run = kit.run(kit.graph("f", kit.Step("a", gives="A"), "b", links=[("a", "b", decider)]))
    assert run.starts == ["a", "b"]
    assert decider.calls == [{"a": "A"}]


@pytest.mark.parametrize("answer", [False, 0, None, "", []], ids=repr)
def test_a_false_answer_ignores(kit, answer):
    run = kit.run(kit.graph("f", "a", "b", links=[("a", "b", Asked(answer))]))
    assert run.starts == ["a"]
    assert run.events == kit.events("f.f RUNNING, a.t RUNNING, a.t SUCCESS(5), b.t IGNORE, f.f SUCCESS")


def test_the_worked_example(kit):
    counts = {}
    for depth in ("all", "atom", "flow", "neighbors"):
        flow = kit.graph("root", "g1", "g2", "g3", "g4", kit.graph("sub", "g1_1"))
        nodes = {node.name: node for node in flow}
        flow.link(nodes["g1"], nodes["g2"], decider=lambda history: False, decider_depth=depth)
        flow.link(nodes["g2"], nodes["sub"])
        flow.link(nodes["g2"], nodes["g3"])
        flow.link(nodes["g3"], nodes["g4"])
        flow.link(nodes["g1"], nodes["sub"], decider=lambda history: True, decider_depth=depth)
        run = kit.run(flow)
        assert run.state == "SUCCESS"
        counts[depth] = len(run.starts)
    assert counts == {"all": 1, "atom": 4, "flow": 2, "neighbors": 3}


class TestIntoFlows:
    def flow(self, kit, inner, depth=None, decider=None):
        return kit.graph("f", "a", inner, "z", links=[("a", "g", decider or Asked(False), depth), ("g", "z")])

    IGNORED = {
        ("plain", Depth.ALL): "b c z",
        ("plain", Depth.FLOW): "b c",
        ("plain", Depth.NEIGHBORS): "b c",
        ("plain", Depth.ATOM): "b",
        ("retry", Depth.ALL): "r b c z",
        ("retry", Depth.FLOW): "r b c",
        ("retry", Depth.NEIGHBORS): "r b",
        ("retry", Depth.ATOM): "r",
    }

    @pytest.mark.parametrize("case", IGNORED, ids=lambda case: f"{case[0]}-{case[1]}")
    def test_the_first_atom_is_the_target(self, kit, case):
        kind, depth = case
        inner = kit.linear("g", "b", "c", retry=retry.Times(1, "r") if kind == "retry" else None)
        run = kit.run(self.flow(kit, inner, depth))
        ignored = [event.split(".")[0] for event in run.events if event.endswith("IGNORE")]
        assert ignored == self.IGNORED[case].split()
        names = ["a", *(["r"] if kind == "retry" else []), "b", "c", "z"]
        assert run.starts == [name for name in names if name not in ignored]
        assert run.state == "SUCCESS"

    def test_each_first_atom_of_an_unordered_flow_is_asked_for(self, kit):
        decider = Asked(False)
        run = kit.run(self.flow(kit, kit.unordered("g", "b", "c", "d"), Depth.ATOM, decider))
        assert decider.calls == [{"a": 5}] * 3
        assert run.starts == ["a", "z"]

    def test_a_flow_inside_the_flow_has_the_first_atom_too(self, kit):
        decider = Asked(False)
        run = kit.run(self.flow(kit, kit.linear("g", kit.unordered("h", "b"), "c"), Depth.ATOM, decider))
        assert decider.calls == [{"a": 5}]
        assert run.starts == ["a", "c", "z"]

    def test_an_empty_flow_has_no_first_atom(self, kit):
        decider = Asked(False)
        run = kit.run(self.flow(kit, kit.linear("g"), None, decider))
        assert decider.calls == []
        assert run.starts == ["a", "z"]

    def test_all_passes_over_nested_and_following_flows_and_their_retries(self, kit):
        inner = kit.linear("g", "b", kit.linear("h", "c", retry=retry.Times(1, "r2")), retry=retry.Times(1, "r1"))
        run = kit.run(self.flow(kit, inner))
        assert run.starts == ["a"]
        ignored = [event.split(".")[0] for event in run.events if event.endswith("IGNORE")]
        assert ignored == ["r1", "b", "r2", "c", "z"]

    def test_flow_depth_does_not_enter_nested_flows_nor_leave_its_own(self, kit):
        sub = kit.graph("g", "b", "c", kit.linear("h", "d"), links=[("b", "c", Asked(False), "FLOW"), ("c", "h")])
        run = kit.run(kit.linear("f", sub, "z"))
        assert run.starts == ["b", "d", "z"]

    def test_neighbors_are_tasks_only(self, kit):
        flow = kit.graph(
            "f",
            "a",
            "b",
            "c",
            "d",
            kit.linear("g", "e"),
            links=[("a", "b", Asked(False), "NEIGHBORS"), ("b", "c"), ("b", "g"), ("c", "d")],
        )
        run = kit.run(flow)
        assert sorted(run.starts) == ["a", "d", "e"]


class TestHistory:
    def test_has_the_results_of_the_sources_of_all_links(self, kit):
        one, two = Asked(True), Asked(True)
        flow = kit.graph("f", kit.Step("a", 1), kit.Step("b", 2), "c", links=[("a", "c", one), ("b", "c", two)])
        kit.run(flow)
        assert one.calls == two.calls == [{"a": 1, "b": 2}]

    def test_has_no_sources_of_links_without_decider(self, kit):
        one = Asked(True)
        flow = kit.graph("f", kit.Step("a", 1), kit.Step("b", 2), "c", links=[("a", "c", one), ("b", "c")])
        kit.run(flow)
        assert one.calls == [{"a": 1}]

    def test_has_nothing_for_a_flow_as_source(self, kit):
        one = Asked(True)
        kit.run(kit.graph("f", kit.linear("g", "a"), "c", links=[("g", "c", one)]))
        assert one.calls == [{}]

    def test_has_the_sources_of_the_links_to_the_flow_around(self, kit):
        inside, outside = Asked(True), Asked(True)
        inner = kit.graph("g", kit.Step("b", 2), "c", links=[("b", "c", inside)])
        kit.run(kit.graph("f", kit.Step("a", 1), inner, links=[("a", "g", outside)]))
        assert outside.calls == [{"a": 1}]
        assert inside.calls == [{"b": 2}]

    def test_has_none_results_but_no_ignored_sources(self, kit):
        one, two = Asked(True), Asked(True)
        flow = kit.graph(
            "f",
            "s",
            kit.Step("a", None),
            "b",
            "c",
            links=[("s", "b", False, "ATOM"), ("a", "c", one), ("b", "c", two)],
        )
        run = kit.run(flow)
        assert one.calls == [{"a": None}]
        assert two.calls == []
        assert sorted(run.starts) == ["a", "c", "s"]


class TestVotes:
    def test_a_link_from_an_ignored_atom_does_not_count(self, kit):
        never = Asked(False)
        flow = kit.graph("f", "a", "b", "c", links=[("a", "b", False, "ATOM"), ("b", "c", never)])
        run = kit.run(flow)
        assert never.calls == []
        assert run.starts == ["a", "c"]

    def test_all_are_asked_in_the_order_of_the_sources_also_after_a_no(self, kit):
        log = []
        flow = kit.graph(
            "f",
            "a",
            "b",
            "c",
            "t",
            links=[
                ("b", "t", Asked(True, "b", log)),
                ("c", "t", Asked(True, "c", log)),
                ("a", "t", Asked(False, "a", log)),
            ],
        )
        run = kit.run(flow)
        assert log == ["a", "b", "c"]
        assert "t" not in run.starts

    def test_links_to_the_atom_come_before_those_to_its_flow(self, kit):
        log = []
        inner = kit.graph("g", "t")
        outer = kit.graph("o", "b", inner, links=[("b", "g", Asked(True, "to g", log))])
        run = kit.run(kit.graph("f", "a", outer, links=[("a", "o", Asked(True, "to o", log))]))
        assert run.starts == ["a", "b", "t"]
        assert log == ["to o", "to g"]

    @pytest.mark.parametrize(
        ("depths", "ignored"),
        [(("ATOM", "ALL"), "t u v"), (("ATOM", "NEIGHBORS"), "t u"), (("FLOW", "NEIGHBORS"), "t u v")],
        ids=str,
    )
    def test_the_widest_of_the_noes_is_applied(self, kit, depths, ignored):
        links = [("a", "t", False, depths[0]), ("b", "t", False, depths[1]), ("t", "u"), ("u", "v")]
        run = kit.run(kit.graph("f", "a", "b", "t", "u", "v", links=links))
        assert [event.split(".")[0] for event in run.events if event.endswith("IGNORE")] == ignored.split()

    def test_the_depth_of_a_yes_does_not_count(self, kit):
        links = [("a", "t", False, "ATOM"), ("b", "t", True, "ALL"), ("t", "u")]
        run = kit.run(kit.graph("f", "a", "b", "t", "u", links=links))
        assert sorted(run.starts) == ["a", "b", "u"]

    def test_asked_only_when_the_target_is_otherwise_ready(self, kit):
        log = []
        step = kit.Step("slow", lambda: log.append("slow"))
        flow = kit.graph(
            "f",
            "a",
            kit.linear("l", "s1", "s2", step),
            "t",
            links=[("a", "t", Asked(True, "decider", log)), ("l", "t")],
        )
        kit.run(flow)
        assert log == ["slow", "decider"]


class TestErrors:
    def test_an_exception_ends_the_run_and_the_next_one_asks_again(self, kit):
        answers = [KeyError("no idea"), True]

        def decider(history):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        run = kit.run(kit.graph("f", "a", "b", links=[("a", "b", decider)]))
        assert run.raised == "KeyError: 'no idea'"
        assert run.state == "FAILURE"
        assert run.atom_states("a", "b") == ["SUCCESS/EXECUTE", "PENDING/EXECUTE"]
        assert run.run().starts == ["b"]
        assert run.state == "SUCCESS"


class TestAfterwards:
    def test_an_ignored_source_leaves_its_value_to_an_earlier_one(self, kit):
        class_steps = [kit.Step(n, gives=n, provides="value", requires=[] if n == "a" else ["value"]) for n in "abc"]
        flow = kit.graph("f").add(*class_steps, resolve_requires=False)
        a, b, c = class_steps
        flow.link(a, b, decider=lambda history: False, decider_depth="ATOM").link(b, c)
        run = kit.run(flow)
        assert run.raised == ""
        assert c.executed == [{"value": "a"}]

    def test_a_resumed_flow_asks_again_for_what_is_pending(self, kit):
        decider = Asked(True)
        run = kit.load(kit.graph("f", "a", "b", links=[("a", "b", decider)]))
        run.on["a.t SUCCESS"] = run.engine.suspend
        assert run.run().state == "SUSPENDED"
        first = len(decider.calls)
        assert run.run().starts == ["b"]
        assert len(decider.calls) > first
        assert all(call == {"a": 5} for call in decider.calls)

    def test_reset_asks_anew(self, kit):
        decider = Asked(False)
        run = kit.run(kit.graph("f", "a", "b", links=[("a", "b", decider)]))
        run.engine.reset()
        decider.answer = True
        assert run.run().starts == ["a", "b"]

    def test_ignored_atoms_are_skipped_by_a_revert(self, kit):
        flow = kit.graph("f", "a", "b", "F!", links=[("a", "b", False, "ATOM"), ("b", "F")])
        run = kit.run(flow)
        assert [event.split(".")[0] for event in run.events if event.endswith("REVERTING")] == ["F", "a"]
        assert run.raised == "RuntimeError: F"

    def test_whole_ignored_flows_are_skipped_by_a_revert(self, kit):
        def ignoring(name):
            first, *rest = (f"{name}{i}" for i in range(4))
            links = [(first, rest[0], False, "FLOW"), *zip(rest[:-1], rest[1:], strict=True)]
            return kit.graph(name, first, *rest, links=links)

        inner = kit.linear("l", ignoring("x"), kit.linear("m", ignoring("y"), retry=retry.Times(1, "r")))
        run = kit.run(kit.linear("f", "a", inner, "F!"))
        assert [event.split(".")[0] for event in run.events if event.endswith("REVERTING")] == [
            "F",
            "y0",
            "r",
            "x0",
            "a",
        ]
        assert run.raised == "RuntimeError: F"
        assert run.state == "REVERTED"


class TestSuccessorsOfWhatIsIgnored:
    """What a narrow no leaves runnable is found in the same run, in whatever order the graph was linked."""

    @pytest.mark.parametrize("links", ["a>c a>b b>c", "a>b a>c b>c", "b>c a>b a>c", "b>c a>c a>b"])
    @pytest.mark.parametrize("nodes", ["abc", "cba", "acb"])
    def test_a_triangle(self, kit, links, nodes):
        pairs = [tuple(pair.split(">")) for pair in links.split()]
        links = [(*pair, False, "ATOM") if pair == ("a", "b") else pair for pair in pairs]
        run = kit.run(kit.graph("f", *nodes, links=links))
        assert run.raised == ""
        assert run.state == "SUCCESS"
        assert run.starts == ["a", "c"]

    def test_several_noes_in_a_row(self, kit):
        names = [f"t{i}" for i in range(8)]
        links = [("t0", name) for name in reversed(names[1:])]
        links += [(u, v, False, "ATOM") for u, v in zip(names[:-2], names[1:-1], strict=True)]
        links += [(names[-2], names[-1])]
        run = kit.run(kit.graph("f", *names, links=links))
        assert run.raised == ""
        assert run.starts == ["t0", "t2", "t4", "t6", "t7"]
        assert run.state == "SUCCESS"

    def test_at_resumption(self, kit):
        links = [("a", "c"), ("a", "b", False, "ATOM"), ("b", "c")]
        run = kit.left(kit.graph("f", "c", "b", "a", links=links), "a=SUCCESS").run()
        assert run.raised == ""
        assert run.starts == ["c"]
        assert run.state == "SUCCESS"


class Fails(task.Task):
    def execute(self):
        raise ValueError(self.name)


@pytest.mark.parametrize("around", [None, retry.AlwaysRevertAll, retry.AlwaysRevert])
@pytest.mark.parametrize("passed_over", [retry.AlwaysRevert, retry.AlwaysRevertAll, retry.Times])
def test_a_retry_that_was_passed_over_is_not_asked_about_what_it_governs(passed_over, around):
    inner = linear_flow.Flow("inner", retry=passed_over(name="r")).add(Fails("broken"))
    before = task.FunctorTask(lambda: 1, name="before")
    flow = graph_flow.Flow("f", retry=around(name="around") if around else None).add(before, inner)
    flow.link(before, inner, decider=lambda history: False, decider_depth=Depth.ATOM)
    engine = engines.load(flow)
    with pytest.raises(ValueError, match="broken"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED
    found = {name: engine.storage.get_atom_state(name) for name in ("before", "broken", "r")}
    assert found == {"before": states.REVERTED, "broken": states.REVERTED, "r": states.IGNORE}
