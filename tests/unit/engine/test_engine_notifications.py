# SPDX-License-Identifier: Apache-2.0
"""Who is told what, when and how, while an engine runs?"""

from __future__ import annotations

import logging
import threading

import pytest

from taskflow import engines, retry


def test_details_of_flow_events(kit):
    run = kit.run(kit.linear("f", "a"))
    flow_events = [(state, details) for state, details in run.details if "flow_name" in details]
    assert [state for state, _ in flow_events] == ["RUNNING", "SUCCESS"]
    for (_, details), old_state in zip(flow_events, ["PENDING", "RUNNING"], strict=True):
        assert details == {
            "engine": run.engine,
            "flow_name": "f",
            "flow_uuid": run.engine.storage.flow_uuid,
            "old_state": old_state,
        }


def test_details_of_atom_events(kit):
    result = object()
    step = kit.Step("a", gives=lambda: result, undo=lambda **kwargs: result)
    judge = kit.Judge("r", "RETRY", "REVERT")
    run = kit.run(kit.linear("f", step, kit.Step("N", undo=None), "F!", retry=judge))
    kept = {"SUCCESS", "FAILURE", "REVERTED", "REVERT_FAILURE"}
    seen = set()
    for state, details in run.details:
        for kind in ("task", "retry"):
            if f"{kind}_name" in details:
                keys = {f"{kind}_name", f"{kind}_uuid", "old_state"} | ({"result"} if state in kept else set())
                assert set(details) == keys
                assert details[f"{kind}_uuid"] == run.engine.storage.get_atom_uuid(details[f"{kind}_name"])
                seen.add((kind, state))
        if details.get("task_name") == "a" and state in kept:
            assert details["result"] is result
    assert seen == {("task", s) for s in ("RUNNING", "SUCCESS", "FAILURE", "REVERTING", "REVERTED", "PENDING")} | {
        ("retry", s) for s in ("RUNNING", "SUCCESS", "RETRYING", "REVERTING", "REVERTED")
    }


def test_details_of_failures(kit):
    run = kit.run(kit.linear("f", "N~", "F!"))
    results = {(d["task_name"], state): d["result"] for state, d in run.details if d.get("result") is not None}
    results = {key: kit.show(value) for key, value in results.items()}
    assert results == {
        ("N", "SUCCESS"): "5",
        ("F", "FAILURE"): "RuntimeError: F",
        ("N", "REVERT_FAILURE"): "RuntimeError: N revert",
    }


def test_flow_and_atom_events_have_a_notifier_each(kit):
    flow_states, atom_states = [], []
    engine = engines.load(kit.linear("f", "a", retry=retry.Times(1, "r")))
    engine.notifier.register("*", lambda state, details: flow_states.append(state))
    engine.atom_notifier.register("*", lambda state, details: atom_states.append(state))
    engine.run()
    assert flow_states == ["RUNNING", "SUCCESS"]
    assert atom_states == ["RUNNING", "SUCCESS", "RUNNING", "SUCCESS"]


def test_listeners_of_all_events_come_first_then_in_order_of_registration(kit):
    heard = []
    engine = engines.load(kit.linear("f", "a"))
    for name, event in (("x", "SUCCESS"), ("all 1", "*"), ("y", "SUCCESS"), ("all 2", "*"), ("never", "FAILURE")):
        engine.atom_notifier.register(event, lambda state, details, name=name: heard.append((name, state)))
    engine.run()
    assert heard == [
        ("all 1", "RUNNING"),
        ("all 2", "RUNNING"),
        ("all 1", "SUCCESS"),
        ("all 2", "SUCCESS"),
        ("x", "SUCCESS"),
        ("y", "SUCCESS"),
    ]


def test_each_listener_gets_its_own_details(kit):
    heard = []

    def spoil(state, details):
        heard.append(dict(details))
        details.clear()

    engine = engines.load(kit.linear("f", "a"))
    engine.atom_notifier.register("*", spoil)
    engine.atom_notifier.register("SUCCESS", spoil)
    engine.run()
    assert [d["task_name"] for d in heard] == ["a"] * 3


def test_a_listener_that_raises_is_logged_and_ignored(kit, caplog):
    def broken(state, details):
        raise RuntimeError("broken listener")

    run = kit.load(kit.linear("f", "a"))
    run.engine.notifier.register("*", broken)
    run.engine.atom_notifier.register("*", broken)
    with caplog.at_level(logging.WARNING):
        run.run()
    assert run.raised == ""
    assert run.state == "SUCCESS"
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and r.exc_info]
    assert len(warnings) == 4


def test_a_listener_must_take_details_by_that_name(kit):
    heard = []
    run = kit.load(kit.linear("f", "a"))
    run.engine.atom_notifier.register("SUCCESS", lambda state, other: heard.append(other))
    assert run.run().raised == ""
    assert heard == []


@pytest.mark.parametrize("backend", [None, {"connection": "memory"}], ids=["own", "memory"])
def test_state_and_result_are_in_storage_before_the_event(kit, backend):
    seen = []
    engine = engines.load(kit.linear("f", "a>x", "F!", retry=retry.Times(1, "r", provides="n")), backend=backend)
    storage = engine.storage

    def look(state, details):
        name = details.get("task_name") or details.get("retry_name")
        values = storage.fetch_all()
        seen.append((name, state, storage.get_atom_state(name), values))

    engine.atom_notifier.register("*", look)
    with pytest.raises(RuntimeError, match="^F$"):
        engine.run()
    assert all(state == stored for _, state, stored, _ in seen)
    values = {(name, state): values for name, state, _, values in seen}
    assert values["r", "RUNNING"] == {}
    assert values["r", "SUCCESS"] == values["a", "RUNNING"] == {"n": 1}
    assert values["a", "SUCCESS"] == values["F", "RUNNING"] == values["a", "REVERTING"] == {"n": 1, "x": 5}
    assert values["a", "REVERTED"] == {"n": 1}
    assert values["r", "REVERTED"] == {}


def test_what_an_event_tells_is_in_the_backend_already(kit):
    seen = []
    engine = engines.load(kit.linear("f", "a", "F!"), backend={"connection": "memory"})

    def stored():
        connection = engine.storage.backend.get_connection()
        detail = connection.get_flow_details(engine.storage.flow_uuid)
        connection.close()
        return detail

    def look_at_atom(state, details):
        detail = stored().find(details["task_uuid"])
        seen.append((details["task_name"], state, detail.state, detail.results, detail.failure is not None))

    def look_at_flow(state, details):
        seen.append((state, stored().state))

    engine.atom_notifier.register("*", look_at_atom)
    engine.notifier.register("*", look_at_flow)
    with pytest.raises(RuntimeError, match="^F$"):
        engine.run()
    assert seen == [
        ("RUNNING", "RUNNING"),
        ("a", "RUNNING", "RUNNING", None, False),
        ("a", "SUCCESS", "SUCCESS", 5, False),
        ("F", "RUNNING", "RUNNING", None, False),
        ("F", "FAILURE", "FAILURE", None, True),
        ("F", "REVERTING", "REVERTING", None, True),
        ("F", "REVERTED", "REVERTED", None, True),
        ("a", "REVERTING", "REVERTING", 5, False),
        ("a", "REVERTED", "REVERTED", 5, False),
        ("REVERTED", "REVERTED"),
    ]


def test_a_task_sees_its_own_running_state_in_the_backend(kit):
    seen = []

    def look():
        connection = engine.storage.backend.get_connection()
        detail = connection.get_flow_details(engine.storage.flow_uuid)
        seen.append((detail.state, sorted((atom.name, atom.state, atom.intention) for atom in detail)))
        connection.close()

    engine = engines.load(kit.linear("f", "a", kit.Step("look", look)), backend={"connection": "memory"})
    engine.run()
    assert seen == [("RUNNING", [("a", "SUCCESS", "EXECUTE"), ("look", "RUNNING", "EXECUTE")])]


def test_events_come_on_the_thread_that_drives_the_engine(kit):
    threads = set()
    engine = engines.load(kit.linear("f", "a", "b"))
    engine.notifier.register("*", lambda state, details: threads.add(threading.get_ident()))
    engine.atom_notifier.register("*", lambda state, details: threads.add(threading.get_ident()))
    runner = threading.Thread(target=engine.run)
    runner.start()
    ident = runner.ident
    runner.join()
    assert threads == {ident}


def test_a_listener_may_use_the_engine(kit):
    run = kit.load(kit.linear("f", "a>x", "b"))
    values = []
    run.on["a.t SUCCESS"] = lambda: values.append(run.engine.storage.fetch("x"))
    run.on["a.t RUNNING"] = lambda: run.engine.storage.inject({"y": 1})
    run.run()
    assert values == [5]
    assert run.engine.storage.fetch_all() == {"x": 5, "y": 1}


def test_a_listener_may_be_added_and_removed_during_the_run(kit):
    heard = []
    engine = engines.load(kit.linear("f", "a", "b"))

    def late(state, details):
        heard.append((details["task_name"], state))
        engine.atom_notifier.deregister("*", late)

    def adds(state, details):
        engine.atom_notifier.register("*", late)

    engine.atom_notifier.register("SUCCESS", adds, details_filter=lambda details: details.get("task_name") == "a")
    engine.run()
    assert heard == [("b", "RUNNING")]


def test_only_real_moves_of_the_flow_are_told(kit):
    run = kit.run(kit.linear("f", "a"))
    assert run.flow_moves == ["PENDING>RUNNING", "RUNNING>SUCCESS"]
    run.engine.suspend()
    assert run.flow_moves == ["PENDING>RUNNING", "RUNNING>SUCCESS"]
