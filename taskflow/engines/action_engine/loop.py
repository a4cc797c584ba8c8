# SPDX-License-Identifier: Apache-2.0
"""What does an engine do in each phase of a run?

The loop asks the plan what may start, hands that to the executors, has every change recorded, and goes on until nothing
is left. Each phase is a method that does its work and returns the event that leads on; :data:`TRANSITIONS` says where
to. It is the only place that looks at the flow's state for a suspension, and waits in one method only.
"""

from __future__ import annotations

import functools
import time
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
from taskflow.engines.action_engine import resolution, scopes
from taskflow.types import failure as failures

if TYPE_CHECKING:
    import collections
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from taskflow.engines.action_engine import runtime as runtimes

LOG = logging.getLogger(__name__)

# Events that lead from one phase to the next.
START = "start"
SCHEDULE = "schedule_next"
WAIT = "wait_finished"
ANALYZE = "examine_finished"
FINISH = "completed"
FAILED = "failed"
SUSPENDED = "suspended"
SUCCESS = "success"
REVERTED = "reverted"

# Where a machine is before it starts, and when only its end is to be named; no caller gets to see these.
UNDEFINED = "UNDEFINED"
GAME_OVER = "GAME_OVER"

TRANSITIONS = {
    (UNDEFINED, START): states.RESUMING,
    (states.RESUMING, SCHEDULE): states.SCHEDULING,
    (states.SCHEDULING, WAIT): states.WAITING,
    (states.WAITING, ANALYZE): states.ANALYZING,
    (states.ANALYZING, FINISH): GAME_OVER,
    (states.ANALYZING, SCHEDULE): states.SCHEDULING,
    (states.ANALYZING, WAIT): states.WAITING,
    (GAME_OVER, FAILED): states.FAILURE,
    (GAME_OVER, REVERTED): states.REVERTED,
    (GAME_OVER, SUCCESS): states.SUCCESS,
    (GAME_OVER, SUSPENDED): states.SUSPENDED,
}

_FOLLOWING: dict[str, dict[str, str]] = {}
for (_before, _event), _after in TRANSITIONS.items():
    _FOLLOWING.setdefault(_before, {})[_event] = _after

# The longest wait for something to end before the loop looks up again, in seconds.
WAITING_TIMEOUT = 60

TIMED_STATES = (states.ANALYZING, states.RESUMING, states.SCHEDULING, states.WAITING)

_TIMED_NAMES = {state: state.lower() for state in TIMED_STATES}
_STATE_BEFORE = {executors.EXECUTED: states.RUNNING, executors.REVERTED: states.REVERTING}
_INTENTION_OF = {executors.EXECUTED: states.EXECUTE, executors.REVERTED: states.REVERT}
_ENTERED = {plans.EXECUTE: states.RUNNING, plans.REVERT: states.REVERTING}
_STATE_OF_CODE = {code: state for state, code in plans.CODES.items() if state is not None}


class Loop:
    """One run of a flow.

    Args:
        runtime: What the engine has prepared.
        statistics: Filled with figures of the run.
        timeout: The longest wait for something to end, in seconds; 60 when ``None``.
        gather_statistics: Whether to fill them.

    Attributes:
        state: The phase that was entered last.
        kept: The failures that nothing is done about: they end the run.
    """

    def __init__(
        self,
        runtime: runtimes.Runtime,
        statistics: dict[str, Any],
        timeout: float | None = None,
        gather_statistics: bool = True,
    ) -> None:
        self._layout = runtime.layout
        self._storage = runtime.storage
        self._details = runtime.details()
        self._recorder = recorders.Recorder(self._layout, self._details, runtime.storage, runtime.atom_notifier)
        self._plan = plans.Plan(self._layout)
        self._task_executor = runtime.task_executor
        self._retry_executor = runtime.retry_executor
        self._resolver = resolution.Resolver(
            self._layout, self._plan, self._recorder, runtime.storage, runtime.defer_reverts
        )
        self._never_resolve = runtime.never_resolve
        self._timeout = WAITING_TIMEOUT if timeout is None else timeout
        self._inline = bool(getattr(runtime.task_executor, "inline", False))
        self._save_ahead = self._inline and getattr(runtime.storage.backend, "durable", True)
        self._priorities = any(getattr(item, "priority", 0) for item in self._layout.items)
        # What was found running at the start, to be taken up again by its intention.
        self._again: list[int] = []
        self._taken_up: set[int] = set()
        # Submitted and done; submitted and not known to be done.
        self._done: list[tuple[int, Any]] = []
        self._running: dict[Any, int] = {}
        self._ended: Any = None
        # Tasks whose beginning is saved but not told yet, and the state that each was in.
        self._entered: dict[int, str | None] = {}
        # Futures of green threads, which run only while somebody waits for them in their own way.
        self._green: set[Any] = set()
        self._failures: tuple[int, dict[str, Any]] = (-1, {})
        self.kept: list[Any] = []
        self.state = UNDEFINED
        self.statistics = statistics
        self._gather = gather_statistics
        if gather_statistics:
            statistics.update(
                seconds_per_state={state.lower(): 0.0 for state in TIMED_STATES},
                discarded_failures=0,
                awaiting=0,
                completed=0,
                incomplete=0,
            )
        self._phases: dict[str, Callable[[], str]] = {
            states.RESUMING: self.resume,
            states.SCHEDULING: self.schedule,
            states.WAITING: self.wait,
            states.ANALYZING: self.analyze,
            GAME_OVER: self.game_over,
        }

    # -- driving -----------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the final state was reached."""
        return self.state not in self._phases and self.state != UNDEFINED

    def step(self) -> str:
        """Do the work of the present phase and enter the next one.

        Returns:
            The phase entered.
        """
        state = self.state
        if state == UNDEFINED:
            self.state = TRANSITIONS[state, START]
            return self.state
        self.state = TRANSITIONS[state, self._timed(state)]
        if self.state == GAME_OVER:
            self.state = TRANSITIONS[GAME_OVER, self.game_over()]
        return self.state

    def run_to_end(self, trail: collections.deque[str]) -> str:
        """Go through all phases that are left.

        Args:
            trail: Gets the phases entered.

        Returns:
            The final state.
        """
        # The clock is read once per phase: the end of one is the beginning of the next.
        seconds = self.statistics["seconds_per_state"] if self._gather else None
        clock = time.perf_counter
        phases, following, note = self._phases, _FOLLOWING, trail.append
        state = self.state if self.state != UNDEFINED else states.RESUMING
        since = clock()
        while state in phases:
            note(state)
            self.state = state
            before = state
            state = following[state][phases[state]()]
            if seconds is not None and before != GAME_OVER:
                now = clock()
                seconds[_TIMED_NAMES[before]] += now - since
                since = now
        note(state)
        self.state = state
        return state

    def _timed(self, state: str) -> str:
        if not self._gather or state == GAME_OVER:
            return self._phases[state]()
        began = time.perf_counter()
        event = self._phases[state]()
        self.statistics["seconds_per_state"][state.lower()] += time.perf_counter() - began
        return event

    def settle(self) -> None:
        """Save what was gathered; called before anybody outside gets to act."""
        self._attempt(self._recorder.flush)

    def keep(self, failure: Any = None) -> None:
        """Keep a failure (by default, of the exception being handled): nothing new is started any more."""
        self.kept.append(failures.Failure() if failure is None else failure)

    def phases(self) -> dict[str, Callable[[], str]]:
        """Per phase what does its work and returns the event that leads on."""
        return {state: functools.partial(self._timed, state) for state in self._phases}

    def next_up(self) -> set[Any]:
        """The atoms that may start now."""
        return {self._layout.items[i] for i in (*self._plan.ready, *self._again)}

    def not_done(self) -> set[Any]:
        """Futures of what was submitted and has not ended."""
        return set(self._running)

    def done(self) -> set[Any]:
        """Futures of what has ended and was not taken in yet."""
        return {future for _, future in self._done}

    # -- phases ------------------------------------------------------------------------------------------------------

    def resume(self) -> str:
        """Find out from the records what is to be done."""
        details, plan = self._details, self._plan
        plan.restore(recorded(details))
        status = plan.status
        if plans.FAILURE in status and not self._never_resolve:
            for i in self._layout.atoms():
                if status[i] == plans.FAILURE:
                    self._attempt(self._resolver.resolve, i, details[i].failure)
        if plans.RETRYING in status and not self._never_resolve:
            for i in self._layout.atoms():
                if status[i] == plans.RETRYING:
                    self._begin_again(i)
                    plan.offer_again(i)
        if plans.RUNNING in status or plans.REVERTING in status:
            self._again = [i for i in self._layout.atoms() if status[i] in (plans.RUNNING, plans.REVERTING)]
            self._taken_up.update(self._again)
        self._recorder.gather_histories()
        self._vote()
        return SCHEDULE

    def schedule(self) -> str:
        """Start what may start."""
        plan = self._plan
        if plan.ready or self._again:
            batch = self._in_turn(plan.ready)
            if self._again:
                # What was interrupted comes first: however often a run is killed, one atom at most is in the middle.
                again, self._again = dict.fromkeys(self._in_turn(self._again)), []
                batch = [*again, *(i for i in batch if i not in again)]
            plan.ready.clear()
            self._start(batch)
        if self._running and not self._may_start():
            self.cancel()
        if self._gather:
            self.statistics["awaiting"] = len(plan.ready)
            self.statistics["incomplete"] = len(self._running)
        return WAIT

    def _in_turn(self, atoms: Iterable[int]) -> list[int]:
        """Sort atoms: the highest priority first, else in the order of the flow."""
        batch = list(atoms)
        if len(batch) > 1:
            batch.sort()
            if self._priorities:
                items = self._layout.items
                batch.sort(key=lambda i: -getattr(items[i], "priority", 0))
        return batch

    def wait(self) -> str:
        """Wait until something has ended, or the time is over."""
        if self._running:
            if not self._done:
                self._attempt(self._recorder.flush)
                self._await()
            self._take_arrivals()
        if self._gather:
            self.statistics["incomplete"] = len(self._running)
        return ANALYZE

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

    def analyze(self) -> str:
        """Take in what has ended, and find out what that makes possible."""
        if self._done:
            done, self._done = self._done, []
            if len(done) > 1:
                done.sort(key=lambda pair: pair[0])
            for position, (i, future) in enumerate(done):
                try:
                    self._complete(i, future)
                except Exception:
                    self.keep()
                except BaseException:
                    self._done = done[position + 1 :]
                    raise
        self._recorder.gather_histories()
        plan = self._plan
        if plan.candidates:
            self._attempt(self._vote)
        if self._gather:
            self.statistics["awaiting"] = len(plan.ready)
        if (plan.ready or self._again) and self._may_start():
            return SCHEDULE
        if self._running:
            if self._storage.flow_state_now() != states.RUNNING:
                self.cancel()
            return WAIT
        self._recorder.flush()
        return FINISH

    def game_over(self) -> str:
        """Name the end of the run."""
        status = self._plan.status
        if self.kept:
            return FAILED
        if self._plan.ready or self._again:
            return SUSPENDED
        if self._plan.all_passed():
            return SUCCESS
        if plans.REVERT_FAILURE in status or (self._never_resolve and plans.FAILURE in status):
            # Left by an earlier run, and nothing was done about it: that it failed is still the truth.
            self.kept.extend(self._storage.get_execute_failures().values())
            self.kept.extend(self._storage.get_revert_failures().values())
            return FAILED
        return REVERTED

    def abandon(self, wait: bool = True) -> None:
        """Save what has ended but was not taken in, when something leaves the run at once.

        What had not begun is as it was before; what else did not end remains recorded as running.

        Args:
            wait: Whether to wait for what runs: otherwise it would still run when the flow is taken up again.
        """
        try:
            while wait and self._running:
                self._await()
                self._take_arrivals()
        finally:
            self._take_arrivals()
            self._put_back(list(self._entered))
            for i, future in self._done:
                if future.cancelled():
                    self._withdraw(i)
                elif future.exception() is None:
                    self._recorder.outcome(i, *self._ending(i, *future.result()))
            self._done = []
            self._recorder.gather_histories()
            self._recorder.flush()

    # -- starting ----------------------------------------------------------------------------------------------------

    def _may_start(self) -> bool:
        return not self.kept and self._storage.flow_state_now() == states.RUNNING

    def _start(self, batch: list[int]) -> None:
        if not self._inline and len(batch) > 1:
            try:
                self._enter_together(batch)
            except Exception:
                self.keep()
                self._put_back(batch)
                return
        for position, i in enumerate(batch):
            if not self._may_start():
                self._put_back(batch[position:])
                return
            try:
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
        """Start atom ``i``, in the way that its intention says."""
        want = self._plan.want[i]
        if self._layout.kinds[i] == layouts.TASK:
            if want == plans.EXECUTE:
                self._execute_task(i)
            elif want == plans.REVERT:
                self._revert_task(i)
            else:
                raise self._bad_intention(i)
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
            self._recorder.tell(i, state, old)
            if self._layout.kinds[i] == layouts.TASK:
                self._recorder.tell_progress(i, 0.0)

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
        mapping = atoms.arguments_of(task)
        arguments = (
            self._storage.fetch_mapped_args(mapping, detail.name, scopes.ScopeWalker.at(self._layout, i), task.optional)
            if mapping
            else {}
        )
        self._submitted(
            i,
            self._task_executor.execute_task(
                task, detail.uuid, arguments, progress_callback=progress_saver(self._storage, task)
            ),
        )

    def _revert_task(self, i: int) -> None:
        task = self._layout.items[i]
        detail = self._details[i]
        self._recorder.flush()
        result = self._result_of(i)
        self._enter(i, states.REVERTING)
        self._plan.reverting(i)
        self._recorder.flush()
        arguments = self._storage.fetch_mapped_args(
            atoms.arguments_of(task, revert=True), detail.name, optional_args=task.revert_optional
        )
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
        if future.done():
            self._done.append((i, future))
            if self._save_ahead and not future.cancelled():
                self._recorder.ahead(i, *self._ending(i, *future.result()))
            return
        self._running[future] = i
        if self._ended is None:
            import queue

            self._ended = queue.SimpleQueue()
        if type(future).__name__ == "GreenFuture":
            self._green.add(future)
        future.add_done_callback(self._ended.put)

    def _take_arrivals(self) -> None:
        ended = self._ended
        while ended is not None and not ended.empty():
            self._arrived(ended.get())

    def _arrived(self, future: Any) -> None:
        i = self._running.pop(future, None)
        self._green.discard(future)
        if i is not None:
            self._done.append((i, future))

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

    # -- ending ------------------------------------------------------------------------------------------------------

    def _attempt(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception:
            self.keep()

    def _complete(self, i: int, future: Any) -> None:
        """Record and tell what came of atom ``i``, and let the plan know."""
        plan = self._plan
        if future.cancelled():
            self._withdraw(i)
            return
        outcome, result = future.result()
        if self._taken_up:
            self._taken_up.discard(i)
        state, result, progress = self._ending(i, outcome, result)
        self._recorder.outcome(i, state, result, progress)
        self._storage.note_outcome(self._details[i], result, state, _INTENTION_OF[outcome])
        self._recorder.tell(i, state, _STATE_BEFORE[outcome], result)
        if progress is not None:
            self._recorder.tell_progress(i, progress)
        if self._gather:
            self.statistics["completed"] += 1
        if state == states.SUCCESS:
            plan.succeeded(i)
        elif state == states.REVERTED:
            plan.reverted(i)
        elif state == states.REVERT_FAILURE:
            plan.revert_failed(i)
            self.keep(result)
        else:
            plan.failed(i)
            if self._never_resolve:
                self.keep(result)
            else:
                self._resolver.resolve(i, result)
                if self._gather:
                    self.statistics["discarded_failures"] += 1

    def _ending(self, i: int, outcome: str, result: Any) -> tuple[str, Any, float | None]:
        """The state that an outcome means for atom ``i``, the result, and the progress that goes with it."""
        failed = isinstance(result, failures.Failure)
        if outcome == executors.EXECUTED:
            state = states.FAILURE if failed else states.SUCCESS
        else:
            state = states.REVERT_FAILURE if failed else states.REVERTED
        return state, result, None if failed or self._layout.kinds[i] != layouts.TASK else 1.0

    def _withdraw(self, i: int) -> None:
        """Atom ``i`` was cancelled before it began: it is what it was before."""
        if i in self._taken_up:
            # An earlier run may have begun it.
            self._again.append(i)
            return
        detail = self._details[i]
        if detail.state == states.REVERTING:
            former = states.FAILURE if detail.failure else states.SUCCESS
        else:
            former = states.PENDING
        self._recorder.note(i, {"state": former})
        self._plan.put_back(i, plans.CODES[former])

    def _vote(self) -> None:
        """Ask the deciders of the atoms that would be next, until no answer makes further ones askable."""
        plan, names = self._plan, self._layout.names
        if not plan.candidates:
            return
        from taskflow.engines.action_engine import deciders

        while plan.candidates:
            asked, plan.candidates = plan.candidates, []
            for i in sorted(asked):
                if not plan.still_wanted(i):
                    continue
                try:
                    self._recorder.flush()
                    depth = deciders.verdict(deciders.edges_to(self._layout, i), self._storage)
                except Exception:
                    LOG.debug("A decider of atom %s failed", names[i], exc_info=True)
                    self.keep()
                    continue
                if depth is None:
                    plan.approve(i)
                else:
                    self._recorder.move(plan.ignore(i, depth), states.IGNORE, states.IGNORE)


def recorded(details: Sequence[Any]) -> Iterator[tuple[int, int, int]]:
    """Number, standing and intention of each atom, as its record says and a plan understands."""
    codes, intentions = plans.CODES, plans.INTENTIONS
    return (
        (i, codes[detail.state], intentions.get(detail.intention, plans.EXECUTE))
        for i, detail in enumerate(details)
        if detail is not None
    )


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
