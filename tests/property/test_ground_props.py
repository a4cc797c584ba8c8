# SPDX-License-Identifier: Apache-2.0
"""Do the small functions of the ground floor keep their promises for any input?"""

import itertools
import uuid
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from taskflow import exceptions as exc
from taskflow.types.notifier import Notifier
from taskflow.utils import iter_utils, misc, uuids

numbers = st.lists(st.integers(-5, 5))


@given(numbers, numbers)
def test_sequence_minus_is_a_multiset_difference_in_order(one, other):
    left = misc.sequence_minus(one, other)
    assert Counter(left) == Counter(one) - Counter(other)
    position = iter(one)
    assert all(item in position for item in left)


@given(st.text(alphabet="ab\n\r\x0b\u2028", max_size=20))
def test_fix_newlines_keeps_the_lines(text):
    assert misc.fix_newlines(text, replacement="\n").split("\n") == (text.splitlines() or [""])


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_as_int_of_numbers_and_their_texts(number):
    assert misc.as_int(number) == int(number)
    assert misc.as_int(str(number)) == int(number)


hosts = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{1,5}){0,2}", fullmatch=True)
words = st.text(alphabet="abcXYZ019._~-", min_size=1, max_size=8)


@given(
    words.map(lambda w: "s" + w.replace("_", "").replace("~", "")),
    hosts,
    st.none() | st.integers(0, 65535),
    words,
    words,
)
def test_uris_come_apart_as_they_were_put_together(scheme, host, port, user, password):
    at = host if port is None else f"{host}:{port}"
    uri = f"{scheme}://{user}:{password}@{at}/p?{user}x={password}"
    driver, conf = misc.extract_driver_and_conf(uri, "connection")
    assert driver == scheme.lower()
    expected = {"connection": uri, "username": user, "password": password, "hostname": at, f"{user}x": password}
    if port is not None:
        expected["port"] = port
    assert conf == expected


@given(st.floats(0, 100), st.floats(0, 100), st.floats(1, 5))
def test_delays_grow_up_to_the_limit(delay, limit, multiplier):
    delays = list(itertools.islice(iter_utils.generate_delays(delay, limit, multiplier), 50))
    assert delays[0] == min(delay, limit)
    assert all(0 <= a <= b <= limit for a, b in itertools.pairwise(delays))


@given(st.lists(numbers))
def test_unique_seen(its):
    assert list(iter_utils.unique_seen(its)) == list(dict.fromkeys(itertools.chain.from_iterable(its)))


@given(numbers, st.integers(-3, 20))
def test_fill_has_the_wanted_length(values, n):
    filled = list(iter_utils.fill(values, n, "x"))
    assert filled == [*values, *["x"] * max(0, n)][: max(0, n)]


@given(st.integers(0, 50))
def test_identifiers(n):
    many = uuids.generate_uuids(n)
    assert len(set(many)) == n
    assert all(uuid.UUID(text).version == 4 and str(uuid.UUID(text)) == text for text in many)


messages = st.text(max_size=10) | st.none() | st.integers() | st.binary(max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from([exc.NotFound, exc.Empty]), messages), min_size=1, max_size=6),
    st.lists(st.integers(0, 5), min_size=6, max_size=6),
)
def test_error_texts_never_raise_and_always_end(made, links):
    errors = [kind(message) for kind, message in made]
    for i, e in enumerate(errors):
        e._cause = errors[links[i] % len(errors)]
    for e in errors:
        shown = e.pformat(show_root_class=True)
        assert shown.startswith(f"{type(e).__name__}: {e.args[0]}")
        assert shown.count("NotFound: ") + shown.count("Empty: ") <= len(errors)


class NotifierMachine(RuleBasedStateMachine):
    """Compares a notifier, and a copy of it, with lists of who should hear what."""

    EVENTS = ("a", "b", Notifier.ANY)

    def __init__(self):
        super().__init__()
        self.notifier = Notifier()
        self.expected = {event: [] for event in self.EVENTS}
        self.heard = []
        self.callbacks = [self.make_callback(i) for i in range(3)]

    def make_callback(self, i):
        def callback(event_type, details):
            self.heard.append((i, event_type, details["n"]))

        return callback

    @rule(event=st.sampled_from(EVENTS), i=st.integers(0, 2))
    def register(self, event, i):
        try:
            self.notifier.register(event, self.callbacks[i])
        except ValueError:
            assert i in self.expected[event]
        else:
            assert i not in self.expected[event]
            self.expected[event].append(i)

    @rule(event=st.sampled_from(EVENTS), i=st.integers(0, 2))
    def deregister(self, event, i):
        assert self.notifier.deregister(event, self.callbacks[i]) == (i in self.expected[event])
        if i in self.expected[event]:
            self.expected[event].remove(i)

    @rule(event=st.sampled_from(EVENTS))
    def deregister_event(self, event):
        assert self.notifier.deregister_event(event) == len(self.expected[event])
        self.expected[event] = []

    @rule()
    def change_a_copy(self):
        self.notifier.copy().reset()

    @rule(event=st.sampled_from(("a", "b", "c")), n=st.integers())
    def notify(self, event, n):
        self.heard = []
        self.notifier.notify(event, {"n": n})
        receivers = self.expected[Notifier.ANY] + self.expected.get(event, [])
        assert self.heard == [(i, event, n) for i in receivers]
        assert self.notifier.has_listeners(event) == bool(receivers)

    @invariant()
    def counts_agree(self):
        assert len(self.notifier) == sum(map(len, self.expected.values()))
        assert {event for event, _ in self.notifier.listeners_iter()} == {e for e, x in self.expected.items() if x}


TestNotifierMachine = NotifierMachine.TestCase
