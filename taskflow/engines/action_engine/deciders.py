# SPDX-License-Identifier: Apache-2.0
"""May an atom run, as far as the deciders on the links before it have a say?"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow import deciders, states
from taskflow.engines.action_engine import compiler
from taskflow.engines.action_engine import layout as layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from taskflow import storage as storages
    from taskflow.engines.action_engine import runtime as runtimes


class EdgeDecider(NamedTuple):
    """A decider on a link: the atom or flow that the link leaves, its kind, whom to ask, how far a no goes."""

    from_node: Any
    kind: str
    decider: Callable[..., Any]
    depth: deciders.Depth


def edges_to(layout: layouts.Layout, node: int) -> tuple[EdgeDecider, ...]:
    """The deciders to be asked before atom ``node`` runs: those on its own links, then on those of the flows it enters.

    Args:
        layout: The compiled flow.
        node: The number of the atom.

    Returns:
        The deciders, in the order in which to ask them.
    """
    return tuple(
        EdgeDecider(
            layout.items[source],
            compiler.KINDS[layout.kinds[source]],
            decider,
            deciders.Depth.ALL if depth is None else depth,
        )
        for source, decider, depth in layout.applying_deciders(node)
    )


def objections(edges: Iterable[EdgeDecider], storage: storages.Storage) -> list[EdgeDecider]:
    """Ask deciders, except those that an ignored atom leads to.

    Args:
        edges: The deciders that have a say.
        storage: Knows what is ignored, and the results to decide by.

    Returns:
        Those that said no.
    """
    asked = []
    history = {}
    for edge in edges:
        if edge.kind in compiler.ATOMS:
            name = edge.from_node.name
            if storage.get_atom_state(name) == states.IGNORE:
                continue
            history[name] = storage.get(name)
        asked.append(edge)
    return [edge for edge in asked if not _says_yes(edge, history)]


def _says_yes(edge: EdgeDecider, history: dict[str, Any]) -> bool:
    try:
        return bool(edge.decider(history=history))
    except Exception as e:
        e.add_note(f"Raised by decider(history=...) of a link from {edge.kind} {edge.from_node.name!r}")
        raise


def verdict(edges: Iterable[EdgeDecider], storage: storages.Storage) -> deciders.Depth | None:
    """Ask deciders: the widest depth of those that said no, or ``None`` if nobody did."""
    against = objections(edges, storage)
    return deciders.pick_widest(edge.depth for edge in against) if against else None


class Decider(abc.ABC):
    """Has a say about one atom."""

    @abc.abstractmethod
    def tally(self, runtime: runtimes.Runtime) -> Sequence[EdgeDecider]:
        """Ask.

        Args:
            runtime: What the atom is part of.

        Returns:
            Those that are against it.
        """

    @abc.abstractmethod
    def affect(self, runtime: runtimes.Runtime, nay_voters: Sequence[EdgeDecider]) -> None:
        """Do what follows from the answers.

        Args:
            runtime: What the atom is part of.
            nay_voters: Those that were against it.
        """

    def check_and_affect(self, runtime: runtimes.Runtime) -> bool:
        """Ask, and do what follows from a no.

        Args:
            runtime: What the atom is part of.

        Returns:
            Whether the atom may run.
        """
        nay_voters = self.tally(runtime)
        if nay_voters:
            self.affect(runtime, nay_voters)
        return not nay_voters


class IgnoreDecider(Decider):
    """Lets the deciders on links decide whether an atom, and what follows it, is passed over.

    Args:
        atom: The atom.
        edge_deciders: The deciders that have a say about it.
    """

    def __init__(self, atom: Any, edge_deciders: Sequence[EdgeDecider]) -> None:
        self._atom = atom
        self._edge_deciders = edge_deciders

    def tally(self, runtime: runtimes.Runtime) -> Sequence[EdgeDecider]:
        """Ask the deciders on the links; those that an ignored atom leads to are not asked."""
        return objections(self._edge_deciders, runtime.storage)

    def affect(self, runtime: runtimes.Runtime, nay_voters: Sequence[EdgeDecider]) -> None:
        """Ignore the atom, and behind it as far as the widest depth of the votes goes."""
        depth = deciders.pick_widest(edge.depth for edge in nay_voters)
        ignored = runtime.plan().ignore(runtime.number_of(self._atom), depth)
        runtime.recorder().move(ignored, states.IGNORE, states.IGNORE)


class NoOpDecider(Decider):
    """Has nothing against anything: nobody is asked whether something is undone."""

    def tally(self, runtime: runtimes.Runtime) -> Sequence[EdgeDecider]:  # noqa: ARG002 - part of the interface
        """Nobody is against it."""
        return []

    def affect(self, runtime: runtimes.Runtime, nay_voters: Sequence[EdgeDecider]) -> None:
        """Nothing follows."""
