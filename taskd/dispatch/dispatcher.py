"""T1: what is due becomes run rows, and the cursor moves, in one transaction.

States     an occurrence is undecided → decided (its row stands: PENDING with a message in the outbox, or MISSED)
Invariant  the row, the message, the cursor and the fence are one commit: all of it stands, or nothing
           UNIQUE (schedule_id, scheduled_for) makes a second decision impossible, whoever tries

fault                                   what repairs it
crash before the commit                 nothing happened: the next pass decides again
crash after the commit                  the outbox has the message: the publisher sends it
the commit's answer is lost             the next pass reads the cursors anew
another process leads by now            the fence matches no row: rolled back, stepped down
a schedule changed meanwhile            its version or cursor moved: left out, decided by the next pass
an occurrence has its row already       rolled back, read anew, left out, tried again
one row poisons the batch               the batch is halved down to it; that schedule alone is quarantined
a message can't be built                that schedule alone is quarantined
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from celery import Celery
from sqlalchemy import Row, Table, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from taskd import clock
from taskd.dispatch.leader import Leadership
from taskd.dispatch.messages import Order, compose
from taskd.schedule.policy import Catchup, Decision, Missed, decide, fires_left
from taskd.store import events, runs
from taskd.store.columns import UtcDateTime
from taskd.store.database import Database
from taskd.store.runs import NewRun
from taskd.store.schedules import settle, timetable_of
from taskd.store.tables import ScheduleRow

BATCH = 500
# psycopg serialises JSON by itself and lets what that raises through.
UNWRITABLE = (StatementError, ValueError, TypeError)
log = logging.getLogger("taskd.dispatch")

_DUE = (
    select(ScheduleRow.__table__)
    .where(ScheduleRow.state == "active", ScheduleRow.next_run_at <= bindparam("now"))
    .order_by(ScheduleRow.next_run_at, ScheduleRow.id)
    .limit(BATCH)
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One schedule's decision, ready to be written if the schedule is still as it was read."""

    id: int
    uid: UUID
    name: str
    version: int
    cursor: datetime
    decision: Decision
    runs: tuple[NewRun, ...]

    def advance(self) -> dict[str, Any]:
        """The columns that move, with the row's id as `row`."""
        fires = self.decision.fires
        return {
            "row": self.id,
            "to": self.decision.cursor,
            "next": self.decision.next_run_at,
            "fired": len(fires),
            "last": fires[-1] if fires else None,
        }


class Dispatcher:
    """Decides for everything that is due. One thread calls `tick`; nobody else writes what it writes."""

    def __init__(
        self,
        database: Database,
        app: Celery,
        leadership: Leadership,
        secret_keys: frozenset[str] = frozenset(),
    ) -> None:
        self._database, self._app, self._leadership = database, app, leadership
        self._secret_keys = secret_keys

    def tick(self, now: datetime) -> int:
        """Decide all that is due at `now`, batch by batch; how many runs were written. Only a leader calls it."""
        written = 0
        while rows := self._database.read(lambda session: list(session.execute(_DUE, {"now": now}))):
            claims = [claim for row in rows if (claim := self._prepare(row, now)) is not None]
            written += self._write(claims, now)
            if len(rows) < BATCH or not self._leadership.leads(clock.monotonic()):
                break
        return written

    def next_due(self) -> datetime | None:
        """When the next schedule is due."""
        query = select(func.min(ScheduleRow.next_run_at)).where(ScheduleRow.state == "active")
        return self._database.read(lambda session: session.execute(query).scalar())

    def _prepare(self, row: Row[Any], now: datetime) -> Claim | None:
        """Decide one schedule and build its messages; one that can't be is quarantined, in nobody's way."""
        try:
            left = fires_left(
                one_off=row.one_off,
                max_run_count=row.max_run_count,
                counted=row.total_run_count - row.counted_from,
            )
            decision = decide(timetable_of(row._mapping), Catchup(), row.cursor_at, now, fires_left=left)
            fired = [self._fire(row, at, now) for at in decision.fires]
        except Exception as error:  # noqa: BLE001  whatever is wrong concerns this schedule alone
            self._quarantine(row, f"{type(error).__name__}: {error}", now)
            return None
        passed = [_missed(row, missed, now) for missed in decision.missed]
        return Claim(row.id, row.uid, row.name, row.version, row.cursor_at, decision, (*passed, *fired))

    def _fire(self, row: Row[Any], at: datetime, now: datetime) -> NewRun:
        task_id = runs.task_id_for(row.uid, at)
        origin = {"schedule": row.name, "scheduled_for": at.isoformat(), "kind": "schedule"}
        order = Order(task_id, row.task, row.args or [], row.kwargs or {}, row.options, origin)
        message = compose(self._app, order, now, self._secret_keys)
        return NewRun(
            task_id,
            row.task,
            "PENDING",
            "schedule",
            row.id,
            row.name,
            now,
            row.args,
            row.kwargs,
            at,
            None,
            message,
        )

    def _write(self, claims: Sequence[Claim], now: datetime) -> int:
        """T1 for a batch; halves it down to what can't be written."""
        if not claims:
            return 0
        began = clock.monotonic()
        try:
            written = self._database.write(lambda session: self._claim(session, claims))
        except IntegrityError as error:
            return self._write_without_decided(claims, now, error)
        except UNWRITABLE as error:
            return self._halve(claims, now, error)
        self._leadership.trust_from(began)
        return written

    def _claim(self, session: Session, claims: Sequence[Claim]) -> int:
        """Lock, drop what has moved, insert, advance, fence."""
        lock = (
            select(ScheduleRow.id, ScheduleRow.version, ScheduleRow.cursor_at)
            .where(ScheduleRow.id.in_([claim.id for claim in claims]))
            .order_by(ScheduleRow.id)
            .with_for_update(skip_locked=True)
        )
        found = {id_: (version, cursor) for id_, version, cursor in session.execute(lock)}
        fresh = [claim for claim in claims if found.get(claim.id) == (claim.version, claim.cursor)]
        written = runs.add(session, [run for claim in fresh for run in claim.runs])
        _advance(session, fresh)
        self._leadership.fence(session)
        return len(written)

    def _write_without_decided(self, claims: Sequence[Claim], now: datetime, error: IntegrityError) -> int:
        occurrences = [
            (claim.id, run.scheduled_for) for claim in claims for run in claim.runs if run.scheduled_for
        ]
        known = self._database.read(lambda session: runs.already_decided(session, occurrences))
        if not known:
            return self._halve(claims, now, error)
        log.warning("%d occurrences had been decided before: left out", len(known))
        rest = [_without(claim, known) for claim in claims]
        return self._write(rest, now)

    def _halve(self, claims: Sequence[Claim], now: datetime, error: Exception) -> int:
        if len(claims) == 1:
            self._quarantine(claims[0], f"it can't be written: {getattr(error, 'orig', None) or error}", now)
            return 0
        middle = len(claims) // 2
        return self._write(claims[:middle], now) + self._write(claims[middle:], now)

    def _quarantine(self, schedule: Row[Any] | Claim, reason: str, now: datetime) -> None:
        """Take a schedule out of dispatch until it is declared anew, visibly."""
        log.error("schedule %r is quarantined: %s", schedule.name, reason)

        def write(session: Session) -> None:
            row = session.get_one(ScheduleRow, schedule.id)
            if row.version == schedule.version and row.state == "active":
                row.state, row.state_detail, row.next_run_at = "quarantined", reason, None
                events.record(session, "quarantined", "taskd", now, row, detail={"reason": reason})
                self._leadership.fence(session)

        self._database.write(write)


def _missed(row: Row[Any], missed: Missed, now: datetime) -> NewRun:
    stretch = missed.stretch
    detail = {
        "reason": missed.reason,
        "from": stretch.first.isoformat(),
        "to": stretch.last.isoformat(),
        "count": stretch.count,
    }
    task_id = runs.task_id_for(row.uid, stretch.last)
    return NewRun(
        task_id,
        row.task,
        "MISSED",
        "schedule",
        row.id,
        row.name,
        now,
        row.args,
        row.kwargs,
        stretch.last,
        detail,
    )


def _without(claim: Claim, known: set[tuple[int, datetime]]) -> Claim:
    """The claim without the runs that stand already; the cursor moves past them all the same."""
    rest = tuple(run for run in claim.runs if (claim.id, run.scheduled_for) not in known)
    fires = tuple(at for at in claim.decision.fires if (claim.id, at) not in known)
    decision = Decision(fires, claim.decision.missed, claim.decision.cursor, claim.decision.next_run_at)
    return Claim(claim.id, claim.uid, claim.name, claim.version, claim.cursor, decision, rest)


def _advance(session: Session, claims: Sequence[Claim]) -> None:
    """Move cursors and counts; a schedule with nothing to come is completed or ended."""
    if not claims:
        return
    table = cast("Table", ScheduleRow.__table__)
    statement = (
        update(table)
        .where(table.c.id == bindparam("row"))
        .values(
            cursor_at=bindparam("to"),
            next_run_at=bindparam("next"),
            total_run_count=table.c.total_run_count + bindparam("fired"),
            last_run_at=func.coalesce(bindparam("last", type_=UtcDateTime()), table.c.last_run_at),
        )
    )
    session.connection().execute(statement, [claim.advance() for claim in claims])
    for claim in claims:
        if claim.decision.next_run_at is None:
            settle(session.get_one(ScheduleRow, claim.id))
