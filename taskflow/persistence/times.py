# SPDX-License-Identifier: Apache-2.0
"""How the times of a record are made and how they are written without a database's own type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt

_PARTS = ("day", "month", "year", "hour", "minute", "second", "microsecond")
_OFFSET = r"UTC([+-])(\d\d):(\d\d)(?::(\d\d))?(?:\.(\d{1,6}))?"


def utc_now() -> dt.datetime:
    """Returns the present time in UTC, without a zone, as all records hold it."""
    import datetime as dt

    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def marshal(moment: dt.datetime | None) -> dict[str, Any] | None:
    """Writes a time as a dictionary of numbers, with the zone's name if it has a zone."""
    if moment is None:
        return None
    data: dict[str, Any] = {part: getattr(moment, part) for part in _PARTS}
    if moment.tzinfo is not None:
        data["tzname"] = moment.tzinfo.tzname(None)
    return data


def unmarshal(data: dict[str, Any] | None) -> dt.datetime | None:
    """Reads what marshal() wrote.

    Raises:
        KeyError: a part of the time is missing.
        zoneinfo.ZoneInfoNotFoundError: the zone is unknown here.
    """
    if data is None:
        return None
    import datetime as dt

    day, month, year, hour, minute, second, microsecond = (data[part] for part in _PARTS)
    zone = _zone(data.get("tzname"))
    # Leap seconds exist in stored data but not in datetime.
    return dt.datetime(year, month, day, hour, minute, min(second, 59), microsecond, tzinfo=zone)


def _zone(name: str | None) -> dt.tzinfo | None:
    if name is None:
        return None
    if name == "UTC+00:00":
        name = "UTC"
    import re

    fixed = re.fullmatch(_OFFSET, name)
    if fixed is None:
        import zoneinfo

        return zoneinfo.ZoneInfo(name)
    import datetime as dt

    sign, hours, minutes, seconds, fraction = fixed.groups()
    offset = dt.timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "0").ljust(6, "0")),
    )
    return dt.timezone(-offset if sign == "-" else offset)
