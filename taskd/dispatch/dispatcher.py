"""T1: what is due becomes run rows, and the cursor moves, in one transaction.

States     an occurrence is undecided → decided: its row stands, PENDING with a message in the outbox (due, or held by
           an earlier run), MISSED by the catch-up policy, or SKIPPED by the overlap policy
A pass     resume whose pause is over; of what is due, pause what fails too often, decide the rest; release what is held
Invariant  the row, the message, the cursor and the fence are one commit: all of it stands, or nothing
           UNIQUE (schedule_id, scheduled_for) makes a second decision impossible, whoever tries
           limits and overlap are decided under the lock of the schedule's row, by what was committed before

fault                                   what repairs it
crash before the commit                 nothing happened: the next pass decides again
crash after the commit                  the outbox has the message: the publisher sends it
the commit's answer is lost             the next pass reads the cursors anew
another process leads by now            the fence matches no row: rolled back, stepped down
a schedule changed meanwhile            its version or cursor moved: left out, decided by the next pass
an occurrence has its row already       rolled back, read anew, left out, tried again
one row poisons the batch               the batch is halved down to it; that schedule alone is quarantined
a message can't be built                that schedule alone is quarantined
the clock jumps forward                 an outage: what was passed over is late, and the catch-up policy's
the clock jumps back                    nothing that was decided is due again: cursors only go forward
fires are skipped at the limit's end    the count didn't move, so the schedule is settled as active again
what overlaps                           overlapping.py; what ends or begins a pause: pausing.py
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from celery import Celery
from sqlalchemy import Row, Table, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from taskd import clock
from taskd.dispatch import overlapping, pausing
from taskd.dispatch.claim import Claim, arranged, batches, fired_run, missed_run
from taskd.dispatch.leader import Leadership
from taskd.dispatch.messages import Order, compose
from taskd.dispatch.overlapping import Asking, Finding
from taskd.dispatch.revoking import Revocation, Revoker
from taskd.schedule.policy import decide
from taskd.schedule.policy_fields import catchup_of
from taskd.store import events, runs
from taskd.store.columns import UtcDateTime
from taskd.store.database import Database
from taskd.store.runs import NewRun
from taskd.store.schedules import fires_left_of, settle, timetable_of
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
        self.revoker = Revoker(app)
        app.finalize()  # here, so that a task that can't be registered isn't taken for a fault of some schedule

    def tick(self, now: datetime) -> int:
        """Decide all that is due at `now`, batch by batch; how many runs were written. Only a leader calls it."""
        pausing.resume_when_over(self._database, self._leadership.fence, now)
        written = 0
        while rows := self._database.read(lambda session: list(session.execute(_DUE, {"now": now}))):
            paused = pausing.pause_failing(self._database, self._leadership.fence, rows, now)
            fit = [row for row in rows if row.id not in paused]
            claims = [claim for row in fit if (claim := self._prepare(row, now)) is not None]
            written += sum(self._write(batch, now) for batch in batches(claims))
            if len(rows) < BATCH or not self._leadership.leads(clock.monotonic()):
                break
        return written + self._release_held(now)

    def next_due(self) -> datetime | None:
        """When the next schedule is due."""
        query = select(func.min(ScheduleRow.next_run_at)).where(ScheduleRow.state == "active")
        return self._database.read(lambda session: session.execute(query).scalar())

    def _release_held(self, now: datetime) -> int:
        """Let go what was held and has room now; how many messages. Writes only where that changes something."""

        def find(session: Session, *, locked: bool) -> list[Finding]:
            return overlapping.look(session, self._app, overlapping.held(session, locked=locked), now)

        def write(session: Session) -> tuple[int, list[Revocation]]:
            findings = find(session, locked=True)
            revocations = overlapping.carry_out(session, findings, now)
            self._leadership.fence(session)
            return sum(len(finding.arrangement.released) for finding in findings), revocations

        findings = self._database.read(lambda session: find(session, locked=False))
        if not any(finding.changes for finding in findings):
            return 0
        released, revocations = self._database.write(write)
        self.revoker.add(revocations)
        return released

    def _prepare(self, row: Row[Any], now: datetime) -> Claim | None:
        """Decide one schedule and build its messages; one that can't be is quarantined, in nobody's way."""
        try:
            timetable, catchup = timetable_of(row._mapping), catchup_of(row.policy)
            decision = decide(timetable, catchup, row.cursor_at, now, fires_left=fires_left_of(row))
            fired = [self._fire(row, at, now) for at in decision.fires]
        except Exception as error:  # noqa: BLE001  whatever is wrong concerns this schedule alone
            self._quarantine(row, f"{type(error).__name__}: {error}", now)
            return None
        passed = [missed_run(row, missed, now) for missed in decision.missed]
        return Claim(row, decision, (*passed, *fired))

    def _fire(self, row: Row[Any], at: datetime, now: datetime) -> NewRun:
        """The run of one occurrence, its message built."""
        planned = fired_run(row, at, now)
        origin = {"schedule": row.name, "scheduled_for": at.isoformat(), "kind": "schedule"}
        order = Order(planned.task_id, row.task, row.args or [], row.kwargs or {}, row.options, origin)
        return replace(planned, message=compose(self._app, order, now, self._secret_keys))

    def _write(self, claims: Sequence[Claim], now: datetime) -> int:
        """T1 for a batch; halves it down to what can't be written."""
        began = clock.monotonic()
        try:
            written, revocations = self._database.write(lambda session: self._claim(session, claims, now))
        except IntegrityError as error:
            return self._write_without_decided(claims, now, error)
        except UNWRITABLE as error:
            return self._halve(claims, now, error)
        self._leadership.trust_from(began)
        self.revoker.add(revocations)
        return written

    def _claim(
        self, session: Session, claims: Sequence[Claim], now: datetime
    ) -> tuple[int, list[Revocation]]:
        """Lock, drop what has moved, arrange what overlaps, insert, advance, fence."""
        lock = (
            select(ScheduleRow.id, ScheduleRow.version, ScheduleRow.cursor_at)
            .where(ScheduleRow.id.in_([claim.row.id for claim in claims]))
            .order_by(ScheduleRow.id)
            .with_for_update(skip_locked=True)
        )
        found = {id_: (version, cursor) for id_, version, cursor in session.execute(lock)}
        fresh = [
            claim for claim in claims if found.get(claim.row.id) == (claim.row.version, claim.row.cursor_at)
        ]
        askings = [Asking.of(claim.row._mapping, claim.fires()) for claim in fresh if claim.asks()]
        findings = overlapping.look(session, self._app, askings, now)
        revocations = overlapping.carry_out(session, findings, now) if findings else []
        fresh = arranged(fresh, findings)
        written = runs.add(session, [run for claim in fresh for run in claim.runs])
        _advance(session, fresh)
        self._leadership.fence(session)
        return len(written), revocations

    def _write_without_decided(self, claims: Sequence[Claim], now: datetime, error: IntegrityError) -> int:
        occurrences = [
            (claim.row.id, run.scheduled_for) for claim in claims for run in claim.runs if run.scheduled_for
        ]
        known = self._database.read(lambda session: runs.already_decided(session, occurrences))
        if not known:
            return self._halve(claims, now, error)
        log.warning("%d occurrences had been decided before: left out", len(known))
        rest = [claim.without(known) for claim in claims]
        return self._write(rest, now)

    def _halve(self, claims: Sequence[Claim], now: datetime, error: Exception) -> int:
        if len(claims) == 1:
            self._quarantine(
                claims[0].row, f"it can't be written: {getattr(error, 'orig', None) or error}", now
            )
            return 0
        middle = len(claims) // 2
        return self._write(claims[:middle], now) + self._write(claims[middle:], now)

    def _quarantine(self, schedule: Row[Any], reason: str, now: datetime) -> None:
        """Take a schedule out of dispatch until it is declared anew, visibly."""
        log.error("schedule %r is quarantined: %s", schedule.name, reason)

        def write(session: Session) -> None:
            row = session.get_one(ScheduleRow, schedule.id)
            if row.version == schedule.version and row.state == "active":
                row.state, row.state_detail, row.next_run_at = "quarantined", reason, None
                events.record(session, "quarantined", "taskd", now, row, detail={"reason": reason})
                self._leadership.fence(session)

        self._database.write(write)


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
            settle(session.get_one(ScheduleRow, claim.row.id))
