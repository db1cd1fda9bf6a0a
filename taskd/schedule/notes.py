"""What the clocks did to an occurrence, in words."""

from datetime import datetime, timedelta

from taskd.schedule.rules import Rules, rules_of
from taskd.schedule.stretches import EPOCH, SECOND, Stretch, stretch_at
from taskd.schedule.trigger import Crontab, Trigger
from taskd.schedule.zones import zone


def note_of(trigger: Trigger, occurrence: datetime) -> str | None:
    """What the clocks did to an occurrence, for people; None for an ordinary one."""
    if not isinstance(trigger, Crontab):
        return None
    rules, instant = rules_of(trigger), (occurrence - EPOCH) // SECOND
    stretch = stretch_at(trigger.timezone, instant)
    if instant == stretch.start and rules.lands(stretch):
        return _note_of_gap(rules, stretch)
    local = occurrence.astimezone(zone(trigger.timezone))
    passes = [local.replace(fold=fold).utcoffset() for fold in (0, 1)]
    if passes[0] == passes[1]:
        return None
    reading = local.strftime("%H:%M:%S").removesuffix(":00")
    if rules.repeats:
        return f"{'second' if local.fold else 'first'} of two: the clocks show {reading} twice"
    return f"the first of two {reading}, the second doesn't fire"


def _note_of_gap(rules: Rules, stretch: Stretch) -> str:
    low, high = stretch.start + stretch.before, stretch.start + stretch.offset
    count, first = rules.pattern.count(low, high), rules.pattern.at_or_after(low)
    assert first is not None
    shown = f"{EPOCH + timedelta(seconds=first):%Y-%m-%d %H:%M:%S}".removesuffix(":00")
    shown = shown.removeprefix(f"{EPOCH + timedelta(seconds=high):%Y-%m-%d }")
    skipped = shown if count == 1 else f"{shown} and {count - 1} more"
    verb = "also stands for" if rules.pattern.count(high, high + 1) else "moved from"
    return f"{verb} {skipped}, which the clocks skip"
