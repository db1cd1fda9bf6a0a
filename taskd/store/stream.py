"""What the live stream reads: what has changed in the tables since the last look, and what a listener has missed.

Each look costs as much as what has changed, and what is active: never the history, nor a backlog beyond MOST_ACTIVE.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from taskd.store.arrivals import LOOK_BACK, PATIENCE, Arrivals
from taskd.store.claims import ACTIVE
from taskd.store.tables import EventRow, LeaseRow, RunRow, WorkerRow

MOST = 1000  # rows of each kind in one look; the rest comes with the next
MOST_ACTIVE = 10_000  # of more active runs, the newest are followed
RESUMED = timedelta(hours=1)  # for so long a listener may have been away
MOST_MISSED = (
    3000  # rows of each kind that are told again to who was away; of more, only that there were more
)
LATE = timedelta(
    seconds=PATIENCE
)  # for which the end of a run may be under way, and a worker's clock be slow
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHAPE = re.compile(r"(\d{1,18})\.(\d{1,18})\.(\d{1,14})", re.ASCII)
_TOLD = (
    RunRow.id, RunRow.task_id, RunRow.task_name, RunRow.status, RunRow.kind, RunRow.schedule_id,
    RunRow.schedule_name, RunRow.scheduled_for, RunRow.decided_at, RunRow.published_at, RunRow.started_at,
    RunRow.completed_at, RunRow.runtime, RunRow.queue, RunRow.worker, RunRow.result, RunRow.traceback,
    RunRow.progress, RunRow.detail,
)  # fmt: skip

Leader = tuple[str | None, int]
"""Holder and epoch."""


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where a listener has been told: ids of the last event and run, and when the tables were looked at."""

    event: int
    run: int
    at: datetime

    @classmethod
    def read(cls, text: str) -> "Position":
        """What `str` wrote; raises ValueError."""
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise ValueError(text)
        event, run, millis = map(int, found.groups())
        return cls(event, run, _EPOCH + timedelta(milliseconds=millis))

    def __str__(self) -> str:
        return f"{self.event}.{self.run}.{(self.at - _EPOCH) // timedelta(milliseconds=1)}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds now: who leads, by lease; the workers, by name; the newest active runs with their status."""

    leaders: Mapping[str, Leader]
    workers: Mapping[str, Mapping[str, Any]]
    active: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class News:
    """Events and runs that weren't there, runs in another state than before, and of them `gone` without a row."""

    events: Sequence[EventRow]
    begun: Sequence[Row[Any]]
    changed: Sequence[Row[Any]]
    gone: Collection[int] = ()
    standing: Standing | None = None


def arrivals(session: Session, column: InstrumentedAttribute[int], seconds: float) -> Arrivals:
    """What is still to come of a table, with what may be under way just now."""
    newest = session.scalar(select(func.max(column))) or 0
    known = Arrivals(max(newest - LOOK_BACK, 0))
    known.note(session.scalars(select(column).where(column > known.newest)), seconds)
    return known


def standing(session: Session) -> Standing:
    """One look."""
    leases = session.execute(select(LeaseRow.name, LeaseRow.holder, LeaseRow.epoch))
    columns = (WorkerRow.name, WorkerRow.incarnation, WorkerRow.host, WorkerRow.pool, WorkerRow.queues)
    active = select(RunRow.id, RunRow.status).where(RunRow.status.in_(ACTIVE))
    newest = session.execute(active.order_by(RunRow.id.desc()).limit(MOST_ACTIVE))
    return Standing(
        leaders={row.name: (row.holder, row.epoch) for row in leases},
        workers={row.name: dict(row._mapping) for row in session.execute(select(*columns))},
        active={row.id: row.status for row in newest},
    )


def news(session: Session, events: Arrivals, runs: Arrivals, known: Mapping[int, str]) -> News:
    """What has changed, where `known` are the active runs that were told of, and their status."""
    begun = _runs(session, runs.wanted(RunRow.id), MOST)
    now = standing(session)
    come = {row.id for row in begun}
    other = [run for run, status in known.items() if now.active.get(run) != status]
    other += [run for run in now.active if run not in known and run not in come and not runs.expects(run)]
    changed = _runs(session, RunRow.id.in_(other[:MOST]), MOST) if other else []
    gone = set(other[:MOST]) - {row.id for row in changed}
    return News(_events(session, events.wanted(EventRow.id), MOST), begun, changed, gone, now)


def missed(session: Session, since: Position) -> News | None:
    """What has come and changed since then; None where that is too much to be told."""
    at, going = since.at - LATE, ("STARTED", "RETRY")
    events = _events(session, EventRow.id > since.event, MOST_MISSED)
    begun = _runs(session, RunRow.id > since.run, MOST_MISSED)
    # Each by an index of its own.
    ended = select(*_TOLD).where(RunRow.completed_at >= at).order_by(RunRow.completed_at)
    active = select(*_TOLD).where(RunRow.status.in_(going), RunRow.started_at >= at)
    changed = [row for query in (ended, active) for row in session.execute(query.limit(MOST_MISSED))]
    if max(len(events), len(begun), len(changed)) >= MOST_MISSED:
        return None
    return News(events, begun, [row for row in changed if row.id <= since.run])


def _events(session: Session, wanted: ColumnElement[bool], limit: int) -> Sequence[EventRow]:
    return session.scalars(select(EventRow).where(wanted).order_by(EventRow.id).limit(limit)).all()


def _runs(session: Session, wanted: ColumnElement[bool], limit: int) -> Sequence[Row[Any]]:
    return session.execute(select(*_TOLD).where(wanted).order_by(RunRow.id).limit(limit)).all()
