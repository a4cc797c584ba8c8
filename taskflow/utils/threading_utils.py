# SPDX-License-Identifier: Apache-2.0
"""How are helper threads made, started and stopped together?"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    ThreadFactory = Callable[[], threading.Thread]
    ThreadCallback = Callable[[threading.Thread], object]


def get_ident() -> int:
    """Tells the identifier of the current thread.

    Returns:
        The identifier.
    """
    return threading.get_ident()


def is_alive(thread: threading.Thread | None) -> bool:
    """Tells whether a thread runs.

    Args:
        thread: the thread; there may be none.

    Returns:
        Whether there is one that was started and did not end yet.
    """
    return bool(thread) and thread.is_alive()  # type: ignore[union-attr]


def get_optimal_thread_count(default: int = 2) -> int:
    """Tells how many threads keep this machine busy.

    Args:
        default: what to return when the number of processors is not known.

    Returns:
        One more than there are processors.
    """
    processors = os.cpu_count()
    return default if processors is None else processors + 1


def daemon_thread(target: Callable[..., object], *args: Any, **kwargs: Any) -> threading.Thread:
    """Makes a thread that does not keep the program alive.

    Args:
        target: what it calls.
        args: positional arguments for it.
        kwargs: keyword arguments for it.

    Returns:
        The thread, not started yet.
    """
    return threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)


def no_op(*args: Any, **kwargs: Any) -> None:
    """Does nothing.

    Args:
        args: ignored.
        kwargs: ignored.
    """


class _Bound:
    """One thread of a bundle: how to make it and what to call around it."""

    __slots__ = ("after_join", "after_start", "before_join", "before_start", "factory", "thread")

    def __init__(
        self,
        factory: ThreadFactory,
        before_start: ThreadCallback,
        after_start: ThreadCallback,
        before_join: ThreadCallback,
        after_join: ThreadCallback,
    ) -> None:
        self.factory = factory
        self.before_start = before_start
        self.after_start = after_start
        self.before_join = before_join
        self.after_join = after_join
        self.thread: threading.Thread | None = None


class ThreadBundle:
    """Threads that are started and stopped together.

    The callbacks must not call the methods of the bundle.
    """

    def __init__(self) -> None:
        self._bound: list[_Bound] = []
        # Serializes starting and stopping; it is held while the callbacks run, hence the restriction on them.
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._bound)

    def bind(
        self,
        thread_factory: ThreadFactory,
        before_start: ThreadCallback | None = None,
        after_start: ThreadCallback | None = None,
        before_join: ThreadCallback | None = None,
        after_join: ThreadCallback | None = None,
    ) -> None:
        """Adds a thread.

        Args:
            thread_factory: makes the (unstarted) thread each time that the bundle is started.
            before_start: called with the thread before it is started.
            after_start: called with the thread after it was started.
            before_join: called with the thread before it is joined; this is the place to tell it to end.
            after_join: called with the thread after it was joined.

        Raises:
            ValueError: one of them can not be called.
        """
        callbacks: list[ThreadCallback] = []
        for callback in (before_start, after_start, before_join, after_join):
            if callback is not None and not callable(callback):
                raise ValueError(f"The callbacks of a thread must be callable, {callback!r} is not")
            callbacks.append(no_op if callback is None else callback)
        if not callable(thread_factory):
            raise ValueError(f"The factory of a thread must be callable, {thread_factory!r} is not")  # noqa: TRY004
        with self._lock:
            self._bound.append(_Bound(thread_factory, *callbacks))

    def start(self) -> int:
        """Starts those threads that are not started yet, in the order in which they were added.

        Returns:
            How many were started.
        """
        started = 0
        with self._lock:
            for bound in self._bound:
                if bound.thread is None:
                    thread = bound.factory()
                    bound.before_start(thread)
                    thread.start()
                    # Noted first: if the callback fails, the thread runs nevertheless and must be stopped.
                    bound.thread = thread
                    started += 1
                    bound.after_start(thread)
        return started

    def stop(self) -> int:
        """Joins those threads that are started, in the reverse order.

        Returns:
            How many were joined.
        """
        stopped = 0
        with self._lock:
            for bound in reversed(self._bound):
                if bound.thread is not None:
                    thread = bound.thread
                    bound.before_join(thread)
                    thread.join()
                    bound.thread = None
                    stopped += 1
                    bound.after_join(thread)
        return stopped
