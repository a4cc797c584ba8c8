# SPDX-License-Identifier: Apache-2.0
"""How do threads take work from an engine, at as little cost as a hand-over between threads can have?

The standard pool makes a future with a condition for each piece of work and takes several locks to hand it over. An
engine asks less of a future (nobody waits for a single one), so here a future is a few fields and one lock, and work
travels through the C queue of the standard library.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Any

from taskflow import logging

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

_PENDING, _RUNNING, _CANCELLED, _FINISHED = range(4)


class ThreadFuture:
    """What will come of a piece of work; has the methods of ``concurrent.futures.Future``."""

    __slots__ = ("_args", "_callbacks", "_error", "_function", "_guard", "_result", "_state", "_waiters", "atom")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._guard = threading.Lock()
        self._state = _PENDING
        self._result: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], Any]] = []
        self._waiters: list[threading.Event] | None = None
        self.atom: Any = None

    def run(self) -> None:
        """Do the work, unless it was cancelled; called by a thread of the pool."""
        with self._guard:
            if self._state != _PENDING:
                return
            self._state = _RUNNING
        try:
            self._result = self._function(*self._args)
        except BaseException as e:
            self._error = e
        self._end(_FINISHED)

    def _end(self, state: int) -> None:
        with self._guard:
            self._state = state
            callbacks, self._callbacks = self._callbacks, []
            waiters = self._waiters
        # What was to be done is held no longer than it takes.
        self._function, self._args = _nothing, ()
        for waiter in waiters or ():
            waiter.set()
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                LOG.exception("A callback of a future failed: %r", callback)

    def cancel(self) -> bool:
        """Take the work back if it has not begun.

        Returns:
            Whether it will not be done.
        """
        with self._guard:
            if self._state != _PENDING:
                return self._state == _CANCELLED
            self._state = _CANCELLED
        self._end(_CANCELLED)
        return True

    def cancelled(self) -> bool:
        """Whether the work was taken back."""
        return self._state == _CANCELLED

    def running(self) -> bool:
        """Whether it is being done."""
        return self._state == _RUNNING

    def done(self) -> bool:
        """Whether it was done or taken back."""
        return self._state in (_CANCELLED, _FINISHED)

    def _wait(self, timeout: float | None) -> None:
        if not self.done():
            waiter = threading.Event()
            with self._guard:
                if self._waiters is None:
                    self._waiters = []
                self._waiters.append(waiter)
            if not self.done() and not waiter.wait(timeout) and not self.done():
                raise TimeoutError(f"Not done after {timeout} seconds")
        if self._state == _CANCELLED:
            import concurrent.futures

            raise concurrent.futures.CancelledError

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result.

        Args:
            timeout: How long at most, in seconds.

        Returns:
            What the function returned; what it raised is raised.

        Raises:
            TimeoutError: It took longer.
            CancelledError: It was taken back.
        """
        self._wait(timeout)
        if self._error is not None:
            raise self._error
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and give what was raised; ``None`` if nothing was."""
        self._wait(timeout)
        return self._error

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Have ``fn`` called with this future when it is done, at once if it is."""
        with self._guard:
            if not self.done():
                self._callbacks.append(fn)
                return
        fn(self)


def _nothing() -> None:
    return None


class ThreadPool:
    """Threads that do work in the order in which it is submitted; made as they are needed.

    Args:
        max_workers: How many at most; by default a few more than there are processors.

    Raises:
        ValueError: Not a positive number.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is None:
            max_workers = min(32, (os.cpu_count() or 1) + 4)
        if max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
        self._max_workers = max_workers
        self._work: queue.SimpleQueue[ThreadFuture | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        # Grows by one when a thread begins to wait for work, shrinks by one when work is handed over.
        self._idle = threading.Semaphore(0)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> ThreadFuture:
        """Have work done by one of the threads.

        Args:
            function: What to call.
            *args: What to call it with.

        Returns:
            A future of its result.

        Raises:
            RuntimeError: The pool was shut down.
        """
        if self._closed:
            raise RuntimeError("Cannot submit to a pool of threads that was shut down")
        future = ThreadFuture(function, args)
        if len(self._threads) < self._max_workers and not self._idle.acquire(blocking=False):
            self._grow()
        self._work.put(future)
        return future

    def _grow(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"taskflow-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no more threads to give: those that there are have to do.
            if not self._threads:
                raise
            LOG.warning("No more than %s threads can be started", len(self._threads), exc_info=True)
            self._max_workers = len(self._threads)
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        take = self._work.get
        while True:
            future = take()
            if future is None:
                return
            future.run()
            del future
            if len(self._threads) < self._max_workers:
                self._idle.release()

    def shutdown(self, wait: bool = True) -> None:
        """Take no more work, and let the threads end when all that was submitted is done.

        Args:
            wait: Whether to return only then.
        """
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
