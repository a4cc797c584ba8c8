# SPDX-License-Identifier: Apache-2.0
"""What becomes of one task that was handed to a worker process: its events, its outcome, its future?"""

from __future__ import annotations

import abc
import concurrent.futures
import itertools
import pickle
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging
from taskflow import task as tasks
from taskflow.engines.action_engine import process_pickles as pickles
from taskflow.engines.action_engine import process_wire as wire
from taskflow.types import failure as failures
from taskflow.types import notifier as notifiers

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from taskflow.engines.action_engine import process_reactor as reactors

LOG = logging.getLogger(__name__)

# Where a worker is made to wait until its events have been delivered, and where it may go on, in undelivered events.
_CROWDED = 512
_CLEAR = 128

_NUMBERS = itertools.count(1)


class TaskFuture(concurrent.futures.Future[tuple[str, Any]]):
    """The future of a task.

    Args:
        atom: The task.
    """

    def __init__(self, atom: Any) -> None:
        super().__init__()
        self.atom = atom


class Job:
    """One execution or reversion of one task.

    Args:
        task: The task.
        what: What is to be done with it; comes back with the outcome.
        arguments: For its method.
        progress_callback: Hears ``(event_type, details)`` of the progress that the task reports.

    Raises:
        PicklingError: The task or an argument can not be pickled.
    """

    def __init__(
        self,
        task: Any,
        what: str,
        arguments: Mapping[str, Any],
        progress_callback: Callable[[Any, dict[str, Any]], object] | None,
    ) -> None:
        self.number = next(_NUMBERS)
        self.task = task
        self.what = what
        self.future = TaskFuture(task)
        self.begun = False
        self.attempts = 0
        # Each is counted by one thread only, so neither needs a lock.
        self.told = 0
        self.delivered = 0
        self._progress_callback = progress_callback
        self._raised: BaseException | None = None
        notifier = task._notifier
        events = [] if notifier is None else [event_type for event_type, _ in notifier.listeners_iter()]
        if progress_callback is not None and tasks.EVENT_UPDATE_PROGRESS not in events:
            events.append(tasks.EVENT_UPDATE_PROGRESS)
        self.payload = pickles.pack_work(what, task, arguments, events)

    def begin(self) -> bool:
        """Note that it is about to be given to a worker.

        Returns:
            Whether it may be: it may have been cancelled.
        """
        if not self.begun:
            self.begun = self.future.set_running_or_notify_cancel()
        return self.begun

    def deliver(self, payload: bytes) -> None:
        """Tell an event of the task to those who listen here.

        Args:
            payload: The event.
        """
        try:
            event_type, details = pickles.unpack_event(payload)
        except Exception:
            LOG.warning(
                "An event of task '%s' is dropped: it can not be read outside of its worker process",
                self.task.name,
                exc_info=True,
            )
            return
        try:
            self._tell(event_type, details)
        except BaseException as e:
            # As if the listener had been called on the thread of a task: it comes out where the outcome would.
            self._raised = e

    def _tell(self, event_type: Any, details: dict[str, Any]) -> None:
        if event_type == tasks.EVENT_UPDATE_PROGRESS and self._progress_callback is not None:
            try:
                self._progress_callback(event_type, dict(details))
            except Exception:
                LOG.warning("The engine failed to take progress of task '%s'", self.task.name, exc_info=True)
        notifier: notifiers.Notifier | None = self.task._notifier
        if notifier is not None:
            notifier.notify(event_type, details)

    def drop(self, reason: bytes) -> None:
        """Say that an event can not be told.

        Args:
            reason: Which, and why.
        """
        LOG.warning("An event of task '%s' is dropped: %s", self.task.name, reason.decode(errors="replace"))

    def end(self, kind: int, payload: bytes) -> None:
        """Take what came of it.

        Args:
            kind: As what it came.
            payload: What came.
        """
        name = self.task.name
        try:
            if kind == wire.OUTCOME:
                self._settle(pickles.unpack_outcome(name, payload))
            else:
                self.refuse(
                    pickle.UnpicklingError(
                        f"Task {name!r} was sent to a worker process but could not be read there: "
                        f"{payload.decode(errors='replace')}. Its class, and what it holds, must be found by name in "
                        "modules that can be imported there"
                    )
                )
        except Exception:
            self._settle((self.what, failures.Failure()))

    def die(self, how: str) -> None:
        """Take that the process in which it ran is gone: the task failed.

        Args:
            how: What is known about that.
        """
        error = exc.ExecutionFailure(f"Task {self.task.name!r} was being {self.what} in a worker process that {how}")
        self._settle((self.what, failures.Failure.from_exception(error)))

    def refuse(self, error: BaseException) -> None:
        """Take that it can not begin: the task did nothing, so it did not fail, but whoever waits for it must know.

        Args:
            error: Why.
        """
        if self.begun or self.begin():
            self.payload = b""
            self.future.set_exception(error)

    def _settle(self, outcome: tuple[str, Any]) -> None:
        self.payload = b""
        if self._raised is not None:
            self.future.set_exception(self._raised)
        else:
            self.future.set_result(outcome)


class Session(abc.ABC):
    """The engine's end of the connection to one worker; lives on the thread of the reactor.

    Args:
        reactor: That thread.
        courier: Calls what listens to tasks.
        sock: The socket.
        limit: The largest payload, in bytes, that is taken; ``None`` for any.
    """

    def __init__(
        self,
        reactor: reactors.Reactor,
        courier: reactors.Courier,
        sock: socket.socket,
        limit: int | None = None,
    ) -> None:
        self.job: Job | None = None
        self._reactor = reactor
        self._courier = courier
        self.stream = wire.Stream(reactor, sock, self._on_message, self.on_end, limit)

    def give(self, job: Job) -> None:
        """Have a job done.

        Args:
            job: The job, which was begun.
        """
        self.job = job
        job.attempts += 1
        self.stream.send(wire.WORK, job.number, job.payload)

    def take_back(self) -> Job | None:
        """Have the job forgotten.

        Returns:
            The job, if there is one.
        """
        job, self.job = self.job, None
        return job

    def lose(self, how: str) -> None:
        """Let the job end with the process.

        Args:
            how: What is known about the end of that.
        """
        job = self.take_back()
        if job is not None:
            self._when_delivered(job, job.die, how)

    @abc.abstractmethod
    def on_greeting(self, kind: int, number: int, payload: bytes) -> None:
        """Take what the worker says about itself.

        Args:
            kind: What it says.
            number: The number of a job.
            payload: The rest.
        """

    @abc.abstractmethod
    def on_free(self, job: Job) -> None:
        """Take that the worker is done with its job.

        Args:
            job: The job, which may still have events to deliver.
        """

    @abc.abstractmethod
    def on_end(self, unread: bool) -> None:
        """Take that nothing more will come.

        Args:
            unread: Whether something that was sent has not been read.
        """

    def _on_message(self, kind: int, number: int, payload: bytes) -> None:
        if kind not in wire.ABOUT_JOB:
            self.on_greeting(kind, number, payload)
            return
        job = self.job
        if job is None or job.number != number:
            return
        if kind in (wire.EVENT, wire.DROPPED):
            job.told += 1
            self._courier.call(self._deliver, job, job.deliver if kind == wire.EVENT else job.drop, payload)
            if job.told - job.delivered >= _CROWDED:
                self.stream.pause(True)
                self._clear(job)
            return
        self.job = None
        self.on_free(job)
        self._when_delivered(job, job.end, kind, payload)

    def _when_delivered(self, job: Job, function: Callable[..., Any], *args: Any) -> None:
        if job.told == job.delivered:
            function(*args)
        else:
            self._courier.call(function, *args)

    def _deliver(self, job: Job, function: Callable[[bytes], None], payload: bytes) -> None:
        try:
            function(payload)
        finally:
            job.delivered += 1
            if self.stream.paused and job.told - job.delivered <= _CLEAR:
                self._reactor.call(self._clear, job)

    def _clear(self, job: Job) -> None:
        if self.stream.paused and job.told - job.delivered <= _CLEAR:
            self.stream.pause(False)
