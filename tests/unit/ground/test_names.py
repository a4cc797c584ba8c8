# SPDX-License-Identifier: Apache-2.0
"""Are classes and callables named by the one rule, and are equal callbacks recognized?"""

import functools

import pytest

from taskflow.utils import names


class Outer:
    class Inner(Exception):
        pass

    def method(self):
        pass

    @classmethod
    def class_method(cls):
        pass

    @staticmethod
    def static_method():
        pass

    def __call__(self):
        pass


class Derived(Outer):
    pass


def function():
    pass


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (Outer, f"{__name__}.Outer"),
        (Outer(), f"{__name__}.Outer"),
        (Outer.Inner, f"{__name__}.Inner"),
        (Outer.Inner("x"), f"{__name__}.Inner"),
        (ValueError, "ValueError"),
        (ValueError("x"), "ValueError"),
        (3, "int"),
        (functools.partial, "functools.partial"),
    ],
)
def test_class_name_is_module_and_name_without_qualification_and_without_builtins(obj, expected):
    assert names.class_name(obj) == expected


@pytest.mark.parametrize("module", ["builtins", "__builtin__", "__builtins__", "exceptions"])
def test_class_name_leaves_out_historical_names_of_builtins(module):
    assert names.class_name(type("Old", (), {"__module__": module})) == "Old"


@pytest.mark.parametrize(("obj", "expected"), [(Outer.Inner, "Inner"), (Outer(), "Outer"), (1, "int")])
def test_short_class_name(obj, expected):
    assert names.short_class_name(obj) == expected


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (function, f"{__name__}.function"),
        (Outer().method, f"{__name__}.Outer.method"),
        (Outer.method, f"{__name__}.Outer.method"),
        (Outer.class_method, f"{__name__}.Outer.class_method"),
        (Derived().method, f"{__name__}.Outer.method"),
        (Outer.static_method, f"{__name__}.Outer.static_method"),
        (Outer(), f"{__name__}.Outer"),
        (Outer, f"{__name__}.Outer"),
        (Outer.Inner, f"{__name__}.Outer.Inner"),
        (functools.partial(function), "functools.partial"),
        (len, "builtins.len"),
        (int, "builtins.int"),
        ([].append, "builtins.list.append"),
    ],
)
def test_callable_name(fn, expected):
    assert names.callable_name(fn) == expected


def test_callable_name_takes_the_module_of_the_owner_of_a_bound_method():
    other = type("Other", (Outer,), {"__module__": "elsewhere"})
    assert names.callable_name(other().method) == "elsewhere.Outer.method"
    assert names.callable_name(other.class_method) == "elsewhere.Outer.class_method"


def test_callable_name_qualifies_local_functions():
    def local():
        pass

    expected = f"{__name__}.test_callable_name_qualifies_local_functions.<locals>.local"
    assert names.callable_name(local) == expected


def test_bound_methods_of_the_same_owner_are_the_same_callback():
    one, other = Outer(), Outer()
    assert names.same_callback(one.method, one.method)
    assert not names.same_callback(one.method, other.method)


def test_partials_and_lambdas_are_only_the_same_callback_as_themselves():
    partial = functools.partial(function)
    assert names.same_callback(partial, partial)
    assert not names.same_callback(partial, functools.partial(function))
    assert not names.same_callback(lambda: 1, lambda: 1)


def test_callbacks_that_compare_equal_are_the_same():
    class Equal:
        def __eq__(self, other):
            return isinstance(other, Equal)

        __hash__ = None

    assert names.same_callback(Equal(), Equal())
