# SPDX-License-Identifier: Apache-2.0
"""Is what happened saved before anything of the user's runs because of it, and does nothing get lost in between?"""

from __future__ import annotations

import pytest

from taskflow import engines, retry, task
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence.backends import impl_memory
from taskflow.utils import persistence_utils


class Stored:
    """An engine on a backend of a kind that nobody listens to, and what another program finds there."""

    def __init__(self, flow, durable=True):
        self.backend = impl_memory.MemoryBackend()
        self.backend.durable = durable
        book, detail = persistence_utils.temporary_flow_detail(self.backend)
        self.engine = engines.load(flow, flow_detail=detail, book=book, backend=self.backend)
        self.storage = self.engine.storage

    def __getitem__(self, name):
        detail = self.backend.get_connection().get_flow_details(self.storage.flow_uuid)
        return next(atom for atom in detail if atom.name == name)


@pytest.fixture(params=[True, False], ids=["durable", "memory"])
def durable(request):
    return request.param


def test_a_task_that_hears_of_its_own_progress_has_its_state_saved_already(durable):
    found = []

    class Hears(task.Task):
        def execute(self):
            return 1

        def update_progress(self, progress):
            found.append((progress, stored["t"].state))

    stored = Stored(linear_flow.Flow("f").add(Hears("t")), durable)
    stored.engine.run()
    assert found == [(0.0, "RUNNING"), (1.0, "SUCCESS")]


def test_a_failure_is_saved_before_a_retry_is_asked_about_it(kit, durable):
    found = []

    def answer(history):
        found.append((stored["b"].state, stored["a"].state))
        return retry.REVERT

    stored = Stored(kit.linear("f", "a", "b!", retry=kit.Judge("r", answer)), durable)
    with pytest.raises(RuntimeError, match="^b$"):
        stored.engine.run()
    assert found == [("FAILURE", "SUCCESS")]


class Does(task.Task):
    def __init__(self, name, act):
        super().__init__(name)
        self.act = act

    def execute(self):
        return self.act()


def test_what_is_saved_ahead_has_its_progress():
    found = []
    look = lambda: found.append((stored["a"].state, stored["a"].results, stored["a"].meta))  # noqa: E731
    stored = Stored(unordered_flow.Flow("f").add(Does("a", lambda: 7), Does("b", look)))
    stored.engine.run()
    assert found == [("SUCCESS", 7, {"progress": 1.0})]
    assert stored.storage.get_task_progress("a") == 1.0


def test_metadata_of_what_is_saved_ahead_may_be_changed_meanwhile():
    def add():
        stored.storage.update_atom_metadata("a", {"mine": 1})

    stored = Stored(unordered_flow.Flow("f").add(Does("a", lambda: 7), Does("b", add)))
    stored.engine.run()
    assert stored["a"].meta == {"progress": 1.0, "mine": 1}
    assert (stored["a"].state, stored["a"].results) == ("SUCCESS", 7)
    live = stored.storage._flowdetail.find(stored.storage.get_atom_uuid("a"))
    assert (live.state, live.results, live.meta) == ("SUCCESS", 7, {"progress": 1.0, "mine": 1})


def test_what_begins_again_on_resumption_is_recorded_as_to_be_executed(kit):
    seen = []
    flow = kit.unordered("f", kit.Step("a", gives=lambda: seen.append(run.atom_states("b"))), "b")
    flow = kit.linear("g", flow, "c", retry=kit.Judge("r", "RETRY"))
    run = kit.left(flow, "r=RETRYING/RETRY a=FAILURE")
    run.engine.atom_notifier.reset()
    assert run.run().state == "SUCCESS"
    assert run.atom_states("a", "b", "c") == ["SUCCESS/EXECUTE"] * 3
