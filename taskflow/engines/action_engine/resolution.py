# SPDX-License-Identifier: Apache-2.0
"""What follows when an atom has failed: who is asked, and what is to be undone?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import retry as retries
from taskflow import states
from taskflow.engines.action_engine import plan as plans

if TYPE_CHECKING:
    from taskflow import storage as storages
    from taskflow.engines.action_engine import layout as layouts
    from taskflow.engines.action_engine import recorder as recorders


class Resolver:
    """Asks the governing retries and turns their answer into intentions.

    Args:
        layout: The compiled flow.
        plan: The scheduling of this run.
        recorder: Saves the intentions.
        storage: Knows histories and arguments.
        defer_reverts: Whether a retry that answers REVERT leaves the decision to those around it.

    Attributes:
        plan: The scheduling of this run.
    """

    def __init__(
        self,
        layout: layouts.Layout,
        plan: plans.Plan,
        recorder: recorders.Recorder,
        storage: storages.Storage,
        defer_reverts: bool,
    ) -> None:
        self._layout = layout
        self.plan = plan
        self._recorder = recorder
        self._storage = storage
        self._defer_reverts = defer_reverts

    def resolve(self, i: int, failure: Any) -> None:
        """Decide what follows from the failure of atom ``i`` and make it so.

        Args:
            i: The number of the atom.
            failure: Its failure.

        Raises:
            ValueError: A retry answered what is no decision.
        """
        decision, retry = self.decide(i, failure)
        plan, note = self.plan, self._recorder.note
        if decision == retries.REVERT_ALL:
            changed = plan.revert_all()
        elif decision == retries.REVERT:
            changed = plan.revert(retry)
        else:
            changed, wanted = plan.retry(retry)
            if wanted:
                note(retry, {"intention": states.RETRY})
        # What comes last in the flow first: where a crash may leave a part of this recorded, an atom that is to be
        # undone never stands before one that nobody knows of.
        for n in reversed(changed):
            note(n, {"intention": states.REVERT})
        plan.offer_revert(i)

    def decide(self, i: int, failure: Any) -> tuple[str, int]:
        """Ask what is to follow from the failure of atom ``i``.

        Args:
            i: The number of the atom.
            failure: Its failure.

        Returns:
            The decision, and the number of the retry that it is about.

        Raises:
            ValueError: A retry answered what is no decision.
        """
        innermost = -1
        retry_of = self._layout.retry_of
        asking = i
        while True:
            retry = retry_of[asking]
            if retry < 0:
                if innermost >= 0 and not self._defer_reverts:
                    return retries.REVERT, innermost
                return retries.REVERT_ALL, -1
            if self.plan.status[retry] == plans.IGNORED:
                # It was passed over, so it has made no attempt that could have failed.
                asking = retry
                continue
            answer = self._ask(retry, asking, failure)
            if answer != retries.REVERT:
                return answer, retry
            if innermost < 0:
                innermost = retry
            asking = retry

    def _ask(self, retry: int, asking: int, failure: Any) -> str:
        atom = self._layout.items[retry]
        self._recorder.flush()
        self._recorder.retry_failure(retry, self._layout.names[asking], failure)
        answer = ask(self._storage, atom)
        for decision in (retries.RETRY, retries.REVERT, retries.REVERT_ALL):
            if answer == decision:
                return decision
        known = ", ".join(str(d) for d in retries.Decision)
        raise ValueError(
            f"Retry {atom.name!r} answered {answer!r} when atom {self._layout.names[asking]!r} failed: "
            f"on_failure must return one of {known}"
        )


def ask(storage: storages.Storage, retry: Any) -> Any:
    """What a retry answers to the failures in its history."""
    arguments = storage.fetch_mapped_args(retry.rebind, atom_name=retry.name, optional_args=retry.optional)
    arguments[retries.EXECUTE_REVERT_HISTORY] = storage.get_retry_history(retry.name)
    return retry.on_failure(**arguments)
