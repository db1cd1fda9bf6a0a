"""Adds up what charts need of the runs that have ended. A leader's service: it reads a minute, then writes it, fenced."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from taskd import clock
from taskd.clock import waited
from taskd.store import rollups
from taskd.store.fenced import Fenced

T = TypeVar("T")

PERIOD = 20.0  # seconds between looks
REST = 4  # times as long as a transaction took: after an upgrade there may be a long history, and no hurry


class RollingUp:
    """`kept`: seconds for which runs of each kind are there, None for ever."""

    name = "rolling up"
    needs_lease = "reconcile"

    def __init__(self, database: Fenced, *kept: int | None) -> None:
        self._database = database
        self._kept = min((timedelta(seconds=each) for each in kept if each is not None), default=None)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; raises Unavailable and LeaseLost."""
        looked = clock.now()
        while not stop.is_set():
            now = clock.now()
            while not stop.is_set() and await _rested(stop, partial(self.add_next, now)):
                pass
            for start in rollups.due_again(looked, now, self._kept):
                if not stop.is_set():
                    await _rested(stop, partial(self.make, start))
            looked = now
            await waited(stop, PERIOD)

    def add_next(self, now: datetime) -> bool:
        """Add up the next minute that is over. False: there is none."""
        minute = self._database.read(lambda session: rollups.next_minute(session, now))
        if minute is not None:
            self._database.write(lambda session: rollups.keep(session, minute))
        return minute is not None

    def make(self, start: datetime) -> None:
        """Add up a minute once more."""
        minute = self._database.read(lambda session: rollups.added_up(session, start))
        self._database.write(lambda session: rollups.keep(session, minute))


async def _rested(stop: asyncio.Event, work: Callable[[], T]) -> T:
    began = clock.monotonic()
    done = await asyncio.to_thread(work)
    await waited(stop, REST * (clock.monotonic() - began))
    return done
