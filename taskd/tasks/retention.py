"""Delete what is old: for who wants it sooner than `taskd.yaml` says, or by kinds of outcome."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from celery import shared_task
from sqlalchemy.orm import Session

from taskd.clock import now
from taskd.schedule.duration import seconds_of
from taskd.store import retention
from taskd.worker.connection import database_of
from taskd.worker.task import BaseTask

PAUSE = 0.05  # seconds between batches, in which others get at the table


@shared_task(base=BaseTask, bind=True, name="taskd.tasks.purge_results")
def purge_results(
    self: BaseTask, older_than: str | float, statuses: Sequence[str] = (), batch_size: int = 500
) -> dict[str, int]:
    """Delete runs that ended longer ago than `older_than` (`30d`, or seconds), in `statuses` or in any.

    In batches of `batch_size`; active runs are never deleted. Returns how many were deleted.
    """
    return _purge(
        self,
        older_than,
        batch_size,
        lambda session, before: retention.purge_runs(session, before, statuses, batch_size),
    )


@shared_task(base=BaseTask, bind=True, name="taskd.tasks.purge_events")
def purge_events(self: BaseTask, older_than: str | float, batch_size: int = 500) -> dict[str, int]:
    """Delete events from longer ago than `older_than` (`30d`, or seconds), in batches of `batch_size`.

    The daemon does so by itself after `events.keep`. Returns how many were deleted.
    """
    return _purge(
        self,
        older_than,
        batch_size,
        lambda session, before: retention.purge_events(session, before, batch_size),
    )


def _purge(
    task: BaseTask, older_than: str | float, batch_size: int, purge: Callable[[Session, datetime], int]
) -> dict[str, int]:
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} should be at least 1")
    before, database, deleted = now() - timedelta(seconds=seconds_of(older_than)), database_of(task.app), 0
    while count := database.write(lambda session: purge(session, before)):
        deleted += count
        task.update_state(state="PROGRESS", meta={"deleted": deleted})
        time.sleep(PAUSE)
    return {"deleted": deleted}
