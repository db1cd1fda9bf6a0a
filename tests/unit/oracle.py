"""A brute-force reading of crontabs: every minute (or second) of a window is rendered and matched.

Slow and plain on purpose, and sharing nothing with the evaluator: its own fields, its own calendar, no search.
"""

import calendar
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * SUN",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


def fields(expression: str) -> list[str]:
    parts = ALIASES.get(expression, expression).upper().split()
    return parts if len(parts) == 6 else ["0", *parts]


def follows_the_clock(expression: str) -> bool:
    return fields(expression)[1][0] == "*" or fields(expression)[2][0] == "*"


def number(text: str) -> int:
    if text in WEEKDAYS:
        return WEEKDAYS.index(text)
    return MONTHS.index(text) + 1 if text in MONTHS else int(text)


@cache
def says(field: str, value: int, low: int) -> bool:
    """Whether the text of a field names the value; `low` is the field's smallest."""
    for item in field.split(","):
        base, _, step = item.partition("/")
        if base == "*":
            start, end = low, 99
        elif "-" in base:
            start, end = map(number, base.split("-"))
        else:
            start = number(base)
            end = 99 if step else start
        if start <= value <= end and (value - start) % int(step or 1) == 0:
            return True
    return False


def weekday_of(day: date) -> int:
    return day.isoweekday() % 7


def nearest_weekday(day: date) -> date:
    near = [day + timedelta(days=n) for n in (0, -1, 1, -2, 2)]
    return next(d for d in near if d.month == day.month and d.isoweekday() < 6)


def date_says(field: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    for item in field.split(","):
        if item == "L":
            hit = day.day == last
        elif item == "LW":
            hit = nearest_weekday(day.replace(day=last)) == day
        elif item.endswith("W"):
            hit = int(item[:-1]) <= last and nearest_weekday(day.replace(day=int(item[:-1]))) == day
        else:
            hit = says(item, day.day, 1)
        if hit:
            return True
    return False


def weekday_says(field: str, day: date) -> bool:
    ours = {weekday_of(day), weekday_of(day) or 7}
    last = calendar.monthrange(day.year, day.month)[1]
    for item in field.split(","):
        if match := re.fullmatch(r"(\w+)#(\d)", item):
            hit = number(match[1]) in ours and (day.day - 1) // 7 + 1 == int(match[2])
        elif match := re.fullmatch(r"(\w+)L", item):
            hit = number(match[1]) in ours and day.day + 7 > last
        else:
            base, _, step = item.partition("/")
            # 7 is only Sunday's second name: a star or an open step ends at Saturday
            closed = "-" in base or not step
            hit = any(
                says(item, value, 0) for value in (ours if base != "*" and closed else {weekday_of(day)})
            )
        if hit:
            return True
    return False


@lru_cache(maxsize=100_000)
def day_matches(expression: str, day_match: str, day: date) -> bool:
    _second, _minute, _hour, of_month, month, of_week = fields(expression)
    if not says(month, day.month, 1):
        return False
    if of_month == "*":
        return weekday_says(of_week, day)
    if of_week == "*":
        return date_says(of_month, day)
    both = date_says(of_month, day), weekday_says(of_week, day)
    return all(both) if day_match == "and" else any(both)


@lru_cache(maxsize=1000)
def times_of_day(expression: str) -> frozenset[int]:
    """The seconds of a day that the time fields name."""
    second, minute, hour, *_ = fields(expression)
    seconds = [s for s in range(60) if says(second, s, 0)]
    minutes = [m for m in range(60) if says(minute, m, 0)]
    return frozenset(
        h * 3600 + m * 60 + s for h in range(24) if says(hour, h, 0) for m in minutes for s in seconds
    )


class Shown(NamedTuple):
    """One step of a window: what the wall clock shows at an instant."""

    instant: datetime
    day: date
    time: int  # seconds since midnight
    again: bool  # shown before
    skipped: tuple[tuple[date, int], ...]  # days and times that the clocks jumped over to come here


def split(reading: datetime) -> tuple[date, int]:
    return reading.date(), reading.hour * 3600 + reading.minute * 60 + reading.second


@lru_cache(maxsize=4)
def readings(zone: str, start: datetime, end: datetime, seconds: int) -> list[Shown]:
    """What `zone` shows from `start` until before `end`, in steps."""
    tz, step = ZoneInfo(zone), timedelta(seconds=seconds)
    seen: set[datetime] = set()
    shown = []
    # Since 1990 no clock has been set back by more than 3 hours.
    instant = start - timedelta(hours=4)
    previous = instant.astimezone(tz).replace(tzinfo=None)
    while instant < end:
        reading = instant.astimezone(tz).replace(tzinfo=None)
        skipped = []
        while (previous := previous + step) < reading:
            skipped.append(split(previous))
        if instant >= start:
            shown.append(Shown(instant, *split(reading), reading in seen, tuple(skipped)))
        seen.add(reading)
        previous = reading
        instant += step
    return shown


def occurrences(
    expression: str,
    zone: str,
    start: datetime,
    end: datetime,
    *,
    day_match: str = "or",
    gap: str | None = None,
    overlap: str | None = None,
) -> list[datetime]:
    """Every occurrence in [start, end), which are whole minutes in UTC."""
    free = follows_the_clock(expression)
    makes_up = (gap or ("skip" if free else "run_after")) == "run_after"
    repeats = (overlap or ("both" if free else "first")) == "both"
    times = times_of_day(expression)

    def hit(day: date, time: int) -> bool:
        return time in times and day_matches(expression, day_match, day)

    return [
        at.instant
        for at in readings(zone, start, end, 60 if fields(expression)[0] == "0" else 1)
        if (at.time in times and (repeats or not at.again) and hit(at.day, at.time))
        or (at.skipped and makes_up and any(hit(*missed) for missed in at.skipped))
    ]


def transitions(zone: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """Each change of offset in (start, end]: the instant (UTC), the offset before and after."""
    tz = ZoneInfo(zone)

    def offset(instant: datetime) -> timedelta:
        shown = instant.astimezone(tz).utcoffset()
        assert shown is not None
        return shown

    day = start
    while day < end:
        low, high = day, day + timedelta(days=2)  # since 1990 no zone has kept an offset for less than a week
        if offset(low) != offset(high):
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                low, high = (middle, high) if offset(middle) == offset(day) else (low, middle)
            yield high.astimezone(UTC), offset(low), offset(high)
        day += timedelta(days=2)
