# SPDX-License-Identifier: Apache-2.0
"""Do the errors have their hierarchy, attributes and texts, and do they survive copying?"""

import copy
import os
import pickle

import pytest

from taskflow import exceptions as exc
from taskflow.types import failure

NL = os.linesep

PARENTS = {
    "TaskFlowException": Exception,
    "StorageFailure": exc.TaskFlowException,
    "ConductorFailure": exc.TaskFlowException,
    "JobFailure": exc.TaskFlowException,
    "UnclaimableJob": exc.JobFailure,
    "ExecutionFailure": exc.TaskFlowException,
    "RequestTimeout": exc.ExecutionFailure,
    "InvalidState": exc.ExecutionFailure,
    "DependencyFailure": exc.TaskFlowException,
    "AmbiguousDependency": exc.DependencyFailure,
    "MissingDependencies": exc.DependencyFailure,
    "CompilationFailure": exc.TaskFlowException,
    "IncompatibleVersion": exc.TaskFlowException,
    "Duplicate": exc.TaskFlowException,
    "NotFound": exc.TaskFlowException,
    "Empty": exc.TaskFlowException,
    "MultipleChoices": exc.TaskFlowException,
    "InvalidFormat": exc.TaskFlowException,
    "DisallowedAccess": exc.TaskFlowException,
    "NotImplementedError": NotImplementedError,
    "WrappedFailure": Exception,
}
PLAIN = [n for n in PARENTS if n not in ("MissingDependencies", "NotImplementedError", "WrappedFailure")]


@pytest.mark.parametrize(("name", "parent"), PARENTS.items())
def test_hierarchy(name, parent):
    cls = getattr(exc, name)
    assert cls.__bases__ == (parent,)
    assert cls.__module__ == "taskflow.exceptions"
    assert cls.__name__ == name


@pytest.mark.parametrize("name", PLAIN)
def test_message_and_cause(name):
    cls = getattr(exc, name)
    assert cls("m").cause is None
    e = cls("m", 5)
    assert e.args == ("m",)
    assert e.cause == 5
    assert repr(e) == f"{name}('m')"
    with pytest.raises(TypeError):
        cls()
    with pytest.raises(AttributeError):
        e.cause = None
    e._cause = "other"
    assert e.cause == "other"


def test_disallowed_access_has_a_state():
    assert exc.DisallowedAccess("m").state is None
    e = exc.DisallowedAccess("m", cause=None, state="PENDING")
    assert e.state == "PENDING"
    e.state = "RUNNING"
    assert e.state == "RUNNING"


def test_not_implemented_error_is_no_error_of_the_hierarchy():
    assert not issubclass(exc.NotImplementedError, exc.TaskFlowException)
    assert exc.NotImplementedError("a", "b").args == ("a", "b")


def test_missing_dependencies_names_who_and_what():
    wanted = {"x"}
    cause = ValueError("v")
    e = exc.MissingDependencies("the flow", wanted, cause=cause)
    assert e.missing_requirements is wanted
    assert e.cause is cause
    assert len(e.args) == 1
    assert "'the flow'" in e.args[0]
    assert "{'x'}" in e.args[0]
    assert "\n" not in e.args[0]


def test_missing_dependencies_names_the_method_first():
    text = exc.MissingDependencies("w", ["x"], method="execute").args[0]
    assert text.index("'execute'") < text.index("'w'")
    assert exc.MissingDependencies("w", ["x"], method="").args == exc.MissingDependencies("w", ["x"]).args


def test_missing_dependencies_templates_can_be_overridden():
    class Mine(exc.MissingDependencies):
        MESSAGE_TPL = "%(who)s lacks %(requirements)s"
        METHOD_TPL = "%(method)s of "

    assert str(Mine("w", "r", method="m")) == "m of w lacks r"


def test_a_plain_from_clause_does_not_set_the_cause():
    with pytest.raises(exc.NotFound) as caught:
        raise exc.NotFound("m") from ValueError("v")
    assert caught.value.cause is None


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (exc.NotFound("a"), ["a"]),
        (exc.TaskFlowException("a", exc.NotFound("b", ValueError("d"))), ["a", "  NotFound: b", "    ValueError: d"]),
        (exc.TaskFlowException("a", OSError("dead")), ["a", "  OSError: dead"]),
        (exc.TaskFlowException("a", exc.Empty("")), ["a", "  Empty: "]),
        (
            exc.TaskFlowException("a", exc.NotFound("b", exc.Empty("c", exc.Duplicate("d")))),
            ["a", "  NotFound: b", "    Empty: c", "      Duplicate: d"],
        ),
        (exc.TaskFlowException("a", KeyboardInterrupt()), ["a", "  KeyboardInterrupt"]),
        (exc.TaskFlowException("a", "no exception"), ["a", "  no exception"]),
        (exc.TaskFlowException(17), ["17"]),
        (exc.TaskFlowException("a", exc.NotFound(None)), ["a", "  NotFound: None"]),
    ],
)
def test_text_shows_the_causes(error, lines):
    assert str(error) == error.pformat() == NL.join(lines)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"show_root_class": True}, ["TaskFlowException: a", "  NotFound: b", "    ValueError: d"]),
        ({"indent": 0}, ["a", "NotFound: b", "ValueError: d"]),
        ({"indent": 1, "indent_text": ">"}, ["a", ">NotFound: b", ">>ValueError: d"]),
        ({"indent": 4}, ["a", "    NotFound: b", "        ValueError: d"]),
    ],
)
def test_formatting_options(options, lines):
    error = exc.TaskFlowException("a", exc.NotFound("b", ValueError("d")))
    assert error.pformat(**options) == NL.join(lines)


def test_a_negative_indentation_is_an_error():
    with pytest.raises(ValueError, match="-1"):
        exc.NotFound("a").pformat(indent=-1)


def test_notes_of_a_cause_are_lines_of_the_same_indentation():
    cause = ValueError("v")
    cause.add_note("first")
    cause.add_note("second")
    assert str(exc.NotFound("a", cause)) == NL.join(["a", "  ValueError: v", "  first", "  second"])


def test_a_syntax_error_as_cause_has_several_lines():
    with pytest.raises(SyntaxError) as caught:
        compile("a b", "some.py", "exec")
    lines = str(exc.NotFound("a", caught.value)).split(NL)
    assert len(lines) >= 4
    assert all(line.startswith("  ") and not line.endswith("\n") for line in lines[1:])


def test_the_walk_stops_at_the_first_foreign_cause():
    inner = ValueError("v")
    inner.cause = exc.NotFound("never shown")
    inner.__cause__ = exc.NotFound("not either")
    assert str(exc.NotFound("a", inner)) == NL.join(["a", "  ValueError: v"])


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_cycles_end_and_name_each_member_once(length):
    ring = [exc.NotFound(f"m{i}") for i in range(length)]
    for i, e in enumerate(ring):
        e._cause = ring[(i + 1) % length]
    lines = str(ring[0]).split(NL)
    assert [line.split()[-1] for line in lines] == [f"m{i}" for i in range(length)]


def test_causes_are_told_apart_by_identity():
    class Equal(exc.NotFound):
        def __eq__(self, other):
            return True

        __hash__ = None

    assert len(str(Equal("a", Equal("b", Equal("c")))).split(NL)) == 3


class Unprintable:
    def __str__(self):
        raise RuntimeError("never mind")


def test_text_never_raises():
    assert str(exc.NotFound(Unprintable(), Unprintable())) == NL.join(
        ["<unprintable Unprintable object>", "  <unprintable Unprintable object>"]
    )
    e = exc.NotFound("m")
    e.args = ()
    assert str(e) == ""


class TestRaiseWithCause:
    @pytest.mark.parametrize("cls", [ValueError, exc.WrappedFailure, exc.NotImplementedError])
    def test_only_own_errors(self, cls):
        with pytest.raises(ValueError, match=cls.__name__):
            exc.raise_with_cause(cls, "m")

    def test_a_class_is_needed(self):
        with pytest.raises(TypeError):
            exc.raise_with_cause(5, "m")

    def test_what_is_being_handled_is_the_cause(self):
        handled = ValueError("v")
        with pytest.raises(exc.NotFound) as caught:
            try:
                raise handled
            except ValueError:
                exc.raise_with_cause(exc.NotFound, "m")
        assert caught.value.args == ("m",)
        assert caught.value.cause is caught.value.__cause__ is handled
        assert caught.value.__suppress_context__

    def test_nothing_is_being_handled(self):
        class Strict(exc.NotFound):
            def __init__(self, message):
                super().__init__(message)

        with pytest.raises(Strict) as caught:
            exc.raise_with_cause(Strict, "m")
        assert caught.value.cause is None
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_a_given_cause_has_precedence(self):
        given = KeyError("k")
        with pytest.raises(exc.NotFound) as caught:
            try:
                raise ValueError("v")
            except ValueError:
                exc.raise_with_cause(exc.NotFound, "m", cause=given)
        assert caught.value.cause is caught.value.__cause__ is given

    def test_a_given_none_is_no_cause(self):
        with pytest.raises(exc.NotFound) as caught:
            try:
                raise ValueError("v")
            except ValueError:
                exc.raise_with_cause(exc.NotFound, "m", cause=None)
        assert caught.value.cause is None
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_further_arguments_go_to_the_constructor(self):
        with pytest.raises(exc.DisallowedAccess) as caught:
            exc.raise_with_cause(exc.DisallowedAccess, "m", None, state="PENDING")
        assert caught.value.state == "PENDING"

    def test_a_cause_can_not_be_given_twice(self):
        try:
            raise ValueError("v")
        except ValueError:
            with pytest.raises(TypeError):
                exc.raise_with_cause(exc.NotFound, "m", KeyError("k"))


def fail(error):
    return failure.Failure.from_exception(error)


class TestWrappedFailure:
    def test_keeps_the_failures_in_order(self):
        failures = [fail(ValueError("a")), fail(KeyError("b"))]
        wrapped = exc.WrappedFailure(iter(failures))
        assert list(wrapped) == failures
        assert len(wrapped) == 2
        assert wrapped.args == ()

    def test_needs_an_iterable(self):
        with pytest.raises(TypeError):
            exc.WrappedFailure(5)

    def test_is_flattened(self):
        a, b, c, d = (fail(ValueError(x)) for x in "abcd")
        inner = fail(exc.WrappedFailure([b, fail(exc.WrappedFailure([c]))]))
        wrapped = exc.WrappedFailure([a, inner, d])
        assert all(x is y for x, y in zip(wrapped, [a, b, c, d], strict=True))

    def test_an_empty_one_inside_is_kept(self):
        empty = fail(exc.WrappedFailure([]))
        assert list(exc.WrappedFailure([empty])) == [empty]

    def test_one_without_exception_is_kept(self):
        lost = failure.Failure.from_dict(fail(exc.WrappedFailure([fail(ValueError("x"))])).to_dict())
        (kept,) = exc.WrappedFailure([lost])
        assert kept is lost

    def test_subclasses_flatten_their_own_kind_only(self):
        class Mine(exc.WrappedFailure):
            pass

        a = fail(ValueError("a"))
        plain, mine = fail(exc.WrappedFailure([a])), fail(Mine([a]))
        kept = list(Mine([plain, mine]))
        assert kept[0] is plain
        assert kept[1] is a
        assert len(list(exc.WrappedFailure([plain, mine]))) == 2

    def test_check_goes_by_the_order_of_the_failures(self):
        wrapped = exc.WrappedFailure([fail(ValueError("a")), fail(KeyError("b"))])
        assert wrapped.check() is None
        assert wrapped.check(KeyError, ValueError) is ValueError
        assert wrapped.check(KeyError) is KeyError
        assert wrapped.check(OSError) is None
        assert wrapped.check("KeyError") == "KeyError"

    def test_text(self):
        assert str(exc.WrappedFailure([])) == "WrappedFailure: []"
        wrapped = exc.WrappedFailure([fail(ValueError("ä☃")), fail(KeyError("b"))])
        assert str(wrapped) == "WrappedFailure: [Failure: ValueError: ä☃, Failure: KeyError: 'b']"


class Odd(exc.TaskFlowException):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.second = second


ERRORS = [
    exc.NotFound("m", cause=ValueError("v")),
    exc.DisallowedAccess("m", state="PENDING"),
    exc.MissingDependencies("w", ["x", "y"], cause=ValueError("v"), method="execute"),
    exc.WrappedFailure([fail(ValueError("a")), fail(exc.MissingDependencies("w", ["x"]))]),
    exc.NotImplementedError("a"),
    Odd("a", "b"),
]


def assert_same_error(duplicate, error):
    assert type(duplicate) is type(error)
    assert duplicate is not error
    assert str(duplicate) == str(error)
    assert duplicate.args == error.args
    assert vars(duplicate).keys() == vars(error).keys()
    for name in ("missing_requirements", "state", "second"):
        assert getattr(duplicate, name, None) == getattr(error, name, None)
    assert repr(getattr(duplicate, "cause", None)) == repr(getattr(error, "cause", None))


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_can_be_pickled(error, protocol):
    assert_same_error(pickle.loads(pickle.dumps(error, protocol)), error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_errors_can_be_copied(error, duplicate):
    assert_same_error(duplicate(error), error)
