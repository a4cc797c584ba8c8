# SPDX-License-Identifier: Apache-2.0
"""How do tasks run in a process pool that belongs to the program?

What is submitted to the pool is only an invitation: its worker comes by a local socket, shows a key, is given the task
and answers there, so that events precede the outcome and it is known for each task whether it has begun. The pool
itself stays as it was, without an initializer, and is never shut down. A pool that breaks, as those of the standard
library do when one process dies, can not be repaired: what had not begun then goes to processes of the engine's own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hmac
import os
import pathlib
import selectors
import socket
import tempfile
import threading
from typing import TYPE_CHECKING

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.engines.action_engine import process_child, process_pool
from taskflow.engines.action_engine import process_jobs as jobs
from taskflow.engines.action_engine import process_wire as wire

if TYPE_CHECKING:
    from taskflow.engines.action_engine import process_reactor as reactors

LOG = logging.getLogger(__name__)

_KEY_BYTES = 32

# What fits into the address of a local socket everywhere, in bytes.
_LONGEST_ADDRESS = 100

_BACKLOG = 128


def warm_up(executor: concurrent.futures.Executor) -> None:
    """Have a pool that forks do so now, before there are threads and sockets that its processes would inherit.

    Args:
        executor: The pool.
    """
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        # One that can not be used is found out when it is to be used.
        with contextlib.suppress(RuntimeError):
            executor.submit(int)


class _Guest(jobs.Session):
    """A worker of the program's pool that has come by."""

    def __init__(self, visits: GuestPool, sock: socket.socket) -> None:
        self._visits = visits
        # Who has not shown the key yet does not get to send more than that.
        super().__init__(visits.reactor, visits.courier, sock, limit=_KEY_BYTES)

    def on_greeting(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.HELLO and self.job is None and hmac.compare_digest(payload, self._visits.key):
            self.stream.limit = None
            if self._visits.on_arrived(self, number):
                return
        self.leave()

    def on_free(self, job: jobs.Job) -> None:
        self._visits.on_done(job)
        self.leave()

    def on_end(self, unread: bool) -> None:
        job = self.job
        if job is not None:
            if unread or self.stream.unsent:
                self.take_back()
                self._visits.on_not_begun(job)
            else:
                self.lose("ended abruptly (it belonged to the pool that was given to the engine)")
                self._visits.on_done(job)
        self.leave()

    def leave(self) -> None:
        """Say goodbye."""
        self.stream.close()
        self._visits.on_left(self)


class GuestPool:
    """Worker processes of a pool that belongs to the program.

    Args:
        reactor: The thread that looks after them.
        courier: Calls what listens to tasks.
        executor: The pool.
    """

    def __init__(
        self,
        reactor: reactors.Reactor,
        courier: reactors.Courier,
        executor: concurrent.futures.Executor,
    ) -> None:
        self.reactor = reactor
        self.courier = courier
        self.key = os.urandom(_KEY_BYTES)
        #: Set when nothing runs any more after the end was asked for.
        self.over = threading.Event()
        self._executor = executor
        self._used = False
        self._closing = False
        self._invited: dict[int, jobs.Job] = {}
        self._guests: set[_Guest] = set()
        self._spare: process_pool.WorkerPool | None = None
        self._directory, self._address, self._listener = _listen()
        reactor.watch(self._listener, selectors.EVENT_READ, self._on_connection)

    def submit(self, job: jobs.Job) -> None:
        """Take a job; may be called by any thread.

        Args:
            job: The job.

        Raises:
            RuntimeError: The pool was shut down, or was broken before the engine used it.
        """
        self._invited[job.number] = job
        try:
            invitation = self._executor.submit(process_child.visit, self._address, self.key, job.number)
        except concurrent.futures.BrokenExecutor:
            if not self._used:
                del self._invited[job.number]
                raise
            self.reactor.call(self.on_not_begun, job)
            return
        except BaseException:
            del self._invited[job.number]
            raise
        self._used = True
        job.future.add_done_callback(functools.partial(_withdraw, invitation))
        invitation.add_done_callback(lambda _: self.reactor.call(self._on_answered, job, invitation))

    def close(self) -> None:
        """Cancel what has not begun and let the rest end; may be called by any thread."""
        self.reactor.call(self._close)

    def kill(self) -> None:
        """Wait for nothing any more; may be called by any thread."""
        self.reactor.call(self._kill)

    def release(self) -> None:
        """Remove the address; to be called when nothing runs any more."""
        with contextlib.suppress(OSError):
            pathlib.Path(self._address).unlink()
        with contextlib.suppress(OSError):
            pathlib.Path(self._directory).rmdir()

    def _on_connection(self, _events: int) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            self._guests.add(_Guest(self, sock))

    def on_arrived(self, guest: _Guest, number: int) -> bool:
        """Give a worker the job that it was invited for.

        Args:
            guest: The worker.
            number: The number of the job.

        Returns:
            Whether it is still to be done.
        """
        job = self._invited.get(number)
        if job is None or job.begun:
            return False
        if not job.begin():
            self.on_done(job)
            return False
        guest.give(job)
        return True

    def on_done(self, job: jobs.Job) -> None:
        """Take that a job needs no worker any more."""
        self._invited.pop(job.number, None)
        self._end_if_empty()

    def on_left(self, guest: _Guest) -> None:
        """Take that a worker is gone."""
        self._guests.discard(guest)

    def on_not_begun(self, job: jobs.Job) -> None:
        """Do a job that the pool lost before it began."""
        self._invited.pop(job.number, None)
        if self._spare is None and not self._closing:
            LOG.warning(
                "The process pool that was given to the engine is broken, as one of its processes has died: what had "
                "not begun goes to processes of the engine's own; make a new pool for the next run"
            )
            workers = getattr(self._executor, "_max_workers", None)
            try:
                self._spare = process_pool.WorkerPool(self.reactor, self.courier, workers)
            except Exception as e:
                job.refuse(e)
                return
        if self._spare is None:
            process_pool.abandon(job)
            self._end_if_empty()
        else:
            self._spare.submit(job)

    def _on_answered(self, job: jobs.Job, invitation: concurrent.futures.Future[None]) -> None:
        if job.number not in self._invited:
            return
        if invitation.cancelled():
            if not job.begun:
                process_pool.abandon(job)
                self.on_done(job)
            return
        error = invitation.exception()
        if error is None:
            # The outcome is on its way, unless the job was cancelled when its worker came.
            if job.future.cancelled():
                self.on_done(job)
            return
        guest = next((guest for guest in self._guests if guest.job is job), None)
        if guest is not None:
            guest.stream.drain()
            if guest.job is job:
                guest.on_end(False)
        elif isinstance(error, concurrent.futures.BrokenExecutor):
            self.on_not_begun(job)
        else:
            refused = exc.ExecutionFailure(
                f"Task {job.task.name!r} was not begun: the process pool that was given to the engine could not run it "
                f"({type(error).__name__}: {error})"
            )
            refused.__cause__ = error
            job.refuse(refused)
            self.on_done(job)

    def _close(self) -> None:
        self._closing = True
        for job in list(self._invited.values()):
            if not job.begun:
                process_pool.abandon(job)
                self._invited.pop(job.number, None)
        if self._spare is not None:
            self._spare.close()
        self._end_if_empty()

    def _kill(self) -> None:
        self._closing = True
        for guest in list(self._guests):
            job = guest.take_back()
            if job is not None:
                process_pool.cut_off(job)
            guest.leave()
        self._invited.clear()
        if self._spare is not None:
            self._spare.kill()
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        if not self._closing or self._invited or self.over.is_set():
            return
        if self._spare is None or self._spare.over.is_set():
            for guest in list(self._guests):
                guest.leave()
            self.reactor.unwatch(self._listener)
            self._listener.close()
            self.over.set()
        else:
            # Its end is looked for, as it is needed by nobody else and once only.
            self.reactor.later(0.01, self._end_if_empty)


def _withdraw(
    invitation: concurrent.futures.Future[None], future: concurrent.futures.Future[tuple[str, object]]
) -> None:
    if future.cancelled():
        invitation.cancel()


def _listen() -> tuple[str, str, socket.socket]:
    """Listen where only this user can come by."""
    directory = tempfile.mkdtemp(prefix="taskflow-")
    if len(os.fsencode(directory)) > _LONGEST_ADDRESS - 4:
        pathlib.Path(directory).rmdir()
        directory = tempfile.mkdtemp(prefix="taskflow-", dir="/tmp")
    address = f"{directory}/in"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        pathlib.Path(directory).rmdir()
        raise
    return directory, address, listener
