"""A crontab or an interval in words: what it says, what each field comes to, and what it does where the clocks jump.

cron-descriptor finds good words for plain expressions. It gets lists that hold an L, W or # wrong, and steps that
don't divide their field ("every 7 minutes"), so those get a listing of their fields.
"""

import re
from dataclasses import dataclass
from typing import Literal

from cron_descriptor import Options, get_description

from taskd.schedule.crontab import fields_of, parse
from taskd.schedule.duration import shown
from taskd.schedule.pattern import as_list
from taskd.schedule.trigger import Crontab, Interval

_OPTIONS = Options(
    locale_code="en_US",  # else the machine's language
    use_24hour_time_format=True,
    day_of_week_start_index_zero=True,
)

_SIMPLE = r"\*|\w+(,\w+)*|\w+-\w+"
_SIXTIETHS = rf"{_SIMPLE}|\*/(1|2|3|4|5|6|10|12|15|20|30)"
_PLAIN = {
    "second": _SIXTIETHS,
    "minute": _SIXTIETHS,
    "hour": rf"{_SIMPLE}|\*/(1|2|3|4|6|8|12)",
    "day-of-month": r"\*|\d+(,\d+)*|\d+-\d+|l|lw|\d+w",
    "month": _SIMPLE,
    "day-of-week": r"\*|(?!0-7|sun-7)(\d|[a-z]{3})-(\d|[a-z]{3})|(\d|[a-z]{3})(,(\d|[a-z]{3}))*|\dl|l\d|\w+#\d",
}
_MEANS = {
    "wildcard": "it follows the clock: what the clocks skip isn't made up for, what they repeat fires twice",
    "fixed": "it follows the day's plan: what the clocks skip fires once, right after; what they repeat, the first time",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a trigger says. `fields`: by name, the values that each comes to; `kind` and `means` are a crontab's class."""

    words: str
    fields: dict[str, str]
    kind: Literal["wildcard", "fixed"] | None = None
    means: str | None = None


def explain(trigger: Crontab | Interval) -> Explanation:
    """The trigger in words; raises InvalidSchedule for a crontab that was never validated."""
    if isinstance(trigger, Interval):
        since = trigger.anchor.isoformat() if trigger.anchor else "1970-01-01T00:00:00+00:00"
        return Explanation(f"Every {shown(trigger.seconds)}, counted from {since}", {})
    fields = _listed(trigger)
    words = _described(trigger) or _own_words(trigger, fields)
    kind: Literal["wildcard", "fixed"] = "wildcard" if parse(trigger.expression).wildcard else "fixed"
    return Explanation(words, fields, kind, _MEANS[kind])


def _described(trigger: Crontab) -> str | None:
    """cron-descriptor's words, where they can be relied on."""
    fields = fields_of(trigger.expression)
    second, minute, hour, date, _month, weekday = fields.values()
    times_are_plain = second == "0" and minute.isdigit()
    if (
        not all(re.fullmatch(_PLAIN[name], text) for name, text in fields.items())
        or ("*" not in (date, weekday) and trigger.day_match == "and")
        # It would say "at 15 and 45 minutes past the hour, at 09:00".
        or (re.fullmatch(r"\d+(,\d+)*", hour) and "," in second + minute + hour and not times_are_plain)
    ):
        return None
    return str(get_description(" ".join(fields.values()).upper(), _OPTIONS))


def _own_words(trigger: Crontab, fields: dict[str, str]) -> str:
    told = {name: f"{name} {text}" for name, text in fields.items() if (name, text) != ("second", "0")}
    told = {name: text for name, text in told.items() if fields[name] != "every"}
    days = [told.pop(name) for name in ("day-of-month", "day-of-week") if name in told]
    parts = [*told.values(), *([f" {trigger.day_match} ".join(days)] if days else [])]
    return f"When the clock shows {', '.join(parts)}"


def _listed(trigger: Crontab) -> dict[str, str]:
    """What each field comes to; the fields of days as they are written."""
    pattern = parse(trigger.expression, trigger.day_match)
    values = {
        "second": pattern.seconds,
        "minute": pattern.minutes,
        "hour": pattern.hours,
        "month": pattern.months,
    }
    listed = {}
    for name, text in fields_of(trigger.expression).items():
        mine = as_list(values[name]) if name in values else text
        listed[name] = "every" if text == "*" else mine
    return listed
