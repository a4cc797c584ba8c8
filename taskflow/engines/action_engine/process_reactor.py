# SPDX-License-Identifier: Apache-2.0
"""Which threads wait for worker processes, and which one calls what listens to their tasks?"""

from __future__ import annotations

import collections
import heapq
import itertools
import selectors
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from taskflow import logging

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)


class Reactor:
    """A thread that waits for sockets, other descriptors and points in time, and does what is to be done then.

    All that it calls runs on that thread, one after the other, so that what only it touches needs no lock.

    Args:
        tick: The longest time, in seconds, that it waits at once.
    """

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._calls: collections.deque[tuple[Callable[..., Any], tuple[Any, ...]]] = collections.deque()
        self._timers: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._awake = False
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
        # A daemon: a program that leaves a run in the middle must be able to end.
        self._thread = threading.Thread(target=self._run, name="taskflow-processes", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and let go of everything; not to be called by the thread itself."""
        self.call(self._finish)
        self._thread.join()

    def abandon(self) -> None:
        """Close the copies of all descriptors in a process that was forked off, where the thread does not exist."""
        self._close()

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Have something called by the thread; may be used by any thread.

        Args:
            function: What to call.
            args: What with.
        """
        self._calls.append((function, args))
        if not self._awake:
            self._awake = True
            try:
                self._button.send(b"\0")
            except OSError:
                return  # it is being rung already, or is over

    def later(self, seconds: float, function: Callable[..., Any], *args: Any) -> None:
        """Have something called after a while.

        Args:
            seconds: How long.
            function: What to call.
            args: What with.
        """
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), function, args))

    def watch(self, source: Any, events: int, function: Callable[[int], None]) -> None:
        """Have something called whenever a descriptor is ready.

        Args:
            source: The descriptor, or what has one.
            events: What to be ready for; 0 for nothing.
            function: Called with what it is ready for.
        """
        known = self._selector.get_map().get(source)
        if known is None:
            if events:
                self._selector.register(source, events, function)
        elif not events:
            self._selector.unregister(source)
        elif known.events != events:
            self._selector.modify(source, events, function)

    def unwatch(self, source: Any) -> None:
        """Watch a descriptor no more.

        Args:
            source: The descriptor, or what has one.
        """
        if self._selector.get_map().get(source) is not None:
            self._selector.unregister(source)

    def _run(self) -> None:
        # Processes started by this thread inherit this, until they have said what they do about it themselves.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._over:
            for key, events in self._selector.select(self._patience()):
                # What was called before may have ended the watch of this one.
                if self._selector.get_map().get(key.fd) is key:
                    self._do(key.data, (events,))
            for _ in range(len(self._calls)):
                self._do(*self._calls.popleft())
            while self._timers and self._timers[0][0] <= time.monotonic():
                _, _, function, args = heapq.heappop(self._timers)
                self._do(function, args)
        self._close()

    def _patience(self) -> float:
        if self._calls:
            return 0.0
        if not self._timers:
            return self._tick
        return max(0.0, min(self._tick, self._timers[0][0] - time.monotonic()))

    def _do(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except BaseException:
            # Whatever goes wrong about one process, the others are still to be looked after.
            LOG.exception("Failed to call %r while looking after worker processes", function)

    def _on_bell(self, _events: int) -> None:
        self._bell.recv(4096)
        self._awake = False

    def _finish(self) -> None:
        self._over = True

    def _close(self) -> None:
        self._awake = True
        self._selector.close()
        self._bell.close()
        self._button.close()


class Courier:
    """A thread that calls what listens to tasks, so that a slow listener holds up the deliveries and nothing else.

    It is started when there is something to deliver.
    """

    def __init__(self) -> None:
        import queue

        self._queue: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Have something called, after all that was asked for before.

        Args:
            function: What to call.
            args: What with.
        """
        self._queue.put((function, args))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="taskflow-process-events", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after what it has to deliver."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (asked := self._queue.get()) is not None:
            function, args = asked
            try:
                function(*args)
            except BaseException:
                LOG.exception("Failed to call %r while delivering from worker processes", function)
            # Waiting for the next must not keep alive what belonged to this one.
            del asked, function, args
