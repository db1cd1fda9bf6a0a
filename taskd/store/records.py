"""What a worker has to say about a run, as a value: written to the row at once, or kept in a file until that can be.

Written twice, a record changes nothing the second time: so whoever isn't sure writes it again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from taskd.store import attempts, claims
from taskd.store.claims import Call, Outcome, Start


@dataclass(frozen=True)
class Teller:
    """Who says it, which decides what the row must be: see the table in worker/recorder.py.

    `name` is the claim's token for a task, the incarnation for its worker; `at` is when the worker says so.
    """

    who: Literal["task", "worker", "worker before the start", "stranger"]
    name: str = ""
    generation: int = 0
    at: datetime | None = None

    def may_write(self) -> ColumnElement[bool]:
        """The condition on the row."""
        match self.who:
            case "task":
                return claims.held_by(self.name)
            case "worker":
                return claims.held_in(self.name, self.generation)
            case "worker before the start":
                return claims.not_begun(self.generation)
            case "stranger":
                return claims.waiting()


@dataclass(frozen=True)
class Record:
    """One of: a `start` that nobody could be asked about, a way back to the broker, progress, a log, or an `outcome`.

    `call` and `worker`: what an ad hoc run without a row needs to get one.
    """

    task_id: str
    teller: Teller
    start: Start | None = None
    given_back: bool = False
    progress: dict[str, Any] | None = None
    log: str | None = None
    outcome: Outcome | None = None
    call: Call | None = None
    worker: str = ""

    @property
    def says(self) -> str:
        """In a word."""
        if self.outcome is not None:
            return self.outcome.status
        return "STARTED" if self.start else "PENDING" if self.given_back else "PROGRESS"

    @property
    def passes(self) -> bool:
        """Whether it is for those who look at the time: later ones tell more."""
        return not (self.outcome or self.start or self.given_back)


_record = TypeAdapter(Record)


def to_line(record: Record) -> bytes:
    """JSON without a line break."""
    return _record.dump_json(record, exclude_defaults=True)


def from_line(line: bytes) -> Record:
    """The record; raises ValueError where it is none."""
    return _record.validate_json(line)


def write(session: Session, record: Record) -> bool:
    """Whether it has changed the row."""
    may = record.teller.may_write()
    if record.start is not None:
        return claims.catch_up(session, record.start)
    if record.given_back:
        return claims.give_back(session, record.task_id, may, begun_by=record.teller.at)
    if record.log is not None:
        return claims.note_log(session, record.task_id, record.log, may)
    if record.outcome is None:
        return claims.note_progress(session, record.task_id, record.progress or {}, may)
    if record.call is None:
        return claims.finish(session, record.task_id, record.outcome, may)
    return claims.finish_or_insert(session, record.call, record.worker, record.outcome, may)


def write_all(session: Session, batch: Iterable[Record]) -> None:
    """A run's in their order. What most of them are, a run's begin and its end, goes into one statement for all runs.

    Raises IntegrityError where one of these has a row already: `write` each instead.
    """
    told: dict[str, list[Record]] = defaultdict(list)
    for record in batch:
        told[record.task_id].append(record)
    new = {task_id: known for task_id, known in told.items() if _is_new(known)}
    attempts.insert_all(session, (_begun(known) for known in new.values()))
    ends = {task_id: known[0] for task_id, known in told.items() if len(known) == 1 and _is_end(known[0])}
    fit = attempts.end_all(session, ((each.task_id, *_ended(each)) for each in ends.values())) == len(ends)
    for task_id, known in told.items():
        if not (task_id in new or (fit and task_id in ends)):
            write_each(session, known)


def write_each(session: Session, batch: Iterable[Record]) -> None:
    """In their order; each sees what those before it have changed."""
    for record in batch:
        write(session, record)
        session.flush()
        session.expire_all()


def _is_new(told: Sequence[Record]) -> bool:
    """An ad hoc call that begins, and maybe ends."""
    start = told[0].start
    if start is None or start.call.decided or start.generation:
        return False
    return len(told) == 1 or (len(told) == 2 and _is_end(told[1]) and told[1].teller.name == start.token)


def _begun(told: Sequence[Record]) -> tuple[Start, Outcome | None]:
    assert told[0].start is not None
    return told[0].start, told[1].outcome if len(told) > 1 else None


def _is_end(record: Record) -> bool:
    """What a run's own process says of its end, if it needs nothing of the row."""
    outcome, own = record.outcome, record.teller.who == "task"
    return own and outcome is not None and outcome.runtime is not None and not outcome.detail


def _ended(record: Record) -> tuple[str, Outcome]:
    assert record.outcome is not None
    return record.teller.name, record.outcome
