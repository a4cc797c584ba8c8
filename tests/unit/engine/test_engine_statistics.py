# SPDX-License-Identifier: Apache-2.0
"""What does an engine count while it runs?"""

from __future__ import annotations

import pytest

from taskflow import engines, retry

KEYS = {"seconds_per_state", "discarded_failures", "completed", "awaiting", "incomplete", "active_for"}


def test_of_a_successful_run(kit):
    engine = engines.load(kit.linear("f", "a", "b", retry=retry.Times(1, "r")))
    assert engine.statistics == {}
    engine.run()
    statistics = engine.statistics
    assert set(statistics) == KEYS
    assert set(statistics["seconds_per_state"]) == {"analyzing", "resuming", "scheduling", "waiting"}
    assert all(seconds >= 0 for seconds in statistics["seconds_per_state"].values())
    assert statistics["active_for"] >= sum(statistics["seconds_per_state"].values()) * 0.9
    counts = {key: statistics[key] for key in ("discarded_failures", "completed", "awaiting", "incomplete")}
    assert counts == {"discarded_failures": 0, "completed": 3, "awaiting": 0, "incomplete": 0}


def test_of_a_reverted_run(kit):
    run = kit.run(kit.linear("f", "a", "F!"))
    assert run.engine.statistics["completed"] == 4
    assert run.engine.statistics["discarded_failures"] == 1


def test_of_a_retried_run(kit):
    run = kit.run(kit.linear("f", "a", "F!", retry=retry.Times(2, "r")))
    assert run.engine.statistics["completed"] == 2 * 5 + 1
    assert run.engine.statistics["discarded_failures"] == 2


def test_unresolved_failures_are_not_discarded(kit):
    run = kit.run(kit.linear("f", "a", "F!"), never_resolve=True)
    assert run.engine.statistics["completed"] == 2
    assert run.engine.statistics["discarded_failures"] == 0
    assert run.engine.statistics["active_for"] >= 0


def test_the_object_stays_and_is_filled_anew_at_each_run(kit):
    engine = engines.load(kit.linear("f", "a"))
    statistics = engine.statistics
    engine.run()
    assert engine.statistics is statistics
    statistics["own"] = 1
    engine.run()
    assert engine.statistics is statistics
    assert set(statistics) == KEYS
    assert statistics["completed"] == 0


def test_time_is_spent_where_the_serial_engine_works(kit):
    import time

    engine = engines.load(kit.Step("a", lambda: time.sleep(0.05)))
    engine.run()
    assert engine.statistics["seconds_per_state"]["scheduling"] >= 0.04
    assert engine.statistics["active_for"] >= 0.04


def test_active_for_is_there_however_the_run_ends(kit):
    engine = engines.load(kit.linear("f", kit.Step("a", KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert engine.statistics["active_for"] >= 0
    assert engine.storage.get_flow_state() == "RUNNING"


def test_not_gathered(kit):
    run = kit.run(kit.linear("f", "a"), gather_statistics=False)
    assert run.engine.statistics == {}
