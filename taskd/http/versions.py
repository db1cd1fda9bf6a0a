"""What makes writes safe to race and to repeat: durable before they are told, ETag, If-Match, Idempotency-Key."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from taskd.http.exchange import Answer, Context, Request
from taskd.http.problems import Problem
from taskd.store.tables import ScheduleRow

LONGEST_KEY = 255  # characters of an Idempotency-Key


def written(context: Context, work: Callable[[Session], Answer]) -> Answer:
    """Commit, then wake: an answer that says done is about what is on disk."""
    outcome = context.database.write(work)
    context.wake()
    return outcome


def etag(row: ScheduleRow) -> str:
    """Another one after every declared or override change; fires leave it."""
    return f'"{row.id}.{row.version}"'


def check_version(request: Request, row: ScheduleRow) -> None:
    """Raise Problem (412) where If-Match names other versions than this one."""
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*" or etag(row) in {tag.strip() for tag in wanted.split(",")}:
        return
    raise Problem(
        412, f"{row.name!r} has changed since you looked: look again, then repeat", {"ETag": etag(row)}
    )


def idempotency_key(request: Request) -> str | None:
    """The key under which a repetition is known; raises Problem (400) for one that can't be kept."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= LONGEST_KEY and key.isprintable()):
        raise Problem(400, f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")
    return key
