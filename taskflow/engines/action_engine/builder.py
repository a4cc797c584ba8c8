# SPDX-License-Identifier: Apache-2.0
"""How do tools get hold of the machine that drives a run, to step through it themselves?

Engines drive the loop directly; this gives the same phases and transitions as an ``automaton`` machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import states
from taskflow.engines.action_engine import loop as loops

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow.engines.action_engine import runtime as runtimes

WAITING_TIMEOUT = loops.WAITING_TIMEOUT

START = loops.START
SCHEDULE = loops.SCHEDULE
WAIT = loops.WAIT
ANALYZE = loops.ANALYZE
FINISH = loops.FINISH
FAILED = loops.FAILED
SUSPENDED = loops.SUSPENDED
SUCCESS = loops.SUCCESS
REVERTED = loops.REVERTED

UNDEFINED = loops.UNDEFINED
GAME_OVER = loops.GAME_OVER
META_STATES = (GAME_OVER, UNDEFINED)
TIMED_STATES = loops.TIMED_STATES

_TERMINAL = (states.FAILURE, states.REVERTED, states.SUCCESS, states.SUSPENDED)


class MachineMemory:
    """What a run holds at present.

    Args:
        loop: The run.
    """

    def __init__(self, loop: loops.Loop) -> None:
        self._loop = loop
        # The phase whose work was done last.
        self._phase = UNDEFINED

    @property
    def next_up(self) -> set[Any]:
        """The atoms that may start now; none any more once the run is over."""
        return set() if self._phase == GAME_OVER else self._loop.next_up()

    @property
    def not_done(self) -> set[Any]:
        """Futures of what was submitted and was not yet waited for with success."""
        submitted = self._loop.not_done()
        return submitted | self._loop.done() if self._phase == states.SCHEDULING else submitted

    @property
    def done(self) -> set[Any]:
        """Futures of what was waited for with success and was not yet taken in."""
        return set() if self._phase == states.SCHEDULING else self._loop.done()

    @property
    def failures(self) -> list[Any]:
        """The failures that end the run."""
        return self._loop.kept

    def cancel_futures(self) -> None:
        """Cancel what was submitted and has not begun."""
        self._loop.cancel()


class MachineBuilder:
    """Builds the machine of a run.

    Args:
        runtime: What the run is of.
        waiter: Ignored; waiting is the loop's matter.
    """

    def __init__(self, runtime: runtimes.Runtime, waiter: Callable[..., Any] | None = None) -> None:
        self._runtime = runtime
        self._waiter = waiter

    def build(
        self, statistics: dict[str, Any], timeout: float | None = None, gather_statistics: bool = True
    ) -> tuple[Any, MachineMemory]:
        """Make the machine of a new run.

        Args:
            statistics: Filled with figures of the run.
            timeout: The longest wait for something to end, in seconds.
            gather_statistics: Whether to fill them.

        Returns:
            A frozen ``automaton`` machine, and what the run holds.
        """
        from automaton import machines

        loop = self._runtime.start(statistics, timeout, gather_statistics)
        memory = MachineMemory(loop)
        phases = loop.phases()
        machine = machines.FiniteMachine()
        for state in dict.fromkeys(s for (before, _), after in loops.TRANSITIONS.items() for s in (before, after)):
            machine.add_state(state, terminal=state in _TERMINAL)
        entries = set()
        for (before, event), after in loops.TRANSITIONS.items():
            machine.add_transition(before, after, event)
            # Some phases are entered from several others by the same event.
            if after in phases and (after, event) not in entries:
                entries.add((after, event))
                machine.add_reaction(after, event, _reaction(loop, memory, after, phases[after]))
        machine.default_start_state = UNDEFINED
        machine.freeze()
        return machine, memory


def _reaction(loop: loops.Loop, memory: MachineMemory, entered: str, work: Callable[[], str]) -> Callable[..., str]:
    def react(_old_state: str, _new_state: str, _event: str) -> str:
        following = work()
        # Whoever steps through the machine looks at records next.
        loop.settle()
        memory._phase = entered
        return following

    return react
