# SPDX-License-Identifier: Apache-2.0
"""What does 6.5 lose or stumble over, and does this library keep it and go on with it?"""

from __future__ import annotations

import pathlib
import sqlite3

import pytest

BOOK = "ein Büch"


def atoms_of(seen, flow):
    return seen[BOOK]["flows"][flow]["atoms"]


def line_of(lines, *start):
    """The number of the first line that begins so."""
    return next(n for n, line in enumerate(lines) if line[: len(start)] == list(start))


def chosen(lines, name):
    """Which values a retry chose, one after the other."""
    return [line[5] for line in lines if line[:5] == ["event", "atom", name, "RUNNING", "SUCCESS"]]


@pytest.fixture(scope="session")
def whole(libraries, folders):
    """What 6.5 writes down while it tries, without a stop."""
    place = folders.new()
    place.leg(libraries["theirs"], "start", flow="tries")
    return place.log


def spoil(libraries, places, whole):
    """A flow that 6.5 left in its third attempt."""
    attempts = [n for n, line in enumerate(whole) if line[:2] == ["choose", "each"]]
    place = places.new()
    place.leg(libraries["theirs"], "start", flow="tries", stop_at=attempts[2], how="kill")
    return place


def test_values_of_failed_attempts_are_read(libraries, places, whole):
    place = spoil(libraries, places, whole)
    read = {
        name: [attempt["a tuple"][0] for attempt in atoms_of(place.look(library), "tries")["each"]["results"]]
        for name, library in libraries.items()
    }
    assert read["ours"] == [["é", 1], "b"]
    # 6.5 reads descriptions of the failures in their place.
    assert len(read["theirs"]) == 2
    assert all("exception_str" in choice for choice in read["theirs"])


def test_later_attempts_do_not_try_the_same_again(libraries, either, whole):
    place = spoil(libraries, either, whole)
    answer = place.leg(libraries["ours"], "go_on")
    assert answer["state"] == "SUCCESS"
    assert chosen(place.log, "each") == chosen(whole, "each") == [["é", 1], "b", {"c": None}, ["é", 1], "b"]
    # 6.5 does not know any more what it tried.
    other = spoil(libraries, either, whole)
    other.leg(libraries["theirs"], "go_on")
    assert chosen(other.log, "each")[2] == ["é", 1]


def test_what_a_retry_returned_when_it_was_undone_is_kept(libraries, places):
    stored = {}
    for name, library in libraries.items():
        place = places.new()
        place.leg(library, "start", flow="undoes", given={"raises": "causes", "stuck": False})
        stored[name] = {reader: place.look(read) for reader, read in libraries.items()}
    for reader in libraries:
        assert atoms_of(stored["ours"][reader], "undoes")["twice"]["revert_results"] == {"given up": 2}
        assert atoms_of(stored["theirs"][reader], "undoes")["twice"]["revert_results"] is None


@pytest.mark.parametrize("raises", ["coded", "uncoded"])
def test_failures_with_any_arguments_are_stored(libraries, places, raises):
    given = {"raises": raises, "stuck": False}
    place = places.new()
    # Killed when the failure of the last attempt is stored.
    answer = place.leg(libraries["ours"], "start", flow="undoes", given=given, stop_at=42, how="kill")
    assert answer is None
    # It is read, and gone on with, by both.
    read = {name: atoms_of(place.look(library), "undoes")["three"]["failure"] for name, library in libraries.items()}
    assert read["ours"] == read["theirs"]
    assert read["ours"]["a failure"]["exc_type_names"][0].endswith("Odd")
    assert place.leg(libraries["theirs"], "go_on")["state"] == "REVERTED"
    # 6.5 can not store it where its encoder does not know the arguments.
    other = places.new()
    answer = other.leg(libraries["theirs"], "start", flow="undoes", given=given, hurry=True)
    able = raises == "coded" and places.kind != "postgresql"
    assert answer["state"] == ("REVERTED" if able else "FAILURE")
    if not able:
        # The flow stopped where the failure should have been stored; it is resumed to its proper end.
        assert atoms_of(other.look(libraries["ours"]), "undoes")["three"]["state"] == "RUNNING"
        assert other.leg(libraries["ours"], "go_on")["state"] == "REVERTED"
        assert [line[:2] for line in other.last if line[0] == "reverting"] == [
            ["reverting", name] for name in ("three", "two", "three", "two")
        ]


def test_values_that_are_encoded_are_read_alike(libraries, places, differences):
    place = places.new()
    answer = place.leg(libraries["ours"], "start", flow="values", given={"coded": True}, stop_at=20, how="suspend")
    assert answer["state"] == "SUSPENDED"
    seen = {name: place.look(library) for name, library in libraries.items()}
    assert differences(seen["theirs"], seen["ours"]) == []
    kinds = atoms_of(seen["ours"], "values ü")["kinds"]["results"]
    assert kinds["moment"] == "2026-01-02T03:04:05.000678"
    assert kinds["decimal"] == "1.50"
    assert place.leg(libraries["theirs"], "go_on")["state"] == "SUCCESS"
    # On PostgreSQL the encoder of 6.5 knows fewer kinds, and its engine can not go on.
    other = places.new()
    answer = other.leg(libraries["theirs"], "start", flow="values", given={"coded": True}, hurry=True)
    if places.kind == "postgresql":
        assert answer["state"] == "FAILURE"
    assert other.leg(libraries["ours"], "go_on")["state"] == "SUCCESS"
    ends = [atoms_of(at.look(libraries["ours"]), "values ü") for at in (place, other)]
    for name in ("kinds", "taker", "last"):
        assert ends[0][name]["results"] == ends[1][name]["results"]


def test_injected_values_that_were_never_filled_in(libraries, places):
    place = places.new()
    libraries["theirs"].call("defects.empty_injector", place.conf)
    # 6.5 does not get as far as running it.
    assert libraries["theirs"].call("defects.prepare", place.conf) == "AttributeError"
    assert place.leg(libraries["ours"], "go_on")["state"] == "SUCCESS"
    seen = {name: place.look(library) for name, library in libraries.items()}
    assert seen["ours"] == seen["theirs"]


def test_equal_names_have_one_record(libraries, places):
    numbers = {}
    for name, library in libraries.items():
        place = places.new()
        numbers[name] = library.call("defects.equal_names", place.conf)
        # With two records of one name it does not matter which of them is used.
        assert place.leg(libraries["ours"], "go_on")["state"] == "SUCCESS"
    assert numbers == {"ours": 1, "theirs": 2}


def test_what_is_passed_over_is_recorded_together(libraries, either, folders):
    whole = folders.new()
    whole.leg(libraries["theirs"], "start", flow="decides")
    stop = line_of(whole.log, "event", "atom", "b", "PENDING", "IGNORE")
    done = {}
    for name, library in libraries.items():
        place = either.new()
        place.leg(library, "start", flow="decides", stop_at=stop, how="kill")
        place.leg(libraries["theirs"], "go_on")
        done[name] = [line[1] for line in place.log if line[0] == "execute"]
    assert done["ours"] == ["a", "d", "f", "h", "after"]
    # Killed at this very moment, 6.5 forgets that c behind b is to be passed over as well.
    assert "c" in done["theirs"]


def test_durations_of_both_directions_stay_when_the_other_goes_on(libraries, either):
    place = either.new()
    place.leg(libraries["ours"], "start", flow="decides", stop_at=12, how="suspend")
    noted = libraries["ours"].call("defects.durations", place.conf)
    place.leg(libraries["theirs"], "go_on")
    kept = libraries["ours"].call("defects.durations", place.conf)
    assert noted["a"] == kept["a"] == ["duration", "execute_duration"]
    assert kept["h"] == ["duration"]


def test_reading_a_book_does_not_change_its_time(libraries, places):
    place = places.new()
    place.leg(libraries["theirs"], "start", flow="decides", stop_at=3, how="kill")
    read = libraries["ours"].call("defects.times", place.conf)
    assert read["whole"] == read["lazily"]
    # 6.5 says that it was changed when it was read.
    assert libraries["theirs"].call("defects.times", place.conf)["whole"] not in (None, read["lazily"])


@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_books_of_the_other_are_removed_whole(libraries, places, writer):
    place = places.new()
    libraries[writer].call("defects.save", place.conf)
    libraries["ours"].call("defects.destroy", place.conf)
    assert place.look(libraries["theirs"]) == {}
    # Nothing that was left is in the way of the same once more.
    assert libraries["theirs"].call("defects.save_again", place.conf) == "SUSPENDED"


@pytest.mark.parametrize("remove", ["destroy", "clear"])
def test_books_of_ours_are_removed_by_the_other(libraries, places, remove):
    place = places.new()
    libraries["ours"].call("defects.save", place.conf)
    libraries["theirs"].call(f"defects.{remove}", place.conf)
    assert libraries["ours"].call("defects.names", place.conf) == []
    if places.kind == "sqlite":
        # Flows and atoms stay in the file, where no foreign key is enforced, and are in the way of 6.5; clearing it
        # again takes them away.
        path = pathlib.Path(place.conf["connection"].removeprefix("sqlite:///"))
        assert rows_in(path) == {"logbooks": 0, "flowdetails": 1, "atomdetails": 1}
        assert libraries["theirs"].call("defects.save_again", place.conf) != "SUSPENDED"
        libraries["ours"].call("defects.clear", place.conf)
        assert rows_in(path) == {"logbooks": 0, "flowdetails": 0, "atomdetails": 0}
    assert libraries["ours"].call("defects.save_again", place.conf) == "SUSPENDED"


def rows_in(path):
    connection = sqlite3.connect(path)
    try:
        tables = ("logbooks", "flowdetails", "atomdetails")
        return {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}
    finally:
        connection.close()


def test_looking_for_what_is_not_there_leaves_nothing(libraries, places):
    place = places.new()
    libraries["theirs"].call("defects.save", place.conf)
    for library in libraries.values():
        assert library.call("defects.look_up", place.conf, "nowhere") == "NotFound"
    assert libraries["ours"].call("defects.names", place.conf) == [BOOK]
    # In folders 6.5 stumbles over what it made itself when it looked.
    found = libraries["theirs"].call("defects.names", place.conf)
    assert found == ("NotFound" if places.kind == "dir" else [BOOK])


def test_looking_by_ours_leaves_nothing_for_the_other(libraries, places):
    place = places.new()
    libraries["theirs"].call("defects.save", place.conf)
    assert libraries["ours"].call("defects.look_up", place.conf, "nowhere") == "NotFound"
    assert libraries["theirs"].call("defects.names", place.conf) == [BOOK]


@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_times_of_fixed_zones(libraries, files, writer):
    place = files.new()
    libraries[writer].call("defects.save_far_away", place.conf)
    assert place.look(libraries["ours"])["far"]["created"] == {"a datetime": "2026-01-02T03:04:05.000006+05:30"}
    # 6.5 can not read what it wrote.
    assert libraries["theirs"].call("defects.names", place.conf) != ["far"]


def test_records_survive_a_disk_that_is_full(libraries, folders):
    left = {}
    for name, library in libraries.items():
        place = folders.new()
        library.call("defects.save", place.conf)
        assert library.call("defects.fill", place.conf, "an-atom") == "StorageFailure"
        left[name] = {reader: read.call("defects.atom", place.conf, "an-atom") for reader, read in libraries.items()}
    assert left["ours"] == {"ours": None, "theirs": None}
    # 6.5 wrote over what there was.
    assert left["theirs"] == {"ours": "StorageFailure", "theirs": "StorageFailure"}


def test_changes_within_one_tick_of_the_clock_are_seen(libraries, folders):
    seen = {}
    for name, library in libraries.items():
        place = folders.new()
        library.call("defects.save", place.conf)
        seen[name] = library.call("defects.read_again", place.conf, "an-atom")
    assert seen == {"ours": [None, "SUCCESS"], "theirs": [None, None]}
