# SPDX-License-Identifier: Apache-2.0
"""What do retry controllers provide and decide?"""

import enum
import pickle

import pytest

from taskflow import exceptions as exc
from taskflow import retry, task
from taskflow.patterns import linear_flow
from taskflow.types import failure


def failed(error):
    try:
        raise error
    except Exception:
        return failure.Failure()


def history_of(*provided):
    return retry.History([(value, {}) for value in provided])


class TestDecision:
    def test_members_are_texts_in_this_order(self):
        assert [(d.name, d.value) for d in retry.Decision] == [
            ("REVERT", "REVERT"),
            ("REVERT_ALL", "REVERT_ALL"),
            ("RETRY", "RETRY"),
        ]
        assert issubclass(retry.Decision, enum.StrEnum)

    def test_aliases(self):
        assert retry.REVERT is retry.Decision.REVERT
        assert retry.REVERT_ALL is retry.Decision.REVERT_ALL
        assert retry.RETRY is retry.Decision.RETRY
        assert retry.RETRY == "RETRY"
        assert retry.EXECUTE_REVERT_HISTORY == "history"
        assert retry.REVERT_FLOW_FAILURES == "flow_failures"


class TestHistory:
    first, second = failed(ValueError("1")), failed(KeyError("2"))

    def made(self, own=None):
        return retry.History([("a", {"t1": self.first}), ("b", {"t1": self.second, "t2": self.first})], own)

    def test_it_is_a_sequence_of_tries(self):
        history = self.made()

        assert len(history) == 2
        assert history[0] == ("a", {"t1": self.first})
        assert history[-1][0] == "b"
        assert history[:1] == [history[0]]
        assert list(history) == [history[0], history[1]]
        assert list(history.provided_iter()) == ["a", "b"]
        assert not retry.History([])

    def test_own_failure(self):
        own = failed(OSError())
        assert self.made(own).failure is own
        assert self.made().failure is None

    def test_outcomes(self):
        history = self.made(failed(OSError()))

        assert list(history.outcomes_iter()) == [("t1", self.first), ("t1", self.second), ("t2", self.first)]
        assert list(history.outcomes_iter(0)) == [("t1", self.first)]
        assert list(history.outcomes_iter(-1)) == [("t1", self.second), ("t2", self.first)]
        bad = history.outcomes_iter(5)
        with pytest.raises(IndexError):
            next(bad)

    @pytest.mark.parametrize(
        ("cls", "given", "answer"),
        [
            (ValueError, {}, True),
            (KeyError, {}, True),
            (LookupError, {}, True),
            (OSError, {}, False),
            (OSError, {"include_retry": True}, True),
            (KeyError, {"index": 0}, False),
            (KeyError, {"index": 1}, True),
            (RuntimeError, {"include_retry": True}, False),
        ],
    )
    def test_causes(self, cls, given, answer):
        assert self.made(failed(OSError())).caused_by(cls, **given) is answer

    def test_causes_without_own_failure(self):
        assert retry.History([]).caused_by(OSError, include_retry=True) is False


class TestConstruction:
    @pytest.mark.parametrize("name", ["inject", "ignore_list", "revert_rebind", "revert_requires"])
    def test_what_tasks_take_beyond_is_refused(self, name):
        with pytest.raises(TypeError):
            retry.AlwaysRevert(**{name: {}})

    def test_both_decisions_must_be_written(self):
        class OnlyExecute(retry.Retry):
            def execute(self, history):
                pass

        for cls in (retry.Retry, retry.ForEachBase, OnlyExecute):
            with pytest.raises(TypeError):
                cls()

    @pytest.mark.parametrize("given", [None, "", "own", 7])
    def test_flow_names_an_unnamed_controller(self, given):
        made = retry.Times(name=given)
        assert made.name == given
        linear_flow.Flow("first", made)
        assert made.name == ("first_retry" if given is None else given)
        linear_flow.Flow("second", made)
        assert made.name == ("first_retry" if given is None else given)

    def test_name_can_be_set(self):
        made = retry.AlwaysRevert()
        made.name = "late"
        assert made.name == "late"
        assert str(made) == '"late==1.0"'

    def test_inject_is_none(self):
        assert retry.AlwaysRevert().inject is None

    def test_plain_revert_does_nothing(self):
        assert retry.Times().revert(history_of(), flow_failures={}) is None

    @pytest.mark.parametrize(
        "cls", [retry.AlwaysRevert, retry.AlwaysRevertAll, retry.Times, lambda **kw: retry.ForEach([1], **kw)]
    )
    def test_all_take_further_names(self, cls):
        assert cls(requires="a", provides="x").requires == {"a"}

    def test_subclass_may_narrow_the_methods(self):
        class Own(retry.Times):
            def execute(self, history, **kwargs):
                return kwargs["a"]

            def revert(self, history, **kwargs):
                pass

        assert Own(requires="a").requires == {"a"}

    def test_pickling(self):
        again = pickle.loads(pickle.dumps(retry.ForEach([1, 2], "n", provides="x")))

        assert again.name == "n"
        assert again.execute(history_of(1)) == 2


def test_giving_up_at_once():
    assert retry.AlwaysRevert().on_failure(history=history_of(), a=1) == retry.REVERT
    assert retry.AlwaysRevert().execute(history=history_of()) is None
    assert retry.AlwaysRevertAll().on_failure(history=history_of(), a=1) == retry.REVERT_ALL
    assert retry.AlwaysRevertAll().execute(history=history_of()) is None
    with pytest.raises(TypeError):
        retry.AlwaysRevertAll().execute(history_of())


@pytest.mark.parametrize(("attempts", "tries"), [(1, 1), (3, 3), (0, 1), (-2, 1)])
@pytest.mark.parametrize(("revert_all", "final"), [(False, retry.REVERT), (True, retry.REVERT_ALL)])
def test_times(attempts, tries, revert_all, final):
    made = retry.Times(attempts, revert_all=revert_all)
    provided, decision = [], retry.RETRY
    while decision == retry.RETRY:
        provided.append(made.execute(history_of(*provided)))
        decision = made.on_failure(history_of(*provided), a=1)

    assert provided == list(range(1, tries + 1))
    assert decision is final


class Same:
    """Equal to all of its kind, without a hash."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Same)


@pytest.mark.parametrize(
    ("values", "tried", "following"),
    [
        ([1, 2, 3], [], 1),
        ([1, 2, 3], [1], 2),
        ((1, 2, 3), [2, 1], 3),
        ([1, 1, 2], [1], 1),
        ([1, 1, 2], [1, 1], 2),
        ([1, 2], [7], 1),
        ("ab", ["a"], "b"),
        ([[1], [2]], [[1]], [2]),
        ([{"a": 1}, 5], [{"a": 1}], 5),
        ([{1}, 4], [frozenset([1])], 4),
        ([frozenset([1]), 4], [{1}], 4),
        ([1, 2], [1.0], 2),
        ([Same(), 8], [Same()], 8),
    ],
)
def test_for_each_next_value(values, tried, following):
    assert retry.ForEach(values).execute(history_of(*tried)) == following
    assert retry.ForEach(values).on_failure(history_of(*tried)) == retry.RETRY
    assert retry.ParameterizedForEach().execute(values, history_of(*tried)) == following
    assert retry.ParameterizedForEach().on_failure(values=values, history=history_of(*tried)) == retry.RETRY


@pytest.mark.parametrize(("values", "tried"), [([], []), ([1, 2], [2, 1]), ([[1]], [[1]])])
@pytest.mark.parametrize(("revert_all", "final"), [(False, retry.REVERT), (True, retry.REVERT_ALL)])
def test_for_each_has_no_value_left(values, tried, revert_all, final):
    made, parameterized = (
        retry.ForEach(values, revert_all=revert_all),
        retry.ParameterizedForEach(revert_all=revert_all),
    )

    with pytest.raises(exc.NotFound):
        made.execute(history_of(*tried))
    with pytest.raises(exc.NotFound):
        parameterized.execute(values, history_of(*tried))
    assert made.on_failure(history_of(*tried)) is final
    assert parameterized.on_failure(values, history_of(*tried)) is final


def test_for_each_without_values_is_a_type_error():
    with pytest.raises(TypeError):
        retry.ForEach(None).execute(history_of())
    with pytest.raises(TypeError):
        retry.ParameterizedForEach().on_failure(None, history_of())


def test_for_each_over_an_iterator_sees_all_values_every_time():
    made = retry.ForEach(iter([1, 2]))

    assert [made.execute(history_of()), made.execute(history_of(1)), made.execute(history_of())] == [1, 2, 1]


def test_many_values_are_chosen_from_quickly():
    values = list(range(200_000))

    assert retry.ForEach(values).execute(history_of(*values[:-1])) == values[-1]


def test_parameterized_requires_its_values():
    assert retry.ParameterizedForEach().requires == {"values"}
    assert retry.ParameterizedForEach(rebind={"values": "hosts"}).requires == {"hosts"}
    assert retry.ParameterizedForEach(rebind=["hosts"]).rebind == {"values": "hosts"}


def test_base_of_own_controllers():
    class Own(retry.ForEachBase):
        def execute(self, history, *args, **kwargs):
            return self._get_next_value([1, 2], history)

        def on_failure(self, history, *args, **kwargs):
            return self._on_failure([1, 2], history)

    made = Own(revert_all=True)

    assert made.execute(history_of(1)) == 2
    assert made.on_failure(history_of(1)) == retry.RETRY
    assert made.on_failure(history_of(1, 2)) == retry.REVERT_ALL


def test_a_task_as_retry_serves_for_names():
    class Work(task.Task):
        def execute(self, a):
            pass

    flow = linear_flow.Flow("f", retry=Work("w", provides="x"))

    assert flow.requires == {"a"}
    assert flow.provides == {"x"}
