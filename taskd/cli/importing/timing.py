"""Celery's schedules → the keys of a trigger."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from celery import schedules
from celery.utils.time import delta_resolution

from taskd.cli.importing.entry import moment, whole_seconds
from taskd.errors import InvalidSchedule
from taskd.schedule.duration import shown
from taskd.tzcrontab import TzCrontab

Timing = tuple[dict[str, Any], tuple[str, ...]]
"""Keys of the trigger, and notes."""

FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
NO_PHASE = (
    "its phase isn't known, so it counts from the epoch: the first interval may be shorter than the others"
)


def timing_of(schedule: Any, since: datetime | None) -> Timing:
    """The keys for one of Celery's schedules; an interval counts on from `since`, when it last ran, if that is known.

    Raises InvalidSchedule for what taskd has no counterpart of.
    """
    match schedule:
        case TzCrontab():
            trigger = schedule.trigger
            return crontab_keys(schedule.fields, trigger.timezone, trigger.day_match), ()
        case schedules.crontab():
            fields = {name: getattr(schedule, f"_orig_{name}") for name in FIELDS}
            return crontab_keys(fields, zone_name(schedule.tz)), ()
        case schedules.solar():
            raise InvalidSchedule(
                f"{schedule.event} at {schedule.lat}, {schedule.lon}: the sun has no counterpart here; choose a crontab,"
                " or let a task of its own wait for the sun"
            )
    if type(schedule) is schedules.schedule:
        interval: Any = schedule  # the stubs misspell what it has
        return interval_keys(interval.run_every, since, interval.tz if interval.relative else None)
    raise InvalidSchedule(f"{type(schedule).__name__} is a schedule that only its own program can evaluate")


def crontab_keys(fields: Mapping[str, Any], timezone: str, day_match: str = "and") -> dict[str, Any]:
    """The keys for the five fields of a crontab in Celery's words; it wants both days where both are restricted."""
    expression = TzCrontab(**fields, timezone=timezone).expression
    keys = {"crontab": expression, "timezone": timezone}
    *_, date, _month, weekday = expression.split()
    return keys | ({"day_match": day_match} if "*" not in (date, weekday) else {})


def interval_keys(every: timedelta, since: datetime | None, rounded: tzinfo | None = None) -> Timing:
    """The keys for an interval that last ran at `since`; `rounded`: on the full day, hour or minute of that zone."""
    seconds = whole_seconds(every.total_seconds())
    if rounded is not None:
        return _rounded_keys(every, seconds, since, rounded)
    if since is None:
        return {"interval": shown(seconds)}, (NO_PHASE,)
    return {"interval": shown(seconds), "start_time": moment(since)}, ()


def zone_name(tz: Any) -> str:
    """The IANA name of a time zone; raises InvalidSchedule where it has none."""
    name = getattr(tz, "key", None) or getattr(tz, "zone", None)
    if name is None and tz in (UTC, ZoneInfo("UTC")):
        name = "UTC"
    if name is None:
        raise InvalidSchedule(f"its time zone ({tz}) has no IANA name")
    return str(name)


def _rounded_keys(every: timedelta, seconds: int, since: datetime | None, tz: tzinfo) -> Timing:
    if every == timedelta(days=1):
        return {"crontab": "0 0 * * *", "timezone": zone_name(tz)}, ()
    if since is None and every < timedelta(days=1) and not timedelta(days=1) % every:
        return {"interval": shown(seconds)}, (
            "relative: it counts from the epoch, so it comes on full units",
        )
    if since is None:
        return {"interval": shown(seconds)}, ("relative, and its phase isn't known: check it",)
    local = (since if since.tzinfo else since.replace(tzinfo=UTC)).astimezone(tz)
    start = delta_resolution(local, every)
    notes = (
        ()
        if every.days == 0
        else ("relative: it stays at this instant of the day in UTC, not on the wall clock",)
    )
    return {"interval": shown(seconds), "start_time": moment(start)}, notes
