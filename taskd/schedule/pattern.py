"""A crontab as a pattern of wall clock readings, which can be searched both ways and counted.

A reading is an int: the seconds since 1970-01-01 00:00 that a wall clock without a zone shows. Nothing here
knows of zones or of clocks that jump (timing.py does).
"""

from bisect import bisect_left
from calendar import isleap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, date
from itertools import groupby
from typing import NamedTuple

DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST, _LAST = date.min.toordinal() - _EPOCH, date.max.toordinal() - _EPOCH
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

DayRule = Callable[[int, int], tuple[int, ...]]
"""(weekday of the 1st with Sunday = 0, length of the month) → its matching days, sorted."""


class _Month(NamedTuple):
    number: int
    first: int  # days from 1970-01-01 to its 1st
    length: int


def _month_of(day: int) -> tuple[int, _Month]:
    """The year and month that `day` (days since 1970-01-01) is in."""
    at = date.fromordinal(day + _EPOCH)
    return at.year, _Month(at.month, day - at.day + 1, _length(at.year, at.month))


def _length(year: int, month: int) -> int:
    return _LENGTHS[month - 1] + (month == 2 and isleap(year))


def _months_from(day: int) -> Iterator[_Month]:
    year, month = _month_of(day)
    while year <= MAXYEAR:
        yield month
        year, number = (year + 1, 1) if month.number == 12 else (year, month.number + 1)
        month = _Month(number, month.first + month.length, _length(year, number))


def _months_back_from(day: int) -> Iterator[_Month]:
    year, month = _month_of(day)
    while year >= 1:
        yield month
        year, number = (year - 1, 12) if month.number == 1 else (year, month.number - 1)
        length = _length(year, number)
        month = _Month(number, month.first - length, length)


def as_list(values: Iterable[int]) -> str:
    """`[1, 2, 3, 7]` as a field: `1-3,7`. The shortest there is without steps."""
    ordered = sorted(set(values))
    groups = [list(group) for _, group in groupby(ordered, key=lambda value: value - ordered.index(value))]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in groups)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Sorted values of the time fields, the months, and the rule for the days of a month."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    day_rule: DayRule
    wildcard: bool  # the minute or the hour field begins with `*`

    def at_or_after(self, reading: int) -> int | None:
        """The first matching reading that isn't before `reading`; None beyond the year 9999."""
        today, time = divmod(reading, DAY)
        day = self._day_from(today)
        if day == today:
            rank = self._rank(time)
            if rank < self._per_day:
                return day * DAY + self._pick(rank)
            day = self._day_from(today + 1)
        return None if day is None else day * DAY + self._pick(0)

    def at_or_before(self, reading: int) -> int | None:
        """The last matching reading that isn't after `reading`; None before the year 1."""
        today, time = divmod(reading, DAY)
        day = self._day_back_from(today)
        if day == today:
            rank = self._rank(time + 1)
            if rank:
                return day * DAY + self._pick(rank - 1)
            day = self._day_back_from(today - 1)
        return None if day is None else day * DAY + self._pick(self._per_day - 1)

    def count(self, low: int, high: int) -> int:
        """How many readings in [low, high) match: whole days by arithmetic, never one by one."""
        if high <= low:
            return 0
        (first, since), (last, until) = divmod(low, DAY), divmod(high, DAY)
        days = self._count_days(first, last)
        opening, closing = self._count_days(first, first + 1), self._count_days(last, last + 1)
        return days * self._per_day - opening * self._rank(since) + closing * self._rank(until)

    def marks(self, low: int, high: int) -> int:
        """The matching readings in [low, high) as bits: bit n stands for low + n. For weeks, not for years."""
        if high <= low:
            return 0
        first, last, of_a_day, marks = low // DAY, (high - 1) // DAY, self._marks_of_a_day(), 0
        day = self._day_from(first, last)
        while day is not None and day <= last:
            marks |= of_a_day << (day - first) * DAY
            day = self._day_from(day + 1, last)
        return marks >> (low - first * DAY) & ((1 << (high - low)) - 1)

    def ever_matches(self) -> bool:
        """Whether any day matches: 28 years between two skipped leap years show every kind of year."""
        since, until = (date(year, 1, 1).toordinal() - _EPOCH for year in (2000, 2028))
        return self._day_from(since, until) is not None

    @property
    def _per_day(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    def _marks_of_a_day(self) -> int:
        of_a_minute = sum(1 << second for second in self.seconds)
        of_an_hour = sum(of_a_minute << minute * 60 for minute in self.minutes)
        return sum(of_an_hour << hour * 3600 for hour in self.hours)

    def _rank(self, time: int) -> int:
        """How many matches a matching day has before `time` (seconds since its midnight, up to DAY)."""
        minute, second = divmod(time, 60)
        hour, minute = divmod(minute, 60)
        seconds, minutes = len(self.seconds), len(self.minutes)
        i = bisect_left(self.hours, hour)
        rank = i * minutes * seconds
        if i < len(self.hours) and self.hours[i] == hour:
            j = bisect_left(self.minutes, minute)
            rank += j * seconds
            if j < minutes and self.minutes[j] == minute:
                rank += bisect_left(self.seconds, second)
        return rank

    def _pick(self, rank: int) -> int:
        """The time of day with that rank."""
        rank, second = divmod(rank, len(self.seconds))
        hour, minute = divmod(rank, len(self.minutes))
        return self.hours[hour] * 3600 + self.minutes[minute] * 60 + self.seconds[second]

    def _days(self, month: _Month) -> tuple[int, ...]:
        if month.number not in self.months:
            return ()
        return self.day_rule((month.first + _EPOCH) % 7, month.length)

    def _day_from(self, day: int, until: int = _LAST) -> int | None:
        day = max(day, _FIRST)
        if day > _LAST:
            return None
        for month in _months_from(day):
            if month.first > until:
                break
            days = self._days(month)
            i = bisect_left(days, day - month.first + 1)
            if i < len(days):
                return month.first + days[i] - 1
        return None

    def _day_back_from(self, day: int) -> int | None:
        day = min(day, _LAST)
        if day < _FIRST:
            return None
        for month in _months_back_from(day):
            days = self._days(month)
            i = bisect_left(days, day - month.first + 2)
            if i:
                return month.first + days[i - 1] - 1
        return None

    def _count_days(self, first: int, last: int) -> int:
        """Matching days in [first, last)."""
        first, last = max(first, _FIRST), min(last, _LAST + 1)
        if first >= last:
            return 0
        count = 0
        for month in _months_from(first):
            if month.first >= last:
                break
            days = self._days(month)
            count += bisect_left(days, last - month.first + 1) - bisect_left(days, first - month.first + 1)
        return count
