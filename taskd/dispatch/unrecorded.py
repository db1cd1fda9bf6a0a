"""`Unrecorded`: an overlap policy that can't hold, because no living worker records the schedule's task.

Such a run stays active until its lease says otherwise, or for ever, and everything behind it is skipped or waits.
Workers say what they record when they sign on; those that run no recorded task at all never do, and look like none.
So a task counts as unrecorded once no worker has recorded it for PATIENCE: workers take their time to restart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.store import conditions, events, workers
from taskd.store.conditions import UNRECORDED
from taskd.store.fenced import Fenced
from taskd.store.schedules import paged
from taskd.store.tables import ScheduleRow

PATIENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Asking:
    """A living schedule, what its condition says, and the task that must be recorded for its overlap policy."""

    id: int
    task: str | None
    says: str | None


def sentence(task: str) -> str:
    """What the condition says."""
    return (
        f"no living worker records {task!r}, so the overlap policy can't hold: start a worker that does, or give "
        "the task base=taskd.BaseTask"
    )


def should_say(asking: Asking, missing: Mapping[str, float], seconds: float) -> str | None:
    """The condition as it ought to be; `missing`: since when no worker records a task.

    Within its patience nothing is known, so what was said before this daemon started stands.
    """
    if asking.task is None or asking.task not in missing:
        return None
    return sentence(asking.task) if seconds - missing[asking.task] >= PATIENCE else asking.says


class RecordingWatch:
    """Sets and clears the condition. One thread calls `look`."""

    def __init__(self, database: Fenced) -> None:
        self._database = database
        self._seen_change: int | None = None
        self._asking: list[Asking] = []
        self._missing: Mapping[str, float] = {}

    def look(self, seconds: float, now: datetime) -> None:
        """Once, at the monotonic `seconds`."""
        recorded = self._database.read(self._read)
        tasks = {asking.task for asking in self._asking if asking.task is not None} - recorded
        self._missing = {task: self._missing.get(task, seconds) for task in tasks}
        wanted = [(asking, should_say(asking, self._missing, seconds)) for asking in self._asking]
        changed = [(asking.id, message) for asking, message in wanted if message != asking.says]
        if changed:
            self._seen_change = None
            self._database.write_each(changed, partial(conditions.put_all, kind=UNRECORDED, now=now))

    def _read(self, session: Session) -> set[str]:
        """What workers record; who asks for it too, where any schedule has changed."""
        change = events.change_seq(session)
        if change != self._seen_change:
            self._asking, self._seen_change = list(_who_asks(session)), change
        return workers.recorded(session)


def _who_asks(session: Session) -> Iterator[Asking]:
    """Schedules with an overlap policy (`allow` isn't spelled out in the column), and those that still carry a condition."""
    columns = (ScheduleRow.id, ScheduleRow.task, ScheduleRow.policy, ScheduleRow.conditions)
    for row in paged(session, select(*columns).where(ScheduleRow.deleted_at.is_(None))):
        says = conditions.message_of(row.conditions, UNRECORDED)
        if "overlap" in row.policy or says is not None:
            yield Asking(row.id, row.task if "overlap" in row.policy else None, says)
