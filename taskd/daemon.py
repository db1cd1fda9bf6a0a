"""The composition root: builds the parts, starts them in order, stops them in reverse.

Order      HTTP, then the dispatcher's threads, then what only a leader does: sweeping, reconciling
Ready      after the first pass as leader, or once another process is seen to lead
Reloads    on SIGHUP: the schedule files are read, settings that wait for a restart are named
Ends       on SIGTERM or SIGINT: finish what is in flight, give the leases back, exit 0
"""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from celery import Celery

from taskd import clock, garbage, logs
from taskd.celery_app import create_app
from taskd.clock import waited
from taskd.config import Settings
from taskd.courtesy import RightOfWay
from taskd.dispatch.evidence import Evidence
from taskd.dispatch.leader import Leadership, new_holder
from taskd.dispatch.rerunning import Reruns
from taskd.dispatch.retention import Retention
from taskd.dispatch.rolling import RollingUp
from taskd.dispatch.sweeper import Sweeper
from taskd.errors import Unavailable
from taskd.http.exchange import Context, Part
from taskd.http.gathering import Gathering
from taskd.http.metrics import InProcess, Metrics
from taskd.http.server import HttpServer
from taskd.notify import notify
from taskd.parts import Dispatching, Heart, LeaseKeeper
from taskd.reconcile.answer import plan_answer
from taskd.reconcile.plan import Plan
from taskd.reconcile.reconciler import Consent, Reconciler
from taskd.reload import Reloading
from taskd.source.tree import Tree
from taskd.source.watcher import Watcher
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.supervisor import Service, supervise

STALLED = 30.0  # seconds without a heartbeat after which the dispatcher counts as dead
SWITCH = 0.0002  # seconds: a thread that fires waits so long, after each answer of the database, for one that computes
LEADER_S_PASS = 20.0  # seconds beyond its poll for another process to apply what is in the files
log = logging.getLogger("taskd.daemon")


def run(settings: Settings, *, reread: Callable[[], Settings], dispatch: bool = True) -> int:
    """The daemon until a signal ends it; the exit code. Raises what a human must mend.

    `reread` gives the settings anew, or raises ConfigError.
    """
    logs.set_up(settings)
    sys.setswitchinterval(SWITCH)
    garbage.leave_what_is_there()
    asyncio.run(_until_signalled(settings, reread, dispatch=dispatch))
    return 0


async def _until_signalled(settings: Settings, reread: Callable[[], Settings], *, dispatch: bool) -> None:
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    await serve(settings, dispatch=dispatch, stop=stop, reload=(reload, reread))


async def serve(
    settings: Settings,
    *,
    dispatch: bool = True,
    stop: asyncio.Event,
    ready: Callable[[], None] | None = None,
    reload: tuple[asyncio.Event, Callable[[], Settings]] | None = None,
) -> None:
    """Run every part until `stop` is set. `ready` is called once the daemon does its work, or stands by.

    `reload`: what is set to ask for it, and what gives the settings anew.
    """
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database.pool_size)
    try:
        await asyncio.to_thread(schema.check, database)
        daemon = Daemon(settings, database, create_app(settings), dispatch=dispatch)
        await daemon.run(stop, ready, reload)
    finally:
        database.close()


class Daemon:
    """All parts of one process, and what they know of each other."""

    def __init__(self, settings: Settings, database: Database, app: Celery, *, dispatch: bool) -> None:
        self._settings, self._database, self._app = settings, database, app
        holder, ttl = new_holder(), settings.lease.ttl
        keys = self._secret_keys = frozenset(settings.redact.keys)
        self._reconcile_lease = Leadership(database, "reconcile", holder, ttl)
        self._dispatch_lease = Leadership(database, "dispatch", holder, ttl)
        self._dispatching = Dispatching(database, app, self._dispatch_lease, keys)
        way = RightOfWay(self._dispatching.free_for)
        self._reconciler = Reconciler(
            database,
            [Tree(path, settings.timezone, way.give) for path in settings.schedules.paths],
            poll=settings.schedules.poll,
            fence=self._reconcile_lease.fence,
            changed=self._dispatching.wake,
            secret_keys=keys,
            guard=settings.schedules.prune_guard,
            way=way,
        )
        self._dispatches = dispatch
        metrics = Metrics(schedule_label=settings.metrics.schedule_label, own=self._in_process())
        self._gathering = Gathering(metrics, database, app, RightOfWay(self._dispatching.free_for))
        context = Context(
            settings=settings,
            database=database,
            app=app,
            wake=self._dispatching.wake,
            alive={"dispatcher": self._stalled},
            ready={
                "broker": self._broker_refuses,
                "clock": lambda: self._reconcile_lease.clock_is_wrong,
                "dispatcher": self._stalled,
                "sources": self._first_pass,
            },
            metrics=metrics.text,
            observe=metrics.observe,
            parts=self._parts,
            clock_is_wrong=lambda: self._reconcile_lease.clock_is_wrong,
            plan=lambda: plan_answer(database, self._reconciler.preview(), keys),
            sync=lambda consent: plan_answer(database, self._pass(consent), keys),
        )
        self._http = HttpServer(context)
        self._lease_keeper = LeaseKeeper(self._reconcile_lease)

    async def run(
        self,
        stop: asyncio.Event,
        ready: Callable[[], None] | None,
        reload: tuple[asyncio.Event, Callable[[], Settings]] | None,
    ) -> None:
        """Every part, until `stop`."""
        leads = {"reconcile": lambda: self._reconcile_lease.leads(clock.monotonic())}
        led = Fenced(self._database, self._reconcile_lease.fence)
        services: list[Service] = [
            self._http,
            *([self._dispatching] if self._dispatches else []),
            self._lease_keeper,
            self._gathering,
            Sweeper(
                led,
                Reruns(self._app, self._secret_keys),
                self._dispatching.refusals,
            ),
            Retention(
                led,
                events=self._settings.events.keep,
                results=self._settings.results.keep,
                failed=self._settings.results.keep_failed,
            ),
            RollingUp(led, self._settings.results.keep, self._settings.results.keep_failed),
            Evidence(led, self._app, self._dispatching.wake, RightOfWay(self._dispatching.free_for)),
            Watcher(self._settings.schedules.paths, self._reconciler.wake, self._settings.schedules.poll),
            self._reconciler,
            Heart(self._heart_age),
            *([Reloading(reload[0], self._settings, reload[1], self._pass)] if reload else []),
        ]
        telling = asyncio.create_task(self._tell(stop, ready))
        try:
            await supervise(services, leads, stop)
        finally:
            telling.cancel()

    def _pass(self, consent: Consent | None = None) -> Plan:
        """A pass that begins now. Where another process leads, it makes it: over once the table is as the files say.

        What an operator allows, the leader must be told.
        """
        if self._reconcile_lease.leads(clock.monotonic()) or not self._reconcile_lease.held_by_another:
            passed = self._reconciler.one_pass(consent) if consent else self._reconciler.pass_from_now()
            return passed.plan
        if consent is not None:
            raise Unavailable("this taskd stands by: ask the one that leads, with --url")
        patience = clock.monotonic() + self._settings.schedules.poll + LEADER_S_PASS
        while (plan := self._reconciler.preview()).writes:
            if clock.monotonic() > patience:
                raise Unavailable("another process leads, and hasn't applied what the files here say")
            time.sleep(0.5)
        return plan

    async def _tell(self, stop: asyncio.Event, ready: Callable[[], None] | None) -> None:
        """Tell systemd, and who waits for `ready`: that it does its work, in which role, that it ends."""
        while self._first_pass() is not None and not await waited(stop, 0.05):
            pass
        if not stop.is_set():
            log.info("ready, %s", self._role())
            notify("READY=1", f"STATUS={self._role()}")
            if ready is not None:
                ready()
        told = self._role()
        while not await waited(stop, 1.0):
            if self._role() != told:
                told = self._role()
                notify(f"STATUS={told}")
        notify("STOPPING=1", "STATUS=stopping")

    def _role(self) -> str:
        return "leading" if self._reconcile_lease.leads(clock.monotonic()) else "standing by"

    def _parts(self) -> dict[str, Part]:
        seconds = clock.monotonic()

        def part(lease: Leadership) -> Part:
            return Part("leader" if lease.leads(seconds) else "standby", lease.age(seconds))

        reconcile = {"reconcile": part(self._reconcile_lease)}
        return reconcile | ({"dispatch": part(self._dispatch_lease)} if self._dispatches else {})

    def _in_process(self) -> InProcess:
        """What the metrics ask this process at a scrape."""
        leases = {"dispatch": self._dispatch_lease, "reconcile": self._reconcile_lease}
        return InProcess(
            tick_age=self._dispatching.heart_age,
            publish_failures=self._dispatching.publish_failures,
            last_pass=lambda: at.timestamp() if (at := self._reconciler.last_success) else 0.0,
            leads={name: partial(_leads, lease) for name, lease in leases.items()},
        )

    def _stalled(self) -> str | None:
        if self._heart_age() <= STALLED:
            return None
        return "the dispatcher has stalled" if self._dispatches else "nobody looks at the lease any more"

    def _heart_age(self) -> float:
        """Of what must never stop: deciding, or on a standby, and where another process decides, polling the lease."""
        return (self._dispatching if self._dispatches else self._lease_keeper).heart_age()

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


def _leads(lease: Leadership) -> bool:
    return lease.leads(clock.monotonic())
