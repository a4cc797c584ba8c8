# SPDX-License-Identifier: Apache-2.0
"""Do the small functions of `taskflow.utils.misc` behave as documented?"""

import collections
import datetime as dt
import enum
import io
import os
import socket
import sys
import types
from unittest import mock

import pytest

from taskflow.types.failure import Failure
from taskflow.utils import misc


@pytest.mark.parametrize(
    ("obj", "expected"),
    [("1", 1), (1, 1), ("2.7", 2), (2.7, 2), (" 3 ", 3), ("1e3", 1000), (True, 1), (-2.9, -2), (b"7", 7)],
)
def test_as_int(obj, expected):
    made = misc.as_int(obj)
    assert made == expected
    assert type(made) is int


@pytest.mark.parametrize("obj", ["abc", None, [], "", "inf", float("inf"), "nan", object()])
def test_as_int_of_what_is_no_number(obj):
    with pytest.raises(TypeError):
        misc.as_int(obj)
    assert misc.as_int(obj, quiet=True) is obj


@pytest.mark.parametrize(
    ("version", "expected"),
    [((1, 2), "1.2"), ([3, "b"], "3.b"), ("4.5", "4.5"), (6, "6"), (7.5, "7.5"), (None, None)],
)
def test_get_version_string(version, expected):
    assert misc.get_version_string(types.SimpleNamespace(version=version)) == expected


def test_get_version_string_of_what_has_none():
    assert misc.get_version_string(object()) is None


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        ([1, 2, 3], [2], [1, 3]),
        ([1, 1, 2, 1], [1], [1, 2, 1]),
        ([1, 1, 2], [1, 1, 1], [2]),
        ([[1], {}, [1]], [[1]], [{}, [1]]),
        ("abc", "b", ["a", "c"]),
        ([], [1], []),
    ],
)
def test_sequence_minus(one, other, left):
    assert misc.sequence_minus(one, other) == left


def test_sequence_minus_leaves_its_arguments_alone():
    one = [1, 2]
    misc.sequence_minus(one, [1])
    assert one == [1, 2]


@pytest.mark.parametrize("items", ["", "a", "abc", [1, 2, 3, 4]])
def test_reverse_enumerate(items):
    assert list(misc.reverse_enumerate(items)) == list(reversed(list(enumerate(items))))


@pytest.mark.parametrize(
    ("args", "expected"),
    [((3,), [3, 2, 1]), ((5, 2), [5, 3, 1]), ((0,), []), ((-2,), []), ((1, 0.4), pytest.approx([1, 0.6, 0.2]))],
)
def test_countdown_iter(args, expected):
    assert list(misc.countdown_iter(*args)) == expected


@pytest.mark.parametrize("decr", [0, -1])
def test_countdown_iter_complains_at_the_first_value(decr):
    it = misc.countdown_iter(1, decr)
    with pytest.raises(ValueError):
        next(it)


@pytest.mark.parametrize(("value", "expected", "calls"), [(5, 5, 0), (0, 0, 0), (10, 10, 0), (11, 10, 1), (-1, 0, 1)])
def test_clamp(value, expected, calls):
    on_clamped = mock.Mock()
    assert misc.clamp(value, 0, 10, on_clamped=on_clamped) == expected
    assert on_clamped.call_count == calls
    assert misc.clamp(value, 0, 10) == expected


def test_clamp_needs_bounds_in_order():
    with pytest.raises(ValueError):
        misc.clamp(1, 2, 1)


class OnlyItems:
    def __getitem__(self, i):
        raise IndexError


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ([], True),
        ({}, True),
        (b"x", True),
        (iter(()), True),
        ("x", False),
        (5, False),
        (None, False),
        (OnlyItems(), False),
    ],
)
def test_is_iterable(obj, expected):
    assert misc.is_iterable(obj) is expected


@pytest.mark.parametrize("obj", [None, {}, [], (), ""])
def test_safe_copy_dict_of_nothing(obj):
    assert misc.safe_copy_dict(obj) == {}


def test_safe_copy_dict():
    given = {"a": []}
    made = misc.safe_copy_dict(given)
    assert made == given
    assert made is not given
    assert made["a"] is given["a"]
    empty = {}
    assert misc.safe_copy_dict(empty) is not empty
    for bad in ([1, 2], (1,), {1, 2}):
        with pytest.raises(TypeError):
            misc.safe_copy_dict(bad)


class TestFindSubclasses:
    @pytest.fixture
    def module(self, monkeypatch):
        made = types.ModuleType("ground_classes")

        class Base:
            pass

        class Public(Base):
            class Nested(Base):
                pass

        class _Hidden(Base):
            pass

        class Unrelated:
            pass

        made.__dict__.update(Base=Base, Public=Public, _Hidden=_Hidden, Unrelated=Unrelated, number=5)
        monkeypatch.setitem(sys.modules, "ground_classes", made)
        return made

    def test_of_modules(self, module):
        expected = {module.Base, module.Public}
        assert misc.find_subclasses(["ground_classes"], module.Base) == expected
        assert misc.find_subclasses([module], module.Base) == expected
        assert misc.find_subclasses([module], module.Base, exclude_hidden=False) == expected | {module._Hidden}

    def test_of_named_classes(self, module):
        assert misc.find_subclasses(["ground_classes:Public"], module.Base) == {module.Public}
        assert misc.find_subclasses(["ground_classes:_Hidden"], module.Base) == {module._Hidden}
        assert misc.find_subclasses(["ground_classes:Public.Nested"], module.Base) == {module.Public.Nested}

    def test_of_classes(self, module):
        assert misc.find_subclasses([module.Public, module.Base], module.Base) == {module.Public, module.Base}
        assert misc.find_subclasses([], module.Base) == set()

    @pytest.mark.parametrize("location", ["ground_classes:Unrelated", "ground_classes:number", 5, None])
    def test_of_something_else(self, module, location):
        with pytest.raises(TypeError):
            misc.find_subclasses([location], module.Base)
        with pytest.raises(TypeError):
            misc.find_subclasses([module.Unrelated], module.Base)

    @pytest.mark.parametrize("location", ["ground_classes:Missing", "no_such_module_at_all", "no_such_module:Class"])
    def test_of_what_does_not_exist(self, module, location):
        with pytest.raises(ImportError):
            misc.find_subclasses([location], module.Base)


class TestHostname:
    def test_is_the_full_name(self, monkeypatch):
        monkeypatch.setattr(socket, "getfqdn", lambda: "a.b.c")
        assert misc.get_hostname() == "a.b.c"

    def test_unknown(self, monkeypatch):
        monkeypatch.setattr(socket, "getfqdn", lambda: "")
        assert misc.get_hostname() == misc.UNKNOWN_HOSTNAME == "<unknown>"
        monkeypatch.setattr(socket, "getfqdn", mock.Mock(side_effect=OSError))
        assert misc.get_hostname("nobody") == "nobody"


def test_constants():
    assert (int, float) == misc.NUMERIC_TYPES
    assert misc.StrEnum is enum.StrEnum


@pytest.mark.parametrize("millis", [0, 1500, 1e12, "1500"])
def test_millis_to_datetime(millis):
    made = misc.millis_to_datetime(millis)
    assert made == dt.datetime.fromtimestamp(float(millis) / 1000)
    assert made.tzinfo is None


def test_match_type():
    matchers = [(int, "number"), ((str, bytes), "text")]
    assert misc.match_type(5, matchers) == "number"
    assert misc.match_type(b"", matchers) == "text"
    assert misc.match_type(None, matchers) is None


@pytest.mark.parametrize(("values", "expected"), [((), None), ((None,), None), ((None, 0, 1), 0), ((False, 1), False)])
def test_pick_first_not_none(values, expected):
    assert misc.pick_first_not_none(*values) is expected


class TestDisallowWhenFrozen:
    class Thing:
        frozen = False

        @misc.disallow_when_frozen(KeyError)
        def change(self, a, b=2):
            """Changes it."""
            return a, b

    def test_works_until_frozen(self):
        thing = self.Thing()
        assert thing.change(1, b=3) == (1, 3)
        thing.frozen = True
        with pytest.raises(KeyError) as caught:
            thing.change(1)
        assert caught.value.args == ()

    def test_keeps_name_and_docstring(self):
        assert self.Thing.change.__name__ == "change"
        assert self.Thing.change.__doc__ == "Changes it."


@pytest.mark.parametrize(("text", "expected"), [("a\nb\r\nc\n", "a|b|c"), ("", ""), ("a", "a"), ("\na", "|a")])
def test_fix_newlines(text, expected):
    assert misc.fix_newlines(text, replacement="|") == expected
    assert misc.fix_newlines("a\r\nb") == f"a{os.linesep}b"


def test_string_io():
    buffer = misc.StringIO()
    assert isinstance(buffer, io.StringIO)
    buffer.write_nl("a")
    buffer.write_nl("b", linesep="|")
    assert buffer.getvalue() == f"a{os.linesep}b|"


def test_bytes_io():
    buffer = misc.BytesIO()
    assert isinstance(buffer, io.BytesIO)
    buffer.write(b"long text")
    buffer.reset()
    buffer.write(b"x")
    assert buffer.getvalue() == b"x"


class TestCaptureFailure:
    def test_of_what_is_being_handled(self):
        try:
            raise ValueError("v")
        except ValueError as e:
            with misc.capture_failure() as fail:
                error = e
        assert isinstance(fail, Failure)
        assert fail.exception is error
        assert "test_of_what_is_being_handled" in fail.traceback_str

    def test_of_nothing(self):
        with pytest.raises(RuntimeError), misc.capture_failure():
            pytest.fail("the body must not run")

    def test_an_error_in_the_body_propagates(self):
        with pytest.raises(KeyError):
            try:
                raise ValueError("v")
            except ValueError:
                with misc.capture_failure() as fail:
                    assert fail.check(ValueError)
                    raise KeyError("k") from None


def test_ordered_mappings_are_iterable():
    assert misc.is_iterable(collections.OrderedDict())
