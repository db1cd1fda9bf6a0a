"""Statements on `task_event`: every change of a schedule, an override or a source leaves one row."""

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from taskd.store.tables import ChangeRow, EventRow, ScheduleRow


def record(
    session: Session,
    kind: str,
    actor: str,
    now: datetime,
    row: ScheduleRow | None = None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    revision: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add one event; about `row` where it concerns a schedule."""
    session.add(
        EventRow(
            at=now,
            kind=kind,
            actor=actor,
            schedule_uid=row.uid if row else None,
            name=row.name if row else None,
            before=before,
            after=after,
            revision=revision,
            detail=detail,
        )
    )


def bump_change(session: Session) -> None:
    """Move the change sequence: part of the transaction of every declared or override change."""
    session.execute(update(ChangeRow).values(change_seq=ChangeRow.change_seq + 1))


def change_seq(session: Session) -> int:
    """The change sequence: it moves with every declared or override change."""
    return session.execute(select(ChangeRow.change_seq)).scalar_one()
