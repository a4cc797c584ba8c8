# SPDX-License-Identifier: Apache-2.0
"""Where does each argument of an atom come from?"""

from __future__ import annotations

import pytest

from taskflow import exceptions, states


def _over(kit, *atoms, scopes=None):
    """A storage whose atoms all see the same scopes."""
    return kit.storage(*atoms, scope_fetcher=None if scopes is None else lambda name: scopes)


def test_an_empty_mapping_needs_nothing(kit):
    made = kit.storage(kit.make_task("t"))
    assert made.fetch_mapped_args({}) == {}
    assert made.fetch_mapped_args({}, atom_name="t") == {}


def test_an_unknown_atom_is_not_found_even_for_an_empty_mapping(kit):
    with pytest.raises(exceptions.NotFound):
        kit.storage().fetch_mapped_args({}, atom_name="nobody")


def test_values_come_under_the_bound_name(kit):
    made = kit.storage()
    made.inject({"x": 1, "y": None})
    assert made.fetch_mapped_args({"a": "x", "b": "y", "c": "x"}) == {"a": 1, "b": None, "c": 1}


def test_transient_values_of_the_atom_come_before_persistent_ones_and_both_before_all_others(kit):
    made = _over(kit, kit.make_task("p", provides="x"), kit.make_task("t"), scopes=[["p"]])
    made.save("p", "of p")
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": "of p"}
    made.inject({"x": "of the flow"})
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": "of the flow"}
    made.inject_atom_args("t", {"x": "persistent"}, transient=False)
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": "persistent"}
    made.inject_atom_args("t", {"x": "transient"})
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": "transient"}


@pytest.mark.parametrize("transient", [True, False])
def test_none_is_a_value_of_the_atom(kit, transient):
    made = kit.storage(kit.make_task("t"))
    made.inject({"x": 5})
    made.inject_atom_args("t", {"x": None}, transient=transient)
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": None}


def test_values_of_one_atom_are_for_that_atom_only(kit):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"))
    made.inject_atom_args("t", {"x": 1})
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": 1}
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="u")
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"})
    with pytest.raises(exceptions.NotFound, match="^Name 'x' is not mapped"):
        made.fetch("x")


def test_a_name_that_nobody_provides(kit):
    made = kit.storage(kit.make_task("t"))
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t")
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"})


def test_an_optional_argument_is_known_by_its_bound_name(kit):
    made = kit.storage(kit.make_task("t"))
    made.inject({"y": 1})
    mapping = {"a": "x", "b": "y"}
    assert made.fetch_mapped_args(mapping, atom_name="t", optional_args={"a"}) == {"b": 1}
    assert made.fetch_mapped_args(mapping, optional_args=["a", "b"]) == {"b": 1}
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args(mapping, atom_name="t", optional_args={"x"})


def test_default_providers_do_not_depend_on_scopes(kit):
    made = _over(kit, kit.make_task("p", provides="x"), kit.make_task("t"), scopes=[["p"]])
    made.save("p", "of p")
    made.inject({"x": "persistent"})
    made.inject({"x": "transient", "y": 2}, transient=True)
    assert made.fetch_mapped_args({"a": "x", "b": "y"}, atom_name="t", scope_walker=[]) == {"a": "persistent", "b": 2}
    assert made.fetch_mapped_args({"a": "x"}) == {"a": "persistent"}


def test_a_default_provider_that_no_longer_has_the_value(kit):
    made = _over(kit, kit.make_task("p", provides="x"), kit.make_task("t"), scopes=[["p"]])
    made.save("p", "of p")
    made.inject({"x": 1})
    made.save(made.injector_name, {}, states.SUCCESS)
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t")


def test_without_scopes_atoms_are_not_looked_at(kit):
    made = kit.storage(kit.make_task("p", provides="x"), kit.make_task("t"))
    made.save("p", 5)
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t", scope_walker=[])


def test_the_scopes_of_the_storage_are_asked_for_the_atom(kit):
    asked = []

    def fetcher(name):
        asked.append(name)
        return [["p"]]

    made = kit.storage(kit.make_task("p", provides="x"), kit.make_task("t"), scope_fetcher=fetcher)
    made.save("p", 5)
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": 5}
    assert set(asked) == {"t"}
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t", scope_walker=[["p"]]) == {"a": 5}


def test_given_scopes_stand_in_for_those_of_the_storage(kit):
    atoms = [kit.make_task("p", provides="x"), kit.make_task("q", provides="x"), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=[["p"]])
    made.save("p", "of p")
    made.save("q", "of q")
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t", scope_walker=iter([["q"]])) == {"a": "of q"}
    assert made.fetch_mapped_args({"a": "x"}, scope_walker=[["q"]]) == {"a": "of q"}


@pytest.mark.parametrize(
    ("scopes", "wanted"),
    [
        ([["p", "q"]], "of p"),
        ([["q", "p"]], "of q"),
        ([["p"], ["q"]], "of p"),
        ([["q"], ["p"]], "of q"),
        ([[], ["other"], ["q"], ["p"]], "of q"),
        ([["other", "p"], ["q"]], "of p"),
    ],
)
def test_the_nearest_scope_decides_and_in_it_the_first_provider(kit, scopes, wanted):
    atoms = [kit.make_task("p", "x"), kit.make_task("q", "x"), kit.make_task("other", "y"), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=scopes)
    made.save("p", "of p")
    made.save("q", "of q")
    made.save("other", "of other")
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": wanted}


def test_ignored_providers_are_passed_over(kit):
    atoms = [kit.make_task("p", "x"), kit.make_task("q", "x"), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=[["p"], ["q"]])
    made.save("q", "of q")
    made.set_atom_state("p", states.IGNORE)
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": "of q"}
    made.set_atom_state("q", states.IGNORE)
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t")


def test_an_unfinished_provider_in_reach_is_an_error(kit):
    atoms = [kit.make_task("p", "x"), kit.make_task("q", "x"), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=[["p"], ["q"]])
    made.save("q", "of q")
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t")


def test_within_a_scope_the_first_result_that_can_be_taken_apart_is_used(kit):
    atoms = [kit.make_task("p", ("x",)), kit.make_task("q", "x"), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=[["p", "q"]])
    made.save("p", 3)
    made.save("q", "of q")
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": "of q"}


def test_a_scope_without_a_result_that_can_be_taken_apart_ends_the_search(kit):
    atoms = [kit.make_task("p", ("x",)), kit.make_task("q", "x"), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=[["p"], ["q"]])
    made.save("p", 3)
    made.save("q", "of q")
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t")


def test_the_failure_of_a_provider_is_handed_out_like_a_result(kit):
    atoms = [kit.make_task("p", "x"), kit.make_task("q", ("y",)), kit.make_task("t")]
    made = _over(kit, *atoms, scopes=[["p", "q"]])
    failed = kit.make_failure()
    made.save("p", failed, states.FAILURE)
    made.save("q", failed, states.FAILURE)
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": failed}
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "y"}, atom_name="t")


def test_the_newest_result_of_a_retry_is_used(kit):
    made = _over(kit, kit.make_retry("r", "x"), kit.make_task("t"), scopes=[["r"]])
    made.save("r", 1)
    made.save("r", 2)
    assert made.fetch_mapped_args({"a": "x"}, atom_name="t") == {"a": 2}


@pytest.mark.parametrize("scopes", [[], [["other"]], [[], []]])
def test_a_required_argument_out_of_scope_is_not_found(kit, scopes):
    made = _over(kit, kit.make_task("p", "x"), kit.make_task("other", "y"), kit.make_task("t"), scopes=scopes)
    made.save("p", 5)
    with pytest.raises(exceptions.NotFound):
        made.fetch_mapped_args({"a": "x"}, atom_name="t")


@pytest.mark.parametrize("ignored", [False, True])
def test_an_optional_argument_out_of_reach_is_left_to_its_default(kit, ignored):
    made = _over(kit, kit.make_task("p", "x"), kit.make_task("t"), scopes=[["p"]] if ignored else [])
    if ignored:
        made.set_atom_state("p", states.IGNORE)
    else:
        made.save("p", 5)
    made.inject({"y": 1})
    assert made.fetch_mapped_args({"a": "x", "b": "y"}, atom_name="t", optional_args={"a"}) == {"b": 1}


def test_unsatisfied_arguments_of_an_unknown_atom(kit):
    with pytest.raises(exceptions.NotFound):
        kit.storage().fetch_unsatisfied_args("nobody", {})


def test_unsatisfied_arguments_come_by_bound_name(kit):
    made = kit.storage(kit.make_task("t"))
    assert made.fetch_unsatisfied_args("t", {}) == set()
    assert made.fetch_unsatisfied_args("t", {"a": "x", "b": "y"}) == {"a", "b"}
    assert made.fetch_unsatisfied_args("t", {"a": "x", "b": "y"}, optional_args={"a"}) == {"b"}


@pytest.mark.parametrize("transient", [True, False])
def test_injected_values_satisfy(kit, transient):
    made = kit.storage(kit.make_task("t"), kit.make_task("u"))
    made.inject_atom_args("t", {"x": None}, transient=transient)
    made.inject({"y": None}, transient=transient)
    assert made.fetch_unsatisfied_args("t", {"a": "x", "b": "y", "c": "z"}) == {"c"}
    assert made.fetch_unsatisfied_args("u", {"a": "x", "b": "y"}) == {"a"}


def test_withdrawn_injections_do_not_satisfy(kit):
    made = kit.storage(kit.make_task("t"))
    made.inject({"x": 1})
    assert made.fetch_unsatisfied_args("t", {"a": "x"}) == set()
    made.save(made.injector_name, {}, states.SUCCESS)
    assert made.fetch_unsatisfied_args("t", {"a": "x"}) == {"a"}


@pytest.mark.parametrize(("scopes", "missing"), [([["p"]], set()), ([[], ["p"]], set()), ([["q"]], {"a"}), ([], {"a"})])
def test_a_visible_provider_satisfies_before_it_has_a_result(kit, scopes, missing):
    made = _over(kit, kit.make_task("p", "x"), kit.make_task("q", "y"), kit.make_task("t"), scopes=scopes)
    assert made.fetch_unsatisfied_args("t", {"a": "x"}) == missing
    assert made.fetch_unsatisfied_args("t", {"a": "x"}, scope_walker=[["p"]]) == set()
    made.save("p", 5)
    assert made.fetch_unsatisfied_args("t", {"a": "x"}) == missing
