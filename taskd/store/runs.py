"""Statements on `task_result` by those who decide and those who look: add, end unpublished ones, find, page."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

from sqlalchemy import Select, Table, select, tuple_, update
from sqlalchemy.orm import Session

from taskd.errors import NotFound
from taskd.store import outbox
from taskd.store.bulk import Bulk
from taskd.store.columns import json_or_null
from taskd.store.tables import OutboxRow, RunRow, ScheduleRow

FINAL = ("SUCCESS", "FAILURE", "REVOKED", "IGNORED", "MISSED", "SKIPPED", "LOST", "SENT")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}  # RFC 9562: its top bits are 10
_NEW = Bulk(
    cast("Table", RunRow.__table__),
    (
        "task_id",
        "root_id",
        "task_name",
        "status",
        "kind",
        "schedule_id",
        "schedule_name",
        "scheduled_for",
        "decided_at",
        "completed_at",
        "args",
        "kwargs",
        "queue",
        "detail",
        "generation",
    ),
    key="task_id",
)


class NewRun(NamedTuple):
    """A decision to be written: with its message where it is to be fired, without where it is MISSED or SKIPPED."""

    task_id: str
    task_name: str
    status: Literal["PENDING", "MISSED", "SKIPPED"]
    kind: Literal["schedule", "manual"]
    schedule_id: int
    schedule_name: str
    decided_at: datetime
    args: str | None  # JSON, as are kwargs
    kwargs: str | None
    scheduled_for: datetime | None = None
    detail: dict[str, Any] | None = None
    message: outbox.Message | None = None
    held_by: str | None = None  # task id of the run that it waits for

    def values(self) -> tuple[Any, ...]:
        """The row's columns, in the order of _NEW."""
        return (
            self.task_id,
            self.task_id,
            self.task_name,
            self.status,
            self.kind,
            self.schedule_id,
            self.schedule_name,
            self.scheduled_for,
            self.decided_at,
            None if self.message else self.decided_at,
            self.args,
            self.kwargs,
            self.message.options.get("queue") if self.message else None,
            json_or_null(self.detail),
            0,
        )

    @property
    def goes_at_once(self) -> bool:
        """Whether its message waits for nothing but the broker."""
        return self.message is not None and self.held_by is None

    def waiting(self, run_id: int) -> outbox.Waiting:
        """Its message, once it stands in the outbox; nobody asks whether it is late already."""
        assert self.message is not None
        return outbox.Waiting(run_id, self.task_id, self.task_name, self.scheduled_for, None, self.message)


def task_id_for(uid: UUID, scheduled_for: datetime) -> str:
    """The one task id of an occurrence: whoever decides it, however often, names the same run."""
    micros = (scheduled_for - _EPOCH) // (datetime.resolution)
    digest = sha1(b"%b%d" % (uid.bytes, micros), usedforsecurity=False).hexdigest()
    # uuid5, without a UUID object on the way: ten thousand of them a second.
    return (
        f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{_VARIANT[digest[16]]}{digest[17:20]}-{digest[20:32]}"
    )


def add(session: Session, new: Sequence[NewRun]) -> dict[str, int]:
    """Write decisions and their messages, due at once or held; the row ids by task id.

    A duplicate raises IntegrityError.
    """
    if not new:
        return {}
    ids = _NEW.insert(session, [run.values() for run in new])
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
