# SPDX-License-Identifier: Apache-2.0
"""Does the ordered set agree with lists without repetitions?"""

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st

from taskflow.types.sets import OrderedSet

values = st.lists(st.integers(0, 12), max_size=12)
kinds = st.sampled_from([list, tuple, set, frozenset, OrderedSet, iter, lambda v: dict.fromkeys(v).keys()])


def unique(items):
    return list(dict.fromkeys(items))


@given(values)
def test_content_and_order(items):
    made, model = OrderedSet(items), unique(items)

    assert list(made) == model
    assert len(made) == len(model)
    assert [value in made for value in range(13)] == [value in model for value in range(13)]
    assert hash(made) == hash(frozenset(items))
    assert repr(made) == f"OrderedSet({model!r})"
    for again in (made.copy(), copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert list(again) == model


@given(values, st.lists(st.tuples(values, kinds), max_size=3))
def test_named_operations(items, others):
    made, model = OrderedSet(items), unique(items)
    lists = [list(kind(other)) for other, kind in others]

    def operands():
        return [kind(other) for other, kind in others]

    assert list(made.union(*operands())) == unique(model + [v for each in lists for v in each])
    assert list(made.intersection(*operands())) == [v for v in model if all(v in each for each in lists)]
    assert list(made.difference(*operands())) == [v for v in model if not any(v in each for each in lists)]
    for each, (other, kind) in zip(lists, others, strict=True):
        assert made.issubset(kind(other)) == all(v in each for v in model)
        assert made.issuperset(kind(other)) == all(v in model for v in each)
        assert made.isdisjoint(kind(other)) == (not any(v in model for v in each))


@given(values, values)
def test_operators(left, right):
    made, other = OrderedSet(left), unique(right)

    assert list(made | other) == unique(left + right)
    assert list(other | made) == unique(left + right)
    assert list(made & other) == list(other & made) == [v for v in other if v in made]
    assert list(made - other) == [v for v in made if v not in other]
    assert list(other - made) == [v for v in other if v not in made]
    assert list(made ^ other) == list(other ^ made) == list(made - other) + list(other - made)


@given(values, values)
def test_comparison_is_that_of_sets(left, right):
    made, model = OrderedSet(left), set(left)

    for other in (set(right), frozenset(right), OrderedSet(right)):
        assert (made == other) == (model == other)
        assert (other == made) == (model == other)
        assert (made <= other) == (model <= set(other))
        assert (made < other) == (model < set(other))
        assert (made >= other) == (model >= set(other))
        assert (other > made) == (set(other) > model)
