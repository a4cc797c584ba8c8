# SPDX-License-Identifier: Apache-2.0
"""Is a failure captured, formatted, checked, raised again, compared and copied as documented?"""

import copy
import importlib.util
import linecache
import os
import pickle
import sys
import traceback
from unittest import mock

import pytest

from taskflow import exceptions as exc
from taskflow.types import failure
from taskflow.types.failure import Failure

NL = os.linesep


class Custom(RuntimeError):
    pass


class Picky(Exception):
    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


class Broken(Exception):
    args = 5

    def __str__(self):
        raise RuntimeError("no text")

    def __repr__(self):
        raise RuntimeError("no text")


def captured(error=None):
    try:
        raise error or RuntimeError("Woot!", 1)
    except Exception:
        return Failure()


def lost(fail):
    return Failure.from_dict(fail.to_dict())


class TestCapture:
    def test_what_is_being_handled(self):
        error = RuntimeError("Woot!", 1)
        try:
            raise error
        except RuntimeError:
            fail = Failure()
            info = sys.exc_info()
        assert fail.exception is error
        assert tuple(fail.exc_info) == info
        assert fail.exception_str == str(error)
        assert fail.exception_args == ("Woot!", 1)
        assert list(fail) == ["RuntimeError", "Exception"]
        assert fail.traceback_str == "".join(traceback.format_tb(info[2]))

    def test_given_exc_info_is_kept_as_it_is(self):
        info = [ValueError, ValueError("v"), None]
        assert Failure(info).exc_info is info
        assert Failure(exc_info=info).traceback_str == ""

    def test_nothing_is_being_handled(self):
        with pytest.raises(TypeError, match="no exception is being handled"):
            Failure()

    @pytest.mark.parametrize("info", [(), (ValueError,), (ValueError, ValueError("v")), (1, 2, 3, 4)])
    def test_three_parts_are_needed(self, info):
        with pytest.raises(ValueError, match="3 parts"):
            Failure(info)

    @pytest.mark.parametrize(
        "kind", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseExceptionGroup, BaseException, int, None, "text"]
    )
    def test_only_exceptions(self, kind):
        with pytest.raises(TypeError):
            Failure((kind, None, None))

    def test_names_are_those_of_the_classes_below_exception(self):
        assert list(Failure((Custom, Custom("x"), None))) == [f"{__name__}.Custom", "RuntimeError", "Exception"]
        group = ExceptionGroup("g", [ValueError()])
        assert list(Failure.from_exception(group)) == ["ExceptionGroup", "Exception"]

    def test_no_value(self):
        fail = Failure((ValueError, None, None))
        assert fail.exception is None
        assert fail.exception_args == ()
        assert fail.causes == ()

    def test_from_exception(self):
        error = ValueError("v")
        fail = Failure.from_exception(error)
        assert fail.exc_info == (ValueError, error, None)
        assert fail.traceback_str == ""

    def raised(self):
        try:
            raise ValueError("v")
        except ValueError as e:
            return e

    def test_from_a_raised_exception(self):
        error = self.raised()
        assert "in raised" in Failure.from_exception(error).traceback_str

    def test_a_faulty_exception_gets_placeholders(self):
        fail = captured(Broken())
        assert fail.exception_str == "<exception str() failed>"
        assert fail.exception_args == ()
        assert "<exception str() failed>" in str(fail)
        assert fail == fail.copy()


class TestTraceback:
    def module(self, path, source):
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("ground_victim", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_source_lines_are_those_at_the_time_of_the_capture(self, tmp_path):
        path = tmp_path / "victim.py"
        module = self.module(path, "def fail():\n    raise ValueError('before')\n")
        try:
            module.fail()
        except ValueError as e:
            fail = Failure()
            expected = "".join(traceback.format_tb(e.__traceback__))
        path.write_text("# all is different now\n# nothing here raises\n# anything\n")
        linecache.checkcache(str(path))
        assert "raise ValueError('before')" in fail.traceback_str
        assert "different" not in fail.traceback_str
        assert [line for line in fail.traceback_str.splitlines() if set(line) - set(" ^~")] == [
            line for line in expected.splitlines() if set(line) - set(" ^~")
        ]

    def test_a_file_that_changed_before_the_capture_is_read_anew(self, tmp_path):
        path = tmp_path / "victim.py"
        with pytest.raises(ValueError, match="one") as first:
            self.module(path, "def fail():\n    raise ValueError('one')\n").fail()
        Failure.from_exception(first.value)
        path.unlink()
        module = self.module(path, "def fail():\n    raise ValueError('number two')\n")
        with pytest.raises(ValueError, match="two") as second:
            module.fail()
        assert "number two" in Failure.from_exception(second.value).traceback_str

    def test_code_without_source(self):
        try:
            exec(compile("raise ValueError('x')", "/no/such/file.py", "exec"), {})
        except ValueError as e:
            fail = Failure()
            expected = "".join(traceback.format_tb(e.__traceback__))
        assert fail.traceback_str == expected
        assert "/no/such/file.py" in fail.traceback_str

    def test_text_does_not_change_when_raised_again(self):
        fail = captured()
        with pytest.raises(RuntimeError):
            fail.reraise()
        assert "in captured" in fail.traceback_str
        assert "reraise" not in fail.traceback_str

    def test_nothing_is_formatted_at_capture(self):
        with mock.patch.object(traceback, "format_tb", side_effect=AssertionError):
            captured()


class TestRecreation:
    def test_all_fields(self):
        cause = captured()
        fail = Failure(
            exception_str="text",
            traceback_str="tb",
            exc_type_names=["A", "Exception"],
            exc_args=[1, 2],
            causes=[cause],
        )
        assert fail.exception_str == "text"
        assert fail.traceback_str == "tb"
        assert list(fail) == ["A", "Exception"]
        assert fail.exception_args == (1, 2)
        assert fail.causes == (cause,)
        assert fail.causes is fail.causes
        assert fail.exception is None
        assert fail.exc_info is None

    def test_only_the_text_is_needed(self):
        fail = Failure(exception_str="text")
        assert (fail.traceback_str, list(fail), fail.exception_args, fail.causes) == (None, [], (), ())
        with pytest.raises(KeyError, match="exception_str"):
            Failure(traceback_str="tb")
        with pytest.raises(KeyError, match="exception_str"):
            Failure(hi="hi there")

    def test_exc_info_is_stored_unchecked(self):
        assert Failure(exc_info="anything", exception_str="x").exc_info == "anything"

    def test_other_keywords_are_named(self):
        with pytest.raises(TypeError) as caught:
            Failure(zebra=1, exception_str="x", ape=2)
        assert str(caught.value) == "Failure.__init__ got unexpected keyword argument(s): zebra, ape"


class TestProtocol:
    def test_unhashable(self):
        with pytest.raises(TypeError):
            hash(captured())

    def test_no_length(self):
        with pytest.raises(TypeError):
            len(captured())

    @pytest.mark.parametrize(
        "name", ["exception", "exc_info", "exception_str", "exception_args", "traceback_str", "causes"]
    )
    def test_properties_are_read_only(self, name):
        with pytest.raises(AttributeError):
            setattr(captured(), name, None)

    def test_repr_is_the_default(self):
        assert repr(captured()).startswith("<taskflow.types.failure.Failure object at 0x")

    def test_a_mock_can_stand_in(self):
        stand_in = mock.Mock(spec=Failure)
        assert isinstance(stand_in, Failure)
        assert stand_in.exception_str
        with pytest.raises(AttributeError):
            _ = stand_in.no_such_thing

    def test_constants(self):
        assert Failure.DICT_VERSION == 1
        assert Failure.BASE_EXCEPTIONS == ("BaseException", "Exception")


class TestFormat:
    def test_text(self):
        assert str(captured(ValueError("x"))) == "Failure: ValueError: x"
        assert str(Failure(exception_str="x")) == "Failure: x"
        assert "Traceback" not in captured().pformat()

    def test_with_traceback(self):
        fail = captured(ValueError("x"))
        assert fail.pformat(traceback=True) == NL.join(
            ["Failure: ValueError: x", "Traceback (most recent call last):", fail.traceback_str.rstrip()]
        )

    @pytest.mark.parametrize("text", [None, "", " \n "])
    def test_without_a_traceback_text(self, text):
        fail = Failure(exception_str="x", traceback_str=text)
        assert fail.pformat(traceback=True) == NL.join(["Failure: x", "Traceback not available."])


class TestCheck:
    @pytest.mark.parametrize("make", [captured, lambda e: lost(captured(e))], ids=["captured", "lost"])
    def test_by_name(self, make):
        fail = make(Custom("x"))
        assert fail.check(Custom) is Custom
        assert fail.check(ValueError, RuntimeError, Custom) is RuntimeError
        assert fail.check(Exception) is Exception
        assert fail.check("RuntimeError") == "RuntimeError"
        assert fail.check(f"{__name__}.Custom") == f"{__name__}.Custom"
        assert fail.check(ValueError) is None
        assert fail.check() is None

    @pytest.mark.parametrize("odd", [BaseException, object, 5, None, ["Exception"], int])
    def test_what_never_matches(self, odd):
        assert captured().check(odd) is None


class TestReraise:
    def test_the_same_object(self):
        fail = captured()
        with pytest.raises(RuntimeError) as caught:
            fail.reraise()
        assert caught.value is fail.exception
        assert "captured" in [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]

    def test_the_traceback_does_not_grow(self):
        fail = captured()
        lengths = set()
        for _ in range(4):
            with pytest.raises(RuntimeError) as caught:
                fail.reraise()
            lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(lengths) == 1

    def test_a_missing_value_is_made(self):
        with pytest.raises(Custom) as caught:
            Failure((Custom, None, None)).reraise()
        assert caught.value.args == ()

    def test_a_lost_exception_is_wrapped(self):
        fail = lost(captured())
        with pytest.raises(exc.WrappedFailure) as caught:
            fail.reraise()
        assert list(caught.value)[0] is fail

    def test_if_any(self):
        one, other = captured(), captured(ValueError("v"))
        assert Failure.reraise_if_any([]) is None
        assert Failure.reraise_if_any(iter(())) is None
        with pytest.raises(RuntimeError):
            Failure.reraise_if_any(iter([one]))
        with pytest.raises(exc.WrappedFailure) as caught:
            Failure.reraise_if_any({"a": one, "b": other}.values())
        assert list(caught.value) == [one, other]
        with pytest.raises(TypeError):
            Failure.reraise_if_any(None)


class TestComparison:
    def two(self, *errors):
        return [captured(e) for e in errors]

    def test_raised_at_the_same_place_with_the_same_text(self):
        a, b = self.two(ValueError("x"), ValueError("x"))
        assert a == b
        assert not a != b  # noqa: SIM202 - both operators are looked at
        assert a.matches(b)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (ValueError("x"), ValueError("y")),
            (ValueError("x"), TypeError("x")),
            (ValueError("1"), ValueError(1)),
            (ValueError("x"), ValueError("x", "y")),
        ],
    )
    def test_raised_at_the_same_place_with_differences(self, one, other):
        a, b = self.two(one, other)
        assert a != b
        assert not a.matches(b)

    def test_raised_elsewhere(self):
        try:
            raise ValueError("x")
        except ValueError:
            here = Failure()
        assert here != captured(ValueError("x"))
        assert not here.matches(captured(ValueError("x")))

    @pytest.mark.parametrize("other", [None, 5, "Failure", object()])
    def test_with_something_else(self, other):
        fail = captured()
        assert fail != other
        assert not fail.matches(other)
        assert fail.__eq__(other) is NotImplemented

    def test_a_captured_one_matches_its_record_but_does_not_equal_it(self):
        fail = captured()
        assert fail != lost(fail)
        assert fail.matches(lost(fail))
        assert lost(fail).matches(fail)
        assert lost(fail) == lost(fail)

    def test_without_args_it_does_not_match(self):
        fail = captured()
        bare = Failure.from_dict(fail.to_dict(include_args=False))
        assert not fail.matches(bare)
        assert not bare.matches(fail)

    def test_another_text_does_not_match(self):
        record = captured().to_dict()
        record["exception_str"] += "!"
        assert not captured().matches(Failure.from_dict(record))


class TestExcInfoHelpers:
    def test_copy(self):
        error = Custom("x")
        info = captured(error).exc_info
        duplicate = failure._copy_exc_info(info)
        assert type(duplicate) is tuple
        assert duplicate is not info
        assert duplicate[0] is info[0]
        assert duplicate[1] is not error
        assert duplicate[1].args == error.args
        assert duplicate[2] is info[2]
        assert failure._copy_exc_info(None) is None
        assert failure._copy_exc_info((ValueError, None, None)) == (ValueError, None, None)

    def test_the_copy_tells_the_same_story(self):
        try:
            raise ValueError("v") from KeyError("k")
        except ValueError:
            _, value, _ = failure._copy_exc_info(sys.exc_info())
        assert repr(value.__cause__) == "KeyError('k')"
        assert value.__suppress_context__

    def test_equality(self):
        equal = failure._are_equal_exc_info_tuples
        info = captured().exc_info
        assert equal(None, None)
        assert not equal(None, info)
        assert not equal(info, None)
        assert equal(info, info)
        assert equal(info, failure._copy_exc_info(info))
        assert equal(list(info), info)
        assert not equal(info, captured(ValueError("Woot!", 1)).exc_info)
        assert not equal(info, captured(RuntimeError("Woot!", 2)).exc_info)
        assert not equal(info, (info[0], info[1], None))
        assert not equal(info, (Custom, info[1], info[2]))


class TestCopy:
    def test_is_equal_with_another_exception_object(self):
        fail = captured()
        duplicate = fail.copy()
        assert duplicate is not fail
        assert duplicate == fail
        assert duplicate.matches(fail)
        assert duplicate.exception is not fail.exception
        assert duplicate.exc_info[2] is fail.exc_info[2]

    def test_of_a_lost_one(self):
        fail = lost(captured())
        assert fail.copy() == fail
        assert fail.copy() is not fail

    def test_is_always_of_the_base_class(self):
        class Mine(Failure):
            pass

        assert type(Mine.from_exception(ValueError())) is Mine
        assert type(Mine.from_exception(ValueError()).copy()) is Failure

    def test_an_exception_that_can_not_be_copied_is_shared(self):
        # Said by itself: some libraries make all exceptions copyable that there are when they are imported.
        class Single(ValueError):
            def __copy__(self):
                raise TypeError("there can be one only")

        fail = captured(Single("a"))
        assert fail.copy().exception is fail.exception
        assert fail.copy() == fail

    def test_errors_of_the_library_are_copied(self):
        fail = captured(exc.MissingDependencies("w", ["x"]))
        assert fail.copy().exception.missing_requirements == ["x"]
        assert fail.copy() == fail


class TestWithoutFrames:
    def test_only_text_is_left(self):
        fail = captured()
        text_only = fail.without_frames()
        assert text_only.exception is None
        assert text_only.exc_info is None
        assert text_only.matches(fail)
        assert text_only == lost(fail)
        assert text_only.without_frames() is text_only

    def test_the_frames_can_go(self):
        import gc
        import weakref

        class Big:
            pass

        def work():
            big = Big()
            refs.append(weakref.ref(big))
            raise ValueError("x")

        refs = []
        try:
            work()
        except ValueError:
            fail = Failure()
        assert refs[0]() is not None
        fail = fail.without_frames()
        gc.collect()
        assert refs[0]() is None
        assert "in work" in fail.traceback_str


class TestPickle:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_round_trip(self, protocol):
        fail = captured()
        data = pickle.dumps(fail, protocol)
        loaded = pickle.loads(data)
        assert loaded.exc_info[0] is RuntimeError
        assert loaded.exc_info[2] is None
        assert loaded.exception.args == ("Woot!", 1)
        assert loaded.exception_args == ("Woot!", 1)
        assert loaded.traceback_str == fail.traceback_str
        assert list(loaded) == list(fail)
        assert loaded == pickle.loads(data)
        assert loaded.matches(fail)
        assert fail.matches(loaded)
        with pytest.raises(RuntimeError, match="Woot!"):
            loaded.reraise()

    def test_a_lost_exception_stays_lost(self):
        fail = lost(captured())
        loaded = pickle.loads(pickle.dumps(fail))
        assert loaded.exc_info is None
        assert loaded == fail

    def test_missing_args(self):
        fail = Failure.__new__(Failure)
        fail.__setstate__({"exception_str": "x", "traceback_str": None, "exc_type_names": ["A"], "causes": []})
        assert fail.exception_args == ()
        assert list(fail) == ["A"]

    def test_an_exception_that_can_not_be_pickled(self):
        with pytest.raises(Exception, match="pickle"):
            pickle.dumps(captured(RuntimeError(lambda: 1)))

    def test_deep_copy(self):
        fail = captured()
        assert copy.deepcopy(fail).matches(fail)
        assert copy.deepcopy([lost(fail)]) == [lost(fail)]
