"""Crontabs, intervals and times as they are typed."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click
from pydantic import ValidationError

from taskd.cli import output
from taskd.errors import InvalidSchedule
from taskd.schedule.faults import faults_of
from taskd.schedule.spec import ScheduleSpec
from taskd.schedule.trigger import Crontab, Date, Interval
from taskd.schedule.zones import instant_of

_SHAPES = {
    "crontab": re.compile(r"@\w+|[-\d*?HhRrL,/()]+(\s+\S+){4,5}"),
    "interval": re.compile(r"(\d+[dhms])+|P[\dTDHMS]+", re.IGNORECASE),
}


def trigger_of(text: str, tz: ZoneInfo) -> Crontab | Interval | None:
    """The trigger that an expression is, read in `tz`; None for what looks like a name. Raises InvalidSchedule."""
    key = next((key for key, shape in _SHAPES.items() if shape.fullmatch(text.strip())), None)
    if key is None:
        return None
    try:
        trigger = ScheduleSpec.read({"name": "expression", "task": "none", key: text.strip()}, tz.key).trigger
    except ValidationError as error:
        raise InvalidSchedule("; ".join(str(fault) for fault in faults_of(error))) from error
    assert not isinstance(trigger, Date)
    if isinstance(trigger, Crontab) and trigger.expression != " ".join(text.split()):
        output.say("H depends on the schedule's name: what follows is one of many")
    return trigger


def instant(text: str | None, tz: ZoneInfo) -> datetime | None:
    """The instant that `--from` means; None stays None."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} isn't a time: write it like 2026-03-29T00:00", param_hint="--from"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else instant_of(moment, tz)
