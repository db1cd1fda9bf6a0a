"""What operators do to a schedule: pause, resume, start. Idempotent; each change is an event."""

from datetime import datetime

from sqlalchemy.orm import Session

from taskd.errors import NotAllowed
from taskd.store import events, runs
from taskd.store.schedules import settle, unpause
from taskd.store.tables import ScheduleRow


def pause(session: Session, row: ScheduleRow, actor: str, reason: str | None, now: datetime) -> None:
    """Keep it from firing, over restarts and edits, until someone resumes it; what isn't published yet is SKIPPED."""
    if row.paused_at is not None:
        return
    row.paused_at, row.paused_by, row.paused_reason = now, actor, reason
    runs.skip_unpublished(session, row.id, "the schedule was paused", now)
    _changed(session, row, "paused", actor, now, reason)


def resume(session: Session, row: ScheduleRow, actor: str, reason: str | None, now: datetime) -> None:
    """Clear the pause: the paused span neither fires nor counts as missed."""
    if row.paused_at is None:
        return
    unpause(row)
    row.cursor_at = max(row.cursor_at, now)
    _changed(session, row, "resumed", actor, now, reason)


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
        _changed(session, row, "enabled", actor, now, reason)
    resume(session, row, actor, reason, now)


def _changed(
    session: Session, row: ScheduleRow, kind: str, actor: str, now: datetime, reason: str | None
) -> None:
    row.version, row.updated_at = row.version + 1, now
    settle(row)
    events.record(session, kind, actor, now, row, detail={"reason": reason} if reason else None)
    events.bump_change(session)
