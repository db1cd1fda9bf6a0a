"""What is counted for monitoring: one look at the tables as they stand, and what has come since the last look."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from taskd.store.schedules import paged
from taskd.store.tables import (
    EventRow,
    LeaseRow,
    OutboxRow,
    RunRow,
    ScheduleRow,
    SourceFileRow,
    SourceRow,
    WorkerRow,
)

PAGE = 1000  # schedules a statement
MOST = 20_000  # rows of one look at what has come; the rest comes with the next


@dataclass(frozen=True, slots=True)
class Standing:
    """The tables as they stand. `files`: by state; `held`: deletions that wait for approval.

    `schedules`: how many, by state and owner; `times`: of each its name, and when it was due last and is next, or 0.
    """

    schedules: Mapping[tuple[str, str], int]
    times: Sequence[tuple[str, float, float]]
    unpublished: int
    oldest: datetime | None
    workers: int
    queues: frozenset[str]
    epochs: Mapping[str, int]
    files: Mapping[str, int]
    held: int


def standing(session: Session, give: Callable[[], None] = lambda: None) -> Standing:
    """One look; its cost grows with the schedules and what is under way, never with history. `give`: before each page."""
    named = (
        ScheduleRow.id,
        ScheduleRow.name,
        ScheduleRow.state,
        ScheduleRow.owner,
        ScheduleRow.last_run_at,
        ScheduleRow.next_run_at,
    )
    waiting = select(func.count(), func.min(OutboxRow.not_before)).where(OutboxRow.not_before.is_not(None))
    unpublished, oldest = session.execute(waiting).one()
    workers = session.execute(select(WorkerRow.queues)).scalars().all()
    files = select(SourceFileRow.error.is_not(None), func.count()).group_by(SourceFileRow.error.is_not(None))
    counts = {bool(broken): count for broken, count in session.execute(files)}
    passes = session.execute(select(SourceRow.passes)).scalars().all()
    schedules: Counter[tuple[str, str]] = Counter()
    times = []
    for row in paged(session, select(*named).where(ScheduleRow.deleted_at.is_(None)), PAGE, give):
        schedules[row.state, row.owner] += 1
        times.append((row.name, _seconds(row.last_run_at), _seconds(row.next_run_at)))
    return Standing(
        schedules=schedules,
        times=times,
        unpublished=unpublished,
        oldest=oldest,
        workers=len(workers),
        queues=frozenset(queue for queues in workers for queue in queues),
        epochs={row.name: row.epoch for row in session.execute(select(LeaseRow.name, LeaseRow.epoch))},
        files={"good": counts.get(False, 0), "broken": counts.get(True, 0)},
        held=sum(last[0].get("held", 0) for last in passes if last),
    )


def _seconds(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


def newest(session: Session) -> tuple[int, int]:
    """The ids of the last run and the last event: what is counted comes after them."""
    run, event = (session.scalar(select(func.max(row.id))) or 0 for row in (RunRow, EventRow))
    return run, event


def decided(session: Session, after: int) -> Sequence[Row[Any]]:
    """Occurrences that were fired, with what their schedule says about delays."""
    columns = (
        RunRow.id,
        RunRow.schedule_name,
        RunRow.scheduled_for,
        RunRow.decided_at,
        ScheduleRow.policy,
        ScheduleRow.uid,
    )
    query = (
        select(*columns, *_TIMING)
        .join(ScheduleRow, ScheduleRow.id == RunRow.schedule_id)
        .where(RunRow.id > after, RunRow.kind == "schedule", RunRow.status.not_in(("MISSED", "SKIPPED")))
        .order_by(RunRow.id)
        .limit(MOST)
    )
    return session.execute(query).all()


def ended(session: Session, since: datetime) -> Sequence[Row[Any]]:
    """Runs that have ended since then, in that order."""
    columns = (
        RunRow.id, RunRow.schedule_name, RunRow.task_name, RunRow.status, RunRow.runtime, RunRow.started_at,
        RunRow.published_at, RunRow.completed_at, RunRow.queue, RunRow.detail,
    )  # fmt: skip
    query = select(*columns).where(RunRow.completed_at >= since).order_by(RunRow.completed_at).limit(MOST)
    return session.execute(query).all()


def healed(session: Session, after: int) -> Sequence[int]:
    """The ids of events that tell of a table put right."""
    query = select(EventRow.id).where(EventRow.id > after, EventRow.kind == "healed").order_by(EventRow.id)
    return session.scalars(query.limit(MOST)).all()


_TIMING = (
    ScheduleRow.schedule_type, ScheduleRow.crontab, ScheduleRow.interval_seconds, ScheduleRow.start_time,
    ScheduleRow.end_time, ScheduleRow.timezone,
)  # fmt: skip
