# SPDX-License-Identifier: Apache-2.0
"""Where are the records of one flow while a program works with them, and how does a change of them get saved?"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging, states
from taskflow.types import failure as failures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taskflow.persistence import base, models

LOG = logging.getLogger(__name__)

# The first wait between two tries of a save, in seconds; it doubles up to the longest wait allowed.
_FIRST_WAIT = 0.1

META_PROGRESS = "progress"

# A change that is to be saved: a detail, and attribute name -> new value.
Change = tuple[Any, dict[str, Any]]

# The same of an atom, and its new progress if that changes.
Transition = tuple[Any, dict[str, Any], float | None]

_EXECUTED = frozenset((states.SUCCESS, states.FAILURE, states.REVERTING))
_UNLOCKED = contextlib.nullcontext()


class _FailureCache(dict[str, dict[str, failures.Failure]]):
    """Atom name -> intention -> the failure as it was caught, with its live exception."""

    def __missing__(self, name: str) -> dict[str, failures.Failure]:
        made: dict[str, failures.Failure] = {}
        self[name] = made
        return made


class Records:
    """Holds the live records of a flow and saves changes of them.

    Readers never wait for a backend: they look at the flow detail in memory, which a save changes only after the
    backend has taken the change. Writers are serialised.

    Args:
        flow_detail: The record of the flow; changed in place by every save.
        backend: Where to save; a private in-memory backend when there is none.
    """

    def __init__(self, flow_detail: models.FlowDetail, backend: base.Backend | None) -> None:
        own: Any = None
        # Nobody else can look into a backend of our own: it is shown the records themselves, not each change.
        self._private = backend is None
        if backend is None:
            from taskflow.persistence.backends import impl_memory

            backend = impl_memory.MemoryBackend({"deep_copy": False})
            own = backend.get_connection()
            own.update_flow_details(flow_detail, ignore_missing=True)
        self._backend = backend
        self._flowdetail = flow_detail
        self._failures: dict[str, dict[str, failures.Failure]] = _FailureCache()
        self._failures_version = 0
        # Kept open: while an engine runs, and always when the backend is our own.
        self._connection: base.Connection | None = own
        self._holders = 0 if own is None else 1
        # Held from the look at what is to be changed until the change is saved and applied.
        self._saving = threading.RLock()
        self._shared_lock: Any = None
        self._details: dict[str, models.AtomDetail] = {}

    def _adopt(self, detail: models.AtomDetail) -> None:
        """Take up a record that was there before."""
        self._details[detail.name] = detail
        if detail.failure:
            self._failures[detail.name][states.EXECUTE] = detail.failure
        if detail.revert_failure:
            self._failures[detail.name][states.REVERT] = detail.revert_failure

    def _tries(self) -> tuple[int, float]:
        """How often a save is tried, and the longest wait between two tries in seconds."""
        return 1, 0.0

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
        if self._private:
            with self._saving:
                # From now on somebody else may look into it.
                if self._private and self._connection is not None:
                    flow = self._flowdetail
                    self._connection.write(flow, [(flow, {"state": flow.state, "meta": flow.meta})])
                self._private = False
        return self._backend

    @property
    def durable(self) -> bool:
        """Whether what is saved survives the process."""
        return getattr(self._backend, "durable", True)

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

    # -- saving ------------------------------------------------------------------------------------------------------

    def hold_connection(self) -> None:
        """Keep one backend connection open over many saves; each call needs a :meth:`release_connection`."""
        with self._saving:
            self._holders += 1

    def release_connection(self) -> None:
        """Close the connection that was kept open, if nobody else wants it kept."""
        connection = None
        with self._saving:
            self._holders -= 1
            if not self._holders:
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
        if self._private:
            for detail, fields, progress in transitions:
                if progress is not None:
                    detail.meta = {**detail.meta, META_PROGRESS: progress}
                for name, value in fields.items():
                    setattr(detail, name, value)
            return
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
        if self._private and not added:
            return ()
        attempt = 1
        wait = _FIRST_WAIT
        while True:
            connection = self._connection
            try:
                if connection is None:
                    connection = self._backend.get_connection()
                    if self._holders:
                        self._connection = connection
                return connection.write(self._flowdetail, changes, added)
            except exc.StorageFailure as e:
                attempts, longest = self._tries()
                if attempt >= attempts or getattr(e, "permanent", False):
                    raise
                LOG.debug("Saving flow %s failed (try %s), trying again", self.flow_name, attempt, exc_info=True)
            finally:
                if connection is not None and not self._holders:
                    connection.close()
            time.sleep(min(wait, longest))
            wait *= 2
            attempt += 1

    def _update_meta(self, detail: Any, update_with: Any) -> None:
        update = dict(update_with) if update_with else None
        if update:
            self.write([(detail, {"meta": {**detail.meta, **update}})])
