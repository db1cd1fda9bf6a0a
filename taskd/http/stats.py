"""`/api/v1/result/stats`: runs counted and measured over time, for charts."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Instant, Name, query_of
from taskd.http.problems import Problem
from taskd.schedule.duration import seconds_of
from taskd.store import stats
from taskd.store.measured import Bucket

MOST_BUCKETS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _seconds(value: Any) -> int:
    return seconds_of(int(value) if isinstance(value, str) and value.isdecimal() else value)


class StatsQuery(Form):
    bucket: Annotated[int, BeforeValidator(_seconds)] = 3600
    schedule: Name | None = None
    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")


def page(context: Context, request: Request) -> Answer:
    """Buckets of `bucket` (1h) from `from` (24 of them ago) to `to` (now), by when runs ended; whole ones, in UTC."""
    form = query_of(StatsQuery, request)
    each = timedelta(seconds=form.bucket)
    until = form.until or request.now
    try:
        edges = _edges(form.since or until - 23 * each, until, each)
    except OverflowError:
        raise Problem(400, "from and to must leave room for a bucket in the calendar") from None
    if not 2 <= len(edges) <= MOST_BUCKETS + 1:
        raise Problem(400, f"from must be before to, with at most {MOST_BUCKETS} buckets between them")
    schedule = form.schedule
    pk = int(schedule) if schedule and schedule.isdecimal() and len(schedule) <= 18 else schedule
    found = context.database.read(lambda session: stats.buckets(session, edges, pk))
    return Answer(200, {"bucket": form.bucket, "to": edges[-1].isoformat(), "items": [*map(_shape, found)]})


def _edges(since: datetime, until: datetime, each: timedelta) -> list[datetime]:
    """From the start of the bucket that `since` is in; one more than there may be, where it would be too many."""
    edges = [_EPOCH + (since - _EPOCH) // each * each]
    while edges[-1] < until and len(edges) <= MOST_BUCKETS + 1:
        edges.append(edges[-1] + each)
    return edges


def _shape(bucket: Bucket) -> dict[str, Any]:
    return {
        "from": bucket.start.isoformat(),
        "counts": bucket.counts,
        "runtime": bucket.runtime or None,
        "lateness": bucket.lateness or None,
    }
