# SPDX-License-Identifier: Apache-2.0
"""What does a worker process do, from its first moment to its last?"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import task as tasks
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import process_pickles as pickles
from taskflow.engines.action_engine import process_wire as wire
from taskflow.types import failure as failures
from taskflow.types import notifier as notifiers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How often a process looks for its parent where it can not be told that it ended, in seconds.
_LOOK_EVERY = 0.5

# Set for as long as a process that was forked off keeps the value: threads are not inherited.
_watching_in: int | None = None


class _Forwarder:
    """Sends the events of one task to the engine's process until the task has ended."""

    def __init__(self, line: wire.Line, number: int) -> None:
        self._line = line
        self._number = number
        self._lock = threading.Lock()
        self._open = True

    def __call__(self, event_type: Any, details: Any) -> None:
        try:
            kind, payload = wire.EVENT, pickles.pack_event(event_type, details)
        except pickle.PicklingError as e:
            kind, payload = wire.DROPPED, f"{event_type!r}: {e}".encode(errors="backslashreplace")
        # Nobody there to hear is no reason to fail: the process ends with its parent anyway.
        with self._lock, contextlib.suppress(OSError):
            if self._open:
                self._line.send(kind, self._number, payload)

    def close(self) -> None:
        """Send no more: threads that the task has left behind may go on talking."""
        with self._lock:
            self._open = False

    def without_progress(self, event_type: Any, details: Any) -> None:
        """Send an event unless it goes by way of the progress hook."""
        if event_type != tasks.EVENT_UPDATE_PROGRESS:
            self(event_type, details)


def _listen(task: Any, events: tuple[Any, ...], forwarder: _Forwarder) -> Any:
    """Have events of a task forwarded; returns what is to be its progress hook."""
    hooked = tasks.EVENT_UPDATE_PROGRESS in task.TASK_EVENTS
    if notifiers.Notifier.ANY in events:
        task.notifier.register(notifiers.Notifier.ANY, forwarder.without_progress if hooked else forwarder)
    else:
        for event_type in events:
            if event_type != tasks.EVENT_UPDATE_PROGRESS:
                task.notifier.register(event_type, forwarder)
    return forwarder if hooked and events else None


def _do(task: Any, what: str, arguments: dict[str, Any], hook: Any) -> Any:
    """Execute or revert a task; returns what it returned, or the failure."""
    act = executors.revert if what == executors.REVERTED else executors.execute
    try:
        return act(task, arguments, hook)[1]
    except BaseException as e:
        # The wish to end the process, or whatever else only the main program can act upon.
        try:
            raise exc.ExecutionFailure(
                f"Task {task.name!r} raised {type(e).__name__}({e}) while being {what} in a worker process, where it "
                "ends the task only"
            ) from e
        except exc.ExecutionFailure:
            return failures.Failure()


def serve(line: wire.Line) -> bool:
    """Wait for a job, do it, and send what came of it.

    Args:
        line: The connection to the engine's process.

    Returns:
        Whether there was one.
    """
    message = line.receive()
    if message is None:
        return False
    _, number, payload = message
    try:
        what, task, arguments, events = pickles.unpack_work(payload)
    except Exception as e:
        line.send(wire.UNREADABLE, number, f"{type(e).__name__}: {e}".encode(errors="backslashreplace"))
        return True
    # Arguments may be large; once is enough while the task runs.
    del message, payload
    forwarder = _Forwarder(line, number)
    result = _do(task, what, arguments, _listen(task, events, forwarder))
    forwarder.close()
    line.send(wire.OUTCOME, number, pickles.pack_outcome(task.name, what, result))
    return True


def main(sock: socket.socket, parent: int) -> None:
    """Be a worker process of an engine's own until there is no more to do.

    Args:
        sock: The connection to the engine's process.
        parent: The id of that process.
    """
    # It began with the signal blocked, so there never was a moment in which an interrupt could hit it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sock.set_inheritable(False)
    _end_with(parent)
    line = wire.Line(sock)
    first = line.receive()
    if first is None:
        return
    try:
        _prepare(pickle.loads(first[2]))  # noqa: S301 - only the parent can have written it
    except BaseException:
        import traceback

        line.send(wire.BROKEN, 0, traceback.format_exc().encode(errors="backslashreplace"))
        sys.exit(1)
    line.send(wire.READY, 0)
    with contextlib.suppress(ConnectionError):
        while serve(line):
            pass


def visit(address: str, key: bytes, number: int) -> None:
    """Do one job in a process of a pool that is not the engine's own.

    Args:
        address: Where the engine's process listens.
        key: What proves that one was sent by it.
        number: The number of the job.
    """
    _end_with(os.getppid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(address)
        line = wire.Line(sock)
        # Jobs that were cancelled in the meantime, and engines that are gone, answer by silence.
        with _deaf_to_interrupts(), contextlib.suppress(ConnectionError):
            line.send(wire.HELLO, number, key)
            serve(line)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)


def _end_with(parent: int) -> None:
    """Have this process ended, whatever it is doing, when its parent is gone."""
    global _watching_in  # noqa: PLW0603
    if _watching_in == os.getpid():
        return
    _watching_in = os.getpid()
    descriptor: int | None = None
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(parent)
    threading.Thread(target=_watch, args=(parent, descriptor), name="taskflow-parent", daemon=True).start()


def _watch(parent: int, descriptor: int | None) -> None:
    if descriptor is not None and os.getppid() == parent:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        # Tasks may close descriptors that they know nothing about.
        while os.getppid() == parent and poll.poll() != [(descriptor, select.POLLNVAL)]:
            pass
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    # A task that went on would do so beside the one that is started when the flow is resumed.
    os._exit(1)


def _prepare(preparation: dict[str, Any]) -> None:
    """Become like the program that started this process, as a child of :mod:`multiprocessing` would."""
    from multiprocessing import process, spawn

    current: Any = process.current_process()
    # Says to everything that starts processes that the main module is being imported, and that it is not the time.
    current._inheriting = True
    try:
        with _without_exit_handlers_of_main():
            spawn.prepare(preparation)
    finally:
        del current._inheriting


@contextlib.contextmanager
def _without_exit_handlers_of_main() -> Iterator[None]:
    """Forget what the main module wants done at the exit of the program: this is not the program."""
    import atexit

    register = atexit.register
    recorded: list[Callable[..., Any]] = []
    importing = True

    def register_and_record(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if importing and sys._getframe(1).f_globals.get("__name__") == "__mp_main__":
            recorded.append(function)
        return register(function, *args, **kwargs)

    atexit.register = register_and_record
    try:
        yield
    finally:
        importing = False
        atexit.register = register
        for function in recorded:
            atexit.unregister(function)
