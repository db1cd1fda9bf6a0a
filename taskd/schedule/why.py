"""Why an occurrence ran, or didn't: from its row, else from events and rules. The first that holds is the answer.

    its row       fired, late, held, missed, skipped            a MISSED row stands for all occurrences of its stretch
    existence     before_it_existed, deleted
    its timing    nonexistent, not_an_occurrence, outside_window
    its state     completed, disabled, paused
    undecided     overtaken (by a change of the schedule), quarantined, not_yet_due, being_decided
    or else       forgotten: it was decided, and its row is no longer kept

Rules are applied to the schedule as it stood at that time (past.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from taskd.schedule import timing
from taskd.schedule.asked import Asked
from taskd.schedule.duration import shown, span_shown
from taskd.schedule.notes import clock_changes
from taskd.schedule.past import Change, deletion_at, disabling_at, next_change, pause_at
from taskd.schedule.policy import MOMENT, ON_TIME, Timetable
from taskd.schedule.trigger import Crontab, Date, Interval
from taskd.schedule.zones import zone

Answer = Literal[
    "fired", "late", "held", "missed", "skipped",
    "before_it_existed", "deleted",
    "nonexistent", "not_an_occurrence", "outside_window",
    "completed", "disabled", "paused",
    "overtaken", "quarantined", "not_yet_due", "being_decided", "forgotten",
]  # fmt: skip

_REASONS = {
    "window": "nothing could fire it within its catch-up window",
    "catchup": "by its catch-up policy it gave way to later ones",
}


@dataclass(frozen=True, slots=True)
class Run:
    """The row that covers an occurrence; `held_by` is the task id of the run that its message waits for."""

    id: int
    status: str
    scheduled_for: datetime
    decided_at: datetime
    published_at: datetime | None = None
    started_at: datetime | None = None
    runtime: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    held_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a schedule: `timetable` and `enabled` as at the time in question, all else as now.

    `changes`: its events, oldest first. `kept_since`: the scheduled time of the oldest of its runs that is kept.
    """

    timetable: Timetable
    timezone: str
    enabled: bool
    created_at: datetime
    cursor: datetime
    state: str
    state_detail: str | None
    fires_left: int | None
    changes: Sequence[Change]
    kept_since: datetime | None


@dataclass(frozen=True, slots=True)
class Why:
    """The decision, in a word and in a sentence, and what it rests on.

    `occurrence`: the scheduled time that it is about; where there is none, the nearest ones are `before` and `after`.
    `run`: its row. `cause`: the event that explains it. `among`: how many occurrences the time in question means.
    """

    decision: Answer
    words: str
    occurrence: datetime | None = None
    before: datetime | None = None
    after: datetime | None = None
    run: Run | None = None
    cause: Change | None = None
    among: int = 1


def why(asked: Asked, facts: Facts, run: Run | None, now: datetime) -> Why:
    """The decision for the occurrence that `asked` means; `run` is the row that covers it, where there is one."""
    told = _Question(asked, facts, now).answer(run)
    among = timing.count_between(facts.timetable.trigger, asked.start - MOMENT, asked.end - MOMENT)
    return replace(told, among=max(among, 1))


@dataclass(frozen=True, slots=True)
class _Question:
    asked: Asked
    facts: Facts
    now: datetime

    def answer(self, run: Run | None) -> Why:
        facts = self.facts
        if run is not None and self.asked.start <= run.scheduled_for < self.asked.end:
            return self._of_run(run.scheduled_for, run)
        found = timing.next_after(facts.timetable.trigger, self.asked.start - MOMENT)
        at = found if found is not None and found < self.asked.end else None
        if (at or self.asked.start) < facts.created_at:
            return Why("before_it_existed", f"the schedule was created at {self._at(facts.created_at)}", at)
        if gone := deletion_at(facts.changes, at or self.asked.start):
            return Why("deleted", f"the schedule was {self._told(gone)}", at, cause=gone)
        if at is None:
            return self._no_occurrence()
        return self._of_run(at, run) if run is not None else self._by_rules(at)

    def _of_run(self, at: datetime, run: Run) -> Why:
        code = run.detail.get("reason", "no reason is kept")
        reason = run.detail.get("message") or _REASONS.get(code, code)
        if run.status == "MISSED":
            return Why("missed", f"{reason}; run {run.id}{self._stretch(run)}", at, run=run)
        if run.status == "SKIPPED":
            active = f" ({run.detail['active']})" if "active" in run.detail else ""
            return Why("skipped", f"{reason}{active}; run {run.id}", at, run=run)
        if run.status == "PENDING" and run.held_by:
            return Why(
                "held", f"run {run.id} waits in the overlap buffer for {run.held_by} to end", at, run=run
            )
        lateness = run.decided_at - self.facts.timetable.due(at)
        words = f"run {run.id}, {span_shown(lateness)} after it was due, {_outcome(run)}"
        return Why("fired" if lateness <= ON_TIME else "late", words, at, run=run)

    def _no_occurrence(self) -> Why:
        trigger, start = self.facts.timetable.trigger, self.asked.start
        near = timing.last_until(trigger, start), timing.next_after(trigger, start)
        if self.asked.skipped:
            changes = clock_changes(trigger, start - MOMENT, start)
            told = changes[0].note if changes else "the clocks skip it"
            words = f"{self.asked.text} doesn't exist in {self.facts.timezone}: {told}"
            return Why("nonexistent", words, None, *near)
        words = f"{self._timing()} isn't due then, but at {' and '.join(self._at(at) for at in near if at)}"
        change = next_change(self.facts.changes, start)
        if change is None or change.kind not in {"updated", "healed"}:
            return Why("not_an_occurrence", words, None, *near)
        return Why(
            "not_an_occurrence", f"{words}; the schedule was {self._told(change)}", None, *near, cause=change
        )

    def _by_rules(self, at: datetime) -> Why:
        told = self._outside(at) or self._idle(at) or self._overtaken(at)
        if told is None and at <= self.facts.cursor:
            return Why("forgotten", "it was decided, and its run is no longer kept", at)
        return told or self._undecided(at)

    def _outside(self, at: datetime) -> Why | None:
        start, end = self.facts.timetable.start, self.facts.timetable.end
        if start and at < start:
            return Why("outside_window", f"its start_time is {self._at(start)}", at)
        if end and at > end:
            return Why("outside_window", f"its end_time is {self._at(end)}", at)
        return None

    def _idle(self, at: datetime) -> Why | None:
        """Whether the schedule wasn't effective."""
        facts = self.facts
        if facts.fires_left == 0 and at > facts.cursor:
            return Why("completed", "it has run as often as it may", at)
        if not facts.enabled:
            cause = disabling_at(facts.changes, at)
            told = f": {self._told(cause)}" if cause else ""
            return Why("disabled", f"the schedule is disabled{told}", at, cause=cause)
        if pause := pause_at(facts.changes, at):
            return Why("paused", f"the schedule was {self._told(pause)}", at, cause=pause)
        return None

    def _overtaken(self, at: datetime) -> Why | None:
        """A change let go of it before it was decided: where older runs are kept, a decision would be too."""
        change = next_change(self.facts.changes, at)
        kept = self.facts.kept_since is not None and self.facts.kept_since < at
        if change is None or not (kept or change.at - self.facts.timetable.due(at) <= ON_TIME):
            return None
        return Why(
            "overtaken", f"it was undecided when the schedule was {self._told(change)}", at, cause=change
        )

    def _undecided(self, at: datetime) -> Why:
        facts, due = self.facts, self.facts.timetable.due(at)
        if facts.state == "quarantined":
            return Why("quarantined", f"the schedule can't be dispatched: {facts.state_detail}", at)
        ahead = timing.count_between(facts.timetable.trigger, facts.cursor, at)
        if facts.fires_left is not None and ahead > facts.fires_left:
            left = f"{facts.fires_left} of the {ahead} occurrences until then"
            return Why("completed", f"the schedule will have completed: it may still fire {left}", at)
        if due > self.now:
            return Why("not_yet_due", f"it will fire at {self._at(due)}", at)
        waiting = self.now - due
        late = ", so no dispatcher leads: see /readyz" if waiting > ON_TIME else ""
        return Why("being_decided", f"it has been due for {span_shown(waiting)}{late}", at)

    def _timing(self) -> str:
        match self.facts.timetable.trigger:
            case Crontab(expression, timezone):
                return f"crontab {expression!r} in {timezone}"
            case Interval(seconds):
                return f"an interval of {shown(seconds)}"
            case Date():
                return "its date"

    def _stretch(self, run: Run) -> str:
        """What a MISSED row stands for, where that is more than one occurrence."""
        if run.detail.get("count", 1) == 1:
            return ""
        first, last = (self._at(datetime.fromisoformat(run.detail[key])) for key in ("from", "to"))
        return f" stands for all {run.detail['count']} from {first} to {last}"

    def _told(self, change: Change) -> str:
        until = f" until {self._at(change.until)}" if change.kind == "paused" and change.until else ""
        reason = f": {change.reason}" if change.reason else ""
        return f"{change.kind} at {self._at(change.at)} by {change.actor}{until}{reason}"

    def _at(self, instant: datetime) -> str:
        return instant.astimezone(zone(self.facts.timezone)).isoformat(" ", "seconds")


def _outcome(run: Run) -> str:
    """What came of a run that fired."""
    match run.status:
        case "PENDING":
            return "has no worker yet" if run.published_at else "waits for the broker"
        case "STARTED":
            told = "is running"
        case "RETRY":
            told = "waits for its next attempt"
        case status:
            told = f"ended {status}" + (f" after {run.runtime:.3g} s" if run.runtime is not None else "")
            if "retried_by" in run.detail:
                told += f", and was run again as {run.detail['retried_by']}"
    waited = run.started_at - run.decided_at if run.started_at else timedelta()
    return f"started {span_shown(waited)} later, {told}" if waited > ON_TIME else told
