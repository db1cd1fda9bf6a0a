"""Adds up what charts need of the runs that have ended. A leader's service: a minute of them a transaction, each fenced."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from taskd import clock
from taskd.clock import waited
from taskd.store import rollups
from taskd.store.database import Database

T = TypeVar("T")

PERIOD = 20.0  # seconds between looks
REST = 4  # times as long as a transaction took: after an upgrade there may be a long history, and no hurry


class RollingUp:
    """`kept`: seconds for which runs of each kind are there, None for ever. `fence` ends each transaction."""

    name = "rolling up"
    needs_lease = "reconcile"

    def __init__(self, database: Database, fence: Callable[[Session], object], *kept: int | None) -> None:
        self._database, self._fence = database, fence
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
        return self._fenced(lambda session: rollups.add_next(session, now))

    def make(self, start: datetime) -> None:
        """Add up a minute once more."""
        self._fenced(lambda session: rollups.make(session, start))

    def _fenced(self, work: Callable[[Session], T]) -> T:
        def write(session: Session) -> T:
            done = work(session)
            self._fence(session)
            return done

        return self._database.write(write)


async def _rested(stop: asyncio.Event, work: Callable[[], T]) -> T:
    began = clock.monotonic()
    done = await asyncio.to_thread(work)
    await waited(stop, REST * (clock.monotonic() - began))
    return done
