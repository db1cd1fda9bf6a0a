"""What happens, as it happens: one line when a run is fired, one for each retry, one when it ends."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import func, or_, select

from taskd.cli.screen import Screen
from taskd.clock import waited
from taskd.errors import Unavailable
from taskd.http import shapes
from taskd.store import runs
from taskd.store.database import Database
from taskd.store.tables import RunRow

_LOOK_EVERY = 0.25  # seconds


class LiveLog:
    """Follows `task_result` from where it stands when it starts."""

    name = "live log"
    needs_lease = None

    def __init__(self, database: Database, screen: Screen, secret_keys: Collection[str]) -> None:
        self._database, self._screen, self._secret_keys = database, screen, secret_keys
        self._newest = database.read(lambda session: session.scalar(select(func.max(RunRow.id)))) or 0
        self._open: dict[int, str] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and a last time then."""
        while True:
            last = stop.is_set()
            with suppress(Unavailable):  # the daemon in this process says so
                for event, run in await asyncio.to_thread(lambda: list(self._changes())):
                    self._screen.run(event, run)
            if last:
                return
            await waited(stop, _LOOK_EVERY)

    def _changes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is new since the last time, oldest first."""
        query = runs.newest().where(or_(RunRow.id > self._newest, RunRow.id.in_(self._open)))
        for row in reversed(self._database.read(lambda session: list(session.scalars(query)))):
            for event in self._events(row):
                yield event, shapes.run(row, self._secret_keys)

    def _events(self, row: RunRow) -> Iterator[str]:
        before, ended = self._open.pop(row.id, None), row.status in runs.FINAL
        # What was MISSED or SKIPPED never fired; what ended between two looks did.
        if before is None and (row.published_at is not None or not ended):
            yield "fired"
        if row.status == "RETRY" != before:
            yield "retried"
        if ended:
            yield "ended"
        else:
            self._open[row.id] = row.status
        self._newest = max(self._newest, row.id)
