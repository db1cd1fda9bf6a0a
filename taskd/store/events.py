"""Statements on `task_event`: every change of a schedule, an override or a source leaves one row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from taskd.store.tables import ChangeRow, EventRow, ScheduleRow

KINDS = {
    "created": "a schedule is new",
    "updated": "its declaration changed",
    "renamed": "it has another name, by `replaces`",
    "deleted": "it is no longer declared, or the API deleted it",
    "restored": "a deleted name came back, with its history",
    "adopted": "the API's became the file's that declares it",
    "healed": "what something else had changed in the table was put right",
    "paused": "it fires no more, by an operator or after failures",
    "resumed": "its pause ended",
    "enabled": "`start` set `enabled` of the API's",
    "quarantined": "it can't be evaluated, or its message can't be made",
    "deletion_held": "its deletion waits for approval",
    "deletion_released": "its deletion waits no more",
    "conflict": "a file declares a name of the API's",
    "conflict_ended": "no file does any more",
    "heal_fighting": "it was put right so often that it is left alone for now",
    "heal_settled": "it is looked after again",
    "triggered": "somebody ran it",
    "run_revoked": "somebody kept a run from starting",
    "run_terminated": "somebody ended a run",
    "purged": "somebody deleted runs",
    "workers_shutdown": "somebody stopped workers",
    "workers_pool_restart": "somebody restarted their pools",
    "workers_pool_grow": "somebody added processes",
    "workers_pool_shrink": "somebody took processes",
    "workers_autoscale": "somebody set their bounds",
    "synced": "a source is at another revision, without an error",
    "stale": "a source has errors: what it last said well stays in force",
}
"""What may be done, as the reference shows it."""


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
    """Add one event, of one of KINDS; about `row` where it concerns a schedule."""
    assert kind in KINDS, kind
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


def has_detail(session: Session, row: ScheduleRow, kinds: Sequence[str], detail: dict[str, Any]) -> bool:
    """Whether the schedule's newest event of `kinds` says so."""
    newest = select(EventRow.detail).where(EventRow.schedule_uid == row.uid, EventRow.kind.in_(kinds))
    return session.scalar(newest.order_by(EventRow.id.desc()).limit(1)) == detail


def healed_since(session: Session, since: datetime) -> dict[UUID, int]:
    """How often each schedule was put right since then."""
    query = select(EventRow.schedule_uid, func.count()).where(EventRow.at > since, EventRow.kind == "healed")
    rows = session.execute(query.group_by(EventRow.schedule_uid)).all()
    return {uid: count for uid, count in rows if uid is not None}


def of_schedule(session: Session, row: ScheduleRow, offset: int, limit: int) -> tuple[list[EventRow], int]:
    """The newest events of a schedule, after the first `offset`, and how many there are in all."""
    mine = EventRow.schedule_uid == row.uid
    found = select(EventRow).where(mine).order_by(EventRow.id.desc()).offset(offset).limit(limit)
    total = session.scalar(select(func.count()).select_from(EventRow).where(mine))
    return list(session.scalars(found)), total or 0


def bump_change(session: Session) -> None:
    """Move the change sequence: part of the transaction of every declared or override change."""
    session.execute(update(ChangeRow).values(change_seq=ChangeRow.change_seq + 1))


def change_seq(session: Session) -> int:
    """The change sequence: it moves with every declared or override change."""
    return session.execute(select(ChangeRow.change_seq)).scalar_one()
