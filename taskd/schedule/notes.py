"""What the clocks do to occurrences, in words."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain, pairwise
from typing import NamedTuple

from taskd.schedule.pattern import DAY
from taskd.schedule.rules import Rules, rules_of
from taskd.schedule.stretches import EPOCH, SECOND, Stretch, stretch_at, stretches_between
from taskd.schedule.trigger import Crontab, Trigger
from taskd.schedule.zones import zone


class ClockChange(NamedTuple):
    """A change of the clocks that touches a schedule."""

    at: datetime  # UTC
    note: str
    loses_day: bool  # nothing fires on a day on which something would have
    loses: bool  # what they skip isn't made up for


def note_of(trigger: Trigger, occurrence: datetime) -> str | None:
    """What the clocks did to an occurrence, for people; None for an ordinary one."""
    if not isinstance(trigger, Crontab):
        return None
    rules, instant = rules_of(trigger), (occurrence - EPOCH) // SECOND
    stretch = stretch_at(trigger.timezone, instant)
    if instant == stretch.start and rules.lands(stretch):
        low, high = stretch.start + stretch.before, stretch.start + stretch.offset
        verb = "also stands for" if rules.pattern.count(high, high + 1) else "moved from"
        return f"{verb} {_readings(rules, low, high)}, which the clocks skip"
    local = occurrence.astimezone(zone(trigger.timezone))
    passes = [local.replace(fold=fold).utcoffset() for fold in (0, 1)]
    if passes[0] == passes[1]:
        return None
    shown = local.strftime("%H:%M:%S").removesuffix(":00")
    if rules.repeats:
        return f"{'second' if local.fold else 'first'} of two: the clocks show {shown} twice"
    return f"the first of two {shown}, the second doesn't fire"


def noted(
    trigger: Trigger, since: datetime, occurrences: Iterable[datetime]
) -> Iterator[tuple[datetime, str | None]]:
    """Each occurrence with what the clocks did to it, or took away between the one before (first `since`) and it."""
    for before, at in pairwise(chain([since], occurrences)):
        changes = [change for change in clock_changes(trigger, before, at) if change.loses]
        lost = [_dated(change, trigger, at) for change in changes]
        yield at, "; ".join(filter(None, [note_of(trigger, at), *lost])) or None


def _dated(change: ClockChange, trigger: Trigger, beside: datetime) -> str:
    """A change's note, with its day where that isn't the day of `beside`."""
    assert isinstance(trigger, Crontab)
    day, other = (f"{at.astimezone(zone(trigger.timezone)):%Y-%m-%d}" for at in (change.at, beside))
    return change.note if day == other else f"on {day} {change.note}"


def clock_changes(trigger: Trigger, after: datetime, until: datetime) -> list[ClockChange]:
    """The changes of the clocks in (after, until] that touch readings of a crontab, in order."""
    if not isinstance(trigger, Crontab):
        return []
    rules = rules_of(trigger)
    start, end = ((instant - EPOCH) // SECOND + 1 for instant in (after, until))
    stretches = stretches_between(trigger.timezone, start, end)
    return [change for stretch in stretches if stretch.start >= start and (change := _change(rules, stretch))]


def _change(rules: Rules, stretch: Stretch) -> ClockChange | None:
    """What the start of a stretch does, if that touches the schedule."""
    low, high = sorted((stretch.start + stretch.before, stretch.start + stretch.offset))
    touched = rules.pattern.count(low, high)
    if not touched:
        return None
    readings = _readings(rules, low, high)
    midnight = low - low % DAY
    loses = loses_day = False
    if stretch.before > stretch.offset:
        note = f"the clocks show {readings} twice: {'both fire' if rules.repeats else 'the first fires'}"
    elif rules.makes_up:
        note = f"the clocks skip {readings}: made up for at {_shown(high, low)}"
    else:
        loses = True
        loses_day = rules.pattern.count(midnight, midnight + DAY) == touched
        note = f"the clocks skip {readings}: nothing fires {'that day' if loses_day else 'instead'}"
    return ClockChange(EPOCH + stretch.start * SECOND, note, loses_day, loses)


def _readings(rules: Rules, low: int, high: int) -> str:
    """The matching readings in [low, high), of which there is one."""
    count, first = rules.pattern.count(low, high), rules.pattern.at_or_after(low)
    assert first is not None
    return _shown(first, high) + (f" and {count - 1} more" if count > 1 else "")


def _shown(reading: int, beside: int) -> str:
    """Hours and minutes, with the date where it isn't that of the reading `beside`, seconds where there are any."""
    day, other = (f"{EPOCH + timedelta(seconds=at):%Y-%m-%d }" for at in (reading, beside))
    time = f"{EPOCH + timedelta(seconds=reading):%H:%M:%S}".removesuffix(":00")
    return time if day == other else day + time
