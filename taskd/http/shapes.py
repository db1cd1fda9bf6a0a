"""Rows → JSON: the columns under their names, instants in ISO 8601 with offset (UTC), secrets masked."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import Row, Uuid

from taskd import config
from taskd.http.exchange import Request
from taskd.redaction import MASK, redact
from taskd.store.columns import UtcDateTime
from taskd.store.tables import Base, EventRow, RunRow, ScheduleRow

INTERNAL = {"living_name", "counted_from", "dated_at"}  # how the tables work, not what a schedule or a run is
_WRITTEN: dict[type, Callable[[Any], str]] = {datetime: datetime.isoformat, UUID: str}
_CONVERTED = {  # by column; asked of its type, each value would cost a page a third more
    column.key: datetime.isoformat if isinstance(column.type, UtcDateTime) else str
    for row in (ScheduleRow, RunRow, EventRow)
    for column in row.__table__.columns
    if isinstance(column.type, UtcDateTime | Uuid)
}
_SCHEDULE_SECRETS = ("args", "kwargs", "options")
_RUN_SECRETS = ("args", "kwargs", "result", "progress", "detail")
_EVENT_SECRETS = ("before", "after", "detail")
_RUN_TEXTS = ("result", "traceback", "log")
# Every repetition is bounded or ends at what it can't match: a hostile text costs no more than its length.
_SETTING = (
    r"""(?i)((?:{words})[\w-]{{0,64}}["']?\s{{0,8}}[:=]\s{{0,8}}(?:(?:bearer|basic)\s)?)"""
    r"""("[^"\n]{{0,4096}}"|'[^'\n]{{0,4096}}'|[^\s,;&)}}\]]+)"""
)


def schedule(row: ScheduleRow | Row[Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """A schedule: the columns of `task_scheduler`, and `paused`."""
    shape = _masked(_plain(_columns(row)), _SCHEDULE_SECRETS, secret_keys)
    return shape | {"paused": row.paused_at is not None}


def run(row: RunRow | Row[Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """A run: the columns of `task_result`."""
    return columns_of_run(_columns(row), secret_keys)


def columns_of_run(columns: Mapping[str, Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """Some columns of `task_result`."""
    shape = _masked(_plain(columns), _RUN_SECRETS, secret_keys)
    texts = {key: mask_text(shape[key], secret_keys) for key in _RUN_TEXTS if isinstance(shape.get(key), str)}
    return shape | texts


def masked(value: Any, secret_keys: Collection[str]) -> Any:
    """A JSON value with what its keys call secret masked, and in its texts what looks so."""
    match value:
        case Mapping():
            shown = redact(value, secret_keys)
            return {key: masked(inner, secret_keys) for key, inner in shown.items()}
        case list():
            return [masked(inner, secret_keys) for inner in value]
        case str():
            return mask_text(value, secret_keys)
    return value


def event(row: EventRow, secret_keys: Collection[str]) -> dict[str, Any]:
    """One thing that was done: the columns of `task_event`."""
    return _masked(_plain(_columns(row)), _EVENT_SECRETS, secret_keys)


def page(
    items: list[dict[str, Any]],
    total: int,
    number: int | None,
    size: int,
    links: Mapping[str, str | None],
    *,
    estimated: bool = False,
) -> dict[str, Any]:
    """One part of a list; `links` has `next` and `prev`."""
    about = {"total_is_estimate": True} if estimated else {}
    return {"items": items, "total": total, **about, "page": number, "size": size, **links}


def numbered(
    request: Request, items: list[dict[str, Any]], total: int, number: int, size: int
) -> dict[str, Any]:
    """The `number`th page, from 1, with links to those beside it."""
    links = {
        "next": link(request, page=number + 1) if number * size < total else None,
        "prev": link(request, page=number - 1) if number > 1 else None,
    }
    return page(items, total, number, size, links)


def link(request: Request, **changed: object) -> str:
    """The request's own path and query, with parameters changed, or left out where they are None."""
    kept = [(name, value) for name, value in request.query if name not in changed]
    pairs = [*kept, *((name, str(value)) for name, value in changed.items() if value is not None)]
    return f"{request.path}?{urlencode(pairs)}"


def plain(value: Any) -> Any:
    """A column's value as JSON."""
    written = _WRITTEN.get(type(value))
    return value if written is None else written(value)


def mask_text(text: str, secret_keys: Collection[str]) -> str:
    """`text` with the passwords of its URLs masked, and what is set under a secret key, as in `token: x` or `pw='x'`."""
    plain_text = config.masked(text)
    return _setting(frozenset(secret_keys)).sub(rf"\g<1>{MASK}", plain_text) if secret_keys else plain_text


@lru_cache
def _setting(secret_keys: frozenset[str]) -> re.Pattern[str]:
    return re.compile(_SETTING.format(words="|".join(map(re.escape, sorted(secret_keys)))))


def _columns(row: Base | Row[Any]) -> dict[str, Any]:
    if isinstance(row, Base):
        return {column.key: getattr(row, column.key) for column in type(row).__mapper__.column_attrs}
    return dict(zip(row._fields, row, strict=True))


def _plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    shape = {**columns}
    for key in INTERNAL:
        shape.pop(key, None)
    for key, written in _CONVERTED.items():
        if (value := shape.get(key)) is not None:
            shape[key] = written(value)
    return shape


def _masked(shape: dict[str, Any], keys: Collection[str], secret_keys: Collection[str]) -> dict[str, Any]:
    for key in keys:
        if shape.get(key):
            shape[key] = redact(shape[key], secret_keys)
    return shape
