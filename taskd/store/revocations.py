"""Runs that an operator takes back: what nobody has begun ends here, what runs is marked until its worker ends it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.errors import NotAllowed
from taskd.store import events, outbox
from taskd.store.claims import ACTIVE
from taskd.store.runs import find
from taskd.store.tables import RunRow, ScheduleRow

__all__ = ["BY", "Running", "find", "has_ended", "revoke"]

BY = "revoked_by"
"""The key of a run's `detail` that keeps its next attempt from starting."""


@dataclass(frozen=True, slots=True)
class Running:
    """A run that has begun, and who runs it."""

    task_id: str
    worker: str | None


def revoke(session: Session, pk: str, actor: str, now: datetime, verb: str) -> Running | None:
    """End the run (an id or task_id) as REVOKED where nobody has begun it, so that every delivery is refused.

    One that has begun is marked, so that it isn't tried again, and returned: `verb` says what its worker is to do.
    Raises NotFound, and NotAllowed where it has ended.
    """
    run = find(session, pk)
    run = session.scalars(
        select(RunRow).where(RunRow.id == run.id).with_for_update().execution_options(populate_existing=True)
    ).one()
    if run.status not in ACTIVE:
        raise NotAllowed(f"the run {run.task_id} has ended: {run.status}")
    run.detail = {**(run.detail or {}), BY: actor}
    _record(session, run, actor, now, verb)
    if run.status == "STARTED":
        return Running(run.task_id, run.worker)
    run.status, run.completed_at = "REVOKED", now
    run.detail = {**run.detail, "reason": "revoked"}
    outbox.drop(session, [run.id])
    return None


def has_ended(session: Session, running: Running) -> bool:
    """Whether its row is final: a child that is killed gives its claim back before its parent says how it ended."""
    status = session.scalar(select(RunRow.status).where(RunRow.task_id == running.task_id))
    return status not in ACTIVE


def _record(session: Session, run: RunRow, actor: str, now: datetime, verb: str) -> None:
    schedule = session.get(ScheduleRow, run.schedule_id) if run.schedule_id else None
    events.record(session, f"run_{verb}d", actor, now, schedule, detail={"task_id": run.task_id})
