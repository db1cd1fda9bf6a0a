"""Statements on `task_result` by those who decide and those who look: add, end unpublished ones, find, page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from sqlalchemy import Select, insert, select, tuple_, update
from sqlalchemy.orm import Session

from taskd.errors import NotFound
from taskd.store import outbox
from taskd.store.tables import OutboxRow, RunRow, ScheduleRow

FINAL = ("SUCCESS", "FAILURE", "REVOKED", "IGNORED", "MISSED", "SKIPPED", "LOST", "SENT")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A decision to be written: with its message where it is to be fired, without where it is MISSED or SKIPPED."""

    task_id: str
    task_name: str
    status: Literal["PENDING", "MISSED", "SKIPPED"]
    kind: Literal["schedule", "manual"]
    schedule_id: int
    schedule_name: str
    decided_at: datetime
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    scheduled_for: datetime | None = None
    detail: dict[str, Any] | None = None
    message: outbox.Message | None = None
    held_by: str | None = None  # task id of the run that it waits for

    def values(self) -> dict[str, Any]:
        """The row's columns."""
        return {
            "task_id": self.task_id,
            "root_id": self.task_id,
            "task_name": self.task_name,
            "status": self.status,
            "kind": self.kind,
            "schedule_id": self.schedule_id,
            "schedule_name": self.schedule_name,
            "scheduled_for": self.scheduled_for,
            "decided_at": self.decided_at,
            "completed_at": None if self.message else self.decided_at,
            "args": self.args,
            "kwargs": self.kwargs,
            "queue": self.message.options.get("queue") if self.message else None,
            "detail": self.detail,
            "generation": 0,
        }


def task_id_for(uid: UUID, scheduled_for: datetime) -> str:
    """The one task id of an occurrence: whoever decides it, however often, names the same run."""
    micros = (scheduled_for - _EPOCH) // (datetime.resolution)
    return str(uuid5(uid, str(micros)))


def add(session: Session, new: Sequence[NewRun]) -> dict[str, int]:
    """Write decisions and their messages, due at once or held; the row ids by task id.

    A duplicate raises IntegrityError.
    """
    if not new:
        return {}
    # With nulls left out, SQLAlchemy would begin a statement wherever a MISSED row follows one that fires.
    statement = insert(RunRow).returning(RunRow.task_id, RunRow.id).execution_options(render_nulls=True)
    added = session.execute(statement, [run.values() for run in new])
    ids: dict[str, int] = {task_id: run_id for task_id, run_id in added}  # noqa: C416  rows aren't pairs to mypy
    messages = [(ids[run.task_id], run.message, run.held_by) for run in new if run.message is not None]
    outbox.put(session, messages, not_before=new[0].decided_at)
    return ids


def already_decided(
    session: Session, occurrences: Collection[tuple[int, datetime]]
) -> set[tuple[int, datetime]]:
    """Which (schedule id, scheduled time) have their row."""
    query = select(RunRow.schedule_id, RunRow.scheduled_for).where(
        tuple_(RunRow.schedule_id, RunRow.scheduled_for).in_(occurrences)
    )
    return {
        (schedule, at) for schedule, at in session.execute(query) if schedule is not None and at is not None
    }


def skip_unpublished(session: Session, schedule_id: int, reason: str, now: datetime) -> None:
    """End a schedule's scheduled runs that no broker has yet as SKIPPED."""
    waiting = list(
        session.scalars(
            select(RunRow.id)
            .join(OutboxRow, OutboxRow.run_id == RunRow.id)
            .where(
                RunRow.schedule_id == schedule_id,
                RunRow.kind == "schedule",
                RunRow.status == "PENDING",
                OutboxRow.published_at.is_(None),
            )
        )
    )
    end_unpublished(session, waiting, "SKIPPED", {"reason": reason}, now)


def end_unpublished(
    session: Session,
    run_ids: Collection[int],
    status: Literal["MISSED", "SKIPPED"],
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """End runs whose message will not be sent."""
    if run_ids:
        session.execute(
            update(RunRow)
            .where(RunRow.id.in_(run_ids), RunRow.status == "PENDING")
            .values(status=status, detail=dict(detail), completed_at=now)
        )
        outbox.drop(session, run_ids)


def find(session: Session, pk: str | int) -> RunRow:
    """The run of that id or task_id; raises NotFound."""
    key = RunRow.id == int(pk) if str(pk).isdecimal() else RunRow.task_id == str(pk)
    row = session.scalar(select(RunRow).where(key))
    if row is None:
        raise NotFound(f"there is no run {str(pk)!r}")
    return row


def newest() -> Select[RunRow]:
    """Runs, the newest first."""
    return select(RunRow).order_by(RunRow.id.desc())


def of_schedule(session: Session, row: ScheduleRow, limit: int) -> list[RunRow]:
    """The newest runs of a schedule, whatever its name was."""
    return list(session.scalars(newest().where(RunRow.schedule_id == row.id).limit(limit)))
