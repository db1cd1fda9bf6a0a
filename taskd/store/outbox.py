"""Statements on `task_outbox`: messages that wait for the broker, or for their run to end."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self, cast

from sqlalchemy import Table, delete, func, or_, select, true, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from taskd.schedule.policy import ON_TIME
from taskd.store.bulk import Bulk, among
from taskd.store.columns import to_json
from taskd.store.tables import OutboxRow, RunRow, ScheduleRow


# A tuple, like Waiting and NewRun, for there are ten thousand a second: a frozen dataclass takes six times as long to make.
class Message(NamedTuple):
    """A Celery message as it will be sent: serialised body, protocol 2 headers, and where and how it goes.

    Headers and options are JSON texts. The options (queue or exchange and routing_key, properties, content_type,
    content_encoding, …) are the same for all messages that go the same way: the text is a key for what is known of it.
    """

    body: bytes
    headers_json: str
    options_json: str

    @classmethod
    def of(cls, body: bytes, headers: Mapping[str, Any], options: Mapping[str, Any]) -> Self:
        """From values. Raises ValueError or TypeError for what isn't JSON."""
        return cls(body, to_json(headers), to_json(options))

    @property
    def headers(self) -> dict[str, Any]:
        """A new dict each time."""
        found: dict[str, Any] = json.loads(self.headers_json)
        return found

    @property
    def options(self) -> Mapping[str, Any]:
        """Where and how it goes."""
        return _options(self.options_json)


@lru_cache(maxsize=4096)
def _options(text: str) -> Mapping[str, Any]:
    options: dict[str, Any] = json.loads(text)
    return options


@lru_cache(maxsize=4096)
def _destination(text: str) -> str:
    options = _options(text)
    routed = options.get("exchange") if options.get("routing_key") else None
    return str(routed or options.get("queue") or options.get("exchange"))


class Waiting(NamedTuple):
    """A message that is due, with what the publisher must know of its run.

    `scheduled_for`: None where no catch-up window counts from it, for manual runs and retries. `schedule`: the columns that say when its schedule is due, and its policy; None where it is gone.
    """

    run_id: int
    task_id: str
    task_name: str
    scheduled_for: datetime | None
    schedule: Mapping[Any, Any] | None
    message: Message

    @property
    def queue(self) -> str:
        """What it waits for: its exchange where it is routed by one, else its queue."""
        return _destination(self.message.options_json)


_NEW = Bulk(
    cast("Table", OutboxRow.__table__),
    ("run_id", "body", "headers", "options", "not_before", "held_by", "publish_no"),
)
TIMING = (
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
        _NEW.insert(
            session,
            [
                (
                    run_id,
                    message.body,
                    message.headers_json,
                    message.options_json,
                    None if held_by else not_before,
                    held_by,
                    0,
                )
                for run_id, message, held_by in messages
            ],
        )


def delay(session: Session, run_id: int, not_before: datetime) -> None:
    """A message that is due already waits until then; one that is held isn't touched."""
    due = (OutboxRow.run_id == run_id, OutboxRow.not_before.is_not(None))
    session.execute(update(OutboxRow).where(*due).values(not_before=not_before))


def postpone(session: Session, run_id: int, message: Message, not_before: datetime) -> None:
    """The run's next message, in place of the one that has been published."""
    values = {
        "body": message.body,
        "headers": message.headers,
        "options": dict(message.options),
        "not_before": not_before,
        "held_by": None,
        "published_at": None,
    }
    changed = update(OutboxRow).where(OutboxRow.run_id == run_id).values(values)
    if not session.connection().execute(changed).rowcount:
        put(session, [(run_id, message, None)], not_before)


def due(
    session: Session, now: datetime, limit: int, *, after: int = 0, but_not: Collection[str] = ()
) -> list[Waiting]:
    """The oldest unpublished messages with a run id above `after`, in order; queues `but_not` are left out."""
    others = or_(RunRow.queue.is_(None), RunRow.queue.not_in(but_not)) if but_not else true()
    query = (
        select(
            OutboxRow.run_id,
            OutboxRow.body,
            sql_cast(OutboxRow.headers, Text).label("headers"),
            sql_cast(OutboxRow.options, Text).label("options"),
            RunRow.task_id,
            RunRow.task_name,
            RunRow.scheduled_for,
            RunRow.status,
            *TIMING,
        )
        .join(RunRow, RunRow.id == OutboxRow.run_id)
        .outerjoin(ScheduleRow, ScheduleRow.id == RunRow.schedule_id)
        .where(OutboxRow.not_before <= now, OutboxRow.run_id > after, others)
        .order_by(OutboxRow.run_id)
        .limit(limit)
    )
    return [
        Waiting(
            found.run_id,
            found.task_id,
            found.task_name,
            None if found.status == "RETRY" else found.scheduled_for,  # its window was for the first attempt
            found._mapping if found.uid else None,
            Message(found.body, found.headers, found.options),
        )
        for found in session.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class Late:
    """An unpublished message, without the message."""

    run_id: int
    scheduled_for: datetime
    schedule: Mapping[Any, Any] | None


def late(session: Session, now: datetime, limit: int, *, after: int = 0) -> list[Late]:
    """Unpublished messages whose scheduled time has passed by more than lateness may be, with a run id above `after`."""
    query = (
        select(OutboxRow.run_id, RunRow.scheduled_for, *TIMING)
        .join(RunRow, RunRow.id == OutboxRow.run_id)
        .outerjoin(ScheduleRow, ScheduleRow.id == RunRow.schedule_id)
        .where(OutboxRow.not_before <= now, OutboxRow.run_id > after, RunRow.status != "RETRY")
        .where(RunRow.scheduled_for < now - ON_TIME)
        .order_by(OutboxRow.run_id)
        .limit(limit)
    )
    return [
        Late(found.run_id, found.scheduled_for, found._mapping if found.uid else None)
        for found in session.execute(query)
    ]


def next_due(session: Session) -> datetime | None:
    """When the next unpublished message is due."""
    return session.execute(select(func.min(OutboxRow.not_before))).scalar()


def waiting_since(session: Session, before: datetime) -> dict[int, str | None]:
    """The schedules with a message that should have gone by `before`, and a queue for which it waits."""
    late = (
        select(RunRow.schedule_id, func.min(RunRow.queue))
        .join(OutboxRow, OutboxRow.run_id == RunRow.id)
        .where(OutboxRow.not_before <= before, RunRow.schedule_id.is_not(None))
        .group_by(RunRow.schedule_id)
    )
    return {schedule: queue for schedule, queue in session.execute(late) if schedule is not None}


def held_schedules(session: Session) -> set[int]:
    """The schedules of which a message is held."""
    # Two statements: a join may be led through all runs. A range, not IS NOT NULL: that uses the index everywhere.
    held = session.scalars(select(OutboxRow.run_id).where(OutboxRow.held_by > "")).all()
    if not held:
        return set()
    schedules = session.scalars(select(RunRow.schedule_id).where(among(session, RunRow.id, held)))
    return {schedule_id for schedule_id in schedules if schedule_id is not None}


def release(session: Session, run_ids: Collection[int], now: datetime) -> None:
    """What was held is due from now on."""
    released = update(OutboxRow).where(among(session, OutboxRow.run_id, run_ids))
    session.execute(
        released.values(held_by=None, not_before=now).execution_options(synchronize_session=False)
    )


def mark_published(session: Session, run_ids: Collection[int], now: datetime) -> None:
    """The broker has confirmed these."""
    session.execute(
        update(OutboxRow)
        .where(among(session, OutboxRow.run_id, run_ids))
        .values(published_at=now, publish_no=OutboxRow.publish_no + 1, not_before=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(RunRow)
        .where(among(session, RunRow.id, run_ids), RunRow.published_at.is_(None))
        .values(published_at=now)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True, slots=True)
class Mark:
    """Runs whose messages the broker has confirmed, and when."""

    run_ids: Sequence[int]
    at: datetime


def mark_all(session: Session, marks: Iterable[Mark]) -> None:
    """T2."""
    for mark in marks:
        mark_published(session, mark.run_ids, mark.at)


def drop(session: Session, run_ids: Collection[int]) -> None:
    """Forget the messages of these runs."""
    session.execute(delete(OutboxRow).where(OutboxRow.run_id.in_(run_ids)))
