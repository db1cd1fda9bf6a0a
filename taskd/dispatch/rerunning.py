"""Runs again what was lost with its worker, where the schedule says so (`retry.on_worker_lost`).

The new run has a task id of its own, so that whatever the lost one's worker still does or tells can't be taken for
its. Each names the other in `detail`: `retried_by`, and `retry_of` with the count of its attempts.
"""

import logging
import random
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.dispatch.manual import arranged
from taskd.dispatch.messages import Order, compose
from taskd.schedule.retry import retry_of
from taskd.store import outbox, runs
from taskd.store.columns import json_or_null
from taskd.store.runs import NewRun
from taskd.store.tables import RunRow, ScheduleRow

log = logging.getLogger("taskd.sweeper")
_SILENT = ("deleted", "disabled", "paused", "quarantined")


class Reruns:
    """Composes and writes the runs that take the place of lost ones."""

    def __init__(self, app: Celery, secret_keys: frozenset[str] = frozenset()) -> None:
        self._app, self._secret_keys = app, secret_keys

    def asking(self, session: Session, run_ids: Collection[int]) -> Mapping[int, ScheduleRow]:
        """By run, the schedule that wants it run again, its row locked: before the runs', as everywhere."""
        if not run_ids:
            return {}
        of_runs = select(RunRow.id, RunRow.schedule_id).where(RunRow.id.in_(run_ids))
        schedule_of = {run: schedule for run, schedule in session.execute(of_runs) if schedule is not None}
        wanting = select(ScheduleRow).where(ScheduleRow.id.in_(schedule_of.values()))
        wanting = wanting.where(ScheduleRow.state.not_in(_SILENT)).order_by(ScheduleRow.id)
        rows = {row.id: row for row in session.scalars(wanting.with_for_update()) if _wants(row)}
        return {run: rows[schedule] for run, schedule in schedule_of.items() if schedule in rows}

    def run_again(self, session: Session, lost_id: int, schedule: ScheduleRow, now: datetime) -> None:
        """Write the next run in place of a lost one, if its schedule has an attempt left; overlap may stand in its way."""
        lost, retry = session.get_one(RunRow, lost_id, populate_existing=True), retry_of(schedule.options)
        attempt = (lost.detail or {}).get("attempt", 0) + 1
        if retry is None or attempt > retry.max:
            return
        new = arranged(session, self._app, schedule, self._run(lost, schedule, attempt, now))
        run_id = runs.add(session, [new])[new.task_id]
        pause = timedelta(seconds=retry.pause(attempt - 1, random.random()))  # noqa: S311  spreads, hides nothing
        outbox.delay(session, run_id, now + pause)
        lost.detail = {**(lost.detail or {}), "retried_by": new.task_id}
        log.info("run %d is run again as %s, attempt %d of %d", lost_id, new.task_id, attempt, retry.max)

    def _run(self, lost: RunRow, schedule: ScheduleRow, attempt: int, now: datetime) -> NewRun:
        task_id = str(uuid4())
        kind: Literal["schedule", "manual"] = "manual" if lost.kind == "manual" else "schedule"
        first = lost.scheduled_for.isoformat() if lost.scheduled_for else None
        due: str | None = (lost.detail or {}).get("scheduled_for") or first
        detail: dict[str, Any] = {"retry_of": lost.task_id, "attempt": attempt, "scheduled_for": due}
        order = Order(
            lost.task_name, lost.args or [], lost.kwargs or {}, schedule.options, schedule.name, kind
        )
        return NewRun(
            task_id,
            lost.task_name,
            "PENDING",
            kind,
            schedule.id,
            schedule.name,
            now,
            json_or_null(lost.args),
            json_or_null(lost.kwargs),
            detail=detail,
            message=compose(self._app, order, self._secret_keys).fill(task_id, due, now),
        )


def _wants(row: ScheduleRow) -> bool:
    retry = retry_of(row.options)
    return retry is not None and retry.on_worker_lost
