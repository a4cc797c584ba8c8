# SPDX-License-Identifier: Apache-2.0
"""Does a storage leave no connection open, ask no more often than it helps, and tell failures in order?"""

from __future__ import annotations

import pytest

from taskflow import exceptions as exc
from taskflow import storage, task
from taskflow.persistence.backends import impl_memory
from taskflow.types import failure
from taskflow.utils import persistence_utils


class Connection(impl_memory.Connection):
    def write(self, flow_detail, changes, added=()):
        self._backend.writes += 1
        if self._backend.error is not None:
            raise self._backend.error
        return super().write(flow_detail, changes, added)

    def close(self):
        self._backend.opened -= 1
        super().close()


class Backend(impl_memory.MemoryBackend):
    """Counts connections that are open, and tries to write; may refuse these."""

    def __init__(self):
        super().__init__()
        self.opened = self.writes = 0
        self.error = None

    def get_connection(self):
        self.opened += 1
        return Connection(self)


class Idle(task.Task):
    def execute(self):
        return None


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def flow_uuid(backend):
    _, detail = persistence_utils.temporary_flow_detail(backend)
    return detail.uuid


def opened(backend, flow_uuid):
    connection = backend.get_connection()
    detail = connection.get_flow_details(flow_uuid)
    connection.close()
    return storage.Storage(detail, backend)


def test_what_is_refused_for_good_is_not_tried_again(backend, flow_uuid):
    made = opened(backend, flow_uuid)
    made.ensure_atom(Idle("a"))
    backend.writes, backend.error = 0, exc.StorageFailure("never")
    backend.error.permanent = True
    with pytest.raises(exc.StorageFailure, match="never"):
        made.save("a", 5)
    assert (backend.writes, made.get_atom_state("a")) == (1, "PENDING")


def test_connections_are_closed_unless_they_are_held(backend, flow_uuid):
    before = backend.opened
    made = opened(backend, flow_uuid)
    made.ensure_atom(Idle("a"))
    made.save("a", 5)
    assert backend.opened == before
    made.hold_connection()
    made.set_flow_state("RUNNING")
    made.set_flow_state("SUCCESS")
    assert backend.opened == before + 1
    made.release_connection()
    assert backend.opened == before


def test_failures_come_in_the_order_of_the_records(backend, flow_uuid):
    made = opened(backend, flow_uuid)
    names = ["c", "a", "b"]
    made.ensure_atoms([Idle(name) for name in names])
    for name in reversed(names):
        made.save(name, failure.Failure.from_exception(ValueError(name)), "FAILURE")
    assert list(made.get_execute_failures()) == names
