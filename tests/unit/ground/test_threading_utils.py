# SPDX-License-Identifier: Apache-2.0
"""Are threads made, started and stopped as documented?"""

import os
import threading

import pytest

from taskflow.utils import threading_utils


def test_daemon_thread():
    got = []
    thread = threading_utils.daemon_thread(lambda *args, **kwargs: got.append((args, kwargs)), 1, a=2)
    assert thread.daemon
    assert not thread.is_alive()
    thread.start()
    thread.join()
    assert got == [((1,), {"a": 2})]


def test_get_ident():
    assert threading_utils.get_ident() == threading.get_ident()


def test_is_alive():
    gate = threading.Event()
    thread = threading_utils.daemon_thread(gate.wait, 30)
    assert threading_utils.is_alive(None) is False
    assert threading_utils.is_alive(thread) is False
    thread.start()
    assert threading_utils.is_alive(thread) is True
    gate.set()
    thread.join()
    assert threading_utils.is_alive(thread) is False


def test_get_optimal_thread_count(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert threading_utils.get_optimal_thread_count() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threading_utils.get_optimal_thread_count() == 2
    assert threading_utils.get_optimal_thread_count(default=7) == 7


def test_no_op():
    assert threading_utils.no_op(1, a=2) is None


class Bound:
    """Binds threads that note what happens to them."""

    def __init__(self):
        self.bundle = threading_utils.ThreadBundle()
        self.log = []
        self.gates = {}

    def bind(self, name, **callbacks):
        def factory():
            self.gates[name] = threading.Event()
            self.log.append(("make", name))
            return threading_utils.daemon_thread(self.gates[name].wait, 30)

        def note(what):
            return lambda thread: self.log.append((what, name, thread.is_alive()))

        def before_join(thread):
            note("before_join")(thread)
            self.gates[name].set()

        standard = {
            "before_start": note("before_start"),
            "after_start": note("after_start"),
            "before_join": before_join,
            "after_join": note("after_join"),
        }
        self.bundle.bind(factory, **{**standard, **callbacks})


@pytest.fixture
def bound():
    made = Bound()
    yield made
    for gate in made.gates.values():
        gate.set()


class TestThreadBundle:
    @pytest.mark.parametrize("name", ["before_start", "after_start", "before_join", "after_join"])
    def test_callbacks_must_be_callable(self, name):
        bundle = threading_utils.ThreadBundle()
        with pytest.raises(ValueError, match="callable"):
            bundle.bind(threading.Thread, **{name: 5})
        with pytest.raises(ValueError, match="callable"):
            bundle.bind(5)
        assert len(bundle) == 0

    def test_order(self, bound):
        bound.bind("a")
        bound.bind("b")
        assert bound.bundle.start() == 2
        assert bound.log == [
            ("make", "a"),
            ("before_start", "a", False),
            ("after_start", "a", True),
            ("make", "b"),
            ("before_start", "b", False),
            ("after_start", "b", True),
        ]
        bound.log.clear()
        assert bound.bundle.stop() == 2
        assert bound.log == [
            ("before_join", "b", True),
            ("after_join", "b", False),
            ("before_join", "a", True),
            ("after_join", "a", False),
        ]

    def test_repeated_calls(self, bound):
        assert bound.bundle.start() == 0
        assert bound.bundle.stop() == 0
        bound.bind("a")
        assert bound.bundle.start() == 1
        assert bound.bundle.start() == 0
        bound.bind("b")
        assert bound.bundle.start() == 1
        assert bound.bundle.stop() == 2
        assert bound.bundle.stop() == 0
        assert len(bound.bundle) == 2
        assert bound.bundle.start() == 2
        assert [entry for entry in bound.log if entry[0] == "make"] == [
            ("make", "a"),
            ("make", "b"),
            ("make", "a"),
            ("make", "b"),
        ]
        assert bound.bundle.stop() == 2

    def test_a_failing_after_start(self, bound):
        def fail(thread):
            raise RuntimeError("x")

        bound.bind("a", after_start=fail)
        bound.bind("b")
        with pytest.raises(RuntimeError):
            bound.bundle.start()
        assert bound.bundle.start() == 1
        assert bound.bundle.stop() == 2

    def test_a_failing_after_join(self, bound):
        def fail(thread):
            raise RuntimeError("x")

        bound.bind("a")
        bound.bind("b", after_join=fail)
        bound.bundle.start()
        with pytest.raises(RuntimeError):
            bound.bundle.stop()
        assert bound.bundle.stop() == 1
        assert bound.bundle.stop() == 0

    def test_a_thread_that_can_not_be_started_is_not_counted(self, bound):
        def fail(thread):
            raise RuntimeError("x")

        bound.bind("a", before_start=fail)
        with pytest.raises(RuntimeError):
            bound.bundle.start()
        assert bound.bundle.stop() == 0

    def test_callbacks_are_optional(self):
        bundle = threading_utils.ThreadBundle()
        bundle.bind(lambda: threading_utils.daemon_thread(threading_utils.no_op))
        assert bundle.start() == 1
        assert bundle.stop() == 1
