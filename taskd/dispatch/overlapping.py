"""Carries out what overlap says, under the lock of the schedules' rows: in T1, for a manual run, for what is held.

States     a fire → PENDING, sent | PENDING, held in the outbox → released | SKIPPED
           what is in its way → REVOKED (nobody has begun it) | told to its worker after the commit | LOST (stale)
Invariant  whoever adds or releases a run of a schedule holds its row locked, so `max_active` is never exceeded but
           by runs that are stale, or that cancel couldn't stop

fault                                   what happens
crash before the commit                 nothing happened
crash between commit and broadcast      the run goes on beside its successor; the next fire revokes it again
a run ends while it is looked at        it counts as active: the fire is held or skipped, what is held goes a pass later
a worker claims what is being revoked   the row's lock decides: REVOKED and refused, or begun and told to its worker
what is held outlives its window        MISSED (reason: buffer)
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.dispatch.revoking import Revocation
from taskd.schedule.overlap import Active, Arrangement, Go, Hold, Overlap, Skip, arrange, lease_of
from taskd.schedule.policy_fields import overlap_of
from taskd.store import active, outbox, runs
from taskd.store.bulk import among
from taskd.store.runs import NewRun
from taskd.store.schedules import outlived
from taskd.store.tables import ScheduleRow

_MESSAGES = {
    "active": "an earlier run was active",
    "buffer full": "an earlier run was active, and as many waited as may",
    "superseded": "a later occurrence came due with it",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """A schedule (the columns of its row) and the fires that ask for room, oldest first."""

    columns: Mapping[Any, Any]
    overlap: Overlap
    fires: Sequence[NewRun] = ()

    @classmethod
    def of(cls, columns: Mapping[Any, Any], fires: Sequence[NewRun] = ()) -> "Asking":
        """Under the schedule's own policy."""
        return cls(columns, overlap_of(columns["policy"]), fires)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to become of a schedule's fires and of its runs that were there."""

    asking: Asking
    arrangement: Arrangement
    outlived: tuple[Active, ...]

    @property
    def changes(self) -> bool:
        """Whether anything that was there is touched."""
        return bool(self.outlived) or self.arrangement.changes

    @property
    def fires(self) -> tuple[NewRun, ...]:
        """The fires as they are to be written."""
        return tuple(map(_written, self.asking.fires, self.arrangement.fires))


def look(session: Session, app: Celery, askings: Sequence[Asking], now: datetime) -> list[Finding]:
    """Arrange each schedule's fires among its runs: one query for all of them."""
    if not askings:
        return []
    found = active.of_schedules(session, [asking.columns["id"] for asking in askings])
    return [_arranged(app, asking, found.get(asking.columns["id"], ()), now) for asking in askings]


def carry_out(session: Session, findings: Sequence[Finding], now: datetime) -> list[Revocation]:
    """Write what becomes of the runs that were there; what workers must be told once this has committed."""
    missed = [run.run_id for finding in findings for run in finding.outlived]
    detail = {"reason": "buffer", "message": "no room came within its catch-up window"}
    runs.end_unpublished(session, missed, "MISSED", detail, now)
    released = [run.run_id for finding in findings for run in finding.arrangement.released]
    if released:
        outbox.release(session, released, now)
    stale = [run.run_id for finding in findings for run in finding.arrangement.stale]
    active.lose_stale(session, stale, now)
    return [*_revoked(session, findings, "cancel", now), *_revoked(session, findings, "terminate", now)]


def held(session: Session, *, locked: bool = False) -> list[Asking]:
    """The schedules of which something is held, whatever their state; `locked`: those whose rows were free."""
    ids = outbox.held_schedules(session)
    if not ids:
        return []
    query = select(ScheduleRow.__table__).where(among(session, ScheduleRow.id, ids)).order_by(ScheduleRow.id)
    askings = []
    for row in session.execute(query.with_for_update(skip_locked=True) if locked else query):
        with suppress(TypeError):  # a policy broken in the table: the schedule's next decision quarantines it
            askings.append(Asking.of(row._mapping))
    return askings


def _arranged(app: Celery, asking: Asking, there: Sequence[Active], now: datetime) -> Finding:
    gone = [
        run
        for run in there
        if run.held and run.scheduled_for is not None and outlived(asking.columns, run.scheduled_for, now)
    ]
    arrangement = arrange(
        asking.overlap,
        lease_of(asking.overlap, _hard_limit(app, asking.columns)),
        [run for run in there if run not in gone],
        [fire.task_id for fire in asking.fires],
        now,
    )
    return Finding(asking, arrangement, tuple(gone))


def _hard_limit(app: Celery, columns: Mapping[Any, Any]) -> float | None:
    """Seconds after which a worker kills a run of the schedule."""
    task = app.tasks.get(columns["task"])
    own: float | None = columns["options"].get("time_limit") or getattr(task, "time_limit", None)
    return own or app.conf.task_time_limit


def _written(fire: NewRun, verdict: Go | Hold | Skip) -> NewRun:
    match verdict:
        case Go():
            return fire
        case Hold(behind):
            return fire._replace(held_by=behind)
        case Skip(run, because):
            detail = {"reason": "overlap", "active": run, "message": _MESSAGES[because]}
            return fire._replace(status="SKIPPED", detail=detail, message=None)


def _revoked(session: Session, findings: Sequence[Finding], policy: str, now: datetime) -> list[Revocation]:
    successors = {
        run.run_id: finding.asking.fires[-1].task_id
        for finding in findings
        if finding.asking.overlap.policy == policy
        for run in finding.arrangement.revoked
    }
    begun = active.supersede(session, successors, now)
    return [Revocation(tuple(begun), policy == "terminate")] if begun else []
