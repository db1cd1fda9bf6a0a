"""What a crontab does where the clocks jump.

A crontab is matched against wall clock readings within stretches of constant UTC offset. Where two stretches meet,
the expression's class decides, unless `dst` does:

    class       is                                   in a gap                           in a repeated stretch
    wildcard    minute or hour begins with `*`       nothing (skip)                     both passes fire
    fixed       everything else                      all matches collapse into one,     the first pass fires
                                                     at the first instant after it

Wildcard schedules follow elapsed time, fixed ones the day's plan, as in Debian's cron(8).
"""

from functools import lru_cache
from typing import NamedTuple

from taskd.schedule.crontab import parse
from taskd.schedule.pattern import Pattern
from taskd.schedule.stretches import Stretch
from taskd.schedule.trigger import Crontab, Dst
from taskd.schedule.zones import zone


class Rules(NamedTuple):
    """A crontab with its class and overrides applied."""

    pattern: Pattern
    timezone: str
    makes_up: bool  # a gap's matches fire once, right after it
    repeats: bool  # the second pass fires too

    def readings_from(self, stretch: Stretch, instant: int) -> int:
        """The earliest reading that may fire at or after `instant`."""
        reading = instant + stretch.offset
        return reading if self.repeats else max(reading, stretch.fresh)

    def lands(self, stretch: Stretch) -> bool:
        """Whether matches that the clocks skipped before the stretch fire at its start."""
        return (
            self.makes_up
            and self.pattern.count(stretch.start + stretch.before, stretch.start + stretch.offset) > 0
        )


def by_class(*, wildcard: bool) -> Dst:
    """What a crontab does that says nothing about it."""
    return Dst("skip", "both") if wildcard else Dst("run_after", "first")


@lru_cache(maxsize=16384)
def rules_of(trigger: Crontab) -> Rules:
    pattern = parse(trigger.expression, trigger.day_match)
    zone(trigger.timezone)
    default = by_class(wildcard=pattern.wildcard)
    gap, overlap = trigger.dst.gap or default.gap, trigger.dst.overlap or default.overlap
    return Rules(pattern, trigger.timezone, gap == "run_after", overlap == "both")
