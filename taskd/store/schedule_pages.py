"""Lists of schedules: filtered, sorted, a page at a time; the same rows in the same order on every database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import Session

from taskd.store.tables import ScheduleRow

SortKey = Literal[
    "name", "id", "task", "state", "next_run_at", "last_run_at", "total_run_count", "created_at", "updated_at"
]
_COLUMNS = (
    ScheduleRow.__table__.columns
)  # without the session's objects and its look at each statement: half the time
SORT_KEYS: tuple[SortKey, ...] = get_args(SortKey)


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Which schedules: all that are living, or those for which everything that isn't None holds."""

    name: str | None = None  # contained in the name; case counts
    task: str | None = None
    enabled: bool | None = None
    paused: bool | None = None
    state: str | None = None
    owner: str | None = None
    schedule_type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def select_schedules(
    wanted: ScheduleFilter, sort: SortKey = "name", *, descending: bool = False
) -> Select[Any]:
    """The living schedules that are wanted. What has no value comes last, equals are in the order of their ids."""
    column = _COLUMNS[sort]
    order = column.desc() if descending else column.asc()
    # Said of a column that has a value always, it would keep databases off its index.
    valueless_last = [column.is_(None)] if column.nullable else []
    return select(*_COLUMNS).where(*_conditions(wanted)).order_by(*valueless_last, order, _COLUMNS.id)


def ids(
    session: Session, wanted: ScheduleFilter, sort: SortKey = "name", *, descending: bool = False
) -> list[int]:
    """Which schedules are wanted, in their order."""
    query = select_schedules(wanted, sort, descending=descending)
    return list(session.scalars(query.with_only_columns(_COLUMNS.id)))


def among(session: Session, wanted: Sequence[int]) -> list[Row[Any]]:
    """The columns of those of `wanted` that still live, in its order."""
    query = select(*_COLUMNS).where(_COLUMNS.id.in_(wanted), _COLUMNS.deleted_at.is_(None))
    rows = {row.id: row for row in session.execute(query)}
    return [rows[pk] for pk in wanted if pk in rows]


def page(
    session: Session,
    wanted: ScheduleFilter,
    sort: SortKey = "name",
    *,
    descending: bool = False,
    offset: int = 0,
    limit: int,
) -> tuple[Sequence[Row[Any]], int]:
    """The columns of the `limit` schedules after the first `offset`, and how many there are in all."""
    query = select_schedules(wanted, sort, descending=descending).offset(offset).limit(limit)
    rows = session.execute(query).all()
    return rows, session.scalar(_counted(_conditions(wanted))) or 0


def _counted(conditions: Sequence[ColumnElement[bool]]) -> Select[int]:
    """An index has the names of the living: asked for a span of them, SQLite too reads it and no rows."""
    _living, *others = conditions
    query = select(func.count()).select_from(ScheduleRow.__table__)
    return query.where(*conditions) if others else query.where(_COLUMNS.living_name >= "")


def _conditions(wanted: ScheduleFilter) -> list[ColumnElement[bool]]:
    equal = ("task", "enabled", "state", "owner", "schedule_type")
    values = {column: value for column in equal if (value := getattr(wanted, column)) is not None}
    found: list[ColumnElement[bool]] = [_COLUMNS.deleted_at.is_(None)]
    found += [_COLUMNS[column] == value for column, value in values.items()]
    if wanted.paused is not None:
        paused = _COLUMNS.paused_at.is_not(None)
        found.append(paused if wanted.paused else ~paused)
    if wanted.name:
        # LIKE would ignore case on SQLite and know wildcards; this compares bytes on all three.
        found.append(func.replace(_COLUMNS.name, wanted.name, "") != _COLUMNS.name)
    # MariaDB pads what it unquotes from JSON: `data` would equal `data `.
    return found + [
        _COLUMNS.labels[key].as_string() + "|" == f"{value}|" for key, value in wanted.labels.items()
    ]
