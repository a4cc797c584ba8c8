# SPDX-License-Identifier: Apache-2.0
"""How is an atom started, and how does the engine come to know that it has ended?

An atom's beginning is saved and told before anything of it runs. Its arguments are looked up, and it is handed to an
executor; what comes back is a future. Futures that are done already are taken in at the next turn, the others report
themselves to a queue, so that waiting costs the same however many there are.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from taskflow import atom as atoms
from taskflow import exceptions as exc
from taskflow import logging, states
from taskflow import retry as retries
from taskflow import task as tasks
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import plan as plans
from taskflow.engines.action_engine import recorder as recorders
from taskflow.engines.action_engine import refusals, scopes
from taskflow.types import failure as failures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskflow.engines.action_engine import runtime as runtimes

LOG = logging.getLogger(__name__)

# The longest wait for something to end before the loop looks up again, in seconds.
WAITING_TIMEOUT = 60

_KINDS = (executors.EXECUTED, executors.REVERTED)
_ENTERED = {plans.EXECUTE: states.RUNNING, plans.REVERT: states.REVERTING}
_STATE_OF_CODE = {code: state for state, code in plans.CODES.items() if state is not None}


class Launcher:
    """Starts the atoms of one run, and collects those that have ended.

    Args:
        runtime: What the engine has prepared.
        timeout: The longest wait for something to end, in seconds; 60 when ``None``.

    Attributes:
        kept: The failures that nothing is done about: nothing new is started any more.
    """

    def __init__(self, runtime: runtimes.Runtime, timeout: float | None = None) -> None:
        self._layout = runtime.layout
        self._storage = runtime.storage
        self._flow_detail = runtime.storage._flowdetail
        self._details = runtime.details()
        self._recorder = recorders.Recorder(
            self._layout, self._details, runtime.storage, runtime.atom_notifier, replaces=True
        )
        self._plan = plans.Plan(self._layout)
        self._task_executor = runtime.task_executor
        self._retry_executor = runtime.retry_executor
        self._timeout = WAITING_TIMEOUT if timeout is None else timeout
        self._inline = bool(getattr(runtime.task_executor, "inline", False))
        self._save_ahead = self._inline and runtime.storage.durable
        self._priorities = any(getattr(item, "priority", 0) for item in self._layout.items)
        # What was found running at the start, to be taken up again by its intention.
        self._again: list[int] = []
        # Submitted and done: the atoms, and of each what was done and what came of it (or nothing and a future that
        # tells, where the executor is another's). Lists beside each other: a wide step ends with all of its atoms here,
        # and an object for each would be one more for the collector to go through.
        self._done: list[int] = []
        self._done_kinds: list[str | None] = []
        self._done_results: list[Any] = []
        # Submitted and not known to be done.
        self._running: dict[Any, int] = {}
        self._ended: Any = None
        # Tasks whose beginning is saved but not told yet, and the state that each was in.
        self._entered: dict[int, str | None] = {}
        # Futures of green threads, which run only while somebody waits for them in their own way.
        self._green: set[Any] = set()
        self._failures: tuple[int, dict[str, Any]] = (-1, {})
        self.kept: list[Any] = []
        # Whether the plan is ahead of the records, since an outcome was refused: nothing new is started meanwhile.
        self._astray = False

    def keep(self, failure: Any = None) -> None:
        """Keep a failure (by default, of the exception being handled): nothing new is started any more."""
        if failure is None and isinstance(sys.exception(), refusals.Refused):
            self._astray = True
            return
        self.kept.append(failures.Failure() if failure is None else failure)

    def not_done(self) -> set[Any]:
        """Futures of what was submitted and has not ended."""
        return set(self._running)

    def done(self) -> set[Any]:
        """Futures of what has ended and was not taken in yet."""
        return {
            result if kind is None else executors.DoneFuture(self._layout.items[i], (kind, result))
            for i, kind, result in zip(self._done, self._done_kinds, self._done_results, strict=True)
        }

    # -- starting ----------------------------------------------------------------------------------------------------

    def _may_start(self) -> bool:
        return not self.kept and self._flow_detail.state == states.RUNNING

    def _start(self, batch: list[int]) -> None:
        if not self._inline and len(batch) > 1:
            try:
                self._enter_together(batch)
            except Exception:
                self.keep()
                # Nothing of it was saved, not even what they ended in before.
                self._entered.clear()
                self._put_back(batch)
                return
        # As soon as the flow is asked to stop, or somebody's error is to end the run, the rest is left for later.
        flow_detail, kinds, want = self._flow_detail, self._layout.kinds, self._plan.want
        for position, i in enumerate(batch):
            if self.kept or self._astray or flow_detail.state != states.RUNNING:
                self._put_back(batch[position:])
                return
            try:
                if kinds[i] == layouts.TASK and want[i] == plans.EXECUTE:
                    self._execute_task(i)
                else:
                    self._submit(i)
            except Exception:
                self.keep()
                self._put_back(batch[position + 1 :])
                return

    def _enter_together(self, batch: list[int]) -> None:
        """Save in one unit that several tasks begin; each is told of when it is submitted."""
        kinds, want = self._layout.kinds, self._plan.want
        for i in batch:
            if kinds[i] == layouts.TASK and want[i] in _ENTERED:
                self._entered[i] = self._note_entry(i, _ENTERED[want[i]])
        self._recorder.flush()

    def _put_back(self, rest: list[int]) -> None:
        for i in rest:
            before = self._entered.pop(i, None)
            if before is not None:
                self._recorder.note(i, {"state": before})
            if self._plan.status[i] in (plans.RUNNING, plans.REVERTING):
                self._again.append(i)
            else:
                self._plan.ready[i] = None

    def _submit(self, i: int) -> None:
        """Start atom ``i`` in the way that its intention says, other than executing a task."""
        want = self._plan.want[i]
        if self._layout.kinds[i] == layouts.TASK:
            if want != plans.REVERT:
                raise self._bad_intention(i)
            self._revert_task(i)
        elif want == plans.EXECUTE:
            self._execute_retry(i)
        elif want == plans.REVERT:
            self._revert_retry(i)
        elif want == plans.RETRY:
            self._retry(i)
        else:
            raise self._bad_intention(i)

    def _bad_intention(self, i: int) -> exc.ExecutionFailure:
        detail = self._details[i]
        return exc.ExecutionFailure(
            f"Atom {detail.name!r} was left in state {detail.state} with intention {detail.intention}: "
            "an engine can only execute, revert or (a retry) retry it"
        )

    def _enter(self, i: int, state: str) -> None:
        """Atom ``i`` goes into a state in which it begins something; told unless it is there already."""
        old = self._entered.pop(i) if i in self._entered else self._note_entry(i, state)
        if old is not None:
            self._recorder.tell(i, state, old, 0.0 if self._layout.kinds[i] == layouts.TASK else None)

    def _note_entry(self, i: int, state: str) -> str | None:
        """Gather that atom ``i`` goes into a state; the state before, or ``None`` when there is nothing to tell."""
        # The record may be a few gathered changes behind; the plan is not.
        old = _STATE_OF_CODE[self._plan.status[i]]
        if self._layout.kinds[i] != layouts.TASK:
            if old == state:
                return None
            self._recorder.note(i, {"state": state})
        else:
            if old == state and self._details[i].meta.get("progress", 0.0) == 0.0:
                return None
            self._recorder.note(i, {"state": state}, 0.0)
        return old

    def _execute_task(self, i: int) -> None:
        task = self._layout.items[i]
        self._enter(i, states.RUNNING)
        self._plan.started(i)
        self._recorder.flush()
        detail = self._details[i]
        storage = self._storage
        mapping = atoms.arguments_of(task)
        arguments: dict[str, Any] | None = {}
        if mapping:
            layout = self._layout
            arguments = storage.values_nearby(mapping, detail, layout.sole_providers, layout.pred[i], self._details)
            if arguments is None:
                walker = scopes.ScopeWalker.at(layout, i)
                arguments = storage.fetch_mapped_args(mapping, detail._name, walker, task.optional)
        saver = progress_saver(storage, task)
        self._submitted(i, self._task_executor.execute_task(task, detail._uuid, arguments, saver))

    def _revert_task(self, i: int) -> None:
        task = self._layout.items[i]
        detail = self._details[i]
        if self._recorder.has_gathered(detail):
            self._recorder.flush()
        result = self._result_of(i)
        self._enter(i, states.REVERTING)
        self._plan.reverting(i)
        self._recorder.flush()
        mapping = atoms.arguments_of(task, revert=True)
        arguments = {}
        if mapping:
            arguments = self._storage.fetch_mapped_args(mapping, detail.name, optional_args=task.revert_optional)
        self._submitted(
            i,
            self._task_executor.revert_task(
                task,
                detail.uuid,
                arguments,
                result,
                self._flow_failures(),
                progress_callback=progress_saver(self._storage, task),
            ),
        )

    def _execute_retry(self, i: int) -> None:
        retry = self._layout.items[i]
        self._enter(i, states.RUNNING)
        self._plan.started(i)
        self._recorder.flush()
        arguments = self._storage.fetch_mapped_args(retry.rebind, atom_name=retry.name, optional_args=retry.optional)
        arguments[retries.EXECUTE_REVERT_HISTORY] = self._storage.get_retry_history(retry.name)
        self._submitted(i, self._retry_executor.execute_retry(retry, arguments))

    def _revert_retry(self, i: int) -> None:
        retry = self._layout.items[i]
        self._enter(i, states.REVERTING)
        self._plan.reverting(i)
        self._recorder.flush()
        arguments = self._storage.fetch_mapped_args(
            retry.revert_rebind, atom_name=retry.name, optional_args=retry.revert_optional
        )
        arguments[retries.EXECUTE_REVERT_HISTORY] = self._storage.get_retry_history(retry.name)
        arguments[retries.REVERT_FLOW_FAILURES] = self._flow_failures()
        self._submitted(i, self._retry_executor.revert_retry(retry, arguments))

    def _retry(self, i: int) -> None:
        self._enter(i, states.RETRYING)
        self._begin_again(i)
        self._execute_retry(i)

    def _begin_again(self, i: int) -> None:
        """Set all that is governed by, or follows, retry ``i`` back to its beginning."""
        if self._recorder.listened_to:
            self._recorder.flush()
        concerned = self._plan.restart(i)
        if self._details[i].intention != states.EXECUTE:
            self._recorder.note(i, {"intention": states.EXECUTE})
        self._recorder.move(concerned, states.PENDING, states.EXECUTE)

    def _submitted(self, i: int, future: Any) -> None:
        if type(future) is executors.DoneFuture:
            self._done.append(i)
            self._done_kinds.append(future._done)
            self._done_results.append(future._result)
            if self._save_ahead:
                self._recorder.ahead(i, *self._ending(i, future._done, future._result))
            return
        if future.done():
            self._ended_elsewhere(i, future)
            return
        self._running[future] = i
        if self._ended is None:
            import queue

            self._ended = queue.SimpleQueue()
        if type(future).__name__ == "GreenFuture":
            self._green.add(future)
        future.add_done_callback(self._ended.put)

    def _await(self) -> None:
        import queue

        if self._green:
            from futurist import waiters

            waiters.wait_for_any(tuple(self._green), timeout=self._timeout)
            return
        try:
            self._arrived(self._ended.get(timeout=self._timeout))
        except queue.Empty:
            return

    def _ending(self, i: int, outcome: str, result: Any) -> tuple[str, Any, float | None]:
        """The state that an outcome means for atom ``i``, the result, and the progress that goes with it."""
        failed = isinstance(result, failures.Failure)
        if outcome == executors.EXECUTED:
            state = states.FAILURE if failed else states.SUCCESS
        else:
            state = states.REVERT_FAILURE if failed else states.REVERTED
        return state, result, None if failed or self._layout.kinds[i] != layouts.TASK else 1.0

    def _take_arrivals(self) -> None:
        ended = self._ended
        while ended is not None and not ended.empty():
            self._arrived(ended.get())

    def _arrived(self, future: Any) -> None:
        i = self._running.pop(future, None)
        self._green.discard(future)
        if i is not None:
            self._ended_elsewhere(i, future)

    def _ended_elsewhere(self, i: int, future: Any) -> None:
        self._done.append(i)
        self._done_kinds.append(None)
        self._done_results.append(future)

    def _outcome_of(self, i: int, future: Any) -> tuple[str, Any]:
        """What was done of atom ``i``, and what came of it, as the future of an executor says.

        Raises:
            ExecutionFailure: That executor gave something else.
        """
        outcome: tuple[str, Any] = future.result()
        if type(outcome) is not tuple or len(outcome) != 2 or outcome[0] not in _KINDS:
            raise exc.ExecutionFailure(
                f"The executor that {str(self._layout.items[i])!r} was given to came back with {outcome!r} in place of "
                "what the function gave that it was to call: use an executor that keeps to PEP 3148"
            )
        return outcome

    def wake(self) -> None:
        """Have the loop look up from waiting, as the flow's state has changed; may be called by any thread."""
        ended = self._ended
        if ended is not None:
            ended.put(None)

    def cancel(self) -> None:
        """Cancel what was submitted and has not begun."""
        for future in tuple(self._running):
            future.cancel()

    def _result_of(self, i: int) -> Any:
        """What the execution of atom ``i`` gave; ``None`` if that is not known."""
        try:
            return self._storage.get(self._details[i].name)
        except exc.NotFound:
            return None

    def _flow_failures(self) -> dict[str, Any]:
        version = self._storage.failures_version
        if self._failures[0] != version:
            self._failures = (version, self._storage.get_execute_failures())
        return self._failures[1]


def checked_timeout(timeout: Any) -> float | None:
    """A timeout as what can be waited for.

    Raises:
        TypeError: It is no number.
        ValueError: It is no time.
    """
    import threading

    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"The timeout of a run must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"The timeout of a run must be 0 seconds or more, not {timeout!r}")
    return min(timeout, threading.TIMEOUT_MAX)


def progress_saver(storage: Any, task: Any) -> Callable[[str, Mapping[str, Any]], None] | None:
    """What is to hear of the progress that a task reports, to save it; ``None`` for a task that reports none."""
    if tasks.EVENT_UPDATE_PROGRESS in task.TASK_EVENTS:
        return functools.partial(_save_progress, storage, task.name)
    return None


def _save_progress(storage: Any, task_name: str, _event_type: str, details: Mapping[str, Any]) -> None:
    """Save the progress that a task reports; a failure to save it is no failure of the task."""
    rest = dict(details)
    if "progress" not in rest:
        return
    progress = rest.pop("progress")
    try:
        storage.set_task_progress(task_name, progress, rest)
    except Exception:
        LOG.exception("Failed saving the progress %s of task %s", progress, task_name)
