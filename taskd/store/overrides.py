"""What operators do to a schedule: pause, resume, start. Idempotent; each change is an event."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.errors import NotAllowed
from taskd.store import events, runs
from taskd.store.schedules import SYSTEM, settle, unpause
from taskd.store.tables import ScheduleRow


def pause(
    session: Session,
    row: ScheduleRow,
    actor: str,
    reason: str | None,
    now: datetime,
    *,
    until: datetime | None = None,
) -> None:
    """Keep it from firing, over restarts and edits, until someone resumes it or `until` comes.

    What isn't published yet is SKIPPED. Pausing what is paused changes something only where it says another
    `until`, or where an operator makes the system's pause his own.
    """
    paused = row.paused_at is not None
    if paused and row.paused_until == until and row.paused_by != SYSTEM:
        return
    row.paused_at, row.paused_by = row.paused_at or now, actor
    row.paused_until, row.paused_reason = until, reason or row.paused_reason
    if not paused:
        runs.skip_unpublished(session, row.id, "the schedule was paused", now)
    _changed(session, row, "paused", actor, now, reason, until)


def resume(
    session: Session,
    row: ScheduleRow,
    actor: str,
    reason: str | None,
    now: datetime,
    *,
    catch_up: bool = False,
) -> None:
    """Clear the pause. The paused span neither fires nor counts as missed; with `catch_up` it was an outage."""
    if row.paused_at is None:
        return
    unpause(row)
    if not catch_up:
        row.cursor_at = max(row.cursor_at, now)
    _changed(session, row, "resumed", actor, now, reason)


def resume_when_over(session: Session, now: datetime, limit: int) -> int:
    """Resume up to `limit` schedules whose pause has reached its `until`: from then on, whatever the time is now."""
    over = select(ScheduleRow).where(ScheduleRow.state == "paused", ScheduleRow.paused_until <= now)
    query = over.order_by(ScheduleRow.id).limit(limit).with_for_update(skip_locked=True)
    rows = list(session.scalars(query))
    for row in rows:
        until = row.paused_until
        unpause(row)
        row.cursor_at = max(row.cursor_at, until or now)
        _changed(session, row, "resumed", SYSTEM, now, "the pause was until now", until)
    return len(rows)


def start(session: Session, row: ScheduleRow, actor: str, reason: str | None, now: datetime) -> None:
    """Make it effective: clear the pause, enable an API-owned one. A file's `enabled: false` is not overruled."""
    if not row.enabled and row.owner == "file":
        where = f"{row.path}:{row.line}"
        raise NotAllowed(
            f"{row.name!r} is disabled in {where}: set `enabled: true` there", row.path, row.line
        )
    if not row.enabled:
        row.enabled = True
        row.cursor_at = max(row.cursor_at, now)
        _changed(session, row, "enabled", actor, now, reason, enabled=True)
    resume(session, row, actor, reason, now)


def _changed(
    session: Session,
    row: ScheduleRow,
    kind: str,
    actor: str,
    now: datetime,
    reason: str | None,
    until: datetime | None = None,
    *,
    enabled: bool = False,
) -> None:
    row.version, row.updated_at = row.version + 1, now
    if kind != "paused":
        row.failures_in_a_row = 0
    settle(row)
    detail = {"reason": reason, "until": until.isoformat() if until else None}
    given = {key: value for key, value in detail.items() if value is not None}
    sides = ({"enabled": False}, {"enabled": True}) if enabled else (None, None)
    events.record(session, kind, actor, now, row, before=sides[0], after=sides[1], detail=given or None)
    events.bump_change(session)
