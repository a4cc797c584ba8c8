# SPDX-License-Identifier: Apache-2.0
"""How records are made for flows that were given none."""

import logging

import pytest

from taskflow.patterns import linear_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory
from taskflow.utils import persistence_utils


@pytest.fixture
def backend():
    return impl_memory.MemoryBackend()


def stored_books(backend):
    return list(backend.get_connection().get_logbooks())


def test_temporary_book(backend):
    assert persistence_utils.temporary_log_book().name == "tmp"
    assert stored_books(backend) == []
    book = persistence_utils.temporary_log_book(backend)
    assert [stored.uuid for stored in stored_books(backend)] == [book.uuid]


def test_temporary_flow_detail(backend):
    book, flow_detail = persistence_utils.temporary_flow_detail(backend, meta={"a": 1})
    assert (book.name, flow_detail.name, flow_detail.meta) == ("tmp", "tmp-flow-detail", {"a": 1})
    assert list(book) == [flow_detail]
    (stored,) = stored_books(backend)
    assert stored.find(flow_detail.uuid).meta == {"a": 1}
    assert persistence_utils.temporary_flow_detail()[1].uuid != flow_detail.uuid


def test_flow_detail_alone():
    flow_detail = persistence_utils.create_flow_detail(linear_flow.Flow("f"), meta={"a": 1})
    assert (flow_detail.name, flow_detail.meta, len(flow_detail.uuid)) == ("f", {"a": 1}, 36)


def test_flow_detail_in_a_book(backend):
    book = models.LogBook("b")
    flow_detail = persistence_utils.create_flow_detail(linear_flow.Flow("f"), book=book)
    assert list(book) == [flow_detail]
    assert stored_books(backend) == []
    again = persistence_utils.create_flow_detail(linear_flow.Flow("g"), book=book, backend=backend)
    assert [fd.name for fd in stored_books(backend)[0]] == ["f", "g"]
    assert book.find(again.uuid) is again


def test_backend_without_book_gets_a_temporary_one(backend, caplog):
    with caplog.at_level(logging.WARNING):
        flow_detail = persistence_utils.create_flow_detail(linear_flow.Flow("f"), backend=backend)
    assert "'f'" in caplog.text
    (stored,) = stored_books(backend)
    assert stored.name == "tmp"
    assert stored.find(flow_detail.uuid).name == "f"


def test_flow_without_name_is_named_by_the_uuid(caplog):
    with caplog.at_level(logging.WARNING):
        flow_detail = persistence_utils.create_flow_detail(object())
    assert flow_detail.name == flow_detail.uuid
    assert flow_detail.uuid in caplog.text
