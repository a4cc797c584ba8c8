# SPDX-License-Identifier: Apache-2.0
"""How is a flow taken through its life: compiled, prepared, validated, run, suspended, reset?"""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from taskflow import atom as atoms
from taskflow import exceptions as exc
from taskflow import logging, states
from taskflow import storage as storages
from taskflow.engines import base
from taskflow.engines.action_engine import compiler, executor, launching, layout, loop, runtime, scopes
from taskflow.types import failure
from taskflow.utils import misc, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from taskflow.persistence import base as persistence
    from taskflow.persistence import models

LOG = logging.getLogger(__name__)


# What to do about a flow whose state is in the way of what was asked for.
_WAYS_ON = {
    states.RUNNING: "let its run end first, or go on with it",
    states.SUSPENDING: "let its run end first, or go on with it in a new engine on its flow detail",
    states.RESUMING: "go on with it in a new engine on its flow detail",
    states.SUSPENDED: "run it to its end first",
    states.FAILURE: "run it again until it ends in another way",
}


class ActionEngine(base.Engine):
    """Runs the atoms of a flow as soon as what they wait for has ended; undoes, retries and resumes.

    Args:
        flow: The flow, or a lone task.
        flow_detail: Its record.
        backend: Where the record is saved; ``None`` for nowhere but in memory.
        options: ``defer_reverts``, ``never_resolve``, ``inject_transient``, ``gather_statistics`` (booleans or words
            for them), and those of the subclass.
    """

    NO_RERAISING_STATES = frozenset((states.SUSPENDED, states.SUCCESS))
    IGNORABLE_STATES = frozenset(
        (states.SCHEDULING, states.WAITING, states.RESUMING, states.ANALYZING, loop.GAME_OVER, loop.UNDEFINED)
    )
    #: How many of the last phases are named in the log when a run fails.
    MAX_MACHINE_STATES_RETAINED = 10

    def __init__(
        self,
        flow: Any,
        flow_detail: models.FlowDetail,
        backend: persistence.Backend | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(flow, flow_detail, backend, options)
        self._lock = threading.RLock()
        self._runtime: runtime.Runtime | None = None
        self._compilation: compiler.Compilation | None = None
        self._prepared = False
        self._compiler = compiler.PatternCompiler(flow)
        self._task_executor: Any = executor.SerialTaskExecutor()
        self._retry_executor = executor.SerialRetryExecutor()
        self._inject_transient = texts.as_bool(self._options.get("inject_transient", True))
        self._gather_statistics = texts.as_bool(self._options.get("gather_statistics", True))
        self._statistics: dict[str, Any] = {}
        # One run at a time: who drives it, and whether a suspension came before the flow was RUNNING.
        self._turn = threading.Lock()
        self._gate = threading.Lock()
        self._starting = False
        self._suspend_early = False
        self._current: loop.Loop | None = None
        self._left_by: BaseException | None = None

    # -- what it is about --------------------------------------------------------------------------------------------

    @misc.cachedproperty
    def storage(self) -> storages.Storage:
        """What is known of the flow; made at the first access."""
        return storages.Storage(self._flow_detail, backend=self._backend, scope_fetcher=self._scopes_of)

    def _scopes_of(self, atom_name: str) -> Any:
        return None if self._runtime is None else self._runtime.fetch_scopes_for(atom_name)

    @property
    def compilation(self) -> compiler.Compilation | None:
        """What the flow was compiled to; ``None`` until it was."""
        return self._compilation

    @property
    def statistics(self) -> dict[str, Any]:
        """Figures of the last (or present) run; the same dict all the time."""
        return self._statistics

    def _name(self) -> str:
        return str(getattr(self._flow, "name", self._flow))

    def _ready_runtime(self, what: str, prepared: bool = True) -> runtime.Runtime:
        if self._runtime is None:
            raise exc.InvalidState(f"Can not {what} flow {self._name()!r} before it is compiled: call compile() first")
        if prepared and not self._prepared:
            raise exc.InvalidState(f"Can not {what} flow {self._name()!r} before it is prepared: call prepare() first")
        return self._runtime

    # -- getting ready -----------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Compile the flow, unless that was done.

        Raises:
            TypeError: Something in it is neither a task nor a flow.
            ValueError: An object appears twice.
            Duplicate: Two atoms share a name.
        """
        if self._runtime is not None:
            return
        with self._lock:
            if self._runtime is not None:
                return
            compilation = self._compiler.compile()
            made = runtime.Runtime(
                compilation,
                self.storage,
                self.atom_notifier,
                self._task_executor,
                self._retry_executor,
                options=self._options,
            )
            names = [n for n, kind in zip(made.layout.names, made.layout.kinds, strict=True) if kind <= layout.RETRY]
            if len(set(names)) != len(names):
                again = sorted(name for name, times in collections.Counter(names).items() if times > 1)
                raise exc.Duplicate(f"Atoms with duplicate names found: {again}; each atom needs a name of its own")
            self._compilation = compilation
            self._runtime = made

    def prepare(self) -> None:
        """Make sure that every atom has a record, and reset a flow that was reverted.

        Raises:
            InvalidState: The flow is not compiled.
        """
        with self._lock:
            self._ready_runtime("prepare", prepared=False)
            self.storage.hold_connection()
            try:
                if not self._prepared:
                    self._change_state(states.RESUMING)
                    self._ensure_storage()
                    self._change_state(states.SUSPENDED)
                    self._prepared = True
                if self.storage.get_flow_state() == states.REVERTED:
                    self.reset()
            finally:
                self.storage.release_connection()

    def _ensure_storage(self) -> None:
        plan = self._ready_runtime("prepare", prepared=False).layout
        atoms = [plan.items[i] for i in plan.atoms()]
        self.storage.ensure_atoms(atoms)
        for atom in atoms:
            if atom.inject:
                if not hasattr(atom.inject, "keys"):
                    raise TypeError(
                        f"Atom {atom.name!r} of flow {self._name()!r} has {atom.inject!r} to inject: "
                        "expected a dict of names and values"
                    )
                self.storage.inject_atom_args(atom.name, atom.inject, transient=self._inject_transient)

    def validate(self) -> None:
        """Check that everything that atoms require can be provided.

        Raises:
            InvalidState: The flow is not compiled or not prepared.
            MissingDependencies: Something cannot; by ``cause`` follow the atoms concerned.
        """
        with self._lock:
            plan = self._ready_runtime("validate").layout
            unsatisfied = self.storage.fetch_unsatisfied_args
            sole = plan.sole_providers
            last: exc.MissingDependencies | None = None
            found = 0
            missing: set[Any] = set()
            lone = False
            for i in plan.atoms():
                atom = plan.items[i]
                nearby = plan.pred[i]
                before: Any = None
                lacks: set[str] = set()
                for method, mapping, optional in (
                    ("execute", atoms.arguments_of(atom), atom.optional),
                    ("revert", atoms.arguments_of(atom, revert=True), atom.revert_optional),
                ):
                    if not mapping:
                        continue
                    if before is None or before != (mapping, optional):
                        lacks = set()
                        for name in mapping.values():
                            # Most often who provides it is linked to directly; what else there is takes a closer look.
                            if sole.get(name, -1) not in nearby:
                                walker = scopes.ScopeWalker.at(plan, i)
                                lacks = unsatisfied(atom.name, mapping, walker, optional)
                                break
                    before = (mapping, optional)
                    if lacks:
                        last = exc.MissingDependencies(
                            _with_symbols(atom, mapping, lacks), sorted(lacks), cause=last, method=method
                        )
                        found += 1
                        missing.update(lacks)
                        lone = atom is self._flow
            if last is not None:
                if found == 1 and lone:
                    raise last
                raise exc.MissingDependencies(self._flow, sorted(missing), cause=last)

    def reset(self) -> None:
        """Set every atom and the flow back to their beginning.

        Raises:
            InvalidState: The flow is not compiled or not prepared, or is in a state that it cannot be reset from;
                nothing has changed then.
        """
        with self._lock:
            ready = self._ready_runtime("reset")
            try:
                states.check_flow_transition(self.storage.get_flow_state(), states.PENDING)
            except exc.InvalidState as e:
                raise self._refusal(e) from None
            ready.reset_all()
            self._change_state(states.PENDING)

    def suspend(self) -> None:
        """Start nothing new and end once what is running has ended; may be called from anywhere, at any time.

        Raises:
            InvalidState: The flow is not compiled, or is just being resumed.
        """
        with self._gate:
            if self._starting:
                self._suspend_early = True
                return
        self._ready_runtime("suspend", prepared=False)
        self._change_state(states.SUSPENDING)
        current = self._current
        if current is not None:
            current.wake()

    def _change_state(self, state: str) -> None:
        try:
            moved, old_state = self.storage.change_flow_state(state)
        except exc.InvalidState as e:
            raise self._refusal(e) from None
        if moved and self.notifier.has_listeners(state):
            self.notifier.notify(
                state,
                {
                    "engine": self,
                    "flow_name": self.storage.flow_name,
                    "flow_uuid": self.storage.flow_uuid,
                    "old_state": old_state,
                },
            )

    def _refusal(self, error: exc.InvalidState) -> exc.InvalidState:
        """That a state cannot be entered, with whose state it is and what can be done about it."""
        state = self.storage.get_flow_state()
        way = _WAYS_ON.get(state, "only engines give a flow its states")
        return exc.InvalidState(f"{error}: flow {self._name()!r} is {state}, {way}")

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, timeout: float | None = None) -> None:
        """Run the flow to its end, compiling, preparing and validating it first.

        Args:
            timeout: The longest time, in seconds, until the loop looks up again while tasks run; it stops nothing.

        Raises:
            ExecutionFailure: The engine is running already.
            Exception: What the flow failed with; a ``WrappedFailure`` of several.
        """
        if not self._lock.acquire(blocking=False):
            raise exc.ExecutionFailure(f"Engine of flow {self._name()!r} is running already, in another thread")
        try:
            if type(self).run_iter is ActionEngine.run_iter:
                steps: Iterator[str] = self._steps(timeout, quiet=True)
            else:
                steps = self.run_iter(timeout=timeout)
            # Only ever the final state comes out of a quiet run.
            collections.deque(steps, maxlen=0)
        finally:
            self._lock.release()

    def run_iter(self, timeout: float | None = None) -> Generator[str, Any, None]:
        """Run the flow step by step.

        Yields the phase that was just entered, before its work is done; a true value sent in suspends the flow.

        Args:
            timeout: The longest time, in seconds, that one step waits for running tasks.

        Yields:
            ``RESUMING``, ``SCHEDULING``, ``WAITING``, ``ANALYZING``, and at the end ``SUCCESS``, ``REVERTED`` or
            ``SUSPENDED``.

        Raises:
            ExecutionFailure: The engine is running already.
            Exception: What the flow failed with.
        """
        yield from self._steps(timeout, quiet=False)

    def _steps(self, timeout: float | None, quiet: bool) -> Generator[str, Any, None]:
        if not self._turn.acquire(blocking=False):
            raise exc.ExecutionFailure(
                f"Engine of flow {self._name()!r} is running already: let that run end before starting another"
            )
        try:
            timeout = launching.checked_timeout(timeout)
            began = time.monotonic()
            with self._gate:
                self._suspend_early = False
                self._starting = True
            try:
                self.compile()
                self.prepare()
                self.validate()
            except BaseException:
                self._starting = False
                raise
            self._statistics.clear()
            self._left_by = None
            try:
                with self._executors():
                    yield from self._drive(timeout, quiet)
            except BaseException as e:
                # What ended while something else left the run at once is known only now that the executors stopped;
                # if that was interrupted in its turn, nothing is waited for any more.
                if self._current is not None and self._left_by is not None:
                    self._current.abandon(wait=e is self._left_by)
                raise
            finally:
                self._current = self._left_by = None
                self._starting = False
                if self._gather_statistics:
                    self._statistics["active_for"] = time.monotonic() - began
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def _executors(self) -> Iterator[None]:
        self.storage.hold_connection()
        try:
            self._task_executor.start()
            try:
                self._retry_executor.start()
                try:
                    yield
                finally:
                    self._retry_executor.stop()
            finally:
                self._task_executor.stop()
        finally:
            self.storage.release_connection()

    def _drive(self, timeout: float | None, quiet: bool) -> Generator[str, Any, None]:
        self._change_state(states.RUNNING)
        with self._gate:
            self._starting = False
            suspended = self._suspend_early
        if suspended:
            self.suspend()
        ready = self._ready_runtime("run")
        thrown: BaseException | None = None
        muted = quiet
        last = collections.deque[str](maxlen=max(1, self.MAX_MACHINE_STATES_RETAINED))
        try:
            current = self._current = ready.start(self._statistics, timeout, self._gather_statistics)
            try:
                state = current.run_to_end(last) if quiet else loop.UNDEFINED
                while not current.over:
                    state = current.step()
                    if current.over:
                        last.append(loop.GAME_OVER)
                        last.append(state)
                        break
                    last.append(state)
                    if muted:
                        continue
                    current.settle()
                    try:
                        if (yield state):
                            self.suspend()
                    except GeneratorExit:
                        muted = True
                        self.suspend()
                    except Exception:
                        muted = True
                        current.keep()
            except BaseException as e:
                if not isinstance(e, Exception):
                    self._left_by = e
                    current.cancel()
                raise
            if state == states.FAILURE:
                failure.Failure.reraise_if_any(current.kept)
        except Exception:
            LOG.exception("Engine of flow %r failed, its last phases were %s", self._name(), list(last))
            self._change_state(states.FAILURE)
            raise
        if not muted:
            try:
                if (yield state):
                    self.suspend()
            except GeneratorExit:
                self.suspend()
            except Exception as e:
                thrown = e
        self._change_state(state)
        if state not in self.NO_RERAISING_STATES:
            known = self.storage.get_execute_failures()
            undone = self.storage.get_revert_failures()
            failure.Failure.reraise_if_any([*known.values(), *undone.values()])
        if thrown is not None:
            raise thrown


def _with_symbols(atom: Any, mapping: Mapping[str, Any], lacks: set[str]) -> str:
    """An atom's text, with the names of the values wanted where these differ from the arguments' names."""
    bound = ", ".join(f"{name} is bound to {mapping[name]!r}" for name in sorted(lacks) if mapping[name] != name)
    return f"{atom} ({bound})" if bound else str(atom)


class SerialActionEngine(ActionEngine):
    """Runs everything on the thread that calls ``run``."""


_PROCESSES = ("taskflow.engines.action_engine.process_executor", "ParallelProcessTaskExecutor")
_REMOTE = ("taskflow.engines.action_engine.remote_executor", "ParallelRemoteTaskExecutor")


class ParallelActionEngine(ActionEngine):
    """Runs tasks in a pool of threads, in processes, or in any PEP 3148 executor.

    Args:
        flow: The flow, or a lone task.
        flow_detail: Its record.
        backend: Where the record is saved; ``None`` for nowhere but in memory.
        options: Also ``executor`` (a pool, or the name of a kind of one), ``max_workers`` (of a pool of its own) and,
            with processes, ``wait_timeout`` (seconds that their messages may stay unread).

    Raises:
        TypeError: ``executor`` is no pool.
        ValueError: ``executor`` names no known kind, or ``max_workers`` is no number.
    """

    _default_executor_cls = executor.ParallelThreadTaskExecutor

    #: What kind of task executor goes around a pool, by the pool's class (module and name). Kinds that are not needed
    #: by everybody are given in the same way and are imported when they are asked for.
    _executor_cls_matchers: list[tuple[tuple[str, str], Any]] = [
        (("concurrent.futures.process", "ProcessPoolExecutor"), _PROCESSES),
        (("distributed.cfexecutor", "ClientExecutor"), _REMOTE),
        (("loky.process_executor", "ProcessPoolExecutor"), _REMOTE),
        (("concurrent.futures", "Executor"), executor.ParallelThreadTaskExecutor),
    ]

    #: What kind of task executor a word stands for.
    _executor_str_matchers: list[tuple[frozenset[str], Any]] = [
        (frozenset(("thread", "threads", "threaded")), executor.ParallelThreadTaskExecutor),
        (frozenset(("greenthread", "greenthreads", "greenthreaded")), executor.ParallelGreenThreadTaskExecutor),
        (frozenset(("process", "processes")), _PROCESSES),
    ]

    def __init__(
        self,
        flow: Any,
        flow_detail: models.FlowDetail,
        backend: persistence.Backend | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(flow, flow_detail, backend, options)
        self._task_executor = self._fetch_task_executor(self._options)

    @classmethod
    def _fetch_task_executor(cls, options: Mapping[str, Any]) -> Any:
        desired = options.get("executor")
        kind: Any = None
        keywords: dict[str, Any] = {}
        if desired is None:
            kind = cls._default_executor_cls
        elif isinstance(desired, str):
            kind = next((k for words, k in cls._executor_str_matchers if desired.lower() in words), None)
            if kind is None:
                known = sorted(word for words, _ in cls._executor_str_matchers for word in words)
                raise ValueError(f"Unknown executor {desired!r}: expected one of {', '.join(known)}")
        else:
            keywords["executor"] = desired
            kind = next((k for where, k in cls._executor_cls_matchers if _is_instance(desired, *where)), None)
            if kind is None:
                raise TypeError(
                    f"Unknown executor {desired!r} ({type(desired)}): expected a concurrent.futures.Executor"
                )
        if isinstance(kind, tuple):
            kind = _class(*kind)
        converters: list[tuple[str, Callable[[Any], Any]]] = kind.constructor_options
        for name, convert in converters:
            if name in options:
                try:
                    keywords[name] = convert(options[name])
                except (TypeError, ValueError) as e:
                    raise type(e)(f"Engine option {name!r} cannot be {options[name]!r}: {e}") from e
        return kind(**keywords)


def _is_instance(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class, whose module need not be imported to know that it is not."""
    known = sys.modules.get(module)
    return known is not None and isinstance(value, getattr(known, name))


def _class(module: str, name: str) -> type:
    import importlib

    found: type = getattr(importlib.import_module(module), name)
    return found
