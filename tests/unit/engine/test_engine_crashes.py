# SPDX-License-Identifier: Apache-2.0
"""Does a flow that was cut off at any event come to the same end in another engine?"""

from __future__ import annotations

import contextlib

import pytest

from taskflow import retry, task
from taskflow.persistence import backends
from taskflow.utils import persistence_utils


class Cut(BaseException):
    """Ends a run as the end of its process would: nothing is caught, saved or told any more."""


class World:
    """What tasks did to the world outside: it survives the cuts."""

    def __init__(self):
        self.log = []


class Act(task.Task):
    def __init__(self, name, world, fails=0, **kwargs):
        super().__init__(name=name, **kwargs)
        self.world = world
        self.fails = fails

    def execute(self, **kwargs):
        self.world.log.append(f"+{self.name}")
        if self.world.log.count(f"+{self.name}") <= self.fails:
            raise RuntimeError(self.name)
        return f"{self.name} result"

    def revert(self, result, flow_failures, **kwargs):
        self.world.log.append(f"-{self.name}")


def success(k, world):
    inner = k.unordered("u", Act("b", world, provides="y"), Act("c", world, requires=["x"]))
    return k.linear("f", Act("a", world, provides="x"), inner, Act("d", world, requires=["x", "y"]))


def reverted(k, world):
    inner = k.linear("g", Act("b", world), Act("F", world, fails=99))
    return k.linear("f", Act("a", world, provides="x"), inner)


def ignored(k, world):
    flow = k.graph("f", Act("a", world, provides="x"), Act("b", world), Act("c", world))
    a, b, c = flow
    return flow.link(a, b, decider=lambda history: False, decider_depth="ATOM").link(b, c)


FLOWS = {
    # flow: (values at the end, state, states of atoms)
    "success": (
        success,
        {"x": "a result", "y": "b result"},
        "SUCCESS",
        dict.fromkeys("abcd", "SUCCESS"),
    ),
    "reverted": (reverted, {}, "REVERTED", dict.fromkeys("abF", "REVERTED")),
    "ignored": (
        ignored,
        {"x": "a result"},
        "SUCCESS",
        {"a": "SUCCESS", "b": "IGNORE", "c": "SUCCESS"},
    ),
    "retried": (
        lambda k, world: k.linear(
            "f",
            Act("a", world, provides="x"),
            k.linear(
                "g",
                Act("b", world, provides="y"),
                Act("F", world, fails=1),
                retry=retry.Times(5, "r"),
            ),
        ),
        {"x": "a result", "y": "b result"},
        "SUCCESS",
        dict.fromkeys("abFr", "SUCCESS"),
    ),
}


def run_with_a_cut(kit, make, at):
    """Run a flow in one engine up to its event ``at``, and to the end in another one that reads the backend."""
    with contextlib.closing(backends.fetch({"connection": "memory"})) as backend:
        world = World()
        _, detail = persistence_utils.temporary_flow_detail(backend)
        uuid = detail.uuid
        first = kit.load(make(kit, world), flow_detail=detail, backend=backend)
        told = []

        def cut(state, details):
            told.append(state)
            if len(told) == at + 1:
                raise Cut

        first.engine.notifier.register("*", cut)
        first.engine.atom_notifier.register("*", cut)
        was_cut = False
        try:
            first.run()
        except Cut:
            was_cut = True
        before = list(first.events)
        with contextlib.closing(backend.get_connection()) as connection:
            stored = connection.get_flow_details(uuid)
        second = kit.load(make(kit, world), flow_detail=stored, backend=backend)
        if was_cut:
            second.run()
        return was_cut, world.log, before, second


@pytest.mark.parametrize("name", FLOWS)
def test_cut_off_at_every_event(kit, name):
    make, values, state, atoms = FLOWS[name]
    for at in range(100):
        was_cut, log, before, second = run_with_a_cut(kit, make, at)
        if not was_cut:
            break
        if before[-1].endswith(f".f {state}"):
            continue  # the end was reached and stored: the other engine starts a run of its own
        assert second.state == state, before
        assert {atom: second.engine.storage.get_atom_state(atom) for atom in atoms} == atoms, before
        found = second.engine.storage.fetch_all()
        assert {key: value for key, value in found.items() if key in {"x", "y"}} == values, before
        finished = [event.split(".")[0] for event in before if "t SUCCESS" in event]
        if name in {"success", "ignored"}:
            assert [log.count(f"+{atom}") for atom in finished] == [1] * len(finished), before
    else:
        raise AssertionError("it never came to its end")
    assert at > 3
