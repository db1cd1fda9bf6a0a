"""Durations as people write and read them."""

import re
from datetime import timedelta

from taskd.errors import InvalidSchedule

LONGEST = 50 * 365 * 86_400
"""50 years of seconds: any instant and its neighbour stay in the calendar, and every database's integer holds it."""

_SHORT = re.compile(r"(?:(\d{1,10})d)?(?:(\d{1,10})h)?(?:(\d{1,10})m)?(?:(\d{1,10})s)?", re.ASCII)
_ISO_8601 = re.compile(
    r"P(?:(\d{1,10})D)?(?:T(?:(\d{1,10})H)?(?:(\d{1,10})M)?(?:(\d{1,10})S)?)?", re.ASCII | re.IGNORECASE
)
_N = "[0-9]{1,10}"
WRITTEN_DURATION = f"^(?=.)({_N}d)?({_N}h)?({_N}m)?({_N}s)?$|^[Pp](?=.)({_N}[Dd])?([Tt](?=.)({_N}[Hh])?({_N}[Mm])?({_N}[Ss])?)?$"
"""How `seconds_of` reads durations, for programs that know no flags of regular expressions."""

_SECONDS_EACH = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


class InvalidDuration(InvalidSchedule):
    """Not a duration, or one outside 1 s … 50 years."""


def seconds_of(value: object) -> int:
    """`30s`, `5m`, `1h30m`, `2d`, ISO 8601 (`PT30S`) or an int of seconds → seconds; raises InvalidDuration."""
    seconds = value if type(value) is int else _read(value)
    if not 1 <= seconds <= LONGEST:
        raise InvalidDuration("a duration must be between 1s and 50 years")
    return seconds


def shown(seconds: int) -> str:
    """Whole seconds as `1h30m`."""
    parts = []
    for unit, each in _SECONDS_EACH.items():
        count, seconds = divmod(seconds, each)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def span_shown(span: timedelta) -> str:
    """A span of any size: `120 ms`, `1.25 s`, from a minute on `1h30m`."""
    seconds = span.total_seconds()
    if seconds >= 60:
        return shown(round(seconds))
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _read(value: object) -> int:
    match = isinstance(value, str) and (_SHORT.fullmatch(value) or _ISO_8601.fullmatch(value))
    parts = match.groups() if match else ()
    if not any(parts):
        raise InvalidDuration("a duration is written like 30s, 5m, 1h30m, 2d, PT30S, or as whole seconds")
    return sum(int(part or 0) * each for part, each in zip(parts, _SECONDS_EACH.values(), strict=True))
