"""A time as a person writes it, as the instants that it means."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taskd.errors import InvalidSchedule
from taskd.schedule.stretches import EPOCH, SECOND, stretches_between
from taskd.schedule.zones import NonexistentTime, instant_of, zone

_TIME = re.compile(
    r"(?:19[7-9]\d|2\d{3})-\d\d-\d\d[T ]\d\d:\d\d(?P<second>:\d\d(?P<fraction>\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?",
    re.ASCII | re.IGNORECASE,
)


class NotATime(InvalidSchedule):
    """Not a point in time as people write it."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} isn't a time: write it like 2026-06-01T09:00, or 2026-06-01T07:00Z")


@dataclass(frozen=True, slots=True)
class Asked:
    """The instants [start, end), UTC, that a time means: the minute, the second or the microsecond that it names.

    `skipped`: it is a reading that the clocks skip; the instants are then the second in which they jump.
    """

    text: str
    start: datetime
    end: datetime
    skipped: bool = False


def asked(text: str, timezone: str) -> Asked:
    """What is meant by `2026-06-01T09:00`, read in `timezone` unless it has an offset.

    Raises NotATime, AmbiguousTime where the clocks show it twice, and UnknownTimezone.
    """
    match = _TIME.fullmatch(text.strip())
    try:
        moment = datetime.fromisoformat(match[0]) if match else None
    except ValueError:
        moment = None
    if match is None or moment is None:
        raise NotATime(text)
    precision = timedelta(microseconds=1) if match["fraction"] else SECOND if match["second"] else 60 * SECOND
    if moment.tzinfo is not None:
        return _span(text, moment.astimezone(UTC), precision)
    try:
        return _span(text, instant_of(moment, zone(timezone)), precision)
    except NonexistentTime:
        return Asked(text, jump := _jump(moment, timezone), jump + SECOND, skipped=True)


def _span(text: str, start: datetime, precision: timedelta) -> Asked:
    return Asked(text, start, start + precision)


def _jump(local: datetime, timezone: str) -> datetime:
    """When the clocks skip the reading `local`."""
    # PEP 495: in a gap fold=1 lands before the transition, fold=0 after it.
    before, after = (local.replace(tzinfo=zone(timezone), fold=fold).astimezone(UTC) for fold in (1, 0))
    low, high = ((instant - EPOCH) // SECOND for instant in (before, after))
    jumps = [
        stretch.start
        for stretch in stretches_between(timezone, low, high + 1)
        if stretch.offset > stretch.before and stretch.start > low
    ]
    return EPOCH + jumps[-1] * SECOND
