"""Lists of runs, the newest first: filtered, from a cursor (an id, so that what is added shifts nothing) or an offset.

They are in the order of their ids; those of a span of time in that of their times, which no index has beside the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select
from sqlalchemy.orm import Session

from taskd.clock import monotonic
from taskd.store.tables import RunRow, ScheduleRow

EXACT = 100_000
FIRST = 100  # how far a count of some runs looks before it asks how long that took
PATIENCE = 0.03  # seconds
# Without the session's objects and its look at each statement: half the time.
_RUN, _SCHEDULE = RunRow.__table__.columns, ScheduleRow.__table__.columns
_ENDS = select(  # min() and max() at once would have SQLite read the whole index
    *(select(_RUN.id).order_by(order).limit(1).scalar_subquery() for order in (_RUN.id.asc(), _RUN.id.desc()))
)


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
class Total:
    """How many; an estimate where counting would take longer than reading a page: at least so many, of some runs."""

    count: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, the newest first, how many there are in all, and whether there are newer and older ones."""

    rows: Sequence[Row[Any]]
    total: Total
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
    query = select(*_RUN).where(*_conditions(wanted)).offset(offset).limit(limit + 1)
    by_time = wanted.since is not None or wanted.until is not None
    if before is not None:
        query = query.where(*(_earlier(session, before) if by_time else [_RUN.id < before]))
    if after is not None:
        query = query.where(*(_later(session, after) if by_time else [_RUN.id > after]))
    upwards = after is not None
    order = (_RUN.dated_at, _RUN.id) if by_time else (_RUN.id,)
    began = monotonic()
    rows = session.execute(query.order_by(*(key if upwards else key.desc() for key in order))).all()
    took, more, rows = monotonic() - began, len(rows) > limit, rows[:limit]
    last = before is None and after is None and not more and bool(rows or not offset)
    known = offset + len(rows) + more if rows else 0
    total = Total(known) if last else _total(session, wanted, known, took)
    if upwards:
        return Page(rows[::-1], total, newer=more, older=True)
    return Page(rows, total, newer=before is not None or offset > 0, older=more)


def _earlier(session: Session, pk: int) -> list[ColumnElement[bool]]:
    at = _time_of(session, pk)  # twice: MariaDB finds no end of an index in an OR
    return [_RUN.dated_at <= at, or_(_RUN.dated_at < at, _RUN.id < pk)]


def _later(session: Session, pk: int) -> list[ColumnElement[bool]]:
    at = _time_of(session, pk)
    return [_RUN.dated_at >= at, or_(_RUN.dated_at > at, _RUN.id > pk)]


def _time_of(session: Session, pk: int) -> datetime | None:
    """Of that run or, where it is deleted, of the one before it."""
    near = select(_RUN.dated_at).where(_RUN.id <= pk, _RUN.dated_at.is_not(None))
    return session.scalar(near.order_by(_RUN.id.desc()).limit(1))


def _total(session: Session, wanted: RunFilter, known: int, took: float) -> Total:
    """Exact of a table of EXACT at most; beyond it, of all runs the span of their ids, of some as far as time allows.

    `known`: so many there are at least, which it took that many seconds to find. A count that looks ten times as far
    takes about ten times as long.
    """
    some = _conditions(wanted)
    first, last = session.execute(_ENDS).one()
    span = 1 + last - first if first and last else 0
    if not some and span > EXACT:
        return Total(span, estimated=True)
    if span > EXACT and took > PATIENCE / 2:  # a count looks twice as far at least
        return Total(known, estimated=True)
    most = min(FIRST, EXACT) if span > EXACT else EXACT
    while True:
        began = monotonic()
        counted = select(_RUN.id).where(*some).limit(most + 1).subquery()
        count = session.scalar(select(func.count()).select_from(counted)) or 0
        if count <= most:
            return Total(count)
        if most == EXACT or (monotonic() - began) * 10 > PATIENCE:
            return Total(most, estimated=True)
        most = min(most * 10, EXACT)


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    equal = ("task_name", "task_id", "kind", "queue", "worker", "root_id")
    values = {column: value for column in equal if (value := getattr(wanted, column)) is not None}
    found: list[ColumnElement[bool]] = [_RUN[column] == value for column, value in values.items()]
    if isinstance(wanted.schedule, int):
        found.append(_RUN.schedule_id == wanted.schedule)
    elif wanted.schedule is not None:
        named = select(_SCHEDULE.id).where(_SCHEDULE.name == wanted.schedule)
        found.append(_RUN.schedule_id.in_(named))
    if wanted.statuses:
        found.append(_RUN.status.in_(wanted.statuses))
    if wanted.since is not None:
        found.append(_RUN.dated_at >= wanted.since)
    if wanted.until is not None:
        found.append(_RUN.dated_at < wanted.until)
    return found
