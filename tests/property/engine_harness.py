# SPDX-License-Identifier: Apache-2.0
"""How is a described flow built from the library's classes, run, watched, stopped and taken up again?"""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import re
from typing import Any

import engine_model as em

from taskflow import engines, retry, task
from taskflow import exceptions as exc
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory

MACHINE_STATES = ("RESUMING", "SCHEDULING", "WAITING", "ANALYZING")


# How an atom fails that is described to fail.
RAISING, REFUSED, MIXED = "raising", "refused", "mixed"
_REFUSAL = re.compile(r"What came of (the reversion of )?(?:task|retry) '(\w+)' of flow '\w+' can not be stored")


class BrokenError(RuntimeError):
    """The failure of an atom; its text is the atom's name, or 'revert of <name>'."""


class Unstorable:
    """What a backend refuses that copies what it is given."""

    def __deepcopy__(self, memo: object) -> object:
        raise TypeError("not to be copied")


def culprit(text: str) -> str:
    """Whose failure that is, by its text: an atom's name, or 'revert of <name>'."""
    refusal = _REFUSAL.match(text)
    return text if refusal is None else ("revert of " if refusal[1] else "") + refusal[2]


class Watch:
    """Decides which atoms fail, and notes everything that happens."""

    breaking = RAISING
    # Whether a listener notes what comes of atoms.
    listens = True

    def __init__(self, record: em.Record | None = None) -> None:
        self.log: list[tuple[str, ...]] = []
        self.outcomes: collections.Counter[str] = collections.Counter(record.outcomes if record else ())
        self.open: set[str] = set()
        self.asked: collections.Counter[str] = collections.Counter()
        self.decided: set[tuple[str, str, frozenset[str]]] = set()
        self.results: dict[str, str] = {}
        self.hooks: list[Any] = []

    def note(self, *entry: str) -> None:
        self.log.append(entry)
        for hook in self.hooks:
            hook(entry)

    def execute(self, atom: em.Task | em.Retry) -> object:
        number = self.outcomes[atom.name] + 1
        if not self.listens:
            self.outcomes[atom.name] += 1
        self.open.add(atom.name)
        self.note("execute", atom.name)
        if em.fails_in(atom, number):
            self.results.pop(atom.name, None)
            return self.broken(atom.name)
        self.results[atom.name] = f"{atom.name} made in {number}"
        return self.results[atom.name]

    def broken(self, text: str) -> Unstorable:
        """Fails in the way of this run."""
        if self.breaking == RAISING or (self.breaking == MIXED and ord(text[-1]) % 2):
            raise BrokenError(text)
        return Unstorable()

    def revert(self, atom: em.Task | em.Retry, result: object = None) -> object:
        self.note("revert", atom.name)
        expected = self.results.get(atom.name)
        if isinstance(atom, em.Task) and result is not None and expected is not None and result != expected:
            text = str(getattr(result, "exception_str", None))
            assert culprit(text) == atom.name, f"revert of {atom.name} got {result!r}"
        return self.broken(f"revert of {atom.name}") if atom.revert_fails else None

    def decide(self, link: em.Link, history: dict[str, Any]) -> bool:
        self.decided.add((link.source, link.target, frozenset(history)))
        self.note("decide", link.source, link.target)
        return link.vote

    def on_atom(self, state: str, details: dict[str, Any]) -> None:
        name = details.get("task_name") or details["retry_name"]
        assert not isinstance(details.get("result"), Unstorable), "what can not be stored was told as a result"
        if state in ("SUCCESS", "FAILURE"):
            self.outcomes[name] += 1
            self.open.discard(name)
            if state == "FAILURE":
                self.results.pop(name, None)
        self.note("state", name, state)

    def on_flow(self, state: str, details: dict[str, Any]) -> None:
        self.note("flow", state)

    def steps(self) -> list[list[str]]:
        """The atoms of each step in which anything was submitted, as far as steps were looked at."""
        if not any(entry[0] == "machine" for entry in self.log):
            return []
        found: list[list[str]] = []
        scheduling = False
        for entry in self.log:
            if entry[0] == "machine":
                scheduling = entry[1] == "SCHEDULING"
                if scheduling:
                    found.append([])
            elif entry[0] in ("execute", "revert"):
                assert scheduling, f"{entry} came outside of a scheduling step"
                found[-1].append(entry[1])
        return [step for step in found if step]

    def count(self, what: str) -> dict[str, int]:
        return dict(collections.Counter(entry[1] for entry in self.log if entry[0] == what))


class WatchedTask(task.Task):
    def __init__(self, spec: em.Task, watch: Watch) -> None:
        super().__init__(name=spec.name)
        self.priority = spec.priority
        self._spec, self._watch = spec, watch

    def execute(self) -> object:
        return self._watch.execute(self._spec)

    def revert(self, result: object, flow_failures: object) -> object:
        return self._watch.revert(self._spec, result)


class _Watched:
    _spec: em.Retry
    _watch: Watch

    def execute(self, history: Any, **kwargs: Any) -> Any:
        broken = self._watch.execute(self._spec)
        made = super().execute(history=history, **kwargs)
        return broken if isinstance(broken, Unstorable) else made

    def revert(self, history: Any, **kwargs: Any) -> Any:
        broken = self._watch.revert(self._spec)
        made = super().revert(history=history, **kwargs)
        return broken if isinstance(broken, Unstorable) else made

    def on_failure(self, history: Any, **kwargs: Any) -> Any:
        self._watch.asked[self._spec.name] += 1
        self._watch.note("asked", self._spec.name)
        return super().on_failure(history=history, **kwargs)


class WatchedTimes(_Watched, retry.Times):
    pass


class WatchedAlwaysRevert(_Watched, retry.AlwaysRevert):
    pass


class WatchedAlwaysRevertAll(_Watched, retry.AlwaysRevertAll):
    pass


def build_retry(spec: em.Retry, watch: Watch) -> retry.Retry:
    made: retry.Retry
    if spec.kind == "times":
        made = WatchedTimes(spec.attempts, name=spec.name, revert_all=spec.final == em.REVERT_ALL)
    elif spec.kind == "revert":
        made = WatchedAlwaysRevert(name=spec.name)
    else:
        made = WatchedAlwaysRevertAll(name=spec.name)
    made._spec, made._watch = spec, watch
    return made


PATTERNS = {"linear": linear_flow.Flow, "unordered": unordered_flow.Flow, "graph": graph_flow.Flow}


def build(spec: em.Flow, watch: Watch) -> Any:
    """The library's flow for a described one."""
    flow = PATTERNS[spec.kind](spec.name, retry=build_retry(spec.retry, watch) if spec.retry else None)
    children = {
        child.name: build(child, watch) if isinstance(child, em.Flow) else WatchedTask(child, watch)
        for child in spec.children
    }
    flow.add(*children.values())
    for link in spec.links:
        ends = children[link.source], children[link.target]
        if link.depth is None:
            flow.link(*ends)
        else:
            flow.link(*ends, decider=_decider(link, watch), decider_depth=link.depth)
    return flow


def _decider(link: em.Link, watch: Watch) -> Any:
    def decide(history: dict[str, Any]) -> bool:
        return watch.decide(link, history)

    return decide


def load(spec: em.Flow, watch: Watch, **kwargs: Any) -> Any:
    """An engine for a described flow, with the watch listening."""
    engine = engines.load(build(spec, watch), **kwargs)
    if watch.listens:
        engine.atom_notifier.register("*", watch.on_atom)
    engine.notifier.register("*", watch.on_flow)
    return engine


def drive(engine: Any, watch: Watch, suspend_at: int | None = None) -> frozenset[str]:
    """Run to the end, asking for suspension at a step: the names of the failures that were raised."""

    def steps() -> None:
        runner = engine.run_iter()
        with contextlib.suppress(StopIteration):
            state = next(runner)
            for number in range(100_000):
                watch.note("machine", state)
                state = runner.send(number == suspend_at)
            msg = "the run did not come to an end"
            raise AssertionError(msg)

    return raised_by(steps)


def raised_by(run: Any) -> frozenset[str]:
    """Run in one way or another: the names of the failures that were raised."""
    try:
        run()
    except (BrokenError, exc.StorageFailure) as e:
        return frozenset([culprit(str(e))])
    except exc.WrappedFailure as e:
        if not all(failure.check(BrokenError, exc.StorageFailure) for failure in e):
            raise
        return frozenset(culprit(failure.exception_str) for failure in e)
    return frozenset()


def outcome(spec: em.Flow, engine: Any, watch: Watch, raised: frozenset[str]) -> em.Outcome:
    """What the engine did, in the model's terms."""
    names = [atom.name for atom in em.atoms_of(spec)]
    states = {name: engine.storage.get_atom_state(name) for name in names}
    return em.Outcome(
        flow_state=engine.storage.get_flow_state(),
        states=states,
        intentions=em.started(states, {name: engine.storage.get_atom_intention(name) for name in names}),
        executed=watch.count("execute"),
        reverted=watch.count("revert"),
        raised=raised,
        steps=watch.steps(),
        asked=dict(watch.asked),
        decided=frozenset(watch.decided),
    )


def run(spec: em.Flow, **options: bool) -> tuple[em.Outcome, Watch]:
    """One uninterrupted run."""
    watch = Watch()
    engine = load(spec, watch, **options)
    raised = drive(engine, watch)
    return outcome(spec, engine, watch, raised), watch


def check_same(spec: em.Flow, allowed: list[em.Outcome], seen: em.Outcome, leave_out: tuple[str, ...] = ()) -> None:
    """The outcome seen must be one of those allowed."""
    fields = [field.name for field in dataclasses.fields(em.Outcome) if field.name not in leave_out]

    def wrong(other: em.Outcome) -> list[str]:
        return [name for name in fields if getattr(other, name) != getattr(seen, name)]

    nearest = min(allowed, key=lambda other: len(wrong(other)))
    if wrong(nearest):
        lines = [f"{name}: expected {getattr(nearest, name)}, got {getattr(seen, name)}" for name in wrong(nearest)]
        raise AssertionError("\n".join(["", em.describe(spec), *lines, f"steps seen: {seen.steps}"]))


def check_order(spec: em.Flow, log: list[tuple[str, ...]], states: dict[str, str] | None = None) -> None:
    """Atoms start after everything before them ended well, and are reverted after everything behind them."""
    picture = em.picture_of(spec)
    now = dict.fromkeys(picture.atoms, em.PENDING) | (states or {})
    left_over = {name for name, state in now.items() if state in (em.RUNNING, em.REVERTING)}
    ran = {name for name, state in now.items() if state not in (em.PENDING, em.IGNORE, em.REVERTED)}
    for entry in log:
        if entry[0] == "state":
            now[entry[1]] = entry[2]
            continue
        if entry[0] not in ("execute", "revert"):
            continue
        what, name = entry
        if what == "execute":
            ran.add(name)
        else:
            assert name in ran, f"revert of {name} though it did not run\n{em.describe(spec)}"
            ran.discard(name)
        if name in left_over:  # taken up again whatever became of its neighbours
            left_over.discard(name)
            continue
        if what == "execute":
            bad = {n: now[n] for n in picture.before(name) if now[n] not in (em.SUCCESS, em.IGNORE)}
        else:
            bad = {n: now[n] for n in picture.after(name) if now[n] not in (em.PENDING, em.REVERTED, em.IGNORE)}
        assert not bad, f"{what} of {name} started while {bad}\n{em.describe(spec)}"


def check_end(spec: em.Flow, engine: Any, watch: Watch, raised: frozenset[str]) -> None:
    """What holds for every end, whatever came first."""
    names = [atom.name for atom in em.atoms_of(spec)]
    now = {name: engine.storage.get_atom_state(name) for name in names}
    executed, reverted = watch.count("execute"), watch.count("revert")
    flow_state = engine.storage.get_flow_state()
    for atom in em.atoms_of(spec):
        if isinstance(atom, em.Task):
            done, undone = executed.get(atom.name, 0), reverted.get(atom.name, 0)
            state = now[atom.name]
            assert done - undone == (state in {em.SUCCESS, em.FAILURE}), (
                f"{atom}: {state}, {done} done, {undone} undone"
            )
    if flow_state == em.SUCCESS:
        assert not raised
        assert set(now.values()) <= {em.SUCCESS, em.IGNORE}
    elif flow_state == em.REVERTED:
        assert raised
        # A retry that gives up for its own flow only leaves what is around it as it is.
        local = any(isinstance(atom, em.Retry) for atom in em.atoms_of(spec))
        assert set(now.values()) <= {em.PENDING, em.REVERTED, em.IGNORE, *([em.SUCCESS] if local else [])}
    else:
        assert flow_state == em.FAILURE
        assert em.REVERT_FAILURE in now.values()
    check_order(spec, watch.log)


def check_priorities(spec: em.Flow, steps: list[list[str]]) -> None:
    """Within a step a higher priority comes first."""
    atoms = em.picture_of(spec).atoms
    for step in steps:
        priorities = [atoms[name].priority for name in step]
        assert priorities == sorted(priorities, reverse=True), f"{step} have priorities {priorities}"


@dataclasses.dataclass
class Snapshot:
    """What a crash would have left."""

    flow: dict[str, Any]
    atoms: list[tuple[str, dict[str, Any]]]
    outcomes: collections.Counter[str]
    at: str = ""

    def record(self) -> em.Record:
        """The snapshot in the model's terms."""
        record = em.Record(flow_state=self.flow["state"] or em.PENDING, outcomes=collections.Counter(self.outcomes))
        for kind, atom in self.atoms:
            name = atom["name"]
            record.state[name] = atom["state"] or em.PENDING
            record.intention[name] = atom["intention"]
            record.attempts[name] = len(atom["results"]) if kind == "RETRY_DETAIL" else 0
            if atom["failure"]:
                record.failures.add(name)
            if atom["revert_failure"]:
                record.revert_failures.add(name)
        return record


def crash_points(snapshots: list[Snapshot], places: list[float]) -> list[Snapshot]:
    """The states at those places of the run (0 is its start, 1 its end), each different one counting once."""
    different: list[Snapshot] = []
    for snapshot in snapshots:
        if not different or different[-1].record() != snapshot.record():
            different.append(snapshot)
    return [different[number] for number in sorted({round(place * (len(different) - 1)) for place in places})]


class CrashingBackend(impl_memory.MemoryBackend):
    """A memory backend that counts as one that survives, and remembers every state that was committed."""

    durable = True

    def __init__(self) -> None:
        super().__init__({"deep_copy": True})
        self.snapshots: list[Snapshot] = []
        self.watch: Watch | None = None
        self.flow_uuid = ""

    def get_connection(self) -> Any:
        return _CrashingConnection(self)

    def remember(self, at: str) -> None:
        if self.watch is None:
            return
        with contextlib.closing(impl_memory.Connection(self)) as connection:
            detail = connection.get_flow_details(self.flow_uuid)
        self.snapshots.append(snapshot_of(detail, self.watch, at))


class _CrashingConnection(impl_memory.Connection):
    _depth = 0

    def _remembering(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        self._depth += 1
        try:
            result = method(*args, **kwargs)
        finally:
            self._depth -= 1
        if not self._depth:
            self.backend.remember(f"commit after {self.backend.watch.log[-1:] if self.backend.watch else ''}")
        return result

    def update_flow_details(self, *args: Any, **kwargs: Any) -> Any:
        return self._remembering(super().update_flow_details, *args, **kwargs)

    def update_atom_details(self, *args: Any, **kwargs: Any) -> Any:
        return self._remembering(super().update_atom_details, *args, **kwargs)

    def write(self, *args: Any, **kwargs: Any) -> Any:
        return self._remembering(super().write, *args, **kwargs)


def snapshot_of(detail: models.FlowDetail, watch: Watch, at: str = "") -> Snapshot:
    """What is recorded in a flow detail."""
    atoms = [(models.atom_detail_type(atom), atom.to_dict()) for atom in detail]
    outcomes = collections.Counter(watch.outcomes)
    for _, atom in atoms:
        if atom["name"] in watch.open and atom["state"] in (em.SUCCESS, em.FAILURE):
            outcomes[atom["name"]] += 1
    return Snapshot(detail.to_dict(), atoms, outcomes, at)


def run_remembering(
    spec: em.Flow, snapshot: Snapshot | None = None, **kwargs: Any
) -> tuple[em.Outcome, Watch, list[Snapshot]]:
    """Run from a snapshot or from the start, remembering every state that a crash could have left."""
    watch, engine, backend = load_surviving(spec, snapshot, **kwargs)
    backend.watch, backend.flow_uuid = watch, engine.storage.flow_uuid
    watch.hooks.append(lambda entry: backend.remember(f"in {entry}"))
    raised = drive(engine, watch)
    return outcome(spec, engine, watch, raised), watch, backend.snapshots


def run_after_crash(spec: em.Flow, snapshot: Snapshot, **kwargs: Any) -> tuple[em.Outcome, Watch]:
    """Run from a snapshot to the end."""
    watch, engine, _ = load_surviving(spec, snapshot, **kwargs)
    raised = drive(engine, watch)
    return outcome(spec, engine, watch, raised), watch


def load_surviving(
    spec: em.Flow, snapshot: Snapshot | None = None, breaking: str = RAISING, listens: bool = True, **kwargs: Any
) -> tuple[Watch, Any, CrashingBackend]:
    """An engine that goes on from a snapshot, or from the start, on a backend of its own."""
    watch = Watch(snapshot.record() if snapshot else None)
    watch.breaking, watch.listens = breaking, listens
    backend = CrashingBackend()
    book = models.LogBook("book")
    if snapshot:
        detail = models.FlowDetail.from_dict(snapshot.flow)
        for kind, atom in copy.deepcopy(snapshot.atoms):
            detail.add(models.atom_detail_class(kind).from_dict(atom))
    else:
        detail = models.FlowDetail(spec.name, "00000000-0000-4000-8000-000000000000")
    book.add(detail)
    with contextlib.closing(backend.get_connection()) as connection:
        connection.save_logbook(book)
    return watch, load(spec, watch, flow_detail=detail, book=book, backend=backend, **kwargs), backend
