# SPDX-License-Identifier: Apache-2.0
"""How do the engine tests build flows, record what an engine tells, and read it back as short texts?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from taskflow import engines, exceptions, retry, states, task
from taskflow import storage as storages
from taskflow.engines.action_engine import compiler, executor
from taskflow.engines.action_engine import runtime as runtimes
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.types import failure, notifier
from taskflow.utils import persistence_utils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _answer(value: Any, kwargs: dict[str, Any]) -> Any:
    """What a scripted method gives: a class or object of an exception is raised, a function is called."""
    if isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException)):
        raise value
    return value(**kwargs) if callable(value) else value


class Step(task.Task):
    """A task that does what its arguments say, and remembers what it was called with."""

    def __init__(self, name: str, gives: Any = 5, undo: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.gives = gives
        self.undo = undo
        self.executed: list[dict[str, Any]] = []
        self.reverted: list[dict[str, Any]] = []

    def execute(self, **kwargs: Any) -> Any:
        self.executed.append(kwargs)
        return _answer(self.gives, kwargs)

    def revert(self, **kwargs: Any) -> Any:
        self.reverted.append(kwargs)
        return _answer(self.undo, kwargs)


class Judge(retry.Retry):
    """A retry that counts its attempts and answers from a list (the last answer stays in force)."""

    def __init__(self, name: str, *answers: Any, gives: Any = None, undo: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.answers = list(answers)
        self.gives = gives
        self.undo = undo
        self.asked: list[list[tuple[Any, list[str]]]] = []
        self.asked_with: list[dict[str, Any]] = []
        self.executed: list[dict[str, Any]] = []
        self.reverted: list[dict[str, Any]] = []

    def execute(self, history: Any, **kwargs: Any) -> Any:
        self.executed.append(kwargs)
        return len(history) + 1 if self.gives is None else _answer(self.gives, {"history": history, **kwargs})

    def on_failure(self, history: Any, **kwargs: Any) -> Any:
        self.asked.append([(given, sorted(failures)) for given, failures in history])
        self.asked_with.append(kwargs)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return _answer(answer, {"history": history, **kwargs})

    def revert(self, history: Any, **kwargs: Any) -> Any:
        self.reverted.append({"history": history, **kwargs})
        return _answer(self.undo, kwargs)


def show(value: Any) -> str:
    """A result as text; a failure is shown by the class and text of its exception."""
    if isinstance(value, failure.Failure):
        return f"{next(iter(value)).rpartition('.')[2]}: {value.exception_str}"
    return repr(value)


def show_error(error: BaseException | None) -> str:
    """An exception as text, a wrapped one by its parts; no exception gives an empty text."""
    if error is None:
        return ""
    if isinstance(error, exceptions.WrappedFailure):
        return (
            "WrappedFailure[" + ", ".join(f"{next(iter(f)).rpartition('.')[2]}: {f.exception_str}" for f in error) + "]"
        )
    return f"{type(error).__name__}: {error}"


class Recording:
    """Everything one engine tells on its two notifiers, as texts in order.

    An atom's event is ``<name>.<t|r> <state>`` followed by ``(<result>)`` when the event has one, a flow's
    is ``<name>.f <state>``. ``moves`` has the same events with ``<old>><new>`` in place of the state.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.events: list[str] = []
        self.moves: list[str] = []
        self.details: list[tuple[str, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.on: dict[str, Callable[[], Any]] = {}
        engine.notifier.register(notifier.Notifier.ANY, self._heard)
        engine.atom_notifier.register(notifier.Notifier.ANY, self._heard)

    def _heard(self, state: str, details: dict[str, Any]) -> None:
        self.details.append((state, details))
        kind = next(kind for kind in ("flow", "task", "retry") if f"{kind}_name" in details)
        name = f"{details[kind + '_name']}.{kind[0]}"
        result = f"({show(details['result'])})" if "result" in details else ""
        self.events.append(f"{name} {state}{result}")
        self.moves.append(f"{name} {details['old_state']}>{state}")
        action = self.on.get(f"{name} {state}")
        if action is not None:
            action()

    def run(self) -> Recording:
        """Run the engine once more; what it raises is kept, not raised."""
        self.clear()
        self.error = None
        try:
            self.engine.run()
        except Exception as e:
            self.error = e
        return self

    def clear(self) -> None:
        for seen in (self.events, self.moves, self.details):
            seen.clear()

    @property
    def raised(self) -> str:
        return show_error(self.error)

    @property
    def state(self) -> str:
        return self.engine.storage.get_flow_state()

    @property
    def flow_moves(self) -> list[str]:
        return [move.split()[1] for move in self.moves if move.split()[0].endswith(".f")]

    @property
    def atoms(self) -> list[str]:
        """The atoms' events only."""
        return [event for event in self.events if not event.split()[0].endswith(".f")]

    @property
    def starts(self) -> list[str]:
        """Names of the atoms that were started, in order."""
        return [event.split(".")[0] for event in self.events if event.endswith(" RUNNING") and ".f" not in event]

    def atom_states(self, *names: str) -> list[str]:
        pairs = self.engine.storage.get_atoms_states(names)
        return ["/".join(pairs[name]) for name in names]


class Bench:
    """A flow with a runtime of its own and no engine, and what is heard of its atoms."""

    def __init__(self, flow: Any, options: Any = None, compilation: Any = None) -> None:
        self.storage = storages.Storage(persistence_utils.create_flow_detail(flow))
        self.heard: list[str] = []
        atom_notifier = notifier.Notifier()
        atom_notifier.register("*", self._hear)
        self.runtime = runtimes.Runtime(
            compilation or compiler.PatternCompiler(flow).compile(),
            self.storage,
            atom_notifier,
            executor.SerialTaskExecutor(),
            executor.SerialRetryExecutor(),
            options,
        )
        self.runtime.compile()
        self.storage.ensure_atoms(list(self.runtime.iterate_nodes(compiler.ATOMS)))
        self.storage.set_flow_state(states.RUNNING)
        self.atoms = {a.name: a for a in self.runtime.iterate_nodes(compiler.ATOMS)}

    def _hear(self, state: str, details: dict[str, Any]) -> None:
        name = details.get("task_name") or details.get("retry_name")
        result = details.get("result", "")
        result = "(!)" if isinstance(result, failure.Failure) else "" if result == "" else f"({result})"
        self.heard.append(f"{name} {details['old_state']}>{state}{result}")

    def news(self) -> list[str]:
        """What was heard since the last call."""
        heard, self.heard[:] = list(self.heard), []
        return heard

    def set(self, words: str) -> Bench:
        """``a=SUCCESS b=PENDING/REVERT``: the state and the intention of atoms, with what these imply."""
        for word in words.split():
            name, _, pair = word.partition("=")
            state, _, intention = pair.partition("/")
            if state == "SUCCESS":
                self.storage.save(name, 1)
            elif state == "FAILURE":
                self.storage.save(name, Kit.failure("no luck"), "FAILURE")
            elif state == "REVERTED":
                self.storage.save(name, None, "REVERTED")
            else:
                self.storage.set_atom_state(name, state)
            if intention:
                self.storage.set_atom_intention(name, intention)
        return self

    def standing(self, *names: str) -> str:
        """What is recorded of atoms, in the words of :meth:`set`."""
        pairs = self.storage.get_atoms_states(names or self.atoms)
        return " ".join(f"{name}={state}/{intention}" for name, (state, intention) in pairs.items())

    def history(self, name: str = "r") -> list[Any]:
        """The attempts of a retry: what each gave, and the names of what failed in it."""
        return [(given, sorted(failures)) for given, failures in self.storage.get_retry_history(name)]

    def next(self, name: str | None = None) -> dict[str, str]:
        """The atoms that may start now (behind one of them), with who has a say about each."""
        atom = None if name is None else self.atoms[name]
        return {a.name: type(d).__name__ for a, d in self.runtime.selector.iter_next_atoms(atom)}


class Kit:
    """The words of the engine tests."""

    Step = Step
    Judge = Judge
    Bench = Bench
    show = staticmethod(show)
    show_error = staticmethod(show_error)

    @staticmethod
    def step(what: Any) -> Any:
        """``a`` gives 5, ``F!`` raises, ``N~`` raises in its revert; ``a>x`` provides x; the rest as it is."""
        if not isinstance(what, str):
            return what
        what, _, provides = what.partition(">")
        name = what.rstrip("!~")
        return Step(
            name,
            gives=RuntimeError(name) if what.endswith("!") else 5,
            undo=RuntimeError(f"{name} revert") if what.endswith("~") else None,
            provides=provides or None,
        )

    def linear(self, name: str, *items: Any, retry: Any = None) -> linear_flow.Flow:
        return linear_flow.Flow(name, retry=retry).add(*map(self.step, items))

    def unordered(self, name: str, *items: Any, retry: Any = None) -> unordered_flow.Flow:
        return unordered_flow.Flow(name, retry=retry).add(*map(self.step, items))

    def graph(
        self, name: str, *items: Any, links: Iterable[tuple[Any, ...]] = (), retry: Any = None
    ) -> graph_flow.Flow:
        """Links name their two ends, and may have a decider (or a plain answer) and a depth."""
        flow = graph_flow.Flow(name, retry=retry).add(*map(self.step, items))
        by_name = {item.name: item for item in flow}
        for source, target, *decision in links:
            decider = decision[0] if decision else None
            if isinstance(decider, bool):
                decider = self.always(decider)
            depth = decision[1] if len(decision) > 1 else None
            flow.link(by_name[source], by_name[target], decider=decider, decider_depth=depth)
        return flow

    @staticmethod
    def always(answer: Any) -> Callable[..., Any]:
        """A decider with one answer."""

        def decider(history: Any) -> Any:
            return answer

        return decider

    def load(self, flow: Any, **kwargs: Any) -> Recording:
        return Recording(engines.load(self.step(flow), **kwargs))

    def run(self, flow: Any, **kwargs: Any) -> Recording:
        return self.load(flow, **kwargs).run()

    @staticmethod
    def events(text: str) -> list[str]:
        """A trace written as one text: events parted by commas or line ends."""
        return [event.strip() for event in re.split(r"[,\n]", text) if event.strip()]

    def left(self, flow: Any, atoms: str = "", state: str | None = "RUNNING", **kwargs: Any) -> Recording:
        """A new engine on a flow detail that another one left in the given states.

        ``atoms`` is like ``a=SUCCESS b=RUNNING/REVERT r=SUCCESS/RETRY``; an atom that is not named is PENDING/EXECUTE.
        What the state implies is there too: results, failures, one entry in the history of a retry.
        """
        old = engines.load(flow)
        old.compile()
        old.prepare()
        storage = old.storage
        kinds = {node: data["kind"] for node, data in old.compilation.execution_graph.nodes(data=True)}
        retries = {node.name for node, kind in kinds.items() if kind == "retry"}
        for word in atoms.split():
            name, _, pair = word.partition("=")
            atom_state, _, intention = pair.partition("/")
            if atom_state in {"SUCCESS", "REVERTING", "REVERTED", "REVERT_FAILURE", "RETRYING"}:
                storage.save(name, 1 if name in retries else 5)
            if atom_state == "FAILURE":
                storage.save(name, self.failure(name), "FAILURE")
            storage.set_atom_intention(name, intention or "EXECUTE")
            if atom_state == "REVERTED":
                storage.save(name, None, "REVERTED")
            if atom_state == "REVERT_FAILURE":
                storage.save(name, self.failure(f"{name} revert"), "REVERT_FAILURE")
            storage.set_atom_state(name, atom_state)
        detail = storage._flowdetail
        detail.state = state
        return self.load(flow, flow_detail=detail, **kwargs)

    @staticmethod
    def failure(text: str, kind: type[Exception] = RuntimeError) -> failure.Failure:
        try:
            raise kind(text)
        except kind:
            return failure.Failure()


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
