"""What a worker may write about a run: W1 takes it, W2 ends it, and nothing else touches its row.

States      PENDING → STARTED → SUCCESS | FAILURE | REVOKED | IGNORED, with RETRY → STARTED in between;
            LOST is what the sweeper writes when the claim's worker is gone, and T1 when a run outlives its lease
Claim       "<incarnation of the worker>.<random>": new for every start of a body, so a second delivery to the
            same worker is told from the first, and a repeated statement from both
Generation  nesting · 65536 + retries: retries and replacements pass, late copies of earlier attempts don't
Invariants  a decided run starts at most once per generation; the first final status stands, but for LOST,
            which the claim's own holder may still correct; a later attempt's row is closed to earlier ones

| fault                                   | what stands                                                     |
|-----------------------------------------|-----------------------------------------------------------------|
| the same message twice                  | the first claim; the second copy is refused and counted          |
| the answer to a commit is lost          | the statement is repeated with the same token and changes nothing|
| a RETRY written after the next start    | nothing: the claim is another's                                  |
| the worker is revoking, the task runs   | the claim; only its own worker can terminate it                  |
| the row was purged                      | a decided run is refused, an ad hoc one gets its row again       |

Calls that no schedule made (`adhoc`) get their row here and are never refused: what was published twice runs
twice, as Celery promises, and the row tells of the latest start until one has ended.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, false, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from taskd.store.database import Database
from taskd.store.tables import RunRow

RUN_HEADER = (
    "taskd"  # message header of a decided run: {"schedule": name, "scheduled_for": ISO text, "kind": kind}
)

ACTIVE = ("PENDING", "STARTED", "RETRY")
ADHOC = "adhoc"
Verdict = Literal["claimed", "refused", "purged", "unrecorded"]
NESTING = 65536  # more retries than anybody waits for


@dataclass(frozen=True)
class Call:
    """What a message says about its run; values are JSON that every database takes."""

    task_id: str
    task_name: str
    decided: bool
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    queue: str | None = None
    root_id: str | None = None


@dataclass(frozen=True)
class Start:
    """A body is about to run."""

    call: Call
    token: str
    generation: int
    worker: str
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt. `runtime` in seconds; None: counted from `started_at`, by the wall clock."""

    status: str
    at: datetime
    result: Any = None
    traceback: str | None = None
    runtime: float | None = None
    detail: dict[str, Any] | None = None


def new_token(incarnation: str) -> str:
    """A claim for one start of a body in that worker."""
    return f"{incarnation}.{uuid4().hex[:16]}"


def generation(retries: int, nesting: int) -> int:
    """Orders the attempts of one task id: `self.replace()` starts its retries at 0 again, one level deeper."""
    return nesting * NESTING + retries


def begin(database: Database, start: Start) -> Verdict:
    """W1. `refused`: another copy has or had this run; `purged`: a decided run without a row; both must not start.

    `unrecorded`: an ad hoc call that has ended before runs again.
    """
    new = not start.call.decided and start.generation == 0
    while True:
        if new:
            try:
                database.write(lambda session: _insert_start(session, start))
            except (
                IntegrityError
            ):  # a row is there: a second delivery, or a first commit whose answer was lost
                new = False
            else:
                return "claimed"
        verdict = database.write(lambda session: _take(session, start))
        if verdict != "purged" or start.call.decided:
            return verdict
        new = True


def held_by(token: str) -> ColumnElement[bool]:
    """The attempt with this claim, running or wrongly given up for lost."""
    return and_(RunRow.claim == token, RunRow.status.in_((*ACTIVE, "LOST")))


def not_begun(generation: int) -> ColumnElement[bool]:
    """No copy of this attempt has started."""
    return and_(RunRow.status.in_(ACTIVE), or_(RunRow.claim.is_(None), RunRow.generation < generation))


def held_in(incarnation: str, generation: int) -> ColumnElement[bool]:
    """This attempt, in any child of this worker, or before a child could claim it."""
    mine = and_(RunRow.generation == generation, RunRow.claim.startswith(f"{incarnation}.", autoescape=True))
    return or_(not_begun(generation), and_(RunRow.status.in_(ACTIVE), mine))


def waiting() -> ColumnElement[bool]:
    """Nobody runs it now: not started, or between two attempts."""
    return RunRow.status.in_(("PENDING", "RETRY"))


def finish(session: Session, task_id: str, outcome: Outcome, where: ColumnElement[bool]) -> bool:
    """W2: one UPDATE, only where `where` holds. False: nothing was written."""
    values = {
        RunRow.status: outcome.status,
        RunRow.result: outcome.result,
        RunRow.traceback: outcome.traceback,
        RunRow.runtime: outcome.runtime,
        RunRow.completed_at: None if outcome.status in ACTIVE else outcome.at,
    }
    if outcome.runtime is None or outcome.detail:
        values |= _from_the_row(session, task_id, outcome)
    return _changed(session, task_id, where, values)


def finish_or_insert(
    session: Session, call: Call, worker: str, outcome: Outcome, where: ColumnElement[bool]
) -> bool:
    """As `finish`; an ad hoc call that never got a row (revoked, killed before its start) gets it now."""
    if finish(session, call.task_id, outcome, where):
        return True
    if call.decided or _standing(session, call.task_id) is not None:
        return False
    session.add(
        _adhoc(
            call,
            status=outcome.status,
            worker=worker,
            result=outcome.result,
            traceback=outcome.traceback,
            runtime=outcome.runtime,
            detail=outcome.detail,
            completed_at=None if outcome.status in ACTIVE else outcome.at,
        )
    )
    return True


def give_back(session: Session, task_id: str, where: ColumnElement[bool]) -> bool:
    """The message returns to the broker: whoever gets it next may start it."""
    started = RunRow.status == "STARTED"
    values = {RunRow.status: "PENDING", RunRow.claim: None, RunRow.started_at: None}
    return _changed(session, task_id, and_(where, started), values)


def note_progress(
    session: Session, task_id: str, progress: dict[str, Any], where: ColumnElement[bool]
) -> bool:
    """How far a running task has come; its status doesn't change."""
    return _changed(session, task_id, and_(where, RunRow.status.in_(ACTIVE)), {RunRow.progress: progress})


def revoke(session: Session, task_id: str, at: datetime, reason: str) -> bool:
    """End a run that nobody has begun, so that every later delivery is refused. False: it runs, or it has ended."""
    outcome = Outcome("REVOKED", at, detail={"reason": reason})
    return finish(session, task_id, outcome, waiting())


def _take(session: Session, start: Start) -> Verdict:
    call = start.call
    free = or_(not_begun(start.generation), and_(RunRow.status.in_(ACTIVE), RunRow.claim == start.token))
    again = RunRow.kind == ADHOC if not call.decided else false()
    unended = RunRow.status.in_((*ACTIVE, "LOST"))
    anew = and_(again, unended, RunRow.generation <= start.generation)
    if _changed(session, call.task_id, or_(free, anew), _started(start)):
        return "claimed"
    row = _standing(session, call.task_id)
    if row is None:
        return "purged"
    if row.kind == ADHOC:
        return "unrecorded"
    row.detail = {**(row.detail or {}), "refused": (row.detail or {}).get("refused", 0) + 1}
    return "refused"


def _started(start: Start) -> dict[Any, Any]:
    """What an attempt's start sets; what an earlier attempt left behind goes."""
    return {
        RunRow.status: "STARTED",
        RunRow.claim: start.token,
        RunRow.generation: start.generation,
        RunRow.worker: start.worker,
        RunRow.started_at: start.at,
        RunRow.completed_at: None,
        RunRow.result: None,
        RunRow.traceback: None,
        RunRow.progress: None,
    }


def _insert_start(session: Session, start: Start) -> None:
    session.add(
        _adhoc(
            start.call,
            status="STARTED",
            claim=start.token,
            generation=start.generation,
            worker=start.worker,
            started_at=start.at,
        )
    )


def _adhoc(call: Call, **columns: Any) -> RunRow:
    return RunRow(
        task_id=call.task_id,
        task_name=call.task_name,
        kind=ADHOC,
        args=call.args,
        kwargs=call.kwargs,
        queue=call.queue,
        root_id=call.root_id,
        **columns,
    )


def _standing(session: Session, task_id: str) -> RunRow | None:
    return session.execute(select(RunRow).where(RunRow.task_id == task_id)).scalar_one_or_none()


def _from_the_row(session: Session, task_id: str, outcome: Outcome) -> dict[Any, Any]:
    """The parts of an outcome that only the row can tell: rare, so they cost a statement of their own."""
    row = session.execute(
        select(RunRow.started_at, RunRow.detail).where(RunRow.task_id == task_id).with_for_update()
    ).one_or_none()
    if row is None:
        return {}
    values: dict[Any, Any] = {}
    if outcome.detail:
        values[RunRow.detail] = {**(row.detail or {}), **outcome.detail}
    if outcome.runtime is None and row.started_at:
        values[RunRow.runtime] = max(0.0, (outcome.at - row.started_at).total_seconds())
    return values


def _changed(session: Session, task_id: str, where: ColumnElement[bool], values: dict[Any, Any]) -> bool:
    statement = update(RunRow).where(RunRow.task_id == task_id, where).values(values)
    return session.connection().execute(statement).rowcount == 1
