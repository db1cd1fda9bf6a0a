"""Which queues the worker of `dev` takes from: those of the application, and all that schedules name."""

import asyncio
import logging
from contextlib import suppress

from celery import Celery
from sqlalchemy import select

from taskd.clock import waited
from taskd.errors import Unavailable
from taskd.store.database import Database
from taskd.store.tables import ScheduleRow

_LOOK_EVERY = 1.0  # seconds, and as long a worker may take to answer
log = logging.getLogger("taskd.dev")


class Queues:
    """Lets a running worker take from a queue as soon as a schedule names it; a new one is told at its start."""

    name = "queues"
    needs_lease = None

    def __init__(self, app: Celery, database: Database) -> None:
        self._app, self._database = app, database
        self._taken: set[str] = set()

    def all(self) -> list[str]:
        """The queues for a worker that is about to start."""
        self._taken |= set(self._app.amqp.queues)
        with suppress(Unavailable):  # `run` adds them later
            self._taken |= self._named()
        return sorted(self._taken)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            # The daemon in this process says what is away; here it is only tried again.
            with suppress(Unavailable, *self._app.connection_for_write().recoverable_connection_errors):
                await asyncio.to_thread(self._take_new)
            await waited(stop, _LOOK_EVERY)

    def _take_new(self) -> None:
        for queue in sorted(self._named() - self._taken):
            if self._app.control.add_consumer(queue, reply=True, timeout=_LOOK_EVERY):
                self._taken.add(queue)
                log.info("the worker takes from queue %s now", queue)

    def _named(self) -> set[str]:
        living = select(ScheduleRow.options).where(ScheduleRow.deleted_at.is_(None))
        options = self._database.read(lambda session: session.scalars(living).all())
        return {each["queue"] for each in options if each.get("queue")}
