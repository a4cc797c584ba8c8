# SPDX-License-Identifier: Apache-2.0
"""Do functions become tasks?"""

import functools
import operator
import pickle

import pytest

from taskflow import task


def add(x, y):
    return x + y


def double(number):
    return number * 2


class Machine:
    def __call__(self, oil):
        return oil

    def start(self, key):
        return key

    @classmethod
    def build(cls, parts):
        return parts

    @staticmethod
    def stop(why=None):
        return why


class TestFunctor:
    @pytest.mark.parametrize(
        ("function", "name", "requires"),
        [
            (add, "add", "xy"),
            (Machine().start, "Machine.start", ["key"]),
            (Machine.build, "Machine.build", ["parts"]),
            (Machine.stop, "Machine.stop", []),
            (Machine(), "Machine", ["oil"]),
            (Machine.start, "Machine.start", ["self", "key"]),
        ],
    )
    def test_name_and_arguments_come_from_the_function(self, function, name, requires):
        made = task.FunctorTask(function)

        assert made.name == f"{__name__}.{name}"
        assert list(made.requires) == list(requires)

    def test_name_of_a_local_function_tells_where_it_is(self):
        made = task.FunctorTask(lambda: None)

        assert made.name.startswith(f"{__name__}.TestFunctor.")
        assert made.name.endswith(".<locals>.<lambda>")
        assert task.FunctorTask(functools.partial(add, 1)).name == "functools.partial"
        assert task.FunctorTask(add, name="own", revert=double).name == "own"
        assert task.FunctorTask(add, revert=double).name == f"{__name__}.add"

    @pytest.mark.parametrize("given", [{"execute": 3}, {"execute": None}, {"execute": add, "revert": 0}])
    def test_what_can_not_be_called_is_refused(self, given):
        with pytest.raises(ValueError, match="callable"):
            task.FunctorTask(**given)

    def test_there_is_no_ignore_list(self):
        with pytest.raises(TypeError):
            task.FunctorTask(add, ignore_list=["x"])

    def test_version(self):
        assert task.FunctorTask(add, version=(2, 1)).version == (2, 1)
        assert task.FunctorTask(add).version == (1, 0)

    def test_without_revert_it_is_bound_like_execute(self):
        made = task.FunctorTask(lambda x, y=1: None, rebind={"x": "a"})

        assert made.rebind == made.revert_rebind == {"x": "a", "y": "y"}
        assert made.optional == made.revert_optional == {"y"}
        assert made.rebind is not made.revert_rebind

    def test_revert_has_arguments_of_its_own(self):
        made = task.FunctorTask(lambda x: None, revert=lambda z, w=1, **kwargs: None, provides="p", inject={"z": 1})

        assert made.revert_rebind == {"z": "z", "w": "w"}
        assert made.revert_optional == {"w"}
        assert made.requires == {"x"}
        assert made.save_as == {"p": None}

    def test_rebind_is_the_same_for_both(self):
        with pytest.raises(ValueError, match="^Extra arguments"):
            task.FunctorTask(add, rebind={"x": "a"}, revert=lambda: None)
        made = task.FunctorTask(add, rebind={"x": "a"}, revert=lambda **kwargs: None)
        assert made.revert_rebind == {"x": "a"}

    def test_revert_is_given_results_and_failures(self):
        def undo(x, result, flow_failures=None):
            return x, result, flow_failures

        made = task.FunctorTask(add, revert=undo)

        assert made.requires == {"x", "y"}
        assert made.revert_rebind == {"x": "x"}
        assert made.revert_optional == set()
        assert made.revert(x=1, result=2, flow_failures=3) == (1, 2, 3)

    def test_functions_are_called(self):
        made = task.FunctorTask(add, revert=double)

        assert made.execute(1, y=2) == 3
        assert made.revert(4) == 8
        assert task.FunctorTask(add).revert(1, 2, anything=3) is None

    def test_pickling(self):
        assert pickle.loads(pickle.dumps(task.FunctorTask(add, provides="x"))).execute(1, 2) == 3


class TestMap:
    def test_values_come_in_the_order_of_requires(self):
        made = task.MapFunctorTask(double, requires=["b", "a", "b"], provides=["x", "y"])

        assert made.name == f"{__name__}.double"
        assert made.rebind == made.revert_rebind == {"b": "b", "a": "a"}
        assert made.optional == set()
        assert made.execute(a=1, b=10) == [20, 2]
        assert made.revert(a=1, result=3) is None

    @pytest.mark.parametrize(
        ("functor", "requires", "error"),
        [
            (3, ["a"], ValueError),
            (add, ["a"], ValueError),
            (lambda: None, ["a"], ValueError),
            (lambda a, b=1: None, ["a"], ValueError),
            (3, "a", ValueError),
            (double, "a", TypeError),
            (double, 3, TypeError),
            (double, None, TypeError),
        ],
    )
    def test_checks(self, functor, requires, error):
        with pytest.raises(error):
            task.MapFunctorTask(functor, requires)

    def test_open_parameters_do_not_count(self):
        assert task.MapFunctorTask(lambda a, *args, **kwargs: a, ["q"]).execute(q=3) == [3]

    def test_nothing_may_be_required(self):
        assert task.MapFunctorTask(double, ()).execute() == []

    def test_generator_of_names(self):
        made = task.MapFunctorTask(double, (name for name in "ab"))

        assert made.execute(a=1, b=2) == [2, 4]
        assert made.revert_rebind == {"a": "a", "b": "b"}

    def test_values_that_are_rebound_or_injected_count(self):
        made = task.MapFunctorTask(double, ["a", "b"], rebind={"a": "x"}, inject={"b": 5})

        assert made.requires == {"x"}
        assert made.execute(a=1, b=5) == [2, 10]


class TestReduce:
    def test_values_are_folded_in_the_order_of_requires(self):
        made = task.ReduceFunctorTask(operator.sub, {"a": 0, "b": 0, "c": 0}.keys(), provides="d")

        assert made.execute(c=1, b=2, a=10) == 7
        assert list(made.requires) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("functor", "requires", "error"),
        [
            (3, ["a", "b"], ValueError),
            (double, ["a", "b"], ValueError),
            (add, "ab", TypeError),
            (add, 3, TypeError),
            (add, ["a"], ValueError),
            (add, [], ValueError),
            (add, iter("ab"), TypeError),
        ],
    )
    def test_checks(self, functor, requires, error):
        with pytest.raises(error):
            task.ReduceFunctorTask(functor, requires)

    def test_values_that_are_rebound_or_injected_count(self):
        made = task.ReduceFunctorTask(operator.sub, ["a", "b"], rebind={"a": "x"}, inject={"b": 5})

        assert made.requires == {"x"}
        assert made.execute(b=5, a=7) == 2
