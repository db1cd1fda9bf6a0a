"""Rows → JSON: the columns under their names, instants in ISO 8601 with offset (UTC), secrets masked."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from taskd.config import masked
from taskd.http.exchange import Request
from taskd.redaction import MASK, redact
from taskd.store.tables import RunRow, ScheduleRow

_INTERNAL = {"living_name", "counted_from"}  # how the table works, not what a schedule is
_SCHEDULE_SECRETS = ("args", "kwargs", "options")
_RUN_SECRETS = ("args", "kwargs", "result", "progress", "detail")
_RUN_TEXTS = ("result", "traceback", "log")
# Every repetition is bounded or ends at what it can't match: a hostile text costs no more than its length.
_SETTING = (
    r"""(?i)((?:{words})[\w-]{{0,64}}["']?\s{{0,8}}[:=]\s{{0,8}}(?:(?:bearer|basic)\s)?)"""
    r"""("[^"\n]{{0,4096}}"|'[^'\n]{{0,4096}}'|[^\s,;&)}}\]]+)"""
)


def schedule(row: ScheduleRow, secret_keys: Collection[str]) -> dict[str, Any]:
    """A schedule: the columns of `task_scheduler`, and `paused`."""
    shape = {key: plain(value) for key, value in _columns(row).items() if key not in _INTERNAL}
    return _masked(shape, _SCHEDULE_SECRETS, secret_keys) | {"paused": row.paused_at is not None}


def run(row: RunRow, secret_keys: Collection[str]) -> dict[str, Any]:
    """A run: the columns of `task_result`."""
    shape = _masked({key: plain(value) for key, value in _columns(row).items()}, _RUN_SECRETS, secret_keys)
    texts = {key: mask_text(shape[key], secret_keys) for key in _RUN_TEXTS if isinstance(shape[key], str)}
    return shape | texts


def page(
    items: list[dict[str, Any]], total: int, number: int | None, size: int, links: Mapping[str, str | None]
) -> dict[str, Any]:
    """One part of a list; `links` has `next` and `prev`."""
    return {"items": items, "total": total, "page": number, "size": size, **links}


def link(request: Request, **changed: object) -> str:
    """The request's own path and query, with parameters changed, or left out where they are None."""
    kept = [(name, value) for name, value in request.query if name not in changed]
    pairs = [*kept, *((name, str(value)) for name, value in changed.items() if value is not None)]
    return f"{request.path}?{urlencode(pairs)}"


def plain(value: Any) -> Any:
    """A column's value as JSON."""
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return value


def mask_text(text: str, secret_keys: Collection[str]) -> str:
    """`text` with the passwords of its URLs masked, and what is set under a secret key, as in `token: x` or `pw='x'`."""
    words = "|".join(re.escape(key) for key in sorted(secret_keys))
    return re.sub(_SETTING.format(words=words), rf"\g<1>{MASK}", masked(text)) if words else masked(text)


def _columns(row: ScheduleRow | RunRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in type(row).__mapper__.column_attrs}


def _masked(shape: dict[str, Any], keys: Collection[str], secret_keys: Collection[str]) -> dict[str, Any]:
    return shape | {key: redact(shape[key], secret_keys) for key in keys}
