"""Zones by name, and wall clocks as instants."""

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from pathlib import Path
from string import ascii_lowercase
from zoneinfo import TZPATH, ZoneInfo, available_timezones

from taskd.errors import InvalidSchedule


class UnknownTimezone(InvalidSchedule):
    """A zone that the IANA database of this machine doesn't have."""

    def __init__(self, name: str) -> None:
        near = get_close_matches(name, _names(), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ": use an IANA name such as 'Europe/Berlin'"
        super().__init__(f"unknown time zone {name!r}{hint}")


class NonexistentTime(InvalidSchedule):
    """A wall clock reading that the zone skips."""

    def __init__(self, local: datetime, zone: ZoneInfo) -> None:
        super().__init__(
            f"{local.isoformat()} doesn't exist in {zone}: the clocks skip it; give an offset or another time"
        )


class AmbiguousTime(InvalidSchedule):
    """A wall clock reading that the zone shows twice."""

    def __init__(self, local: datetime, zone: ZoneInfo) -> None:
        first, second = (local.replace(tzinfo=zone, fold=fold).isoformat() for fold in (0, 1))
        super().__init__(f"{local.isoformat()} happens twice in {zone}: write {first} or {second}")


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def tzdata_version() -> str | None:
    """The release of the IANA database that zones are taken from, such as "2025b"; None where it doesn't tell."""
    for folder in map(Path, TZPATH):
        if (folder / "UTC").exists():  # the system's goes before the package's
            told = folder / "tzdata.zi"
            first = told.read_text().partition("\n")[0] if told.exists() else ""
            return first.removeprefix("# version ") or None
    year, _, release = version("tzdata").partition(".")  # 2025.2 is 2025b
    return year + ascii_lowercase[int(release.partition(".")[0]) - 1]


@cache
def zone(name: str) -> ZoneInfo:
    """The IANA zone `name`; raises UnknownTimezone with the nearest name there is."""
    if name not in _names():
        raise UnknownTimezone(name)
    return ZoneInfo(name)


def instant_of(local: datetime, tz: ZoneInfo) -> datetime:
    """The one instant (UTC) at which `tz` shows `local` (naive); raises NonexistentTime or AmbiguousTime."""
    first, second = (local.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first
    # PEP 495: in a gap fold=0 uses the offset before the transition and lands after it, and the other way round.
    if first > second:
        raise NonexistentTime(local, tz)
    raise AmbiguousTime(local, tz)


def offset_at(instant: datetime, tz: ZoneInfo) -> timedelta:
    """The zone's UTC offset at an instant (aware)."""
    offset = instant.astimezone(tz).utcoffset()
    assert offset is not None
    return offset
