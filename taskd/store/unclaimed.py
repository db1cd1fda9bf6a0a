"""Statements about runs that were published and that no worker has begun."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from taskd.store.claims import RUN_HEADER
from taskd.store.outbox import TIMING
from taskd.store.tables import OutboxRow, RunRow, ScheduleRow

End = Literal["REVOKED", "MISSED", "LOST", "SENT"]


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """A run whose message the broker has confirmed `publish_no` times; `queue` is None where an exchange chooses it.

    `schedule`: the columns that say when its schedule is due, and its policy; None where it is gone.
    """

    run_id: int
    task_id: str
    task_name: str
    queue: str | None
    publish_no: int
    published_at: datetime
    expires: datetime | None
    scheduled_for: datetime | None
    schedule: Mapping[Any, Any] | None


def page(session: Session, before: datetime, limit: int, *, after: int = 0) -> list[Unclaimed]:
    """Those published by `before` that nobody has begun, in order, with run ids above `after`."""
    query = (
        select(OutboxRow.run_id, OutboxRow.publish_no, OutboxRow.published_at, OutboxRow.headers)
        .add_columns(RunRow.task_id, RunRow.task_name, RunRow.queue, RunRow.scheduled_for, *TIMING)
        .join(RunRow, RunRow.id == OutboxRow.run_id)
        .outerjoin(ScheduleRow, ScheduleRow.id == RunRow.schedule_id)
        .where(OutboxRow.published_at <= before, OutboxRow.not_before.is_(None), OutboxRow.run_id > after)
        .where(RunRow.status == "PENDING", RunRow.claim.is_(None))
        .order_by(OutboxRow.run_id)
        .limit(limit)
    )
    return [
        Unclaimed(
            row.run_id,
            row.task_id,
            row.task_name,
            row.queue,
            row.publish_no,
            row.published_at,
            _instant(row.headers.get("expires")),
            row.scheduled_for,
            row._mapping if row.uid else None,
        )
        for row in session.execute(query)
    ]


def publish_again(session: Session, lost: Collection[Unclaimed], evidence: str, now: datetime) -> int:
    """Give their messages, which the broker has lost, to the publisher once more; how many nobody has begun yet."""
    runs = _still(session, lost)
    for run, row in runs:
        note = {"republished": row.publish_no, "evidence": evidence}
        run.detail = {**(run.detail or {}), **note}
        origin = {**row.headers.get(RUN_HEADER, {}), "republished": row.publish_no}
        row.headers = {**row.headers, RUN_HEADER: origin}
        row.published_at, row.not_before = None, now
    return len(runs)


def end(
    session: Session,
    unclaimed: Collection[Unclaimed],
    status: End,
    facts: Mapping[str, Any],
    now: datetime,
) -> int:
    """End those that nobody has begun yet; how many. Whoever gets their messages after all is refused."""
    runs = _still(session, unclaimed)
    for run, _ in runs:
        run.status, run.completed_at, run.detail = status, now, {**(run.detail or {}), **facts}
    if runs:
        session.execute(delete(OutboxRow).where(OutboxRow.run_id.in_([run.id for run, _ in runs])))
    return len(runs)


def _still(session: Session, unclaimed: Collection[Unclaimed]) -> list[tuple[RunRow, OutboxRow]]:
    """Those that are as they were seen, locked: workers may claim them meanwhile."""
    seen = {found.run_id: found.publish_no for found in unclaimed}
    rows = session.execute(_locked(seen).order_by(RunRow.id).with_for_update())
    return [(run, row) for run, row in rows if row.publish_no == seen[run.id]]


def _locked(run_ids: Collection[int]) -> Select[RunRow, OutboxRow]:
    return (
        select(RunRow, OutboxRow)
        .join(OutboxRow, OutboxRow.run_id == RunRow.id)
        .where(RunRow.id.in_(run_ids), RunRow.status == "PENDING", RunRow.claim.is_(None))
        .where(OutboxRow.published_at.is_not(None), OutboxRow.not_before.is_(None))
    )


def _instant(text: Any) -> datetime | None:
    """A message's `expires` header; None where it has none, or one that can't be read."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else None
