"""Failures in a row, read from the runs: so they are right whoever wrote the runs, in whatever order, however late.

A streak is the failed runs (FAILURE, LOST) since the last SUCCESS, newest first in the order of their decisions,
among those decided since the schedule's last change: a resume or an edit begins anew. What ended otherwise (MISSED,
SKIPPED, REVOKED, IGNORED, SENT) is neither, nor is a LOST run that has been run again: it has retries left.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Protocol

from sqlalchemy import Row, Select, func, or_, select, union_all
from sqlalchemy.orm import Session

from taskd.store.tables import RunRow, ScheduleRow

MOST = 100  # longer streaks are told as this long; pause_after_failures is at most as much
FAILED = ("FAILURE", "LOST")
_PART = 50  # probes of the index (schedule_id, id) in one statement


class Changed(Protocol):
    """A schedule: which, and when it was last changed."""

    @property
    def id(self) -> Any: ...
    @property
    def updated_at(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Streak:
    """How many runs in a row have failed, and the newest of them."""

    length: int
    last: str | None


def streaks(session: Session, schedules: Sequence[Changed], most: int = MOST) -> dict[int, Streak]:
    """By id and in their order, the streaks of schedules (rows with `id` and `updated_at`), up to `most`."""
    found: dict[int, list[tuple[str, str]]] = {schedule.id: [] for schedule in schedules}
    for start in range(0, len(schedules), _PART):
        probes = [_newest(schedule, most) for schedule in schedules[start : start + _PART]]
        for schedule_id, _, task_id, status, detail in session.execute(union_all(*probes).order_by("id")):
            if "retried_by" not in (detail or {}):
                found[schedule_id].append((task_id, status))
    return {schedule_id: _streak(reversed(outcomes)) for schedule_id, outcomes in found.items()}


def with_outcomes_since(session: Session, instant: datetime) -> list[Row[Any]]:
    """Schedules whose streak may have changed by a run that ended after `instant`.

    Those that are paused keep the streak with which they were: it begins anew when they are resumed.
    """
    # Expressions keep databases off the indexes by status and by schedule, which lead through all history.
    of_one, status = RunRow.schedule_id + 0, func.coalesce(RunRow.status, "")
    failed, ends_one = status.in_(FAILED), status == "SUCCESS"
    columns = (ScheduleRow.id, ScheduleRow.updated_at, ScheduleRow.failures_in_a_row)
    ended = (
        select(of_one)
        .join(ScheduleRow, ScheduleRow.id == of_one)
        .where(
            RunRow.completed_at > instant,
            ScheduleRow.paused_at.is_(None),
            or_(failed, ends_one & (ScheduleRow.failures_in_a_row > 0)),
        )
        .distinct()
    )
    ids = session.scalars(ended).all()
    return list(session.execute(select(*columns).where(ScheduleRow.id.in_(ids)))) if ids else []


def _newest(schedule: Changed, most: int) -> Select[Any]:
    newest = (
        select(RunRow.schedule_id, RunRow.id, RunRow.task_id, RunRow.status, RunRow.detail)
        .where(
            RunRow.schedule_id == schedule.id,
            RunRow.status.in_((*FAILED, "SUCCESS")),
            RunRow.decided_at >= schedule.updated_at,
        )
        .order_by(RunRow.id.desc())
        .limit(most)
    )
    return select(newest.subquery())


def _streak(newest_first: Iterable[tuple[str, str]]) -> Streak:
    failed = [task_id for task_id, _ in takewhile(lambda run: run[1] in FAILED, newest_first)]
    return Streak(len(failed), failed[0] if failed else None)
