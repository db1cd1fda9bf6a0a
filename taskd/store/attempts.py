"""W1 and W2 as a worker mostly needs them: an attempt begins, and its own process tells how it ended.

Whatever isn't so simple is told by the statement, which then changes no row, and goes the longer way of claims.py.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from taskd.store import claims
from taskd.store.claims import ADHOC, Call, Outcome, Start, Verdict
from taskd.store.database import Database
from taskd.store.single import Single, given
from taskd.store.tables import RunRow

_ANY = Start(
    Call("", "", decided=True),
    given(RunRow.claim),  # type: ignore[arg-type]  # stands for the value
    given(RunRow.generation),  # type: ignore[arg-type]
    given(RunRow.worker),  # type: ignore[arg-type]
    given(RunRow.started_at),  # type: ignore[arg-type]
)
_OF_CALL = ("task_id", "task_name", "args", "kwargs", "queue", "root_id")
_OF_START = ("claim", "generation", "worker", "started_at")
_OF_OUTCOME = ("status", "result", "traceback", "runtime", "completed_at", "log")


def _columns(names: tuple[str, ...]) -> dict[Any, Any]:
    columns = [getattr(RunRow, name) for name in names]
    return {column: given(column) for column in columns}


_INSERT = Single(
    insert(RunRow).values({**_columns(_OF_CALL + _OF_START), RunRow.kind: ADHOC, RunRow.status: "STARTED"})
)
_INSERT_WHOLE = Single(
    insert(RunRow).values({**_columns(_OF_CALL + _OF_START + _OF_OUTCOME), RunRow.kind: ADHOC})
)
_CLAIM = Single(
    update(RunRow)
    .where(RunRow.task_id == given(RunRow.task_id), claims.is_free(_ANY))
    .values(claims.started(_ANY))
)
_END = Single(
    update(RunRow)
    .where(RunRow.task_id == given(RunRow.task_id), claims.held_by(given(RunRow.claim)))  # type: ignore[arg-type]
    .values(_columns(_OF_OUTCOME))
)


def begin(database: Database, start: Start) -> Verdict:
    """W1. `refused`: another copy has or had this run; `purged`: a decided run without a row; both must not start.

    `unrecorded`: an ad hoc call that has ended before runs again.
    """
    new = not start.call.decided and start.generation == 0
    while True:
        if new:
            try:
                database.write_alone(_INSERT, **_call(start.call), **_start(start))
            except (
                IntegrityError
            ):  # a row is there: a second delivery, or a first commit whose answer was lost
                new = False
            else:
                return "claimed"
        elif start.call.decided and database.write_alone(_CLAIM, task_id=start.call.task_id, **_start(start)):
            return "claimed"
        verdict = database.write(lambda session: _take(session, start))
        if verdict != "purged" or start.call.decided:
            return verdict
        new = True


def insert_all(session: Session, runs: Iterable[tuple[Start, Outcome | None]]) -> None:
    """Ad hoc calls that have begun and maybe ended. Raises IntegrityError where one of them has a row already."""
    begun, ended = [], []
    for start, outcome in runs:
        values = _call(start.call) | _start(start)
        if outcome is None:
            begun.append(values)
        else:
            ended.append(values | _outcome(outcome))
    _INSERT.run_all(session.connection(), begun)
    _INSERT_WHOLE.run_all(session.connection(), ended)


def end_all(session: Session, ends: Iterable[tuple[str, str, Outcome]]) -> int:
    """W2 by the process that had begun them: task ids, tokens, outcomes that need nothing of their row. How many fit."""
    rows = [{"task_id": task_id, "claim": token, **_outcome(outcome)} for task_id, token, outcome in ends]
    return _END.run_all(session.connection(), rows)


def _call(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in _OF_CALL}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    values = {name: getattr(outcome, name) for name in _OF_OUTCOME if name != "completed_at"}
    return values | {"completed_at": None if outcome.status in claims.ACTIVE else outcome.at}


def _start(start: Start) -> dict[str, Any]:
    return {
        "claim": start.token,
        "generation": start.generation,
        "worker": start.worker,
        "started_at": start.at,
    }


def _take(session: Session, start: Start) -> Verdict:
    call = start.call
    if claims.changed(session, call.task_id, claims.is_free(start), claims.started(start)):
        return "claimed"
    row = claims.standing(session, call.task_id)
    if row is None:
        return "purged"
    overdue = row.status == "LOST" and row.generation < start.generation
    if overdue and "retried_by" not in (row.detail or {}):
        given_up = and_(RunRow.status == "LOST", RunRow.generation < start.generation)
        if claims.changed(session, call.task_id, given_up, claims.started(start)):
            return "claimed"
    if row.kind == ADHOC:
        return "unrecorded"
    row.detail = {**(row.detail or {}), "refused": (row.detail or {}).get("refused", 0) + 1}
    return "refused"
