"""Statements about runs without a final status, as overlap sees them. The caller holds their schedules' rows locked."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from taskd.schedule.overlap import Active
from taskd.store import outbox
from taskd.store.claims import ACTIVE
from taskd.store.tables import OutboxRow, RunRow


def of_schedules(session: Session, schedule_ids: Collection[int]) -> Mapping[int, list[Active]]:
    """By schedule, its runs without a final status in the order of their decisions."""
    # The sum keeps databases off the index by schedule: it leads through all history, (status, id) only to what is open.
    of_one = RunRow.schedule_id + 0
    # What waits for its next attempt is in no worker's hands: no lease runs (retries.py ends what waits in vain).
    claimed_at = case((RunRow.status == "STARTED", RunRow.started_at))
    query = (
        select(of_one, RunRow.id, RunRow.task_id, claimed_at, RunRow.scheduled_for, OutboxRow.held_by)
        .outerjoin(OutboxRow, OutboxRow.run_id == RunRow.id)
        .where(RunRow.status.in_(ACTIVE), of_one.in_(schedule_ids))
        .order_by(RunRow.id)
    )
    found: dict[int, list[Active]] = defaultdict(list)
    for schedule_id, run_id, task_id, claimed, scheduled_for, held_by in session.execute(query):
        run = Active(run_id, task_id, claimed, held_by is not None, scheduled_for)
        found[cast("int", schedule_id)].append(run)
    return found


def supersede(session: Session, successors: Mapping[int, str], now: datetime) -> list[str]:
    """End runs that nobody has begun as REVOKED; the task ids of those that have begun: their workers must be told.

    `successors`: by run id, the task id of the run that takes its place.
    """
    begun, ended = [], []
    for run in _open(session, successors):
        facts = {"superseded_by": successors[run.id]}
        if run.status == "STARTED":
            begun.append(run.task_id)
        else:
            facts |= {"reason": "overlap"}
            run.status, run.completed_at = "REVOKED", now
            ended.append(run.id)
        run.detail = {**(run.detail or {}), **facts}
    outbox.drop(session, ended)
    return begun


def lose_stale(session: Session, run_ids: Collection[int], now: datetime) -> None:
    """End runs whose lease has run out as LOST; the claim's holder may still tell how they ended."""
    facts: dict[str, Any] = {"reason": "stale", "message": "it outlived its lease, and another run was due"}
    for run in _open(session, run_ids):
        run.status, run.completed_at, run.detail = "LOST", now, {**(run.detail or {}), **facts}


def _open(session: Session, run_ids: Collection[int]) -> list[RunRow]:
    """Those that have no final status yet, locked: their workers write them too."""
    query = select(RunRow).where(RunRow.id.in_(run_ids), RunRow.status.in_(ACTIVE)).order_by(RunRow.id)
    return list(session.scalars(query.with_for_update())) if run_ids else []
