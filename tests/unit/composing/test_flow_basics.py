# SPDX-License-Identifier: Apache-2.0
"""What have all flows in common, and what do linear and unordered ones do?"""

import copy
import gc
import pickle
import weakref

import pytest

from taskflow import flow as base
from taskflow import retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

PATTERNS = [linear_flow.Flow, unordered_flow.Flow, graph_flow.Flow, graph_flow.TargetedFlow]


class T(task.Task):
    def execute(self, **kwargs):
        pass


def make(name, requires=(), provides=()):
    return T(name, requires=list(requires), provides=list(provides))


def names(items):
    return [item.name for item in items]


def test_metadata_keys():
    assert base.LINK_INVARIANT == "invariant"
    assert base.LINK_MANUAL == "manual"
    assert base.LINK_RETRY == "retry"
    assert base.LINK_REASONS == "reasons"
    assert base.LINK_DECIDER == "decider"
    assert base.LINK_DECIDER_DEPTH == "decider_depth"


def test_base_is_abstract():
    with pytest.raises(TypeError):
        base.Flow("f")


@pytest.mark.parametrize("pattern", PATTERNS)
class TestAnyPattern:
    @pytest.mark.parametrize(("given", "name"), [("f", "f"), (None, "None"), (3, "3")])
    def test_name_is_a_text(self, pattern, given, name):
        assert pattern(given).name == name

    def test_name_and_retry_are_read_only(self, pattern):
        controller = retry.Times()
        flow = pattern("f", controller)

        assert flow.retry is controller
        assert controller.name == "f_retry"
        assert pattern("f").retry is None
        for attribute in ("name", "retry", "requires", "provides"):
            with pytest.raises(AttributeError):
                setattr(flow, attribute, "x")

    def test_retry_without_name_is_an_attribute_error(self, pattern):
        with pytest.raises(AttributeError):
            pattern("f", retry=object())

    def test_an_empty_flow(self, pattern):
        flow = pattern("f")

        assert len(flow) == 0
        assert list(flow) == list(flow.iter_nodes()) == list(flow.iter_links()) == []
        assert flow.requires == flow.provides == frozenset()
        assert isinstance(flow.requires, frozenset)
        assert isinstance(flow.provides, frozenset)

    def test_adding_can_be_chained(self, pattern):
        flow = pattern("f")

        assert flow.add() is flow
        assert flow.add(make("a")).add(make("b"), make("c")) is flow
        assert len(flow) == 3
        assert names(flow) == ["a", "b", "c"]
        assert [(item.name, data) for item, data in flow.iter_nodes()] == [("a", {}), ("b", {}), ("c", {})]

    def test_items_are_added_once(self, pattern):
        a, b = make("a"), make("b")
        flow = pattern("f").add(a, b, a).add(b).add(a, b)

        assert list(flow) == [a, b]

    def test_equal_items_are_one(self, pattern):
        class Equal(T):
            def __eq__(self, other):
                return isinstance(other, Equal)

            def __hash__(self):
                return 7

        assert len(pattern("f").add(Equal("a"), Equal("b"))) == 1

    def test_what_is_no_item_is_refused_and_nothing_added(self, pattern):
        flow = pattern("f")

        with pytest.raises(ValueError, match="None"):
            flow.add(make("a"), None)
        with pytest.raises(TypeError):
            flow.add(make("a"), [])
        assert len(flow) == 0

    def test_text(self, pattern):
        kind = f"{pattern.__module__.removeprefix('taskflow.patterns.')}.{pattern.__name__}"

        assert str(pattern("boot")) == f'"{kind}: boot(len=0)"'
        assert str(pattern("x").add(make("a"))) == f'"{kind}: x(len=1)"'

    def test_text_of_a_subclass(self, pattern):
        class MyFlow(pattern):
            pass

        assert str(MyFlow("x")) == f'"{__name__}.MyFlow: x(len=0)"'

    def test_retry_counts_for_names_but_is_no_item(self, pattern):
        controller = retry.ParameterizedForEach(rebind=["hosts"], provides="host")
        flow = pattern("f", controller).add(make("a", ["host", "q"]))

        assert flow.requires == {"hosts", "q"}
        assert flow.provides == {"host"}
        assert names(flow) == ["a"]

    def test_retry_that_requires_what_it_provides(self, pattern):
        flow = pattern("f", retry.ParameterizedForEach(provides="values"))

        assert flow.requires == flow.provides == {"values"}

    def test_optional_arguments_are_not_required(self, pattern):
        class Lenient(task.Task):
            def execute(self, a, b=1):
                pass

        assert pattern("f").add(Lenient()).requires == {"a"}

    def test_flows_are_items_with_their_own_names(self, pattern):
        inner = linear_flow.Flow("inner").add(make("a", "x", "y"), make("b", "yz", "w"))
        flow = pattern("f").add(inner, make("c", "q", "p"))

        assert flow.requires == {"x", "z", "q"}
        assert flow.provides == {"y", "w", "p"}

    def test_later_changes_inside_show(self, pattern):
        deepest = unordered_flow.Flow("deepest")
        middle = linear_flow.Flow("middle").add(deepest)
        flow = pattern("f").add(middle)
        assert (flow.requires, flow.provides) == (set(), set())

        deepest.add(make("a", "x", "y"))
        assert (flow.requires, flow.provides) == ({"x"}, {"y"})
        deepest.add(make("b", "z"))
        assert flow.requires == {"x", "z"}
        middle.add(make("c", "y", "v"))
        assert (flow.requires, flow.provides) == ({"x", "z"}, {"y", "v"})

    def test_flow_of_another_pattern_is_asked_each_time(self, pattern):
        class Foreign(linear_flow.Flow):
            needed = frozenset({"one"})

            @property
            def requires(self):
                return self.needed

        inner = Foreign("inner").add(make("a", provides="p"))
        middle = linear_flow.Flow("middle").add(inner)
        flow = pattern("f").add(middle)
        assert (flow.requires, flow.provides) == ({"one"}, {"p"})

        inner.needed = frozenset({"two"})
        assert flow.requires == {"two"}
        inner.add(make("b", provides="q"))
        assert flow.provides == {"p", "q"}

    def test_flow_that_hides_items_is_believed(self, pattern):
        class Half(linear_flow.Flow):
            def __iter__(self):
                return iter(list(super().__iter__())[::2])

        inner = Half("half").add(make("a", provides="p"), make("b", provides="q"))

        assert inner.provides == {"p"}
        assert pattern("f").add(inner).provides == {"p"}

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickling(self, pattern, protocol):
        flow = pattern("f", retry.Times(3, provides="n")).add(
            make("a", "x", "y"), linear_flow.Flow("inner").add(make("b", "nz"))
        )
        before = (flow.requires, flow.provides)

        again = pickle.loads(pickle.dumps(flow, protocol))

        assert names(again) == ["a", "inner"]
        assert (again.requires, again.provides) == before
        assert again.retry.name == "f_retry"
        list(again)[1].add(make("c", "w"))
        assert again.requires == before[0] | {"w"}
        assert flow.requires == before[0]
        assert names(again.add(make("d"))) == ["a", "inner", "d"]

    def test_deep_copies(self, pattern):
        inner = linear_flow.Flow("inner").add(make("b", "z"))
        flow = pattern("f").add(make("a", "x", "y"), inner)
        assert flow.requires == {"x", "z"}

        again = copy.deepcopy(flow)
        inner.add(make("c", "w"))

        assert names(again) == ["a", "inner"]
        assert list(again)[0] is not list(flow)[0]
        assert again.requires == {"x", "z"}
        assert flow.requires == {"x", "z", "w"}

    def test_outer_flows_are_not_kept_alive(self, pattern):
        inner = linear_flow.Flow("inner").add(make("a", "x"))
        flow = pattern("f").add(inner)
        assert flow.requires == {"x"}
        gone = weakref.ref(flow)
        del flow
        gc.collect()

        assert gone() is None
        assert inner.add(make("b", "y")).requires == {"x", "y"}

    def test_deeply_nested_flows(self, pattern):
        deepest = flow = pattern(0).add(make("a", "x", "y"))
        for number in range(1, 5_000):
            flow = pattern(number).add(flow)
        assert (flow.requires, flow.provides) == ({"x"}, {"y"})

        deepest.add(make("b", "z"))
        assert flow.requires == {"x", "z"}

    def test_flows_nested_from_the_outside(self, pattern):
        flow = top = pattern(0)
        for number in range(1, 5_000):
            inner = pattern(number)
            flow.add(inner)
            flow = inner
        flow.add(make("a", "x", "y"))

        assert (top.requires, top.provides) == ({"x"}, {"y"})

    def test_flow_inside_itself_still_has_names(self, pattern):
        inner = linear_flow.Flow("inner").add(make("a", "x", "y"))
        flow = pattern("f").add(inner)
        inner.add(flow)

        assert flow.requires == inner.requires == {"x"}
        assert flow.provides == inner.provides == {"y"}
        inner.add(make("b", "z"))
        assert flow.requires == {"x", "z"}


class TestLinear:
    def test_neighbours_are_linked(self):
        flow = linear_flow.Flow("f").add(*(make(name) for name in "abc"))
        flow.add(next(iter(flow)))

        links = flow.iter_links()
        assert [(u.name, v.name, data) for u, v, data in links] == [
            ("a", "b", {"invariant": True}),
            ("b", "c", {"invariant": True}),
        ]
        assert list(links) == []

    def test_views_can_be_gone_through_once(self):
        flow = linear_flow.Flow("f").add(make("a"))

        for view in (iter(flow), flow.iter_nodes(), flow.iter_links()):
            assert iter(view) is view

    @pytest.mark.parametrize(
        ("items", "requires"),
        [
            ([("", "x"), ("x", "")], ""),
            ([("x", ""), ("", "x")], "x"),
            ([("x", "x")], "x"),
            ([("a", "b"), ("bc", "d"), ("ad", "")], "ac"),
        ],
    )
    def test_only_earlier_items_satisfy(self, items, requires):
        flow = linear_flow.Flow("f").add(*(make(str(i), *sides) for i, sides in enumerate(items)))

        assert flow.requires == set(requires)
        assert flow.provides == set("".join(gives for _, gives in items))

    def test_anything_can_be_added(self):
        flow = linear_flow.Flow("f").add(42, "x")

        assert list(flow) == [42, "x"]
        with pytest.raises(AttributeError):
            _ = flow.requires


class TestUnordered:
    def test_there_are_no_links(self):
        assert list(unordered_flow.Flow("f").add(make("a", "", "x"), make("b", "x")).iter_links()) == []

    @pytest.mark.parametrize("order", [1, -1])
    def test_siblings_do_not_satisfy_each_other(self, order):
        flow = unordered_flow.Flow("f").add(*[make("a", "", "x"), make("b", "x")][::order])

        assert flow.requires == flow.provides == {"x"}

    def test_many_may_provide_one_symbol(self):
        controller = retry.Times(provides="x")
        flow = unordered_flow.Flow("f", controller).add(make("a", "", "x"), make("b", "", "x"), make("c", "xy"))

        assert flow.provides == {"x"}
        assert flow.requires == {"y"}
