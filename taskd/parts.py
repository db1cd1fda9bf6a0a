"""The daemon's own parts: its dispatching threads, the lease that they don't renew, and the heart that systemd hears."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from math import inf

from celery import Celery

from taskd import clock
from taskd.clock import waited
from taskd.dispatch.engine import Engine
from taskd.dispatch.leader import Leadership
from taskd.notify import notify, watchdog_interval
from taskd.store.database import Database

log = logging.getLogger("taskd.daemon")


class Dispatching:
    """The engine as a service: its threads are started, watched and stopped."""

    name = "dispatch"
    needs_lease = None

    def __init__(
        self, database: Database, app: Celery, leadership: Leadership, secret_keys: frozenset[str]
    ) -> None:
        self._make: Callable[[], Engine] = lambda: Engine(database, app, leadership, secret_keys)
        self._engine: Engine | None = None

    def wake(self) -> None:
        """There is something to dispatch. From any thread."""
        if self._engine is not None:
            self._engine.wake()

    def refusals(self) -> Mapping[str | None, str]:
        """Why messages wait, by queue; nothing where another process publishes."""
        return self._engine.refusals() if self._engine is not None else {}

    def publish_failures(self) -> int:
        """How many messages the broker has refused since the dispatcher was last started."""
        return self._engine.publish_failures() if self._engine is not None else 0

    def free_for(self) -> float:
        """Seconds until something is to be fired; 0 or less while it is."""
        return self._engine.free_for() if self._engine is not None else inf

    def heart_age(self) -> float:
        """Seconds since the dispatching thread last came round."""
        return self._engine.heart_age() if self._engine is not None else 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; a thread that died is an error, and the supervisor starts them anew."""
        engine = self._engine = self._make()
        engine.start()
        try:
            while not await waited(stop, 0.5):
                if not engine.alive():
                    raise RuntimeError("a dispatching thread has ended")
        finally:
            if not await asyncio.to_thread(engine.stop):
                log.error("the dispatcher didn't stop in time; its lease runs out by itself")


class LeaseKeeper:
    """Takes and renews a lease that nobody else's transactions renew often enough."""

    name = "lease"
    needs_lease = None

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._looked = clock.monotonic()

    def heart_age(self) -> float:
        """Seconds since it last began to look."""
        return clock.monotonic() - self._looked

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then the lease is given back."""
        try:
            while not stop.is_set():
                self._looked = clock.monotonic()
                await asyncio.to_thread(self._leadership.step, clock.monotonic())
                await waited(stop, self._leadership.ttl / 10)
        finally:
            await asyncio.to_thread(self._leadership.resign)


class Heart:
    """Feeds systemd's watchdog while `age` (seconds since the last sign of life) says that it lives, and only then.

    No sign for half the watchdog's time, and it isn't fed: systemd ends a daemon that stands still after at most
    one and a half times that time.
    """

    name = "heart"
    needs_lease = None

    def __init__(self, age: Callable[[], float]) -> None:
        self._age = age

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        interval = watchdog_interval()
        if interval is None:
            await stop.wait()
            return
        while not await waited(stop, interval):
            if self._age() < interval:
                notify("WATCHDOG=1")
