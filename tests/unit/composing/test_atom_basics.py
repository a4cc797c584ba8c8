# SPDX-License-Identifier: Apache-2.0
"""What does an atom show of itself?"""

import copy
import pickle
from collections import OrderedDict

import pytest

from taskflow import atom, task
from taskflow.types import sets


class Resize(task.Task):
    def execute(self, size=1):
        return size


class Bare(atom.Atom):
    def execute(self):
        pass


def test_execute_is_what_an_atom_must_have():
    class Nothing(atom.Atom):
        pass

    for cls in (atom.Atom, Nothing, task.Task):
        with pytest.raises(TypeError):
            cls()


def test_attributes_of_a_new_atom():
    injected = {"a": 1}
    made = Bare("n", inject=injected)

    assert made.name == "n"
    assert made.version == (1, 0)
    assert made.inject is injected
    assert Bare().inject is None
    assert Bare().name is None
    assert Bare.priority == 0
    assert Bare.default_provides is None
    for mapping in (made.rebind, made.revert_rebind, made.save_as):
        assert isinstance(mapping, OrderedDict)
        assert mapping == {}
    for names in (made.provides, made.requires, made.optional, made.revert_optional):
        assert isinstance(names, sets.OrderedSet)
        assert names == set()


def test_version_of_the_class_is_hidden():
    class Versioned(task.Task):
        version = (9, 9)

        def execute(self):
            pass

    assert Versioned().version == (1, 0)


@pytest.mark.parametrize("method", ["pre_execute", "post_execute", "pre_revert", "post_revert", "revert"])
def test_hooks_do_nothing_by_themselves(method):
    assert getattr(Bare(), method)() is None


def test_base_revert_takes_anything():
    assert Bare().revert(1, 2, a=3) is None


@pytest.mark.parametrize(
    ("version", "text"),
    [((1, 0), "1.0"), ([2, 3, 4], "2.3.4"), ("x", "x"), (None, "None"), (7, "7"), ((), "")],
)
def test_texts_of_an_atom(version, text):
    made = Resize("resize")
    made.version = version

    assert str(made) == f'"resize=={text}"'
    assert repr(made) == f'<{__name__}.Resize "resize=={text}">'


def test_text_of_an_unnamed_atom():
    assert str(Bare()) == '"None==1.0"'


def test_atoms_are_equal_to_themselves_only():
    one, other = Resize("same"), Resize("same")

    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("provides", "save_as"),
    [
        (None, []),
        ("x", [("x", None)]),
        ("", [("", None)]),
        (["a", "b"], [("a", 0), ("b", 1)]),
        (("x",), [("x", 0)]),
        (("a", "b", "a"), [("a", 2), ("b", 1)]),
        (range(2), [(0, 0), (1, 1)]),
        (b"ab", [(97, 0), (98, 1)]),
        ({"x"}, [("x", "x")]),
        (frozenset(["x"]), [("x", "x")]),
        ({"a": 1, "b": 2}.keys(), [("a", "a"), ("b", "b")]),
        (sets.OrderedSet("ba"), [("b", "b"), ("a", "a")]),
        ([], []),
        (set(), []),
    ],
)
def test_provides_becomes_save_as(provides, save_as):
    made = Resize(provides=provides)

    assert list(made.save_as.items()) == save_as
    assert list(made.provides) == [symbol for symbol, _ in save_as]


@pytest.mark.parametrize("provides", [{"a": 1}, iter("ab"), 3, object(), 0, False])
def test_other_provides_are_refused(provides):
    with pytest.raises(TypeError, match="^Atom provides"):
        Resize(provides=provides)


def test_default_provides():
    class Usual(task.Task):
        default_provides = ("a", "b")

        def execute(self):
            pass

    class OnInstance(task.Task):
        def __init__(self):
            self.default_provides = "own"
            super().__init__()

        def execute(self):
            pass

    assert Usual().save_as == {"a": 0, "b": 1}
    assert Usual(provides="x").save_as == {"x": None}
    assert Usual(provides=[]).save_as == {}
    assert OnInstance().save_as == {"own": None}


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_atoms_can_be_pickled(protocol, read_before):
    made = Resize("resize", provides=("a", "b"), rebind={"size": "s"})
    if read_before:
        made.save_as["c"] = 2
        made.rebind["more"] = "m"

    again = pickle.loads(pickle.dumps(made, protocol))

    assert again.name == "resize"
    assert again.save_as == made.save_as
    assert again.rebind == made.rebind
    assert again.revert_rebind == made.revert_rebind
    assert again.requires == made.requires
    assert again.provides == made.provides


def test_atoms_can_be_copied_deeply():
    made = Resize("resize", provides="x", inject={"size": [1]})

    again = copy.deepcopy(made)
    again.rebind["size"] = "other"
    again.inject["size"].append(2)

    assert made.rebind == {"size": "size"}
    assert made.inject == {"size": [1]}
    assert again.save_as == {"x": None}


@pytest.mark.parametrize("name", ["", 7, ("a", 1), "x"])
def test_given_names_are_kept(name):
    assert Resize(name).name == name


def test_name_of_a_task_is_that_of_its_class():
    class Local(task.Task):
        def execute(self):
            pass

    assert Resize().name == f"{__name__}.Resize"
    assert Local().name == f"{__name__}.Local"
