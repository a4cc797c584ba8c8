# SPDX-License-Identifier: Apache-2.0
"""What follows, in the records, when an atom has ended?

For tools that drive a flow by hand; engines take outcomes in in their loop, by the same decisions.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from taskflow import retry as retries
from taskflow import states
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import resolution

if TYPE_CHECKING:
    from taskflow.engines.action_engine import runtime as runtimes
    from taskflow.types import failure as failures


class Strategy(abc.ABC):
    """What is done about a failure.

    Args:
        runtime: What the failed atom is part of.
    """

    #: The decision that it carries out.
    strategy: retries.Decision

    def __init__(self, runtime: runtimes.Runtime) -> None:
        self._runtime = runtime

    @abc.abstractmethod
    def apply(self) -> list[runtimes.Tweak]:
        """Set the intentions.

        Returns:
            Each atom concerned, with the state (``None``: left) and the intention that it was given.
        """

    def __str__(self) -> str:
        return f"{type(self).__name__}(strategy={self.strategy.name})"


class RevertAndRetry(Strategy):
    """Undo what a retry governs and what follows, then let the retry run again.

    Args:
        runtime: What the retry is part of.
        retry: The retry.
    """

    strategy = retries.Decision.RETRY

    def __init__(self, runtime: runtimes.Runtime, retry: Any) -> None:
        super().__init__(runtime)
        self._retry = retry

    def apply(self) -> list[runtimes.Tweak]:
        """Set the intentions; a retry that is to be undone itself stays so."""
        runtime = self._runtime
        tweaked = []
        if runtime.storage.get_atom_intention(self._retry.name) != states.REVERT:
            tweaked.extend(runtime.reset_atoms([self._retry], state=None, intention=states.RETRY))
        tweaked.extend(runtime.reset_subgraph(self._retry, state=None, intention=states.REVERT))
        return tweaked


class RevertAll(Strategy):
    """Undo the whole flow."""

    strategy = retries.Decision.REVERT_ALL

    def apply(self) -> list[runtimes.Tweak]:
        """Set the intention of every atom."""
        return self._runtime.reset_all(state=None, intention=states.REVERT)


class Revert(Strategy):
    """Undo an atom and what follows it.

    Args:
        runtime: What the atom is part of.
        atom: The atom; in general the retry that has given up.
    """

    strategy = retries.Decision.REVERT

    def __init__(self, runtime: runtimes.Runtime, atom: Any) -> None:
        super().__init__(runtime)
        self._atom = atom

    def apply(self) -> list[runtimes.Tweak]:
        """Set the intentions."""
        return [
            *self._runtime.reset_atoms([self._atom], state=None, intention=states.REVERT),
            *self._runtime.reset_subgraph(self._atom, state=None, intention=states.REVERT),
        ]


class Completer:
    """Records what came of atoms, and decides about failures.

    Args:
        runtime: What they are part of.
    """

    def __init__(self, runtime: runtimes.Runtime) -> None:
        self._runtime = runtime

    def resume(self) -> set[Any]:
        """Decide anew about the failures that are recorded, and begin again what was about to.

        Returns:
            The atoms that were running, or being undone, when the records ended.
        """
        runtime, storage = self._runtime, self._runtime.storage
        atoms = [runtime.layout.items[i] for i in runtime.layout.atoms()]
        if not runtime.never_resolve:
            for atom in atoms:
                if storage.get_atom_state(atom.name) == states.FAILURE:
                    self._resolve(atom, storage.get(atom.name))
            for retry in runtime.iterate_retries(states.RETRYING):
                runtime.retry_subflow(retry)
        return {a for a in atoms if storage.get_atom_state(a.name) in (states.RUNNING, states.REVERTING)}

    def complete(self, node: Any, outcome: str, result: Any) -> None:
        """Record what came of an atom.

        Args:
            node: The atom.
            outcome: ``executed`` or ``reverted``.
            result: What it returned, or its Failure.

        Raises:
            ValueError: The outcome is neither.
        """
        action = self._runtime.fetch_action(node)
        if outcome == executors.EXECUTED:
            action.complete_execution(node, result)
        elif outcome == executors.REVERTED:
            action.complete_reversion(node, result)
        else:
            raise ValueError(
                f"Outcome {outcome!r} of atom {node.name!r} is unknown: "
                f"expected {executors.EXECUTED!r} or {executors.REVERTED!r}"
            )

    def complete_failure(self, node: Any, outcome: str, failure: failures.Failure) -> bool:
        """Decide what is done about the failure of an atom, and set the intentions that follow.

        Args:
            node: The atom.
            outcome: ``executed`` or ``reverted``.
            failure: Its failure.

        Returns:
            Whether nothing is done about it, so that it is to be kept and ends the run.

        Raises:
            ValueError: A retry answered what is no decision.
        """
        if outcome != executors.EXECUTED or self._runtime.never_resolve:
            return True
        self._resolve(node, failure)
        return False

    def _resolve(self, node: Any, failure: failures.Failure) -> None:
        runtime = self._runtime
        layout, recorder = runtime.layout, runtime.recorder()
        resolver = resolution.Resolver(layout, runtime.plan(), recorder, runtime.storage, runtime.defer_reverts)
        decision, retry = resolver.decide(runtime.number_of(node), failure)
        recorder.gather_histories()
        recorder.flush()
        strategy: Strategy
        if decision == retries.REVERT_ALL:
            strategy = RevertAll(runtime)
        elif decision == retries.REVERT:
            strategy = Revert(runtime, layout.items[retry])
        else:
            strategy = RevertAndRetry(runtime, layout.items[retry])
        strategy.apply()
