"""Statements on `task_scheduler`: find, declare, bury, revive. Each leaves the row settled: state and next due time."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal, cast
from uuid import UUID

from sqlalchemy import Row, Select, Table, select
from sqlalchemy.orm import Session

from taskd.errors import InvalidSchedule, NotFound
from taskd.schedule.policy import Catchup, Timetable, fires_left, overdue, standing
from taskd.schedule.policy_fields import catchup_of
from taskd.schedule.spec import timing_changed, trigger_of, uid_of
from taskd.store import runs
from taskd.store.bulk import among
from taskd.store.tables import ScheduleRow

DECLARED = (
    "task",
    "schedule_type",
    "crontab",
    "interval_seconds",
    "start_time",
    "end_time",
    "timezone",
    "args",
    "kwargs",
    "description",
    "enabled",
    "one_off",
    "max_run_count",
    "options",
    "policy",
    "labels",
    "fingerprint",
)

KEPT = timedelta(days=30)
"""How long a deleted schedule may come back with its identity, counts and history."""

PAGE = 5000  # rows a statement
_TABLE = cast("Table", ScheduleRow.__table__)
_UNREADABLE = (InvalidSchedule, TypeError, AttributeError)
"""What the timing of a row raises that someone else's SQL has broken, or whose H became a day that never comes."""

SYSTEM = "taskd"
"""Who has paused what nobody has: see pause_after_failures."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who owns a declaration, and where it stands."""

    owner: Literal["file", "api"]
    source: str | None = None
    path: str | None = None
    line: int | None = None


def find(session: Session, pk: str | int, *, lock: bool = False) -> ScheduleRow:
    """The living schedule of that id or name; raises NotFound. `lock` keeps the dispatcher off until commit."""
    key = ScheduleRow.id == int(pk) if str(pk).isdecimal() else ScheduleRow.name == str(pk)
    query = select(ScheduleRow).where(key, ScheduleRow.deleted_at.is_(None))
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound(f"there is no schedule {str(pk)!r}")
    return row


def named(session: Session, name: str) -> ScheduleRow | None:
    """The living schedule of that name."""
    return session.scalar(living().where(ScheduleRow.name == name))


def rows(session: Session, ids: Collection[int]) -> list[Row[Any]]:
    """All columns of these, in no order."""
    return list(session.execute(select(_TABLE).where(among(session, _TABLE.c.id, ids)))) if ids else []


def paged(
    session: Session, query: Any, size: int = PAGE, give: Callable[[], None] = lambda: None
) -> Iterator[Row[Any]]:
    """What `query` finds in the table, `id` among its columns, in the order of the ids; `give` is called before each page.

    A statement for each: servers end a transaction that lies idle, as it does while Python reads a long answer.
    """
    after, page = 0, size
    while page == size:
        give()
        found = session.execute(
            query.where(ScheduleRow.id > after).order_by(ScheduleRow.id).limit(size)
        ).all()
        yield from found
        page = len(found)
        after = found[-1].id if found else after


def due_between(session: Session, start: datetime, end: datetime, after: int, limit: int) -> list[Row[Any]]:
    """Id, version and updated_at of active schedules due in (start, end] with an id above `after`, by id."""
    due = ScheduleRow.state == "active", ScheduleRow.next_run_at > start, ScheduleRow.next_run_at <= end
    query = select(ScheduleRow.id, ScheduleRow.version, ScheduleRow.updated_at).where(
        *due, ScheduleRow.id > after
    )
    return list(session.execute(query.order_by(ScheduleRow.id).limit(limit)))


def living() -> Select[ScheduleRow]:
    """All schedules that aren't deleted, by name."""
    return select(ScheduleRow).where(ScheduleRow.deleted_at.is_(None)).order_by(ScheduleRow.name)


def tombstones(session: Session, names: Sequence[str], now: datetime) -> dict[str, ScheduleRow]:
    """The youngest deleted schedule of each of `names` that has one and may come back."""
    query = select(ScheduleRow).where(ScheduleRow.name.in_(names), ScheduleRow.deleted_at >= now - KEPT)
    return {row.name: row for row in session.scalars(query.order_by(ScheduleRow.deleted_at))}


def taken_uids(session: Session, uids: Sequence[UUID]) -> set[UUID]:
    """Which of `uids` a schedule, living or deleted, has already."""
    return set(session.scalars(select(ScheduleRow.uid).where(ScheduleRow.uid.in_(uids))))


def free_uid(session: Session, name: str) -> UUID:
    """The identity for a new schedule: the name's own, or the next where one of another name today was born with it."""
    uids = (uid_of(name if n == 1 else f"{name}#{n}") for n in count(1))
    return next(uid for uid in uids if not taken_uids(session, [uid]))


def declared(row: ScheduleRow) -> dict[str, Any]:
    """The declared columns as they stand."""
    return {column: getattr(row, column) for column in DECLARED}


def timetable_of(columns: Mapping[Any, Any]) -> Timetable:
    """When a stored schedule (its `uid` and declared columns) is due."""
    jitter = columns["policy"].get("jitter", 0)
    window = columns["start_time"], columns["end_time"]
    return Timetable(trigger_of(columns), *window, jitter, columns.get("uid"))


def outlived(columns: Mapping[Any, Any] | None, occurrence: datetime, now: datetime) -> bool:
    """Whether a decided occurrence of a stored schedule has waited past its catch-up window; None: it is gone."""
    try:
        if columns is not None:
            return overdue(timetable_of(columns), catchup_of(columns["policy"]), occurrence, now)
    except _UNREADABLE:  # broken since it was decided: nothing else must wait for that
        pass
    return occurrence < Catchup().oldest(now)


def create(
    session: Session, uid: UUID, name: str, columns: Mapping[str, Any], origin: Origin, now: datetime
) -> ScheduleRow:
    """Add a schedule; nothing is due for the time before `now`."""
    row = ScheduleRow(
        uid=uid,
        name=name,
        created_at=now,
        cursor_at=now,
        total_run_count=0,
        counted_from=0,
        version=0,
        conditions=[],
    )
    _declare(row, columns, origin, now)
    session.add(row)
    return row


def redeclare(
    session: Session, row: ScheduleRow, columns: Mapping[str, Any], origin: Origin, now: datetime
) -> None:
    """Change what is declared. New timing starts from now, and arms a completed schedule again.

    Disabling ends its unpublished runs as SKIPPED.
    """
    before = declared(row)
    retimed = _retimed(before, columns)
    if retimed or (columns["enabled"] and not before["enabled"]):
        row.cursor_at = max(row.cursor_at, now)
    if retimed:
        row.counted_from = row.total_run_count
    if columns["enabled"] != before["enabled"]:
        unpause(row)  # the file's word is newer than the operator's
    if before["enabled"] and not columns["enabled"]:
        runs.skip_unpublished(session, row.id, "the schedule was disabled", now)
    if row.paused_by == SYSTEM and columns["fingerprint"] != before["fingerprint"]:
        unpause(row)  # what failed may have been mended
        row.cursor_at = max(row.cursor_at, now)
    _declare(row, columns, origin, now)


def bury(session: Session, row: ScheduleRow, now: datetime) -> None:
    """Delete: the row stays as a tombstone, its unpublished runs end as SKIPPED."""
    row.deleted_at, row.state, row.next_run_at, row.conditions = now, "deleted", None, []
    row.version, row.updated_at = row.version + 1, now
    runs.skip_unpublished(session, row.id, "the schedule was deleted", now)


def revive(
    session: Session, row: ScheduleRow, columns: Mapping[str, Any], origin: Origin, now: datetime
) -> None:
    """Bring a tombstone back with its identity, counts and history; nothing is due for the time between."""
    row.deleted_at = None
    row.cursor_at = max(row.cursor_at, now)
    redeclare(session, row, columns, origin, now)


def settle(row: ScheduleRow) -> None:
    """Derive `state` and `next_run_at` of a living schedule anew; what can't be evaluated is quarantined."""
    try:
        stand = standing(
            timetable_of(declared(row) | {"uid": row.uid}),
            row.cursor_at,
            enabled=row.enabled,
            paused=row.paused_at is not None,
            fires_left=fires_left_of(row),
        )
    except _UNREADABLE as error:
        row.state, row.state_detail, row.next_run_at = "quarantined", f"{type(error).__name__}: {error}", None
    else:
        row.state, row.state_detail, row.next_run_at = stand.state, stand.detail, stand.next_run_at


def fires_left_of(row: ScheduleRow | Row[Any]) -> int | None:
    """How many scheduled fires its limits leave; None where it has no limit."""
    counted = row.total_run_count - row.counted_from
    return fires_left(one_off=row.one_off, max_run_count=row.max_run_count, counted=counted)


def counted(session: Session, uids: Collection[UUID]) -> dict[UUID, int]:
    """How many fires the limits of these schedules have seen."""
    seen = ScheduleRow.total_run_count - ScheduleRow.counted_from
    found = session.execute(select(ScheduleRow.uid, seen).where(ScheduleRow.uid.in_(uids)))
    return {row[0]: row[1] for row in found}


def unpause(row: ScheduleRow) -> None:
    """Clear the override."""
    row.paused_at = row.paused_by = row.paused_reason = row.paused_until = None


def _retimed(before: Mapping[str, Any], columns: Mapping[str, Any]) -> bool:
    try:
        return timing_changed(before, columns)
    except _UNREADABLE:
        return True


def _declare(row: ScheduleRow, columns: Mapping[str, Any], origin: Origin, now: datetime) -> None:
    for column in DECLARED:
        setattr(row, column, columns[column])
    row.owner, row.source, row.path, row.line = origin.owner, origin.source, origin.path, origin.line
    row.version, row.updated_at, row.failures_in_a_row = row.version + 1, now, 0
    settle(row)
