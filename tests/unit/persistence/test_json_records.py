# SPDX-License-Identifier: Apache-2.0
"""How values are written as JSON."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import io
import ipaddress
import itertools
import json
import pathlib
import sys
import threading
import types
import typing
import uuid

import pytest

from taskflow.types import failure as ft
from taskflow.utils import json_utils


class Pair(typing.NamedTuple):
    a: int
    b: int


class Text(enum.StrEnum):
    A = "x"


class Number(enum.IntEnum):
    A = 3


class Plain(enum.Enum):
    A = 1


@dataclasses.dataclass
class Data:
    a: int = 1


class Iterates:
    def __iter__(self):
        return iter([1, 2])


class FailsToIterate:
    def __iter__(self):
        raise TypeError("no")

    def __str__(self):
        return "shown"


class Items:
    def items(self):
        return [(uuid.UUID(int=3), 1), (1.5, 2), (True, 3), (dt.date(2020, 1, 1), {1}), (b"k", None)]


class Contains:
    def __iter__(self):
        return iter([self])


def function():
    pass


def traceback():
    try:
        raise ValueError
    except ValueError as e:
        return e.__traceback__


EXACT = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (10**30, "1000000000000000000000000000000"),
    (1.5, "1.5"),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (-float("inf"), "-Infinity"),
    ('é😀"\\\n', '"\\u00e9\\ud83d\\ude00\\"\\\\\\n"'),
    ([1, (2, 3), {"b": None, "a": 1}], '[1, [2, 3], {"b": null, "a": 1}]'),
    ({1: 1, None: 2, False: 3, 1.5: 4, "s": 5}, '{"1": 1, "null": 2, "false": 3, "1.5": 4, "s": 5}'),
    (Pair(1, 2), "[1, 2]"),
    ({1}, "[1]"),
    (frozenset([2]), "[2]"),
    (range(3), "[0, 1, 2]"),
    ({"a": 1}.keys(), '["a"]'),
    ({"a": 1}.values(), "[1]"),
    ({"a": 1}.items(), '[["a", 1]]'),
    (collections.deque([1]), "[1]"),
    (bytearray(b"ab"), "[97, 98]"),
    (memoryview(b"ab"), "[97, 98]"),
    (array.array("i", [1, 2]), "[1, 2]"),
    (Iterates(), "[1, 2]"),
    (FailsToIterate(), '"shown"'),
    (Items(), '{"00000000-0000-0000-0000-000000000003": 1, "1.5": 2, "true": 3, "2020-01-01": [1], "k": null}'),
    (types.MappingProxyType({b"a": {uuid.UUID(int=1): 1}}), '{"a": {"00000000-0000-0000-0000-000000000001": 1}}'),
    (collections.OrderedDict(b=1, a=2), '{"b": 1, "a": 2}'),
    (dt.datetime(2020, 1, 2, 3, 4, 5), '"2020-01-02T03:04:05.000000"'),
    (dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), '"2020-01-02T03:04:05.000006"'),
    (dt.date(2020, 1, 2), '"2020-01-02"'),
    (uuid.UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
    (decimal.Decimal("1.50"), '"1.50"'),
    ("é".encode(), '"\\u00e9"'),
    (ValueError("a", 1), "\"ValueError('a', 1)\""),
    (ipaddress.ip_address("1.2.3.4"), '"1.2.3.4"'),
    (ipaddress.ip_address("::1"), '"::1"'),
    (Text.A, '"x"'),
    (Number.A, "3"),
    (int, "\"<class 'int'>\""),
    (len, '"<built-in function len>"'),
    (sys, "\"<module 'sys' (built-in)>\""),
    (itertools.count(), '"count(0)"'),
    ([{uuid.UUID(int=5)}], '[["00000000-0000-0000-0000-000000000005"]]'),
]


@pytest.mark.parametrize(("value", "text"), EXACT, ids=[text[:30] for _, text in EXACT])
def test_text_of_a_value(value, text):
    assert json_utils.encode(value) == text


@pytest.mark.parametrize(
    "value",
    [function, Data().__str__, function.__code__, traceback(), (i for i in [1]), "x".upper, str.upper, Data],
    ids=lambda value: type(value).__name__,
)
def test_things_with_a_name_are_written_as_their_str(value):
    assert json_utils.encode(value) == json.dumps(str(value))
    assert json_utils.encode([value]) == json.dumps([str(value)])


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Data(),
        threading.Lock(),
        Plain.A,
        1j,
        dt.time(1, 2),
        dt.timedelta(1),
        KeyboardInterrupt("x"),
        io.StringIO("a\nb"),
        io.BytesIO(b"x"),
        types.SimpleNamespace(a=1),
        Contains(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_are_refused(value):
    for where in (value, [value], {"a": value}, collections.deque([value])):
        with pytest.raises(ValueError, match=r"."):
            json_utils.encode(where)


def test_open_file_is_refused():
    with pathlib.Path("/dev/null").open() as file, pytest.raises(ValueError, match="TextIOWrapper"):
        json_utils.encode(file)


@pytest.mark.parametrize("key", [(1, 2), uuid.UUID(int=1), b"a"])
def test_key_without_a_json_form_is_refused(key):
    with pytest.raises(TypeError):
        json_utils.encode({key: 1})


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(UnicodeDecodeError):
        json_utils.encode(b"\xff")


def test_value_that_contains_itself_is_refused_every_time():
    items = []
    items.append(items)
    keys = {}
    keys["a"] = keys
    for _ in range(2):
        for value in (items, keys):
            with pytest.raises(ValueError, match="Circular"):
                json_utils.encode(value)


def test_too_deep_value_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        json_utils.encode(value)
    while value:  # freeing it all at once would recurse as deeply
        value = value.pop()


@pytest.mark.parametrize("text", ['{"a": [1, null]}', b'{"a": [1, null]}'])
def test_decoding(text):
    assert json_utils.decode(text) == {"a": [1, None]}


def test_text_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        json_utils.decode("{")


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no")


def failure_of(*args):
    try:
        try:
            raise KeyError(*args)
        except KeyError as e:
            raise ValueError(*args) from e
    except ValueError:
        return ft.Failure()


def test_failure_with_ordinary_arguments_is_written_as_it_is():
    form = failure_of("a", 1, {2}).to_dict(include_args=True)
    assert json.loads(json_utils.encode_failure(form))["exc_args"] == ["a", 1, [2]]


@pytest.mark.parametrize("argument", [threading.Lock(), {(1, 2): 3}, b"\xff", object()])
def test_arguments_without_a_json_form_are_written_as_their_repr(argument):
    form = failure_of("a", argument).to_dict(include_args=True)
    read = json.loads(json_utils.encode_failure(form))
    assert read["exc_args"] == ["a", repr(argument)]
    assert read["causes"][0]["exc_args"] == ["a", repr(argument)]
    assert ft.Failure.from_dict(read).check(ValueError)


def test_argument_without_a_repr_is_named_by_its_class():
    form = {**failure_of("a").to_dict(), "exc_args": (Unprintable(),)}
    assert json.loads(json_utils.encode_failure(form))["exc_args"] == ["<Unprintable object>"]


def test_no_failure_is_null():
    assert json_utils.encode_failure(None) == "null"


def test_history_is_strict_about_results_but_not_about_failures():
    form = failure_of(object()).to_dict(include_args=True)
    ((result, failures),) = json.loads(json_utils.encode_history([(1, {"t": form})]))
    assert result == 1
    assert failures["t"]["exc_args"][0].startswith("<object object")
    with pytest.raises(ValueError, match="object"):
        json_utils.encode_history([(object(), {})])
