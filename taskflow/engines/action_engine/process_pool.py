# SPDX-License-Identifier: Apache-2.0
"""How does an engine keep worker processes of its own: start them, give them tasks, replace the dead, end them all?

Workers are fresh interpreters, never forks of a process that has threads. They are started when there is more to do
than there are workers, up to a number, and stay until the run is over.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.engines.action_engine import process_jobs as jobs
from taskflow.engines.action_engine import process_wire as wire

if TYPE_CHECKING:
    from taskflow.engines.action_engine import process_reactor as reactors

LOG = logging.getLogger(__name__)

# How often in a row workers may fail to start, and how often a job may be given to workers that die before reading it.
_MOST_FAILED_STARTS = 3
_MOST_ATTEMPTS = 3

# How long a worker may take to end by itself, in seconds.
_GRACE = 5.0

# How long one may live on after it has closed its connection in the middle of a task, in seconds.
_LOST_GRACE = 1.0

# How often to look whether a worker has ended, where the system does not tell, in seconds.
_LOOK_EVERY = 0.1

# The path comes first, as the library itself is found by it.
_BOOT = (
    "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); "
    "sys.path[:] = s.recv(int(sys.argv[2]), socket.MSG_WAITALL).decode('utf-8', 'surrogateescape').split('\\0'); "
    "from taskflow.engines.action_engine import process_child; process_child.main(s, int(sys.argv[3]))"
)


def default_workers() -> int:
    """How many workers there are unless told otherwise.

    Returns:
        The number of processors that this process may use.
    """
    count: Any = getattr(os, "process_cpu_count", os.cpu_count)
    return count() or 1


def _preparation() -> dict[str, Any]:
    """What a worker needs to know to become like this program.

    Raises:
        RuntimeError: This program is itself a worker that is just importing the main module.
    """
    import multiprocessing
    from multiprocessing import spawn

    chosen = multiprocessing.get_start_method(allow_none=True)
    preparation = spawn.get_preparation_data("taskflow-worker")
    if chosen is None:
        # Asking has fixed the default, which is the program's to choose.
        multiprocessing.set_start_method(None, force=True)
        del preparation["start_method"]
    preparation["authkey"] = bytes(preparation["authkey"])
    return preparation


class _Worker(jobs.Session):
    """One worker process, seen from the engine's."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self.ready = False
        self.ending = False
        self.broken: str | None = None
        self._gone = False
        path, preparation = pool.greeting
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                    [*pool.command, str(theirs.fileno()), str(len(path)), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
        except BaseException:
            ours.close()
            raise
        self._pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(self._process.pid)
        super().__init__(pool.reactor, pool.courier, ours)
        if self._pidfd is None:
            self._look()
        else:
            pool.reactor.watch(self._pidfd, selectors.EVENT_READ, self._on_death)
        self.stream.send_raw(path)
        self.stream.send(wire.PREPARE, 0, preparation)

    def on_greeting(self, kind: int, number: int, payload: bytes) -> None:  # noqa: ARG002 - part of the interface
        if kind == wire.BROKEN:
            self.broken = payload.decode(errors="replace")
        elif kind == wire.READY and not self.ready:
            self.ready = True
            self._pool.on_ready(self)

    def on_free(self, job: jobs.Job) -> None:  # noqa: ARG002 - part of the interface
        self._pool.on_free(self)

    def on_end(self, unread: bool) -> None:
        job = self.job
        if job is not None and (unread or self.stream.unsent) and job.attempts < _MOST_ATTEMPTS:
            # The job was not read, so it was not begun.
            self.take_back()
            self._pool.put_back(job)
        self._pool.on_lost(self)
        if not self.reap():
            # Usually it is just ending; but a task may have closed what it does not own.
            self._reactor.later(_GRACE if job is None else _LOST_GRACE, self.kill)

    def _on_death(self, _events: int) -> None:
        self.reap()

    def _look(self) -> None:
        if not self.reap():
            self._reactor.later(_LOOK_EVERY, self._look)

    def end(self) -> None:
        """Let it end."""
        if not self.ending:
            self.ending = True
            if self.ready:
                self.stream.finish()
                self._reactor.later(_GRACE, self.kill)
            else:
                self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.ending = True
        if not self.reap():
            self._process.kill()

    def reap(self) -> bool:
        """Take in that it has ended.

        Returns:
            Whether it has.
        """
        if self._gone:
            return True
        if self._process.poll() is None:
            return False
        self._gone = self.ending = True
        self.stream.drain()
        if self._pidfd is not None:
            self._reactor.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self.stream.close()
        self.lose(self.fate())
        self._pool.on_gone(self)
        return True

    def fate(self) -> str:
        """What is known about its end, to follow "a process that"."""
        code = self._process.returncode
        if code >= 0:
            return f"exited with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"was killed by signal {-code} ({name}){hint}"


class WorkerPool:
    """Worker processes of an engine's own.

    Args:
        reactor: The thread that looks after them.
        courier: Calls what listens to tasks.
        max_workers: How many there may be; as many as there are processors when ``None``.

    Raises:
        ValueError: ``max_workers`` is below one.
        RuntimeError: This process is itself a worker that is just importing the main module.
    """

    def __init__(self, reactor: reactors.Reactor, courier: reactors.Courier, max_workers: int | None = None) -> None:
        if max_workers is None:
            max_workers = default_workers()
        elif max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
        self.reactor = reactor
        self.courier = courier
        #: Set when all workers are gone after they were told to end.
        self.over = threading.Event()
        self._max_workers = max_workers
        preparation = _preparation()
        path = "\0".join(entry for entry in preparation["sys_path"] if isinstance(entry, str))
        self.greeting = (path.encode("utf-8", "surrogateescape"), pickle.dumps(preparation))
        executable = os.fsdecode(_executable())
        self.command = [executable, *subprocess._args_from_interpreter_flags(), "-P", "-c", _BOOT]  # type: ignore[attr-defined]
        self._pending: collections.deque[jobs.Job] = collections.deque()
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._failed_starts = 0
        self._failed_how = ""
        self._closing = False

    def submit(self, job: jobs.Job) -> None:
        """Take a job; may be called by any thread.

        Args:
            job: The job.
        """
        self.reactor.call(self._take, job)

    def close(self) -> None:
        """Cancel what has not begun, let the rest end, then end the workers; may be called by any thread."""
        self.reactor.call(self._close)

    def kill(self) -> None:
        """End the workers at once; may be called by any thread."""
        self.reactor.call(self._kill)

    def _take(self, job: jobs.Job) -> None:
        if self._closing:
            abandon(job)
            return
        self._pending.append(job)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._pending:
            job = self._pending[0]
            if not self._idle and not job.future.cancelled():
                break
            self._pending.popleft()
            if job.begin():
                self._idle.pop().give(job)
        starting = sum(not worker.ready for worker in self._workers)
        while (
            len(self._pending) > starting
            and len(self._workers) < self._max_workers
            and self._failed_starts < _MOST_FAILED_STARTS
            and not self._closing
        ):
            try:
                self._workers.add(_Worker(self))
                starting += 1
            except OSError as e:
                self._failed_starts += 1
                self._failed_how = f"could not be started: {e}"
        if self._pending and not self._workers and not self._closing:
            self._give_up()

    def _give_up(self) -> None:
        """Nobody is left to do what is waiting; the next job to come may find that things have changed."""
        self._failed_starts = 0
        pending, self._pending = self._pending, collections.deque()
        for job in pending:
            job.refuse(
                exc.ExecutionFailure(
                    f"Task {job.task.name!r} was not begun: the worker processes started for it {self._failed_how}"
                )
            )

    def on_ready(self, worker: _Worker) -> None:
        """Take that a worker is prepared."""
        self._failed_starts = 0
        self.on_free(worker)

    def on_free(self, worker: _Worker) -> None:
        """Take that a worker has nothing to do."""
        if self._closing:
            worker.end()
        elif not worker.ending:
            self._idle.append(worker)
            self._dispatch()

    def on_lost(self, worker: _Worker) -> None:
        """Take that a worker can not be given anything any more."""
        worker.ending = True
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)

    def put_back(self, job: jobs.Job) -> None:
        """Take back a job that was given to a worker and not begun."""
        self._pending.appendleft(job)

    def on_gone(self, worker: _Worker) -> None:
        """Take that a worker has ended."""
        self.on_lost(worker)
        self._workers.discard(worker)
        if self._closing:
            self._end_if_empty()
            return
        if not worker.ready:
            self._failed_starts = self._failed_starts + 1 if worker.broken is None else _MOST_FAILED_STARTS
            self._failed_how = f"failed to get ready: one {worker.fate()}"
            if worker.broken is not None:
                self._failed_how += f" after\n{worker.broken}"
        self._dispatch()

    def _close(self) -> None:
        self._closing = True
        for worker in list(self._workers):
            if worker.job is None:
                worker.end()
        self._end_if_empty()

    def _kill(self) -> None:
        self._closing = True
        for worker in list(self._workers):
            job = worker.take_back()
            if job is not None:
                cut_off(job)
            worker.kill()
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        pending, self._pending = self._pending, collections.deque()
        for job in pending:
            abandon(job)
        if not self._workers:
            self.over.set()


def abandon(job: jobs.Job) -> None:
    """End a job that has no place to begin in any more.

    Args:
        job: The job.
    """
    if not job.future.cancel():
        job.refuse(exc.ExecutionFailure(f"Task {job.task.name!r} was not begun: its executor was stopped before"))


def cut_off(job: jobs.Job) -> None:
    """End a job that is not waited for any more: neither done nor failed, it is for the next run to do it again.

    Args:
        job: The job.
    """
    job.refuse(exc.ExecutionFailure(f"Task {job.task.name!r} was given up: its executor was stopped at once"))


def _executable() -> Any:
    from multiprocessing import spawn

    return spawn.get_executable() or sys.executable
