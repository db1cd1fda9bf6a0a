"""Keeps the metrics up to date from the tables and the broker, in a thread of its own, every few seconds.

fault                         what happens
the database is away          the figures stay as they are, and gathered_timestamp_seconds with them
the broker is away            queue lengths are missing until it is back
a row commits late            runs that ended are looked for again for OVERLAP, and counted once
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from celery import Celery
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from taskd import clock
from taskd.courtesy import TAKE, RightOfWay, nobody_fires
from taskd.errors import DatabaseUnavailable, InvalidSchedule
from taskd.http.metrics import Metrics
from taskd.store import figures
from taskd.store.database import Database
from taskd.store.figures import Standing
from taskd.store.schedules import timetable_of

EVERY = 5.0  # seconds
SHARE = 0.1  # of the time at most: with a hundred thousand schedules a look takes seconds
OVERLAP = timedelta(seconds=30)
CONNECT = 4  # seconds to reach the broker
log = logging.getLogger("taskd.metrics")


class Gathering:
    """A service: gathers until it is stopped."""

    name = "metrics"
    needs_lease = None

    def __init__(
        self, metrics: Metrics, database: Database, app: Celery, way: RightOfWay | None = None
    ) -> None:
        self._metrics, self._database, self._app = metrics, database, app
        self._way = way or nobody_fires()
        self._run: int | None = None
        self._event = 0
        self._since = datetime.min.replace(tzinfo=UTC)
        self._seen: dict[tuple[int, str], tuple[datetime, int]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            began = clock.monotonic()
            await asyncio.to_thread(self.gather, clock.now())
            await clock.waited(stop, max(EVERY, (clock.monotonic() - began) / SHARE))

    def gather(self, now: datetime) -> None:
        """Look once; what is away is looked at the next time."""
        try:
            standing = self._database.read(partial(figures.standing, give=partial(self._way.give, TAKE)))
            self._stand(standing, now)
            self._count(now)
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            log.debug("no figures: %s", error)
            return
        self._queues(standing.queues)
        self._metrics.gathered.set(now.timestamp())

    def _stand(self, standing: Standing, now: datetime) -> None:
        metrics = self._metrics
        metrics.keep_only(name for name, *_ in self._way.among(standing.times))
        metrics.schedules.clear()
        for labels, count in standing.schedules.items():
            metrics.schedules.labels(*labels).set(count)
        metrics.tell_times(standing.times)
        metrics.unpublished.set(standing.unpublished)
        metrics.oldest.set(max((now - standing.oldest).total_seconds(), 0) if standing.oldest else 0)
        metrics.workers.set(standing.workers)
        metrics.held.set(standing.held)
        for lease, epoch in standing.epochs.items():
            metrics.transitions.labels(lease).set(epoch)
        for state, count in standing.files.items():
            metrics.files.labels(state).set(count)
        metrics.loaded.set(0 if standing.files["broken"] else 1)

    def _count(self, now: datetime) -> None:
        if self._run is None:
            (self._run, self._event), self._since = self._database.read(figures.newest), now
            return
        run, event, since = self._run, self._event, self._since - OVERLAP
        for row in self._way.among(self._database.read(lambda session: figures.decided(session, run))):
            self._run = row.id
            self._late(row)
        for healed in self._database.read(lambda session: figures.healed(session, event)):
            self._event = healed
            self._metrics.healed.inc()
        for row in self._way.among(self._database.read(lambda session: figures.ended(session, since))):
            self._ended(row)
        horizon = self._since - 2 * OVERLAP
        self._seen = {key: known for key, known in self._seen.items() if known[0] > horizon}

    def _late(self, row: Row[Any]) -> None:
        due = row.scheduled_for
        try:
            due = timetable_of(row._mapping).due(due)
        except InvalidSchedule:
            log.debug("the timing of %s can't be read", row.schedule_name)
        late = max((row.decided_at - due).total_seconds(), 0)
        self._metrics.lateness.observe(late)

    def _ended(self, row: Row[Any]) -> None:
        metrics, detail = self._metrics, row.detail or {}
        at, refused = row.completed_at, int(detail.get("refused", 0))
        key, self._since = (row.id, row.status), max(self._since, at)
        new = key not in self._seen
        _, told = self._seen.get(key, (at, 0))
        self._seen[key] = at, refused
        if refused > told:
            metrics.of(metrics.refused, row.schedule_name).inc(refused - told)
        if not new or at < self._since - OVERLAP:
            return
        metrics.of(metrics.runs, row.schedule_name, row.status).inc()
        if row.status == "MISSED":
            metrics.of(metrics.missed, row.schedule_name).inc(detail.get("count", 1))
        if row.status == "SKIPPED":
            metrics.of(metrics.skipped, row.schedule_name).inc()
        if row.runtime is not None:
            metrics.duration.labels(row.task_name).observe(row.runtime)
        if row.started_at and row.published_at:
            wait = max((row.started_at - row.published_at).total_seconds(), 0)
            metrics.wait.labels(row.queue or "").observe(wait)

    def _queues(self, queues: frozenset[str]) -> None:
        """How many messages are ready in the queues that workers consume."""
        self._metrics.queue_length.clear()
        if not queues:
            return
        try:
            with self._app.connection_for_read(connect_timeout=CONNECT) as connection:
                connection.ensure_connection(max_retries=1, timeout=CONNECT)
                for queue in sorted(queues):
                    with connection.channel() as opened:
                        channel: Any = opened
                        found = channel.queue_declare(queue=queue, passive=True)
                        self._metrics.queue_length.labels(queue).set(found.message_count)
        except Exception as error:  # noqa: BLE001  every transport has its own
            log.debug("no queue lengths: %s", error)
