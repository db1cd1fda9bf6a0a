"""A brute-force reading of crontabs: every minute (or second) of a window is rendered and matched.

Slow and plain on purpose, and sharing nothing with the evaluator: its own fields, its own calendar, no search.
"""

import calendar
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import compress, pairwise
from typing import Any, NamedTuple
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


@cache
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


@cache
def hits(expression: str, day_match: str, day: date, step: int) -> bytes:
    """The day in steps of so many seconds: 1 where the expression matches, else 0."""
    return times_of_day(expression, step) if day_matches(expression, day_match, day) else bytes(86400 // step)


@cache
def times_of_day(expression: str, step: int) -> bytes:
    """The same for what the time fields name."""
    second, minute, hour, *_ = fields(expression)
    return bytes(
        says(hour, time // 3600, 0) and says(minute, time // 60 % 60, 0) and says(second, time % 60, 0)
        for time in range(0, 86400, step)
    )


class Window(NamedTuple):
    """What the wall clock shows from step to step: places in the `days`, which stand in a row."""

    instants: list[datetime]
    days: list[date]
    shown: list[slice]  # the places, step by step; those that follow each other are a slice
    again: list[int]  # steps that show what was shown before
    skipped: dict[int, list[int]]  # by step: the places that the clock jumped over to come there


@lru_cache(maxsize=4)
def window(zone: str, start: datetime, end: datetime, step: int) -> Window:
    """What `zone` shows from `start` until before `end`, in steps of so many seconds."""
    tz, first = ZoneInfo(zone), start.astimezone(ZoneInfo(zone)).toordinal() - 2
    since, until = int(start.timestamp()), int(end.timestamp())
    instants: list[datetime] = []
    shown: list[int] = []
    again: list[int] = []
    skipped: dict[int, list[int]] = {}
    seen: set[int] = set()
    previous = None
    # Since 1990 no clock has been set back by more than 3 hours.
    for second in range(since - 4 * 3600, until, step):
        local = datetime.fromtimestamp(second, tz)
        time = local.hour * 3600 + local.minute * 60 + local.second
        place = ((local.toordinal() - first) * 86400 + time) // step
        if second >= since:
            if place in seen:
                again.append(len(shown))
            if previous is not None and place > previous + 1:
                skipped[len(shown)] = list(range(previous + 1, place))
            instants.append(datetime.fromtimestamp(second, UTC))
            shown.append(place)
        seen.add(place)
        previous = place
    days = [date.fromordinal(first + n) for n in range(max(shown) * step // 86400 + 1)]
    breaks = [0, *(n for n in range(1, len(shown)) if shown[n] != shown[n - 1] + 1), len(shown)]
    slices = [slice(shown[low], shown[high - 1] + 1) for low, high in pairwise(breaks)]
    return Window(instants, days, slices, again, skipped)


def fires(
    expression: str,
    zone: str,
    start: datetime,
    end: datetime,
    *,
    day_match: str = "or",
    gap: str | None = None,
    overlap: str | None = None,
) -> bytes:
    """1 for each step in [start, end), whole minutes in UTC, at which it is due, else 0."""
    free = follows_the_clock(expression)
    step = step_of(expression)
    there = window(zone, start, end, step)
    says = b"".join(hits(expression, day_match, day, step) for day in there.days)
    due = bytearray(b"".join(says[places] for places in there.shown))
    if (overlap or ("both" if free else "first")) == "first":
        for n in there.again:
            due[n] = 0
    if (gap or ("skip" if free else "run_after")) == "run_after":
        for n, places in there.skipped.items():
            due[n] |= any(says[place] for place in places)
    return bytes(due)


def step_of(expression: str) -> int:
    """The seconds from step to step that show every occurrence."""
    return 60 if fields(expression)[0] == "0" else 1


def occurrences(expression: str, zone: str, start: datetime, end: datetime, **rules: Any) -> list[datetime]:
    """Every occurrence in [start, end); `rules` as for `fires`."""
    instants = window(zone, start, end, step_of(expression)).instants
    return list(compress(instants, fires(expression, zone, start, end, **rules)))


def transitions(zone: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """Each change of offset in (start, end]: the instant (UTC), the offset before and after."""
    tz = ZoneInfo(zone)
    # Since 1990 no zone has kept an offset for less than a week; no reading is further than a day from UTC's.
    marks = _every_fourth_day(start, end)
    offsets = [tz.utcoffset(mark) or timedelta() for mark in marks]
    for mark, (before, after) in zip(marks, pairwise(offsets), strict=False):
        if before != after:
            low = mark.replace(tzinfo=UTC) - before - timedelta(days=1)
            high = low + timedelta(days=6)
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                stands = middle.astimezone(tz).utcoffset() == before
                low, high = (middle, high) if stands else (low, middle)
            if start < high <= end:
                yield high, before, after


@cache
def _every_fourth_day(start: datetime, end: datetime) -> list[datetime]:
    """Wall clock readings from before `start` until after `end`."""
    days = range(-4, (end - start).days + 8, 4)
    return [start.replace(tzinfo=None) + timedelta(days=n) for n in days]
