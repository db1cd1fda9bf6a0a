"""The composition root: builds the parts, starts them in order, stops them in reverse.

Order      HTTP, then the dispatcher's threads, then what only a leader does: sweeping, reconciling
Ready      after the first pass as leader, or once another process is seen to lead
Ends       on SIGTERM or SIGINT: finish what is in flight, give the leases back, exit 0
"""

import asyncio
import logging
import signal
from collections.abc import Callable

from celery import Celery

from taskd import clock, logs
from taskd.celery_app import create_app
from taskd.config import Settings
from taskd.dispatch.engine import Engine
from taskd.dispatch.leader import Leadership, new_holder
from taskd.dispatch.sweeper import Sweeper
from taskd.http.exchange import Context
from taskd.http.server import HttpServer
from taskd.notify import notify, watchdog_interval
from taskd.reconcile.reconciler import Reconciler
from taskd.reconcile.render import as_json
from taskd.source.tree import Tree
from taskd.source.watcher import Watcher
from taskd.store import schema
from taskd.store.database import Database
from taskd.supervisor import Service, supervise, waited

STALLED = 30.0  # seconds without a heartbeat after which the dispatcher counts as dead
log = logging.getLogger("taskd.daemon")


def run(settings: Settings, *, dispatch: bool = True) -> int:
    """The daemon until a signal ends it; the exit code. Raises what a human must mend."""
    logs.set_up(settings)
    asyncio.run(_until_signalled(settings, dispatch=dispatch))
    return 0


async def _until_signalled(settings: Settings, *, dispatch: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, dispatch=dispatch, stop=stop)


async def serve(
    settings: Settings, *, dispatch: bool = True, stop: asyncio.Event, ready: Callable[[], None] | None = None
) -> None:
    """Run every part until `stop` is set. `ready` is called once the daemon does its work, or stands by."""
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database.pool_size)
    try:
        await asyncio.to_thread(schema.check, database)
        daemon = Daemon(settings, database, create_app(settings), dispatch=dispatch)
        await daemon.run(stop, ready)
    finally:
        notify("STOPPING=1")
        database.close()


class Daemon:
    """All parts of one process, and what they know of each other."""

    def __init__(self, settings: Settings, database: Database, app: Celery, *, dispatch: bool) -> None:
        self._settings, self._database, self._app = settings, database, app
        holder, ttl = new_holder(), settings.lease.ttl
        keys = frozenset(settings.redact.keys)
        self._reconcile_lease = Leadership(database, "reconcile", holder, ttl)
        self._dispatching = Dispatching(database, app, Leadership(database, "dispatch", holder, ttl), keys)
        self._reconciler = Reconciler(
            database,
            [Tree(path, settings.timezone) for path in settings.schedules.paths],
            poll=settings.schedules.poll,
            fence=self._reconcile_lease.fence,
            changed=self._dispatching.wake,
            secret_keys=keys,
        )
        self._dispatches = dispatch
        context = Context(
            settings=settings,
            database=database,
            app=app,
            wake=self._dispatching.wake,
            alive={"dispatcher": self._stalled},
            ready={"broker": self._broker_refuses, "dispatcher": self._stalled, "sources": self._first_pass},
            plan=lambda: as_json(self._reconciler.preview(), keys),
            sync=lambda: as_json(self._reconciler.one_pass().plan, keys),
        )
        self._http = HttpServer(context)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] | None) -> None:
        """Every part, until `stop`."""
        leads = {"reconcile": lambda: self._reconcile_lease.leads(clock.monotonic())}
        services: list[Service] = [
            self._http,
            *([self._dispatching] if self._dispatches else []),
            LeaseKeeper(self._reconcile_lease),
            Sweeper(self._database, self._reconcile_lease.fence),
            Watcher(self._settings.schedules.paths, self._reconciler.wake, self._settings.schedules.poll),
            self._reconciler,
            Heart(lambda: self._stalled() is None),
        ]
        telling = asyncio.create_task(self._tell_when_ready(ready))
        try:
            await supervise(services, leads, stop)
        finally:
            telling.cancel()

    async def _tell_when_ready(self, ready: Callable[[], None] | None) -> None:
        while self._first_pass() is not None:  # noqa: ASYNC110  it has two causes, of other parts
            await asyncio.sleep(0.05)
        role = "leading" if self._reconcile_lease.leads(clock.monotonic()) else "standing by"
        log.info("ready, %s", role)
        notify("READY=1", f"STATUS={role}")
        if ready is not None:
            ready()

    def _stalled(self) -> str | None:
        stalled = self._dispatches and self._dispatching.heart_age() > STALLED
        return "the dispatcher has stalled" if stalled else None

    def _broker_refuses(self) -> str | None:
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=3)
        except Exception as error:  # noqa: BLE001  every transport has its own
            return f"the broker can't be reached: {error}"
        return None

    def _first_pass(self) -> str | None:
        stands_by = self._reconcile_lease.held_by_another
        return None if stands_by or self._reconciler.passed_once.is_set() else "the first pass isn't done"


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

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then the lease is given back."""
        try:
            while not stop.is_set():
                await asyncio.to_thread(self._leadership.step, clock.monotonic())
                await waited(stop, self._leadership.ttl / 10)
        finally:
            await asyncio.to_thread(self._leadership.resign)


class Heart:
    """Feeds systemd's watchdog while the dispatcher lives, and only then."""

    name = "heart"
    needs_lease = None

    def __init__(self, alive: Callable[[], bool]) -> None:
        self._alive = alive

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        interval = watchdog_interval() or 60.0
        while not await waited(stop, interval):
            if self._alive():
                notify("WATCHDOG=1")
