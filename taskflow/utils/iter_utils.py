# SPDX-License-Identifier: Apache-2.0
"""Which ways to walk through values does the standard library lack?"""

from __future__ import annotations

import itertools
from collections import abc
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


def _check_iterable(it: object) -> None:
    if not isinstance(it, abc.Iterable):
        raise ValueError(f"An iterable is expected, not {it!r}")  # noqa: TRY004 - the documented type


def fill(it: Iterable[T], desired_len: int, filler: Any = None) -> Iterator[T | Any]:
    """Yields exactly the wanted number of values.

    Args:
        it: where they come from; not more of them are taken than are yielded.
        desired_len: how many are wanted.
        filler: what to yield when there are too few.

    Returns:
        An iterator over them.

    Raises:
        ValueError: no iterable was given.
    """
    _check_iterable(it)
    return itertools.islice(itertools.chain(it, itertools.repeat(filler)), max(0, desired_len))


def count(it: Iterable[Any]) -> int:
    """Counts the values of an iterable, which uses an iterator up.

    Args:
        it: the values.

    Returns:
        How many there are.

    Raises:
        ValueError: no iterable was given.
    """
    _check_iterable(it)
    return sum(1 for _ in it)


def generate_delays(delay: float, max_delay: float, multiplier: float = 2) -> Iterator[float]:
    """Yields delays that grow up to a limit, without end.

    Args:
        delay: the first delay, in seconds.
        max_delay: the limit, in seconds.
        multiplier: by how much each is longer than the one before.

    Returns:
        An iterator over them.

    Raises:
        ValueError: a delay is negative or the multiplier is below one.
    """
    if max_delay < 0:
        raise ValueError(f"The maximum delay must be 0 or more seconds, not {max_delay}")
    if delay < 0:
        raise ValueError(f"The first delay must be 0 or more seconds, not {delay}")
    if multiplier < 1.0:
        raise ValueError(f"The multiplier must be 1 or more, not {multiplier}")

    def generate(following: float) -> Iterator[float]:
        while True:
            following = min(following, max_delay)
            yield following
            following *= multiplier

    return generate(delay)


def unique_seen(its: Iterable[Iterable[T]], seen_selector: Callable[[T], Any] | None = None) -> Iterator[T]:
    """Yields the values of several iterables, each only once.

    Args:
        its: the iterables.
        seen_selector: tells by what a value is recognized; otherwise by the value itself.

    Returns:
        An iterator over the values, in order.

    Raises:
        ValueError: one of them is no iterable.
    """
    sources = list(its)
    for it in sources:
        _check_iterable(it)

    def generate() -> Iterator[T]:
        seen = set()
        for value in itertools.chain.from_iterable(sources):
            mark = value if seen_selector is None else seen_selector(value)
            if mark not in seen:
                seen.add(mark)
                yield value

    return generate()


def find_first_match(it: Iterable[T], matcher: Callable[[T], Any], not_found_value: Any = None) -> T | Any:
    """Finds a value.

    Args:
        it: where to look.
        matcher: tells whether a value is the right one.
        not_found_value: what to return when none is.

    Returns:
        The first right value.

    Raises:
        ValueError: no iterable was given.
    """
    _check_iterable(it)
    return next(filter(matcher, it), not_found_value)


def while_is_not(it: Iterable[T], stop_value: Any) -> Iterator[T]:
    """Yields values up to a certain one.

    Args:
        it: the values.
        stop_value: the object after which to stop; it is yielded too.

    Returns:
        An iterator over the values.

    Raises:
        ValueError: no iterable was given.
    """
    _check_iterable(it)

    def generate() -> Iterator[T]:
        for value in it:
            yield value
            if value is stop_value:
                return

    return generate()


def iter_forever(limit: int) -> Iterator[int]:
    """Counts from zero.

    Args:
        limit: how many numbers; below zero they do not end.

    Returns:
        An iterator over them.
    """
    return itertools.count() if limit < 0 else iter(range(limit))
