"""What comes of an import: its file is read as any other, and its times are held against the original's."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from taskd.schedule.spec import ScheduleSpec
from taskd.schedule.timing import occurrences
from taskd.source.yamlfile import read_file

HUNDRED = 100


def specs_of(text: str) -> Mapping[str, ScheduleSpec]:
    """The schedules of a file's text, which has to be without a fault."""
    reading = read_file(text.encode(), "imported.yaml", "Asia/Shanghai")
    assert [str(problem) for problem in reading.problems if problem.severity == "error"] == []
    return {each.spec.name: each.spec for each in reading.schedules}


def coming(spec: ScheduleSpec, since: datetime) -> list[datetime]:
    """Its next hundred times."""
    return list(islice(occurrences(spec.trigger, since), HUNDRED))


def coming_in_celery(schedule: Any, last: datetime) -> list[datetime]:
    """The next hundred times of one of Celery's schedules that ran at `last`, asked as Beat asks: at each for the next."""
    return list(islice(_asked(schedule, last), HUNDRED))


def _asked(schedule: Any, last: datetime) -> Iterator[datetime]:
    while True:
        local = last.astimezone(schedule.tz)
        schedule.nowfun = lambda local=local: local
        last = (last + schedule.remaining_estimate(local)).astimezone(UTC)
        yield last
