"""Decisions as values: what to do with the occurrences that lie between a cursor and now.

Invariants  every occurrence in (cursor, now] is covered by exactly one Fire or Missed
            the decided cursor is never before the old one, and never after now
            fires come oldest first, each with its own scheduled time
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from taskd.schedule import timing
from taskd.schedule.trigger import Date, Trigger

ON_TIME = timedelta(seconds=15)  # later than that is late: it covers a failover (semantics.md, Cursor)
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Catchup:
    """What to do with occurrences that are late: fire `none`, the `latest` or `all` of those within `window`."""

    policy: Literal["none", "latest", "all"] = "latest"
    window: timedelta = timedelta(hours=1)
    max: int = 100


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule is due: its trigger inside its inclusive window."""

    trigger: Trigger
    start: datetime | None = None
    end: datetime | None = None

    def next_after(self, instant: datetime) -> datetime | None:
        """First occurrence strictly after `instant`, or None when there is none."""
        if self.start is not None and not isinstance(self.trigger, Date):
            instant = max(instant, self.start - MOMENT)
        found = timing.next_after(self.trigger, instant)
        return None if found is None or (self.end is not None and found > self.end) else found

    def between(self, after: datetime, until: datetime) -> "Stretch | None":
        """The occurrences in (after, until], counted; None when there are none."""
        if self.end is not None:
            until = min(until, self.end)
        first = self.next_after(after)
        if first is None or first > until:
            return None
        last = timing.last_until(self.trigger, until)
        assert last is not None
        return Stretch(first, last, timing.count_between(self.trigger, first - MOMENT, last))

    def newest(self, stretch: "Stretch", n: int) -> list[datetime]:
        """The newest `n` occurrences of a stretch, oldest first."""
        found: list[datetime] = []
        at = timing.last_until(self.trigger, stretch.last)
        while at is not None and at >= stretch.first and len(found) < n:
            found.append(at)
            at = timing.last_until(self.trigger, at - MOMENT)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some consecutive occurrences: the first, the last, and how many."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Missed:
    """A stretch that isn't fired, and why: older than the catch-up `window`, or left out by the `catchup` policy."""

    stretch: Stretch
    reason: Literal["window", "catchup"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What covers the occurrences in (cursor, now], where the cursor goes, and when to ask again."""

    fires: tuple[datetime, ...]
    missed: tuple[Missed, ...]
    cursor: datetime
    next_run_at: datetime | None


def decide(
    timetable: Timetable, catchup: Catchup, cursor: datetime, now: datetime, *, fires_left: int | None = None
) -> Decision:
    """The decision for all occurrences in (cursor, now]; where there are none the cursor stays.

    `fires_left`: how many scheduled fires `one_off` or `max_run_count` still allow; None is no limit. Once they
    are used up the schedule is complete, and what would have come after isn't an occurrence any more.
    """
    due = timetable.between(cursor, now)
    if due is None:
        return Decision((), (), cursor, timetable.next_after(cursor))
    fires, missed = _split(timetable, catchup, due, now)
    last = due.last
    if fires_left is not None and len(fires) >= fires_left:
        fires = fires[:fires_left]
        last = fires[-1] if fires else due.last
        missed = [gap for gap in missed if gap.stretch.last < last]
        return Decision(tuple(fires), tuple(missed), last, None)
    return Decision(tuple(fires), tuple(missed), last, timetable.next_after(last))


def _split(
    timetable: Timetable, catchup: Catchup, due: Stretch, now: datetime
) -> tuple[list[datetime], list[Missed]]:
    """What of `due` fires, oldest first, and what doesn't."""
    fires = _chosen(timetable, catchup, due, now)
    oldest = fires[0] if fires else None
    unfired_until = due.last if oldest is None else oldest - MOMENT
    limit = min(unfired_until, now - catchup.window - MOMENT)
    missed = []
    if (old := timetable.between(due.first - MOMENT, limit)) is not None:
        missed.append(Missed(old, "window"))
    if (skipped := timetable.between(max(due.first - MOMENT, limit), unfired_until)) is not None:
        missed.append(Missed(skipped, "catchup"))
    return fires, missed


def _chosen(timetable: Timetable, catchup: Catchup, due: Stretch, now: datetime) -> list[datetime]:
    """The newest occurrences that fire: all that are on time, and of the late ones what the policy says."""
    punctual = timetable.between(max(due.first, now - ON_TIME) - MOMENT, due.last)
    on_time = timetable.newest(punctual, punctual.count) if punctual is not None else []
    late_end = on_time[0] - MOMENT if on_time else due.last
    late = timetable.between(max(due.first - MOMENT, now - catchup.window - MOMENT), late_end)
    if late is None or catchup.policy == "none":
        return on_time
    if catchup.policy == "latest":
        # An occurrence that is on time is the latest: what is older would only repeat it.
        return on_time or timetable.newest(late, 1)
    return timetable.newest(late, max(catchup.max - len(on_time), 0)) + on_time


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows from all that is declared, overridden and observed: `state` as in tables.md, and the next due time."""

    state: Literal["completed", "ended", "disabled", "paused", "active"]
    detail: str | None = None
    next_run_at: datetime | None = None


def standing(
    timetable: Timetable, cursor: datetime, *, enabled: bool, paused: bool, fires_left: int | None
) -> Standing:
    """Where a living schedule stands. Precedence: completed, ended, disabled, paused, active."""
    if fires_left == 0:
        return Standing("completed", "it has run as often as it may")
    due = timetable.next_after(cursor)
    if due is None and isinstance(timetable.trigger, Date):
        return Standing("completed", "its date has passed")
    if due is None:
        return Standing("ended", "its end_time has passed")
    if not enabled:
        return Standing("disabled")
    if paused:
        return Standing("paused")
    return Standing("active", None, due)


def fires_left(*, one_off: bool, max_run_count: int, counted: int) -> int | None:
    """How many scheduled fires are left after `counted` of them; None where there is no limit."""
    limits = [limit for limit in (1 if one_off else 0, max_run_count) if limit]
    return max(min(limits) - counted, 0) if limits else None
