# SPDX-License-Identifier: Apache-2.0
"""Is a cached property computed once for each instance, by one thread, without holding up other instances?"""

import inspect
import threading
import time

import pytest

from taskflow.utils import misc


class Thing:
    def __init__(self):
        self.calls = 0

    @misc.cachedproperty
    def plain(self):
        """Tells something."""
        self.calls += 1
        return self.calls

    @misc.cachedproperty("_other")
    def named(self):
        self.calls += 1
        return self.calls

    @misc.cachedproperty(require_lock=False)
    def unlocked(self):
        self.calls += 1
        return self.calls

    @misc.cachedproperty
    def nothing(self):
        self.calls += 1

    @misc.cachedproperty
    def broken(self):
        self.calls += 1
        raise AttributeError("from inside")


@pytest.mark.parametrize(("name", "attribute"), [("plain", "_plain"), ("named", "_other"), ("unlocked", "_unlocked")])
def test_is_computed_once_and_kept_as_an_attribute(name, attribute):
    thing = Thing()
    assert not hasattr(thing, attribute)
    assert getattr(thing, name) == getattr(thing, name) == 1
    assert vars(thing)[attribute] == 1
    assert thing.calls == 1
    assert getattr(Thing(), name) == 1


def test_none_is_kept_too():
    thing = Thing()
    assert thing.nothing is None
    assert thing.nothing is None
    assert thing.calls == 1
    assert vars(thing)["_nothing"] is None


def test_the_attribute_can_be_set_by_hand():
    thing = Thing()
    thing._plain = "mine"
    assert thing.plain == "mine"
    assert thing.calls == 0


def test_the_property_can_not_be_set_or_deleted():
    thing = Thing()
    assert thing.plain == 1
    with pytest.raises(AttributeError):
        thing.plain = 5
    with pytest.raises(AttributeError):
        del thing.plain
    assert thing.plain == 1


def test_the_class_gives_the_descriptor():
    assert isinstance(Thing.plain, misc.cachedproperty)
    assert Thing.plain.__doc__ == inspect.getdoc(Thing.plain) == "Tells something."
    assert Thing.named.__doc__ is None
    assert inspect.getdoc(Thing.named) is None


def test_an_attribute_error_of_the_method_propagates():
    thing = Thing()
    for _ in range(2):
        with pytest.raises(AttributeError, match="from inside"):
            _ = thing.broken
    assert thing.calls == 2


def test_works_with_slots():
    class Slotted:
        __slots__ = ("_value",)

        @misc.cachedproperty
        def value(self):
            return object()

    thing = Slotted()
    assert thing.value is thing.value


def test_many_threads_compute_once():
    computed = []

    class Slow:
        @misc.cachedproperty
        def value(self):
            computed.append(1)
            time.sleep(0.02)
            return object()

    thing = Slow()
    barrier = threading.Barrier(20)
    got = []

    def ask():
        barrier.wait()
        got.append(thing.value)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(computed) == 1
    assert len(got) == 20
    assert len(set(map(id, got))) == 1


def test_instances_do_not_wait_for_each_other():
    gate = threading.Event()
    entered = threading.Event()

    class Slow:
        def __init__(self, waits):
            self.waits = waits

        @misc.cachedproperty
        def value(self):
            if self.waits:
                entered.set()
                gate.wait(30)
            return 1

    slow = Slow(True)
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    assert entered.wait(10)
    asked = threading.Thread(target=lambda: Slow(False).value)
    asked.start()
    asked.join(10)
    stuck = asked.is_alive()
    gate.set()
    thread.join()
    asked.join()
    assert not stuck


def test_properties_of_one_instance_may_use_each_other():
    class Linked:
        @misc.cachedproperty
        def one(self):
            return self.other + 1

        @misc.cachedproperty
        def other(self):
            return 1

    assert Linked().one == 2


def test_nothing_is_kept_about_finished_computations():
    from taskflow.utils import cached

    assert Thing().plain == 1
    with pytest.raises(AttributeError):
        _ = Thing().broken
    assert cached._guards == {}


def test_a_property_that_never_got_its_method():
    class Unfinished:
        value = misc.cachedproperty("_kept")

    with pytest.raises(AttributeError, match="_kept"):
        _ = Unfinished().value
