# SPDX-License-Identifier: Apache-2.0
"""How do the storage tests make a storage, read it anew, and let its backend fail?"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from taskflow import exceptions, retry, storage, task
from taskflow.persistence import base, models
from taskflow.persistence.backends import impl_memory
from taskflow.types import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _nothing() -> None:
    return None


def make_task(name: str, provides: Any = None, version: Any = None, **kwargs: Any) -> task.Task:
    """A task that is only looked at, never run."""
    return task.FunctorTask(_nothing, name=name, provides=provides, version=version, **kwargs)


def make_retry(name: str, provides: Any = None) -> retry.Retry:
    """A retry that is only looked at, never run."""
    return retry.AlwaysRevert(name, provides=provides)


def make_failure(text: str = "broken", kind: type[Exception] = RuntimeError) -> failure.Failure:
    """A failure of an exception that really was raised, so it has a traceback."""
    try:
        raise kind(text)
    except kind as error:
        return failure.Failure.from_exception(error)


def stored_flow(backend: base.Backend, name: str = "flow") -> models.FlowDetail:
    """A new flow detail that its backend knows."""
    book = models.LogBook("book")
    detail = models.FlowDetail(name, str(uuid.uuid4()))
    book.add(detail)
    connection = backend.get_connection()
    connection.upgrade()
    connection.save_logbook(book)
    connection.close()
    return detail


class WatchedConnection(base.Connection):
    """A third party's connection: it has the abstract methods only, and its backend may let updates fail."""

    def __init__(self, backend: WatchedBackend, connection: base.Connection) -> None:
        self._backend = backend
        self._connection = connection

    @property
    def backend(self) -> WatchedBackend:
        return self._backend

    def close(self) -> None:
        self._connection.close()

    def upgrade(self) -> None:
        self._connection.upgrade()

    def clear_all(self) -> None:
        self._connection.clear_all()

    def validate(self) -> None:
        self._connection.validate()

    def update_atom_details(self, atom_detail: Any) -> Any:
        self._backend.note("atom")
        return self._connection.update_atom_details(atom_detail)

    def update_flow_details(self, flow_detail: Any) -> Any:
        self._backend.note("flow")
        return self._connection.update_flow_details(flow_detail)

    def save_logbook(self, book: Any) -> Any:
        return self._connection.save_logbook(book)

    def destroy_logbook(self, book_uuid: str) -> None:
        self._connection.destroy_logbook(book_uuid)

    def get_logbook(self, book_uuid: str, lazy: bool = False) -> Any:
        return self._connection.get_logbook(book_uuid, lazy=lazy)

    def get_logbooks(self, lazy: bool = False) -> Iterator[Any]:
        return self._connection.get_logbooks(lazy=lazy)

    def get_flows_for_book(self, book_uuid: str) -> Iterator[Any]:
        return self._connection.get_flows_for_book(book_uuid)

    def get_flow_details(self, fd_uuid: str, lazy: bool = False) -> Any:
        return self._connection.get_flow_details(fd_uuid, lazy=lazy)

    def get_atom_details(self, ad_uuid: str) -> Any:
        return self._connection.get_atom_details(ad_uuid)

    def get_atoms_for_flow(self, fd_uuid: str) -> Iterator[Any]:
        return self._connection.get_atoms_for_flow(fd_uuid)


class WatchedBackend(base.Backend):
    """Counts the updates it gets, and raises the errors that a test puts into ``errors``, one per update.

    ``errors`` is a list; when ``broken`` is set, that error is raised for every update.
    """

    def __init__(self) -> None:
        super().__init__({})
        self.inner = impl_memory.MemoryBackend()
        self.updates: list[str] = []
        self.errors: list[Exception] = []
        self.broken: Exception | None = None

    def note(self, kind: str) -> None:
        self.updates.append(kind)
        if self.errors:
            raise self.errors.pop(0)
        if self.broken is not None:
            raise self.broken

    def get_connection(self) -> WatchedConnection:
        return WatchedConnection(self, self.inner.get_connection())

    def close(self) -> None:
        self.inner.close()


class Kit:
    """What a test needs, with the kind of backend already chosen."""

    make_task = staticmethod(make_task)
    make_retry = staticmethod(make_retry)
    make_failure = staticmethod(make_failure)
    stored_flow = staticmethod(stored_flow)

    def __init__(self, with_backend: bool) -> None:
        self._with_backend = with_backend

    def storage(self, *atoms: Any, scope_fetcher: Any = None) -> storage.Storage:
        """A new storage over a new flow, knowing these atoms."""
        if self._with_backend:
            backend = impl_memory.MemoryBackend()
            made = storage.Storage(stored_flow(backend), backend, scope_fetcher=scope_fetcher)
        else:
            made = storage.Storage(models.FlowDetail("flow", str(uuid.uuid4())), scope_fetcher=scope_fetcher)
        made.ensure_atoms(atoms)
        return made

    def reloaded(self, old: storage.Storage, *atoms: Any) -> storage.Storage:
        """A second storage over what the first one's backend holds."""
        connection = old.backend.get_connection()
        detail = connection.get_flow_details(old.flow_uuid)
        connection.close()
        made = storage.Storage(detail, old.backend)
        made.ensure_atoms(atoms)
        return made

    def detail(self, owner: storage.Storage, name: str) -> Any:
        """The live detail of an atom."""
        return owner._flowdetail.find(owner.get_atom_uuid(name))


@pytest.fixture(params=[False, True], ids=["private-memory", "memory-backend"])
def kit(request: pytest.FixtureRequest) -> Kit:
    return Kit(request.param)


@pytest.fixture
def parts() -> Kit:
    """Atoms and failures for a test that has a storage of its own."""
    return Kit(False)


@pytest.fixture
def watched() -> WatchedBackend:
    return WatchedBackend()


@pytest.fixture
def watched_storage(watched: WatchedBackend) -> Callable[..., storage.Storage]:
    """Makes a storage over the watched backend; the updates counted so far are forgotten."""

    def make(*atoms: Any) -> storage.Storage:
        made = storage.Storage(stored_flow(watched), watched)
        made.ensure_atoms(atoms)
        watched.updates.clear()
        return made

    return make


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed saves are repeated without a noticeable wait."""
    monkeypatch.setattr(storage, "RETRY_WAIT_TIMEOUT", 0.001)


@pytest.fixture
def lost_connection() -> exceptions.StorageFailure:
    return exceptions.StorageFailure("the backend is away")
