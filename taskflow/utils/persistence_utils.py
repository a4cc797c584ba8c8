# SPDX-License-Identifier: Apache-2.0
"""How records are made for a flow that was given none."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from taskflow import logging
from taskflow.persistence import models
from taskflow.utils import uuids

if TYPE_CHECKING:
    from taskflow import flow as flow_type
    from taskflow.persistence import base

LOG = logging.getLogger(__name__)


def _save(book: models.LogBook, backend: base.Backend) -> None:
    with contextlib.closing(backend.get_connection()) as connection:
        connection.save_logbook(book)


def temporary_log_book(backend: base.Backend | None = None) -> models.LogBook:
    """Makes a log book for things that are not expected to be kept.

    Args:
        backend: where to save it, if anywhere.
    """
    book = models.LogBook("tmp")
    if backend is not None:
        _save(book, backend)
    return book


def temporary_flow_detail(
    backend: base.Backend | None = None, meta: dict[str, Any] | None = None
) -> tuple[models.LogBook, models.FlowDetail]:
    """Makes a flow detail in a temporary log book.

    Args:
        backend: where to save both, if anywhere.
        meta: metadata for the flow detail.

    Returns:
        The book and the flow detail.
    """
    book = temporary_log_book()
    flow_detail = models.FlowDetail("tmp-flow-detail", uuids.generate_uuid())
    if meta:
        flow_detail.meta.update(meta)
    book.add(flow_detail)
    if backend is not None:
        _save(book, backend)
    return book, flow_detail


def create_flow_detail(
    flow: flow_type.Flow | Any,
    book: models.LogBook | None = None,
    backend: base.Backend | None = None,
    meta: dict[str, Any] | None = None,
) -> models.FlowDetail:
    """Makes a flow detail for a flow.

    Args:
        flow: the flow, whose name the flow detail gets.
        book: the log book to put it into; if none is given but a backend is, a temporary one is made.
        backend: where to save the book, if anywhere.
        meta: metadata for the flow detail.

    Returns:
        The flow detail, as it is found in the book if there is one.
    """
    uuid = uuids.generate_uuid()
    name = getattr(flow, "name", None)
    if name is None:
        LOG.warning("Flow %r has no name, so its record is named by its uuid %s", flow, uuid)
        name = uuid
    flow_detail = models.FlowDetail(name, uuid)
    if meta:
        flow_detail.meta.update(meta)
    if backend is not None and book is None:
        LOG.warning("No log book was given for flow '%s', making a temporary one", name)
        book = temporary_log_book()
    if book is None:
        return flow_detail
    book.add(flow_detail)
    if backend is not None:
        _save(book, backend)
    found = book.find(uuid)
    assert found is not None  # noqa: S101 - it was added above
    return found
