"""What recording adds to a task that does nothing, beside Celery's own backends and django-celery-results: make bench

    python bench/recording.py --peers PYTHON [--tasks 3000] [--rounds 3] [--only sqlite,postgresql]

A worker (prefork, 2 children, Redis) finds the messages there. Each is acknowledged once its run has ended and is
recorded, so the time is from the first of the counted messages to the last acknowledgement, seen from outside; the
WARM_UP messages before them aren't counted. Everybody has the same worker settings, a database of its own, and the
median of its rounds. Processor time is that of the worker's processes, without the database's; on a machine that has
other things to do it says more than the clock. Results go to bench/results/recording.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

import place
from celery import Celery
from herd import cpu_seconds
from place import RedisQueue
from redis import Redis
from sqlalchemy import insert

from taskd.store.claims import RUN_HEADER
from taskd.store.database import Database
from taskd.store.tables import RunRow

WARM_UP = 200  # messages: imports, first connections, compiled statements
PATIENCE = 600.0  # seconds
RESULTS = place.HERE / "results" / "recording.md"


@dataclass(frozen=True)
class Contender:
    """Who records, and where; `kind` is what recorded.py knows it by."""

    name: str
    kind: str
    database: str | None = None

    @property
    def is_peer(self) -> bool:
        """Whether it is run by the peers' Python."""
        return not self.kind.startswith("taskd")


def contenders(databases: list[str]) -> list[Contender]:
    """All of them, in the order of the table."""
    found = [Contender("Celery, no backend", "none")]
    for database in databases:
        found += [
            Contender("Celery's database backend", "celery", database),
            Contender("django-celery-results", "django", database),
            Contender("taskd, ad hoc calls", "taskd adhoc", database),
            Contender("taskd, a schedule's runs", "taskd decided", database),
        ]
    return found


@dataclass(frozen=True)
class Cost:
    """Of a task, in milliseconds: by the clock, and of the worker's processor time."""

    wall: float
    cpu: float


def measure(contender: Contender, python: Path, tasks: int) -> Cost:
    """What a task costs."""
    queue = RedisQueue()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            with place.own_database(contender.database or "sqlite", home) as url:
                environ = {
                    "BENCH_KIND": contender.kind,
                    "BENCH_DATABASE": url,
                    "BENCH_BROKER": queue.url,
                    "BENCH_PREFIX": queue.prefix,
                    "TASKD_DATABASE__URL": url,
                    "TASKD_STATE_DIR": str(home / "state"),
                    "PYTHONPATH": str(place.HERE),
                }
                command = [
                    str(python if contender.is_peer else sys.executable),
                    "-m",
                    "celery",
                    "-A",
                    "recorded",
                ]
                _make_tables(contender, command[0], environ)
                publish(queue, url, tasks + WARM_UP, decided=contender.kind == "taskd decided")
                command += ["worker", "-c", "2", "-l", "ERROR", "--without-gossip", "--without-mingle"]
                with place.process(home, "worker", command, **environ) as worker:
                    return _cost(queue, tasks, worker.pid, home / "worker.log")
        finally:
            queue.remove()


def _make_tables(contender: Contender, python: str, environ: dict[str, str]) -> None:
    if contender.kind == "django":
        whole = {**os.environ, **environ, "BENCH_MIGRATE": "yes"}
        subprocess.run([python, "-c", "import recorded"], env=whole, check=True)


def publish(queue: RedisQueue, url: str, count: int, *, decided: bool) -> None:
    """The messages; with the rows that the dispatcher would have written for decided runs."""
    ids = [str(uuid4()) for _ in range(count)]
    headers = {RUN_HEADER: {"schedule": "s", "scheduled_for": None, "kind": "schedule"}} if decided else {}
    if decided:
        row = {"task_name": "noop", "status": "PENDING", "kind": "schedule", "args": [], "kwargs": {}}
        rows = [{"task_id": task_id, "root_id": task_id, **row} for task_id in ids]
        database = Database(url)
        database.write(lambda session: session.execute(insert(RunRow), rows))
        database.close()
    with Celery("publisher", broker=queue.url, set_as_current=False) as app:
        app.conf.broker_transport_options = {"global_keyprefix": queue.prefix}
        with app.producer_pool.acquire() as producer:
            for task_id in ids:
                app.send_task("noop", task_id=task_id, headers=dict(headers), producer=producer)


def _cost(queue: RedisQueue, tasks: int, worker: int, log: Path) -> Cost:
    """From when only the counted messages are left to when none is."""
    redis, deadline = Redis.from_url(queue.url), time.monotonic() + PATIENCE
    began = cpu = 0.0
    while time.monotonic() < deadline:
        left = queue.count() + int(redis.hlen(f"{queue.prefix}unacked"))  # type: ignore[arg-type]
        if not began and left <= tasks:
            began, cpu = time.monotonic(), cpu_of_all(worker)
        if began and not left:
            each = 1000 / tasks
            return Cost((time.monotonic() - began) * each, (cpu_of_all(worker) - cpu) * each)
        time.sleep(0.005)
    raise SystemExit(f"not done after {PATIENCE:g} s: {log.read_text()[-2000:]}")


def cpu_of_all(pid: int) -> float:
    """Processor seconds of a process and its children until now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


def table(costs: dict[Contender, list[Cost]]) -> str:
    """As Markdown: what each adds to no backend, and how much that is of what Celery's adds on the same database."""
    known = {
        (who.kind, who.database): Cost(median(one.wall for one in found), median(one.cpu for one in found))
        for who, found in costs.items()
    }
    bare = known["none", None]
    lines = [
        "| records | database | tasks/s | adds, ms | of Celery's | processor, ms | adds | of Celery's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for who in costs:
        cost, celerys = known[who.kind, who.database], known.get(("celery", who.database))
        cells = [who.name, who.database or "–", f"{1000 / cost.wall:,.0f}"]
        cells += _added(cost.wall, bare.wall, celerys and celerys.wall)
        cells += [f"{cost.cpu:.2f}", *_added(cost.cpu, bare.cpu, celerys and celerys.cpu)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _added(cost: float, bare: float, celerys: float | None) -> list[str]:
    share = f"{(cost - bare) / (celerys - bare):.0%}" if celerys else "–"
    return [f"{cost - bare:.2f}" if celerys else "–", share]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, required=True, help="the Python of the peers' environment")
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="sqlite,postgresql", help="databases")
    parser.add_argument("--kinds", default="none,celery,django,taskd adhoc,taskd decided")
    given = parser.parse_args()
    load, kinds = os.getloadavg(), given.kinds.split(",")
    costs: dict[Contender, list[Cost]] = {}
    for number in range(given.rounds):
        for who in contenders(given.only.split(",")):
            if who.kind in kinds:
                cost = measure(who, given.peers.absolute(), given.tasks)
                costs.setdefault(who, []).append(cost)
                print(f"round {number + 1}: {who.name}, {who.database or '-'}: {cost}", flush=True)
    if "none" in kinds:
        print(table(costs))
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        told = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, load {load} to {os.getloadavg()}"
        RESULTS.write_text(
            f"{told}\n\n{given.tasks:,} no-op tasks, median of {given.rounds} rounds\n\n{table(costs)}\n"
        )


if __name__ == "__main__":
    main()
