"""Delete old results."""

import time
from collections.abc import Sequence
from datetime import timedelta

from celery import shared_task

from taskd.clock import now
from taskd.schedule.duration import seconds_of
from taskd.store.retention import purge_runs
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
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} should be at least 1")
    before, database, deleted = now() - timedelta(seconds=seconds_of(older_than)), database_of(self.app), 0
    while count := database.write(lambda session: purge_runs(session, before, statuses, batch_size)):
        deleted += count
        self.update_state(state="PROGRESS", meta={"deleted": deleted})
        time.sleep(PAUSE)
    return {"deleted": deleted}
