# SPDX-License-Identifier: Apache-2.0
"""Does the ordered set behave like a frozen set with an order?"""

import collections.abc
import copy
import pickle

import pytest

from taskflow.types.sets import OrderedSet


class OnlyContains:
    def __contains__(self, value):
        return value in "abc"


def test_order_of_first_occurrence():
    made = OrderedSet("cabac")

    assert list(made) == ["c", "a", "b"]
    assert len(made) == 3
    assert "a" in made
    assert "z" not in made
    assert repr(made) == "OrderedSet(['c', 'a', 'b'])"
    assert repr(OrderedSet()) == "OrderedSet([])"
    assert not OrderedSet(None)


def test_it_is_a_set_that_can_not_change():
    made = OrderedSet("ab")

    assert isinstance(made, collections.abc.Set)
    assert isinstance(made, collections.abc.Hashable)
    assert not isinstance(made, (collections.abc.MutableSet, collections.abc.Sequence, collections.abc.Reversible))
    with pytest.raises(AttributeError):
        made.color = 1
    with pytest.raises(TypeError):
        made[0]
    for name in ("add", "discard", "remove", "update", "symmetric_difference"):
        assert not hasattr(made, name)


def test_elements_must_be_hashable():
    with pytest.raises(TypeError):
        OrderedSet([[]])


@pytest.mark.parametrize("other", [{"a", "b"}, frozenset("ba"), {"b": 1, "a": 2}.keys(), OrderedSet("ba")])
def test_equality_is_about_content(other):
    made = OrderedSet("ab")

    assert made == other
    assert other == made
    assert not made != other  # noqa: SIM202 - it is the other operator that is asked
    assert hash(made) == hash(frozenset("ab"))


@pytest.mark.parametrize("other", [{"a"}, {"a", "b", "c"}, {"a", "c"}, ["a", "b"], ("a", "b"), "ab", None])
def test_inequality(other):
    assert OrderedSet("ab") != other
    assert other != OrderedSet("ab")


@pytest.mark.parametrize("kind", [list, OrderedSet, lambda text: dict.fromkeys(text).keys(), iter, tuple])
def test_operators_with_the_set_on_the_left(kind):
    made = OrderedSet("dab")

    for result, order in [
        (made | kind("cbd"), "dabc"),
        (made - kind("cbd"), "a"),
        (made & kind("cbd"), "bd"),
        (made ^ kind("cbd"), "ac"),
    ]:
        assert type(result) is OrderedSet
        assert "".join(result) == order


@pytest.mark.parametrize("kind", [list, OrderedSet, tuple])
def test_operators_with_the_set_on_the_right(kind):
    made = OrderedSet("dab")
    same = kind is OrderedSet

    for result, order in [
        (kind("cbd") | made, "cbda" if same else "dabc"),
        (kind("cbd") - made, "c"),
        (kind("cbd") & made, "db" if same else "bd"),
        (kind("cbd") ^ made, "ca" if same else "ac"),
    ]:
        assert type(result) is OrderedSet
        assert "".join(result) == order


def test_operators_with_builtin_sets():
    made = OrderedSet("dab")

    assert (made | {"c"}, made & {"a"}, made - {"a"}, made ^ {"a"}) == (set("dabc"), {"a"}, set("db"), set("db"))
    assert ({"c"} | made, {"a"} & made, {"a", "c"} - made, {"a", "c"} ^ made) == (set("dabc"), {"a"}, {"c"}, set("dbc"))
    assert set("c").union(made) == set("dabc")


def test_comparison():
    made = OrderedSet("ab")

    assert made < {"a", "b", "c"}
    assert made <= {"b", "a"}
    assert made > {"a"}
    assert made >= {"a", "b"}
    assert not made < {"a", "b"}
    assert {"a"} < made
    assert made.isdisjoint("xyz")
    assert not made.isdisjoint("xa")
    with pytest.raises(TypeError):
        assert made < ["a", "b", "c"]
    with pytest.raises(TypeError):
        assert made >= 3


def test_augmented_assignment_makes_another_set():
    made = kept = OrderedSet("a")
    made |= {"b"}

    assert made == {"a", "b"}
    assert kept == {"a"}


@pytest.mark.parametrize("kind", [list, set, iter, OrderedSet, lambda text: (c for c in text)])
def test_named_operations(kind):
    made = OrderedSet("dcba")

    assert "".join(made.difference(kind("ax"), kind("d"))) == "cb"
    assert "".join(made.intersection(kind("abcx"), kind("bca"))) == "cba"
    assert made.union(kind("xa"), kind("y")) == set("dcbaxy")
    assert "".join(made.union("xa", ["y"])) == "dcbaxy"
    assert made.issubset(kind("abcdx"))
    assert not made.issubset(kind("abc"))
    assert made.issuperset(kind("ab"))
    assert not made.issuperset(kind("ax"))
    assert "".join(made) == "dcba"


def test_subset_of_something_that_only_answers_in():
    assert OrderedSet("ab").issubset(OnlyContains())
    assert not OrderedSet("az").issubset(OnlyContains())


def test_copies_without_operands():
    made = OrderedSet("ba")

    for result in (made.copy(), made.union(), made.difference(), made.intersection()):
        assert result is not made
        assert type(result) is OrderedSet
        assert list(result) == ["b", "a"]


@pytest.mark.parametrize("text", ["", "cab"])
def test_pickles_and_copies_keep_the_order(text):
    made = OrderedSet(text)
    pickled = [pickle.loads(pickle.dumps(made, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]

    for again in [*pickled, copy.copy(made), copy.deepcopy(made)]:
        assert type(again) is OrderedSet
        assert "".join(again) == text


def test_operations_against_lists_are_not_quadratic():
    numbers = list(range(50_000))
    made = OrderedSet(numbers)

    assert len(made.difference(numbers)) == 0
    assert len(made.intersection(numbers)) == len(numbers)
