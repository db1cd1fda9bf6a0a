"""How runs ended, how long they took and how late they began, in buckets of the time at which they ended.

Of all schedules together, what rollups.py has added up is taken from there, and the rest from the runs themselves.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from taskd.store import rollups
from taskd.store.measured import Bucket, measure
from taskd.store.tables import RunRow, ScheduleRow


def buckets(session: Session, edges: Sequence[datetime], schedule: int | str | None = None) -> list[Bucket]:
    """One for each pair of neighbouring `edges`, which ascend; of a schedule by id or name, where one is given."""
    found = [Bucket(start) for start in edges[:-1]]
    if schedule is not None:
        measure(session, found, edges[0], edges[-1], _of(schedule))
        return found
    since = rollups.add_to(session, found, edges[-1])
    if since < edges[-1]:
        measure(session, found, since, edges[-1])
    return found


def _of(schedule: int | str) -> ColumnElement[bool]:
    if isinstance(schedule, int):
        return RunRow.schedule_id == schedule
    return RunRow.schedule_id.in_(select(ScheduleRow.id).where(ScheduleRow.name == schedule))
