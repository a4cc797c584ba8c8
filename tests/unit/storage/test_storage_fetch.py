# SPDX-License-Identifier: Apache-2.0
"""Which value has a name, when several atoms and injections may give it?"""

from __future__ import annotations

import pytest

from taskflow import exceptions, states

NOT_MAPPED = "^Name 'x' is not mapped"
NO_RESULT = "^Unable to find result"


def test_an_unknown_name(kit):
    with pytest.raises(exceptions.NotFound, match=NOT_MAPPED):
        kit.storage(kit.make_task("t", provides="y")).fetch("x")


@pytest.mark.parametrize(
    ("provides", "result", "values"),
    [
        ("x", 5, {"x": 5}),
        ("x", None, {"x": None}),
        ("x", (1, 2), {"x": (1, 2)}),
        (("x",), "ab", {"x": "a"}),
        (("x", "y"), (1, 2), {"x": 1, "y": 2}),
        (["x", "y"], [1, 2, 3], {"x": 1, "y": 2}),
        (("x", "y"), (1,), {"x": 1}),
        (("x", "y"), 7, {}),
        (("x", "y"), None, {}),
        (("x", "y"), {"x": 1}, {}),
        (("x", "y"), {0: "a", 1: "b"}, {"x": "a", "y": "b"}),
        ({"x", "y"}, {"x": 1, "y": 2, "z": 3}, {"x": 1, "y": 2}),
        ({"x", "y"}, {"x": 1}, {"x": 1}),
        ({"x"}, (1,), {}),
        (None, 5, {}),
    ],
)
def test_names_of_parts_of_a_result(kit, provides, result, values):
    made = kit.storage(kit.make_task("t", provides=provides))
    made.save("t", result)
    assert made.fetch_all() == values
    for name in ("x", "y"):
        if name in values:
            assert made.fetch(name) == values[name]
        else:
            with pytest.raises(exceptions.NotFound):
                made.fetch(name)
    assert made.get("t") == result


@pytest.mark.parametrize("error", [IndexError, KeyError, ValueError, TypeError])
def test_a_result_that_cannot_be_indexed_has_no_value(kit, error):
    class Odd:
        def __getitem__(self, index):
            raise error(index)

    made = kit.storage(kit.make_task("t", provides=("x",)))
    made.save("t", Odd())
    with pytest.raises(exceptions.NotFound, match=NO_RESULT):
        made.fetch("x")
    assert made.fetch_all() == {}


@pytest.mark.parametrize("state", [states.PENDING, states.RUNNING])
def test_a_name_whose_atom_has_not_finished(kit, state):
    made = kit.storage(kit.make_task("t", provides="x"))
    made.set_atom_state("t", state)
    with pytest.raises(exceptions.NotFound):
        made.fetch("x")
    assert made.fetch_all() == {}


def test_default_providers_come_first_then_atoms_in_their_order(kit):
    made = kit.storage(kit.make_task("b", provides="x"), kit.make_task("a", provides="x"))
    made.save("a", "of a")
    made.save("b", "of b")
    made.inject({"x": "injected"})
    made.inject({"x": "transient"}, transient=True)
    assert made.fetch("x", many_handler=list) == ["injected", "transient", "of b", "of a"]
    assert made.fetch("x") == "injected"
    assert made.fetch_all() == {"x": ["injected", "transient", "of b", "of a"]}
    assert made.fetch_all(many_handler=len) == {"x": 4}


def test_the_kind_of_injection_registered_first_wins(kit):
    made = kit.storage()
    made.inject({"x": "transient"}, transient=True)
    made.inject({"x": "persistent"})
    assert made.fetch("x") == "transient"
    assert made.fetch("x", many_handler=list) == ["transient", "persistent"]


def test_a_handler_is_called_for_a_single_value_too(kit):
    made = kit.storage(kit.make_task("t", provides="x"))
    made.save("t", 5)
    assert made.fetch("x", many_handler=lambda values: ("all", *values)) == ("all", 5)
    assert made.fetch_all(many_handler=lambda values: ("all", *values)) == {"x": ("all", 5)}


def test_scopes_do_not_matter_for_fetching(kit):
    made = kit.storage(kit.make_task("t", provides="x"), scope_fetcher=lambda name: [])
    made.save("t", 5)
    assert made.fetch("x") == 5


def test_an_atom_registered_twice_is_one_provider(kit):
    made = kit.storage(kit.make_task("t", provides="x"))
    made.ensure_atom(kit.make_task("t", provides="x"))
    made.inject({"x": 1})
    made.inject({"x": 2})
    made.save("t", 5)
    assert made.fetch("x", many_handler=list) == [2, 5]


def test_an_ignored_atom_gives_nothing(kit):
    made = kit.storage(kit.make_task("a", provides="x"), kit.make_task("b", provides="x"))
    made.save("b", 5)
    made.set_atom_state("a", states.IGNORE)
    assert made.fetch("x", many_handler=list) == [5]
    made.set_atom_state("b", states.IGNORE)
    with pytest.raises(exceptions.NotFound, match=NO_RESULT):
        made.fetch("x")
    assert made.fetch_all() == {}


def test_an_ignored_atom_with_a_failure_still_gives_it(kit):
    made = kit.storage(kit.make_task("a", provides="x"))
    failed = kit.make_failure()
    made.save("a", failed, states.FAILURE)
    made.set_atom_state("a", states.IGNORE)
    assert made.fetch("x") is failed


def test_one_unfinished_provider_makes_the_name_unavailable(kit):
    made = kit.storage(kit.make_task("a", provides="x"), kit.make_task("b", provides="x"), kit.make_task("c", "y"))
    made.save("b", 5)
    made.save("c", 6)
    with pytest.raises(exceptions.NotFound):
        made.fetch("x")
    assert made.fetch_all() == {"y": 6}
    made.inject({"x": 1})
    with pytest.raises(exceptions.NotFound):
        made.fetch("x")


def test_one_result_that_cannot_be_taken_apart_makes_the_name_unavailable(kit):
    made = kit.storage(kit.make_task("a", provides=("x",)), kit.make_task("b", provides="x"))
    made.save("a", 3)
    made.save("b", 5)
    with pytest.raises(exceptions.NotFound, match=NO_RESULT):
        made.fetch("x")


def test_a_failure_is_the_value_of_a_whole_result_only(kit):
    made = kit.storage(kit.make_task("a", provides="x"), kit.make_task("b", provides=("y",)))
    failed = kit.make_failure()
    made.save("a", failed, states.FAILURE)
    made.save("b", failed, states.FAILURE)
    assert made.fetch("x") is failed
    with pytest.raises(exceptions.NotFound, match=NO_RESULT):
        made.fetch("y")
    assert made.fetch_all() == {"x": failed}


def test_a_retry_gives_its_newest_result(kit):
    made = kit.storage(kit.make_retry("r", provides="x"))
    with pytest.raises(exceptions.NotFound):
        made.fetch("x")
    made.save("r", "first")
    assert made.fetch("x") == "first"
    made.save("r", "second")
    assert made.fetch("x") == "second"
    assert made.fetch_all() == {"x": "second"}


def test_a_retry_with_an_emptied_history_gives_nothing(kit):
    made = kit.storage(kit.make_retry("r", provides="x"))
    made.save("r", "first")
    made.cleanup_retry_history("r", states.SUCCESS)
    with pytest.raises(exceptions.NotFound):
        made.fetch("x")
    assert made.fetch_all() == {}


def _put(made, kit, steps):
    """Takes atom ``t`` through states; a failing state gets a failure, a finished one a result."""
    for state in steps:
        if state in (states.FAILURE, states.REVERT_FAILURE):
            made.save("t", kit.make_failure(state), state)
        elif state == states.SUCCESS:
            made.save("t", "result", state)
        elif state == states.REVERTED:
            made.save("t", "undone", state)
        else:
            made.set_atom_state("t", state)


@pytest.mark.parametrize(
    ("steps", "execute", "revert"),
    [
        ([], None, None),
        (["RUNNING"], None, None),
        (["SUCCESS"], "result", None),
        (["FAILURE"], "FAILURE", None),
        (["SUCCESS", "REVERTING"], "result", "None"),
        (["FAILURE", "REVERTING"], "FAILURE", "None"),
        (["SUCCESS", "REVERTING", "REVERTED"], None, "undone"),
        (["FAILURE", "REVERTING", "REVERTED"], "FAILURE", "undone"),
        (["SUCCESS", "REVERTING", "REVERT_FAILURE"], None, "REVERT_FAILURE"),
        (["FAILURE", "REVERTING", "REVERT_FAILURE"], "FAILURE", "REVERT_FAILURE"),
        (["SUCCESS", "REVERTED", "PENDING"], None, None),
        (["FAILURE", "REVERTED", "PENDING"], "FAILURE", None),
        (["SUCCESS", "IGNORE"], None, None),
        (["IGNORE"], None, None),
    ],
)
def test_results_by_state(kit, steps, execute, revert):
    """``None`` stands for "not available", a state's name for the failure saved with it."""
    made = kit.storage(kit.make_task("t", provides="x"))
    _put(made, kit, steps)
    for read, wanted in (
        (made.get, execute),
        (made.get_execute_result, execute),
        (made.get_revert_result, revert),
    ):
        if wanted is None:
            with pytest.raises(exceptions.NotFound):
                read("t")
        elif wanted in (states.FAILURE, states.REVERT_FAILURE):
            assert read("t").exception_str == wanted
        else:
            assert read("t") == (None if wanted == "None" else wanted)
    if execute is None:
        with pytest.raises(exceptions.NotFound):
            made.fetch("x")
    else:
        assert made.fetch("x") == made.get("t")


def test_a_result_that_is_not_available_tells_why(kit):
    made = kit.storage(kit.make_task("t"))
    with pytest.raises(exceptions.NotFound) as caught:
        made.get("t")
    assert isinstance(caught.value.__cause__, exceptions.DisallowedAccess)
    assert caught.value.__cause__.state == states.PENDING


def test_none_is_a_result(kit):
    made = kit.storage(kit.make_task("t", provides="x"))
    made.save("t", None)
    assert made.get("t") is None
    assert made.fetch("x") is None


@pytest.mark.parametrize("method", ["get", "get_execute_result", "get_revert_result"])
def test_results_of_an_unknown_atom(kit, method):
    with pytest.raises(exceptions.NotFound):
        getattr(kit.storage(), method)("nobody")


def test_the_result_of_a_retry_is_its_whole_history(kit):
    made = kit.storage(kit.make_retry("r", provides="x"))
    made.save("r", 1)
    made.save("r", 2)
    assert made.get("r") == [(1, {}), (2, {})]
    assert made.fetch("x") == 2


def test_the_value_is_the_very_object_that_was_saved(kit):
    made = kit.storage(kit.make_task("t", provides="x"), kit.make_task("u", provides="y"))
    result = {"a": [1, 2]}
    made.save("t", result)
    made.save("u", 5)
    made.set_flow_state(states.RUNNING)
    made.update_atom_metadata("t", {"m": 1})
    assert made.get("t") is result
    assert made.fetch("x") is result
    assert made.fetch_mapped_args({"arg": "x"}, scope_walker=[["t"]])["arg"] is result


def test_fetching_all_of_a_flow_without_values(kit):
    made = kit.storage(kit.make_task("t"))
    assert made.fetch_all() == {}
