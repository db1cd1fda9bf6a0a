"""A run's further attempts: those that wait in the outbox, those whose message is lost, and runs of a lost worker.

States     STARTED → RETRY, its message in the outbox until `not_before`, or with the broker → STARTED | LOST
Invariant  the next message is written with the status: neither stands without the other

fault                                   what happens
the broker loses a retry's message      LOST once nobody has begun it for PATIENCE; should it come after all, it starts
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session

from taskd.store import outbox, revocations
from taskd.store.outbox import Message
from taskd.store.tables import OutboxRow, RunRow

PATIENCE = timedelta(days=1)  # for a retry that the broker has: longer than any queue should be


def wait(
    session: Session,
    task_id: str,
    message: Message,
    not_before: datetime,
    where: ColumnElement[bool],
    now: datetime,
) -> bool:
    """The attempt has failed, and its next one begins at `not_before`. False: it isn't the one that `where` means.

    A run that another one has superseded meanwhile, or an operator revoked, isn't tried again: it ends as REVOKED.
    """
    found = session.execute(select(RunRow).where(RunRow.task_id == task_id, where).with_for_update())
    run = found.scalar_one_or_none()
    if run is None:
        return False
    why = {"superseded_by": "overlap", revocations.BY: "revoked"}
    if given_up := [reason for mark, reason in why.items() if mark in (run.detail or {})]:
        run.status, run.completed_at = "REVOKED", now
        run.detail = {**(run.detail or {}), "reason": given_up[0]}
    else:
        run.status = "RETRY"
        outbox.postpone(session, run.id, message, not_before)
    return True


def lose_silent(session: Session, now: datetime, limit: int) -> list[str]:
    """End up to `limit` runs as LOST whose next attempt the broker has had for PATIENCE; their task ids."""
    lost = []
    for run in session.scalars(_silent(now).limit(limit).with_for_update(of=RunRow)):
        if _failed_at(run) < now - PATIENCE:
            facts = {"reason": "retry lost", "message": "no worker has begun its next attempt for a day"}
            run.status, run.completed_at, run.detail = "LOST", now, {**(run.detail or {}), **facts}
            lost.append(run.task_id)
    return lost


def any_silent(session: Session, now: datetime) -> bool:
    """Whether `lose_silent` has something to look at."""
    return session.execute(_silent(now).limit(1)).first() is not None


def _silent(now: datetime) -> Select[RunRow]:
    published = OutboxRow.published_at
    return (
        select(RunRow)
        .outerjoin(OutboxRow, OutboxRow.run_id == RunRow.id)
        .where(RunRow.status == "RETRY", RunRow.started_at < now - PATIENCE)
        .where(OutboxRow.not_before.is_(None), or_(published.is_(None), published < now - PATIENCE))
        .order_by(RunRow.id)
    )


def _failed_at(run: RunRow) -> datetime:
    """When its last attempt did."""
    assert run.started_at is not None
    return run.started_at + timedelta(seconds=run.runtime or 0)
