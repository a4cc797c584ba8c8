# SPDX-License-Identifier: Apache-2.0
"""How do tasks run in processes of their own?

Tasks, arguments and results travel by pickle; listeners, storage, retries and deciders stay in the engine's process,
where progress and whatever else a task notifies of arrives while it runs. A process that dies fails the task that it
was running, and no other.
"""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any

from taskflow import task as tasks
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import process_guests as guests
from taskflow.engines.action_engine import process_jobs as jobs
from taskflow.engines.action_engine import process_pool as pools
from taskflow.engines.action_engine import process_reactor as reactors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# How long messages of workers may stay unread unless told otherwise, in seconds.
_WAIT_TIMEOUT = 1.0


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


class ParallelProcessTaskExecutor(executors.ParallelTaskExecutor):
    """Hands tasks to processes.

    Processes of its own are fresh interpreters that ignore interrupts, leaving it to this process what becomes of them,
    and end with this process even if that is killed. Stopping waits for the tasks that run; an interrupt meanwhile
    kills them.

    Args:
        executor: A ``concurrent.futures.ProcessPoolExecutor`` to use, which stays its owner's to shut down; ``None``
            for processes of its own that live from ``start`` to ``stop``.
        max_workers: How many processes of its own there may be, started as needed; as many as there are processors
            when ``None``.
        wait_timeout: The longest time, in seconds, that messages of processes may stay unread; they are usually read
            when they come.

    Raises:
        ValueError: ``wait_timeout`` is not above zero.
    """

    constructor_options: list[tuple[str, Callable[[Any], Any]]] = [
        *executors.ParallelTaskExecutor.constructor_options,
        ("wait_timeout", _seconds),
    ]

    def __init__(self, executor: Any = None, max_workers: int | None = None, wait_timeout: float | None = None) -> None:
        super().__init__(executor=executor, max_workers=max_workers)
        if wait_timeout is None:
            wait_timeout = _WAIT_TIMEOUT
        elif not wait_timeout > 0:
            raise ValueError(f"wait_timeout must be above 0 seconds, not {wait_timeout!r}")
        self._wait_timeout = wait_timeout
        self._reactor: reactors.Reactor | None = None
        self._courier: reactors.Courier | None = None
        self._pool: pools.WorkerPool | guests.GuestPool | None = None
        self._started_in: int | None = None

    def _create_executor(self, max_workers: int | None = None) -> Any:
        return pools.WorkerPool(self._reactor, self._courier, max_workers)  # type: ignore[arg-type]

    def start(self) -> None:
        """Get ready for work; processes are started when there is some.

        Raises:
            ValueError: ``max_workers`` is below one.
            RuntimeError: This process is itself a worker that is just importing the main module, which lacks
                ``if __name__ == "__main__":``.
        """
        if not self._own:
            guests.warm_up(self._executor)
        self._reactor = reactors.Reactor(self._wait_timeout)
        self._courier = reactors.Courier()
        try:
            if self._own:
                self._pool = self._create_executor(self._max_workers)
            else:
                self._pool = guests.GuestPool(self._reactor, self._courier, self._executor)
        except BaseException:
            self._reactor.abandon()
            self._reactor = self._courier = None
            raise
        self._started_in = os.getpid()
        self._reactor.start()
        # A program that ends in the middle of a run waits for what runs, as it does for threads.
        atexit.register(self.stop)

    def stop(self) -> None:
        """Cancel what has not begun, wait for what runs, and end all processes of its own.

        Raises:
            KeyboardInterrupt: It came while waiting; the processes have been killed.
        """
        pool, reactor, courier = self._pool, self._reactor, self._courier
        self._pool = self._reactor = self._courier = None
        if pool is None or reactor is None or courier is None:
            return
        atexit.unregister(self.stop)
        if self._started_in != os.getpid():
            # A copy in a process that was forked off: what it is about belongs to the other one.
            reactor.abandon()
            return
        try:
            pool.close()
            pool.over.wait()
        except BaseException:
            pool.kill()
            pool.over.wait()
            raise
        finally:
            reactor.stop()
            courier.stop()
            if isinstance(pool, guests.GuestPool):
                pool.release()

    def _hand_over(self, task: Any, what: str, arguments: Mapping[str, Any], progress_callback: Any) -> Any:
        pool = self._pool
        if pool is None or self._started_in != os.getpid():
            raise RuntimeError(f"{type(self).__name__} has no processes: start it before submitting")
        job = jobs.Job(task, what, arguments, progress_callback)
        pool.submit(job)
        return job.future

    def execute_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        progress_callback: Any = None,
    ) -> Any:
        """Submit a task's execution to a process.

        Raises:
            PicklingError: The task or an argument can not be pickled.
        """
        return self._hand_over(task, executors.EXECUTED, arguments, progress_callback)

    def revert_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        result: Any,
        failures: Any,
        progress_callback: Any = None,
    ) -> Any:
        """Submit a task's reversion to a process.

        Raises:
            PicklingError: The task or an argument can not be pickled.
        """
        merged = {**arguments, tasks.REVERT_RESULT: result, tasks.REVERT_FLOW_FAILURES: failures}
        return self._hand_over(task, executors.REVERTED, merged, progress_callback)
