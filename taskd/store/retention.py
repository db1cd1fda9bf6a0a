"""What is deleted from `task_result`, in small batches: one of them holds its locks for milliseconds."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from taskd.store.claims import ACTIVE
from taskd.store.tables import OutboxRow, RunRow


def purge_runs(session: Session, before: datetime, statuses: Collection[str], limit: int) -> int:
    """Delete up to `limit` runs that ended before `before` in one of `statuses` (none: any). Active runs never."""
    ended = select(RunRow.id).where(RunRow.completed_at < before, RunRow.status.not_in(ACTIVE))
    if statuses:
        ended = ended.where(RunRow.status.in_(statuses))
    ids = session.scalars(ended.order_by(RunRow.completed_at).limit(limit)).all()
    if ids:
        session.execute(delete(OutboxRow).where(OutboxRow.run_id.in_(ids)))
        session.execute(delete(RunRow).where(RunRow.id.in_(ids)))
    return len(ids)
