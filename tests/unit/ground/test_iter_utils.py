# SPDX-License-Identifier: Apache-2.0
"""Do the additional iterators yield what they promise and complain when they should?"""

import itertools

import pytest

from taskflow.utils import iter_utils


@pytest.mark.parametrize(
    "call",
    [
        lambda bad: iter_utils.fill(bad, 2),
        iter_utils.count,
        lambda bad: iter_utils.find_first_match(bad, bool),
        lambda bad: iter_utils.while_is_not(bad, None),
        lambda bad: iter_utils.unique_seen([[1], bad]),
    ],
)
@pytest.mark.parametrize("bad", [None, 5, object()])
def test_what_is_no_iterable_is_refused_at_the_call(call, bad):
    with pytest.raises(ValueError, match="iterable"):
        call(bad)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (([1, 2], 4), [1, 2, None, None]),
        (([1, 2], 4, "x"), [1, 2, "x", "x"]),
        (([1, 2, 3], 2), [1, 2]),
        (([], 2, 0), [0, 0]),
        (([1], 0), []),
        (([1], -3), []),
    ],
)
def test_fill(args, expected):
    assert list(iter_utils.fill(*args)) == expected


def test_fill_takes_no_more_than_it_yields():
    source = iter(range(10))
    assert list(iter_utils.fill(source, 3)) == [0, 1, 2]
    assert next(source) == 3


@pytest.mark.parametrize(("it", "expected"), [([], 0), ("abc", 3), (iter(range(7)), 7)])
def test_count(it, expected):
    assert iter_utils.count(it) == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((1, 60), [1, 2, 4, 8, 16, 32, 60, 60]),
        ((100, 60), [60, 60]),
        ((1, 60, 1), [1, 1, 1]),
        ((1, 60, 1.5), [1, 1.5, 2.25]),
        ((0, 60), [0, 0]),
        ((5, 0), [0, 0]),
    ],
)
def test_generate_delays(args, expected):
    assert list(itertools.islice(iter_utils.generate_delays(*args), len(expected))) == expected


@pytest.mark.parametrize("args", [(1, -1), (-1, 1), (1, 2, 0.9)])
def test_generate_delays_refuses_at_the_call(args):
    with pytest.raises(ValueError):
        iter_utils.generate_delays(*args)


def test_unique_seen():
    assert list(iter_utils.unique_seen([[1, 2, 1], (2, 3), iter([4, 1])])) == [1, 2, 3, 4]
    assert list(iter_utils.unique_seen([])) == []
    assert list(iter_utils.unique_seen(iter([["a", "B"], ["b", "A", "c"]]), str.lower)) == ["a", "B", "c"]


def test_unique_seen_needs_an_iterable():
    with pytest.raises(TypeError):
        iter_utils.unique_seen(5)


def test_find_first_match():
    assert iter_utils.find_first_match(itertools.count(), lambda n: n > 5) == 6
    assert iter_utils.find_first_match([1, 2], lambda n: n > 5) is None
    assert iter_utils.find_first_match([1, 2], lambda n: n > 5, not_found_value="x") == "x"
    assert iter_utils.find_first_match([1, 0], lambda n: n == 0, not_found_value="x") == 0


def test_while_is_not():
    stop = object()
    assert list(iter_utils.while_is_not([1, stop, 2], stop)) == [1, stop]
    assert list(iter_utils.while_is_not([1, 2], stop)) == [1, 2]
    equal = [[1], [1]]
    assert list(iter_utils.while_is_not(equal, equal[1])) == [[1], [1]]
    assert list(itertools.islice(iter_utils.while_is_not(itertools.repeat(1), 2), 3)) == [1, 1, 1]


@pytest.mark.parametrize(("limit", "expected"), [(0, []), (3, [0, 1, 2])])
def test_iter_forever_with_a_limit(limit, expected):
    assert list(iter_utils.iter_forever(limit)) == expected


def test_iter_forever_without_a_limit():
    assert list(itertools.islice(iter_utils.iter_forever(-1), 5)) == [0, 1, 2, 3, 4]
