"""`/api/v1/scheduler/schedulers/{pk}`: `/next`, when it is due, and `/why`, what was decided about one of its times."""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from sqlalchemy.orm import Session

from taskd.errors import InvalidSchedule
from taskd.http import shapes
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Instant, query_of
from taskd.http.problems import Problem
from taskd.schedule import why as answers
from taskd.schedule.asked import asked
from taskd.schedule.duration import span_shown
from taskd.schedule.notes import note_of, noted
from taskd.schedule.past import Change
from taskd.schedule.policy import Timetable
from taskd.schedule.trigger import Crontab
from taskd.schedule.zones import zone
from taskd.store import history, schedules
from taskd.store.tables import ScheduleRow

_IDLE = {
    "quarantined": "can't be dispatched",
    "completed": "has completed",
    "ended": "has ended",
    "disabled": "is disabled",
    "paused": "is paused",
}


def _mend_offset(text: str) -> str:
    # An unencoded `+` of an offset arrives as a space.
    return re.sub(r"(T\S+) (\d\d:?\d\d)$", r"\1+\2", text)


class ComingQuery(Form):
    n: int = Field(10, ge=1, le=1000)
    since: Instant | None = Field(None, alias="from")


class WhyQuery(Form):
    at: Annotated[str, AfterValidator(_mend_offset)]


def coming(context: Context, request: Request) -> Answer:
    """The next `n` occurrences after `from`, by default from when it may fire on; `crontab` shows what H became.

    `fires` is false where none of these will, `message` says why: an idle schedule shows when it would be due.
    """
    form = query_of(ComingQuery, request)
    row = context.database.read(lambda session: schedules.find(session, request.pk))
    told = {
        "items": listed(row, request.now, form.n, form.since),
        "crontab": _resolved(row),
        "fires": row.state not in _IDLE or (row.state == "paused" and row.paused_until is not None),
        "message": _idleness(row),
    }
    return Answer(200, told)


def _idleness(row: ScheduleRow) -> str | None:
    if row.state not in _IDLE:
        return None
    paused = row.state == "paused"
    until = f" until {row.paused_until.isoformat()}" if paused and row.paused_until else ""
    reason = row.paused_reason if paused else row.state_detail
    return f"{row.name} {_IDLE[row.state]}{until}" + (f": {reason}" if reason else "")


def why(context: Context, request: Request) -> Answer:
    """What was decided for the occurrence `at`: a wall clock time in the schedule's zone, or one with an offset."""
    form = query_of(WhyQuery, request)
    try:
        return Answer(200, context.database.read(lambda session: _why(session, context, request, form.at)))
    except InvalidSchedule as error:
        raise Problem(422, str(error)) from error


def listed(row: ScheduleRow, now: datetime, n: int, since: datetime | None = None) -> list[dict[str, Any]]:
    """The next `n` after `since`, or as many as its limits leave from now on; by default all that may still fire.

    Each in UTC, on the schedule's wall clock, and what the clocks do to it.
    """
    try:
        timetable = _timetable(row)
    except InvalidSchedule:
        return []  # it can't be evaluated: `state` says so, and why
    undecided = max(timetable.reached(now), row.cursor_at, row.paused_until or row.cursor_at)
    since = since or undecided
    left = schedules.fires_left_of(row)
    if left is not None:
        sooner = timetable.between(undecided, since)
        n = min(n, max(0, left - (sooner.count if sooner else 0)))
    found = islice(_due(timetable, since), n)
    return [_shown(timetable, at, row.timezone, note) for at, note in noted(timetable.trigger, since, found)]


def _why(session: Session, context: Context, request: Request, text: str) -> dict[str, Any]:
    row = history.find(session, request.pk)
    meant = asked(text, row.timezone)
    facts = history.facts(session, row, meant.start)
    found = history.run_of(session, row, meant.start, meant.end)
    told = answers.why(meant, facts, None if found is None else history.as_run(session, found), request.now)
    instants = {"occurrence": told.occurrence, "before": told.before, "after": told.after}
    timetable = facts.timetable
    return {
        "name": row.name,
        "asked": text,
        "decision": told.decision,
        "words": told.words,
        **{
            key: at and _shown(timetable, at, row.timezone, note_of(timetable.trigger, at))
            for key, at in instants.items()
        },
        "among": told.among,
        "event": None if told.cause is None else _event(told.cause),
        "run": None if found is None or told.run is None else shapes.run(found, context.secret_keys),
    }


def _event(change: Change) -> dict[str, Any]:
    return {
        "at": change.at.isoformat(),
        "kind": change.kind,
        "actor": change.actor,
        "reason": change.reason,
        "until": shapes.plain(change.until),
    }


def _shown(timetable: Timetable, at: datetime, timezone: str, note: str | None) -> dict[str, Any]:
    delay = timetable.due(at) - at
    delayed = f"jitter delays it by {span_shown(delay)}" if delay else None
    return {
        "scheduled_for": at.isoformat(),
        "local": at.astimezone(zone(timezone)).isoformat(),
        "note": "; ".join(filter(None, (note, delayed))) or None,
    }


def _resolved(row: ScheduleRow) -> str | None:
    """The crontab with what H became."""
    try:
        trigger = _timetable(row).trigger
    except InvalidSchedule:
        return row.crontab
    return trigger.expression if isinstance(trigger, Crontab) else None


def _timetable(row: ScheduleRow) -> Timetable:
    return schedules.timetable_of(schedules.declared(row) | {"uid": row.uid})


def _due(timetable: Timetable, since: datetime) -> Iterator[datetime]:
    at = timetable.next_after(since)
    while at is not None:
        yield at
        at = timetable.next_after(at)
