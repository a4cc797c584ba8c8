# SPDX-License-Identifier: Apache-2.0
"""Which flows do both libraries run, in turns?"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

import stage

from taskflow import deciders, retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

# Every kind of value that JSON knows.
KINDS: dict[Any, Any] = {
    "text": 'zwölf \U0001f600 \x00 \x7f " \\ \u2028',
    "numbers": [0, -1, 2**70, 0.1, -0.0, 1e300, 5e-324],
    "truths": [True, False, None],
    "nested": {"list": [[], [{}], [[["deep"]]]], "": "empty name"},
    "pair": (1, ("two", None)),
    "schlüssel": "é",
    7: "a number as name",
    "long": "x" * 5000,
}
# And what the encoder makes of others.
CODED: dict[Any, Any] = {
    "moment": dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC),
    "day": dt.date(2026, 1, 2),
    "bytes": "bytes é".encode(),
    "id": uuid.UUID(int=7),
    "decimal": decimal.Decimal("1.50"),
    "set": {5},
    "range": range(3),
}


class Odd(Exception):
    """An exception whose arguments only the encoder can write down."""


class Step(task.Task):
    """Writes down what it was given, reports progress, and returns something or fails.

    Args:
        returns: what execute returns, or a function of what it is given that returns that.
        fails: whether execute fails, or a function of what it is given that says so.
        undoing_fails: whether revert fails.
        raises: what it fails with.
        version: of the task.
    """

    def __init__(
        self,
        name: str,
        returns: Any = None,
        fails: Any = False,
        undoing_fails: bool = False,
        raises: Any = None,
        version: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        if version is not None:
            self.version = version
        self._returns = returns
        self._fails = fails
        self._undoing_fails = undoing_fails
        self._raises = raises

    def _act(self, given: dict[str, Any]) -> Any:
        stage.point("execute", self.name, given)
        self.update_progress(0.25)
        self.notifier.notify(task.EVENT_UPDATE_PROGRESS, {"progress": 0.5, "step": "zwölf", "of": [1, {"n": None}]})
        stage.point("executing", self.name)
        if self._fails(given) if callable(self._fails) else self._fails:
            if self._raises is not None:
                self._raises()
            raise ValueError(f"{self.name} fails ü", [1, "two"])
        return self._returns(given) if callable(self._returns) else self._returns

    def execute(self, **given: Any) -> Any:
        """Does it."""
        return self._act(given)

    def revert(self, result: Any, flow_failures: Any, **given: Any) -> Any:
        """Undoes it."""
        stage.point("revert", self.name, given, result, dict(flow_failures))
        self.update_progress(0.75)
        stage.point("reverting", self.name)
        if self._undoing_fails:
            raise LookupError(f"{self.name} can not be undone")
        return {"undone": self.name, "was": None if self._raises else [1.5, "ü"]}


class Taker(Step):
    """Is given values in every way there is."""

    def execute(self, alone: Any, other_name: Any, own: Any, store: Any, maybe: Any = "default", **more: Any) -> Any:
        """Passes on what it got."""
        return self._act({"alone": alone, "other": other_name, "own": own, "store": store, "maybe": maybe, **more})


def _history(history: Any) -> Any:
    return {"attempts": [(result, dict(failures)) for result, failures in history], "failure": history.failure}


class Times(retry.Times):
    """A number of attempts; writes down which history it sees."""

    def execute(self, history: Any) -> Any:
        """Chooses what the attempt is given."""
        stage.point("choose", self.name, _history(history))
        return super().execute(history)

    def on_failure(self, history: Any) -> Any:
        """Decides."""
        stage.point("decide", self.name, _history(history))
        return super().on_failure(history)

    def revert(self, history: Any, flow_failures: Any) -> Any:
        """Is undone."""
        stage.point("give up", self.name, _history(history))
        return {"given up": len(history)}


class ForEach(retry.ForEach):
    """One attempt for each value; writes down which history it sees."""

    def execute(self, history: Any) -> Any:
        """Chooses what the attempt is given."""
        stage.point("choose", self.name, _history(history))
        return super().execute(history)

    def on_failure(self, history: Any) -> Any:
        """Decides."""
        stage.point("decide", self.name, _history(history))
        return super().on_failure(history)

    def revert(self, history: Any, flow_failures: Any) -> Any:
        """Is undone."""
        stage.point("give up", self.name, _history(history))
        return {"given up": len(history)}


class ParameterizedForEach(retry.ParameterizedForEach):
    """One attempt for each value that it is given; writes down which history it sees."""

    def execute(self, values: Any, history: Any) -> Any:
        """Chooses what the attempt is given."""
        stage.point("choose", self.name, values, _history(history))
        return super().execute(values, history)

    def on_failure(self, values: Any, history: Any) -> Any:
        """Decides."""
        stage.point("decide", self.name, values, _history(history))
        return super().on_failure(values, history)

    def revert(self, history: Any, values: Any, flow_failures: Any) -> Any:
        """Is undone."""
        stage.point("give up", self.name, values, _history(history))
        return {"given up": len(history)}


def values(coded: bool) -> Any:
    """Values of all kinds, on all ways from one task to others."""
    return linear_flow.Flow("values ü").add(
        Step("tuple", (1, "zwei é", [3, {"k": None}]), provides=("first", "second", "third")),
        Step("named", {"left": 1, "right": [None], "more": 0}, provides={"left", "right"}),
        Step("alone", ("a", ("b",)), provides="alone", version=(1, 20)),
        Step("kinds", CODED if coded else KINDS, provides="kinds"),
        Step("nothing", None, provides="nothing"),
        Taker(
            "taker",
            lambda given: sorted(given),
            rebind={"other_name": "second"},
            requires=["kinds", "left", "right", "first", "third", "nothing"],
            inject={"own": [1, "é", {"x": None}]},
            provides="taken",
        ),
        Step("last", lambda given: given["taken"], requires=["taken", "store"], version="2.7"),
    )


def tries() -> Any:
    """Retries of three kinds, one within another, whose choices decide what is tried."""
    inner = linear_flow.Flow("inner", ForEach([["é", 1], "b", {"c": None}], "each", provides="element"))
    inner.add(
        Step("tried", lambda given: given, lambda given: given["element"] != "b", requires=["attempt", "element"]),
        Step("checked", "fine", lambda given: given["attempt"] < 2, requires=["attempt"]),
    )
    param = linear_flow.Flow("param", ParameterizedForEach("param", rebind={"values": "store"}, provides="choice"))
    param.add(Step("chosen", lambda given: given, lambda given: given["choice"] != 5, requires=["choice"]))
    outer = linear_flow.Flow("outer", Times(3, "times", provides="attempt"))
    return linear_flow.Flow("tries").add(
        Step("start", "started"), outer.add(Step("before", 1), inner), param, Step("end", "ended")
    )


def _decide(name: str, answer: bool) -> Any:
    def decider(history: Any) -> bool:
        stage.point("consider", name, history)
        return answer

    return decider


def decides() -> Any:
    """Deciders that pass over parts of different size."""
    part = graph_flow.Flow("part")
    atoms = {name: Step(name, f"result of {name}", provides=f"of {name}") for name in "abcdefgh"}
    part.add(*atoms.values())
    part.link(atoms["a"], atoms["b"], decider=_decide("b", False), decider_depth=deciders.Depth.FLOW)
    part.link(atoms["b"], atoms["c"])
    part.link(atoms["a"], atoms["d"], decider=_decide("d", True))
    part.link(atoms["d"], atoms["e"], decider=_decide("e", False), decider_depth=deciders.Depth.ATOM)
    part.link(atoms["e"], atoms["f"])
    part.link(atoms["f"], atoms["g"], decider=_decide("g", False), decider_depth=deciders.Depth.NEIGHBORS)
    part.link(atoms["f"], atoms["h"])
    whole = graph_flow.Flow("decides")
    rest = linear_flow.Flow("rest").add(Step("x", "x"), Step("y", "y"))
    after = Step("after", "after")
    whole.add(part, after, rest)
    whole.link(part, after)
    whole.link(after, rest, decider=_decide("rest", False), decider_depth=deciders.Depth.ALL)
    return whole


def _raise_odd() -> None:
    try:
        try:
            raise KeyError("the first", None)
        except KeyError as e:
            raise OSError(2, "no such thing ü") from e
    except OSError as e:
        raise RuntimeError("outermost", {"k": [1, None]}) from e


def _raise_coded() -> None:
    raise Odd(CODED["moment"], {5})


def _raise_uncoded() -> None:
    raise Odd("before", object(), "after")


RAISES = {"causes": _raise_odd, "coded": _raise_coded, "uncoded": _raise_uncoded}


def undoes(raises: str, stuck: bool) -> Any:
    """A failure at the end, after which all that its retry governs is undone."""
    inner = linear_flow.Flow("tried", Times(2, "twice", provides="attempt"))
    inner.add(Step("two", [2], undoing_fails=stuck), Step("three", fails=True, raises=RAISES[raises]))
    return linear_flow.Flow("undoes").add(Step("one", ("one", 1)), inner, Step("never"))


def crowd(fails: bool) -> Any:
    """Tasks that need nothing of each other, and one that needs them all."""
    names = [f"c{number}" for number in range(5)]
    return linear_flow.Flow("crowd").add(
        unordered_flow.Flow("all").add(*(Step(name, [name], provides=f"of {name}") for name in names)),
        Step("sum", lambda given: sorted(given), fails, requires=[f"of {name}" for name in names], provides="sum"),
    )
