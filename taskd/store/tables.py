"""The schema, table by table. Declared, override and observed columns never mix: each says who writes it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Uuid

from taskd.store.columns import BigId, Blob, Json, LongText, UtcDateTime, text


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can drop it on any database."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads a plain class attribute
        datetime: UtcDateTime,
        str: text(255),
        UUID: Uuid(as_uuid=True, native_uuid=False),
    }


class ScheduleRow(Base):
    """One row a schedule; a deleted one stays as a tombstone, its name free for another."""

    __tablename__ = "task_scheduler"
    __table_args__ = (Index(None, "state", "next_run_at"), Index(None, "owner", "source"))

    # identity: reconciler, API
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    uid: Mapped[UUID] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(text(128), index=True)
    # declared: reconciler, API
    task: Mapped[str]
    schedule_type: Mapped[str] = mapped_column(text(16))
    crontab: Mapped[str | None] = mapped_column(text(256))
    interval_seconds: Mapped[int | None]
    start_time: Mapped[datetime | None]
    end_time: Mapped[datetime | None]
    timezone: Mapped[str] = mapped_column(text(64))
    args: Mapped[list[Any] | None] = mapped_column(Json)
    kwargs: Mapped[dict[str, Any] | None] = mapped_column(Json)
    description: Mapped[str | None] = mapped_column(LongText)
    enabled: Mapped[bool]
    one_off: Mapped[bool]
    max_run_count: Mapped[int]
    options: Mapped[dict[str, Any]] = mapped_column(Json)
    policy: Mapped[dict[str, Any]] = mapped_column(Json)
    labels: Mapped[dict[str, str]] = mapped_column(Json)
    owner: Mapped[str] = mapped_column(text(8))
    source: Mapped[str | None]
    path: Mapped[str | None] = mapped_column(text(1024))
    line: Mapped[int | None]
    fingerprint: Mapped[str] = mapped_column(text(64))
    # versions: bumped by every declared or override change, never by a fire
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    # override: API, command line, system pause
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]
    paused_reason: Mapped[str | None] = mapped_column(LongText)
    paused_until: Mapped[datetime | None]
    # observed: dispatcher, recorder
    last_run_at: Mapped[datetime | None]
    total_run_count: Mapped[int] = mapped_column(default=0)
    counted_from: Mapped[int] = mapped_column(
        default=0
    )  # total_run_count when it was last armed: limits count from here
    cursor_at: Mapped[datetime]
    next_run_at: Mapped[datetime | None]
    failures_in_a_row: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(text(16))
    state_detail: Mapped[str | None] = mapped_column(LongText)
    conditions: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)  # [{type, since, message}]
    # end: reconciler, API
    deleted_at: Mapped[datetime | None]
    # MariaDB has no partial indexes: a name that is null once deleted makes names unique among the living anywhere.
    living_name: Mapped[str | None] = mapped_column(
        text(128), Computed("CASE WHEN deleted_at IS NULL THEN name END", persisted=True), unique=True
    )


class RunRow(Base):
    """One row a run: the decision for an occurrence or a manual trigger, and what came of it.

    No foreign keys: their checks would lock the schedule's row in every insert, and history outlives schedules.
    """

    __tablename__ = "task_result"
    __table_args__ = (
        UniqueConstraint("schedule_id", "scheduled_for"),  # a second decision cannot be written
        Index(None, "schedule_id", "id"),
        Index(None, "status", "id"),
        Index(None, "task_name", "id"),
        Index(None, "queue", "id"),
        Index(None, "worker", "id"),
        Index(None, "kind", "id"),
        Index(None, "dated_at", "id"),
        Index(None, "completed_at"),
        Index(None, "root_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    task_id: Mapped[str] = mapped_column(text(155), unique=True)
    task_name: Mapped[str]
    status: Mapped[str] = mapped_column(text(16))
    result: Mapped[Any | None] = mapped_column(Json)
    traceback: Mapped[str | None] = mapped_column(LongText)
    args: Mapped[list[Any] | None] = mapped_column(Json)
    kwargs: Mapped[dict[str, Any] | None] = mapped_column(Json)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    runtime: Mapped[float | None]
    worker: Mapped[str | None]
    schedule_id: Mapped[int | None] = mapped_column(BigId)
    schedule_name: Mapped[str | None] = mapped_column(text(128))
    scheduled_for: Mapped[datetime | None]
    kind: Mapped[str] = mapped_column(text(8))  # schedule, manual, adhoc
    decided_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    generation: Mapped[int] = mapped_column(default=0)
    claim: Mapped[str | None] = mapped_column(text(128))  # "<worker incarnation>.<delivery>"
    queue: Mapped[str | None]
    root_id: Mapped[str | None] = mapped_column(text(155))
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json)
    detail: Mapped[dict[str, Any] | None] = mapped_column(Json)
    log: Mapped[str | None] = mapped_column(LongText)
    dated_at: Mapped[datetime | None] = mapped_column(  # when due, else asked for, else begun
        Computed("coalesce(scheduled_for, decided_at, started_at)", persisted=True)
    )


class StatRow(Base):
    """Runs that ended in a minute or an hour, of all schedules together: how many, how long they took, how late they began.

    The hour is the sum of its minutes. Seconds are counted in classes, number → runs: see store/classes.py.
    """

    __tablename__ = "task_stat"

    seconds: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 60 or 3600
    start: Mapped[datetime] = mapped_column(primary_key=True)
    counts: Mapped[dict[str, int]] = mapped_column(Json)  # status → runs
    runtime: Mapped[dict[str, int]] = mapped_column(Json)
    lateness: Mapped[dict[str, int]] = mapped_column(Json)


class OutboxRow(Base):
    """A message that waits for the broker, or for its run to end. Raw: never shown."""

    __tablename__ = "task_outbox"

    run_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    body: Mapped[bytes] = mapped_column(Blob)
    headers: Mapped[dict[str, Any]] = mapped_column(Json)
    options: Mapped[dict[str, Any]] = mapped_column(Json)
    not_before: Mapped[datetime | None] = mapped_column(index=True)  # null: published, or held
    held_by: Mapped[str | None] = mapped_column(text(155), index=True)  # task id of the run that it waits for
    publish_no: Mapped[int] = mapped_column(default=0)
    published_at: Mapped[datetime | None]


class EventRow(Base):
    """Audit and stream: every change of a schedule, an override or a source."""

    __tablename__ = "task_event"
    __table_args__ = (Index(None, "schedule_uid", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(text(32))
    actor: Mapped[str]
    schedule_uid: Mapped[UUID | None]
    name: Mapped[str | None] = mapped_column(text(128))
    before: Mapped[dict[str, Any] | None] = mapped_column(Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)
    revision: Mapped[str | None]
    detail: Mapped[dict[str, Any] | None] = mapped_column(Json)


class SourceRow(Base):
    """One root of schedule files, and how its last passes went."""

    __tablename__ = "task_source"

    name: Mapped[str] = mapped_column(primary_key=True)
    root: Mapped[str] = mapped_column(text(1024))
    revision_seen: Mapped[str | None]
    revision_applied: Mapped[str | None]
    applied_commit: Mapped[dict[str, Any] | None] = mapped_column(Json)  # {author, subject} of that revision
    conditions: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    passes: Mapped[list[dict[str, Any]]] = mapped_column(Json)  # the last ones, newest first


class SourceFileRow(Base):
    """One file of a source: the text that it last held without an error, and what is wrong with it now."""

    __tablename__ = "task_source_file"

    source: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(text(512), primary_key=True)
    digest: Mapped[str | None] = mapped_column(text(64))
    last_good: Mapped[str | None] = mapped_column(LongText)
    error: Mapped[str | None] = mapped_column(LongText)


class LeaseRow(Base):
    """Who may dispatch, who may reconcile."""

    __tablename__ = "task_lease"

    name: Mapped[str] = mapped_column(text(32), primary_key=True)
    holder: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(BigId, default=0)
    seq: Mapped[int] = mapped_column(BigId, default=0)


class WorkerRow(Base):
    """A worker's life sign: `beat` counts up while it lives."""

    __tablename__ = "task_worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    incarnation: Mapped[str] = mapped_column(text(64))
    beat: Mapped[int] = mapped_column(BigId, default=0)
    host: Mapped[str]
    pid: Mapped[int]
    pool: Mapped[str] = mapped_column(text(32))
    queues: Mapped[list[str]] = mapped_column(Json)
    recorded_tasks: Mapped[list[str]] = mapped_column(Json)


class ChangeRow(Base):
    """One row, bumped by every declared or override change."""

    __tablename__ = "task_change"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    change_seq: Mapped[int] = mapped_column(BigId, default=0)
