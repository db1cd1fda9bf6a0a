"""What charts need of all runs, added up by the minute and by the hour, so that nobody counts millions of rows to draw a day.

Bound       minutes are added up in their order: up to the end of the newest one, task_stat knows all that had ended; from
            there on the runs are counted themselves
Waits       DELAY after a minute's end, in which its last outcomes are written
Again       what is told late (a worker's spool, LOST runs that had gone on) changes runs of minutes that are added up: each
            is made anew once it is as old as each of AGAIN says, if its runs are still kept. What comes later isn't counted
Purges      delete runs, not what they have added; it goes when the last of them would be too old
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from taskd.store.measured import Bucket, measure
from taskd.store.tables import RunRow, StatRow

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DELAY = timedelta(minutes=2)
AGAIN = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1))
_MINUTE = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_to(session: Session, buckets: Sequence[Bucket], until: datetime) -> datetime:
    """Add what is added up of these buckets, of which the last ends at `until`; from when on it isn't."""
    starts = [bucket.start for bucket in buckets]
    whole = [each for each in (HOUR, MINUTE) if all(_floor(edge, each) == edge for edge in (*starts, until))]
    if not whole:
        return starts[0]
    # One statement sees one state: a minute that is added meanwhile would be counted twice.
    newest = _newest().scalar_subquery().label("newest")
    wanted = (
        StatRow.seconds == whole[0].total_seconds(), StatRow.start >= starts[0], StatRow.start < until
    )  # fmt: skip
    since, number = starts[0], 0
    for row, last in session.execute(select(StatRow, newest).where(*wanted).order_by(StatRow.start)):
        while number + 1 < len(starts) and starts[number + 1] <= row.start:
            number += 1
        buckets[number].add(_bucket(row))
        since = last + MINUTE
    return since


def next_minute(session: Session, now: datetime) -> Bucket | None:
    """The next minute in which runs have ended, added up. None: there is none whose outcomes are all written."""
    newest = session.scalar(_newest())
    since = newest + MINUTE if newest else _EPOCH
    ended = (RunRow.completed_at >= since, RunRow.completed_at < _floor(now - DELAY, MINUTE))
    first = session.scalar(select(RunRow.completed_at).where(*ended).order_by(RunRow.completed_at).limit(1))
    return None if first is None else added_up(session, _floor(first, MINUTE))


def added_up(session: Session, start: datetime) -> Bucket:
    """The minute that begins at `start`. It takes its time, so not in a transaction that writes."""
    minute = Bucket(start)
    measure(session, [minute], start, start + MINUTE)
    return minute


def keep(session: Session, minute: Bucket) -> None:
    """Keep a minute, in the place of what was kept of it, and with it its hour."""
    if not minute.counts and session.get(StatRow, (_MINUTE, minute.start)) is None:
        return
    _keep(session, minute, MINUTE)
    hour = Bucket(_floor(minute.start, HOUR))
    parts = (StatRow.start >= hour.start, StatRow.start < hour.start + HOUR)
    for row in session.scalars(select(StatRow).where(StatRow.seconds == _MINUTE, *parts)):
        hour.add(_bucket(row))
    _keep(session, hour, HOUR)


def due_again(looked: datetime, now: datetime, kept: timedelta | None) -> Iterator[datetime]:
    """The minutes that have become as old as AGAIN says since somebody looked, an hour ago at most."""
    for age in AGAIN:
        if kept is None or age < kept:
            start = _floor(max(looked, now - HOUR) - age, MINUTE)
            while start < _floor(now - age, MINUTE):
                yield start
                start += MINUTE


def purge(session: Session, before: datetime, limit: int) -> int:
    """Delete up to about `limit` of what is about hours that were over before `before`, the oldest first."""
    over = StatRow.start < _floor(before, HOUR)
    oldest = session.scalars(select(StatRow.start).where(over).order_by(StatRow.start).limit(limit)).all()
    if oldest:
        session.execute(delete(StatRow).where(over, StatRow.start <= oldest[-1]))
    return len(oldest)


def _newest() -> Select[datetime]:
    return select(func.max(StatRow.start)).where(StatRow.seconds == _MINUTE)


def _keep(session: Session, bucket: Bucket, length: timedelta) -> None:
    runtime, lateness = _named(bucket.runtimes), _named(bucket.latenesses)
    row = StatRow(seconds=int(length.total_seconds()), start=bucket.start, counts=dict(bucket.counts))
    row.runtime, row.lateness = runtime, lateness
    session.merge(row)
    session.flush()


def _named(counts: Counter[int]) -> dict[str, int]:
    return {str(number): runs for number, runs in counts.items()}


def _bucket(row: StatRow) -> Bucket:
    runtimes, latenesses = (
        Counter({int(number): runs for number, runs in each.items()}) for each in (row.runtime, row.lateness)
    )
    return Bucket(row.start, Counter(row.counts), runtimes, latenesses)


def _floor(at: datetime, length: timedelta) -> datetime:
    return _EPOCH + (at - _EPOCH) // length * length
