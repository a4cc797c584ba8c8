# SPDX-License-Identifier: Apache-2.0
"""How often does an engine write, and how much, for each thing that happens?"""

import gc

import pytest

from taskflow import engines, retry, task
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence.backends import impl_memory
from taskflow.utils import persistence_utils

SIZE = 60


class Quiet(task.Task):
    def execute(self):
        return 1


class Fails(task.Task):
    def execute(self):
        raise ValueError("no")


class FailsOnce(task.Task):
    def __init__(self, name):
        super().__init__(name)
        self.calls = 0

    def execute(self):
        self.calls += 1
        if self.calls == 1:
            raise ValueError("not yet")


class CountingConnection(impl_memory.Connection):
    def write(self, flow_detail, changes, added=()):
        changes = list(changes)
        self._backend.units.append(len(changes) + len(added))
        return super().write(flow_detail, changes, added)


class CountingBackend(impl_memory.MemoryBackend):
    """Notes how many records each unit of work changes; asks for the treatment of records that are to last."""

    durable = True

    def __init__(self):
        super().__init__()
        self.units = []

    def get_connection(self):
        return CountingConnection(self)


def units_of(flow, error=None, **options):
    backend = CountingBackend()
    book, detail = persistence_utils.temporary_flow_detail(backend)
    engine = engines.load(flow, flow_detail=detail, book=book, backend=backend, **options)
    engine.compile()
    engine.prepare()
    backend.units.clear()
    if error is None:
        engine.run()
    else:
        with pytest.raises(error):
            engine.run()
    return backend.units


def named(kind, count=SIZE):
    return [kind(f"{kind.__name__}{i}") for i in range(count)]


# The flow goes to RUNNING and to its end, and what ended last is saved.
AROUND = 3


def test_a_line_is_one_unit_of_work_for_each_task():
    units = units_of(linear_flow.Flow("f").add(*named(Quiet)))
    assert len(units) <= SIZE + AROUND
    assert max(units) <= 3


def test_undoing_a_line_is_one_unit_of_work_for_each_task():
    units = units_of(linear_flow.Flow("f").add(*named(Quiet), Fails()), error=ValueError)
    # The intentions of all are one unit more, and what failed is saved before it is looked at.
    assert len(units) <= 2 * SIZE + AROUND + 4
    assert sorted(units)[-2] <= 3


@pytest.mark.parametrize("engine", ["serial", "parallel"])
def test_independent_tasks_share_units_of_work_with_threads(engine):
    units = units_of(unordered_flow.Flow("f").add(*named(Quiet)), engine=engine, max_workers=2)
    assert len(units) <= SIZE + AROUND
    if engine == "parallel":
        # All of them begin in one unit.
        assert max(units) == SIZE


@pytest.mark.parametrize("count", [5, 20])
def test_a_retried_flow_costs_units_by_its_own_size(count):
    around = named(Quiet)
    inner = linear_flow.Flow("inner", retry=retry.Times(2, "again")).add(
        *(Quiet(f"in{i}") for i in range(count)), FailsOnce("once")
    )
    units = units_of(linear_flow.Flow("f").add(*around, inner))
    # Executed, undone and executed again.
    assert len(units) <= SIZE + 3 * count + AROUND + 8


def test_loading_makes_one_tracked_object_for_each_task():
    count = 3000
    flow = linear_flow.Flow("f").add(*named(Quiet, count))
    engine = engines.load(flow)
    gc.collect()
    before = len(gc.get_objects())
    engine.compile()
    engine.prepare()
    gc.collect()
    assert len(gc.get_objects()) - before < 1.1 * count
