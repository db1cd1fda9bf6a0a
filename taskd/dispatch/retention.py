"""Deletes what is older than it has to be kept. A leader's service: in small batches, each fenced.

A database that is away, or a lease that is lost, ends the pass: the next one goes on where it stopped.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from taskd import clock
from taskd.clock import waited
from taskd.store import rollups
from taskd.store.failures import FAILED
from taskd.store.fenced import BATCH, Fenced
from taskd.store.retention import OTHERS, purge_events, purge_runs, purge_tombstones
from taskd.store.schedules import KEPT

PERIOD = 600.0  # seconds between passes
PAUSE = 0.05  # seconds between batches, in which others get at the table
log = logging.getLogger("taskd.retention")

Purge = Callable[[Session, datetime], int]  # of what is from before then; how many there were


class Retention:
    """Seconds for which each is kept, None for ever: `events`; runs by how they ended.

    Deleted schedules are kept for as long as their names can come back, what charts show as long as any run.
    """

    name = "retention"
    needs_lease = "reconcile"

    def __init__(
        self,
        database: Fenced,
        *,
        events: int | None = None,
        results: int | None = None,
        failed: int | None = None,
    ) -> None:
        self._database = database
        comes_back = int(KEPT.total_seconds())
        charted = None if results is None or failed is None else max(results, failed)
        self._purges: list[tuple[str, int | None, Purge]] = [
            ("schedules", comes_back, lambda session, before: purge_tombstones(session, before, BATCH)),
            ("events", events, lambda session, before: purge_events(session, before, BATCH)),
            ("runs", results, lambda session, before: purge_runs(session, before, OTHERS, BATCH)),
            ("failed runs", failed, lambda session, before: purge_runs(session, before, FAILED, BATCH)),
            ("figures", charted, lambda session, before: rollups.purge(session, before, BATCH)),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; raises Unavailable and LeaseLost."""
        while not stop.is_set():
            for what, kept, purge in self._purges:
                if kept is not None:
                    await self._purge(stop, what, timedelta(seconds=kept), purge)
            await waited(stop, PERIOD)

    async def _purge(self, stop: asyncio.Event, what: str, kept: timedelta, purge: Purge) -> None:
        deleted = 0
        while not stop.is_set() and (
            count := await asyncio.to_thread(self._batch, purge, clock.now() - kept)
        ):
            deleted += count
            await waited(stop, PAUSE)
        if deleted:
            log.info("deleted %d %s, which were older than they have to be kept", deleted, what)

    def one_batch(self, now: datetime) -> int:
        """Delete at most BATCH of each; how many there were."""
        kept = [(seconds, purge) for _, seconds, purge in self._purges if seconds is not None]
        return sum(self._batch(purge, now - timedelta(seconds=seconds)) for seconds, purge in kept)

    def _batch(self, purge: Purge, before: datetime) -> int:
        return self._database.write(lambda session: purge(session, before))
