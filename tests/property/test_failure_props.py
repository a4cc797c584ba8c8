# SPDX-License-Identifier: Apache-2.0
"""Does every failure survive its dictionary, JSON and pickle, whatever its texts and causes are?"""

import copy
import json
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow import exceptions as exc
from taskflow.types.failure import Failure
from taskflow.utils import schema_utils

KINDS = [ValueError, KeyError, OSError, RuntimeError, exc.NotFound, exc.InvalidState, Exception]
EXITS = [KeyboardInterrupt, SystemExit, GeneratorExit]
LINKS = ["cause", "context", "both"]

texts = st.text(max_size=20)
steps = st.lists(st.tuples(st.sampled_from(KINDS + EXITS), texts, st.sampled_from(LINKS)), max_size=12)


def raise_chain(chain):
    """Raises the last of a chain of exceptions, each linked to the one before in its way."""
    last = None
    for kind, text, how in chain:
        error = kind(text)
        if last is not None:
            if how != "context":
                error.__cause__ = last
            if how != "cause":
                error.__context__ = last
        try:
            raise error
        except BaseException as e:
            last = e
    raise last


@st.composite
def failures(draw):
    top = (draw(st.sampled_from(KINDS)), draw(texts), draw(st.sampled_from(LINKS)))
    chain = [*draw(steps), top]
    try:
        raise_chain(chain)
    except Exception:
        return Failure(), len(chain) - 1


def check_twin(twin, fail, n):
    assert twin.matches(fail)
    assert fail.matches(twin)
    assert list(twin) == list(fail)
    assert twin.exception_str == fail.exception_str
    assert twin.exception_args == fail.exception_args
    assert twin.traceback_str == fail.traceback_str
    assert twin.pformat(traceback=True) == fail.pformat(traceback=True)
    assert [len(c.causes) for c in twin.causes] == list(range(n - 1, -1, -1))
    for mine, other in zip(twin.causes, fail.causes, strict=True):
        assert mine.matches(other)


@given(failures())
def test_dictionary(made):
    fail, n = made
    record = fail.to_dict()
    Failure.validate(record)
    twin = Failure.from_dict(record)
    check_twin(twin, fail, n)
    assert twin != fail
    assert twin == Failure.from_dict(record)
    assert twin.to_dict() == record


@given(failures())
def test_json(made):
    fail, n = made
    data = json.loads(json.dumps(fail.to_dict()))
    Failure.validate(data)
    check_twin(Failure.from_dict(data), fail, n)


@given(failures(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickle(made, protocol):
    fail, n = made
    data = pickle.dumps(fail, protocol)
    twin = pickle.loads(data)
    check_twin(twin, fail, n)
    assert twin == pickle.loads(data)
    assert type(twin.exception) is type(fail.exception)
    assert twin.exception.args == fail.exception.args
    check_twin(pickle.loads(pickle.dumps(twin, protocol)), fail, n)


@given(failures())
def test_copies(made):
    fail, n = made
    twin = fail.copy()
    check_twin(twin, fail, n)
    assert twin == fail
    check_twin(copy.deepcopy(fail), fail, n)
    text_only = fail.without_frames()
    check_twin(text_only, fail, n)
    assert text_only == Failure.from_dict(fail.to_dict())


@given(failures())
def test_without_args_only_the_args_differ(made):
    fail, _ = made
    with_args, without = fail.to_dict(), fail.to_dict(include_args=False)

    def stripped(record):
        return {**record, "exc_args": (), "causes": [stripped(cause) for cause in record["causes"]]}

    assert without == stripped(with_args)


@settings(max_examples=30)
@given(failures(), st.data())
def test_any_changed_text_is_noticed(made, data):
    fail, _ = made
    record = fail.to_dict()
    places = [record, *record["causes"]]
    place = places[data.draw(st.integers(0, len(places) - 1))]
    key = data.draw(st.sampled_from(["exception_str", "traceback_str"]))
    place[key] += "!"
    assert not Failure.from_dict(record).matches(fail)
    assert not fail.matches(Failure.from_dict(record))


def refusal_of(kind, check):
    try:
        check()
    except kind as e:
        return e
    return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near_records = st.fixed_dictionaries(
    {},
    optional={
        "exception_str": texts | json_values,
        "traceback_str": texts | json_values,
        "exc_type_names": st.lists(st.sampled_from(["ValueError", "Exception"]) | json_values) | json_values,
        "version": st.just(1) | json_values,
        "exc_args": st.lists(json_values, max_size=2) | json_values,
        "causes": st.lists(json_values, max_size=2) | json_values,
    },
)


@settings(max_examples=200)
@given(near_records | json_values)
def test_the_check_agrees_with_the_schema_and_never_fails_otherwise(data):
    by_schema = refusal_of(schema_utils.ValidationError, lambda: schema_utils.schema_validate(data, Failure.SCHEMA))
    refusal = refusal_of(exc.InvalidFormat, lambda: Failure.validate(data))
    if by_schema is not None:
        assert isinstance(refusal.cause, schema_utils.ValidationError)
    elif refusal is not None:
        assert refusal.cause is None
        assert data["exc_type_names"][-1] != "Exception" or data["causes"]
    elif data.get("version") == 1:
        assert Failure.from_dict(data).exception_str == data["exception_str"]
