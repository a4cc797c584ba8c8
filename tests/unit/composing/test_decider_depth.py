# SPDX-License-Identifier: Apache-2.0
"""How are depths of deciders written and compared?"""

import enum

import pytest

from taskflow import deciders
from taskflow.deciders import Depth


def test_members_from_the_widest():
    assert issubclass(Depth, enum.StrEnum)
    assert [(d.name, d.value) for d in Depth] == [(n, n) for n in ("ALL", "FLOW", "NEIGHBORS", "ATOM")]


@pytest.mark.parametrize(
    ("given", "depth"),
    [
        (Depth.FLOW, Depth.FLOW),
        ("all", Depth.ALL),
        ("Flow", Depth.FLOW),
        ("NEIGHBORS", Depth.NEIGHBORS),
        ("aTom", Depth.ATOM),
    ],
)
def test_translation(given, depth):
    assert Depth.translate(given) is depth


@pytest.mark.parametrize("given", ["", " all", "nobody", "depth.all"])
def test_unknown_texts(given):
    with pytest.raises(ValueError, match="ALL, FLOW, NEIGHBORS, ATOM"):
        Depth.translate(given)


@pytest.mark.parametrize("given", [None, False, True, 0, 1.5, object(), b"ALL", ["ALL"]])
def test_what_is_no_text(given):
    with pytest.raises(TypeError):
        Depth.translate(given)


@pytest.mark.parametrize(
    ("given", "widest"),
    [
        ([Depth.ATOM], Depth.ATOM),
        ([Depth.ATOM, Depth.NEIGHBORS], Depth.NEIGHBORS),
        (["FLOW", Depth.NEIGHBORS, "ATOM"], Depth.FLOW),
        (iter([Depth.FLOW, Depth.ALL]), Depth.ALL),
    ],
)
def test_the_widest(given, widest):
    assert deciders.pick_widest(given) is widest


@pytest.mark.parametrize("given", [[], iter(()), ["all"], [Depth.ALL, "other"], [None]])
def test_no_widest(given):
    with pytest.raises(ValueError, match=r"."):
        deciders.pick_widest(given)
