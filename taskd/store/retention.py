"""What is deleted for its age, in small batches: one of them holds its locks for milliseconds."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from taskd.errors import NotAllowed
from taskd.store import runs
from taskd.store.claims import ACTIVE
from taskd.store.failures import FAILED
from taskd.store.runs import FINAL
from taskd.store.tables import EventRow, OutboxRow, RunRow, ScheduleRow

OTHERS = tuple(status for status in FINAL if status not in FAILED)


def purge_runs(session: Session, before: datetime, statuses: Collection[str], limit: int) -> int:
    """Delete up to `limit` runs that ended before `before` in one of `statuses` (none: any). Active runs never."""
    ended = select(RunRow.id).where(RunRow.completed_at < before, RunRow.status.not_in(ACTIVE))
    if statuses:
        ended = ended.where(RunRow.status.in_(statuses))
    ids = session.scalars(ended.order_by(RunRow.completed_at).limit(limit)).all()
    _delete_runs(session, ids)
    return len(ids)


def delete_run(session: Session, pk: int | str) -> RunRow:
    """Delete the run of that id or task_id and return what it was; raises NotFound, NotAllowed for an active one."""
    row = runs.find(session, pk)
    if row.status in ACTIVE:
        raise NotAllowed(f"run {row.id} is {row.status}: only runs that have ended can be deleted")
    _delete_runs(session, [row.id])
    return row


def _delete_runs(session: Session, ids: Collection[int]) -> None:
    if ids:
        session.execute(delete(OutboxRow).where(OutboxRow.run_id.in_(ids)))
        session.execute(delete(RunRow).where(RunRow.id.in_(ids)).execution_options(synchronize_session=False))


def purge_events(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` events from before `before`, the oldest first."""
    ids = session.scalars(
        select(EventRow.id).where(EventRow.at < before).order_by(EventRow.at, EventRow.id).limit(limit)
    ).all()
    if ids:
        session.execute(delete(EventRow).where(EventRow.id.in_(ids)))
    return len(ids)


def purge_tombstones(session: Session, before: datetime, limit: int) -> int:
    """Forget up to `limit` schedules that were deleted before `before`. Their runs and events stay."""
    # SQLite gives the highest id anew once its row is gone: a new schedule would find another's runs under it.
    newest = select(func.max(ScheduleRow.id)).scalar_subquery()
    old = select(ScheduleRow.id).where(ScheduleRow.state == "deleted", ScheduleRow.deleted_at < before)
    ids = session.scalars(old.where(ScheduleRow.id < newest).limit(limit)).all()
    if ids:
        session.execute(delete(ScheduleRow).where(ScheduleRow.id.in_(ids)))
    return len(ids)
