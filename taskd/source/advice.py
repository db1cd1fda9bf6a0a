"""Warnings about valid schedules: they run, but perhaps not as their author thinks."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from taskd.schedule.notes import clock_changes
from taskd.schedule.rules import rules_of
from taskd.schedule.spec import ScheduleSpec
from taskd.schedule.trigger import Crontab

# A year far ahead shows a zone's standing rules, whatever the time is now.
_YEAR = datetime(2040, 1, 1, tzinfo=UTC), datetime(2041, 1, 1, tzinfo=UTC)


def advice_on(spec: ScheduleSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    """(the keys that it may be about, the first that is given counts; the sentence) of each warning."""
    if spec.interval_seconds and spec.interval_seconds % 86_400 == 0:
        sentence = "interval: counts elapsed time, not the wall clock: use a crontab for a time of day"
        yield ("interval", "interval_seconds"), sentence
    if spec.expires and spec.expires < spec.jitter:
        sentence = f"expires: {spec.expires}s is shorter than the jitter, {spec.jitter}s: it counts from the delayed start"
        yield ("expires",), sentence
    if isinstance(trigger := spec.trigger, Crontab) and (lost := _lost_day(trigger)):
        yield ("crontab",), f"crontab: {lost}; dst: {{gap: run_after}} makes up for it"


@lru_cache(maxsize=16384)  # thousands of schedules share a crontab
def _lost_day(trigger: Crontab) -> str | None:
    """What the clocks do to the only window of a day, where nothing fires on that day."""
    rules = rules_of(trigger)
    if rules.makes_up or len(rules.pattern.hours) == 24:
        return None
    return next((change.note for change in clock_changes(trigger, *_YEAR) if change.loses_day), None)
