"""`dev`: the front door. The daemon in this process, a worker beside it, and what they do on the screen."""

import asyncio
import logging
import os
import signal
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

import click
from sqlalchemy import func, select

import taskd
from taskd import daemon
from taskd.celery_app import create_app
from taskd.cli import output
from taskd.cli.client import Client
from taskd.cli.consent import Consent
from taskd.cli.database import opened
from taskd.cli.invocation import Command, Invocation
from taskd.cli.livelog import LiveLog
from taskd.cli.programs import celery_command
from taskd.cli.queues import Queues
from taskd.cli.screen import LogLines, People, Programs
from taskd.cli.settings import hand_on_config, settings_of
from taskd.cli.ways import at_socket
from taskd.cli.worker_process import WorkerProcess
from taskd.config import Settings, masked
from taskd.errors import Unavailable
from taskd.schedule.zones import zone
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.tables import RunRow, ScheduleRow

_FIRST = """\
schedules:
  hello:
    task: taskd.tasks.demo.echo
    interval: 5s
    args: [hello, world]
"""


@click.command(cls=Command, shared=("config", "json"))
@click.pass_obj
def dev(invocation: Invocation) -> None:
    """Everything on one machine with no server: the daemon, a worker, and a live log of what fires.

    Needs no configuration: state goes to ./.taskd, schedules come from ./schedules. Edit a file there and watch.
    Ctrl-C stops all of it.

    \b
    Examples:
      taskd dev
      taskd -c taskd.yaml dev
      taskd dev --json | jq -r 'select(.event == "ended") | .run.status'
    """
    settings = settings_of(invocation)
    hand_on_config(invocation)
    screen = Programs() if invocation.json else People(zone(settings.timezone))
    held = _hold_log(LogLines(screen))
    with opened(settings) as database:
        schema.upgrade(database)
        _make_first_folder(settings, database)
        live_log = LiveLog(database, screen, settings.redact.keys)
        asking = not invocation.json and sys.stdin.isatty() and sys.stderr.isatty()
        asyncio.run(_all(settings, database, live_log, held, asking=asking))


async def _all(
    settings: Settings, database: Database, live_log: LiveLog, held: MemoryHandler, *, asking: bool
) -> None:
    """The daemon; once it is ready, the worker and the live log. When one ends all end, the log last."""
    stop, ready, quiet = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _hang_up, stop)
    working = [asyncio.create_task(daemon.serve(settings, stop=stop, ready=ready.set))]
    starting = asyncio.create_task(ready.wait())
    await asyncio.wait({*working, starting}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    following = []
    if ready.is_set():
        _welcome(settings, database)
        held.flushLevel = logging.NOTSET  # from here on at once
        held.flush()
        queues = Queues(create_app(settings), database)
        worker = _worker(settings, database, queues)
        working += [asyncio.create_task(service.run(stop)) for service in (worker, queues)]
        following.append(asyncio.create_task(live_log.run(quiet)))
        if asking:
            client = Client(at_socket(settings.socket_path))
            following.append(asyncio.create_task(Consent(database, client, sys.stdin.fileno()).run(quiet)))
        await asyncio.wait([*working, *following], return_when=asyncio.FIRST_COMPLETED)
        output.say("stopping")
    stop.set()
    await asyncio.wait(working)
    quiet.set()
    await asyncio.gather(*working, *following)


def _hang_up(stop: asyncio.Event) -> None:
    """The terminal was closed: writing to it would fail, and stopping has things to say."""
    stop.set()
    with Path(os.devnull).open("w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())


def _worker(settings: Settings, database: Database, queues: Queues) -> WorkerProcess:
    def command() -> list[str]:
        options = ["--queues", ",".join(queues.all()), "--without-mingle", "--without-gossip"]
        return [*celery_command("worker", "INFO"), *options]

    return WorkerProcess(command, settings.state_dir / "worker.log", lambda: _busy(database))


def _make_first_folder(settings: Settings, database: Database) -> None:
    """On the first start only: later, a folder that isn't there must not look like one without schedules."""
    first = settings.schedules.paths[0]
    if not first.exists() and not _count(database):
        first.mkdir(parents=True)


def _count(database: Database) -> int:
    living = select(func.count()).select_from(ScheduleRow).where(ScheduleRow.deleted_at.is_(None))
    return database.read(lambda session: session.execute(living).scalar_one())


def _busy(database: Database) -> bool:
    """Whether a task is under way."""
    begun = select(RunRow.id).where(RunRow.status == "STARTED").limit(1)
    try:
        return database.read(lambda session: session.scalar(begun)) is not None
    except Unavailable:  # then nobody knows, and it gets its time
        return True


def _hold_log(handler: logging.Handler) -> MemoryHandler:
    """Warnings of everyone, what the files change and what the worker does about it; held until it is flushed."""
    held = MemoryHandler(10_000, logging.CRITICAL + 1, handler)
    logging.basicConfig(level=logging.WARNING, handlers=[held], force=True)
    for name in ("taskd.reconcile", "taskd.dev"):
        logging.getLogger(name).setLevel(logging.INFO)
    return held


def _welcome(settings: Settings, database: Database) -> None:
    """Where to look. On stderr: it isn't part of the log."""
    address = settings.http.bind
    places = {
        "api": address if address.startswith("unix:") else f"http://{address}/api/v1/scheduler/schedulers",
        "socket": output.near(settings.socket_path),
        "state": f"{output.near(settings.state_dir)} (worker.log is there)",
        "database": masked(settings.database_url.get_secret_value()),
        "broker": masked(settings.broker_url.get_secret_value()),
        "schedules": ", ".join(map(output.near, settings.schedules.paths)),
        "time zone": settings.timezone,
    }
    output.say(f"taskd {taskd.__version__}. Ctrl-C stops everything.\n")
    for what, where in places.items():
        output.say(f"  {what:10} {where}")
    output.say("")
    if not _count(database):
        file = settings.schedules.paths[0] / "hello.yaml"
        output.say(
            f"There are no schedules yet. Write this to {output.near(file)}; it is in force within two seconds:\n"
        )
        output.say(_FIRST)
