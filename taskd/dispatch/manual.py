"""Run now: a run that an operator asks for, beside the schedule's own."""

from datetime import datetime
from typing import Any
from uuid import uuid4, uuid5

from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.dispatch.messages import Order, compose
from taskd.store import events, runs
from taskd.store.runs import NewRun
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
    secret_keys: frozenset[str] = frozenset(),
) -> RunRow:
    """Write a manual run of a schedule (its row locked) to the outbox: no cursor moves, no limit is used up.

    `args` and `kwargs` stand in for the schedule's own this once; the same idempotency `key` gives the same run.
    """
    task_id = str(uuid5(row.uid, f"key:{key}")) if key else str(uuid4())
    known = session.scalar(select(RunRow).where(RunRow.task_id == task_id))
    if known is not None:
        return known
    args, kwargs = (row.args if args is None else args), (row.kwargs if kwargs is None else kwargs)
    origin = {"schedule": row.name, "scheduled_for": None, "kind": "manual"}
    order = Order(task_id, row.task, args or [], kwargs or {}, row.options, origin)
    message = compose(app, order, now, secret_keys)
    runs.add(
        session,
        [
            NewRun(
                task_id, row.task, "PENDING", "manual", row.id, row.name, now, args, kwargs, message=message
            )
        ],
    )
    events.record(session, "triggered", actor, now, row, detail={"task_id": task_id})
    return runs.find(session, task_id)
