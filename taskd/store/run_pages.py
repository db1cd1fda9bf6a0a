"""Lists of runs, the newest first: filtered, from a cursor (an id, so that what is added shifts nothing) or an offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from taskd.store.tables import RunRow, ScheduleRow


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs: all, or those for which everything that is given holds.

    `schedule` is an id, or a name that the schedule has or had when it was deleted. `since` and `until` (exclusive)
    are about when a run was due or, where it wasn't, asked for or begun.
    """

    schedule: int | str | None = None
    statuses: Sequence[str] = ()
    task_name: str | None = None
    task_id: str | None = None
    kind: str | None = None
    queue: str | None = None
    worker: str | None = None
    root_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, the newest first, how many there are in all, and whether there are newer and older ones."""

    rows: list[RunRow]
    total: int
    newer: bool
    older: bool


def page(
    session: Session,
    wanted: RunFilter,
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
    offset: int = 0,
) -> Page:
    """At most `limit` runs: those next below the id `before`, next above the id `after`, or after `offset` ones."""
    query = select(RunRow).where(*_conditions(wanted)).offset(offset).limit(limit + 1)
    if before is not None:
        query = query.where(RunRow.id < before)
    if after is not None:
        query = query.where(RunRow.id > after)
    upwards = after is not None
    rows = list(session.scalars(query.order_by(RunRow.id.asc() if upwards else RunRow.id.desc())))
    more, rows = len(rows) > limit, rows[:limit]
    total = session.scalar(select(func.count()).select_from(RunRow).where(*_conditions(wanted))) or 0
    if upwards:
        return Page(rows[::-1], total, newer=more, older=True)
    return Page(rows, total, newer=before is not None or offset > 0, older=more)


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    equal = ("task_name", "task_id", "kind", "queue", "worker", "root_id")
    values = {column: value for column in equal if (value := getattr(wanted, column)) is not None}
    found: list[ColumnElement[bool]] = [getattr(RunRow, column) == value for column, value in values.items()]
    if isinstance(wanted.schedule, int):
        found.append(RunRow.schedule_id == wanted.schedule)
    elif wanted.schedule is not None:
        named = select(ScheduleRow.id).where(ScheduleRow.name == wanted.schedule)
        found.append(RunRow.schedule_id.in_(named))
    if wanted.statuses:
        found.append(RunRow.status.in_(wanted.statuses))
    at = func.coalesce(RunRow.scheduled_for, RunRow.decided_at, RunRow.started_at)
    if wanted.since is not None:
        found.append(at >= wanted.since)
    if wanted.until is not None:
        found.append(at < wanted.until)
    return found
