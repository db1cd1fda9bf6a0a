"""When a trigger is due: the first occurrence after an instant, the last one until it, and how many between.

Questions    next_after, last_until, count_between, marks_between; occurrences and upcoming iterate the first
Instants     aware; compared in UTC, to the microsecond. Crontabs occur on whole seconds
Invariant    next_after(t) > t, and it never goes back as t goes forward, on both passes of a repeated hour
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice

from taskd.schedule.pattern import DAY
from taskd.schedule.rules import Rules, rules_of
from taskd.schedule.stretches import EPOCH, FIRST, LAST, SECOND, stretch_at, stretches_between
from taskd.schedule.trigger import Crontab, Date, Interval, Trigger


def next_after(trigger: Trigger, instant: datetime) -> datetime | None:
    """The first occurrence strictly after `instant`, in UTC; None when there is none.

    Raises InvalidCrontab, ImpossibleCrontab or UnknownTimezone for a trigger that was never validated.
    """
    match trigger:
        case Crontab():
            return _datetime(_next_after(trigger, _floor(instant)))
        case Interval():
            return _tick(trigger, _ticks(trigger, instant) + 1)
        case Date(at):
            return at.astimezone(UTC) if at > instant else None


def last_until(trigger: Trigger, instant: datetime) -> datetime | None:
    """The newest occurrence at or before `instant`, in UTC; None when there is none."""
    match trigger:
        case Crontab():
            return _datetime(_last_until(trigger, _floor(instant)))
        case Interval():
            return _tick(trigger, _ticks(trigger, instant))
        case Date(at):
            return at.astimezone(UTC) if at <= instant else None


def count_between(trigger: Trigger, after: datetime, until: datetime) -> int:
    """How many occurrences are in (after, until]; a year of seconds costs no more than a year of days."""
    match trigger:
        case Crontab():
            return _count(rules_of(trigger), _floor(after) + 1, _floor(until) + 1)
        case Interval():
            return max(0, _ticks(trigger, until) - _ticks(trigger, after))
        case Date(at):
            return int(after < at <= until)


def marks_between(trigger: Trigger, after: datetime, until: datetime) -> int:
    """The occurrences in (after, until] as bits: bit n stands for the second that begins n seconds after that of `after`.

    Two triggers are compared by & and ~, however often they are due; a week takes 75 kB, whatever is in it. All
    occurrences of a trigger have the same fraction of a second; where two triggers' differ, no bit of one is the other's.
    """
    base = _floor(after)
    if isinstance(trigger, Crontab):
        return _marks(rules_of(trigger), base + 1, _floor(until) + 1) << 1
    first, count = next_after(trigger, after), count_between(trigger, after, until)
    if first is None or not count:
        return 0
    step = trigger.seconds if isinstance(trigger, Interval) else 1
    return _every(step, count) << _floor(first) - base


def occurrences(trigger: Trigger, after: datetime) -> Iterator[datetime]:
    """All occurrences strictly after `after`, in order."""
    due = next_after(trigger, after)
    while due is not None:
        yield due
        due = next_after(trigger, due)


def upcoming(trigger: Trigger, after: datetime, n: int) -> list[datetime]:
    """The first `n` occurrences strictly after `after`, or as many as there are."""
    return list(islice(occurrences(trigger, after), n))


def _floor(instant: datetime) -> int:
    return (instant - EPOCH) // SECOND


def _datetime(second: int | None) -> datetime | None:
    return None if second is None else EPOCH + timedelta(seconds=second)


def _ticks(trigger: Interval, instant: datetime) -> int:
    """The largest k with anchor + k * seconds <= instant."""
    return (instant - (trigger.anchor or EPOCH)) // timedelta(seconds=trigger.seconds)


def _tick(trigger: Interval, k: int) -> datetime | None:
    try:
        return (trigger.anchor or EPOCH).astimezone(UTC) + k * timedelta(seconds=trigger.seconds)
    except OverflowError:  # beyond the years 1 to 9999
        return None


@lru_cache(maxsize=16384)
def _next_after(trigger: Crontab, instant: int) -> int | None:
    rules = rules_of(trigger)
    since = max(instant + 1, FIRST)
    while since <= LAST:
        stretch = stretch_at(rules.timezone, since)
        if since == stretch.start and rules.lands(stretch):
            return since
        shown = rules.readings_from(stretch, since)
        reading = rules.pattern.at_or_after(shown)
        if reading is None:
            return None
        if reading - stretch.offset < stretch.end:
            return _within_time(reading - stretch.offset)
        # Nothing more here. No clock shift is longer than a day: where no match is within a day before `since`,
        # no later instant up to a day before `reading` can show one, and sparse expressions leap over years.
        near = rules.pattern.count(since + stretch.offset - DAY, shown)
        since = stretch.end if near else max(stretch.end, reading - DAY)
    return None


@lru_cache(maxsize=16384)
def _last_until(trigger: Crontab, instant: int) -> int | None:
    rules = rules_of(trigger)
    until = min(instant, LAST)
    while until >= FIRST:
        stretch = stretch_at(rules.timezone, until)
        shown = until + stretch.offset
        reading = rules.pattern.at_or_before(shown)
        if reading is not None and reading >= rules.readings_from(stretch, stretch.start):
            return _within_time(reading - stretch.offset)
        if rules.lands(stretch):
            return stretch.start
        if reading is None:
            return None
        near = rules.pattern.count(shown + 1, shown + DAY + 1)
        until = stretch.start - 1 if near else min(stretch.start - 1, reading + DAY)
    return None


def _every(step: int, count: int) -> int:
    """`count` bits, `step` apart."""
    marks, known = 1, 1
    while known < count:
        marks |= marks << known * step
        known *= 2
    return marks & ((1 << (count - 1) * step + 1) - 1)


def _within_time(second: int) -> int | None:
    return second if FIRST <= second <= LAST else None


def _count(rules: Rules, start: int, end: int) -> int:
    """Occurrences in [start, end), none if that is backwards."""
    count = 0
    for stretch in stretches_between(rules.timezone, max(start, FIRST), min(end, LAST + 1)):
        low, high = max(start, stretch.start), min(end, stretch.end)
        count += rules.pattern.count(rules.readings_from(stretch, low), high + stretch.offset)
        if low == stretch.start and rules.lands(stretch):
            opens = low + stretch.offset
            count += not rules.pattern.count(opens, opens + 1)
    return count


def _marks(rules: Rules, start: int, end: int) -> int:
    """Occurrences in [start, end) as bits from `start` on; the rules are those of `_count`."""
    marks = 0
    for stretch in stretches_between(rules.timezone, start, end):
        low, high = max(start, stretch.start), min(end, stretch.end)
        since = rules.readings_from(stretch, low)
        marks |= rules.pattern.marks(since, high + stretch.offset) << since - stretch.offset - start
        if low == stretch.start and rules.lands(stretch):
            marks |= 1 << low - start
    return marks
