# SPDX-License-Identifier: Apache-2.0
"""How does a storage come to know the atoms of a flow?"""

from __future__ import annotations

import uuid

import pytest

from taskflow import atom, exceptions, states
from taskflow.persistence import models


def test_one_detail_per_new_atom_in_the_order_given(kit):
    made = kit.storage()
    uuids = made.ensure_atoms([kit.make_task("b"), kit.make_retry("r"), kit.make_task("a")])
    assert uuids == [made.get_atom_uuid(name) for name in ("b", "r", "a")]
    assert len(set(uuids)) == 3
    assert len(made._flowdetail) == 3
    assert type(kit.detail(made, "b")) is models.TaskDetail
    assert type(kit.detail(made, "r")) is models.RetryDetail


def test_the_uuid_is_a_random_uuid_text(kit):
    made = kit.storage()
    given = made.ensure_atom(kit.make_task("t"))
    assert str(uuid.UUID(given)) == given
    assert uuid.UUID(given).version == 4


@pytest.mark.parametrize("iterable", [iter, tuple, set, lambda atoms: (one for one in atoms)])
def test_any_iterable_of_atoms_will_do(kit, iterable):
    made = kit.storage()
    assert len(made.ensure_atoms(iterable([kit.make_task("a"), kit.make_task("b")]))) == 2
    assert set(made.get_atoms_states(["a", "b"])) == {"a", "b"}


def test_nothing_to_ensure(watched, watched_storage):
    made = watched_storage()
    assert made.ensure_atoms([]) == []
    assert made.ensure_atoms(iter(())) == []
    assert watched.updates == []


def test_a_new_detail_waits_for_execution(kit):
    made = kit.storage(kit.make_task("t"), kit.make_retry("r"))
    assert made.get_atoms_states(["t", "r"]) == {
        "t": (states.PENDING, states.EXECUTE),
        "r": (states.PENDING, states.EXECUTE),
    }
    assert kit.detail(made, "t").results is None
    assert kit.detail(made, "r").results == []
    assert kit.detail(made, "t").meta == {}


@pytest.mark.parametrize(
    ("version", "stored"),
    [((3, 11), "3.11"), ([1, 2, "b"], "1.2.b"), ("7.5", "7.5"), (None, "1.0")],
)
def test_the_version_is_stored_as_dotted_text(kit, version, stored):
    made = kit.storage(kit.make_task("t", version=version))
    assert kit.detail(made, "t").version == stored
    assert kit.detail(kit.reloaded(made), "t").version == stored


def test_no_version_is_stored_as_none(kit):
    unversioned = kit.make_task("t")
    unversioned.version = None
    assert kit.detail(kit.storage(unversioned), "t").version is None


def test_details_are_saved_when_ensured(kit):
    made = kit.storage(kit.make_task("t"), kit.make_retry("r"))
    connection = made.backend.get_connection()
    stored = {one.name: one for one in connection.get_flow_details(made.flow_uuid)}
    assert set(stored) == {"t", "r"}
    assert stored["t"].uuid == made.get_atom_uuid("t")
    assert stored["t"].state == states.PENDING
    assert type(stored["r"]) is models.RetryDetail


def test_all_new_details_take_one_flow_save(watched, watched_storage, parts):
    made = watched_storage()
    made.ensure_atoms([parts.make_task(f"t{i}") for i in range(20)])
    assert watched.updates == ["flow"]


def test_known_atoms_are_not_saved_again(watched, watched_storage, parts):
    made = watched_storage(parts.make_task("a"), parts.make_retry("r"))
    known = [made.get_atom_uuid("a"), made.get_atom_uuid("r")]
    assert made.ensure_atoms([parts.make_task("a", version=(9, 9)), parts.make_retry("r")]) == known
    assert watched.updates == []
    assert parts.detail(made, "a").version == "1.0"


def test_a_known_detail_keeps_state_and_results(kit):
    first = kit.storage(kit.make_task("t", provides="x", version=(1, 1)))
    first.save("t", [1, 2])
    for made in (first, kit.reloaded(first)):
        assert made.ensure_atom(kit.make_task("t", provides=("y", "z"), version=(2, 0))) == first.get_atom_uuid("t")
        assert made.get_atom_state("t") == states.SUCCESS
        assert made.get("t") == [1, 2]
        assert kit.detail(made, "t").version == "1.1"
        assert made.fetch("z") == 2


@pytest.mark.parametrize("foreign", [object(), None, "t", 5, models.TaskDetail("t", "1")])
def test_only_tasks_and_retries_can_be_ensured(kit, foreign):
    made = kit.storage()
    with pytest.raises(TypeError):
        made.ensure_atom(foreign)
    with pytest.raises(TypeError):
        made.ensure_atoms([foreign])
    assert len(made._flowdetail) == 0


def test_an_atom_that_is_neither_task_nor_retry_is_refused(kit):
    class Bare(atom.Atom):
        def execute(self):
            return None

    with pytest.raises(TypeError):
        kit.storage().ensure_atom(Bare(name="bare"))


def test_an_atom_needs_a_name(kit):
    made = kit.storage()
    with pytest.raises(ValueError):
        made.ensure_atom(kit.make_task(""))
    with pytest.raises(ValueError):
        made.ensure_atom(kit.make_retry(None))
    assert len(made._flowdetail) == 0


def test_a_task_cannot_take_the_name_of_a_retry_nor_the_other_way_round(kit):
    made = kit.storage(kit.make_task("t"), kit.make_retry("r"))
    with pytest.raises(exceptions.Duplicate, match="^Atom detail"):
        made.ensure_atom(kit.make_task("r"))
    with pytest.raises(exceptions.Duplicate, match="^Atom detail"):
        made.ensure_atom(kit.make_retry("t"))
    with pytest.raises(exceptions.Duplicate, match="^Atom detail"):
        kit.reloaded(made).ensure_atom(kit.make_retry("t"))
    assert len(made._flowdetail) == 2


def test_equal_names_in_one_call_share_one_detail(kit):
    made = kit.storage()
    first, second = made.ensure_atoms([kit.make_task("t", provides="x"), kit.make_task("t", provides="y")])
    assert first == second
    assert len(made._flowdetail) == 1
    made.save("t", 5)
    assert made.fetch("x") == 5
    assert made.fetch("y") == 5


def test_equal_names_of_different_kinds_in_one_call_are_refused(kit):
    made = kit.storage()
    with pytest.raises(exceptions.Duplicate, match="^Atom detail"):
        made.ensure_atoms([kit.make_task("t"), kit.make_retry("t")])
    assert len(made._flowdetail) == 0
    with pytest.raises(exceptions.NotFound):
        made.get_atom_uuid("t")


@pytest.mark.parametrize("last", ["unnamed", "foreign", "other-kind"])
def test_one_bad_atom_leaves_nothing_of_the_others(kit, last):
    made = kit.storage(kit.make_task("known"))
    bad = {"unnamed": kit.make_task(""), "foreign": object(), "other-kind": kit.make_retry("known")}[last]
    with pytest.raises((ValueError, TypeError, exceptions.Duplicate)):
        made.ensure_atoms([kit.make_task("a", provides="x"), kit.make_task("known", provides="y"), bad])
    assert len(made._flowdetail) == 1
    with pytest.raises(exceptions.NotFound):
        made.get_atom_uuid("a")
    for name in ("x", "y"):
        with pytest.raises(exceptions.NotFound, match=f"^Name '{name}' is not mapped"):
            made.fetch(name)


def test_a_failing_save_changes_nothing(watched, watched_storage, parts, quick_retries, lost_connection):
    made = watched_storage(parts.make_task("known"))
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure):
        made.ensure_atoms([parts.make_task("a", provides="x"), parts.make_retry("r")])
    assert [one.name for one in made._flowdetail] == ["known"]
    for name in ("a", "r"):
        with pytest.raises(exceptions.NotFound, match="^Unknown atom"):
            made.get_atom_uuid(name)
    watched.broken = None
    assert len(made.ensure_atoms([parts.make_task("a", provides="x"), parts.make_retry("r")])) == 2
    assert len(made._flowdetail) == 3


def test_details_of_other_atoms_stay(kit):
    first = kit.storage(kit.make_task("old"), kit.make_task("kept"))
    first.save("old", 1)
    second = kit.reloaded(first, kit.make_task("kept"), kit.make_task("new"))
    assert {one.name for one in second._flowdetail} == {"old", "kept", "new"}
    third = kit.reloaded(second)
    assert third.get("old") == 1
    assert third.get_atom_state("new") == states.PENDING
