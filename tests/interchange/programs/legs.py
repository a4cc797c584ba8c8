# SPDX-License-Identifier: Apache-2.0
"""How is a flow begun, gone on with by the next process, and looked at?"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import flows
import stage

from taskflow import engines, exceptions
from taskflow.listeners import timing
from taskflow.persistence import backends, models
from taskflow.types import failure as ft

STORE: dict[str, Any] = {"store": [["é", None], 5, {"k": 1.5}]}


def _note(kind: str) -> Any:
    def receiver(event: str, details: Any) -> None:
        name = details.get("task_name") or details.get("retry_name") or details.get("flow_name")
        stage.point("event", kind, name, details["old_state"], event, details.get("result"))

    return receiver


def _run(engine: Any, leg: dict[str, Any]) -> dict[str, Any]:
    stage.begin(leg["log"], leg.get("stop_at"), leg.get("how", "kill"))
    stage.set_engine(engine)
    engine.notifier.register("*", _note("flow"))
    engine.atom_notifier.register("*", _note("atom"))
    raised = None
    with timing.DurationListener(engine):
        try:
            engine.run()
        except Exception as e:
            raised = [stage.describe(ft.Failure(exc_info=(type(e), e, None)))]
            if isinstance(e, exceptions.WrappedFailure):
                # Their order is the order in which atoms were read, which is any.
                raised = sorted((stage.describe(failure) for failure in e), key=json.dumps)
    return {
        "raised": raised,
        "points": stage.passed(),
        "state": engine.storage.get_flow_state(),
        "values": stage.describe(engine.storage.fetch_all()),
        "failures": stage.describe(engine.storage.get_failures()),
    }


def _hurry() -> None:
    # What can not be stored is tried again after seconds by one of the libraries.
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.01))


def start(conf: dict[str, Any], leg: dict[str, Any]) -> dict[str, Any]:
    """Stores a new flow, and runs it."""
    if leg.get("hurry"):
        _hurry()
    with backends.backend(conf) as backend:
        book = models.LogBook(leg.get("book", "ein Büch"))
        book.meta.update({"owner": "ü", "deep": [1, {"n": None}]})
        with contextlib.closing(backend.get_connection()) as connection:
            connection.save_logbook(book)
        engine = engines.load_from_factory(
            getattr(flows, leg["flow"]),
            factory_kwargs=leg.get("given", {}),
            store=STORE,
            book=book,
            backend=backend,
            **leg.get("engine", {"inject_transient": False}),
        )
        return _run(engine, leg)


def go_on(conf: dict[str, Any], leg: dict[str, Any]) -> dict[str, Any]:
    """Goes on with the only flow that is stored."""
    if leg.get("hurry"):
        _hurry()
    with backends.backend(conf) as backend:
        with contextlib.closing(backend.get_connection()) as connection:
            (flow_detail,) = [detail for book in connection.get_logbooks() for detail in book]
        engine = engines.load_from_detail(
            flow_detail, backend=backend, **leg.get("engine", {"inject_transient": False})
        )
        return _run(engine, leg)


def _meta(detail: Any) -> Any:
    # What was measured differs from run to run, and this library notes more of it.
    meta = {key: value for key, value in detail.meta.items() if key not in ("execute_duration", "revert_duration")}
    if "duration" in meta:
        meta["duration"] = isinstance(meta["duration"], float)
    return stage.describe(meta)


_FIELDS = ("uuid", "state", "intention", "results", "failure", "revert_results", "revert_failure", "version")


def _atom(detail: Any) -> dict[str, Any]:
    return {
        "type": models.atom_detail_type(detail),
        **{name: stage.describe(getattr(detail, name)) for name in _FIELDS},
        "meta": _meta(detail),
    }


def look(conf: dict[str, Any], leg: dict[str, Any]) -> dict[str, Any]:
    """Returns all that is stored, by names, as this library reads it."""
    seen: dict[str, Any] = {}
    with (
        contextlib.closing(backends.fetch(conf)) as backend,
        contextlib.closing(backend.get_connection()) as connection,
    ):
        for lazy_book in connection.get_logbooks(lazy=True):
            book = connection.get_logbook(lazy_book.uuid)
            entry = seen[book.name] = {
                "uuid": book.uuid,
                "meta": stage.describe(book.meta),
                "created": stage.describe(book.created_at),
                "lazily": (stage.describe(lazy_book.created_at), stage.describe(lazy_book.updated_at), len(lazy_book)),
                "flows": {},
            }
            for flow_detail in book:
                entry["flows"][flow_detail.name] = {
                    "uuid": flow_detail.uuid,
                    "state": flow_detail.state,
                    "meta": _meta(flow_detail),
                    "atoms": {detail.name: _atom(detail) for detail in sorted(flow_detail, key=lambda a: a.name)},
                }
                alone = connection.get_flow_details(flow_detail.uuid)
                assert sorted(detail.uuid for detail in alone) == sorted(detail.uuid for detail in flow_detail)
                for detail in connection.get_atoms_for_flow(flow_detail.uuid):
                    assert _atom(detail) == _atom(connection.get_atom_details(detail.uuid))
    return seen
