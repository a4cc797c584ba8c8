# SPDX-License-Identifier: Apache-2.0
"""Where do tasks and retries run, and as what do their outcomes come back?"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from taskflow import task as tasks
from taskflow.types import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# First element of an outcome: what was done.
EXECUTED = "executed"
REVERTED = "reverted"


def _guarded(before: Callable[[], Any], call: Callable[..., Any], after: Callable[[], Any], arguments: Any) -> Any:
    """Call a method between its hooks; an error of any of the three becomes the result.

    The second hook runs in every case. What is no ``Exception`` (an interrupt) passes through, whatever that hook does.
    """
    try:
        try:
            before()
            result = call(**arguments)
        except Exception:
            result = failure.Failure()
    except BaseException:
        after()
        raise
    try:
        after()
    except Exception:
        result = failure.Failure()
    return result


def execute(task: Any, arguments: Mapping[str, Any], progress_callback: Any = None) -> tuple[str, Any]:
    """Execute a task here and now.

    Args:
        task: The task.
        arguments: For its ``execute``.
        progress_callback: Hears ``(event_type, details)`` of the progress that the task reports meanwhile.

    Returns:
        ``EXECUTED`` and what it returned, or the Failure of what it raised.
    """
    if progress_callback is None:
        return EXECUTED, _guarded(task.pre_execute, task.execute, task.post_execute, arguments)
    task._progress_hook = progress_callback
    try:
        return EXECUTED, _guarded(task.pre_execute, task.execute, task.post_execute, arguments)
    finally:
        task._progress_hook = None


def revert(task: Any, arguments: Mapping[str, Any], progress_callback: Any = None) -> tuple[str, Any]:
    """Revert a task here and now.

    Args:
        task: The task.
        arguments: For its ``revert``, with ``result`` and ``flow_failures`` among them.
        progress_callback: Hears ``(event_type, details)`` of the progress that the task reports meanwhile.

    Returns:
        ``REVERTED`` and what it returned, or the Failure of what it raised.
    """
    if progress_callback is None:
        return REVERTED, _guarded(task.pre_revert, task.revert, task.post_revert, arguments)
    task._progress_hook = progress_callback
    try:
        return REVERTED, _guarded(task.pre_revert, task.revert, task.post_revert, arguments)
    finally:
        task._progress_hook = None


def _revert_arguments(arguments: Mapping[str, Any], result: Any, failures: Any) -> dict[str, Any]:
    return {**arguments, tasks.REVERT_RESULT: result, tasks.REVERT_FLOW_FAILURES: failures}


class DoneFuture:
    """A future that is done: what the serial executors return.

    Args:
        atom: The task or retry that it is about.
        outcome: What was done and what came of it.
    """

    __slots__ = ("_done", "_result", "atom")

    def __init__(self, atom: Any, outcome: tuple[str, Any]) -> None:
        self.atom = atom
        self._done, self._result = outcome

    def result(self, timeout: float | None = None) -> tuple[str, Any]:  # noqa: ARG002 - there is nothing to wait for
        """The outcome."""
        return self._done, self._result

    def exception(self, timeout: float | None = None) -> None:
        """Nothing was raised: errors of atoms are outcomes."""

    def done(self) -> bool:
        """It is."""
        return True

    def running(self) -> bool:
        """Not any more."""
        return False

    def cancelled(self) -> bool:
        """It was not."""
        return False

    def cancel(self) -> bool:
        """It is too late for that."""
        return False

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call ``fn`` with this future at once."""
        fn(self)


class _Stoppable:
    """Refuses work between ``stop`` and the next ``start``."""

    def __init__(self) -> None:
        self._stopped = False

    def start(self) -> None:
        """Take work again."""
        self._stopped = False

    def stop(self) -> None:
        """Take no more work."""
        self._stopped = True

    def _check_open(self) -> None:
        if self._stopped:
            raise RuntimeError(f"{type(self).__name__} has been stopped: start it again before submitting")


class SerialRetryExecutor(_Stoppable):
    """Runs retries at submission, on the caller's thread."""

    def execute_retry(self, retry: Any, arguments: Mapping[str, Any]) -> DoneFuture:
        """Execute a retry.

        Args:
            retry: The retry.
            arguments: For its ``execute``, with ``history`` among them.

        Returns:
            A finished future of ``(EXECUTED, value or Failure)``.
        """
        self._check_open()
        try:
            result = retry.execute(**arguments)
        except Exception:
            result = failure.Failure()
        return DoneFuture(retry, (EXECUTED, result))

    def revert_retry(self, retry: Any, arguments: Mapping[str, Any]) -> DoneFuture:
        """Revert a retry.

        Args:
            retry: The retry.
            arguments: For its ``revert``, with ``history`` and ``flow_failures`` among them.

        Returns:
            A finished future of ``(REVERTED, value or Failure)``.
        """
        self._check_open()
        try:
            result = retry.revert(**arguments)
        except Exception:
            result = failure.Failure()
        return DoneFuture(retry, (REVERTED, result))


class TaskExecutor(abc.ABC):
    """Executes and reverts tasks."""

    #: Whether a task has ended when its submission returns.
    inline = False

    @abc.abstractmethod
    def execute_task(
        self, task: Any, task_uuid: str, arguments: Mapping[str, Any], progress_callback: Any = None
    ) -> Any:
        """Submit a task's execution.

        Args:
            task: The task.
            task_uuid: The id of its record.
            arguments: For its ``execute``.
            progress_callback: Hears the progress that the task reports.

        Returns:
            A future of ``(EXECUTED, value or Failure)`` with the task in its attribute ``atom``.
        """

    @abc.abstractmethod
    def revert_task(
        self,
        task: Any,
        task_uuid: str,
        arguments: Mapping[str, Any],
        result: Any,
        failures: Any,
        progress_callback: Any = None,
    ) -> Any:
        """Submit a task's reversion.

        Args:
            task: The task.
            task_uuid: The id of its record.
            arguments: For its ``revert``, to which result and failures are added.
            result: What its execution gave.
            failures: Atom name -> Failure of all known execute failures.
            progress_callback: Hears the progress that the task reports.

        Returns:
            A future of ``(REVERTED, value or Failure)`` with the task in its attribute ``atom``.
        """

    def start(self) -> None:  # noqa: B027 - not every executor has something to make
        """Get ready for work."""

    def stop(self) -> None:  # noqa: B027
        """Let go of whatever ``start`` has made."""


class SerialTaskExecutor(_Stoppable, TaskExecutor):
    """Runs tasks at submission, on the caller's thread."""

    inline = True

    def execute_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        progress_callback: Any = None,
    ) -> DoneFuture:
        """Execute a task; the future returned is done."""
        if self._stopped:
            self._check_open()
        return DoneFuture(task, execute(task, arguments, progress_callback))

    def revert_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        result: Any,
        failures: Any,
        progress_callback: Any = None,
    ) -> DoneFuture:
        """Revert a task; the future returned is done."""
        self._check_open()
        return DoneFuture(task, revert(task, _revert_arguments(arguments, result, failures), progress_callback))


def _whole_number(value: Any) -> int | None:
    return None if value is None else int(value)


class ParallelTaskExecutor(TaskExecutor):
    """Hands tasks to a PEP 3148 executor.

    Args:
        executor: The pool to use, which stays its owner's to start and to shut down; ``None`` for a pool of our own
            that lives from ``start`` to ``stop``.
        max_workers: Size of a pool of our own; the pool's default when ``None``.
    """

    #: Engine options that are given to the constructor, each with what converts its value.
    constructor_options: list[tuple[str, Callable[[Any], Any]]] = [("max_workers", _whole_number)]

    def __init__(self, executor: Any = None, max_workers: int | None = None) -> None:
        self._executor = executor
        self._max_workers = max_workers
        self._own = executor is None

    @abc.abstractmethod
    def _create_executor(self, max_workers: int | None = None) -> Any:
        """Make a pool."""

    def start(self) -> None:
        """Make a pool, unless one was given."""
        if self._own:
            self._executor = self._create_executor(max_workers=self._max_workers)

    def stop(self) -> None:
        """Shut a pool of our own down, after what runs in it has ended."""
        if self._own and self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def _submit(self, task: Any, function: Callable[..., Any], *args: Any) -> Any:
        if self._executor is None:
            raise RuntimeError(f"{type(self).__name__} has no pool: start it before submitting")
        future = self._executor.submit(function, task, *args)
        try:
            future.atom = task
        except AttributeError as e:
            raise TypeError(
                f"Executor {self._executor!r} gave {future!r} when task {task.name!r} was submitted: expected a future"
            ) from e
        return future

    def execute_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        progress_callback: Any = None,
    ) -> Any:
        """Submit a task's execution to the pool."""
        return self._submit(task, execute, arguments, progress_callback)

    def revert_task(
        self,
        task: Any,
        task_uuid: str,  # noqa: ARG002 - part of the interface
        arguments: Mapping[str, Any],
        result: Any,
        failures: Any,
        progress_callback: Any = None,
    ) -> Any:
        """Submit a task's reversion to the pool."""
        return self._submit(task, revert, _revert_arguments(arguments, result, failures), progress_callback)


class ParallelThreadTaskExecutor(ParallelTaskExecutor):
    """Hands tasks to threads."""

    def _create_executor(self, max_workers: int | None = None) -> Any:
        from taskflow.engines.action_engine import threads

        return threads.ThreadPool(max_workers=max_workers)


class ParallelGreenThreadTaskExecutor(ParallelThreadTaskExecutor):
    """Hands tasks to green threads, in programs that have eventlet."""

    #: How many green threads a pool of our own has unless told otherwise.
    DEFAULT_WORKERS = 1000

    def _create_executor(self, max_workers: int | None = None) -> Any:
        import importlib.util

        if importlib.util.find_spec("eventlet") is None:
            raise RuntimeError(
                "Green threads need eventlet, which is not installed and which taskflow never brings along: install it "
                "and call eventlet.monkey_patch() at the start of the program, or use executor='threads'"
            )
        import futurist

        if max_workers is None:
            max_workers = self.DEFAULT_WORKERS
        return futurist.GreenThreadPoolExecutor(max_workers=max_workers)
