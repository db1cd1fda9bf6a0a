"""Durations as people write them, in whole seconds."""

import re

from taskd.errors import InvalidSchedule

LONGEST = 50 * 365 * 86_400
"""50 years of seconds: any instant and its neighbour stay in the calendar, and every database's integer holds it."""

_SHORT = re.compile(r"(?:(\d{1,10})d)?(?:(\d{1,10})h)?(?:(\d{1,10})m)?(?:(\d{1,10})s)?", re.ASCII)
_ISO_8601 = re.compile(
    r"P(?:(\d{1,10})D)?(?:T(?:(\d{1,10})H)?(?:(\d{1,10})M)?(?:(\d{1,10})S)?)?", re.ASCII | re.IGNORECASE
)
_SECONDS_EACH = (86_400, 3_600, 60, 1)


class InvalidDuration(InvalidSchedule):
    """Not a duration, or one outside 1 s … 50 years."""


def seconds_of(value: object) -> int:
    """`30s`, `5m`, `1h30m`, `2d`, ISO 8601 (`PT30S`) or an int of seconds → seconds; raises InvalidDuration."""
    seconds = value if type(value) is int else _read(value)
    if not 1 <= seconds <= LONGEST:
        raise InvalidDuration("a duration must be between 1s and 50 years")
    return seconds


def _read(value: object) -> int:
    match = isinstance(value, str) and (_SHORT.fullmatch(value) or _ISO_8601.fullmatch(value))
    parts = match.groups() if match else ()
    if not any(parts):
        raise InvalidDuration("a duration is written like 30s, 5m, 1h30m, 2d, PT30S, or as whole seconds")
    return sum(int(part or 0) * each for part, each in zip(parts, _SECONDS_EACH, strict=True))
