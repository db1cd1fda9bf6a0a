"""Runs counted in buckets of the time at which they ended, by the database, from their own rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, literal_column, select
from sqlalchemy.orm import Session

from taskd.store.classes import class_of, quantiles
from taskd.store.columns import seconds_between
from taskd.store.tables import RunRow


@dataclass(slots=True)
class Bucket:
    """Runs that ended from `start` to the start of the next one: how many by status, their seconds by class.

    Lateness is from the scheduled time to the start; both are of those runs that have them.
    """

    start: datetime
    counts: Counter[str] = field(default_factory=Counter)
    runtimes: Counter[int] = field(default_factory=Counter)
    latenesses: Counter[int] = field(default_factory=Counter)

    @property
    def runtime(self) -> dict[str, float]:
        """Quantiles in seconds, by their names."""
        return quantiles(self.runtimes)

    @property
    def lateness(self) -> dict[str, float]:
        """The same."""
        return quantiles(self.latenesses)

    def add(self, other: "Bucket") -> None:
        """Take in another one's runs."""
        self.counts.update(other.counts)
        self.runtimes.update(other.runtimes)
        self.latenesses.update(other.latenesses)


def measure(
    session: Session,
    buckets: Sequence[Bucket],
    since: datetime,
    until: datetime,
    *where: ColumnElement[bool],
) -> None:
    """Add the runs that ended in [since, until) and for which `where` holds; the last bucket ends at `until`."""
    first = max((n for n, bucket in enumerate(buckets) if bucket.start <= since), default=0)
    ended = (RunRow.completed_at >= since, RunRow.completed_at < until, *where)
    later = [(RunRow.completed_at >= bucket.start, n) for n, bucket in enumerate(buckets) if n > first]
    number = case(*reversed(later), else_=first) if later else literal_column(str(first))
    late = class_of(seconds_between(RunRow.scheduled_for, RunRow.started_at))
    columns = (number.label("n"), RunRow.status, class_of(RunRow.runtime).label("took"), late.label("late"))
    counted = select(*columns, func.count()).where(*ended).group_by("n", RunRow.status, "took", "late")
    for index, status, took, lateness, runs in session.execute(counted):
        bucket = buckets[int(index)]
        bucket.counts[status] += runs
        if took is not None:
            bucket.runtimes[int(took)] += runs
        if lateness is not None:
            bucket.latenesses[int(lateness)] += runs
