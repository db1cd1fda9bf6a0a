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
no row can be written                   nobody is quarantined: all wait until the database takes them again
a message can't be built                that schedule alone is quarantined
the clock jumps forward                 an outage: what was passed over is late, and the catch-up policy's
the clock jumps back                    nothing that was decided is due again: cursors only go forward
fires are skipped at the limit's end    the count didn't move, so the schedule is settled as active again
what overlaps                           overlapping.py; what ends or begins a pause: pausing.py
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, cast

from celery import Celery
from sqlalchemy import Row, Table, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from taskd import clock
from taskd.dispatch import overlapping, pausing
from taskd.dispatch.claim import Claim, arranged, batches, claim_of
from taskd.dispatch.compiled import Compiled, Compiler, Decisions
from taskd.dispatch.leader import Leadership
from taskd.dispatch.overlapping import Asking, Finding
from taskd.dispatch.publisher import Publisher
from taskd.dispatch.readying import Readying
from taskd.dispatch.revoking import Revocation, Revoker
from taskd.dispatch.writable import require_writable
from taskd.store import events, outbox, runs, schedules
from taskd.store.bulk import among
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.outbox import Waiting
from taskd.store.schedules import settle
from taskd.store.tables import ScheduleRow

BATCH = 500  # schedules a transaction
LOOK = 10_000  # schedules that are due, asked for at once
MARKS = 20  # batches that are marked together: a herd of ten thousand is with the broker a fifth sooner
# psycopg serialises JSON by itself and lets what that raises through.
UNWRITABLE = (StatementError, ValueError, TypeError)
log = logging.getLogger("taskd.dispatch")

_SCHEDULES = cast("Table", ScheduleRow.__table__)
_ROW = _SCHEDULES.c
_DUE = (
    select(
        _ROW.id,
        _ROW.version,
        _ROW.updated_at,
        _ROW.cursor_at,
        (_ROW.total_run_count - _ROW.counted_from).label("counted"),
    )
    .where(_ROW.state == "active", _ROW.next_run_at <= bindparam("now"))
    .order_by(_ROW.next_run_at)  # and no further: a herd of equals would be sorted for each batch
    .limit(bindparam("most"))
)


class Dispatcher:
    """Decides for everything that is due. One thread calls `tick`; nobody else writes what it writes."""

    def __init__(
        self,
        database: Database,
        app: Celery,
        leadership: Leadership,
        secret_keys: frozenset[str] = frozenset(),
        publisher: Publisher | None = None,
    ) -> None:
        self._database, self._app, self._leadership = Fenced(database, leadership.fence), app, leadership
        self._publisher = publisher or Publisher(database, app, leadership)
        self._compiler = Compiler(app, secret_keys)
        self._readying = Readying(database, self._compiler)
        self.revoker = Revoker(app)
        app.finalize()  # here, so that a task that can't be registered isn't taken for a fault of some schedule

    def tick(self, now: datetime) -> int:
        """Decide all that is due at `now`, batch by batch; how many runs were written. Only a leader calls it."""
        pausing.resume_when_over(self._database, now)
        written, decisions = 0, Decisions(now)
        while due := self._due(now):
            before = written
            for start in range(0, len(due), BATCH):
                written += self._decide(due[start : start + BATCH], decisions)
                if not self._leadership.leads(clock.monotonic()):
                    return written
            if len(due) < LOOK or written == before:  # what is locked by others is left for the next pass
                break
        return written + self._release_held(now)

    def get_ready(self, now: datetime) -> bool:
        """Use idle time for what comes due soon; whether there is more to do at once."""
        return self._readying.look(now)

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
            return sum(len(finding.arrangement.released) for finding in findings), revocations

        findings = self._database.read(lambda session: find(session, locked=False))
        if not any(finding.changes for finding in findings):
            return 0
        released, revocations = self._database.write(write)
        self.revoker.add(revocations)
        return released

    def _due(self, now: datetime) -> Sequence[Any]:
        """What is due, as it stands: id, version, cursor_at, counted."""
        return self._database.read(lambda session: session.execute(_DUE, {"now": now, "most": LOOK}).all())

    def _decide(self, due: Sequence[Row[Any]], decisions: Decisions) -> int:
        """Decide about so many schedules; how many runs were written."""
        compiled = self._compiled(due, decisions.now)
        paused = pausing.pause_failing(self._database, list(compiled.values()), decisions.now)
        claims = [
            claim
            for row in due
            if row.id in compiled and row.id not in paused
            if (claim := self._prepare(compiled[row.id], row, decisions)) is not None
        ]
        return sum(self._write(batch, decisions.now) for batch in batches(claims))

    def _compiled(self, due: Sequence[Row[Any]], now: datetime) -> dict[int, Compiled]:
        """The schedules by id; one that can't be evaluated or serialised is quarantined, in nobody's way."""
        found = {row.id: self._compiler.known(row) for row in due}
        unknown = [schedule_id for schedule_id, compiled in found.items() if compiled is None]
        if unknown:
            for row in self._database.read(partial(schedules.rows, ids=unknown)):
                try:
                    found[row.id] = self._compiler.compile(row)
                except Exception as error:  # noqa: BLE001  whatever is wrong concerns this schedule alone
                    self._quarantine(row, f"{type(error).__name__}: {error}", now)
        return {schedule_id: compiled for schedule_id, compiled in found.items() if compiled is not None}

    def _prepare(self, schedule: Compiled, row: Row[Any], decisions: Decisions) -> Claim | None:
        """Decide about one schedule; one about which that can't be done is quarantined."""
        try:
            return claim_of(schedule, row.cursor_at, row.counted, decisions)
        except Exception as error:  # noqa: BLE001  whatever is wrong concerns this schedule alone
            self._quarantine(schedule, f"{type(error).__name__}: {error}", decisions.now)
            return None

    def _write(self, claims: Sequence[Claim], now: datetime) -> int:
        """T1 for a batch; halves it down to what can't be written."""
        began = clock.monotonic()
        try:
            with self._publisher.marks.taken(at_least=MARKS) as marks, self._publisher.committing:
                written, messages, revocations = self._database.write(
                    lambda session: self._claim(session, claims, now),
                    behind=lambda session: outbox.mark_all(session, marks),
                )
                self._publisher.hand_over(messages)
        except IntegrityError as error:
            return self._write_without_decided(claims, now, error)
        except UNWRITABLE as error:
            return self._halve(claims, now, error)
        self._leadership.trust_from(began)
        self.revoker.add(revocations)
        return written

    def _claim(
        self, session: Session, claims: Sequence[Claim], now: datetime
    ) -> tuple[int, list[Waiting], list[Revocation]]:
        """Lock, drop what has moved, arrange what overlaps, insert, advance."""
        lock = (
            select(_ROW.id, _ROW.version, _ROW.cursor_at)
            .where(among(session, _ROW.id, [claim.schedule.id for claim in claims]))
            .order_by(_ROW.id)
            .with_for_update(skip_locked=True)
        )
        found = {id_: (version, cursor) for id_, version, cursor in session.execute(lock).all()}
        fresh = [
            claim
            for claim in claims
            if found.get(claim.schedule.id) == (claim.schedule.version, claim.cursor)
        ]
        findings = overlapping.look(session, self._app, _askings(session, fresh), now)
        revocations = overlapping.carry_out(session, findings, now) if findings else []
        fresh = arranged(fresh, findings)
        new = [run for claim in fresh for run in claim.runs]
        ids = runs.add(session, new)
        _advance(session, fresh)
        return len(ids), [run.waiting(ids[run.task_id]) for run in new if run.goes_at_once], revocations

    def _write_without_decided(self, claims: Sequence[Claim], now: datetime, error: IntegrityError) -> int:
        occurrences = [
            (claim.schedule.id, run.scheduled_for)
            for claim in claims
            for run in claim.runs
            if run.scheduled_for
        ]
        known = self._database.read(lambda session: runs.already_decided(session, occurrences))
        if not known:
            return self._halve(claims, now, error)
        log.warning("%d occurrences had been decided before: left out", len(known))
        rest = [claim.without(known) for claim in claims]
        return self._write(rest, now)

    def _halve(self, claims: Sequence[Claim], now: datetime, error: Exception) -> int:
        if len(claims) == 1:
            require_writable(self._database.database, now)
            self._quarantine(
                claims[0].schedule, f"it can't be written: {getattr(error, 'orig', None) or error}", now
            )
            return 0
        middle = len(claims) // 2
        return self._write(claims[:middle], now) + self._write(claims[middle:], now)

    def _quarantine(self, schedule: Compiled | Row[Any], reason: str, now: datetime) -> None:
        """Take a schedule out of dispatch until it is declared anew, visibly."""
        log.error("schedule %r is quarantined: %s", schedule.name, reason)

        def write(session: Session) -> None:
            row = session.get_one(ScheduleRow, schedule.id)
            if row.version == schedule.version and row.state == "active":
                row.state, row.state_detail, row.next_run_at = "quarantined", reason, None
                events.record(session, "quarantined", "taskd", now, row, detail={"reason": reason})

        self._database.write(write)


def _askings(session: Session, claims: Sequence[Claim]) -> list[Asking]:
    """The fires that earlier runs may stand in the way of; their schedules' rows are locked."""
    asking = {claim.schedule.id: claim for claim in claims if claim.asks()}
    if not asking:
        return []
    rows = schedules.rows(session, asking)
    return [Asking.of(row._mapping, asking[row.id].fires()) for row in sorted(rows, key=attrgetter("id"))]


def _advance(session: Session, claims: Sequence[Claim]) -> None:
    """Move cursors and counts, one statement for all that move alike; what has nothing to come is completed or ended."""
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for claim in claims:
        fires = claim.fires()
        last = fires[-1].scheduled_for if fires else None
        move = claim.decision.cursor, claim.decision.next_run_at, len(fires), last
        alike[move].append(claim.schedule.id)
    for (cursor, following, fired, last), ids in alike.items():
        moved: dict[str, Any] = {"cursor_at": cursor, "next_run_at": following}
        if fired:
            moved |= {"total_run_count": _ROW.total_run_count + fired, "last_run_at": last}
        session.connection().execute(update(_SCHEDULES).where(among(session, _ROW.id, ids)).values(moved))
    for claim in claims:
        if claim.decision.next_run_at is None:
            settle(session.get_one(ScheduleRow, claim.schedule.id))
