# SPDX-License-Identifier: Apache-2.0
"""How do tasks run in an executor of the program's whose workers are out of reach, as those of a Dask cluster may be?

Everything travels by pickle and by way of that executor: the task without its listeners, and back what came of it
together with what it told meanwhile. Storage, listeners, retries and deciders stay in the engine's process.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging
from taskflow import task as tasks
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import process_jobs as jobs
from taskflow.engines.action_engine import process_reactor as reactors
from taskflow.engines.action_engine import process_wire as wire
from taskflow.engines.action_engine import remote_worker
from taskflow.utils import names, uuids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG = logging.getLogger(__name__)

# What a Dask client raises when the worker that had a task died, and those did that got it afterwards.
_KILLED = "distributed.scheduler.KilledWorker"


class RemoteFuture(jobs.TaskFuture):
    """The future of a task that is elsewhere: whether it has begun is known there only.

    Args:
        atom: The task.
        token: What it can be withdrawn by.
        withdraw: Asks for it to be taken back.

    Attributes:
        away: The future of the other executor, until that has answered: Dask keeps results for as long as somebody has
            their futures, and does the work again if it loses one that is kept.
    """

    def __init__(self, atom: Any, token: str, withdraw: Callable[[RemoteFuture], None]) -> None:
        super().__init__(atom)
        self.token = token
        self.away: concurrent.futures.Future[Any] | None = None
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Ask for the task to be taken back if it has not begun; that it was shows when the answer comes.

        Returns:
            Whether it has been taken back already.
        """
        if not self.done():
            self._withdraw(self)
        return self.cancelled()

    def withdrawn(self) -> None:
        """Note that the task was taken back."""
        super().cancel()
        self.set_running_or_notify_cancel()


class ParallelRemoteTaskExecutor(executors.ParallelTaskExecutor):
    """Hands tasks to an executor that pickles what it is given.

    What a task tells while it runs is delivered here just before its outcome. A worker that dies fails the task that
    it was running if the executor says so, as Dask does after it has tried other workers; the run ends with an error,
    and can be taken up again, if the executor only says that something was lost.

    Args:
        executor: The executor, which stays its owner's to shut down.
        max_workers: Not looked at: how many workers there are is the executor's.
    """

    def __init__(self, executor: Any = None, max_workers: int | None = None) -> None:
        super().__init__(executor=executor, max_workers=max_workers)
        self._changed = threading.Condition()
        self._away: dict[jobs.Job, RemoteFuture] = {}
        self._courier: reactors.Courier | None = None
        self._unwanted: list[str] = []
        self._recalling = False

    def _create_executor(self, max_workers: int | None = None) -> Any:
        raise ValueError(
            f"{type(self).__name__} can not make an executor, of {max_workers} workers or any: give it one"
        )

    def start(self) -> None:
        """Get ready for work.

        Raises:
            ValueError: There is no executor.
        """
        super().start()
        self._courier = reactors.Courier()

    def stop(self) -> None:
        """Take back what has not begun, and wait for the rest."""
        courier = self._courier
        if courier is None:
            return
        try:
            for future in list(self._away.values()):
                future.cancel()
            with self._changed:
                self._changed.wait_for(lambda: not self._away)
        finally:
            with self._changed:
                self._courier = None
                self._away.clear()
            courier.stop()

    def _hand_over(self, task: Any, what: str, arguments: Mapping[str, Any], progress_callback: Any) -> Any:
        if self._courier is None:
            raise RuntimeError(f"{type(self).__name__} is not started: start it before submitting")
        job = jobs.Job(task, what, arguments, progress_callback)
        job.future = future = RemoteFuture(task, uuids.generate_uuid(), self._withdraw)
        with self._changed:
            self._away[job] = future
        try:
            # The token also makes each piece of work a different one: Dask may take equal ones for the same.
            away = future.away = self._executor.submit(remote_worker.perform, job.payload, future.token)
        except BaseException:
            self._forget(job)
            raise
        away.add_done_callback(functools.partial(self._answered, job))
        return future

    def execute_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        progress_callback: Any = None,
    ) -> Any:
        """Submit a task's execution.

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
        """Submit a task's reversion.

        Raises:
            PicklingError: The task or an argument can not be pickled.
        """
        merged = {**arguments, tasks.REVERT_RESULT: result, tasks.REVERT_FLOW_FAILURES: failures}
        return self._hand_over(task, executors.REVERTED, merged, progress_callback)

    def _answered(self, job: jobs.Job, away: concurrent.futures.Future[Any]) -> None:
        # Listeners are called by a thread of our own: the executor may need this one to go on.
        with self._changed:
            if self._courier is not None and job in self._away:
                self._courier.call(self._take, job, away)

    def _take(self, job: jobs.Job, away: concurrent.futures.Future[Any]) -> None:
        future = self._away.get(job)
        if future is None:
            return
        try:
            error: BaseException | None
            try:
                error = away.exception()
            except concurrent.futures.CancelledError as e:
                error = e
            if error is not None:
                self._take_error(job, future, error)
                return
            *events, outcome = away.result() or [None]
            if outcome is None:
                future.withdrawn()
                return
            job.begin()
            for kind, payload in events:
                (job.deliver if kind == wire.EVENT else job.drop)(payload)
            job.end(*outcome)
        finally:
            self._forget(job)

    def _take_error(self, job: jobs.Job, future: RemoteFuture, error: BaseException) -> None:
        if isinstance(error, concurrent.futures.CancelledError) and self._dask() is None:
            future.withdrawn()
        elif names.class_name(error) == _KILLED:
            job.begin()
            job.die(f"ended abruptly ({error})")
        else:
            refused = exc.ExecutionFailure(
                f"What became of task {job.task.name!r} is not known, and it may not have begun: the executor that "
                f"was given to the engine failed to run it ({type(error).__name__}: {error})"
            )
            refused.__cause__ = error
            job.refuse(refused)

    def _forget(self, job: jobs.Job) -> None:
        with self._changed:
            future = self._away.pop(job, None)
            if future is not None:
                future.away = None
            self._changed.notify_all()

    # -- taking back -------------------------------------------------------------------------------------------------

    def _dask(self) -> Any:
        """The Dask client behind the executor, if that is what it is."""
        if type(self._executor).__module__ != "distributed.cfexecutor":
            return None
        return getattr(self._executor, "_client", None)

    def _withdraw(self, future: RemoteFuture) -> None:
        if self._dask() is None:
            away = future.away
            if away is not None:
                away.cancel()
            return
        # Futures of Dask can always be cancelled, also while the work is done: the workers have to decide.
        with self._changed:
            self._unwanted.append(future.token)
            if self._recalling:
                return
            self._recalling = True
        threading.Thread(target=self._recall, name="taskflow-recall", daemon=True).start()

    def _recall(self) -> None:
        while True:
            with self._changed:
                tokens, self._unwanted = self._unwanted, []
                if not tokens:
                    self._recalling = False
                    return
            try:
                self._dask().run(remote_worker.withdraw, tokens, on_error="ignore")
            except Exception:
                LOG.debug("Workers could not be told what is not wanted any more: it will be done", exc_info=True)
