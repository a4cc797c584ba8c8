# SPDX-License-Identifier: Apache-2.0
"""Are the arguments of atoms bound to symbols by the rules?"""

import functools
import gc
import logging
import weakref

import pytest

from taskflow import atom, binding, retry, task
from taskflow.types import sets


class Three(task.Task):
    def execute(self, p, q, r):
        pass


class Optional(task.Task):
    def execute(self, p, q=()):
        pass


class Keywords(task.Task):
    def execute(self, p, **kwargs):
        pass


class Two(task.Task):
    def execute(self, a, b):
        pass


def identity(*names):
    return {name: name for name in names}


@pytest.mark.parametrize(
    ("cls", "given", "rebind", "requires", "optional"),
    [
        pytest.param(Three, {}, identity("p", "q", "r"), "pqr", "", id="inferred"),
        pytest.param(Three, {"requires": ("q", "r")}, identity("p", "q", "r"), "pqr", "", id="named-and-inferred"),
        pytest.param(
            Three,
            {"auto_extract": False, "requires": ["p", "q", "r"]},
            identity("p", "q", "r"),
            "pqr",
            "",
            id="all-named",
        ),
        pytest.param(Three, {"requires": "q"}, identity("p", "q", "r"), "pqr", "", id="one-text"),
        pytest.param(Three, {"requires": 0}, identity("p", "q", "r"), "pqr", "", id="falsy-number"),
        pytest.param(Optional, {}, identity("p", "q"), "p", "q", id="default-is-optional"),
        pytest.param(Optional, {"requires": ("p", "q")}, identity("p", "q"), "pq", "", id="required-by-name"),
        pytest.param(
            Optional, {"rebind": {"q": "sym"}}, {"p": "p", "q": "sym"}, ["p", "sym"], "", id="required-by-rebind"
        ),
        pytest.param(Optional, {"auto_extract": False, "requires": "p"}, identity("p"), "p", "", id="nothing-inferred"),
        pytest.param(
            Three, {"rebind": {"q": "a", "r": "b"}}, {"p": "p", "q": "a", "r": "b"}, "pab", "", id="dict-of-some"
        ),
        pytest.param(Three, {"rebind": ("a", "b")}, {"p": "a", "q": "b", "r": "r"}, "abr", "", id="shorter-tuple"),
        pytest.param(Three, {"rebind": ["a", "b", "c"]}, {"p": "a", "q": "b", "r": "c"}, "abc", "", id="list"),
        pytest.param(Three, {"rebind": []}, identity("p", "q", "r"), "pqr", "", id="empty-list"),
        pytest.param(Keywords, {"rebind": ("a", "b", "c")}, {"p": "a", "b": "b", "c": "c"}, "abc", "", id="surplus"),
        pytest.param(Keywords, {"rebind": {"zz": "sym"}}, {"p": "p", "zz": "sym"}, ["p", "sym"], "", id="any-keyword"),
        pytest.param(Keywords, {"requires": ["n"]}, identity("p", "n"), "pn", "", id="keyword-by-name"),
        pytest.param(Two, {"rebind": {"a": "q", "b": "q"}}, {"a": "q", "b": "q"}, "q", "", id="one-symbol-twice"),
        pytest.param(Two, {"inject": {"a": 1}}, identity("a", "b"), "b", "", id="injected"),
        pytest.param(
            Two, {"inject": {"x": 1}, "rebind": {"a": "x"}}, {"a": "x", "b": "b"}, "b", "", id="injected-symbol"
        ),
        pytest.param(
            Two, {"inject": {"a": 1}, "rebind": {"a": "x"}}, {"a": "x", "b": "b"}, "xb", "", id="injected-argument-name"
        ),
        pytest.param(Optional, {"inject": {"q": 1, "zz": 2}}, identity("p", "q"), "p", "", id="injected-optional"),
        pytest.param(Optional, {"inject": {}}, identity("p", "q"), "p", "q", id="nothing-injected"),
    ],
)
def test_execute_is_bound(cls, given, rebind, requires, optional):
    made = cls("t", **given)

    assert list(made.rebind.items()) == list(rebind.items())
    assert list(made.requires) == list(requires)
    assert list(made.optional) == list(optional)
    assert isinstance(made.requires, sets.OrderedSet)
    assert isinstance(made.optional, sets.OrderedSet)


@pytest.mark.parametrize(
    ("cls", "given", "error", "message"),
    [
        pytest.param(
            Three, {"auto_extract": False, "requires": "pq"[0]}, ValueError, "^Missing arguments", id="missing"
        ),
        pytest.param(Three, {"rebind": ("a", "b", "c", "d")}, ValueError, "^Extra arguments", id="surplus"),
        pytest.param(Three, {"rebind": {"zz": "sym"}}, ValueError, "^Extra arguments", id="no-such-parameter"),
        pytest.param(Three, {"requires": ["zz"]}, ValueError, "^Extra arguments", id="required-no-such-parameter"),
        pytest.param(
            Three,
            {"auto_extract": False, "requires": ["zz"]},
            ValueError,
            "^Extra arguments",
            id="extra-before-missing",
        ),
        pytest.param(Three, {"rebind": "abc"}, TypeError, "^Invalid rebind value", id="text"),
        pytest.param(Three, {"rebind": ""}, TypeError, "^Invalid rebind value", id="empty-text"),
        pytest.param(Three, {"rebind": {"a"}}, TypeError, "^Invalid rebind value", id="set"),
        pytest.param(Three, {"rebind": iter("ab")}, TypeError, "^Invalid rebind value", id="iterator"),
        pytest.param(Three, {"requires": 7}, TypeError, "iterable", id="requires-number"),
        pytest.param(Three, {"provides": 7, "rebind": "abc"}, TypeError, "^Atom provides", id="provides-first"),
    ],
)
def test_wrong_binding_is_refused(cls, given, error, message):
    with pytest.raises(error, match=message):
        cls("t", **given)


def test_injecting_something_without_keys_is_an_attribute_error():
    with pytest.raises(AttributeError):
        Two("t", inject=["a"])


def test_positional_arguments_do_not_take_extra_names():
    class Positional(task.Task):
        def execute(self, *args):
            pass

    with pytest.raises(ValueError, match="^Extra arguments"):
        Positional(requires=["x"])


def test_messages_name_the_atom_the_method_and_the_names():
    class Undo(task.Task):
        def execute(self, a):
            pass

        def revert(self, result):
            pass

    with pytest.raises(ValueError, match=r"^Extra arguments.*'resize'.*'a'.*revert\(\)"):
        Undo("resize", rebind={"a": "b"})
    with pytest.raises(ValueError, match=r"^Missing arguments.*'resize'.*'p', 'q'.*execute\(\)"):
        Three("resize", auto_extract=False, requires="r")


def test_given_dict_is_neither_changed_nor_kept():
    given = {"q": "sym"}

    made = Three(rebind=given)
    given["p"] = "other"
    made.rebind["r"] = "another"

    assert made.rebind == {"p": "p", "q": "sym", "r": "another"}
    assert given == {"q": "sym", "p": "other"}


def test_inferring_order_is_kept_when_a_dict_rebinds():
    made = Keywords(rebind={"z": "z2", "p": "p2", "a": "a2"})

    assert list(made.rebind.items()) == [("p", "p2"), ("z", "z2"), ("a", "a2")]


def test_surplus_symbol_that_undoes_a_rebind_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING, logger="taskflow.binding"):
        made = Keywords("t", rebind=("x", "p"))

    assert made.rebind == {"p": "p"}
    assert "'p'" in caplog.text


def test_all_kinds_of_parameters_count():
    class Kinds(task.Task):
        def execute(self, a, /, b, *args, c, d=1, **kwargs):
            pass

    made = Kinds()

    assert list(made.requires) == ["a", "b", "c"]
    assert list(made.optional) == ["d"]


class Wrapping(task.Task):
    def execute(self, p, q):
        pass

    @functools.wraps(execute)
    def revert(self, *args, **kwargs):
        pass


def test_signature_behind_wraps_is_followed():
    assert list(Wrapping().revert_rebind) == ["p", "q"]


def test_static_and_class_methods_can_execute():
    class Static(task.Task):
        @staticmethod
        def execute(a, b=1):
            pass

    class OfClass(task.Task):
        @classmethod
        def execute(cls, a, b=1):
            pass

    for made in (Static(), OfClass(), Static(), OfClass()):
        assert made.rebind == identity("a", "b")
        assert made.requires == {"a"}


def test_method_replaced_on_the_instance_or_class_is_read_anew():
    class Replaced(task.Task):
        def __init__(self, method=None):
            if method is not None:
                self.execute = method
            super().__init__()

        def execute(self, a):
            pass

    assert Replaced().requires == {"a"}
    assert Replaced(lambda z: None).requires == {"z"}
    assert Replaced().requires == {"a"}
    Replaced.execute = lambda self, other: None
    assert Replaced().requires == {"other"}


class TestRevert:
    def test_base_revert_takes_what_the_caller_gives_and_infers_nothing(self):
        assert Three().revert_rebind == {}
        assert Three(rebind={"p": "x"}).revert_rebind == {"p": "x"}
        assert Three(rebind=["x", "y"]).revert_rebind == identity("x", "y")
        assert Three(requires=["p"]).revert_rebind == identity("p")
        assert Three().revert_optional == set()

    def test_own_parameters_are_required_too(self):
        class Undo(task.Task):
            def execute(self, p, q):
                pass

            def revert(self, z, p, *args, y=None, **kwargs):
                pass

        made = Undo()

        assert list(made.requires) == ["p", "q", "z"]
        assert made.revert_rebind == identity("z", "p", "y")
        assert made.revert_optional == {"y"}
        assert made.optional == set()

    def test_result_and_failures_come_from_the_engine(self):
        class Undo(task.Task):
            def execute(self, p):
                pass

            def revert(self, result, flow_failures, p, **kwargs):
                pass

        assert Undo().revert_rebind == {"p": "p"}
        assert Undo().requires == {"p"}
        assert Undo(revert_requires=["result"]).requires == {"p", "result"}

    def test_execute_has_no_such_names(self):
        class Do(task.Task):
            def execute(self, result, flow_failures=None):
                pass

        assert Do().requires == {"result"}
        assert Do().optional == {"flow_failures"}

    @pytest.mark.parametrize(
        ("given", "rebind", "revert_rebind", "requires"),
        [
            ({"rebind": ("a",), "revert_rebind": ("b",)}, {"p": "a"}, {"z": "b"}, "ab"),
            ({"requires": "p", "revert_requires": "z"}, {"p": "p"}, {"z": "z"}, "pz"),
            ({"rebind": {"p": "a"}, "revert_rebind": {"z": "a"}}, {"p": "a"}, {"z": "a"}, "a"),
        ],
    )
    def test_it_can_be_bound_on_its_own(self, given, rebind, revert_rebind, requires):
        class Undo(task.Task):
            def execute(self, p):
                pass

            def revert(self, z, result, flow_failures):
                pass

        made = Undo(**given)

        assert (made.rebind, made.revert_rebind, list(made.requires)) == (rebind, revert_rebind, list(requires))

    def test_optional_arguments_of_both(self):
        class Undo(task.Task):
            def execute(self, p=None):
                pass

            def revert(self, result, flow_failures, z=None):
                pass

        assert Undo().optional == {"p"}
        assert Undo().revert_optional == {"z"}
        assert Undo().requires == set()

    @pytest.mark.parametrize("empty", [{}, [], ()])
    def test_empty_values_fall_back_to_those_of_execute(self, empty):
        made = Three(rebind={"p": "x"}, revert_rebind=empty, revert_requires=empty)

        assert made.revert_rebind == {"p": "x"}

    def test_generator_of_names_serves_both_methods(self):
        made = Keywords(requires=(name for name in ("n", "m")))

        assert list(made.requires) == ["p", "n", "m"]
        assert list(made.revert_rebind) == ["n", "m"]

    def test_execute_is_bound_before_revert(self):
        class Undo(task.Task):
            def execute(self, a):
                pass

            def revert(self, b):
                pass

        with pytest.raises(ValueError, match=r"^Extra arguments.*execute\(\)"):
            Undo(requires="zz")


class TestIgnoreList:
    class Plain(atom.Atom):
        def execute(self, a, b=1, **kwargs):
            pass

    def test_ignored_names_are_not_inferred(self):
        made = self.Plain(ignore_list=["a", "b"])

        assert made.rebind == {}
        assert made.requires == set()
        assert made.optional == set()

    def test_ignored_names_that_are_asked_for_are_bound(self):
        assert self.Plain(ignore_list=["a", "b"], requires=["a"]).rebind == {"a": "a"}
        assert self.Plain(ignore_list=["a", "b"], rebind={"b": "x"}).rebind == {"b": "x"}

    def test_positions_of_a_list_skip_ignored_names(self):
        class Pair(atom.Atom):
            def execute(self, a, b):
                pass

        assert Pair(ignore_list=["a"], rebind=["x"]).rebind == {"b": "x"}

    def test_task_leaves_out_only_what_has_a_default(self):
        assert Optional(ignore_list=["p", "q"]).rebind == {"p": "p"}
        assert Optional(ignore_list=["p", "q"]).optional == set()


class TestSharing:
    def test_each_atom_has_mappings_of_its_own(self):
        one, other = Three("one", provides="x"), Three("other", provides="x")

        one.rebind["p"] = "changed"
        one.save_as["y"] = 1

        assert one.rebind is one.rebind
        assert other.rebind == identity("p", "q", "r")
        assert other.save_as == {"x": None}
        assert Three().rebind == identity("p", "q", "r")

    def test_reading_only_sees_changes(self):
        made = Three(provides="x")
        assert atom.arguments_of(made) == identity("p", "q", "r")
        assert atom.outputs_of(made) == {"x": None}

        made.rebind["p"] = "changed"
        made.revert_rebind["z"] = "y"
        made.save_as["z"] = 3

        assert atom.arguments_of(made)["p"] == "changed"
        assert atom.arguments_of(made, revert=True) == {"z": "y"}
        assert atom.outputs_of(made) == {"x": None, "z": 3}

    def test_class_attributes_of_these_names_are_hidden_by_the_instance(self):
        class Odd(task.Task):
            rebind = {"wrong": "wrong"}
            requires = ("wrong",)
            save_as = None

            def execute(self, a):
                pass

        made = Odd(provides="x")

        assert made.rebind == {"a": "a"}
        assert made.requires == {"a"}
        assert made.save_as == {"x": None}

    def test_remembered_signatures_do_not_keep_classes_alive(self):
        def make():
            class Short(task.Task):
                def __init__(self):
                    super().__init__()

                def execute(self, a):
                    super().post_execute()

            Short()
            return weakref.ref(Short)

        gone = make()
        gc.collect()

        assert gone() is None

    def test_own_binding_method_is_used(self):
        class Own(task.Task):
            def execute(self, a):
                pass

            def _build_arg_mapping(self, executor, requires=None, rebind=None, auto_extract=True, ignore_list=None):
                found = super()._build_arg_mapping(executor, requires, rebind, auto_extract, ignore_list)
                return {**found[0], "more": "more"}, [*found[1], "more"], found[2]

        assert Own().rebind == {"a": "a", "more": "more"}
        assert Own().requires == {"a", "more"}


class TestSignatures:
    def test_callables_of_all_sorts(self):
        class Callable:
            def __call__(self, a, b=1):
                pass

            def method(self, a, *, b):
                pass

        assert binding.signature_of(Callable()) == (("a", "b"), ("a",), False)
        assert binding.signature_of(Callable().method) == (("a", "b"), ("a", "b"), False)
        assert binding.signature_of(Callable.method).all_args == ("self", "a", "b")
        assert binding.signature_of(functools.partial(lambda a, b, **kw: None, 1)) == (("b",), ("b",), True)
        assert binding.signature_of(len).all_args == ("obj",)

    def test_self_in_positional_arguments_is_no_parameter(self):
        class Positional:
            def method(*args, b):
                pass

        assert binding.signature_of(Positional().method) == (("b",), ("b",), False)

    def test_method_without_self_has_no_signature(self):
        class Wrong:
            def method():
                pass

        with pytest.raises(ValueError, match="signature"):
            binding.signature_of(Wrong().method)

    def test_same_function_bound_and_unbound(self):
        def function(a, b=2):
            pass

        class Holder:
            method = function

        assert binding.signature_of(function).all_args == ("a", "b")
        assert binding.signature_of(Holder().method).all_args == ("b",)
        assert binding.signature_of(function).all_args == ("a", "b")


def test_retry_leaves_history_to_the_engine():
    class Own(retry.Retry):
        def execute(self, history, a, b=1):
            pass

        def revert(self, history, result, flow_failures, c, **kwargs):
            pass

        def on_failure(self, history, never_looked_at):
            pass

    assert Own().rebind == identity("a", "b")
    assert Own().revert_rebind == identity("c")
    assert list(Own().requires) == ["a", "c"]
    assert Own().optional == {"b"}
    assert retry.Times(requires=["history"]).rebind == {"history": "history"}
