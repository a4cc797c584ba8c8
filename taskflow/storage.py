# SPDX-License-Identifier: Apache-2.0
"""What is known of one flow: its atoms' states and results, who provides what, and how it all gets saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import atom as bindings
from taskflow import exceptions as exc
from taskflow import logging, lookups, records, retry, states, task
from taskflow.persistence import models
from taskflow.utils import misc, uuids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taskflow.types import failure as failures


LOG = logging.getLogger(__name__)

# How often a failing save is tried, and the longest that all the waiting in between may take (seconds a try).
RETRY_ATTEMPTS = 3
RETRY_WAIT_TIMEOUT = 5

STATES_WITH_RESULTS = (states.FAILURE, states.REVERTED, states.REVERTING, states.REVERT_FAILURE, states.SUCCESS)

META_INJECTED = lookups.META_INJECTED
META_PROGRESS = records.META_PROGRESS
META_PROGRESS_DETAILS = "progress_details"

Change = records.Change
Transition = records.Transition

_UNDONE = frozenset((states.REVERTED, states.REVERT_FAILURE, states.REVERTING))
_FAILED = frozenset((states.FAILURE, states.REVERT_FAILURE))
_CACHED_INTENTIONS = frozenset((states.EXECUTE, states.REVERT))
_EXTRACT_ERRORS = (IndexError, KeyError, ValueError, TypeError)


class Storage(lookups.Lookups):
    """Reads and saves everything about one flow: the face that engines, listeners and programs see.

    Args:
        flow_detail: The record of the flow; changed in place by every save.
        backend: Where to save; a private in-memory backend when there is none.
        scope_fetcher: Called with an atom's name, returns the scopes (iterable of lists of names, nearest first) whose
            results that atom may use, or ``None``.
    """

    def _tries(self) -> tuple[int, float]:
        # Read each time: programs set the module's constants.
        return RETRY_ATTEMPTS, RETRY_WAIT_TIMEOUT

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
            # Names without a record: the atom that comes first, and what kind of record it needs.
            missing: dict[str, Any] = {}
            kinds: list[type[models.AtomDetail]] = []
            for atom in atoms:
                kind = _DETAIL_OF_CLASS.get(type(atom))
                if kind is None:
                    kind = _detail_class(atom)
                name = atom.name
                if not name:
                    raise ValueError(f"Atom '{atom}' of flow {self.flow_name!r} has no name: each atom needs one")
                detail = details.get(name)
                if detail is None:
                    if name not in missing:
                        missing[name] = atom
                        kinds.append(kind)
                    else:
                        other = _detail_class(missing[name])
                        if other is not kind:
                            raise _other_kind(name, other, kind)
                elif not isinstance(detail, kind):
                    raise _other_kind(name, type(detail), kind)
                wanted.append(atom)
                found.append(detail)
            if missing:
                ids = uuids.generate_uuids(len(missing))
                added = []
                for name, atom, kind, uuid in zip(missing, missing.values(), kinds, ids, strict=True):
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
                    self._register_outputs(atom.name, outputs)
            return [(details[a.name] if d is None else d).uuid for a, d in zip(wanted, found, strict=True)]

    def ensure_atom(self, atom: Any) -> str:
        """Make sure that an atom has a record.

        Args:
            atom: A task or retry.

        Returns:
            The uuid of its record.
        """
        return self.ensure_atoms([atom])[0]

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


_DETAIL_OF_CLASS: dict[type, type[models.AtomDetail]] = {}


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
