"""Run now: a run that an operator asks for, beside the schedule's own."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4, uuid5

from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.dispatch import overlapping
from taskd.dispatch.messages import Order, compose
from taskd.dispatch.overlapping import Asking
from taskd.dispatch.revoking import broadcast_after_commit
from taskd.schedule.overlap import OverlapPolicy
from taskd.schedule.policy_fields import overlap_of
from taskd.store import events, runs
from taskd.store.columns import json_or_null
from taskd.store.runs import NewRun
from taskd.store.schedules import declared
from taskd.store.tables import RunRow, ScheduleRow


def trigger(
    session: Session,
    app: Celery,
    row: ScheduleRow,
    actor: str,
    now: datetime,
    *,
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    key: str | None = None,
    overlap: OverlapPolicy | None = None,
    secret_keys: frozenset[str] = frozenset(),
) -> RunRow:
    """Write a manual run of a schedule (its row locked) to the outbox: no cursor moves, no limit is used up.

    `args`, `kwargs` and the `overlap` policy stand in for the schedule's own this once; the same idempotency `key`
    gives the same run. A run that would overlap is treated as the schedule's policy says unless `overlap` says
    otherwise: look at its status, it may be held or SKIPPED. Workers are told what it revokes once `session` commits.
    """
    task_id = str(uuid5(row.uid, f"key:{key}")) if key else str(uuid4())
    known = session.scalar(select(RunRow).where(RunRow.task_id == task_id))
    if known is not None:
        return known
    args, kwargs = (row.args if args is None else args), (row.kwargs if kwargs is None else kwargs)
    order = Order(row.task, args or [], kwargs or {}, row.options, row.name, "manual")
    message = compose(app, order, secret_keys).fill(task_id, None, now)
    new = NewRun(
        task_id,
        row.task,
        "PENDING",
        "manual",
        row.id,
        row.name,
        now,
        json_or_null(args),
        json_or_null(kwargs),
        message=message,
    )
    runs.add(session, [arranged(session, app, row, new, overlap)])
    events.record(session, "triggered", actor, now, row, detail={"task_id": task_id})
    return runs.find(session, task_id)


def arranged(
    session: Session, app: Celery, row: ScheduleRow, new: NewRun, policy: OverlapPolicy | None = None
) -> NewRun:
    """A run beside the schedule's own, as overlap leaves it: by `policy`, else as the schedule says."""
    own = overlap_of(row.policy)
    overlap = own if policy is None else replace(own, policy=policy)
    if overlap.policy == "allow":
        return new
    asking = Asking({**declared(row), "id": row.id, "uid": row.uid}, overlap, [new])
    findings = overlapping.look(session, app, [asking], new.decided_at)
    broadcast_after_commit(session, app, overlapping.carry_out(session, findings, new.decided_at))
    return findings[0].fires[0]
