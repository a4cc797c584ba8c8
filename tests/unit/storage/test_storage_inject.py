# SPDX-License-Identifier: Apache-2.0
"""What becomes of values that a caller gives to a flow or to one atom?"""

from __future__ import annotations

import pytest

from taskflow import exceptions, states, storage
from taskflow.persistence import models


@pytest.mark.parametrize("transient", [True, False])
@pytest.mark.parametrize("shape", [dict, list, iter, lambda pairs: ((k, v) for k, v in pairs)])
def test_pairs_may_come_in_any_shape(kit, transient, shape):
    made = kit.storage()
    assert made.inject(shape([("a", 1), ("b", [2])]), transient=transient) is None
    assert made.fetch("a") == 1
    assert made.fetch_all() == {"a": 1, "b": [2]}


def test_a_persistent_value_lives_in_the_injector_detail(kit):
    made = kit.storage()
    made.inject({"a": 1})
    made.inject({"b": 2})
    made.inject({"a": 3})
    assert len(made._flowdetail) == 1
    detail = kit.detail(made, storage.Storage.injector_name)
    assert type(detail) is models.TaskDetail
    assert detail.state == states.SUCCESS
    assert detail.results == {"a": 3, "b": 2}
    assert made.fetch_all() == {"a": 3, "b": 2}


def test_a_persistent_value_is_seen_by_a_later_storage(kit):
    first = kit.storage(kit.make_task("t"))
    first.inject({"a": 1, "b": 2})
    second = kit.reloaded(first)
    assert second.fetch_all() == {"a": 1, "b": 2}
    second.inject({"b": 3})
    assert len(second._flowdetail) == 2
    assert kit.reloaded(second).fetch_all() == {"a": 1, "b": 3}


def test_a_transient_value_is_gone_with_its_storage(kit):
    first = kit.storage()
    first.inject({"a": 1}, transient=True)
    assert first.fetch("a") == 1
    assert len(first._flowdetail) == 0
    for second in (storage.Storage(first._flowdetail, first.backend), kit.reloaded(first)):
        with pytest.raises(exceptions.NotFound, match="^Name 'a' is not mapped"):
            second.fetch("a")


def test_a_transient_value_need_not_be_storable(watched, watched_storage):
    made = watched_storage()
    made.inject({"a": (value := object())}, transient=True)
    assert made.fetch("a") is value
    assert watched.updates == []


def test_a_persistent_value_keeps_its_identity_in_this_storage(kit):
    made = kit.storage()
    value = [1, {"x": 2}]
    made.inject({"a": value})
    made.inject({"b": 1})
    assert made.fetch("a") is value


def test_the_callers_dictionary_is_not_kept(kit):
    made = kit.storage()
    given = {"a": 1}
    made.inject(given)
    made.inject({"b": 2})
    given["a"] = 99
    assert made.fetch_all() == {"a": 1, "b": 2}


def test_injecting_persistently_and_transiently_is_seen_by_fetch_in_order(kit):
    made = kit.storage()
    made.inject({"a": "first"})
    made.inject({"a": "second"}, transient=True)
    assert made.fetch("a") == "first"


def test_a_failed_injection_leaves_the_old_values(watched, watched_storage, quick_retries, lost_connection):
    made = watched_storage()
    made.inject({"a": 1})
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure):
        made.inject({"a": 2, "b": 3})
    watched.broken = None
    assert made.fetch("a") == 1
    assert made.fetch_all() == {"a": 1}
    made.inject({"c": 4})
    assert made.fetch_all() == {"a": 1, "c": 4}


def test_saving_an_empty_injector_withdraws_all_values(kit):
    made = kit.storage()
    made.inject({"a": 1, "b": 2})
    made.save(storage.Storage.injector_name, {}, states.SUCCESS)
    assert made.fetch_all() == {}
    made.inject({"b": 3})
    assert made.fetch_all() == {"b": 3}


def test_many_injections_of_one_value_each(kit):
    made = kit.storage()
    for i in range(200):
        made.inject({f"n{i}": i})
    assert made.fetch_all() == {f"n{i}": i for i in range(200)}
    assert len(made._flowdetail) == 1


@pytest.mark.parametrize("transient", [True, False])
def test_arguments_for_an_unknown_atom_are_refused(kit, transient):
    with pytest.raises(exceptions.NotFound):
        kit.storage().inject_atom_args("nobody", {"a": 1}, transient=transient)


@pytest.mark.parametrize("shape", [dict, list, iter])
def test_arguments_for_an_atom_are_transient_unless_asked_otherwise(kit, shape):
    made = kit.storage(kit.make_task("t"))
    made.inject_atom_args("t", shape([("a", 1)]))
    assert made.fetch_mapped_args({"p": "a"}, atom_name="t") == {"p": 1}
    assert kit.detail(made, "t").meta == {}
    with pytest.raises(exceptions.NotFound):
        kit.reloaded(made).fetch_mapped_args({"p": "a"}, atom_name="t")


@pytest.mark.parametrize("shape", [dict, list, iter])
def test_persistent_arguments_for_an_atom_live_in_its_metadata(kit, shape):
    made = kit.storage(kit.make_task("t"))
    made.inject_atom_args("t", shape([("a", 1), ("b", 2)]), transient=False)
    made.inject_atom_args("t", {"b": 3, "c": 4}, transient=False)
    assert kit.detail(made, "t").meta == {"injected": {"a": 1, "b": 3, "c": 4}}
    again = kit.reloaded(made)
    assert again.fetch_mapped_args({"p": "a", "q": "b"}, atom_name="t") == {"p": 1, "q": 3}
    again.inject_atom_args("t", {"d": 5}, transient=False)
    assert kit.detail(again, "t").meta["injected"] == {"a": 1, "b": 3, "c": 4, "d": 5}


def test_transient_arguments_of_several_calls_add_up(kit):
    made = kit.storage(kit.make_task("t"))
    made.inject_atom_args("t", {"a": 1, "b": 2})
    made.inject_atom_args("t", {"b": 3})
    assert made.fetch_mapped_args({"p": "a", "q": "b"}, atom_name="t") == {"p": 1, "q": 3}


def test_arguments_of_an_atom_are_not_values_of_the_flow(kit):
    made = kit.storage(kit.make_task("t"))
    made.inject_atom_args("t", {"a": 1})
    made.inject_atom_args("t", {"b": 1}, transient=False)
    assert made.fetch_all() == {}


def test_persistent_arguments_that_cannot_be_saved_are_not_used(
    watched, watched_storage, parts, quick_retries, lost_connection
):
    made = watched_storage(parts.make_task("t"))
    made.inject_atom_args("t", {"a": 1}, transient=False)
    watched.broken = lost_connection
    with pytest.raises(exceptions.StorageFailure):
        made.inject_atom_args("t", {"a": 2, "b": 3}, transient=False)
    assert made.fetch_mapped_args({"p": "a"}, atom_name="t") == {"p": 1}
    assert parts.detail(made, "t").meta == {"injected": {"a": 1}}
