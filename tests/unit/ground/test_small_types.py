# SPDX-License-Identifier: Apache-2.0
"""Do timeouts, latches and entities behave as documented?"""

import math
import threading
import time
from unittest import mock

import pytest

from taskflow.types import entity, latch, timing


class TestTimeout:
    @pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("-inf")])
    def test_bad_values(self, value):
        with pytest.raises(ValueError, match="timeout"):
            timing.Timeout(value)

    @pytest.mark.parametrize("value", ["1", None, []])
    def test_values_that_are_no_numbers(self, value):
        with pytest.raises(TypeError):
            timing.Timeout(value)

    def test_value_is_read_only(self):
        timeout = timing.Timeout(3)
        assert timeout.value == 3
        with pytest.raises(AttributeError):
            timeout.value = 4

    def test_waits_at_most_that_long(self):
        started = time.monotonic()
        assert timing.Timeout(0.05).wait() is None
        assert 0.04 < time.monotonic() - started < 5

    def test_interruption(self):
        timeout = timing.Timeout(60)
        assert not timeout.is_stopped()
        waiter = threading.Thread(target=timeout.wait, daemon=True)
        waiter.start()
        timeout.interrupt()
        waiter.join(10)
        assert not waiter.is_alive()
        assert timeout.is_stopped()
        assert timeout.wait() is None
        timeout.reset()
        assert not timeout.is_stopped()

    def test_the_factory_is_called_once(self):
        factory = mock.Mock()
        timeout = timing.Timeout(2.5, event_factory=factory)
        timeout.wait()
        timeout.interrupt()
        timeout.reset()
        assert timeout.is_stopped() is factory.return_value.is_set.return_value
        assert factory.mock_calls[0] == mock.call()
        assert factory.call_count == 1
        factory.return_value.wait.assert_called_once_with(2.5)

    @pytest.mark.parametrize("value", [math.inf, 1e300, 10**400])
    def test_infinity_is_no_limit(self, value):
        timeout = timing.Timeout(value)
        threading.Timer(0.02, timeout.interrupt).start()
        timeout.wait()
        assert timeout.is_stopped()


class TestConvertToTimeout:
    @pytest.mark.parametrize(
        ("value", "expected"), [("2.0", 2.0), (1, 1.0), (0, 0.0), (1.5, 1.5), (True, 1.0), ("inf", math.inf)]
    )
    def test_numbers_and_texts(self, value, expected):
        made = timing.convert_to_timeout(value)
        assert made.value == expected
        assert type(made.value) is float

    def test_a_timeout_is_returned_itself(self):
        timeout = timing.Timeout(1)
        assert timing.convert_to_timeout(timeout) is timeout
        assert timing.convert_to_timeout(None, default_value=timeout) is timeout

    def test_default(self):
        assert timing.convert_to_timeout(None, default_value=3).value == 3.0
        assert timing.convert_to_timeout(default_value="4").value == 4.0
        assert timing.convert_to_timeout(0, default_value=3).value == 0.0

    @pytest.mark.parametrize("value", ["", "soon", -1, "-1", None, [], object(), b"1", "nan", float("nan")])
    def test_what_is_no_timeout(self, value):
        with pytest.raises(ValueError):
            timing.convert_to_timeout(value)

    def test_the_factory_is_passed_on(self):
        factory = mock.Mock()
        timing.convert_to_timeout(1, event_factory=factory).interrupt()
        factory.return_value.set.assert_called_once_with()


class TestLatch:
    @pytest.mark.parametrize("count", [0, -1, "0"])
    def test_bad_counts(self, count):
        with pytest.raises(ValueError):
            latch.Latch(count)

    def test_countdown(self):
        one = latch.Latch("2")
        assert one.needed == 2
        assert one.wait(timeout=0) is False
        one.countdown()
        assert one.needed == 1
        assert one.wait(0.01) is False
        one.countdown()
        one.countdown()
        assert one.needed == 0
        assert one.wait() is True
        assert one.wait(timeout=0) is True

    def test_a_negative_timeout(self):
        with pytest.raises(ValueError, match="-1"):
            latch.Latch(1).wait(-1)

    def test_many_threads(self):
        one = latch.Latch(10)
        released = []
        waiters = [threading.Thread(target=lambda: released.append(one.wait(30))) for _ in range(5)]
        counters = [threading.Thread(target=one.countdown) for _ in range(10)]
        for thread in waiters + counters:
            thread.start()
        for thread in waiters + counters:
            thread.join()
        assert released == [True] * 5
        assert one.needed == 0


def test_entity():
    metadata = {"a": 1}
    one = entity.Entity("conductor", "c@h", metadata)
    assert (one.kind, one.name) == ("conductor", "c@h")
    assert one.metadata is metadata
    assert one.to_dict() == {"kind": "conductor", "name": "c@h", "metadata": {"a": 1}}
    assert one.to_dict()["metadata"] is metadata
