# SPDX-License-Identifier: Apache-2.0
"""Do notifiers tell events to those who registered, in order, with own details, and whatever a listener does?"""

import copy
import functools
import pickle
import threading
from unittest import mock

import pytest

from taskflow.types import notifier

Notifier = notifier.Notifier
Listener = notifier.Listener


class Recorder:
    def __init__(self):
        self.calls = []

    def hear(self, event_type, *args, details, **kwargs):
        self.calls.append((event_type, args, kwargs, details))

    def events(self):
        return [call[0] for call in self.calls]


def callback(event_type, details):
    pass


def other_callback(event_type, details):
    pass


def picky(details):
    return details.get("wanted")


@pytest.fixture
def recorder():
    return Recorder()


class TestRegister:
    def test_constants(self):
        assert Notifier.ANY == "*"
        assert Notifier.RESERVED_KEYS == ("details",)

    @pytest.mark.parametrize("bad", [None, 2, "text"])
    def test_callbacks_must_be_callable(self, bad):
        with pytest.raises(ValueError, match="callback"):
            Notifier().register("e", bad)

    def test_filters_must_be_callable(self):
        with pytest.raises(ValueError, match="filter"):
            Notifier().register("e", callback, details_filter=2)

    def test_twice_is_an_error(self):
        n = Notifier()
        assert n.register("e", callback) is None
        with pytest.raises(ValueError, match="registered"):
            n.register("e", callback, args=[1], kwargs={"a": 2})
        n.register("f", callback)
        assert len(n) == 2

    def test_with_another_filter_it_is_another_listener(self):
        n = Notifier()
        n.register("e", callback)
        n.register("e", callback, details_filter=picky)
        with pytest.raises(ValueError, match="registered"):
            n.register("e", callback, details_filter=picky)
        assert len(n) == 2

    def test_details_is_a_reserved_key(self):
        with pytest.raises(KeyError, match="details"):
            Notifier().register("e", callback, kwargs={"details": 5})

    def test_errors_are_looked_for_in_this_order(self):
        n = notifier.RestrictedNotifier(["e"])
        with pytest.raises(ValueError, match="callback"):
            n.register("x", 5, details_filter=5, kwargs={"details": 5})
        with pytest.raises(ValueError, match="filter"):
            n.register("x", callback, details_filter=5, kwargs={"details": 5})
        with pytest.raises(ValueError, match="'x'"):
            n.register("x", callback, kwargs={"details": 5})
        n.register("e", callback)
        with pytest.raises(ValueError, match="already"):
            n.register("e", callback, kwargs={"details": 5})

    def test_bound_methods_of_one_object_are_the_same(self, recorder):
        n = Notifier()
        n.register("e", recorder.hear)
        with pytest.raises(ValueError, match="already"):
            n.register("e", recorder.hear)
        n.register("e", Recorder().hear)
        assert n.is_registered("e", recorder.hear)

    def test_is_registered(self):
        n = Notifier()
        n.register("e", callback, details_filter=picky)
        assert n.is_registered("e", callback, details_filter=picky)
        assert not n.is_registered("e", callback)
        assert not n.is_registered("f", callback, details_filter=picky)

    def test_an_empty_notifier_is_false(self):
        n = Notifier()
        assert not n
        n.register("e", callback)
        assert n

    def test_everything_may_be_registered(self):
        n = Notifier()
        for event in ("e", 5, None, ("a", "b"), Notifier.ANY):
            assert n.can_be_registered(event)
            n.register(event, callback)
        assert n.can_trigger_notification("e")
        assert not n.can_trigger_notification(Notifier.ANY)


class TestDeregister:
    def test_one(self):
        n = Notifier()
        n.register("e", callback)
        n.register("e", callback, details_filter=picky)
        assert n.deregister("e", callback, details_filter=picky) is True
        assert n.deregister("e", callback, details_filter=picky) is False
        assert n.is_registered("e", callback)
        assert n.deregister("unknown", callback) is False
        assert n.deregister("e", other_callback) is False

    def test_event(self):
        n = Notifier()
        n.register("e", callback)
        n.register("e", other_callback)
        n.register(Notifier.ANY, callback)
        assert n.deregister_event("unknown") == 0
        assert n.deregister_event(Notifier.ANY) == 1
        assert n.deregister_event("e") == 2
        assert n.deregister_event("e") == 0
        assert len(n) == 0

    def test_reset(self):
        n = Notifier()
        n.register("e", callback)
        n.reset()
        assert len(n) == 0
        assert not n.is_registered("e", callback)
        n.register("e", callback)

    def test_listeners_iter(self):
        n = Notifier()
        n.register("e", callback)
        n.register("f", callback, args=[1])
        n.register("f", other_callback)
        n.register("g", callback)
        n.deregister("g", callback)
        found = dict(n.listeners_iter())
        assert {event: [x.callback for x in listeners] for event, listeners in found.items()} == {
            "e": [callback],
            "f": [callback, other_callback],
        }
        assert type(found["f"]) is list


class TestNotify:
    def test_arguments(self, recorder):
        n = Notifier()
        n.register("e", recorder.hear, args=[1, 2], kwargs={"a": 3})
        assert n.notify("e", {"d": 4}) is None
        assert recorder.calls == [("e", (1, 2), {"a": 3}, {"d": 4})]

    def test_listeners_of_any_come_first(self):
        n = Notifier()
        heard = []

        def note(name, event_type, details):
            heard.append(name)

        for event, name in [("e", "e1"), (Notifier.ANY, "any1"), ("e", "e2"), (Notifier.ANY, "any2"), ("f", "f")]:
            n.register(event, functools.partial(note, name))
        n.notify("e", None)
        assert heard == ["any1", "any2", "e1", "e2"]

    def test_registered_twice_is_called_twice(self, recorder):
        n = Notifier()
        n.register("e", recorder.hear)
        n.register(Notifier.ANY, recorder.hear)
        n.notify("e", {})
        assert recorder.events() == ["e", "e"]

    def test_any_itself_can_not_be_notified(self, recorder):
        n = Notifier()
        n.register(Notifier.ANY, recorder.hear)
        n.notify(Notifier.ANY, {})
        assert recorder.calls == []

    def test_any_event_may_be_notified(self, recorder):
        n = Notifier()
        n.notify(["not hashable"], {})
        n.register(Notifier.ANY, recorder.hear)
        n.notify(["not hashable"], {})
        n.notify("never registered", {})
        assert recorder.events() == [["not hashable"], "never registered"]

    @pytest.mark.parametrize("details", [None, {}])
    def test_no_details_are_an_empty_dictionary(self, recorder, details):
        n = Notifier()
        n.register("e", recorder.hear)
        n.notify("e", details)
        assert recorder.calls[0][3] == {}

    def test_each_gets_its_own_copy(self, recorder):
        def spoil(event_type, details):
            details["spoiled"] = True
            details["shared"].append(1)

        n = Notifier()
        n.register("e", spoil)
        n.register("e", recorder.hear)
        given = {"shared": []}
        n.notify("e", given)
        assert recorder.calls[0][3] == {"shared": [1]}
        assert given == {"shared": [1]}

    def test_filters(self, recorder):
        n = Notifier()
        n.register("e", recorder.hear, details_filter=picky)
        n.notify("e", {"wanted": 0})
        n.notify("e", {"wanted": 1})
        n.notify("e", None)
        assert [call[3] for call in recorder.calls] == [{"wanted": 1}]

    def test_errors_are_logged_and_do_not_stop_the_others(self, recorder):
        def fail(*args, **kwargs):
            raise ValueError("x")

        n = Notifier()
        n.register("e", fail)
        n.register("e", callback, details_filter=fail)
        n.register("e", recorder.hear)
        with mock.patch.object(notifier.LOG, "warning") as warning:
            n.notify("e", {})
        assert recorder.events() == ["e"]
        assert warning.call_count == 2
        assert all(call.kwargs["exc_info"] for call in warning.call_args_list)

    def test_the_log_line(self, recorder, caplog):
        def fail(event_type, details):
            raise ValueError("the reason")

        n = Notifier()
        n.register("my-event", fail)
        n.notify("my-event", {})
        (record,) = caplog.records
        assert record.name == "taskflow.types.notifier"
        assert record.levelname == "WARNING"
        assert "my-event" in record.getMessage()
        assert "the reason" in str(record.exc_info[1])

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_exits_pass_through(self, kind):
        def leave(event_type, details):
            raise kind

        n = Notifier()
        n.register("e", leave)
        with pytest.raises(kind):
            n.notify("e", {})

    def test_receivers_are_fixed_before_the_first_call(self, recorder):
        n = Notifier()

        def change(event_type, details):
            n.register("e", recorder.hear)
            n.deregister("e", callback_to_remove)

        removed = Recorder()
        callback_to_remove = removed.hear
        n.register("e", change)
        n.register("e", callback_to_remove)
        n.notify("e", {})
        assert recorder.calls == []
        assert removed.events() == ["e"]
        assert n.is_registered("e", recorder.hear)
        assert not n.is_registered("e", callback_to_remove)


class TestHasListeners:
    def test_is_true_when_somebody_would_hear(self):
        n = Notifier()
        assert not n.has_listeners("e")
        n.register("e", callback)
        assert n.has_listeners("e")
        assert not n.has_listeners("f")
        n.deregister("e", callback)
        assert not n.has_listeners("e")
        n.register(Notifier.ANY, callback)
        assert n.has_listeners("f")

    def test_nobody_can_hear_any_itself(self):
        n = Notifier()
        n.register(Notifier.ANY, callback)
        assert not n.has_listeners(Notifier.ANY)


class TestRegistrationWarning:
    @pytest.mark.parametrize(
        "bad",
        [
            lambda event_type: None,
            lambda: None,
            lambda event_type, data: None,
            lambda details, /: None,
            lambda *args: None,
            type("Callable", (), {"__call__": lambda self, event_type: None})(),
        ],
    )
    def test_of_what_can_not_take_details(self, bad, caplog):
        with mock.patch.object(notifier.LOG, "warning") as warning:
            Notifier().register("e", bad)
        assert warning.call_count == 0
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "details" in record.getMessage()

    @pytest.mark.parametrize(
        "good",
        [
            callback,
            Recorder().hear,
            lambda event_type, details: None,
            lambda event_type, *, details: None,
            lambda event_type, details=None: None,
            lambda *args, **kwargs: None,
            functools.partial(lambda a, event_type, details: None, 1),
            mock.Mock(),
            print,
            dict,
            type("Callable", (), {"__call__": lambda self, event_type, details: None})(),
        ],
    )
    def test_not_of_others(self, good, caplog):
        Notifier().register("e", good)
        assert caplog.records == []


class TestCopies:
    def test_copy_has_the_same_listeners_and_is_independent(self):
        n = Notifier()
        n.register("e", callback)
        duplicate = n.copy()
        assert type(duplicate) is Notifier
        assert dict(duplicate.listeners_iter())["e"][0] is dict(n.listeners_iter())["e"][0]
        n.register("f", callback)
        duplicate.deregister("e", callback)
        assert [event for event, _ in n.listeners_iter()] == ["e", "f"]
        assert len(duplicate) == 0

    def test_new_notifiers_share_nothing(self):
        one, other = Notifier(), Notifier()
        one.register("e", callback)
        assert len(other) == 0
        assert len(Notifier()) == 0

    @pytest.mark.parametrize("make", [Notifier, lambda: notifier.RestrictedNotifier(["e"], allow_any=False)])
    @pytest.mark.parametrize(
        "duplicate",
        [Notifier.copy, copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))],
        ids=["copy()", "copy", "deepcopy", "pickle"],
    )
    def test_all_ways_of_copying(self, make, duplicate):
        n = make()
        n.register("e", callback, args=[1], kwargs={"a": 2}, details_filter=picky)
        twin = duplicate(n)
        assert type(twin) is type(n)
        assert twin.is_registered("e", callback, details_filter=picky)
        assert dict(twin.listeners_iter())["e"][0].args == (1,)
        assert dict(twin.listeners_iter())["e"][0].kwargs == {"a": 2}
        assert twin.can_be_registered("x") == n.can_be_registered("x")
        twin.reset()
        assert len(n) == 1
        assert duplicate(twin).is_registered("e", callback) is False


class TestRestricted:
    def test_only_the_given_events(self):
        n = notifier.RestrictedNotifier(iter(["a", "b"]))
        assert sorted(n.events_iter()) == ["a", "b"]
        assert n.can_be_registered("a")
        assert n.can_be_registered(Notifier.ANY)
        assert not n.can_be_registered("c")
        n.register("a", callback)
        with pytest.raises(ValueError, match="'c'"):
            n.register("c", callback)

    def test_any_may_be_forbidden(self):
        n = notifier.RestrictedNotifier(["a"], allow_any=False)
        assert not n.can_be_registered(Notifier.ANY)
        with pytest.raises(ValueError, match=r"\*"):
            n.register(Notifier.ANY, callback)

    def test_notify_is_not_restricted(self, recorder):
        n = notifier.RestrictedNotifier(["a"])
        n.register(Notifier.ANY, recorder.hear)
        n.notify("undeclared", {})
        assert recorder.events() == ["undeclared"]


class TestListener:
    def test_properties(self):
        listener = Listener(callback, args=[1], kwargs={"a": 2}, details_filter=picky)
        assert listener.callback is callback
        assert listener.details_filter is picky
        assert listener.args == (1,)
        assert listener.kwargs == {"a": 2}
        listener.kwargs["b"] = 3
        assert listener.kwargs == {"a": 2}
        assert Listener(callback).args == ()
        assert Listener(callback).kwargs == {}

    def test_call(self, recorder):
        listener = Listener(recorder.hear, args=[1], kwargs={"a": 2}, details_filter=picky)
        listener("e", {"wanted": False})
        listener("e", {"wanted": True})
        assert recorder.calls == [("e", (1,), {"a": 2}, {"wanted": True})]

    def test_equality(self):
        listener = Listener(callback)
        assert listener == Listener(callback, args=[1])
        assert not listener != Listener(callback, args=[1])  # noqa: SIM202 - both operators are looked at
        assert listener != Listener(other_callback)
        assert listener != Listener(callback, details_filter=picky)
        assert Listener(callback, details_filter=picky) == Listener(callback, details_filter=picky)
        assert Listener(callback, details_filter=picky) != Listener(callback, details_filter=callback)

    @pytest.mark.parametrize("foreign", [None, 5, callback, object()])
    def test_a_foreign_object_is_different(self, foreign):
        assert Listener(callback) != foreign
        assert not Listener(callback) == foreign  # noqa: SIM201 - both operators are looked at

    def test_unhashable(self):
        with pytest.raises(TypeError):
            hash(Listener(callback))

    def test_repr(self):
        listener = Listener(callback)
        assert repr(listener) == f"<Listener object at 0x{id(listener):x} calling into '{callback!r}'>"
        listener = Listener(callback, details_filter=picky)
        assert repr(listener) == (
            f"<Listener object at 0x{id(listener):x} calling into '{callback!r}' using details filter '{picky!r}'>"
        )


class TestRegisterDeregister:
    def test_is_registered_inside_only(self):
        n = Notifier()
        with notifier.register_deregister(n, "e", callback, args=[1], details_filter=picky) as given:
            assert given is None
            assert n.is_registered("e", callback, details_filter=picky)
        assert len(n) == 0

    def test_also_when_the_body_raises(self):
        n = Notifier()
        with pytest.raises(ValueError, match="body"), notifier.register_deregister(n, "e", callback):
            raise ValueError("body")
        assert len(n) == 0

    def test_without_callback_nothing_happens(self):
        n = mock.Mock()
        with notifier.register_deregister(n, "e"):
            pass
        assert n.mock_calls == []

    def test_an_error_of_the_registration_propagates(self):
        n = Notifier()
        n.register("e", callback)
        with pytest.raises(ValueError, match="already"), notifier.register_deregister(n, "e", callback):
            pytest.fail("the body must not run")
        assert n.is_registered("e", callback)


def test_registration_removal_and_delivery_at_the_same_time():
    n = Notifier()
    kept = Recorder()
    n.register("e", kept.hear)
    problems = []
    start = threading.Barrier(5)

    def churn():
        own = Recorder()
        start.wait()
        for _ in range(300):
            n.register("e", own.hear)
            if not n.is_registered("e", own.hear):
                problems.append("lost a registration")
            if not n.deregister("e", own.hear):
                problems.append("lost a removal")

    def tell():
        start.wait()
        for _ in range(300):
            n.notify("e", {})

    threads = [threading.Thread(target=churn) for _ in range(4)] + [threading.Thread(target=tell)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(n) == 1
    assert len(kept.calls) == 300


def test_callbacks_are_compared_outside_of_the_lock():
    n = Notifier()

    class Nosy:
        def __call__(self, event_type, details):
            pass

        def __eq__(self, other):
            n.register(("compared", id(other), len(n)), callback)
            return False

        __hash__ = None

    n.register("e", Nosy())
    finished = threading.Event()

    def register():
        with pytest.raises(ValueError, match="already"):
            while True:
                n.register("once", callback)
        Notifier().register("e", Nosy())
        finished.set()

    thread = threading.Thread(target=register, daemon=True)
    thread.start()
    thread.join(10)
    assert finished.is_set()
    assert n.is_registered("once", callback)
