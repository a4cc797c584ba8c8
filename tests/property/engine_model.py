# SPDX-License-Identifier: Apache-2.0
"""What must a serial run of a flow do, worked out slowly from the rules alone?

Nothing here uses the library. A flow is described by frozen dataclasses; `Picture` draws its execution graph, and
`Model` plays the run round by round, looking at every atom again in every round. Where the rules leave the order of
two things open, `Model` takes the order from its `Freedom`, and `outcomes` gives one outcome per possible freedom.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools

PENDING, RUNNING, SUCCESS, FAILURE = "PENDING", "RUNNING", "SUCCESS", "FAILURE"
REVERTING, REVERTED, REVERT_FAILURE, RETRYING = "REVERTING", "REVERTED", "REVERT_FAILURE", "RETRYING"
EXECUTE, IGNORE, REVERT, RETRY, REVERT_ALL = "EXECUTE", "IGNORE", "REVERT", "RETRY", "REVERT_ALL"
WIDEST_FIRST = ("ALL", "FLOW", "NEIGHBORS", "ATOM")
ALWAYS = "always"


class Unspecified(Exception):
    """The run came to a place about which the rules say nothing."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: in which of its recorded executions it fails, and whether its revert fails."""

    name: str
    fails: tuple[int, ...] | str = ()
    revert_fails: bool = False
    priority: int = 0


@dataclasses.dataclass(frozen=True)
class Retry:
    """A retry controller: 'times', 'revert' or 'revert_all'."""

    name: str
    kind: str
    attempts: int = 1
    final: str = REVERT
    fails: tuple[int, ...] | str = ()
    revert_fails: bool = False
    priority: int = 0

    def on_failure(self, attempts: int) -> str:
        """The decision after so many attempts."""
        if self.kind == "revert":
            return REVERT
        if self.kind == "revert_all":
            return REVERT_ALL
        return RETRY if attempts < self.attempts else self.final


@dataclasses.dataclass(frozen=True)
class Link:
    """A link between two children of a graph flow; `depth` is None when no decider is on it."""

    source: str
    target: str
    depth: str | None = None
    vote: bool = True


@dataclasses.dataclass(frozen=True)
class Flow:
    """A linear, unordered or graph flow."""

    name: str
    kind: str
    children: tuple[Task | Flow, ...] = ()
    links: tuple[Link, ...] = ()
    retry: Retry | None = None

    def in_order(self) -> list[Task | Flow]:
        """The children in the flow's own order: for a graph, generation by generation."""
        if self.kind != "graph":
            return list(self.children)
        by_name = {child.name: child for child in self.children}
        sources = {name: {link.source for link in self.links if link.target == name} for name in by_name}
        order: list[str] = []
        generation = [name for name in by_name if not sources[name]]
        while generation:
            freed: list[str] = []
            for name in generation:
                order.append(name)
                for link in self.links:
                    if link.source == name and link.target not in freed and sources[link.target] <= set(order):
                        freed.append(link.target)
            generation = freed
        return [by_name[name] for name in order]


def atoms_of(flow: Flow) -> list[Task | Retry]:
    """Every task and retry of the flow, nested ones too."""
    found: list[Task | Retry] = [flow.retry] if flow.retry else []
    for child in flow.children:
        found.extend(atoms_of(child) if isinstance(child, Flow) else [child])
    return found


def fails_in(atom: Task | Retry, number: int) -> bool:
    """Does the atom fail in its recorded execution of that number (1 is the first)?"""
    return atom.fails == ALWAYS or number in atom.fails


class Picture:
    """The execution graph: atoms, flow entries '<F' and flow ends 'F>', and the edges between them."""

    def __init__(self, root: Flow) -> None:
        self.atoms: dict[str, Task | Retry] = {}  # in graph order
        self.edges: list[tuple[str, str, Link | None]] = []
        self.governor: dict[str, str | None] = {}
        self._draw(root, None)
        self._before = {name: self._reach(name, 1, 0) for name in self.atoms}
        self._after = {name: self._reach(name, 0, 1) for name in self.atoms}

    def _draw(self, flow: Flow, governor: str | None) -> list[str]:
        """Add the flow's nodes and edges; give the names of the nodes."""
        entry, end = f"<{flow.name}", f"{flow.name}>"
        inner_governor = flow.retry.name if flow.retry else governor
        inner: list[str] = []
        children = flow.in_order()
        for child in children:
            if isinstance(child, Flow):
                inner.extend(self._draw(child, inner_governor))
            else:
                self.atoms[child.name] = child
                self.governor[child.name] = inner_governor
                inner.append(child.name)
        kinds = {child.name: isinstance(child, Flow) for child in children}
        links = flow.links
        if flow.kind == "linear":
            links = tuple(Link(a.name, b.name) for a, b in itertools.pairwise(children))
        for link in links:
            source = f"{link.source}>" if kinds[link.source] else link.source
            target = f"<{link.target}" if kinds[link.target] else link.target
            self.edges.append((source, target, link if link.depth else None))
        first = entry
        if flow.retry:
            first = flow.retry.name
            self.atoms[first] = flow.retry
            self.governor[first] = governor
            self.edges.append((entry, first, None))
        targets = {edge[1] for edge in self.edges}
        for node in inner:
            if node not in targets:
                self.edges.append((first, node, None))
        sources = {edge[0] for edge in self.edges}
        for node in [*inner, first]:
            if node not in sources:
                self.edges.append((node, end, None))
        return [entry, first, *inner, end] if flow.retry else [entry, *inner, end]

    def _reach(self, start: str, here: int, there: int) -> tuple[str, ...]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            node = todo.pop()
            for edge in self.edges:
                if edge[here] == node and edge[there] not in seen:
                    seen.add(edge[there])
                    todo.append(edge[there])
        return tuple(name for name in self.atoms if name in seen)

    def before(self, name: str) -> tuple[str, ...]:
        """Every atom that precedes, directly or not."""
        return self._before[name]

    def after(self, name: str) -> tuple[str, ...]:
        """Every atom that follows, directly or not."""
        return self._after[name]

    def direct_tasks(self, name: str) -> list[str]:
        """The tasks that follow directly."""
        return [v for u, v, _ in self.edges if u == name and isinstance(self.atoms.get(v), Task)]

    def tasks_through_tasks(self, name: str) -> list[str]:
        """The tasks that can be reached through tasks only."""
        found: list[str] = []
        todo = [name]
        while todo:
            for task in self.direct_tasks(todo.pop()):
                if task not in found:
                    found.append(task)
                    todo.append(task)
        return found

    def deciding_links(self, name: str) -> list[Link]:
        """The links with deciders that apply to the atom: its own, then those of the flows it is first in."""
        found: list[Link] = []
        nodes = [name]
        while nodes:
            found.extend(link for _, v, link in self.edges if v in nodes and link is not None)
            nodes = [u for u, v, _ in self.edges if v in nodes and u.startswith("<")]
        return found


@dataclasses.dataclass(frozen=True)
class Freedom:
    """Which of the orders that the rules leave open is taken."""

    look_after_each: bool = True  # atoms that became ready are looked for after each outcome, or after all of a step
    by_priority: bool = False  # outcomes are handled in order of submission, or in graph order
    look_when_kept: bool = True  # atoms that became ready are looked for though the run is about to end


FREEDOMS = tuple(itertools.starmap(Freedom, itertools.product((True, False), repeat=3)))


@dataclasses.dataclass
class Record:
    """What storage holds about a flow."""

    flow_state: str = PENDING
    state: dict[str, str] = dataclasses.field(default_factory=dict)
    intention: dict[str, str] = dataclasses.field(default_factory=dict)
    attempts: dict[str, int] = dataclasses.field(default_factory=dict)
    failures: set[str] = dataclasses.field(default_factory=set)
    revert_failures: set[str] = dataclasses.field(default_factory=set)
    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def copy(self) -> Record:
        """An independent copy."""
        return Record(
            self.flow_state,
            dict(self.state),
            dict(self.intention),
            dict(self.attempts),
            set(self.failures),
            set(self.revert_failures),
            collections.Counter(self.outcomes),
        )


@dataclasses.dataclass
class Outcome:
    """What is compared between a model and an engine."""

    flow_state: str
    states: dict[str, str]
    intentions: dict[str, str]
    executed: dict[str, int]
    reverted: dict[str, int]
    raised: frozenset[str]
    steps: list[list[str]]
    asked: dict[str, int]
    decided: frozenset[tuple[str, str, frozenset[str]]]


class Model:
    """One run of a flow, from what is recorded about it to its end."""

    def __init__(
        self,
        root: Flow,
        record: Record | None = None,
        freedom: Freedom = FREEDOMS[0],
        *,
        defer_reverts: bool = False,
        never_resolve: bool = False,
    ) -> None:
        self.picture = Picture(root)
        self.freedom = freedom
        self.defer_reverts = defer_reverts
        self.never_resolve = never_resolve
        self.record = record.copy() if record else Record()
        for name in self.picture.atoms:
            self.record.state.setdefault(name, PENDING)
            self.record.intention.setdefault(name, EXECUTE)
            self.record.attempts.setdefault(name, 0)
        self.executed: collections.Counter[str] = collections.Counter()
        self.reverted: collections.Counter[str] = collections.Counter()
        self.asked: collections.Counter[str] = collections.Counter()
        self.decided: set[tuple[str, str, frozenset[str]]] = set()
        self.steps: list[list[str]] = []
        self.interrupted: set[str] = set()
        self.kept: list[str] = []

    # What may be done now.

    def could_execute(self, name: str) -> bool:
        """Is the atom ready to execute, its deciders left aside?"""
        state, intention = self.record.state, self.record.intention
        startable = (PENDING, RETRYING) if self.is_retry(name) else (PENDING,)
        return (
            state[name] in startable
            and intention[name] == EXECUTE
            and all(
                state[other] in (SUCCESS, IGNORE) and intention[other] in (EXECUTE, IGNORE)
                for other in self.picture.before(name)
            )
        )

    def could_revert(self, name: str) -> bool:
        """Is the atom ready to be reverted, or a retry ready to start anew?"""
        state, intention = self.record.state, self.record.intention
        return (
            state[name] in (SUCCESS, FAILURE)
            and intention[name] in (REVERT, RETRY)
            and all(state[other] in (PENDING, REVERTED, IGNORE) for other in self.picture.after(name))
        )

    def is_retry(self, name: str) -> bool:
        """Is it a retry?"""
        return isinstance(self.picture.atoms[name], Retry)

    def settle_deciders(self) -> None:
        """Ask the deciders of all atoms that could execute, until no further atom gets ignored."""
        changed = True
        while changed:
            changed = False
            for name in self.picture.atoms:
                if self.could_execute(name) and not self.admitted(name):
                    changed = True

    def admitted(self, name: str) -> bool:
        """Let the deciders of the atom vote; a no is put into effect."""
        links = self.picture.deciding_links(name)
        ignored = {link.source for link in links if self.record.state.get(link.source) == IGNORE}
        history = frozenset(link.source for link in links if link.source in self.picture.atoms) - ignored
        asked = [link for link in links if link.source not in ignored]
        self.decided.update((link.source, link.target, history) for link in asked)
        against = [link.depth for link in asked if not link.vote]
        if not against:
            return True
        depth = min(against, key=WIDEST_FIRST.index)
        followers = {
            "ALL": self.picture.after,
            "FLOW": self.picture.tasks_through_tasks,
            "NEIGHBORS": self.picture.direct_tasks,
            "ATOM": lambda _: (),
        }[depth]
        for other in (name, *followers(name)):
            self.record.state[other] = self.record.intention[other] = IGNORE
        return False

    def ready(self) -> list[str]:
        """Every atom that can be executed or reverted now."""
        self.settle_deciders()
        return [name for name in self.picture.atoms if self.could_execute(name) or self.could_revert(name)]

    # What a failure leads to.

    def resolve(self, name: str) -> tuple[str, str | None]:
        """The strategy for an atom that failed: (decision, retry that made it)."""
        governor = self.picture.governor[name]
        if governor is None:
            return REVERT_ALL, None
        if not self.record.attempts[governor]:
            text = f"{governor} was passed over and has no attempt in which the failure of {name} could be noted"
            raise Unspecified(text)
        self.asked[governor] += 1
        answer = self.picture.atoms[governor].on_failure(self.record.attempts[governor])
        if answer != REVERT:
            return answer, governor
        decision, decider = self.resolve(governor)
        if self.defer_reverts or (decider is not None and decision != REVERT):
            return decision, decider
        return REVERT, governor

    def apply(self, decision: str, governor: str | None) -> None:
        """Set the intentions that a strategy asks for."""
        intention = self.record.intention
        if decision == REVERT_ALL:
            intention.update(dict.fromkeys(intention, REVERT))
            return
        if decision == REVERT or intention[governor] != REVERT:
            intention[governor] = decision
        intention.update(dict.fromkeys(self.picture.after(governor), REVERT))

    # The run.

    def run(self) -> Outcome:
        """Play the run to its end."""
        record = self.record
        if record.flow_state == REVERTED:
            self.reset()
        todo = self.resume()
        while todo:
            todo.sort(key=lambda name: (name not in self.interrupted, -self.picture.atoms[name].priority))
            self.interrupted = set()
            self.steps.append(list(todo))
            done = [(name, *self.submit(name)) for name in todo]
            if not self.freedom.by_priority:
                done.sort(key=lambda item: list(self.picture.atoms).index(item[0]))
            for name, what, failed in done:
                self.complete(name, what, failed)
                if self.freedom.look_after_each and (self.freedom.look_when_kept or not self.kept):
                    self.settle_deciders()
            if self.kept:
                if self.freedom.look_when_kept:
                    self.settle_deciders()
                break
            todo = self.ready()
        return self.end()

    def reset(self) -> None:
        """Forget everything but how often each atom ended."""
        self.record = Record(outcomes=self.record.outcomes)
        for name in self.picture.atoms:
            self.record.state[name] = PENDING
            self.record.intention[name] = EXECUTE
            self.record.attempts[name] = 0

    def resume(self) -> list[str]:
        """Start from what is recorded: the atoms of the first step."""
        state = self.record.state
        restarted: set[str] = set()
        if not self.never_resolve:
            for name in self.picture.atoms:
                if state[name] == FAILURE:
                    self.apply(*self.resolve(name))
            for name in self.picture.atoms:
                if state[name] == RETRYING:
                    self.restart(name)
                    restarted.update(self.picture.after(name))
        unfinished = {name for name in state if state[name] in (RUNNING, REVERTING)} - restarted
        # What was interrupted is begun again before anything else is begun.
        self.interrupted = unfinished
        return [name for name in self.picture.atoms if name in unfinished.union(self.ready())]

    def restart(self, name: str) -> None:
        """Put everything after a retry back to its start."""
        self.record.intention[name] = EXECUTE
        for other in self.picture.after(name):
            self.record.state[other] = PENDING
            self.record.intention[other] = EXECUTE

    def submit(self, name: str) -> tuple[str, bool]:
        """Execute or revert, without taking note of the outcome: what was done, and whether it failed."""
        atom, record = self.picture.atoms[name], self.record
        intention = record.intention[name]
        if intention == REVERT:
            record.state[name] = REVERTING
            self.reverted[name] += 1
            return REVERT, atom.revert_fails
        if intention == RETRY and self.is_retry(name):
            self.restart(name)
        elif intention != EXECUTE:
            raise Unspecified(f"{name} was left running with intention {intention}")
        record.state[name] = RUNNING
        self.executed[name] += 1
        return EXECUTE, fails_in(atom, record.outcomes[name] + 1)

    def complete(self, name: str, what: str, failed: bool) -> None:
        """Take note of an outcome."""
        record = self.record
        if what == REVERT:
            record.state[name] = REVERT_FAILURE if failed else REVERTED
            if failed:
                record.revert_failures.add(name)
                self.kept.append(f"revert of {name}")
            else:
                record.attempts[name] = 0
            return
        record.outcomes[name] += 1
        record.state[name] = FAILURE if failed else SUCCESS
        if not failed:
            record.failures.discard(name)
            record.attempts[name] += 1
        else:
            record.failures.add(name)
            if self.never_resolve:
                self.kept.append(name)
            else:
                self.apply(*self.resolve(name))

    def end(self) -> Outcome:
        """The final flow state, and what is raised."""
        record = self.record
        states = set(record.state.values())
        raised: set[str] = set()
        if self.kept:
            record.flow_state = FAILURE
            raised.update(self.kept)
        elif states <= {SUCCESS, IGNORE}:
            record.flow_state = SUCCESS
        else:
            left = [name for name in self.picture.atoms if self.could_execute(name) or self.could_revert(name)]
            assert not left, f"the model stopped though {left} could go on"
            record.flow_state = FAILURE if states & {FAILURE, REVERT_FAILURE} else REVERTED
            raised.update(record.failures, (f"revert of {name}" for name in record.revert_failures))
        return Outcome(
            flow_state=record.flow_state,
            states=dict(record.state),
            intentions=started(record.state, record.intention),
            executed=dict(self.executed),
            reverted=dict(self.reverted),
            raised=frozenset(raised),
            steps=self.steps,
            asked=dict(self.asked),
            decided=frozenset(self.decided),
        )


def started(states: dict[str, str], intentions: dict[str, str]) -> dict[str, str]:
    """The intentions of atoms that are not as in the beginning; of the others nobody can see it before they run."""
    return {name: intention for name, intention in intentions.items() if states[name] != PENDING}


def outcomes(root: Flow, record: Record | None = None, **options: bool) -> list[Outcome]:
    """Every outcome that the rules allow."""
    found: list[Outcome] = []
    for freedom in FREEDOMS:
        outcome = Model(root, record, freedom, **options).run()
        if outcome not in found:
            found.append(outcome)
    return found


def describe(part: Flow | Task, indent: str = "") -> str:
    """The flow as a few lines of text for a report of a failing example."""
    if isinstance(part, Task):
        return f"{indent}{part}"
    head = f"{indent}{part.kind} flow {part.name}" + (f" with {part.retry}" if part.retry else "")
    links = [f"{indent}    {link}" for link in part.links]
    return "\n".join([head, *(describe(child, indent + "    ") for child in part.children), *links])


picture_of = functools.lru_cache(maxsize=64)(Picture)
