# SPDX-License-Identifier: Apache-2.0
"""Who wants to hear about which event, and how is it told to them?"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from taskflow import logging
from taskflow.utils import names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
    from typing import Self

    Callback = Callable[..., object]
    Filter = Callable[[dict[str, Any]], object]
    Topics = Mapping[Hashable, tuple["Listener", ...]]

LOG = logging.getLogger(__name__)

# Guards the exchange of a notifier's listeners, which is one comparison and one assignment. Held that briefly, it can
# be shared by all notifiers: a lock in each would make every task larger, slower to make and impossible to pickle.
_EXCHANGE = threading.Lock()

_CO_VARKEYWORDS = 0x08


class Listener:
    """A callback together with what it is called with.

    Args:
        callback: called as ``callback(event_type, *args, **kwargs, details=details)``.
        args: positional arguments after the event type.
        kwargs: keyword arguments.
        details_filter: the callback is only called when ``details_filter(details)`` is true.
    """

    __slots__ = ("__weakref__", "_args", "_callback", "_details_filter", "_kwargs")

    def __init__(
        self,
        callback: Callback,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        details_filter: Filter | None = None,
    ) -> None:
        self._callback = callback
        self._details_filter = details_filter
        self._args: tuple[Any, ...] = tuple(args) if args else ()
        self._kwargs: dict[str, Any] = dict(kwargs) if kwargs else {}

    @property
    def callback(self) -> Callback:
        """What is called."""
        return self._callback

    @property
    def details_filter(self) -> Filter | None:
        """Decides by the details of an event whether the callback is called."""
        return self._details_filter

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments for the callback."""
        return self._args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments for the callback (a copy)."""
        return self._kwargs.copy()

    def __call__(self, event_type: Hashable, details: dict[str, Any]) -> None:
        """Calls the callback, unless the filter is against it.

        Args:
            event_type: the event.
            details: what is known about it, given on as it is.
        """
        if self._details_filter is None or self._details_filter(details):
            self._callback(event_type, *self._args, details=details, **self._kwargs)

    def is_equivalent(self, callback: Callback, details_filter: Filter | None = None) -> bool:
        """Tells whether this listener has that callback and that filter.

        Args:
            callback: the callback to compare with.
            details_filter: the filter to compare with.

        Returns:
            ``True`` when both are the same; the arguments do not matter.
        """
        if not names.same_callback(self._callback, callback):
            return False
        if self._details_filter is None or details_filter is None:
            return self._details_filter is details_filter
        return names.same_callback(self._details_filter, details_filter)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Listener):
            return NotImplemented
        return self.is_equivalent(other._callback, other._details_filter)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        text = f"<{type(self).__name__} object at 0x{id(self):x} calling into '{self._callback!r}'"
        if self._details_filter is not None:
            text += f" using details filter '{self._details_filter!r}'"
        return text + ">"


def _takes_details(callback: Callback) -> bool:
    """Tells whether the callback can be given ``details`` by name; in doubt it can.

    Only code objects are looked at, as `inspect` would cost a first run more than the rest of its listeners.
    """
    target: Any = callback
    if not hasattr(target, "__code__"):
        target = getattr(target, "__func__", None) or getattr(type(target).__call__, "__func__", type(target).__call__)
    code = getattr(target, "__code__", None)
    if code is None or code.co_flags & _CO_VARKEYWORDS:
        return True
    return "details" in code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]


class Notifier:
    """Tells events to those who registered for them.

    Delivery and registration may happen at the same time in different threads: the listeners of all events are kept in
    mappings and tuples that are never changed, only exchanged, so who delivers needs no lock.
    """

    # Keyword arguments that a listener can not have, as the notifier itself gives them.
    RESERVED_KEYS = ("details",)

    # Registered under this name, a listener hears all events.
    ANY = "*"

    # Shared by all notifiers until something is registered, so that making one costs nothing.
    _topics: Topics = {}

    def __len__(self) -> int:
        return sum(map(len, self._topics.values()))

    def _exchange(self, known: Topics, event_type: Hashable, listeners: tuple[Listener, ...]) -> bool:
        """Gives an event other listeners, unless somebody else changed anything since ``known`` was read."""
        topics = dict(known)
        if listeners:
            topics[event_type] = listeners
        else:
            topics.pop(event_type, None)
        with _EXCHANGE:
            if self._topics is not known:
                return False
            self._topics = topics
            return True

    def has_listeners(self, event_type: Hashable) -> bool:
        """Tells whether anybody would hear the event; cheap, so that nobody prepares details in vain.

        Args:
            event_type: the event.

        Returns:
            ``True`` when at least one listener is registered for it or for any event.
        """
        topics = self._topics
        if not topics:
            return False
        return (event_type in topics or self.ANY in topics) and self.can_trigger_notification(event_type)

    def is_registered(self, event_type: Hashable, callback: Callback, details_filter: Filter | None = None) -> bool:
        """Tells whether the callback is registered for the event.

        Args:
            event_type: the event.
            callback: the callback.
            details_filter: the filter that it was registered with.

        Returns:
            ``True`` when it is.
        """
        return any(known.is_equivalent(callback, details_filter) for known in self._topics.get(event_type, ()))

    def reset(self) -> None:
        """Forgets all listeners."""
        with _EXCHANGE:
            self._topics = {}

    def notify(self, event_type: Hashable, details: dict[str, Any] | None) -> None:
        """Tells an event to those who want to hear it; an error of one of them is logged and does not stop the others.

        Args:
            event_type: the event.
            details: what is known about it; each receiver gets a shallow copy.
        """
        topics = self._topics
        if not topics:
            return
        if not self.can_trigger_notification(event_type):
            LOG.debug("Event '%s' can not be triggered, nobody is notified", event_type)
            return
        receivers = topics.get(self.ANY, ())
        try:  # noqa: SIM105 - a context manager for each event would cost more than the event
            receivers += topics.get(event_type, ())
        except TypeError:  # nothing can be registered for what is not hashable
            pass
        if not details:
            details = {}
        for listener in receivers:
            try:
                listener(event_type, details.copy())
            except Exception:
                LOG.warning(
                    "Failed to call %r about event '%s' with details %r", listener, event_type, details, exc_info=True
                )

    def register(
        self,
        event_type: Hashable,
        callback: Callback,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        details_filter: Filter | None = None,
    ) -> None:
        """Registers a callback for an event.

        Args:
            event_type: the event, or `ANY`.
            callback: called as ``callback(event_type, *args, **kwargs, details=details)``.
            args: positional arguments after the event type.
            kwargs: keyword arguments.
            details_filter: the callback is only called when ``details_filter(details)`` is true.

        Raises:
            ValueError: something that must be callable is not, the event can not be registered for, or the same
                callback with the same filter is registered for it already.
            KeyError: ``kwargs`` contain a name of `RESERVED_KEYS`.
        """
        if not callable(callback):
            raise ValueError(f"The callback for event '{event_type}' must be callable, {callback!r} is not")  # noqa: TRY004 - the documented type
        if details_filter is not None and not callable(details_filter):
            raise ValueError(f"The details filter for event '{event_type}' must be callable, {details_filter!r} is not")
        if not self.can_be_registered(event_type):
            raise ValueError(f"Event '{event_type}' can not be registered for")
        listener = None
        while True:
            topics = self._topics
            present = topics.get(event_type, ())
            if any(known.is_equivalent(callback, details_filter) for known in present):
                raise ValueError(
                    f"Callback {callback!r} is registered for event '{event_type}' already; deregister it first"
                )
            if listener is None:
                for key in self.RESERVED_KEYS:
                    if kwargs and key in kwargs:
                        raise KeyError(f"Reserved key '{key}' can not be among the keyword arguments of a callback")
                listener = Listener(callback, args=args, kwargs=kwargs, details_filter=details_filter)
                if not _takes_details(callback):
                    # By ``log``, as ``warning`` is the channel of failed deliveries, one call for each.
                    LOG.log(
                        logging.WARNING,
                        "Callback %r for event '%s' does not take the keyword argument 'details': calling it will fail",
                        callback,
                        event_type,
                    )
            if self._exchange(topics, event_type, (*present, listener)):
                return

    def deregister(self, event_type: Hashable, callback: Callback, details_filter: Filter | None = None) -> bool:
        """Removes one callback from an event.

        Args:
            event_type: the event.
            callback: the callback.
            details_filter: the filter that it was registered with.

        Returns:
            Whether there was something to remove.
        """
        while True:
            topics = self._topics
            present = topics.get(event_type, ())
            found = next((i for i, known in enumerate(present) if known.is_equivalent(callback, details_filter)), None)
            if found is None:
                return False
            if self._exchange(topics, event_type, present[:found] + present[found + 1 :]):
                return True

    def deregister_event(self, event_type: Hashable) -> int:
        """Removes all callbacks from an event.

        Args:
            event_type: the event; `ANY` stands only for those who registered for any.

        Returns:
            How many there were.
        """
        while True:
            topics = self._topics
            present = topics.get(event_type, ())
            if not present or self._exchange(topics, event_type, ()):
                return len(present)

    def copy(self) -> Self:
        """Makes a notifier with the same listeners; later changes of one do not show in the other.

        Returns:
            The copy.
        """
        duplicate = type(self).__new__(type(self))
        duplicate.__dict__.update(self.__dict__)
        return duplicate

    def listeners_iter(self) -> Iterator[tuple[Hashable, list[Listener]]]:
        """Goes through the events that have listeners.

        Yields:
            Pairs of an event and the list of its listeners.
        """
        for event_type, listeners in self._topics.items():
            yield event_type, list(listeners)

    def can_be_registered(self, event_type: Hashable) -> bool:  # noqa: ARG002 - subclasses decide by it
        """Tells whether callbacks may be registered for the event.

        Args:
            event_type: the event.

        Returns:
            ``True``, as a plain notifier takes all.
        """
        return True

    def can_trigger_notification(self, event_type: Hashable) -> bool:
        """Tells whether the event may be notified.

        Args:
            event_type: the event.

        Returns:
            ``True`` for all but `ANY`.
        """
        return event_type != self.ANY


class RestrictedNotifier(Notifier):
    """A notifier with a fixed set of events to register for.

    Args:
        watchable_events: the events.
        allow_any: whether `ANY` can be registered for too.
    """

    def __init__(self, watchable_events: Iterable[Hashable], allow_any: bool = True) -> None:
        super().__init__()
        # A given frozenset is taken as it is: the notifiers of thousands of tasks then share one.
        self._watchable_events: Collection[Hashable] = frozenset(watchable_events)
        self._allow_any = allow_any

    def events_iter(self) -> Iterator[Hashable]:
        """Goes through the events that can be registered for.

        Yields:
            The events, in no particular order; never `ANY`.
        """
        yield from self._watchable_events

    def can_be_registered(self, event_type: Hashable) -> bool:
        """Tells whether callbacks may be registered for the event.

        Args:
            event_type: the event.

        Returns:
            ``True`` for the given events, and for `ANY` where that is allowed.
        """
        return event_type in self._watchable_events or (event_type == self.ANY and self._allow_any)


@contextlib.contextmanager
def register_deregister(
    notifier: Notifier,
    event_type: Hashable,
    callback: Callback | None = None,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    details_filter: Filter | None = None,
) -> Iterator[None]:
    """Keeps a callback registered while the body of a ``with`` statement runs.

    Args:
        notifier: where to register it.
        event_type: the event.
        callback: the callback; ``None`` registers nothing.
        args: positional arguments after the event type.
        kwargs: keyword arguments.
        details_filter: decides by the details whether the callback is called.

    Yields:
        ``None``.
    """
    if callback is None:
        yield
        return
    notifier.register(event_type, callback, args=args, kwargs=kwargs, details_filter=details_filter)
    try:
        yield
    finally:
        notifier.deregister(event_type, callback, details_filter=details_filter)
