# SPDX-License-Identifier: Apache-2.0
"""Do the short ways of the engine give what the long ways give?

Nobody listens in most of these runs: whoever listens has everything saved and shown at once, which is the long way.
"""

from __future__ import annotations

import fasteners
import pytest

from taskflow import engines, exceptions, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory
from taskflow.utils import persistence_utils


class Gives(task.Task):
    """Provides ``x``, and keeps what its revert was given."""

    default_provides = "x"

    def __init__(self, name="gives", value="provided", **kwargs):
        super().__init__(name, **kwargs)
        self.value = value
        self.undone_with = []

    def execute(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def revert(self, result, **kwargs):
        self.undone_with.append(result)


class Idle(task.Task):
    def execute(self):
        return None


class Takes(task.Task):
    """Keeps the ``x`` that it was given."""

    def __init__(self, name="takes", **kwargs):
        super().__init__(name, **kwargs)
        self.given = []

    def execute(self, x):
        self.given.append(x)


class MayTake(Takes):
    def execute(self, x="left out"):
        self.given.append(x)


class Connection(impl_memory.Connection):
    def write(self, flow_detail, changes, added=()):
        changes = list(changes)
        atoms = [(detail.name, dict(fields)) for detail, fields in changes if isinstance(detail, models.AtomDetail)]
        self._backend.units.append(atoms)
        return super().write(flow_detail, changes, added)


class Backend(impl_memory.MemoryBackend):
    """Notes of each unit of work the names of the atoms that it changes, and what of them.

    Nothing of it outlives the process; it can say otherwise, and is then treated as one where that does.
    """

    def __init__(self, durable=False):
        super().__init__()
        self.durable = durable
        self.units = []

    def get_connection(self):
        return Connection(self)


def loaded(flow, backend=None, **options):
    if backend is None:
        return engines.load(flow, **options)
    book, detail = persistence_utils.temporary_flow_detail(backend)
    engine = engines.load(flow, flow_detail=detail, book=book, backend=backend, **options)
    engine.compile()
    engine.prepare()
    backend.units.clear()
    return engine


# -- the value of an argument, when its provider stands right before -------------------------------------------------


def test_the_result_of_the_task_before_is_passed():
    taker = Takes()
    loaded(linear_flow.Flow("f").add(Gives(), taker)).run()
    assert taker.given == ["provided"]


@pytest.mark.parametrize("transient", [True, False], ids=["in-memory", "saved"])
def test_a_value_injected_into_the_task_comes_before_that_of_the_task_before(transient):
    taker = Takes(inject={"x": "injected"})
    loaded(linear_flow.Flow("f").add(Gives(), taker), inject_transient=transient).run()
    assert taker.given == ["injected"]


@pytest.mark.parametrize("transient", [True, False], ids=["in-memory", "saved"])
def test_a_value_injected_between_prepare_and_run_counts(transient):
    taker = Takes()
    engine = loaded(linear_flow.Flow("f").add(Gives(), taker), Backend())
    engine.storage.inject_atom_args("takes", {"x": "injected"}, transient=transient)
    engine.run()
    assert taker.given == ["injected"]


@pytest.mark.parametrize("transient", [True, False], ids=["in-memory", "saved"])
def test_a_value_of_the_flow_comes_before_that_of_the_task_before(transient):
    taker = Takes()
    engine = loaded(linear_flow.Flow("f").add(Gives(), taker), Backend())
    engine.storage.inject({"x": "of the flow"}, transient=transient)
    engine.run()
    assert taker.given == ["of the flow"]


def test_a_result_of_a_task_that_does_not_come_before_is_not_passed():
    taker = MayTake()
    # By the time that the second line gets to its second task, the other provider has ended and is recorded.
    loaded(unordered_flow.Flow("f").add(Gives(), linear_flow.Flow("line").add(Idle("idle"), taker))).run()
    assert taker.given == ["left out"]


def _with_ignored_provider(taker):
    first, gives = Idle("first"), Gives()
    flow = graph_flow.Flow("f").add(first, gives, taker)
    return flow.link(first, gives, decider=lambda history: False, decider_depth="atom")


def test_a_provider_that_was_ignored_gives_no_value():
    taker = MayTake()
    engine = loaded(_with_ignored_provider(taker))
    engine.run()
    assert engine.storage.get_atom_state("gives") == "IGNORE"
    assert taker.given == ["left out"]


def test_an_ignored_provider_of_what_is_required_fails_the_run():
    taker = Takes()
    with pytest.raises(exceptions.NotFound, match="'x'.*'takes'"):
        loaded(_with_ignored_provider(taker)).run()
    assert taker.given == []


def test_a_provider_that_a_program_recorded_as_a_success_with_a_failure_passes_that_failure(kit):
    taker = Takes()
    engine = loaded(linear_flow.Flow("f").add(Gives(), taker), Backend())
    failed = kit.failure("no")
    engine.storage.save("gives", failed, "FAILURE")
    engine.storage.set_atom_state("gives", "SUCCESS")
    engine.run()
    assert [value is failed for value in taker.given] == [True]


def test_arguments_are_looked_up_under_the_lock_of_the_storage_once_somebody_asked_for_it(monkeypatch):
    taken = []

    class Lock(fasteners.ReaderWriterLock):
        def read_lock(self):
            taken.append("read")
            return super().read_lock()

    class Begins(Gives):
        def execute(self):
            taken.clear()
            return "provided"

    class Looks(Takes):
        def execute(self, x):
            self.given.append((x, *taken))

    monkeypatch.setattr(fasteners, "ReaderWriterLock", Lock)
    taker = Looks()
    engine = loaded(linear_flow.Flow("f").add(Begins(), taker))
    assert isinstance(engine.storage.lock, Lock)
    engine.run()
    assert taker.given == [("provided", "read")]


def test_a_mapping_assigned_to_a_task_is_the_one_that_counts():
    taker = Takes()
    taker.rebind = {"x": "y"}
    loaded(linear_flow.Flow("f").add(Gives(), Gives("other", "by name", provides="y"), taker)).run()
    assert taker.given == ["by name"]


def test_outputs_assigned_to_a_task_are_those_that_count():
    giver, taker = Gives(value=("first", "second")), Takes()
    giver.save_as = {"x": 1}
    loaded(linear_flow.Flow("f").add(giver, taker)).run()
    assert taker.given == ["second"]


# -- what a revert is given -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, False, True], ids=["private", "memory", "durable"])
@pytest.mark.parametrize("engine", ["serial", "parallel"])
def test_a_revert_is_given_what_came_of_the_task_in_the_step_just_before(engine, backend):
    good, bad = Gives("good"), Gives("bad", ValueError("no"), provides="y")
    made = loaded(unordered_flow.Flow("f").add(good, bad), None if backend is None else Backend(backend), engine=engine)
    with pytest.raises(ValueError, match="^no$"):
        made.run()
    assert good.undone_with == ["provided"]
    assert [str(given.exception) for given in bad.undone_with] == ["no"]
    assert made.storage.get_atom_state("good") == made.storage.get_atom_state("bad") == "REVERTED"


# -- what is gathered, and in what order it is saved ------------------------------------------------------------------


def test_what_ended_together_is_saved_in_portions():
    size = 1000
    backend = Backend()
    engine = loaded(unordered_flow.Flow("f").add(*(Idle(f"t{i}") for i in range(size))), backend)
    engine.run()
    ended = [sum(fields.get("state") == "SUCCESS" for _, fields in unit) for unit in backend.units]
    assert sum(ended) == size
    assert 2 <= max(ended) <= size // 10


def test_what_is_to_last_is_one_unit_of_work_for_all_that_ended_together():
    size = 300
    backend = Backend(durable=True)
    engine = loaded(
        unordered_flow.Flow("f").add(*(Idle(f"t{i}") for i in range(size))), backend, engine="parallel", max_workers=1
    )
    engine.run()
    begun = [sum(fields.get("state") == "RUNNING" for _, fields in unit) for unit in backend.units]
    assert max(begun) == size


def test_the_last_of_the_flow_is_marked_for_undoing_before_what_stands_before_it():
    backend = Backend()
    names = [f"t{i}" for i in range(20)]
    engine = loaded(linear_flow.Flow("f").add(*map(Idle, names), Gives("bad", ValueError("no"))), backend)
    with pytest.raises(ValueError, match="^no$"):
        engine.run()
    marked = [name for unit in backend.units for name, fields in unit if fields.get("intention") == "REVERT"]
    assert marked == ["bad", *reversed(names)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ended_beside_an_interruption_is_recorded(error):
    names = [f"t{i}" for i in range(6)]
    made = loaded(unordered_flow.Flow("f").add(*(Gives(name, name, provides=f"x-{name}") for name in names)))

    def interrupt(state, details):
        if details["task_name"] == "t2":
            raise error

    made.atom_notifier.register("SUCCESS", interrupt)
    with pytest.raises(error):
        made.run()
    storage = made.storage
    assert [storage.get_atom_state(name) for name in names] == ["SUCCESS"] * 6
    assert [storage.get(name) for name in names] == names


# -- flows that look like a line --------------------------------------------------------------------------------------


class Shown(linear_flow.Flow):
    """A line that shows its children the other way round; its links are as ever."""

    def __iter__(self):
        return reversed(list(super().__iter__()))


class Loose(linear_flow.Flow):
    """A line without the link between its first two children."""

    def iter_links(self):
        return iter(list(super().iter_links())[1:])


def _links(engine):
    graph = engine.compilation.execution_graph
    return {(u.name, v.name) for u, v in graph.edges() if u.name[0] == v.name[0] == "t" and u.name != v.name}


@pytest.mark.parametrize("flow_class", [linear_flow.Flow, Shown])
def test_the_links_of_a_line_count_in_whatever_order_it_shows_its_children(flow_class):
    backend = Backend()
    engine = loaded(flow_class("f").add(*map(Idle, ["t0", "t1", "t2"])), backend)
    assert _links(engine) == {("t0", "t1"), ("t1", "t2")}
    engine.run()
    begun = [name for unit in backend.units for name, fields in unit if fields.get("state") == "RUNNING"]
    assert begun == ["t0", "t1", "t2"]


def test_a_line_with_links_of_its_own_has_no_others():
    backend = Backend(durable=True)
    engine = loaded(Loose("f").add(*map(Idle, ["t0", "t1", "t2"])), backend, engine="parallel", max_workers=1)
    assert _links(engine) == {("t1", "t2")}
    engine.run()
    together = [{name for name, fields in unit if fields.get("state") == "RUNNING"} for unit in backend.units]
    assert {"t0", "t1"} in together
