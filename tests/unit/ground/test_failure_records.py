# SPDX-License-Identifier: Apache-2.0
"""Do the causes of a failure, its dictionary and the check of foreign dictionaries follow their rules?"""

import asyncio
import json
import pickle
import sys
import time

import pytest

from taskflow import exceptions as exc
from taskflow.types.failure import Failure
from taskflow.utils import schema_utils


def chain(n):
    """Returns the failure of an exception with n exceptions behind it."""
    try:
        link(n)
    except Exception:
        return Failure()


def link(n):
    if n == 0:
        raise ValueError("last", 0)
    try:
        link(n - 1)
    except Exception as e:
        raise RuntimeError(f"number {n}", n) from e


def texts(failures):
    return [f.exception_str for f in failures]


class TestCauses:
    def test_none(self):
        fail = chain(0)
        assert fail.causes == ()
        assert fail.causes is fail.causes

    @pytest.mark.parametrize("n", [1, 2, 5, 6, 20])
    def test_nearest_first_with_their_own(self, n):
        fail = chain(n)
        assert len(fail.causes) == n
        assert fail.causes[-1].exception_args == ("last", 0)
        for i, cause in enumerate(fail.causes):
            assert cause.exc_info[2] is cause.exception.__traceback__
            assert "in link" in cause.traceback_str
            assert cause.causes == fail.causes[i + 1 :]

    def test_the_context_without_a_cause(self):
        try:
            try:
                raise KeyError("k")
            except KeyError:
                raise ValueError("v")  # noqa: B904 - the context is what is looked at
        except ValueError:
            fail = Failure()
        assert texts(fail.causes) == ["'k'"]

    def test_the_cause_before_the_context(self):
        try:
            try:
                raise KeyError("context")
            except KeyError:
                raise ValueError("v") from OSError("cause")
        except ValueError:
            fail = Failure()
        assert texts(fail.causes) == ["cause"]

    def test_from_none_ends_the_walk(self):
        try:
            try:
                raise KeyError("k")
            except KeyError:
                raise ValueError("v") from None
        except ValueError:
            fail = Failure()
        assert fail.causes == ()

    def test_a_cause_that_was_seen_gives_way_to_the_context(self):
        a, b = ValueError("a"), KeyError("b")
        a.__cause__ = a
        a.__suppress_context__ = False
        a.__context__ = b
        assert texts(Failure.from_exception(a).causes) == ["'b'"]

    def test_an_exception_that_is_its_own_cause(self):
        a = ValueError("a")
        a.__cause__ = a
        assert Failure.from_exception(a).causes == ()

    def test_cycles_end(self):
        a, b, c = ValueError("a"), ValueError("b"), ValueError("c")
        a.__cause__, b.__cause__, c.__cause__ = b, c, a
        fail = Failure.from_exception(a)
        assert texts(fail.causes) == ["b", "c"]
        assert Failure.from_dict(fail.to_dict()).matches(fail)

    def test_seen_is_told_by_identity(self):
        class Equal(Exception):
            def __eq__(self, other):
                return True

            __hash__ = None

        a, b, c = Equal("a"), Equal("b"), Equal("c")
        a.__cause__, b.__cause__ = b, c
        assert texts(Failure.from_exception(a).causes) == ["b", "c"]

    def test_the_cause_attribute_of_our_errors_is_none(self):
        fail = Failure.from_exception(exc.NotFound("n", cause=ValueError("v")))
        assert fail.causes == ()
        assert "ValueError: v" in fail.exception_str

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
    def test_exits_are_causes_like_others(self, kind):
        try:
            try:
                raise kind
            except BaseException as e:
                raise ValueError("v") from e
        except ValueError:
            fail = Failure()
        (cause,) = fail.causes
        assert isinstance(cause.exception, kind)
        assert list(cause)[-1] == "BaseException"
        Failure.validate(fail.to_dict())
        assert Failure.from_dict(fail.to_dict()).matches(fail)
        assert pickle.loads(pickle.dumps(fail)).matches(fail)

    def test_very_long_chains_are_cut(self):
        error = ValueError(0)
        for i in range(1, 5000):
            following = ValueError(i)
            following.__cause__ = error
            error = following
        fail = Failure.from_exception(error)
        assert 50 <= len(fail.causes) <= 1000
        assert texts(fail.causes)[:2] == ["4998", "4997"]
        record = fail.to_dict()
        assert len(record["causes"]) == len(fail.causes)
        assert Failure.from_dict(record).matches(fail)

    def test_a_copy_keeps_them(self):
        for n in (1, 8):
            fail = chain(n)
            duplicate = fail.copy()
            assert len(duplicate.causes) == n
            assert duplicate == fail

    @pytest.mark.parametrize("n", [3, 30])
    def test_without_frames_keeps_them_as_text(self, n):
        fail = chain(n)
        text_only = fail.without_frames()
        assert text_only == Failure.from_dict(fail.to_dict())
        assert all(c.exc_info is None for c in text_only.causes)


class TestDict:
    def test_keys(self):
        fail = chain(0)
        assert fail.to_dict() == {
            "exception_str": fail.exception_str,
            "traceback_str": fail.traceback_str,
            "exc_type_names": ["ValueError", "Exception"],
            "version": 1,
            "exc_args": ("last", 0),
            "causes": [],
        }
        assert type(fail.to_dict()["exc_args"]) is tuple
        assert fail.to_dict(include_args=False)["exc_args"] == ()

    @pytest.mark.parametrize("n", range(1, 6))
    def test_short_chains_nest(self, n):
        record = chain(n).to_dict()
        assert [len(c["causes"]) for c in record["causes"]] == list(range(n - 1, -1, -1))
        for i, cause in enumerate(record["causes"]):
            assert cause["causes"] == record["causes"][i + 1 :]

    @pytest.mark.parametrize("n", [6, 18, 60])
    def test_long_chains_do_not(self, n):
        fail = chain(n)
        record = fail.to_dict()
        assert [c["causes"] for c in record["causes"]] == [[]] * n
        restored = Failure.from_dict(record)
        assert restored.matches(fail)
        assert [len(c.causes) for c in restored.causes] == list(range(n - 1, -1, -1))

    def test_size_grows_with_the_chain_only(self):
        sizes = [len(json.dumps(chain(n).to_dict())) for n in (10, 20, 40)]
        assert sizes[2] < 8 * sizes[0]

    @pytest.mark.parametrize("n", [0, 3, 9])
    def test_args_are_left_out_at_all_levels(self, n):
        def levels(record):
            yield record["exc_args"]
            for cause in record["causes"]:
                yield from levels(cause)

        assert set(levels(chain(n).to_dict(include_args=False))) == {()}

    @pytest.mark.parametrize("n", [0, 1, 5, 6, 12])
    def test_round_trips(self, n):
        fail = chain(n)
        through_json = Failure.from_dict(json.loads(json.dumps(fail.to_dict())))
        assert through_json.exception_args == fail.exception_args
        assert through_json.matches(fail)
        assert fail.matches(through_json)
        assert through_json == Failure.from_dict(fail.to_dict())
        loaded = pickle.loads(pickle.dumps(fail))
        assert loaded.matches(fail)
        assert loaded.matches(through_json)
        assert loaded == pickle.loads(pickle.dumps(fail))
        assert [len(c.causes) for c in loaded.causes] == list(range(n - 1, -1, -1))

    def test_a_difference_deep_in_the_chain_is_seen(self):
        record = chain(8).to_dict()
        record["causes"][7]["exception_str"] = "other"
        assert not Failure.from_dict(record).matches(chain(8))

    def test_from_dict_leaves_the_data_alone(self):
        record = chain(2).to_dict()
        before = json.dumps(record)
        Failure.from_dict(record)
        assert json.dumps(record) == before

    @pytest.mark.parametrize("version", [None, 0, 2, "1"])
    def test_version_must_be_known(self, version):
        record = chain(0).to_dict()
        record["version"] = version
        with pytest.raises(ValueError, match="version"):
            Failure.from_dict(record)

    def test_version_must_be_there(self):
        with pytest.raises(ValueError, match="version"):
            Failure.from_dict({"exception_str": "x"})

    def test_only_version_and_text_are_needed(self):
        fail = Failure.from_dict({"version": 1, "exception_str": "x"})
        assert (list(fail), fail.traceback_str, fail.exception_args, fail.causes) == ([], None, (), ())
        with pytest.raises(KeyError):
            Failure.from_dict({"version": 1})

    def test_unknown_keys(self):
        with pytest.raises(TypeError, match="unexpected keyword"):
            Failure.from_dict({"version": 1, "exception_str": "x", "color": "red"})

    def test_causes_without_causes_stay_so_in_short_lists(self):
        cause = {"version": 1, "exception_str": "c"}
        fail = Failure.from_dict({"version": 1, "exception_str": "x", "causes": [cause, cause]})
        assert [c.causes for c in fail.causes] == [(), ()]


VALID = {"exception_str": "x", "traceback_str": "", "exc_type_names": ["ValueError", "Exception"]}


def with_cause(**changes):
    return {**VALID, "causes": [VALID, {**VALID, "causes": ({**VALID, **changes},)}]}


class TestValidate:
    @pytest.mark.parametrize(
        "data",
        [
            VALID,
            {**VALID, "version": 0},
            {**VALID, "version": 99},
            {**VALID, "version": 1.0},
            {**VALID, "exc_args": []},
            {**VALID, "exc_args": (1, object())},
            {**VALID, "exc_type_names": ("ValueError", "Exception", "BaseException")},
            {**VALID, "exc_type_names": ["Exception"]},
            {**VALID, "anything": "else"},
            with_cause(),
        ],
    )
    def test_good(self, data):
        assert Failure.validate(data) is None
        schema_utils.schema_validate(data, Failure.SCHEMA)

    @pytest.mark.parametrize(
        "changes",
        [
            {"exception_str": None},
            {"exception_str": 5},
            {"traceback_str": None},
            {"exc_type_names": []},
            {"exc_type_names": "Exception"},
            {"exc_type_names": ["Exception", 5]},
            {"exc_type_names": None},
            {"version": -1},
            {"version": True},
            {"version": 1.5},
            {"version": "1"},
            {"version": None},
            {"version": float("nan")},
            {"version": float("inf")},
            {"exc_args": None},
            {"exc_args": {}},
            {"causes": None},
            {"causes": {}},
            {"causes": ["text"]},
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("where", [lambda changes: {**VALID, **changes}, lambda changes: with_cause(**changes)])
    def test_bad_shape(self, changes, where):
        with pytest.raises(exc.InvalidFormat) as caught:
            Failure.validate(where(changes))
        assert isinstance(caught.value.cause, schema_utils.ValidationError)
        assert caught.value.cause.message
        assert caught.value.cause.message in str(caught.value)

    @pytest.mark.parametrize("key", VALID)
    def test_missing_keys(self, key):
        data = {k: v for k, v in VALID.items() if k != key}
        with pytest.raises(exc.InvalidFormat):
            Failure.validate(data)
        with pytest.raises(schema_utils.ValidationError):
            schema_utils.schema_validate(data, Failure.SCHEMA)

    @pytest.mark.parametrize("data", [None, [], "text", 5])
    def test_no_object(self, data):
        with pytest.raises(exc.InvalidFormat):
            Failure.validate(data)

    @pytest.mark.parametrize("names", [["Junk"], ["Exception", "Junk"], ["Exception", "object"]])
    def test_last_type_name_must_be_a_base(self, names):
        for data in ({**VALID, "exc_type_names": names}, with_cause(exc_type_names=names)):
            with pytest.raises(exc.InvalidFormat, match=names[-1]) as caught:
                Failure.validate(data)
            assert caught.value.cause is None

    def test_our_own(self):
        for n in (0, 3, 9):
            Failure.validate(chain(n).to_dict())
            Failure.validate(json.loads(json.dumps(chain(n).to_dict())))

    def test_needs_no_json_schema(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "jsonschema", None)
        Failure.validate(VALID)
        with pytest.raises(exc.InvalidFormat):
            Failure.validate({})

    def test_is_fast_for_long_chains(self):
        record = chain(90).to_dict()
        started = time.perf_counter()
        Failure.validate(record)
        assert time.perf_counter() - started < 0.05
