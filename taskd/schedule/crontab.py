"""Crontab expressions: text to Pattern, or one sentence that says what is wrong.

    [second] minute hour day-of-month month day-of-week       or @hourly @daily @midnight @weekly @monthly @yearly
    *   5   1-5   */15   1-31/2   10/5   1,15   mon   jan      in every field; 7 is Sunday too
    L  LW  15W                                                 the last day, the last weekday, the weekday nearest
    5L (or L5)  5#2                                            the month's last Friday, its second
    H  H(0-29)  H/15                                           a value hashed from an identity, see resolve_hash

croniter's reading isn't used: it takes `59-59` for the whole field, wraps `22-2`, can't list `1,15W`, muddles the two
day fields once one has W or #, and names no field in its errors. Ours shares nothing with it, so that the tests can
hold one against the other.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from hashlib import blake2b
from typing import NamedTuple

from taskd.errors import InvalidSchedule
from taskd.schedule.pattern import DayRule, Pattern
from taskd.schedule.trigger import DayMatch

LONGEST = 256

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class InvalidCrontab(InvalidSchedule):
    """An expression that can't be read: `field` is the bad one's name, where one is to blame."""

    def __init__(self, expression: str, problem: str, field: str | None = None) -> None:
        shown = expression if len(expression) <= LONGEST else expression[:40] + "…"
        super().__init__(f"crontab {shown!r}: {problem}")
        self.field = field


class ImpossibleCrontab(InvalidSchedule):
    """A crontab that can never match, such as 30 February."""

    def __init__(self, expression: str) -> None:
        super().__init__(f"crontab {expression!r} never occurs: no such day comes in any year")


class _Field(NamedTuple):
    name: str
    low: int
    high: int  # of `*` and of `n/step`
    names: tuple[str, ...] = ()  # of low, low + 1, …
    forms: str = ""  # what else may stand here

    @property
    def allowed(self) -> str:
        named = f", {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.low}-{self.high}{named}{self.forms}, lists, ranges and steps of these, or *"


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SECOND, _MINUTE, _HOUR = _Field("second", 0, 59), _Field("minute", 0, 59), _Field("hour", 0, 23)
_DATE = _Field("day-of-month", 1, 31, forms=", L, LW, 15W")
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day-of-week", 0, 6, _WEEKDAYS, ", 7, 5L, 5#2")
_FIELDS = (_SECOND, _MINUTE, _HOUR, _DATE, _MONTH, _WEEKDAY)

_HASH = re.compile(r"h(?:\(([0-9]+)-([0-9]+)\))?(?:/([0-9]+))?")
_RANDOM = re.compile(r"r(?:\(.*\))?(?:/.*)?")


def validate(expression: str, day_match: DayMatch = "or", *, day_match_given: bool = False) -> None:
    """Raises InvalidCrontab or ImpossibleCrontab for what must not be scheduled.

    Without an explicit `day_match`, `*/N` in one day field and a restriction in the other are refused: Vixie cron
    takes both, others take either, and who wrote it meant one of them.
    """
    parse(expression, day_match)
    if not day_match_given and needs_day_match(expression):
        *_, date, _month, weekday = _split(expression)
        field = _DATE if date[0] == "*" else _WEEKDAY
        problem = (
            f"{date!r} in the day-of-month field with {weekday!r} in the day-of-week field is read differently by "
            "different crons: say day_match: and (both must match) or day_match: or (either)"
        )
        raise InvalidCrontab(expression, problem, field.name)


def needs_day_match(expression: str) -> bool:
    """Whether a valid crontab would be refused without `day_match`; what its H becomes makes no difference."""
    *_, date, _month, weekday = _split(expression)
    return "*" not in (date, weekday) and "*" in (date[0], weekday[0])


def is_wildcard(expression: str) -> bool:
    """Whether it follows the clock through both passes of a repeated hour: minute or hour begins with `*`.

    The rule is Debian's: cron(8), on jobs that run "at a specific time" and jobs that don't. What its H becomes makes
    no difference.
    """
    _second, minute, hour, *_ = _split(expression)
    return minute.startswith("*") or hour.startswith("*")


def fields_of(expression: str) -> dict[str, str]:
    """The six fields by name, seconds first, in lower case."""
    return {field.name: text for field, text in zip(_FIELDS, _split(expression), strict=True)}


def resolve_hash(expression: str, uid: str) -> str:
    """The expression with each H replaced by a value that depends only on `uid` and the field.

    H in the day-of-month field stays within 1-28, so that it comes every month.
    """
    fields = _split(expression)
    if not any(_HASH.fullmatch(item) for text in fields for item in text.split(",")):
        return expression
    resolved = [
        ",".join(_resolve_item(expression, field, item, uid) for item in text.split(","))
        for field, text in zip(_FIELDS, fields, strict=True)
    ]
    return " ".join(resolved if len(expression.split()) == len(_FIELDS) else resolved[1:])


def _resolve_item(expression: str, field: _Field, item: str, uid: str) -> str:
    match = _HASH.fullmatch(item)
    if match is None:
        return item
    digest = blake2b(f"{field.name} {uid}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    low, high = field.low, 28 if field is _DATE else field.high
    if match[1]:
        low, high = _ordered(
            expression, field, item, *(_value(expression, field, item, end) for end in match.group(1, 2))
        )
    if match[3]:
        step = _step(expression, field, item, match[3])
        return f"{low + number % min(step, high - low + 1)}-{high}/{step}"
    return str(low + number % (high - low + 1))


@lru_cache(maxsize=16384)
def parse(expression: str, day_match: DayMatch = "or") -> Pattern:
    """The pattern of a crontab without H; raises InvalidCrontab or ImpossibleCrontab."""
    second, minute, hour, date, month, weekday = _split(expression)
    pattern = Pattern(
        seconds=_values(expression, _SECOND, second),
        minutes=_values(expression, _MINUTE, minute),
        hours=_values(expression, _HOUR, hour),
        months=frozenset(_values(expression, _MONTH, month)),
        day_rule=_day_rule(
            None if date == "*" else [_date_rule(expression, item) for item in date.split(",")],
            None if weekday == "*" else [_weekday_rule(expression, item) for item in weekday.split(",")],
            day_match,
        ),
        wildcard=is_wildcard(expression),
    )
    if not pattern.ever_matches():
        raise ImpossibleCrontab(expression)
    return pattern


def _split(expression: str) -> list[str]:
    """The six fields in lower case, seconds first ('0' where they aren't written)."""
    if len(expression) > LONGEST:
        raise InvalidCrontab(expression, f"{len(expression)} characters are too many: at most {LONGEST}")
    if not expression.isascii():
        raise InvalidCrontab(expression, "only ASCII letters, digits and * / - , # ( ) @ can stand in it")
    fields = expression.lower().split()
    if len(fields) == 1 and fields[0].startswith("@"):
        if fields[0] not in _ALIASES:
            raise InvalidCrontab(expression, f"there is no such alias: write one of {', '.join(_ALIASES)}")
        fields = _ALIASES[fields[0]].split()
    if len(fields) == len(_FIELDS) - 1:
        fields = ["0", *fields]
    if len(fields) != len(_FIELDS):
        years = " (years are not supported)" if len(fields) > len(_FIELDS) else ""
        raise InvalidCrontab(
            expression,
            f"{len(fields)} fields{years}: write minute, hour, day-of-month, month, day-of-week, "
            "with second before them if it takes seconds",
        )
    return fields


def _values(expression: str, field: _Field, text: str) -> tuple[int, ...]:
    return tuple(sorted({value for item in text.split(",") for value in _item(expression, field, item)}))


def _item(expression: str, field: _Field, item: str) -> Iterable[int]:
    """The values of `*`, `a`, `a-b`, each with or without a step; 7 becomes 0 among weekdays."""
    _refuse_hash(expression, field, item)
    base, slash, step = item.partition("/")
    start, dash, end = base.partition("-")
    if base == "*":
        low, high = field.low, field.high
    elif dash:
        low, high = (_value(expression, field, item, text) for text in (start, end))
        low, high = _ordered(expression, field, item, low, high)
    else:
        low = _value(expression, field, item, base)
        high = max(low, field.high) if slash else low
    values = range(low, high + 1, _step(expression, field, item, step) if slash else 1)
    return {value % 7 for value in values} if field is _WEEKDAY else values


def _refuse_hash(expression: str, field: _Field, item: str) -> None:
    if _HASH.fullmatch(item):
        problem = f"{item!r} in the {field.name} field stands for a value hashed from a schedule's name, and there is none here"
        raise InvalidCrontab(expression, problem, field.name)
    if _RANDOM.fullmatch(item):
        problem = f"{item!r} in the {field.name} field would be random: write H, which is hashed from the schedule's name"
        raise InvalidCrontab(expression, problem, field.name)


def _value(expression: str, field: _Field, item: str, text: str) -> int:
    """The number that `text`, a part of `item`, stands for."""
    if text in field.names:
        return field.names.index(text) + field.low
    highest = 7 if field is _WEEKDAY else field.high
    if re.fullmatch(r"[0-9]{1,9}", text) and field.low <= int(text) <= highest:
        return int(text)
    problem = f"{item!r} can't stand in the {field.name} field: it takes {field.allowed}"
    raise InvalidCrontab(expression, problem, field.name)


def _ordered(expression: str, field: _Field, item: str, low: int, high: int) -> tuple[int, int]:
    if low <= high:
        return low, high
    parts = (str(a) if a == b else f"{a}-{b}" for a, b in ((low, field.high), (field.low, high)))
    problem = (
        f"{item!r} in the {field.name} field runs backwards: write {','.join(parts)} if it is to go round"
    )
    raise InvalidCrontab(expression, problem, field.name)


def _step(expression: str, field: _Field, item: str, text: str) -> int:
    longest = field.high - field.low
    if re.fullmatch(r"[0-9]{1,9}", text) and 1 <= int(text) <= longest:
        return int(text)
    problem = f"{item!r} in the {field.name} field: its step must be 1 to {longest}"
    raise InvalidCrontab(expression, problem, field.name)


def _day_rule(dates: list[DayRule] | None, weekdays: list[DayRule] | None, day_match: DayMatch) -> DayRule:
    """Both day fields as one rule (None is `*`), remembered: there are only 28 kinds of month."""

    def days(rules: list[DayRule] | None, first: int, length: int) -> set[int]:
        if rules is None:
            return set(range(1, length + 1))
        return {day for rule in rules for day in rule(first, length) if day <= length}

    def rule(first: int, length: int) -> tuple[int, ...]:
        by_date, by_weekday = days(dates, first, length), days(weekdays, first, length)
        either = day_match == "or" and dates is not None and weekdays is not None
        return tuple(sorted(by_date | by_weekday if either else by_date & by_weekday))

    return cache(rule)


def _date_rule(expression: str, item: str) -> DayRule:
    """An item of the day-of-month field. A month without the day passes it over, W or not."""
    if item == "l":
        return lambda _first, length: (length,)
    if item == "lw":
        return lambda first, length: (_nearest_weekday(length, first, length),)
    if item.endswith("w"):
        day = _value(expression, _DATE, item, item[:-1])
        return lambda first, length: (_nearest_weekday(day, first, length),) if day <= length else ()
    values = tuple(_item(expression, _DATE, item))
    return lambda _first, _length: values


def _nearest_weekday(day: int, first: int, length: int) -> int:
    """The Monday to Friday nearest to `day`, in the same month."""
    match _weekday(day, first):
        case 6:
            return day - 1 if day > 1 else day + 2
        case 0:
            return day + 1 if day < length else day - 2
    return day


def _weekday(day: int, first: int) -> int:
    return (first + day - 1) % 7


def _weekday_rule(expression: str, item: str) -> DayRule:
    """An item of the day-of-week field."""
    name, sharp, nth = item.partition("#")
    if sharp:
        weekday = _value(expression, _WEEKDAY, item, name) % 7
        if nth not in {"1", "2", "3", "4", "5"}:
            problem = f"{item!r} in the day-of-week field: a month has a 1st to 5th of a weekday"
            raise InvalidCrontab(expression, problem, _WEEKDAY.name)
        return lambda first, _length: (1 + (weekday - first) % 7 + 7 * (int(nth) - 1),)
    if last := re.fullmatch(r"(\w+)l|l(\w+)", item):
        weekday = _value(expression, _WEEKDAY, item, last[1] or last[2]) % 7
        return lambda first, length: tuple(
            d for d in range(length - 6, length + 1) if _weekday(d, first) == weekday
        )
    values = frozenset(_item(expression, _WEEKDAY, item))
    return lambda first, length: tuple(d for d in range(1, length + 1) if _weekday(d, first) in values)
