"""Statements on `task_outbox`: messages that wait for the broker, or for their run to end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from taskd.store.tables import OutboxRow, RunRow, ScheduleRow


@dataclass(frozen=True, slots=True)
class Message:
    """A Celery message as it will be sent: serialised body, protocol 2 headers, and where it goes."""

    body: bytes
    headers: dict[str, Any]
    options: dict[
        str, Any
    ]  # queue or exchange and routing_key, properties, content_type, content_encoding, …


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is due, with what the publisher must know of its run.

    `schedule`: the columns that say when its schedule is due, and its policy; None where it is gone.
    """

    run_id: int
    task_id: str
    task_name: str
    scheduled_for: datetime | None
    schedule: Mapping[Any, Any] | None
    message: Message

    @property
    def queue(self) -> str:
        """What it waits for: its queue, else its exchange."""
        return str(self.message.options.get("queue") or self.message.options.get("exchange"))


_TIMING = (
    ScheduleRow.uid,
    ScheduleRow.schedule_type,
    ScheduleRow.crontab,
    ScheduleRow.interval_seconds,
    ScheduleRow.start_time,
    ScheduleRow.end_time,
    ScheduleRow.timezone,
    ScheduleRow.policy,
)


def put(session: Session, messages: Sequence[tuple[int, Message, str | None]], not_before: datetime) -> None:
    """Add messages: run id, message, and the task id of the run that holds it; else it is due from `not_before` on."""
    if messages:
        session.execute(
            insert(OutboxRow),
            [
                {
                    "run_id": run_id,
                    "body": message.body,
                    "headers": message.headers,
                    "options": message.options,
                    "not_before": None if held_by else not_before,
                    "held_by": held_by,
                    "publish_no": 0,
                }
                for run_id, message, held_by in messages
            ],
        )


def due(session: Session, now: datetime, limit: int, *, after: int = 0) -> list[Waiting]:
    """The oldest unpublished messages with a run id above `after`, in order."""
    query = (
        select(OutboxRow, RunRow.task_id, RunRow.task_name, RunRow.scheduled_for, *_TIMING)
        .join(RunRow, RunRow.id == OutboxRow.run_id)
        .outerjoin(ScheduleRow, ScheduleRow.id == RunRow.schedule_id)
        .where(OutboxRow.not_before <= now, OutboxRow.run_id > after)
        .order_by(OutboxRow.run_id)
        .limit(limit)
    )
    return [
        Waiting(
            row.run_id,
            found.task_id,
            found.task_name,
            found.scheduled_for,
            found._mapping if found.uid else None,
            Message(row.body, row.headers, row.options),
        )
        for found in session.execute(query)
        for row in (found[0],)
    ]


def next_due(session: Session) -> datetime | None:
    """When the next unpublished message is due."""
    return session.execute(select(func.min(OutboxRow.not_before))).scalar()


def held_schedules(session: Session) -> set[int]:
    """The schedules of which a message is held."""
    # Two statements: a join may be led through all runs. A range, not IS NOT NULL: that uses the index everywhere.
    held = session.scalars(select(OutboxRow.run_id).where(OutboxRow.held_by > "")).all()
    if not held:
        return set()
    schedules = session.scalars(select(RunRow.schedule_id).where(RunRow.id.in_(held)))
    return {schedule_id for schedule_id in schedules if schedule_id is not None}


def release(session: Session, run_ids: Collection[int], now: datetime) -> None:
    """What was held is due from now on."""
    session.execute(
        update(OutboxRow).where(OutboxRow.run_id.in_(run_ids)).values(held_by=None, not_before=now)
    )


def mark_published(session: Session, run_ids: Collection[int], now: datetime) -> None:
    """The broker has confirmed these."""
    session.execute(
        update(OutboxRow)
        .where(OutboxRow.run_id.in_(run_ids))
        .values(published_at=now, publish_no=OutboxRow.publish_no + 1, not_before=None)
    )
    session.execute(
        update(RunRow).where(RunRow.id.in_(run_ids), RunRow.published_at.is_(None)).values(published_at=now)
    )


def drop(session: Session, run_ids: Collection[int]) -> None:
    """Forget the messages of these runs."""
    session.execute(delete(OutboxRow).where(OutboxRow.run_id.in_(run_ids)))
