# SPDX-License-Identifier: Apache-2.0
"""Does one library go on with what the other one left, wherever that stopped, as with records of its own?"""

from __future__ import annotations

import itertools
import json

import pytest

# Each runs a flow to its end in its own way: which flow, and how it is made.
FLOWS = {
    "values": ("values", {"coded": False}),
    "tries": ("tries", {"gives_up": False}),
    "gives up": ("tries", {"gives_up": True}),
    "decides": ("decides", {}),
    "undoes": ("undoes", {"raises": "causes", "stuck": False}),
    "can not be undone": ("undoes", {"raises": "causes", "stuck": True}),
}
WRITERS = {"ours": "theirs", "theirs": "ours"}
HOWS = ("kill", "suspend")
# How many points of each flow are stopped at, for one kind of backend; the others take points in between.
SHARE = 4


def without_ids(seen):
    """What was looked at, without what differs between any two runs."""
    if isinstance(seen, dict):
        return {key: without_ids(value) for key, value in seen.items() if key not in ("uuid", "created", "lazily")}
    if isinstance(seen, list):
        return [without_ids(value) for value in seen]
    return seen


def without_old_failures(lines):
    """What was written down, without failures of earlier attempts that 6.5 hands to those that are undone later."""
    return [line[:4] if line[0] == "revert" else line for line in lines]


class Runs:
    """Runs flows in two legs, those within files only once each."""

    def __init__(self, libraries, places):
        self.libraries = libraries
        self._places = places
        self._known = {}

    def whole(self, library, flow):
        """A run without a stop, in a folder."""
        return self._remembered(library, flow, None, "", library)

    def pure(self, library, flow, stop, how):
        """A run in which a library goes on with what it left itself, in a folder."""
        return self._remembered(library, flow, stop, how, library)

    def _remembered(self, *key):
        if key not in self._known:
            self._known[key] = self.run(self._places.new(), *key)
        return self._known[key]

    def run(self, place, writer, flow, stop, how, reader):
        """A run in which a library begins, is stopped at a point, and a library goes on."""
        name, given = FLOWS[flow]
        first = place.leg(self.libraries[writer], "start", flow=name, given=given, stop_at=stop, how=how)
        left = {name: place.look(library) for name, library in self.libraries.items()}
        written = place.last
        if stop is None:
            return {"answer": first, "log": written, "seen": left}
        answer = place.leg(self.libraries[reader], "go_on")
        seen = {name: place.look(library) for name, library in self.libraries.items()}
        return {"answer": answer, "left": left, "seen": seen, "written": written, "log": place.last}


@pytest.fixture(scope="session")
def runs(libraries, folders):
    return Runs(libraries, folders)


def points_of(places, total, writer):
    """Which points are stopped at in places of a kind: all kinds and both libraries together take all parts of a run."""
    step = max(total // SHARE, 1)
    offset = (places.number * 2 + (writer == "theirs")) * step // 10
    return range(offset, total, step)


def as_they_read(seen):
    """What 6.5 makes of what ours reads: the choice of an attempt that failed becomes a description of its failure."""
    seen = json.loads(json.dumps(seen))
    for book in seen.values():
        for flow_detail in book["flows"].values():
            for atom in flow_detail["atoms"].values():
                if atom["type"] == "RETRY_DETAIL":
                    for attempt in atom["results"]:
                        choice, failures = attempt["a tuple"]
                        assert "exception_str" not in choice if isinstance(choice, dict) else True
                        if failures:
                            attempt["a tuple"][0] = list(failures.values())[-1]["a failure"]
    return seen


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("writer", WRITERS)
def test_goes_on_as_with_records_of_its_own(runs, places, differences, writer, flow, how):
    reader = WRITERS[writer]
    total = len(runs.whole(writer, flow)["log"])
    for stop in points_of(places, total, writer):
        expected = runs.pure(reader, flow, stop, how)
        found = runs.run(places.new(), writer, flow, stop, how, reader)
        parts = {
            "before the stop": (without_old_failures(found["written"]), without_old_failures(expected["written"])),
            "after it": (found["log"], expected["log"]),
            "in the end": (found["answer"], expected["answer"]),
            "stored": (without_ids(found["seen"]["ours"]), without_ids(expected["seen"]["ours"])),
            "what the others read after the stop": (found["left"]["theirs"], as_they_read(found["left"]["ours"])),
            "what the others read in the end": (found["seen"]["theirs"], as_they_read(found["seen"]["ours"])),
        }
        different = [f"{name}{where}" for name, part in parts.items() for where in differences(*part)]
        assert not different, f"stopped at point {stop}, {found['written'][-1][:5]}"
