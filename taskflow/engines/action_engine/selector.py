# SPDX-License-Identifier: Apache-2.0
"""Which atoms may run or be undone, going by what is recorded of a flow now?

For tools that look into a flow or drive one by hand; each answer costs a walk over the flow. Engines keep a plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow.engines.action_engine import deciders, traversal
from taskflow.engines.action_engine import plan as plans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskflow.engines.action_engine import runtime as runtimes


class Selector:
    """Finds the atoms that may be started.

    Args:
        runtime: What they are part of.
    """

    def __init__(self, runtime: runtimes.Runtime) -> None:
        self._runtime = runtime

    def iter_next_atoms(self, atom: Any = None) -> Iterator[tuple[Any, deciders.Decider]]:
        """Yield the atoms that may run, be undone, or (a retry) run again.

        Args:
            atom: An atom that has just ended: only what that can have made possible is looked at.

        Yields:
            Each with the decider that has the last word about it.
        """
        runtime = self._runtime
        layout, plan = runtime.layout, runtime.plan()
        possible = {*plan.ready, *plan.candidates}
        for i in layout.atoms() if atom is None else self._concerned(plan, atom):
            if i in possible:
                item, before = layout.items[i], (plan.status[i], plan.want[i])
                # What was yielded before may have been acted upon.
                if runtime.standing(i) != before:
                    continue
                if plan.want[i] == plans.EXECUTE:
                    yield item, deciders.IgnoreDecider(item, runtime.fetch_edge_deciders(item))
                else:
                    yield item, deciders.NoOpDecider()

    def _concerned(self, plan: plans.Plan, atom: Any) -> Iterator[int]:
        """Numbers of the atoms that the end of an atom can have made startable, the nearest first."""
        runtime = self._runtime
        graph, number_of = runtime.compilation.execution_graph, runtime.number_of
        i = number_of(atom)
        state, want = plan.status[i], plan.want[i]
        if state in (plans.SUCCESS, plans.IGNORED) and want in (plans.EXECUTE, plans.IGNORE):
            for found in traversal.breadth_first_iterate(graph, atom, traversal.Direction.FORWARD):
                if plan.want[number_of(found)] == plans.EXECUTE:
                    yield number_of(found)
        elif state == plans.SUCCESS and want == plans.REVERT:
            yield i
        elif state == plans.FAILURE:
            for n in runtime.layout.atoms():
                if plan.want[n] != plans.EXECUTE:
                    yield n
        elif state == plans.REVERTED:
            # Behind a retry nothing can be undone before the retry is.
            for found in traversal.breadth_first_iterate(
                graph, atom, traversal.Direction.BACKWARD, through_retries=False
            ):
                if plan.want[number_of(found)] != plans.EXECUTE:
                    yield number_of(found)
