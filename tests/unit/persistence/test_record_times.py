# SPDX-License-Identifier: Apache-2.0
"""How the times of records are written as numbers and read again."""

import datetime as dt
import zoneinfo

import pytest

from taskflow.persistence import times

MOMENT = dt.datetime(2024, 2, 29, 23, 59, 58, 7)


def test_time_without_zone_has_no_zone_name():
    data = times.marshal(MOMENT)
    assert list(data) == ["day", "month", "year", "hour", "minute", "second", "microsecond"]
    assert times.unmarshal(data) == MOMENT


def test_no_time_stays_no_time():
    assert times.marshal(None) is None
    assert times.unmarshal(None) is None


@pytest.mark.parametrize(
    "zone",
    [
        dt.UTC,
        zoneinfo.ZoneInfo("UTC"),
        dt.timezone(dt.timedelta(hours=1)),
        dt.timezone(-dt.timedelta(hours=3, minutes=30)),
        dt.timezone(dt.timedelta(hours=2, seconds=15)),
    ],
)
def test_fixed_zone_survives(zone):
    moment = MOMENT.replace(tzinfo=zone)
    read = times.unmarshal(times.marshal(moment))
    assert read == moment
    assert read.utcoffset() == moment.utcoffset()


def test_regional_zone_has_no_name_of_its_own_and_is_lost():
    moment = MOMENT.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    data = times.marshal(moment)
    assert data["tzname"] is None
    assert times.unmarshal(data) == MOMENT


@pytest.mark.parametrize(("name", "hours"), [("UTC", 0), ("UTC+00:00", 0), ("UTC+01:00", 1), ("UTC-11:00", -11)])
def test_zone_names_that_are_read(name, hours):
    read = times.unmarshal({**times.marshal(MOMENT), "tzname": name})
    assert read.utcoffset() == dt.timedelta(hours=hours)
    assert read.replace(tzinfo=None) == MOMENT


def test_named_zone_is_read():
    read = times.unmarshal({**times.marshal(MOMENT), "tzname": "Europe/Berlin"})
    assert read.tzinfo == zoneinfo.ZoneInfo("Europe/Berlin")


def test_unknown_zone_is_an_error():
    with pytest.raises(zoneinfo.ZoneInfoNotFoundError):
        times.unmarshal({**times.marshal(MOMENT), "tzname": "Nowhere/Atall"})


def test_leap_second_is_read_as_the_second_before():
    assert times.unmarshal({**times.marshal(MOMENT), "second": 60}).second == 59


@pytest.mark.parametrize("part", ["day", "month", "year", "hour", "minute", "second", "microsecond"])
def test_every_part_is_needed(part):
    data = times.marshal(MOMENT)
    del data[part]
    with pytest.raises(KeyError):
        times.unmarshal(data)
