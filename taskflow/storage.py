# SPDX-License-Identifier: Apache-2.0
"""What is known of one flow: its atoms' states and results, who provides what, and how it all gets saved."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from taskflow import atom as bindings
from taskflow import exceptions as exc
from taskflow import logging, retry, states, task
from taskflow.persistence import models
from taskflow.types import failure as failures
from taskflow.utils import misc, uuids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from taskflow.persistence import base

LOG = logging.getLogger(__name__)

# How often a failing save is tried, and the longest that all the waiting in between may take (seconds a try).
RETRY_ATTEMPTS = 3
RETRY_WAIT_TIMEOUT = 5

# The first wait between two tries, in seconds; it doubles up to RETRY_WAIT_TIMEOUT.
_FIRST_WAIT = 0.1

STATES_WITH_RESULTS = (states.FAILURE, states.REVERTED, states.REVERTING, states.REVERT_FAILURE, states.SUCCESS)

META_INJECTED = "injected"
META_PROGRESS = "progress"
META_PROGRESS_DETAILS = "progress_details"

# A change that is to be saved: a detail, and attribute name -> new value.
Change = tuple[Any, dict[str, Any]]

# The same of an atom, and its new progress if that changes.
Transition = tuple[Any, dict[str, Any], float | None]

_EXECUTED = frozenset((states.SUCCESS, states.FAILURE, states.REVERTING))
_UNDONE = frozenset((states.REVERTED, states.REVERT_FAILURE, states.REVERTING))
_FAILED = frozenset((states.FAILURE, states.REVERT_FAILURE))
_CACHED_INTENTIONS = frozenset((states.EXECUTE, states.REVERT))
_EXTRACT_ERRORS = (IndexError, KeyError, ValueError, TypeError)
_NOTHING: Any = object()
_UNLOCKED = contextlib.nullcontext()


class _FailureCache(dict[str, dict[str, failures.Failure]]):
    """Atom name -> intention -> the failure as it was caught, with its live exception."""

    def __missing__(self, name: str) -> dict[str, failures.Failure]:
        made: dict[str, failures.Failure] = {}
        self[name] = made
        return made


class Storage:
    """Reads and saves everything about one flow.

    Readers never wait for a backend: they look at the flow detail in memory, which a save changes only after the
    backend has taken the change. Writers are serialised.

    Args:
        flow_detail: The record of the flow; changed in place by every save.
        backend: Where to save; a private in-memory backend when there is none.
        scope_fetcher: Called with an atom's name, returns the scopes (iterable of lists of names, nearest first) whose
            results that atom may use, or ``None``.
    """

    injector_name = "_TaskFlow_INJECTOR"

    def __init__(
        self,
        flow_detail: models.FlowDetail,
        backend: base.Backend | None = None,
        scope_fetcher: Callable[[str], Any] | None = None,
    ) -> None:
        own: Any = None
        if backend is None:
            from taskflow.persistence.backends import impl_memory

            backend = impl_memory.MemoryBackend({"deep_copy": False})
            own = backend.get_connection()
            own.update_flow_details(flow_detail, ignore_missing=True)
        self._backend = backend
        self._flowdetail = flow_detail
        self._scope_fetcher = scope_fetcher if scope_fetcher is not None else _no_scopes
        self._failures: dict[str, dict[str, failures.Failure]] = _FailureCache()
        self._failures_version = 0
        # Kept open: while an engine runs, and always when the backend is our own.
        self._connection: base.Connection | None = own
        # Held from the look at what is to be changed until the change is saved and applied.
        self._saving = threading.RLock()
        self._shared_lock: Any = None
        self._held = self._private = own is not None
        self._details: dict[str, models.AtomDetail] = {}
        self._transients: dict[Any, Any] = {}
        self._transient_args: dict[str, dict[Any, Any]] = {}
        # Names whose value does not come from an atom: name -> the kinds of flow level values, in order of coming.
        self._defaults: dict[Any, list[str]] = {}
        # Name -> atom name -> indices into that atom's result.
        self._providers: dict[Any, dict[str, tuple[Any, ...]]] = {}
        # Atom name -> what it promises: name -> index into its result.
        self._outputs: dict[str, Mapping[Any, Any]] = {}
        for detail in flow_detail:
            self._adopt(detail)

    def _adopt(self, detail: models.AtomDetail) -> None:
        name = detail.name
        if name == self.injector_name:
            if not isinstance(detail, models.TaskDetail):
                raise TypeError(
                    f"The record {name!r} of flow {self.flow_name!r} holds injected values and must be a TaskDetail, "
                    f"not a {type(detail).__name__}"
                )
            self._register_defaults(detail.results or (), _PERSISTENT)
        self._details[name] = detail
        if detail.failure:
            self._failures[name][states.EXECUTE] = detail.failure
        if detail.revert_failure:
            self._failures[name][states.REVERT] = detail.revert_failure

    # -- what it is about ------------------------------------------------------------------------------------------

    @property
    def flow_name(self) -> str:
        """The name of the flow."""
        return self._flowdetail.name

    @property
    def flow_uuid(self) -> str:
        """The unique id of the flow's record."""
        return self._flowdetail.uuid

    @property
    def flow_meta(self) -> dict[str, Any]:
        """The metadata of the flow's record (the live dict)."""
        return self._flowdetail.meta

    @property
    def backend(self) -> base.Backend:
        """The backend that saves go to."""
        return self._backend

    @property
    def lock(self) -> Any:
        """A ``fasteners.ReaderWriterLock`` that every reader and writer of this object honours.

        From the first time that somebody asks for it: until then nobody can hold it, and nothing has to take it.
        """
        if self._shared_lock is None:
            import fasteners

            with self._saving:
                if self._shared_lock is None:
                    self._shared_lock = fasteners.ReaderWriterLock()
        return self._shared_lock

    def _reading(self) -> contextlib.AbstractContextManager[Any]:
        lock = self._shared_lock
        return _UNLOCKED if lock is None else lock.read_lock()

    def _writing(self) -> contextlib.AbstractContextManager[Any]:
        return self._saving if self._shared_lock is None else self._writing_shared()

    @contextlib.contextmanager
    def _writing_shared(self) -> Iterator[None]:
        with self._shared_lock.write_lock(), self._saving:
            yield

    # -- saving ------------------------------------------------------------------------------------------------------

    def hold_connection(self) -> None:
        """Keep one backend connection open over many saves, until :meth:`release_connection`."""
        self._held = True

    def release_connection(self) -> None:
        """Close the connection that was kept open."""
        if self._private:
            return
        with self._saving:
            self._held = False
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def write(self, changes: Sequence[Change], added: Sequence[models.AtomDetail] = ()) -> None:
        """Save a unit of work, then let it show.

        Args:
            changes: Details with the attributes that change.
            added: New atom details.

        Raises:
            StorageFailure: The backend did not take it, after all tries; nothing has changed then.
        """
        with self._writing():
            self._write(changes, added)

    def commit(self, transitions: Sequence[Transition], ahead: Sequence[Transition] = ()) -> None:
        """Save what one step of an engine changed, as one unit of work, then let it show.

        Args:
            transitions: Atom details with the attributes that change and, where it changes too, the progress.
            ahead: Likewise, saved in the same unit but not to show yet.

        Raises:
            StorageFailure: The backend did not take it, after all tries; nothing has changed then.
        """
        with self._writing():
            self._commit(transitions, ahead)

    def _commit(self, transitions: Sequence[Transition], ahead: Sequence[Transition]) -> None:
        # Metadata is put together here, where nobody else can be changing it.
        changes = []
        for detail, fields, progress in transitions:
            if progress is not None:
                fields["meta"] = {**detail.meta, META_PROGRESS: progress}
            changes.append((detail, fields))
        if ahead:
            both = list(changes)
            for detail, fields, progress in ahead:
                if progress is not None:
                    fields["meta"] = {**detail.meta, META_PROGRESS: progress}
                both.append((detail, fields))
            self._send(both, ())
        else:
            self._send(changes, ())
        for detail, fields in changes:
            for name, value in fields.items():
                setattr(detail, name, value)

    def _write(self, changes: Sequence[Change], added: Sequence[models.AtomDetail]) -> None:
        found = self._send(changes, added)
        for detail in added:
            self._flowdetail.add(detail)
        for detail in found:
            self._flowdetail.add(detail)
            if detail.name not in self._details:
                self._adopt(detail)
        for detail, fields in changes:
            for name, value in fields.items():
                setattr(detail, name, value)

    def _send(self, changes: Sequence[Change], added: Sequence[models.AtomDetail]) -> Sequence[models.AtomDetail]:
        attempt = 1
        wait = _FIRST_WAIT
        while True:
            connection = self._connection
            try:
                if connection is None:
                    connection = self._backend.get_connection()
                    if self._held:
                        self._connection = connection
                return connection.write(self._flowdetail, changes, added)
            except exc.StorageFailure as e:
                if attempt >= RETRY_ATTEMPTS or getattr(e, "permanent", False):
                    raise
                LOG.debug("Saving flow %s failed (try %s), trying again", self.flow_name, attempt, exc_info=True)
            finally:
                if connection is not None and not self._held:
                    connection.close()
            time.sleep(min(wait, RETRY_WAIT_TIMEOUT))
            wait *= 2
            attempt += 1

    # -- atoms -------------------------------------------------------------------------------------------------------

    def ensure_atoms(self, atoms: Iterable[Any]) -> list[str]:
        """Make sure that each atom has a record, and note what it provides.

        Args:
            atoms: Tasks and retries.

        Returns:
            The uuids of their records, in the order given.

        Raises:
            TypeError: An object is neither a task nor a retry.
            ValueError: An atom has no name.
            Duplicate: A record of that name belongs to the other kind of atom.
        """
        found: list[models.AtomDetail | None] = []
        wanted: list[Any] = []
        with self._writing():
            details = self._details
            missing: dict[str, tuple[Any, type[models.AtomDetail]]] = {}
            for atom in atoms:
                kind = _DETAIL_OF_CLASS.get(type(atom))
                if kind is None:
                    kind = _detail_class(atom)
                name = atom.name
                if not name:
                    raise ValueError(f"Atom '{atom}' of flow {self.flow_name!r} has no name: each atom needs one")
                detail = details.get(name)
                if detail is None:
                    other = missing.setdefault(name, (atom, kind))[1]
                    if other is not kind:
                        raise _other_kind(name, other, kind)
                elif not isinstance(detail, kind):
                    raise _other_kind(name, type(detail), kind)
                wanted.append(atom)
                found.append(detail)
            if missing:
                ids = uuids.generate_uuids(len(missing))
                added = []
                for (name, (atom, kind)), uuid in zip(missing.items(), ids, strict=True):
                    detail = kind(name, uuid)
                    detail.state = states.PENDING
                    detail.version = misc.get_version_string(atom)
                    added.append(detail)
                self.write((), added)
                for detail in added:
                    details[detail.name] = detail
            for atom in wanted:
                outputs = bindings.outputs_of(atom)
                if outputs:
                    name = atom.name
                    self._outputs[name] = outputs
                    for symbol, index in outputs.items():
                        at = self._providers.setdefault(symbol, {})
                        known = at.get(name)
                        if known is None:
                            at[name] = _WHOLE if index is None else (index,)
                        elif index not in known:
                            at[name] = (*known, index)
            return [(details[a.name] if d is None else d).uuid for a, d in zip(wanted, found, strict=True)]

    def ensure_atom(self, atom: Any) -> str:
        """Make sure that an atom has a record.

        Args:
            atom: A task or retry.

        Returns:
            The uuid of its record.
        """
        return self.ensure_atoms([atom])[0]

    def detail_of(self, atom_name: str, kind: type[models.AtomDetail] | None = None) -> Any:
        """The live record of an atom.

        Args:
            atom_name: Its name.
            kind: The class of record that is expected, if any.

        Returns:
            The record; only to be looked at.

        Raises:
            NotFound: No atom of that name is known.
            TypeError: The record is of another class.
        """
        try:
            detail = self._details[atom_name]
        except KeyError:
            raise exc.NotFound(f"Unknown atom {atom_name!r} in flow {self.flow_name!r}") from None
        if kind is not None and not isinstance(detail, kind):
            raise TypeError(
                f"Atom {atom_name!r} in flow {self.flow_name!r} has a {type(detail).__name__}, "
                f"but this needs a {kind.__name__}"
            )
        return detail

    def get_atom_uuid(self, atom_name: str) -> str:
        """The uuid of an atom's record; ``NotFound`` for an unknown name."""
        with self._reading():
            uuid: str = self.detail_of(atom_name).uuid
            return uuid

    def get_atom_state(self, atom_name: str) -> str | None:
        """The state of an atom; ``NotFound`` for an unknown name."""
        with self._reading():
            state: str | None = self.detail_of(atom_name).state
            return state

    def set_atom_state(self, atom_name: str, state: str) -> None:
        """Save an atom's state (any state: transitions are the engine's matter)."""
        with self._writing():
            detail = self.detail_of(atom_name)
            if detail.state != state:
                self.write([(detail, {"state": state})])

    def get_atom_intention(self, atom_name: str) -> str | None:
        """What is meant to happen to an atom next; ``NotFound`` for an unknown name."""
        with self._reading():
            intention: str | None = self.detail_of(atom_name).intention
            return intention

    def set_atom_intention(self, atom_name: str, intention: str) -> None:
        """Save what is meant to happen to an atom next."""
        with self._writing():
            detail = self.detail_of(atom_name)
            if detail.intention != intention:
                self.write([(detail, {"intention": intention})])

    def get_atoms_states(self, atom_names: Iterable[str]) -> dict[str, tuple[str | None, str | None]]:
        """State and intention of several atoms.

        Args:
            atom_names: Their names.

        Returns:
            Name -> (state, intention).

        Raises:
            NotFound: One of them is unknown.
        """
        with self._reading():
            found = {}
            for name in atom_names:
                detail = self.detail_of(name)
                found[name] = (detail.state, detail.intention)
            return found

    def reset(self, atom_name: str, state: str = states.PENDING) -> None:
        """Forget an atom's results and failures.

        Args:
            atom_name: Its name; the record of injected values is left alone.
            state: The state it gets; nothing happens when it has that state already.
        """
        if atom_name == self.injector_name:
            return
        with self._writing():
            detail = self.detail_of(atom_name)
            if detail.state == state:
                return
            fresh = detail.copy()
            fresh.reset(state)
            self.write([(detail, _difference(detail, fresh))])
            self.forget_failures(atom_name)

    def update_atom_metadata(self, atom_name: str, update_with: Any) -> None:
        """Merge a dict (or pairs) into an atom's metadata and save it."""
        with self._writing():
            self._update_meta(self.detail_of(atom_name), update_with)

    def _update_meta(self, detail: Any, update_with: Any) -> None:
        update = dict(update_with) if update_with else None
        if update:
            self.write([(detail, {"meta": {**detail.meta, **update}})])

    # -- progress ----------------------------------------------------------------------------------------------------

    def set_task_progress(self, task_name: str, progress: float, details: Mapping[str, Any] | None = None) -> None:
        """Save how far a task is.

        Args:
            task_name: Its name.
            progress: From 0.0 to 1.0.
            details: Anything to keep with it; empty clears what was kept, ``None`` leaves it.

        Raises:
            TypeError: The atom is no task.
        """
        update: dict[str, Any] = {META_PROGRESS: progress}
        if details is not None:
            update[META_PROGRESS_DETAILS] = {"at_progress": progress, "details": details} if details else None
        with self._writing():
            self._update_meta(self.detail_of(task_name, models.TaskDetail), update)

    def get_task_progress(self, task_name: str) -> float:
        """How far a task is, from 0.0 to 1.0; ``TypeError`` for a retry."""
        with self._reading():
            progress: float = self.detail_of(task_name, models.TaskDetail).meta.get(META_PROGRESS, 0.0)
            return progress

    def get_task_progress_details(self, task_name: str) -> dict[str, Any] | None:
        """What was kept with a task's progress; ``TypeError`` for a retry."""
        with self._reading():
            found: dict[str, Any] | None = self.detail_of(task_name, models.TaskDetail).meta.get(META_PROGRESS_DETAILS)
            return found

    # -- results -----------------------------------------------------------------------------------------------------

    def save(self, atom_name: str, result: Any, state: str = states.SUCCESS) -> None:
        """Save what came out of an atom.

        Args:
            atom_name: Its name.
            result: What was returned, or a Failure for the failed states.
            state: The state that it ended in.
        """
        with self._writing():
            detail = self.detail_of(atom_name)
            fields = detail.outcome(state, result)
            if fields:
                self.write([(detail, fields)])
            self.note_outcome(detail, result, state)

    @property
    def failures_version(self) -> int:
        """Grows whenever the known failures change."""
        return self._failures_version

    def note_outcome(self, detail: models.AtomDetail, result: Any, state: str, intention: str | None = None) -> None:
        """Keep the live failure of an outcome; or, of a success, forget an older one and warn of what it lacks.

        Args:
            detail: The record of the atom.
            result: What it returned, or its Failure.
            state: What it ended in.
            intention: Whether it was executed or reverted; its present intention by default.
        """
        name = detail.name
        if state in _FAILED:
            if intention is None:
                intention = detail.intention
            if intention in _CACHED_INTENTIONS:
                self._failures[name][intention] = result
                self._failures_version += 1
        elif state == states.SUCCESS:
            if name in self._failures and self._failures[name].pop(states.EXECUTE, None) is not None:
                self._failures_version += 1
            if name in self._outputs and detail.intention == states.EXECUTE:
                self._check_result(name, result)

    def _check_result(self, atom_name: str, result: Any) -> None:
        for symbol, index in self._outputs[atom_name].items():
            if index is not None:
                try:
                    result[index]
                except _EXTRACT_ERRORS:
                    LOG.warning("Atom %s did not supply result with index %r (name %s)", atom_name, index, symbol)

    def forget_failures(self, atom_name: str) -> None:
        """Let go of the failures of an atom that begins anew."""
        if atom_name in self._failures:
            self._failures[atom_name] = {}
            self._failures_version += 1

    def get_execute_result(self, atom_name: str) -> Any:
        """What executing an atom gave: its value, its Failure, or the history of a retry.

        Args:
            atom_name: Its name.

        Returns:
            The very object that was saved, as long as this process saved it.

        Raises:
            NotFound: The atom is unknown or has no result in its present state.
        """
        return self._get_result(atom_name)

    def get(self, atom_name: str) -> Any:
        """Same as :meth:`get_execute_result`."""
        return self._get_result(atom_name)

    def _get_result(self, atom_name: str) -> Any:
        with self._reading():
            detail = self.detail_of(atom_name)
            try:
                return self._executed(detail, history=True)
            except exc.DisallowedAccess as e:
                raise exc.NotFound(
                    f"Atom {atom_name!r} in flow {self.flow_name!r} has no execute result in state {detail.state}", e
                ) from e

    def _executed(self, detail: Any, history: bool = False) -> Any:
        failure = detail.failure
        if failure:
            return self._cached(detail.name, states.EXECUTE, failure)
        if detail.state in _EXECUTED:
            return detail.results if history else detail.last_results
        raise exc.DisallowedAccess(
            f"The result of atom {detail.name!r} cannot exist in state {detail.state}", state=detail.state
        )

    def _cached(self, name: str, intention: str, failure: failures.Failure) -> failures.Failure:
        """The failure as it was caught, if it is still known, since saving loses the live exception."""
        if name in self._failures:
            kept = self._failures[name].get(intention)
            if kept is not None and (kept is failure or failure.matches(kept)):
                return kept
        return failure

    def get_revert_result(self, atom_name: str) -> Any:
        """What reverting an atom gave: its value or its Failure.

        Args:
            atom_name: Its name.

        Returns:
            The value or the Failure.

        Raises:
            NotFound: The atom is unknown or was not reverted.
        """
        with self._reading():
            detail = self.detail_of(atom_name)
            if detail.revert_failure:
                return self._cached(atom_name, states.REVERT, detail.revert_failure)
            if detail.state in _UNDONE:
                return detail.revert_results
            raise exc.NotFound(
                f"Atom {atom_name!r} in flow {self.flow_name!r} has no revert result in state {detail.state}"
            )

    def get_execute_failures(self) -> dict[str, failures.Failure]:
        """Atom name -> failure of its execution, in the order of the records."""
        return self._known_failures(states.EXECUTE)

    def get_failures(self) -> dict[str, failures.Failure]:
        """Same as :meth:`get_execute_failures`."""
        return self._known_failures(states.EXECUTE)

    def get_revert_failures(self) -> dict[str, failures.Failure]:
        """Atom name -> failure of its reversion, in the order of the records."""
        return self._known_failures(states.REVERT)

    def _known_failures(self, intention: str) -> dict[str, failures.Failure]:
        with self._reading():
            found = {name: kept[intention] for name, kept in tuple(self._failures.items()) if intention in kept}
            if len(found) > 1:
                return {name: found[name] for name in self._details if name in found}
            return found

    def has_failures(self) -> bool:
        """Whether any failure, of executing or reverting, is known."""
        with self._reading():
            return any(self._failures.values())

    # -- retries -----------------------------------------------------------------------------------------------------

    def get_retry_history(self, retry_name: str) -> retry.History:
        """The attempts of a retry: what each provided and which failures it met.

        Args:
            retry_name: Its name.

        Returns:
            The history.

        Raises:
            NotFound: The retry is unknown.
            TypeError: The atom is no retry.
        """
        with self._reading():
            return self._history(self.detail_of(retry_name, models.RetryDetail))

    def _history(self, detail: Any) -> retry.History:
        failure = detail.failure
        if failure is not None:
            failure = self._cached(detail.name, states.EXECUTE, failure)
        return retry.History(detail.results, failure=failure)

    def get_retry_histories(self) -> list[tuple[str, retry.History]]:
        """Name and history of every retry of the flow."""
        with self._reading():
            return [
                (detail.name, self._history(detail))
                for detail in self._flowdetail
                if isinstance(detail, models.RetryDetail)
            ]

    def save_retry_failure(self, retry_name: str, failed_atom_name: str, failure: failures.Failure) -> None:
        """Note in a retry's newest attempt that an atom has failed; the first failure of an atom stays.

        Args:
            retry_name: The retry.
            failed_atom_name: The atom that failed.
            failure: Its failure.

        Raises:
            StorageFailure: The retry has made no attempt yet.
            TypeError: The atom is no retry.
        """
        with self._writing():
            detail = self.detail_of(retry_name, models.RetryDetail)
            try:
                known = detail.last_failures
            except exc.NotFound as e:
                raise exc.StorageFailure(
                    f"Retry {retry_name!r} of flow {self.flow_name!r} has made no attempt that could have failed",
                    e,
                ) from e
            if failed_atom_name not in known:
                provided = detail.results[-1][0]
                newest = (provided, {**known, failed_atom_name: failure})
                self.write([(detail, {"results": [*detail.results[:-1], newest]})])

    def cleanup_retry_history(self, retry_name: str, state: str) -> None:
        """Forget the attempts of a retry and save its state."""
        with self._writing():
            detail = self.detail_of(retry_name, models.RetryDetail)
            self.write([(detail, {"state": state, "results": []})])

    # -- flow level --------------------------------------------------------------------------------------------------

    def get_flow_state(self) -> str:
        """The state of the flow; PENDING when it has none yet."""
        with self._reading():
            state = self._flowdetail.state
            return states.PENDING if state is None else state

    def flow_state_now(self) -> str | None:
        """The state in the record of the flow, without taking part in any locking."""
        return self._flowdetail.state

    def set_flow_state(self, state: str) -> None:
        """Save the state of the flow, whatever it was."""
        with self._writing():
            self.write([(self._flowdetail, {"state": state})])

    def change_flow_state(self, state: str) -> tuple[bool, str]:
        """Save the state of the flow if the change is one that counts.

        Args:
            state: The new state.

        Returns:
            Whether it changed, and the state before.

        Raises:
            InvalidState: The change is not allowed.
        """
        with self._writing():
            old = self._flowdetail.state
            if old is None:
                old = states.PENDING
            if not states.check_flow_transition(old, state):
                return False, old
            self.write([(self._flowdetail, {"state": state})])
            return True, old

    def update_flow_metadata(self, update_with: Any) -> None:
        """Merge a dict (or pairs) into the flow's metadata and save it."""
        with self._writing():
            self._update_meta(self._flowdetail, update_with)

    # -- injecting ---------------------------------------------------------------------------------------------------

    def inject(self, pairs: Any, transient: bool = False) -> None:
        """Give values to the whole flow.

        Args:
            pairs: A dict or pairs of name and value.
            transient: Whether to keep them in this object only, unsaved.
        """
        values = dict(pairs)
        with self._writing():
            if transient:
                self._transients.update(values)
                self._register_defaults(values, _TRANSIENT)
                return
            detail = self._details.get(self.injector_name)
            if detail is None:
                detail = models.TaskDetail(self.injector_name, uuids.generate_uuid())
                detail.results = values
                detail.state = states.SUCCESS
                self.write((), [detail])
                self._details[self.injector_name] = detail
            else:
                self.write([(detail, detail.outcome(states.SUCCESS, {**(detail.results or {}), **values}))])
            self._register_defaults(values, _PERSISTENT)

    def _register_defaults(self, names: Iterable[Any], kind: str) -> None:
        for name in names:
            kinds = self._defaults.get(name)
            if kinds is None:
                self._defaults[name] = [kind]
            elif kind not in kinds:
                kinds.append(kind)

    def inject_atom_args(self, atom_name: str, pairs: Any, transient: bool = True) -> None:
        """Give values to one atom.

        Args:
            atom_name: Its name.
            pairs: A dict or pairs of name and value.
            transient: Whether to keep them in this object only, unsaved.

        Raises:
            NotFound: The atom is unknown.
        """
        with self._writing():
            detail = self.detail_of(atom_name)
            values = dict(pairs)
            if transient:
                self._transient_args.setdefault(atom_name, {}).update(values)
            else:
                kept = {**(detail.meta.get(META_INJECTED) or {}), **values}
                self._update_meta(detail, {META_INJECTED: kept})

    # -- looking up --------------------------------------------------------------------------------------------------

    def _default_value(self, name: Any, kind: str) -> Any:
        """A flow level value; raises one of the extract errors, or DisallowedAccess, when it is not there."""
        if kind == _TRANSIENT:
            return self._transients[name]
        return self._executed(self._details[self.injector_name])[name]

    def fetch(self, name: Any, many_handler: Callable[[list[Any]], Any] | None = None) -> Any:
        """The value of a name, whoever provides it.

        Args:
            name: The name.
            many_handler: Chooses from a list of values; the first by default.

        Returns:
            What the handler chose.

        Raises:
            NotFound: Nobody provides the name, or no value is there.
        """
        with self._reading():
            values = self._values_of(name)
        return values[0] if many_handler is None else many_handler(values)

    def _values_of(self, name: Any) -> list[Any]:
        defaults, providers = self._defaults.get(name, ()), self._providers.get(name)
        if not defaults and providers is None:
            raise exc.NotFound(f"Name {name!r} is not mapped as a produced output by any providers")
        values = []
        for kind in defaults:
            try:
                values.append(self._default_value(name, kind))
            except (*_EXTRACT_ERRORS, exc.DisallowedAccess) as e:
                raise _no_result(name, f"the {kind} values of the flow", e) from e
        for atom_name, indices in tuple(providers.items()) if providers else ():
            detail = self._details[atom_name]
            try:
                result = self._executed(detail)
            except exc.DisallowedAccess as e:
                if e.state == states.IGNORE:
                    continue
                raise exc.NotFound(f"Unable to find result {name!r}: atom {atom_name!r} has none", e) from e
            try:
                values.extend(result if index is None else result[index] for index in indices)
            except _EXTRACT_ERRORS as e:
                raise _no_result(name, f"atom {atom_name!r}", e) from e
        if not values:
            raise exc.NotFound(f"Unable to find result {name!r}: whoever provides it was passed over")
        return values

    def fetch_all(self, many_handler: Callable[[list[Any]], Any] | None = None) -> dict[Any, Any]:
        """The values of all names that have one.

        Args:
            many_handler: Makes one value of a list of them; by default a single one is itself and several a list.

        Returns:
            Name -> value.
        """
        if many_handler is None:
            many_handler = _one_or_all
        found = {}
        with self._reading():
            for name in dict.fromkeys((*self._defaults, *self._providers)):
                with contextlib.suppress(exc.NotFound):
                    found[name] = self._values_of(name)
        return {name: many_handler(values) for name, values in found.items()}

    def fetch_mapped_args(
        self,
        args_mapping: Mapping[str, Any],
        atom_name: str | None = None,
        scope_walker: Any = None,
        optional_args: Any = None,
    ) -> dict[str, Any]:
        """The values for the arguments of an atom.

        Args:
            args_mapping: Argument name -> name of the value.
            atom_name: The atom, whose injected values and scopes then count.
            scope_walker: The scopes to look in; those of the atom by default.
            optional_args: Arguments to leave out when nothing can provide them.

        Returns:
            Argument name -> value.

        Raises:
            NotFound: A value is missing.
        """
        injected: tuple[Mapping[Any, Any], ...] = ()
        if atom_name is not None:
            detail = self.detail_of(atom_name)
            if not args_mapping:
                return {}
            transient = self._transient_args.get(atom_name)
            kept = detail.meta.get(META_INJECTED)
            injected = tuple(values for values in (transient, kept) if values)
        elif not args_mapping:
            return {}
        values = {}
        optional = optional_args or ()
        with self._reading():
            for bound, name in args_mapping.items():
                for given in injected:
                    if name in given:
                        values[bound] = given[name]
                        break
                else:
                    if name in self._defaults:
                        kind = self._defaults[name][0]
                        try:
                            values[bound] = self._default_value(name, kind)
                        except (*_EXTRACT_ERRORS, exc.DisallowedAccess) as e:
                            raise _no_result(name, f"the {kind} values of the flow", e) from e
                        continue
                    if name not in self._providers:
                        if bound in optional:
                            continue
                        raise exc.NotFound(
                            f"Name {name!r} is not mapped as a produced output by any providers"
                            f" (wanted as argument {bound!r} of atom {atom_name!r})"
                        )
                    if scope_walker is None and atom_name is not None:
                        scope_walker = self._scope_fetcher(atom_name)
                    value = self._scoped_value(name, scope_walker)
                    if value is not _NOTHING:
                        values[bound] = value
                    elif bound not in optional:
                        raise exc.NotFound(
                            f"Value {name!r} for argument {bound!r} of atom {atom_name!r} is provided by"
                            f" {sorted(self._providers[name])}, none of which is accessible from it"
                        )
        return values

    def _scoped_value(self, name: Any, scope_walker: Any) -> Any:
        providers = self._providers[name]
        deciding: Any = _NOTHING
        error: Exception | None = None
        for scope, atom_name in _visible(scope_walker, name, providers):
            if deciding is not _NOTHING and scope != deciding:
                break
            try:
                result = self._executed(self._details[atom_name])
            except exc.DisallowedAccess as e:
                if e.state == states.IGNORE:
                    continue
                raise exc.NotFound(
                    f"Value {name!r} of atom {atom_name!r} is not there in its state {e.state}", e
                ) from e
            # The nearest scope that has anything decides.
            deciding = scope
            for index in providers[atom_name]:
                if index is None:
                    return result
                try:
                    return result[index]
                except _EXTRACT_ERRORS as e:
                    error = e
        if deciding is not _NOTHING:
            raise _no_result(name, "the nearest scope that provides it", error) from error
        return _NOTHING

    def fetch_unsatisfied_args(
        self,
        atom_name: str,
        args_mapping: Mapping[str, Any],
        scope_walker: Any = None,
        optional_args: Any = None,
    ) -> set[str]:
        """The arguments of an atom that nothing could provide.

        Args:
            atom_name: The atom.
            args_mapping: Argument name -> name of the value.
            scope_walker: The scopes to look in; those of the atom by default.
            optional_args: Arguments that need no value.

        Returns:
            The names of such arguments.

        Raises:
            NotFound: The atom is unknown.
        """
        missing = set()
        with self._reading():
            detail = self.detail_of(atom_name)
            transient = self._transient_args.get(atom_name) or ()
            kept = detail.meta.get(META_INJECTED) or ()
            optional = optional_args or ()
            for bound, name in args_mapping.items():
                if bound in optional or name in transient or name in kept:
                    continue
                if name in self._defaults and self._has_default(name):
                    continue
                providers = self._providers.get(name)
                if providers:
                    if scope_walker is None:
                        scope_walker = self._scope_fetcher(atom_name)
                    if next(iter(_visible(scope_walker, name, providers)), None) is not None:
                        continue
                missing.add(bound)
        return missing

    def _has_default(self, name: Any) -> bool:
        for kind in self._defaults[name]:
            with contextlib.suppress(*_EXTRACT_ERRORS, exc.DisallowedAccess):
                self._default_value(name, kind)
                return True
        return False


_PERSISTENT = "injected"
_TRANSIENT = "transient"

_WHOLE = (None,)

_DETAIL_OF_CLASS: dict[type, type[models.AtomDetail]] = {}


def _no_scopes(_atom_name: str) -> None:
    return None


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _visible(scope_walker: Any, name: Any, providers: Mapping[str, Any]) -> Iterable[tuple[Any, str]]:
    """The providers of a name that a walker shows, nearest first, each with what tells its scope from others."""
    if scope_walker is None:
        return ()
    direct = getattr(scope_walker, "providers", None)
    shown = (
        direct(name)
        if direct is not None
        else ((level, atom_name) for level, scope in enumerate(scope_walker) for atom_name in scope)
    )
    return ((scope, atom_name) for scope, atom_name in shown if atom_name in providers)


def _no_result(name: Any, where: str, cause: BaseException | None) -> exc.NotFound:
    return exc.NotFound(f"Unable to find result {name!r} in {where}", cause)


def _other_kind(name: str, found: type, wanted: type) -> exc.Duplicate:
    return exc.Duplicate(
        f"Atom detail {name!r} exists already as a {found.__name__}, but a {wanted.__name__} is needed: "
        "tasks and retries of one flow need different names"
    )


def _detail_class(atom: Any) -> type[models.AtomDetail]:
    kind: type[models.AtomDetail]
    if isinstance(atom, task.Task):
        kind = models.TaskDetail
    elif isinstance(atom, retry.Retry):
        kind = models.RetryDetail
    else:
        raise TypeError(f"Unknown atom '{atom}' ({type(atom)}): only tasks and retries have records")
    _DETAIL_OF_CLASS[type(atom)] = kind
    return kind


_FIELDS = ("state", "intention", "results", "failure", "revert_results", "revert_failure", "meta", "version")


def _difference(old: Any, new: Any) -> dict[str, Any]:
    return {name: getattr(new, name) for name in _FIELDS if getattr(new, name) is not getattr(old, name)}
