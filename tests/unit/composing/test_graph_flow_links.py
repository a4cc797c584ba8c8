# SPDX-License-Identifier: Apache-2.0
"""Which links do graph flows make, and what do they show?"""

import copy
import pickle

import pytest

from taskflow import deciders, retry, task
from taskflow import exceptions as exc
from taskflow.patterns import graph_flow, linear_flow


class T(task.Task):
    def execute(self, **kwargs):
        pass


def make(name, requires=(), provides=()):
    return T(name, requires=list(requires), provides=list(provides))


def flow_of(*items, **flags):
    return graph_flow.Flow("f").add(*items, **flags)


def names(items):
    return [item.name for item in items]


def links(flow):
    """Links as text: reasons or marks by 'source>target'."""
    return {
        f"{u.name}>{v.name}": "".join(sorted(data["reasons"])) if set(data) == {"reasons"} else data
        for u, v, data in flow.iter_links()
    }


class TestAdd:
    @pytest.mark.parametrize("in_one_call", [False, True])
    @pytest.mark.parametrize("order", ["abc", "cba", "bca", "cab"])
    def test_data_decides_and_not_the_order_of_addition(self, order, in_one_call):
        items = {"a": make("a", "", "x"), "b": make("b", "x", "y"), "c": make("c", "xy")}
        flow = graph_flow.Flow("f")
        if in_one_call:
            flow.add(*(items[name] for name in order))
        else:
            for name in order:
                flow.add(items[name])

        assert links(flow) == {"a>b": "x", "a>c": "x", "b>c": "y"}
        assert names(flow) == ["a", "b", "c"]
        assert flow.requires == set()
        assert flow.provides == {"x", "y"}

    def test_several_symbols_share_a_link(self):
        flow = flow_of(make("a", "", "xy"), make("b", "xyz"))

        assert links(flow) == {"a>b": "xy"}
        assert flow.requires == {"z"}

    def test_subflows_are_nodes(self):
        inner = linear_flow.Flow("inner").add(make("b"), make("c", "x", "y"))
        flow = flow_of(make("a", "", "x"), inner, make("d", "y"))

        assert links(flow) == {"a>inner": "x", "inner>d": "y"}

    @pytest.mark.parametrize("in_one_call", [False, True])
    def test_requirer_after_several_providers_is_ambiguous(self, in_one_call):
        one, two, user = make("p2", "", "x"), make("p1", "", "x"), make("user", "x")
        flow = graph_flow.Flow("f")
        if not in_one_call:
            flow.add(one, two)

        with pytest.raises(exc.AmbiguousDependency, match=r"user.*'x'.*p1, p2"):
            flow.add(*((one, two, user) if in_one_call else (user,)))
        assert len(flow) == (0 if in_one_call else 2)

    def test_requirer_before_several_providers_gets_the_first(self):
        flow = flow_of(make("user", "x"), make("p1", "", "x"), make("p2", "", "x"))
        assert links(flow) == {"p1>user": "x"}
        flow.add(make("p3", "", "x"))
        assert links(flow) == {"p1>user": "x"}

    def test_several_providers_alone_are_fine(self):
        assert links(flow_of(make("p1", "", "x"), make("p2", "", "x"))) == {}

    def test_what_comes_from_far_before_makes_no_link(self):
        far, middle, user = make("far", "", "x"), make("middle"), make("user", "x")
        flow = flow_of(far, resolve_existing=False).add(middle).add(user, resolve_requires=False)
        assert flow.requires == {"x"}

        flow.link(far, middle).link(middle, user)
        assert flow.requires == set()
        flow.add(make("other", "", "x"))
        assert set(links(flow)) == {"far>middle", "middle>user"}

    def test_what_comes_from_directly_before_makes_no_link(self):
        first, user = make("first", "", "x"), make("user", "x")
        flow = flow_of(first).add(user, resolve_requires=False).link(first, user)

        assert flow.requires == set()
        assert links(flow.add(make("other", "", "x"))) == {"first>user": {"manual": True}}

    def test_retry_satisfies_all(self):
        flow = graph_flow.Flow("f", retry.Times(provides="x"))
        flow.add(make("p1", "", "x"), make("p2", "", "x"), make("user", "x"), make("p3", "", "x"))

        assert links(flow) == {}
        assert flow.requires == set()

    def test_retry_is_never_linked(self):
        controller = retry.ParameterizedForEach(provides="host")
        flow = graph_flow.Flow("f", controller).add(make("a", "", ["values"]))

        assert len(flow) == 1
        assert names(flow) == ["a"]
        assert links(flow) == {}
        assert flow.requires == {"values"}
        assert flow.provides == {"values", "host"}

    def test_without_resolving_requires(self):
        flow = flow_of(make("p", "", "x")).add(make("user", "x"), resolve_requires=False)
        assert links(flow) == {}
        assert flow.requires == {"x"}

        flow.add(make("late", "", "x"))
        assert links(flow) == {"late>user": "x"}

    def test_without_resolving_requires_providers_of_the_same_call_do_not_count(self):
        flow = flow_of(make("user", "x"), make("p", "", "x"), resolve_requires=False)

        assert links(flow) == {}
        assert flow.requires == {"x"}

    def test_without_resolving_existing(self):
        flow = flow_of(make("user", "x")).add(make("p", "", "x"), resolve_existing=False)
        assert links(flow) == {}
        assert flow.requires == flow.provides == {"x"}

        flow.add(make("second", "x"))
        assert links(flow) == {"p>second": "x"}

    def test_unknown_keywords_are_ignored(self):
        assert len(flow_of(make("a"), whatever=1)) == 1

    def test_node_is_not_linked_to_itself(self):
        flow = flow_of(make("loop", "x", "x"))
        assert flow.requires == flow.provides == {"x"}
        assert links(flow) == {}

        flow.add(make("p", "", "x"))
        assert links(flow) == {"p>loop": "x"}
        assert flow.requires == set()

    def test_two_that_require_and_provide_the_same_are_a_circle(self):
        flow = flow_of(make("one", "x", "x"))

        with pytest.raises(exc.DependencyFailure, match="^No path"):
            flow.add(make("two", "x", "x"))
        assert names(flow) == ["one"]

    def test_new_node_given_twice_is_one(self):
        provider = make("p", "", "x")

        assert links(flow_of(provider, provider, make("user", "x"))) == {"p>user": "x"}

    @pytest.mark.parametrize("sizes", [(3,), (1, 2), (2, 1), (1, 1, 1)])
    def test_circles_of_data_are_refused_and_leave_no_trace(self, sizes):
        items = [make("a", "z", "x"), make("b", "x", "y"), make("c", "y", "z")]
        flow = flow_of(make("q", "x"))
        for size in sizes[:-1]:
            flow.add(*items[:size])
            items = items[size:]
        before = (links(flow), names(flow), flow.requires, flow.provides, len(flow))

        with pytest.raises(exc.DependencyFailure, match="^No path"):
            flow.add(*items)
        assert (links(flow), names(flow), flow.requires, flow.provides, len(flow)) == before

        flow.add(make("other", "", "z"))
        assert flow.requires == before[2] - {"z"}

    def test_failed_addition_leaves_reasons_alone(self):
        a, b = make("a", "", "xy"), make("b", "x")
        flow = flow_of(a, b)
        inner = linear_flow.Flow("inner")
        flow.add(inner)
        inner.add(make("c", "y"))

        with pytest.raises(exc.DependencyFailure):
            flow.add(make("d", "", "y"), make("e", "w", "v"), make("g", "v", "w"))
        assert links(flow) == {"a>b": "x"}
        assert flow.requires == {"y"}

    def test_items_need_names(self):
        flow = flow_of(make("a"))

        with pytest.raises(AttributeError):
            flow.add(make("b"), 42)
        assert names(flow) == ["a"]

    def test_wide_circles_in_one_call_are_found(self):
        users = [make(f"u{i}", ["x", *([f"v{i - 1}"] if i else [])], [f"v{i}"]) for i in range(60)]
        flow = flow_of(*users)

        with pytest.raises(exc.DependencyFailure, match="^No path"):
            flow.add(*(make(f"p{i}", [f"v{i}"], ["x"] if i == 30 else [f"w{i}"]) for i in range(60)))
        assert len(flow) == 60
        assert flow.requires == {"x"}


class TestChangingSubflows:
    def test_symbols_that_come_later_are_linked_by_later_additions(self):
        inner = linear_flow.Flow("inner")
        flow = flow_of(inner)
        inner.add(make("b", "x", "y"))
        assert (flow.requires, flow.provides) == ({"x"}, {"y"})

        flow.add(make("a", "", "x"), make("c", "y"))
        assert links(flow) == {"a>inner": "x", "inner>c": "y"}

    def test_symbols_that_are_no_longer_shown(self):
        first, second = make("first", "q", "x"), make("second", "", "y")
        inner = graph_flow.TargetedFlow("inner").add(first, second)
        flow = flow_of(inner, make("user", "xy"))
        assert links(flow) == {"inner>user": "xy"}
        assert flow.requires == {"q"}

        inner.set_target(second)
        assert flow.requires == {"x"}
        assert flow.provides == {"y"}
        inner.reset_target()
        assert flow.requires == {"q"}

    def test_symbols_that_are_no_longer_required(self):
        inner = graph_flow.Flow("inner").add(make("b", "x"))
        flow = flow_of(inner)
        inner.add(make("a", "", "x"))

        assert flow.requires == set()
        assert links(flow.add(make("late", "", "x"))) == {}


class TestLink:
    def test_plain_link(self):
        a, b = make("a"), make("b")
        flow = flow_of(a, b)

        assert flow.link(b, a) is flow
        assert links(flow) == {"b>a": {"manual": True}}
        assert names(flow) == ["b", "a"]

    def test_over_a_data_link(self):
        a, b = make("a", "", "x"), make("b", "x")

        assert links(flow_of(a, b).link(a, b)) == {"a>b": {"manual": True, "reasons": {"x"}}}

    def test_data_over_a_manual_link(self):
        a, b = make("a"), make("b", "x")
        inner = linear_flow.Flow("inner")
        flow = flow_of(b, inner).link(inner, b)
        inner.add(a, make("c", "", "x"))

        assert flow.requires == set()
        assert links(flow) == {"inner>b": {"manual": True}}

    def test_deciders_are_merged(self):
        a, b = make("a"), make("b")
        flow = flow_of(a, b)
        first, second = (lambda history: True), (lambda history: False)

        flow.link(a, b, decider=first)
        assert links(flow)["a>b"] == {"manual": True, "decider": first}
        flow.link(a, b, decider=second, decider_depth="flow")
        assert links(flow)["a>b"] == {"manual": True, "decider": second, "decider_depth": deciders.Depth.FLOW}
        flow.link(a, b, decider=first)
        assert links(flow)["a>b"] == {"manual": True, "decider": first, "decider_depth": deciders.Depth.FLOW}
        flow.link(a, b)
        assert links(flow)["a>b"] == {"manual": True, "decider": first, "decider_depth": deciders.Depth.FLOW}

    def test_checks(self):
        a, b, stranger = make("a"), make("b"), make("stranger")
        flow = flow_of(a, b)

        def yes(history):
            return True

        for arguments, error, message in [
            ((stranger, a), ValueError, "Node .* not found to link from"),
            ((stranger, stranger), ValueError, "Node .* not found to link from"),
            ((a, stranger), ValueError, "Node .* not found to link to"),
            ((a, b, 3), ValueError, "callable"),
            ((a, b, False), ValueError, "callable"),
            ((a, b, None, "all"), ValueError, "depth"),
            ((a, b, yes, "none"), ValueError, "depth"),
            ((a, b, yes, ""), ValueError, "depth"),
            ((a, b, yes, False), TypeError, "depth"),
            ((a, b, yes, 3), TypeError, "depth"),
            ((a, a), exc.DependencyFailure, "^No path"),
        ]:
            with pytest.raises(error, match=message):
                flow.link(*arguments)
        assert links(flow) == {}

    def test_circles_are_refused(self):
        a, b, c = make("a", "", "x"), make("b", "x"), make("c")
        flow = flow_of(a, b, c).link(b, c)
        before = links(flow)

        for u, v in [(b, a), (c, a), (c, b), (c, c)]:
            with pytest.raises(exc.DependencyFailure, match="^No path"):
                flow.link(u, v)
        assert links(flow) == before
        assert names(flow) == ["a", "b", "c"]


class TestViews:
    def test_generations_in_order_of_becoming_free(self):
        items = [make(str(i)) for i in range(6)]
        flow = flow_of(*items).link(items[5], items[0]).link(items[3], items[1]).link(items[0], items[2])

        assert names(flow) == list("345102")
        assert [(item.name, data) for item, data in flow.iter_nodes()] == [(name, {}) for name in "345102"]

    def test_links_by_source_then_creation(self):
        a, b, c = (make(name) for name in "abc")
        flow = flow_of(a, b, c).link(b, c).link(a, c).link(a, b)

        view = flow.iter_links()
        for _ in range(2):
            assert [(u.name, v.name) for u, v, _ in view] == [("a", "c"), ("a", "b"), ("b", "c")]
        assert len(view) == 3

    def test_metadata_given_out_is_not_the_flows_own(self):
        a, b = make("a", "", "xy"), make("b", "xy")
        flow = flow_of(a, b)

        def spoil():
            for _, _, data in flow.iter_links():
                data["reasons"].clear()
                data["other"] = 1

        spoil()
        assert links(flow) == {"a>b": "xy"}
        flow.link(a, b)
        spoil()
        assert links(flow) == {"a>b": {"manual": True, "reasons": {"x", "y"}}}

    def test_an_iteration_goes_on_while_the_flow_changes(self):
        flow = flow_of(make("a"), make("b"))
        walk = iter(flow)
        next(walk)
        flow.add(make("c"))

        assert names(walk) == ["b"]

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))])
    def test_copies_have_the_same_links(self, duplicate):
        a, b, c = make("a", "", "x"), make("b", "x"), make("c", "q")
        flow = flow_of(a, b, c).link(b, c, decider=callable, decider_depth="atom")

        again = duplicate(flow)

        assert links(again) == links(flow)
        assert names(again) == names(flow)
        again.add(make("p", "", "q"))
        assert again.requires == set()
        assert flow.requires == {"q"}


class TestTargeted:
    def test_only_what_comes_before_the_target_is_visible(self):
        a, b, c, d = make("a", "q", "x"), make("b", "x", "y"), make("c", "y", "z"), make("d", "w", "v")
        flow = graph_flow.TargetedFlow("t").add(c, d, b, a)
        assert len(flow) == 4

        assert flow.set_target(b) is None
        assert names(flow) == names(item for item, _ in flow.iter_nodes()) == ["a", "b"]
        assert len(flow) == 2
        assert links(flow) == {"a>b": "x"}
        assert (flow.requires, flow.provides) == ({"q"}, {"x", "y"})
        assert str(flow) == '"graph_flow.TargetedFlow: t(len=2)"'

        assert flow.reset_target() is None
        assert len(flow) == 4
        assert (flow.requires, flow.provides) == ({"q", "w"}, set("xyzv"))

    def test_unknown_target_changes_nothing(self):
        a = make("a")
        flow = graph_flow.TargetedFlow("t").add(a, make("b"))
        flow.set_target(a)

        with pytest.raises(ValueError, match="^Node .* not found"):
            flow.set_target(make("stranger"))
        assert names(flow) == ["a"]

    def test_changes_show_at_once(self):
        target, other = make("target", "x"), make("other")
        flow = graph_flow.TargetedFlow("t").add(target)
        flow.set_target(target)

        assert flow.add(other) is flow
        assert names(flow) == ["target"]
        flow.add(make("p", "", "x"))
        assert names(flow) == ["p", "target"]
        assert flow.link(other, target) is flow
        assert set(names(flow)) == {"p", "other", "target"}
        assert links(flow) == {"p>target": "x", "other>target": {"manual": True}}

    def test_hidden_nodes_can_be_linked_and_made_targets(self):
        a, b = make("a"), make("b")
        flow = graph_flow.TargetedFlow("t").add(a, b)
        flow.set_target(a)
        flow.link(b, a)
        flow.set_target(b)

        assert names(flow) == ["b"]
        assert links(flow) == {}

    def test_pickling_keeps_the_target(self):
        a, b = make("a"), make("b")
        flow = graph_flow.TargetedFlow("t", retry=retry.Times()).add(a, b)
        flow.set_target(a)
        assert len(flow) == 1

        again = pickle.loads(pickle.dumps(flow))

        assert names(again) == ["a"]
        again.reset_target()
        assert names(again) == ["a", "b"]
