"""What a worker may write about a run: W1 takes it, W2 ends it, and nothing else touches its row.

States      PENDING → STARTED → SUCCESS | FAILURE | REVOKED | IGNORED, with RETRY → STARTED in between;
            LOST is what the sweeper writes when the claim's worker is gone, and T1 when a run outlives its lease
Claim       "<incarnation of the worker>.<random>": new for every start of a body, so a second delivery to the
            same worker is told from the first, and a repeated statement from both
Generation  nesting · 65536 + retries: retries and replacements pass, late copies of earlier attempts don't
Invariants  a decided run starts at most once per generation; the first final status stands, but for LOST,
            which the claim's own holder may still correct, and a later attempt, which the holder has sent off, unless
            another run has taken its place; a later attempt's row is closed to earlier ones

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
from sqlalchemy.orm import Session

from taskd.store.tables import RunRow

# message header of a decided run: {"schedule": name, "scheduled_for": ISO text, "kind": kind, "retry": as in options}
RUN_HEADER = "taskd"

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
    log: str | None = None


def new_token(incarnation: str) -> str:
    """A claim for one start of a body in that worker."""
    return f"{incarnation}.{uuid4().hex[:16]}"


def generation(retries: int, nesting: int) -> int:
    """Orders the attempts of one task id: `self.replace()` starts its retries at 0 again, one level deeper."""
    return nesting * NESTING + retries


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
    if outcome.log is not None:  # the worker's main process doesn't know it
        values[RunRow.log] = outcome.log
    if outcome.runtime is None or outcome.detail:
        values |= _from_the_row(session, task_id, outcome)
    return changed(session, task_id, where, values)


def finish_or_insert(
    session: Session, call: Call, worker: str, outcome: Outcome, where: ColumnElement[bool]
) -> bool:
    """As `finish`; an ad hoc call that never got a row (revoked, killed before its start) gets it now."""
    if finish(session, call.task_id, outcome, where):
        return True
    if call.decided or standing(session, call.task_id) is not None:
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
            log=outcome.log,
            completed_at=None if outcome.status in ACTIVE else outcome.at,
        )
    )
    return True


def give_back(
    session: Session, task_id: str, where: ColumnElement[bool], begun_by: datetime | None = None
) -> bool:
    """The message returns to the broker: whoever gets it next may start it.

    `begun_by`: a later start is that of the next delivery, and keeps its claim.
    `started_at` stays until then: that the run has ended (a time limit, say) may be told after its child gave it back.
    """
    begun = RunRow.status == "STARTED"
    if begun_by is not None:
        begun = and_(begun, RunRow.started_at <= begun_by)
    values: dict[Any, Any] = {RunRow.status: "PENDING", RunRow.claim: None}
    return changed(session, task_id, and_(where, begun), values)


def note_progress(
    session: Session, task_id: str, progress: dict[str, Any], where: ColumnElement[bool]
) -> bool:
    """How far a running task has come; its status doesn't change."""
    return changed(session, task_id, and_(where, RunRow.status.in_(ACTIVE)), {RunRow.progress: progress})


def note_log(session: Session, task_id: str, log: str, where: ColumnElement[bool]) -> bool:
    """What a running task has logged so far."""
    return changed(session, task_id, and_(where, RunRow.status.in_(ACTIVE)), {RunRow.log: log})


def revoke(session: Session, task_id: str, at: datetime, reason: str) -> bool:
    """End a run that nobody has begun, so that every later delivery is refused. False: it runs, or it has ended."""
    outcome = Outcome("REVOKED", at, detail={"reason": reason})
    return finish(session, task_id, outcome, waiting())


def catch_up(session: Session, start: Start) -> bool:
    """Write a start that the database couldn't be asked about at its time; what else stands, stands.

    A run that another copy has begun keeps its claim, and a note that this one started too. One that was given up as
    MISSED did run after all.
    """
    if changed(session, start.call.task_id, or_(is_free(start), _given_up_unbegun()), started(start)):
        return True
    row = standing(session, start.call.task_id)
    if row is None and not start.call.decided:
        _insert_start(session, start)
        return True
    if row is not None and row.claim is None and row.status == "FAILURE":
        _note_start(row, start)
        return True
    if row is None or row.claim in {None, start.token} or row.kind == ADHOC:
        return False
    row.detail = {**(row.detail or {}), "also_started": start.worker}
    return True


def _note_start(row: RunRow, start: Start) -> None:
    """Its worker's main process was quicker to tell how it ended."""
    row.claim, row.generation, row.worker, row.started_at = (
        start.token,
        start.generation,
        start.worker,
        start.at,
    )
    if row.completed_at is not None:
        row.runtime = max(0.0, (row.completed_at - start.at).total_seconds())


def is_free(start: Start) -> ColumnElement[bool]:
    """The row is open to this start."""
    free = or_(not_begun(start.generation), and_(RunRow.status.in_(ACTIVE), RunRow.claim == start.token))
    again = RunRow.kind == ADHOC if not start.call.decided else false()
    unended = RunRow.status.in_((*ACTIVE, "LOST"))
    return or_(free, and_(again, unended, RunRow.generation <= start.generation))


def _given_up_unbegun() -> ColumnElement[bool]:
    return and_(RunRow.status == "MISSED", RunRow.claim.is_(None))


def started(start: Start) -> dict[Any, Any]:
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
        RunRow.log: None,
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


def standing(session: Session, task_id: str) -> RunRow | None:
    """The row, as it is."""
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


def changed(session: Session, task_id: str, where: ColumnElement[bool], values: dict[Any, Any]) -> bool:
    """Whether the row was as it had to be, and is changed."""
    statement = update(RunRow).where(RunRow.task_id == task_id, where).values(values)
    return session.connection().execute(statement).rowcount == 1
