"""Herds, steady load, start-up and the limits of the machine, beside the peers in one run: make bench

    python bench/herd.py --peers PYTHON [--herds 1000,10000,100000] [--minutes 2] [--only herds,steady]

Every schedule of a herd is due at the same minute; counted is until all messages stand in the broker, from outside,
with the daemon as a process of its own. The peers run in an environment of their own (PYTHON). Results, as a table and
as data, go to bench/results.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles

import failover
import limits
import place
from keeping import Herd, Results
from place import RabbitQueue, RedisQueue
from sqlalchemy import func, select

from taskd.schedule.spec import ScheduleSpec
from taskd.store.database import Database
from taskd.store.tables import RunRow

RESULTS = place.HERE / "results"
PEERS = ("celery beat", "django-celery-beat", "sqlalchemy-celery-beat", "redbeat", "APScheduler 3")
SLOW = 3000  # the most that the peers which look at every entry each tick are asked for
PATIENCE = 120.0  # seconds for a daemon's first fire
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def next_minute(at_least: float) -> datetime:
    """The first minute that is so many seconds away."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    while (minute - datetime.now(UTC)).total_seconds() < at_least:
        minute += timedelta(minutes=1)
    return minute


def minutely(n: int) -> list[ScheduleSpec]:
    """Schedules that are all due at every minute, each with its own arguments."""
    return [
        ScheduleSpec.read({"name": f"s{i}", "task": "noop", "crontab": "* * * * *", "args": [i]}, "UTC")
        for i in range(n)
    ]


@contextmanager
def working(home: Path, *, busy: bool) -> Iterator[None]:
    """A worker that runs what comes, recorded in the same database, or none."""
    if not busy:
        yield
        return
    command = [sys.executable, "-m", "celery", "-A", "taskd.celery_app", "worker", "-c", "1", "-l", "ERROR"]
    env = {"TASKD_CONFIG": str(home / "taskd.yaml"), "PYTHONPATH": str(place.HERE)}
    with place.process(home, "worker", command, **env):
        yield


def herd(kind: str, queue: RedisQueue | RabbitQueue, n: int, *, busy: bool = False) -> Herd:
    """One herd with a new database; with a busy worker, published rows count, for messages don't stay."""
    with tempfile.TemporaryDirectory() as folder, place.own_database(kind, Path(folder)) as url:
        home, specs = Path(folder), minutely(n)
        place.add_schedules(url, specs, datetime.now(UTC), next_minute(12 + n / 1500))
        minute = next_minute(8 + n / 800)  # enough to get ready, as between two of its minutes
        _set_due(url, minute)
        database = Database(url)
        with place.daemon(home, url, queue) as daemon, working(home, busy=busy):
            time.sleep(max(0.0, (minute - datetime.now(UTC)).total_seconds() - 0.3))
            cpu, deadline = cpu_seconds(daemon.pid), minute.timestamp() + 120
            while (sent(database, minute) if busy else queue.count()) < n and time.time() < deadline:
                time.sleep(0.25 if busy else 0.005)
            seconds = last_published(database, minute) if busy else time.time() - minute.timestamp()
            result = Herd(
                _name(kind, queue, busy=busy),
                n,
                seconds if time.time() < deadline else None,
                cpu_seconds(daemon.pid) - cpu,
            )
        database.close()
        if result.seconds is None:
            print((home / "daemon.log").read_text()[-2000:], file=sys.stderr)
        queue.remove()
        return result


def _name(kind: str, queue: RedisQueue | RabbitQueue, *, busy: bool) -> str:
    broker = "Redis" if isinstance(queue, RedisQueue) else "RabbitMQ"
    return f"taskd, {kind}, {broker}" + (", busy worker" if busy else "")


def _set_due(url: str, minute: datetime) -> None:
    from sqlalchemy import update

    from taskd.store.tables import ScheduleRow

    database = Database(url)
    moved = {"next_run_at": minute, "cursor_at": minute - timedelta(seconds=30)}
    database.write(lambda session: session.execute(update(ScheduleRow).values(moved)))
    database.close()


def sent(database: Database, minute: datetime) -> int:
    query = select(func.count()).where(RunRow.scheduled_for == minute, RunRow.published_at.is_not(None))
    return database.read(lambda session: session.execute(query).scalar_one())


def last_published(database: Database, minute: datetime) -> float | None:
    query = select(func.max(RunRow.published_at)).where(RunRow.scheduled_for == minute)
    last = database.read(lambda session: session.execute(query).scalar_one())
    return None if last is None else (last - minute).total_seconds()


def peer(python: Path, name: str, n: int) -> Herd:
    """One peer's herd."""
    queue = RedisQueue()
    try:
        command = [python, place.HERE / "peers.py", name, str(n), queue.url, queue.prefix]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}, {n}: {done.stderr[-600:]}", file=sys.stderr)
        seconds = None if done.returncode else float(done.stdout)
    finally:
        queue.remove()
    return Herd(name, n, seconds)


def steady(kind: str, n: int, every: int, minutes: float) -> dict[str, float]:
    """`n` schedules due every so many seconds, evenly spread over the seconds; lateness of the confirmations."""
    queue = RedisQueue()
    with tempfile.TemporaryDirectory() as folder, place.own_database(kind, Path(folder)) as url:
        home, now = Path(folder), datetime.now(UTC).replace(microsecond=0)
        specs = [
            ScheduleSpec.read(
                {
                    "name": f"s{i}",
                    "task": "noop",
                    "interval": f"{every}s",
                    "start_time": (now - timedelta(seconds=i % every)).isoformat(),
                },
                "UTC",
            )
            for i in range(n)
        ]
        place.add_schedules(url, specs, now, now + timedelta(seconds=1))
        with place.daemon(home, url, queue):
            time.sleep(45 + minutes * 60)
        database = Database(url)
        since = now + timedelta(seconds=40)  # the daemon has started, all that was late is sent
        query = select(RunRow.scheduled_for, RunRow.published_at).where(
            RunRow.scheduled_for > since, RunRow.published_at.is_not(None)
        )
        rows = database.read(lambda session: list(session.execute(query)))
        late = sorted((published - due).total_seconds() for due, published in rows)
        database.close()
    queue.remove()
    cuts = quantiles(late, n=100)
    span = (max(due for due, _ in rows) - min(due for due, _ in rows)).total_seconds() or 1
    return {"fires_per_second": len(late) / span, "p50": cuts[49], "p99": cuts[98], "max": late[-1]}


def large(kind: str, n: int) -> dict[str, float]:
    """Start to first fire, memory and idle CPU with `n` schedules, against a daemon with one."""
    figures: dict[str, float] = {}
    for count in (1, n):
        queue = RedisQueue()
        with tempfile.TemporaryDirectory() as folder, place.own_database(kind, Path(folder)) as url:
            home, far = Path(folder), datetime.now(UTC) + timedelta(days=1)
            soon = ScheduleSpec.read({"name": "soon", "task": "noop", "interval": "1s"}, "UTC")
            place.add_schedules(url, minutely(count), far - timedelta(minutes=1), far)
            began = datetime.now(UTC)
            place.add_schedules(url, [soon], began, began)
            start = time.monotonic()
            with place.daemon(home, url, queue) as daemon:
                while not queue.count():
                    if time.monotonic() > start + PATIENCE:
                        raise TimeoutError((home / "daemon.log").read_text()[-2000:])
                    time.sleep(0.02)
                figures[f"first_fire_{count}"] = time.monotonic() - start
                time.sleep(15)
                cpu = cpu_seconds(daemon.pid)
                time.sleep(20)
                figures[f"idle_cpu_percent_{count}"] = (cpu_seconds(daemon.pid) - cpu) / 20 * 100
                figures[f"memory_{count}"] = resident(daemon.pid)
        queue.remove()
    return figures


def parts(given: argparse.Namespace, results: Results) -> dict[str, Callable[[], None]]:
    """What can be measured, in this order."""
    sizes = [int(n) for n in given.herds.split(",")]
    herd_of_ten = min(sizes[-1], 10_000)

    def herds() -> None:
        for kind in ("sqlite", "postgresql"):
            for n in sizes:
                results.add(herd(kind, RedisQueue(), n))

    def peers() -> None:
        for name in given.peer_names.split(",") if given.peers else []:
            for n in map(int, given.peer_herds.split(",")):
                if n <= SLOW or name in {"redbeat", "APScheduler 3"}:
                    results.add(peer(given.peers.absolute(), name, n))

    return {
        "limits": lambda: results.note("limits", limits.measure()),
        "herds": herds,
        "busy": lambda: results.add(herd("sqlite", RedisQueue(), herd_of_ten, busy=True)),
        "rabbitmq": lambda: results.add(herd("sqlite", RabbitQueue(), herd_of_ten)),
        "peers": peers,
        "steady": lambda: results.note("steady", steady("sqlite", given.steady, 50, given.minutes)),
        "large": lambda: results.note("large", large("sqlite", sizes[-1])),
        "failover": lambda: results.note("failover", failover.measure("postgresql")),
    }


def main() -> int:
    """Part after part; one that fails is told, and the others go on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="the Python of the peers' environment")
    parser.add_argument("--herds", default="1000,10000,100000")
    parser.add_argument("--peer-herds", default="1000,3000,10000")
    parser.add_argument("--peer-names", default=",".join(PEERS))
    parser.add_argument("--steady", type=int, default=10_000, help="schedules of the steady load")
    parser.add_argument("--minutes", type=float, default=2, help="of steady load")
    parser.add_argument("--only", default="limits,herds,rabbitmq,busy,peers,steady,large,failover")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    given = parser.parse_args()
    only, failed = given.only.split(","), []
    for name, measure in parts(given, Results(given.results)).items():
        if name in only:
            try:
                measure()
            except Exception:  # noqa: BLE001  half an hour of other figures is to be had
                traceback.print_exc()
                failed.append(name)
    if given.peers:
        subprocess.run([given.peers.absolute(), place.HERE / "plot.py", given.results], check=True)
    print((given.results / "herd.md").read_text())
    print(f"failed: {', '.join(failed)}" if failed else "all measured")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
