"""What is kept about a schedule's past: its identity, living or deleted, its events, and the row of an occurrence."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from taskd.errors import NotFound
from taskd.schedule.past import Change, columns_at
from taskd.schedule.why import Facts, Run
from taskd.store.schedules import declared, fires_left_of, timetable_of
from taskd.store.tables import EventRow, OutboxRow, RunRow, ScheduleRow

_INSTANTS = ("start_time", "end_time")


def find(session: Session, pk: str | int) -> ScheduleRow:
    """The schedule of that id or name, even a deleted one: the living before the one deleted last; raises NotFound."""
    key = ScheduleRow.id == int(pk) if str(pk).isdecimal() else ScheduleRow.name == str(pk)
    row = session.scalar(
        select(ScheduleRow)
        .where(key)
        .order_by(ScheduleRow.deleted_at.is_not(None), ScheduleRow.deleted_at.desc())
        .limit(1)
    )
    if row is None:
        raise NotFound(f"there is no schedule {str(pk)!r}")
    return row


def facts(session: Session, row: ScheduleRow, at: datetime) -> Facts:
    """What is known of a schedule about the time `at`; raises InvalidSchedule where its timing can't be evaluated."""
    known = changes(session, row)
    columns = columns_at(declared(row), known, at)
    return Facts(
        timetable=timetable_of(columns | {"uid": row.uid}),
        timezone=row.timezone,
        enabled=columns["enabled"],
        created_at=row.created_at,
        cursor=row.cursor_at,
        state=row.state,
        state_detail=row.state_detail,
        fires_left=fires_left_of(row),
        changes=known,
        kept_since=session.scalar(select(func.min(RunRow.scheduled_for)).where(RunRow.schedule_id == row.id)),
    )


def changes(session: Session, row: ScheduleRow) -> list[Change]:
    """All that was done to a schedule, as far as it is kept, oldest first."""
    events = session.scalars(
        select(EventRow).where(EventRow.schedule_uid == row.uid).order_by(EventRow.at, EventRow.id)
    )
    found = [_change(event) for event in events]
    if row.paused_at is not None and not any(change.kind == "paused" for change in found):
        pause = Change(
            row.paused_at, "paused", row.paused_by or "?", reason=row.paused_reason, until=row.paused_until
        )
        found = sorted([*found, pause], key=lambda change: change.at)
    return found


def run_of(session: Session, row: ScheduleRow, start: datetime, end: datetime) -> RunRow | None:
    """The row that covers an occurrence in [start, end): its own, or that of the stretch that was missed around it."""
    mine = select(RunRow).where(RunRow.schedule_id == row.id)
    # A stretch's row stands at its newest occurrence, and nothing else does within it.
    found = session.scalar(mine.where(RunRow.scheduled_for >= start).order_by(RunRow.scheduled_for).limit(1))
    if found is None or found.scheduled_for is None or found.scheduled_for < end:
        return found
    since = (found.detail or {}).get("from") if found.status == "MISSED" else None
    return found if since is not None and datetime.fromisoformat(since) < end else None


def as_run(session: Session, row: RunRow) -> Run:
    """The row as an answer to "why" needs it."""
    assert row.scheduled_for is not None
    held_by = session.scalar(select(OutboxRow.held_by).where(OutboxRow.run_id == row.id))
    return Run(
        row.id,
        row.status,
        row.scheduled_for,
        row.decided_at or row.scheduled_for,
        row.published_at,
        row.started_at,
        row.runtime,
        row.detail or {},
        held_by,
    )


def _change(event: EventRow) -> Change:
    detail = event.detail or {}
    before, after = _columns(event.before), _columns(event.after)
    if event.kind == "enabled":  # by an operator: says only that
        before, after = {"enabled": False} | before, {"enabled": True} | after
    return Change(
        event.at, event.kind, event.actor, before, after, detail.get("reason"), _instant(detail.get("until"))
    )


def _columns(told: Mapping[str, Any] | None) -> dict[str, Any]:
    """Columns as an event has them (JSON), as the table has them."""
    return {key: _instant(value) if key in _INSTANTS else value for key, value in (told or {}).items()}


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
