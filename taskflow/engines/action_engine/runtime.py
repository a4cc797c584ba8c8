# SPDX-License-Identifier: Apache-2.0
"""What does an engine hold ready for its runs, and what can be done to atoms between them?"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from taskflow import states
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import loop as loops
from taskflow.engines.action_engine import plan as plans
from taskflow.engines.action_engine import recorder as recorders
from taskflow.engines.action_engine import scopes
from taskflow.utils import texts

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from taskflow import storage as storages
    from taskflow.engines.action_engine import builder, completer, deciders, selector
    from taskflow.engines.action_engine import scheduler as schedulers
    from taskflow.engines.action_engine.actions import base as actions
    from taskflow.engines.action_engine.actions import retry as retry_actions
    from taskflow.engines.action_engine.actions import task as task_actions
    from taskflow.engines.action_engine.compiler import Compilation
    from taskflow.types import notifier as notifiers

# An atom, with the state and the intention that it was given (nothing, where that was left as it was).
Tweak = tuple[Any, str | None, str | None]


class Runtime:
    """A compiled flow together with where it is saved, who hears of it, and what runs it.

    Engines use the first part of it. The rest is for tools that look into a flow or drive it by hand: parts are made
    when somebody asks for them and go by what is recorded at that moment.

    Args:
        compilation: What the flow was compiled to.
        storage: Where its atoms are saved.
        atom_notifier: Who hears of them.
        task_executor: What runs tasks.
        retry_executor: What runs retries.
        options: The engine's options.
    """

    def __init__(
        self,
        compilation: Compilation,
        storage: storages.Storage,
        atom_notifier: notifiers.Notifier,
        task_executor: Any,
        retry_executor: Any,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.compilation = compilation
        if compilation.layout is not None:
            self.layout = compilation.layout
        self.storage = storage
        self.atom_notifier = atom_notifier
        self.task_executor = task_executor
        self.retry_executor = retry_executor
        self.options: Mapping[str, Any] = options if options is not None else {}
        self.defer_reverts = texts.as_bool(self.options.get("defer_reverts", False))
        self.never_resolve = texts.as_bool(self.options.get("never_resolve", False))

    @functools.cached_property
    def layout(self) -> layouts.Layout:
        """The flow as integers."""
        # The pattern compiler leaves one in the compilation; what was put together by hand has none yet.
        from taskflow.engines.action_engine import handmade

        made = handmade.layout_of(self.compilation.execution_graph, self.compilation.hierarchy)
        self.compilation.layout = made
        return made

    def compile(self) -> None:
        """Take in what the flow was compiled to; needed where somebody put that together or changed it by hand.

        Raises:
            CompilationFailure: It has a node of an unknown kind, or does not fit together.
        """
        if not getattr(self.compilation.execution_graph, "frozen", False):
            self.__dict__.pop("layout", None)
            self.compilation.layout = self.layout

    def details(self) -> list[Any]:
        """Per node number the live record of the atom, ``None`` for flow markers."""
        detail_of = self.storage.detail_of
        return [
            detail_of(name) if kind <= layouts.RETRY else None
            for name, kind in zip(self.layout.names, self.layout.kinds, strict=True)
        ]

    def fetch_scopes_for(self, atom_name: str) -> scopes.ScopeWalker | None:
        """The scopes of the atom of that name; ``None`` when there is no such atom."""
        node = self.layout.named(atom_name)
        return None if node < 0 else scopes.ScopeWalker.at(self.layout, node)

    def start(self, statistics: dict[str, Any], timeout: float | None, gather_statistics: bool) -> loops.Loop:
        """Make the loop of one run."""
        return loops.Loop(self, statistics, timeout=timeout, gather_statistics=gather_statistics)

    # -- setting atoms back ------------------------------------------------------------------------------------------

    def reset_all(self, state: str | None = states.PENDING, intention: str | None = states.EXECUTE) -> list[Tweak]:
        """Put every atom into a state (its beginning, by default), as one unit of work, and tell of what that changed.

        Args:
            state: The state; ``None`` to leave it. ``PENDING`` also lets go of failures and of attempts of retries.
            intention: What is meant to happen to them next; ``None`` to leave it.

        Returns:
            Each atom, with the state and the intention given.
        """
        layout, details = self.layout, self.details()
        recorder = recorders.Recorder(layout, details, self.storage, self.atom_notifier)
        numbers = list(layout.atoms())
        left = []
        if state == states.PENDING:
            for i in numbers:
                if details[i].state != states.PENDING:
                    left.append(i)
                if layout.kinds[i] == layouts.RETRY and details[i].results:
                    recorder.note(i, {"results": []})
        for i in left:
            self.storage.forget_failures(layout.names[i])
        recorder.move(numbers, state, intention)
        recorder.flush()
        return [(layout.items[i], state, intention) for i in numbers]

    def reset_atoms(
        self, atoms: Iterable[Any], state: str | None = states.PENDING, intention: str | None = states.EXECUTE
    ) -> list[Tweak]:
        """Put atoms into a state, as one unit of work, and tell of those that this has changed.

        Args:
            atoms: Tasks and retries of the flow.
            state: The state; ``None`` to leave it.
            intention: What is meant to happen to them next; ``None`` to leave it.

        Returns:
            Each atom, with the state and the intention given.

        Raises:
            NotFound: One of them is no atom of the flow.
        """
        chosen = list(atoms)
        numbers = dict.fromkeys(map(self.number_of, chosen))
        details = {i: self.storage.detail_of(self.layout.names[i]) for i in numbers}
        recorder = recorders.Recorder(self.layout, details, self.storage, self.atom_notifier)
        recorder.move(numbers, state, intention)
        recorder.flush()
        return [(atom, state, intention) for atom in chosen]

    def reset_subgraph(
        self, atom: Any, state: str | None = states.PENDING, intention: str | None = states.EXECUTE
    ) -> list[Tweak]:
        """Put all atoms that follow an atom (or a flow), directly or not, into a state; see :meth:`reset_atoms`."""
        from taskflow.engines.action_engine import traversal

        following = traversal.depth_first_iterate(self.compilation.execution_graph, atom, traversal.Direction.FORWARD)
        return self.reset_atoms(following, state=state, intention=intention)

    def retry_subflow(self, retry: Any) -> list[Tweak]:
        """Let a retry run again: set it to be executed, and what follows it back to its beginning.

        Args:
            retry: The retry.

        Returns:
            Each atom concerned, with the state (``None``: left as it is) and the intention given.
        """
        return [*self.reset_atoms([retry], state=None), *self.reset_subgraph(retry)]

    # -- looking -----------------------------------------------------------------------------------------------------

    def iterate_nodes(self, allowed_kinds: Container[str]) -> Iterator[Any]:
        """Yield the nodes of the execution graph that are of certain kinds.

        Args:
            allowed_kinds: The kinds, as :mod:`taskflow.engines.action_engine.compiler` names them.

        Yields:
            The nodes, in the order of the graph.
        """
        for node, attributes in self.compilation.execution_graph.nodes(data=True):
            if attributes["kind"] in allowed_kinds:
                yield node

    def iterate_retries(self, state: str | None = None) -> Iterator[Any]:
        """Yield the retries.

        Args:
            state: The state that they have to be in; ``None`` for any.

        Yields:
            The retries, in the order of the graph.
        """
        layout = self.layout
        for i in layout.atoms():
            if layout.kinds[i] == layouts.RETRY and (
                state is None or self.storage.get_atom_state(layout.names[i]) == state
            ):
                yield layout.items[i]

    def find_retry(self, node: Any) -> Any:
        """The retry that governs a node of the execution graph; ``None`` if none does."""
        return self.compilation.execution_graph.nodes[node].get("retry")

    def is_success(self) -> bool:
        """Whether every atom has succeeded or was ignored."""
        return all(
            self.storage.get_atom_state(self.layout.names[i]) in (states.SUCCESS, states.IGNORE)
            for i in self.layout.atoms()
        )

    def check_atom_transition(self, atom: Any, current_state: str, target_state: str) -> bool:
        """Whether the table of its kind lets an atom go from one state to another.

        Args:
            atom: A task or a retry of the flow.
            current_state: The state that it would leave.
            target_state: The state that it would enter.

        Returns:
            Whether that is allowed.

        Raises:
            NotFound: It is no atom of the flow.
        """
        if self.layout.kinds[self.number_of(atom)] == layouts.TASK:
            return states.check_task_transition(current_state, target_state)
        return states.check_retry_transition(current_state, target_state)

    def fetch_edge_deciders(self, atom: Any) -> tuple[deciders.EdgeDecider, ...]:
        """The deciders to be asked before an atom runs, in the order in which to ask them."""
        from taskflow.engines.action_engine import deciders

        return deciders.edges_to(self.layout, self.number_of(atom))

    def number_of(self, atom: Any) -> int:
        """The number of an atom of the flow, found by its name.

        Raises:
            NotFound: It is none.
        """
        found = self.layout.named(getattr(atom, "name", None))
        if found < 0:
            from taskflow import exceptions as exc

            raise exc.NotFound(f"{str(atom)!r} is no task or retry of flow {self.storage.flow_name!r}")
        return found

    def standing(self, i: int) -> tuple[int, int]:
        """Where atom ``i`` stands and what is meant to happen to it, going by its record, as a plan says it."""
        detail = self.storage.detail_of(self.layout.names[i])
        return plans.CODES[detail.state], plans.INTENTIONS.get(detail.intention, plans.EXECUTE)

    def plan(self) -> plans.Plan:
        """A new plan of the flow as it is recorded now."""
        plan = plans.Plan(self.layout)
        plan.restore(plans.recorded(self.details()))
        return plan

    def recorder(self) -> recorders.Recorder:
        """A new recorder of changes."""
        return recorders.Recorder(self.layout, self.details(), self.storage, self.atom_notifier)

    # -- parts, for tools --------------------------------------------------------------------------------------------

    @functools.cached_property
    def builder(self) -> builder.MachineBuilder:
        """Builds the machine of a run, for stepping through it."""
        from taskflow.engines.action_engine import builder

        return builder.MachineBuilder(self)

    @functools.cached_property
    def completer(self) -> completer.Completer:
        """Records what came of atoms, and decides about failures."""
        from taskflow.engines.action_engine import completer

        return completer.Completer(self)

    @functools.cached_property
    def selector(self) -> selector.Selector:
        """Finds the atoms that may be started."""
        from taskflow.engines.action_engine import selector

        return selector.Selector(self)

    @functools.cached_property
    def scheduler(self) -> schedulers.Scheduler:
        """Starts atoms of either kind."""
        from taskflow.engines.action_engine import scheduler as schedulers

        return schedulers.Scheduler(self)

    @functools.cached_property
    def task_scheduler(self) -> schedulers.TaskScheduler:
        """Starts tasks."""
        from taskflow.engines.action_engine import scheduler as schedulers

        return schedulers.TaskScheduler(self)

    @functools.cached_property
    def retry_scheduler(self) -> schedulers.RetryScheduler:
        """Starts retries."""
        from taskflow.engines.action_engine import scheduler as schedulers

        return schedulers.RetryScheduler(self)

    @functools.cached_property
    def task_action(self) -> task_actions.TaskAction:
        """Executes and reverts single tasks."""
        from taskflow.engines.action_engine.actions import task as task_actions

        return task_actions.TaskAction(self.storage, self.atom_notifier, self.task_executor)

    @functools.cached_property
    def retry_action(self) -> retry_actions.RetryAction:
        """Executes, reverts and asks single retries."""
        from taskflow.engines.action_engine.actions import retry as retry_actions

        return retry_actions.RetryAction(self.storage, self.atom_notifier, self.retry_executor)

    def fetch_scheduler(self, atom: Any) -> schedulers.TaskScheduler | schedulers.RetryScheduler:
        """What starts atoms of this one's kind."""
        is_task = self.layout.kinds[self.number_of(atom)] == layouts.TASK
        return self.task_scheduler if is_task else self.retry_scheduler

    def fetch_action(self, atom: Any) -> actions.Action:
        """What executes and reverts atoms of this one's kind."""
        is_task = self.layout.kinds[self.number_of(atom)] == layouts.TASK
        return self.task_action if is_task else self.retry_action
