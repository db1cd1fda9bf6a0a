"""Decisions as values: what to do with the occurrences that lie between a cursor and now.

Times       an occurrence has its *scheduled time*, which is its identity, its order and what windows of the schedule
            and cursors are about; it is *due* for a decision at that time + its delay (`jitter`), and lateness and
            the catch-up window count from there. A delay is shorter than the way to the next occurrence, so both
            times give the same order
Invariants  every occurrence after the cursor that is due by now is covered by exactly one fire or Missed
            the decided cursor is never before the old one, and never after now
            fires come oldest first, each with its own scheduled time
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, with_config

from taskd.schedule import timing
from taskd.schedule.fields import EXACT, Seconds
from taskd.schedule.trigger import Date, Trigger

ON_TIME = timedelta(seconds=15)  # later than that is late: it covers a failover (semantics.md, Cursor)
MOMENT = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CatchupPolicy = Literal["none", "latest", "all"]


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Catchup:
    """What to do with occurrences that are late: fire `none`, the `latest` or `all` of those within `window` (s)."""

    policy: CatchupPolicy = "latest"
    window: Seconds = 3600
    max: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100

    def oldest(self, now: datetime) -> datetime:
        """What was due before this instant is missed, whatever the policy."""
        return now - timedelta(seconds=self.window)


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule occurs: its trigger inside its inclusive window; and when that is due, by `jitter` (s).

    `uid` spreads the delays of different schedules; without it nobody may ask what is due under a jitter.
    """

    trigger: Trigger
    start: datetime | None = None
    end: datetime | None = None
    jitter: int = 0
    uid: UUID | None = None

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

    def due(self, occurrence: datetime) -> datetime:
        """When the decision about an occurrence is due: at its own time, or later by its delay."""
        if not self.jitter:
            return occurrence
        assert self.uid is not None
        following = timing.next_after(self.trigger, occurrence)
        most = timedelta(seconds=self.jitter)
        most = most if following is None else min(most, following - occurrence)
        hashed = blake2b(b"%s %d" % (self.uid.bytes, (occurrence - _EPOCH) // MOMENT), digest_size=8)
        return occurrence + timedelta(microseconds=int.from_bytes(hashed.digest()) % (most // MOMENT))

    def reached(self, now: datetime) -> datetime:
        """The instant up to which occurrences are due at `now`: `now` itself, or before one that is delayed."""
        last = timing.last_until(self.trigger, now) if self.jitter else None
        return now if last is None or self.due(last) <= now else last - MOMENT

    def due_after(self, cursor: datetime) -> datetime | None:
        """When the first occurrence after `cursor` is due, or None when there is none."""
        following = self.next_after(cursor)
        return None if following is None else self.due(following)

    def newest(self, stretch: "Stretch", n: int) -> list[datetime]:
        """The newest `n` occurrences of a stretch, oldest first."""
        found: list[datetime] = []
        at = timing.last_until(self.trigger, stretch.last)
        while at is not None and at >= stretch.first and len(found) < n:
            found.append(at)
            at = timing.last_until(self.trigger, at - MOMENT)
        return found[::-1]


def overdue(timetable: Timetable, catchup: Catchup, occurrence: datetime, now: datetime) -> bool:
    """Whether a decided occurrence that still waits has outlived its use: late, and past the catch-up window."""
    oldest = min(catchup.oldest(now), now - ON_TIME)
    return occurrence < oldest and timetable.due(occurrence) < oldest


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
    """What covers the occurrences that are due, where the cursor goes, and when the next one is due."""

    fires: tuple[datetime, ...]
    missed: tuple[Missed, ...]
    cursor: datetime
    next_run_at: datetime | None


def decide(
    timetable: Timetable, catchup: Catchup, cursor: datetime, now: datetime, *, fires_left: int | None = None
) -> Decision:
    """The decision for all occurrences after `cursor` that are due by `now`; where there are none the cursor stays.

    `fires_left`: how many scheduled fires `one_off` or `max_run_count` still allow; None is no limit. Once they
    are used up the schedule is complete, and what would have come after isn't an occurrence any more.
    """
    due = timetable.between(cursor, timetable.reached(now))
    if due is None:
        return Decision((), (), cursor, timetable.due_after(cursor))
    fires, missed = _split(timetable, catchup, due, now)
    last = due.last
    if fires_left is not None and len(fires) >= fires_left:
        fires = fires[:fires_left]
        last = fires[-1] if fires else due.last
        missed = [gap for gap in missed if gap.stretch.last < last]
        return Decision(tuple(fires), tuple(missed), last, None)
    return Decision(tuple(fires), tuple(missed), last, timetable.due_after(last))


def _split(
    timetable: Timetable, catchup: Catchup, due: Stretch, now: datetime
) -> tuple[list[datetime], list[Missed]]:
    """What of `due` fires, oldest first, and what doesn't."""
    before = due.first - MOMENT
    on_time_after = max(before, timetable.reached(now - ON_TIME - MOMENT))
    useful_after = max(before, timetable.reached(catchup.oldest(now) - MOMENT))
    fires = _chosen(timetable, catchup, due, on_time_after, useful_after)
    unfired_until = fires[0] - MOMENT if fires else due.last
    missed = []
    if (old := timetable.between(before, min(unfired_until, useful_after))) is not None:
        missed.append(Missed(old, "window"))
    if (left_out := timetable.between(min(unfired_until, useful_after), unfired_until)) is not None:
        missed.append(Missed(left_out, "catchup"))
    return fires, missed


def _chosen(
    timetable: Timetable, catchup: Catchup, due: Stretch, on_time_after: datetime, useful_after: datetime
) -> list[datetime]:
    """The newest occurrences that fire: all that are on time, and of the late ones what the policy says."""
    punctual = timetable.between(on_time_after, due.last)
    on_time = timetable.newest(punctual, punctual.count) if punctual is not None else []
    late = timetable.between(useful_after, on_time[0] - MOMENT if on_time else due.last)
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
    due = timetable.due_after(cursor)
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
