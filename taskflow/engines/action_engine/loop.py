# SPDX-License-Identifier: Apache-2.0
"""What does an engine do in each phase of a run?

The loop asks the plan what may start, hands that to the executors, has every change recorded, and goes on until nothing
is left. Each phase is a method that does its work and returns the event that leads on; :data:`TRANSITIONS` says where
to. It is the only place that looks at the flow's state for a suspension, and waits in one method only.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
import time
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging, states
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import launching, refusals, resolution
from taskflow.engines.action_engine import plan as plans

if TYPE_CHECKING:
    import collections
    from collections.abc import Callable, Iterable

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

# How many changes that need not last are gathered before they are saved: what is let go of soon costs the least.
_PORTION = 64

WAITING_TIMEOUT = launching.WAITING_TIMEOUT

TIMED_STATES = (states.ANALYZING, states.RESUMING, states.SCHEDULING, states.WAITING)

_TIMED_NAMES = {state: state.lower() for state in TIMED_STATES}
_STATE_BEFORE = {executors.EXECUTED: states.RUNNING, executors.REVERTED: states.REVERTING}
_INTENTION_OF = {executors.EXECUTED: states.EXECUTE, executors.REVERTED: states.REVERT}


class Loop(launching.Launcher):
    """One run of a flow.

    Args:
        runtime: What the engine has prepared.
        statistics: Filled with figures of the run.
        timeout: The longest wait for something to end, in seconds; 60 when ``None``.
        gather_statistics: Whether to fill them.

    Attributes:
        state: The phase that was entered last.
    """

    def __init__(
        self,
        runtime: runtimes.Runtime,
        statistics: dict[str, Any],
        timeout: float | None = None,
        gather_statistics: bool = True,
    ) -> None:
        super().__init__(runtime, timeout)
        self._resolver = resolution.Resolver(
            self._layout, self._plan, self._recorder, runtime.storage, runtime.defer_reverts
        )
        self._never_resolve = runtime.never_resolve
        # How much is gathered before it is saved: what lasts, as one unit of a step; what does not, in small portions.
        self._portion = 0 if runtime.storage.durable else _PORTION
        self._taken_up: set[int] = set()
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

    def phases(self) -> dict[str, Callable[[], str]]:
        """Per phase what does its work and returns the event that leads on."""
        return {state: functools.partial(self._timed, state) for state in self._phases}

    def next_up(self) -> set[Any]:
        """The atoms that may start now."""
        return {self._layout.items[i] for i in (*self._plan.ready, *self._again)}

    # -- phases ------------------------------------------------------------------------------------------------------

    def resume(self) -> str:
        """Find out from the records what is to be done."""
        self._restore()
        return SCHEDULE

    def _restore(self, busy: frozenset[int] = frozenset()) -> None:
        """Find out from the records what is to be done, other than to wait for what is busy."""
        details, plan = self._details, self._plan
        plan.restore(plans.recorded(details))
        status = plan.status
        self._again = []
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
            running = (plans.RUNNING, plans.REVERTING)
            self._again = [i for i in self._layout.atoms() if status[i] in running and i not in busy]
            self._taken_up.update(self._again)
        self._recorder.gather_histories()
        self._vote()

    def _take_back(self) -> None:
        """Go on from the records where the backend refused what atoms returned: those have failed."""
        self._attempt(self._recorder.flush)
        self._astray = False
        self._plan = self._resolver.plan = plans.Plan(self._layout)
        ended = frozenset(self._done)
        for i in [i for i in self._recorder.refused if i not in ended]:
            failure = self._recorder.refused.pop(i)
            state = self._details[i].state
            undone = state == states.REVERT_FAILURE
            self._storage.note_outcome(self._details[i], failure, state, states.REVERT if undone else states.EXECUTE)
            self._attempt(
                self._recorder.tell,
                i,
                state,
                _STATE_BEFORE[executors.REVERTED if undone else executors.EXECUTED],
                None,
                failure,
            )
            if undone or self._never_resolve:
                self.keep(failure)
            elif self._gather:
                self.statistics["discarded_failures"] += 1
        self._restore(ended.union(self._running.values()))

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
                batch.sort(key=self._haste)
        return batch

    def _haste(self, i: int) -> Any:
        priority = getattr(self._layout.items[i], "priority", 0)
        try:
            return -priority
        except TypeError:
            raise TypeError(
                f"The priority of task {self._layout.names[i]!r} is {priority!r}: expected a number"
            ) from None

    def wait(self) -> str:
        """Wait until something has ended, or the time is over."""
        if self._running:
            if not self._done:
                self._attempt(self._recorder.flush)
                if self._astray:
                    return ANALYZE
                self._await()
            self._take_arrivals()
        if self._gather:
            self.statistics["incomplete"] = len(self._running)
        return ANALYZE

    def analyze(self) -> str:
        """Take in what has ended, and find out what that makes possible."""
        recorder = self._recorder
        if self._done and not self._astray:
            self._take_in(*self._ended_in_turn())
        recorder.gather_histories()
        if self._plan.candidates and not self._astray:
            self._attempt(self._vote)
        event = ANALYZE if self._astray else self._what_follows()
        while event == ANALYZE:
            self._take_back()
            event = self._what_follows()
        return event

    def _what_follows(self) -> str:
        """Where to go once everything was taken in; to look at the records again, if the backend refuses an outcome."""
        plan = self._plan
        if self._gather:
            self.statistics["awaiting"] = len(plan.ready)
        if (plan.ready or self._again) and self._may_start():
            return SCHEDULE
        if self._running or self._done:
            if self._storage.flow_state_now() != states.RUNNING:
                self.cancel()
            return WAIT
        try:
            self._recorder.flush()
        except refusals.Refused:
            return ANALYZE
        return FINISH

    def _ended_in_turn(self) -> tuple[list[int], list[str | None], list[Any]]:
        """What has ended, in the order of the flow: the atoms and what came of each, taken out."""
        done, kinds, results = self._done, self._done_kinds, self._done_results
        self._done, self._done_kinds, self._done_results = [], [], []
        if len(done) > 1 and any(map(operator.gt, done, itertools.islice(done, 1, None))):
            turn = sorted(range(len(done)), key=done.__getitem__)
            done, kinds, results = [done[k] for k in turn], [kinds[k] for k in turn], [results[k] for k in turn]
        return done, kinds, results

    def _take_in(self, done: list[int], kinds: list[str | None], results: list[Any]) -> None:
        recorder, portion = self._recorder, self._portion
        for position, i in enumerate(done):
            try:
                self._complete(i, kinds[position], results[position])
                if portion and recorder.gathered >= portion:
                    recorder.flush()
            except Exception:
                self.keep()
                if self._astray:
                    self._leave(done[position + 1 :], kinds[position + 1 :], results[position + 1 :])
                    return
            except BaseException:
                self._leave(done[position + 1 :], kinds[position + 1 :], results[position + 1 :])
                raise

    def _leave(self, done: list[int], kinds: list[str | None], results: list[Any]) -> None:
        """Have some be taken in later."""
        self._done, self._done_kinds, self._done_results = done, kinds, results

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
            for i, kind, result in zip(self._done, self._done_kinds, self._done_results, strict=True):
                if kind is not None:
                    self._recorder.outcome(i, *self._ending(i, kind, result))
                elif result.cancelled():
                    self._withdraw(i)
                elif result.exception() is None:
                    self._recorder.outcome(i, *self._ending(i, *self._outcome_of(i, result)))
            self._done, self._done_kinds, self._done_results = [], [], []
            self._recorder.gather_histories()
            # What was refused is recorded as failed, for whoever takes the flow up again.
            with contextlib.suppress(refusals.Refused):
                self._recorder.flush()

    # -- ending ------------------------------------------------------------------------------------------------------

    def _attempt(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception:
            self.keep()

    def _complete(self, i: int, kind: str | None, result: Any) -> None:
        """Record and tell what came of atom ``i``, and let the plan know.

        Args:
            i: The number of the atom.
            kind: What was done; ``None`` if the future of an executor tells.
            result: What came of it, or that future.
        """
        plan = self._plan
        if kind is not None:
            outcome = kind
        elif result.cancelled():
            self._withdraw(i)
            if self._may_start():
                # Nobody here wanted that, and it would be called off again if it were submitted again.
                raise exc.ExecutionFailure(
                    f"Task {self._layout.names[i]!r} of flow {self._storage.flow_name!r} was cancelled by the executor "
                    "that it was given to, before it began: run the flow again with an executor that is not shut down"
                )
            return
        else:
            outcome, result = self._outcome_of(i, result)
        if self._taken_up:
            self._taken_up.discard(i)
        if self._recorder.refused:
            # Refused before anything could follow: it simply has failed.
            result = self._recorder.refused.pop(i, result)
        state, result, progress = self._ending(i, outcome, result)
        self._recorder.outcome(i, state, result, progress)
        self._storage.note_outcome(self._details[i], result, state, _INTENTION_OF[outcome])
        if self._gather:
            self.statistics["completed"] += 1
        try:
            self._recorder.tell(i, state, _STATE_BEFORE[outcome], progress, result)
        except refusals.Refused as e:
            if self._details[i].uuid not in e.uuids:
                # Saved it is, and told it shall be.
                self._recorder.tell(i, state, _STATE_BEFORE[outcome], progress, result)
            raise
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
                except refusals.Refused:
                    raise
                except Exception:
                    LOG.debug("A decider of atom %s failed", names[i], exc_info=True)
                    self.keep()
                    continue
                if depth is None:
                    plan.approve(i)
                else:
                    self._recorder.move(plan.ignore(i, depth), states.IGNORE, states.IGNORE)
