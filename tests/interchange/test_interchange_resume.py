# SPDX-License-Identifier: Apache-2.0
"""Does one library go on with what the other one left, wherever that stopped, as with records of its own?"""

from __future__ import annotations

import collections
import json

import pytest

# Each runs a flow to its end in its own way: which flow, and how it is made.
FLOWS = {
    "values": ("values", {"coded": False}),
    "tries": ("tries", {}),
    "decides": ("decides", {}),
    "undoes": ("undoes", {"raises": "causes", "stuck": False}),
    "can not be undone": ("undoes", {"raises": "causes", "stuck": True}),
}
OTHER = {"ours": "theirs", "theirs": "ours"}
HOWS = ("kill", "suspend")
# What they leave is all kinds of records, or what engines do with the same ones.
RECORDS = ("values", "tries", "undoes")
DEEDS = ("decides", "can not be undone")
# At how many points of each flow a library is stopped, for some kinds of backends; other kinds take points in between.
SHARES = {"dir": 5}
SHARES_OF_EITHER = {"dir": 9, "sqlite": 3}
SHARE = 2


class Runs:
    """Runs flows in two legs, those to compare with only once each.

    Args:
        libraries: both.
        folders: where those are kept that others are compared with.
    """

    def __init__(self, libraries, folders):
        self._libraries = libraries
        self._folders = folders
        self._known = {}

    def whole(self, library, flow):
        """What is written down in a run without a stop."""
        if (library, flow) not in self._known:
            name, given = FLOWS[flow]
            place = self._folders.new()
            place.leg(self._libraries[library], "start", flow=name, given=given)
            self._known[library, flow] = place.log
        return self._known[library, flow]

    def pure(self, library, flow, stop, how):
        """A run in which a library goes on with what it left itself, in a folder."""
        key = library, flow, stop, how
        if key not in self._known:
            self._known[key] = self.run(self._folders.new(), library, flow, stop, how, library, ("ours",))
        return self._known[key]

    def run(self, place, writer, flow, stop, how, reader, lookers=("ours", "theirs")):
        """A run in which a library begins, is stopped at a point, and a library goes on."""
        name, given = FLOWS[flow]
        place.leg(self._libraries[writer], "start", flow=name, given=given, stop_at=stop, how=how)
        written = place.last
        left = {name: place.look(self._libraries[name]) for name in lookers}
        answer = place.leg(self._libraries[reader], "go_on")
        # Resets count too, see without_resets().
        del answer["points"]
        seen = {name: place.look(self._libraries[name]) for name in lookers}
        return {"answer": answer, "left": left, "seen": seen, "written": written, "log": place.last}


@pytest.fixture(scope="session")
def runs(libraries, folders):
    return Runs(libraries, folders)


def comparable(seen):
    """What was looked at, without what differs between any two runs."""
    seen = json.loads(json.dumps(seen))
    for book in seen.values():
        del book["uuid"], book["created"], book["lazily"]
        for flow_detail in book["flows"].values():
            del flow_detail["uuid"]
            for atom in flow_detail["atoms"].values():
                del atom["uuid"]
                if atom["state"] == "PENDING":
                    # Atoms behind those that never started are wanted reverted by one library, and left by the other.
                    del atom["intention"]
                if atom["type"] == "RETRY_DETAIL":
                    # What a retry's revert returned is lost by 6.5.
                    del atom["revert_results"]
    return seen


def without_old_failures(lines):
    """What was written down, without failures of earlier attempts that 6.5 hands to those that are undone later."""
    return [line[:4] if line[0] == "revert" else line for line in lines]


def without_resets(lines):
    """What was written down, without atoms that were reset: 6.5 records them one by one, this library at once."""
    return [line for line in lines if line[0] != "event" or line[4] != "PENDING"]


def as_they_read(seen):
    """What 6.5 makes of what ours reads: the choice of an attempt that failed becomes a description of its failure."""
    seen = json.loads(json.dumps(seen))
    for book in seen.values():
        for flow_detail in book["flows"].values():
            for atom in flow_detail["atoms"].values():
                if atom["type"] == "RETRY_DETAIL":
                    for attempt in atom["results"]:
                        if attempt["a tuple"][1]:
                            attempt["a tuple"][0] = list(attempt["a tuple"][1].values())[-1]["a failure"]
    return seen


def points_of(places, lines, writer, shares):
    """Where a library is stopped, and how: all backends and both libraries together take all parts of a run."""
    step = max(len(lines) // shares.get(places.kind, SHARE), 1)
    for stop in range((places.number * 2 + (writer == "theirs")) * step // 10, len(lines), step):
        # 6.5 records one after the other which atoms are passed over, and executes the rest of them after a crash; and
        # a failure before it asks what to do about it, which this library records together with the answer.
        while lines[stop][0] == "decide" or (lines[stop][0] == "event" and lines[stop][4] == "IGNORE"):
            stop += 1
        yield stop, HOWS[(stop + places.number) % 2]


def goes_on(runs, places, differences, writer, flow, shares):
    reader = OTHER[writer]
    for stop, how in points_of(places, runs.whole(writer, flow), writer, shares):
        expected = runs.pure(reader, flow, stop, how)
        found = runs.run(places.new(), writer, flow, stop, how, reader)
        parts = {
            "before the stop": (without_old_failures(found["written"]), without_old_failures(expected["written"])),
            "after it": (without_resets(found["log"]), without_resets(expected["log"])),
            "in the end": (found["answer"], expected["answer"]),
            "stored": (comparable(found["seen"]["ours"]), comparable(expected["seen"]["ours"])),
            "read after the stop": (found["left"]["theirs"], as_they_read(found["left"]["ours"])),
            "read in the end": (found["seen"]["theirs"], as_they_read(found["seen"]["ours"])),
        }
        different = [f"{name}{where}" for name, part in parts.items() for where in differences(*part)]
        assert not different, f"{how} at point {stop}, {found['written'][-1][:5]}"


@pytest.mark.parametrize("flow", RECORDS)
@pytest.mark.parametrize("writer", OTHER)
def test_goes_on_as_with_records_of_its_own(runs, places, differences, writer, flow):
    goes_on(runs, places, differences, writer, flow, SHARES)


@pytest.mark.parametrize("flow", DEEDS)
@pytest.mark.parametrize("writer", OTHER)
def test_goes_on_as_it_does_itself(runs, either, differences, writer, flow):
    goes_on(runs, either, differences, writer, flow, SHARES_OF_EITHER)


def acts(lines):
    """What tasks and retries did, by names; deciders may be asked again by every engine."""
    return [tuple(line[:2]) for line in lines if line[0] not in ("event", "consider")]


def relay(place, libraries, first, flow, how, stop, engine=None):
    """Lets the libraries run a flow in turns, each until it is stopped: the last answer, and how many legs it took."""
    name, given = flow
    leg = {"stop_at": stop, "how": how, **({"engine": engine} if engine else {})}
    answer = place.leg(libraries[first], "start", flow=name, given=given, **leg)
    number, library = 1, first
    while answer is None or answer["state"] == "SUSPENDED":
        if place.last[-1][:2] == ["event", "flow"] and place.last[-1][4] in FINAL:
            # Killed after the very last thing: there is nothing to go on with.
            return {"state": place.last[-1][4]}, number
        assert number < 40, "no end"
        number, library = number + 1, OTHER[library]
        answer = place.leg(libraries[library], "go_on", **leg)
    return answer, number


FINAL = ("SUCCESS", "FAILURE", "REVERTED")
RELAYS = {"values": (8, 4), "decides": (7, 3), "undoes": (10, 5), "can not be undone": (8, 3)}


def take_turns(runs, places, libraries, flow, first):
    stop, legs = RELAYS[flow]
    # Each kind of backend has killed and suspended flows of both libraries.
    how = HOWS[(places.number + len(flow)) % 2]
    whole = acts(runs.whole("ours", flow))
    place = places.new()
    answer, number = relay(place, libraries, first, FLOWS[flow], how, stop)
    assert number >= legs
    assert answer["state"] == runs.whole("ours", flow)[-1][4]
    done = acts(place.log)
    if how == "suspend":
        assert done == whole
    else:
        # What was begun when the process was killed is done again, by one atom for each time.
        again = collections.Counter(done) - collections.Counter(whole)
        assert not collections.Counter(whole) - collections.Counter(done)
        assert again.total() <= 2 * (number - 1)
    seen = {name: place.look(library) for name, library in libraries.items()}
    assert seen["theirs"] == as_they_read(seen["ours"])


@pytest.mark.parametrize(("flow", "first"), [("values", "ours"), ("undoes", "theirs")])
def test_take_turns_until_the_end(runs, places, libraries, flow, first):
    take_turns(runs, places, libraries, flow, first)


@pytest.mark.parametrize(("flow", "first"), [("decides", "theirs"), ("can not be undone", "ours")])
def test_take_turns_in_all_that_engines_do(runs, either, libraries, flow, first):
    take_turns(runs, either, libraries, flow, first)


THREADS = {"engine": "parallel", "executor": "threads", "max_workers": 2, "inject_transient": False}


@pytest.mark.parametrize(("first", "fails"), [("ours", False), ("theirs", True)])
def test_take_turns_with_threads(places, libraries, first, fails):
    place = places.new()
    # 6.5 writes files in place: one that another thread was writing when the process is killed is lost.
    how = "suspend" if places.kind == "dir" else "kill"
    answer, number = relay(place, libraries, first, ("crowd", {"fails": fails}), how, 13, THREADS)
    assert number >= 2
    assert answer["state"] == ("REVERTED" if fails else "SUCCESS")
    stored = place.look(libraries["ours"])["ein Büch"]["flows"]["crowd"]
    assert {atom["state"] for name, atom in stored["atoms"].items() if name[0] in "cs"} == {answer["state"]}
    done = collections.Counter(acts(place.log))
    for name in [f"c{i}" for i in range(5)]:
        assert 1 <= done["executing", name] <= number
        assert bool(done["reverting", name]) == fails
        # What was recorded is not done again.
        lines = [line[:5] for line in place.log]
        recorded = ["event", "atom", name, "RUNNING", "SUCCESS"]
        if recorded in lines:
            assert ("execute", name) not in acts(lines[lines.index(recorded) :])
