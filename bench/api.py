"""What a page of the API takes while the daemon fires: 10,000 schedules, 1,000,000 results, 200 fires a second.

    python bench/api.py [DATABASE_URL] [--results 1000000] [--schedules 10000] [--seconds 5] [--rate 50]

Needs Redis. By default on SQLite; a database that has as many results already is taken as it is (`--seconds 0` only fills
one). Asks for each list (a page of 50) at `rate` a second, then as fast as four connections can, with wrk where it is
installed, else from here. Prints a table, and how late occurrences were decided: while nobody asks, while somebody listens
to the live stream, while lists are asked for.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from place import RedisQueue
from sqlalchemy import func, insert, select

from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.store import schedules
from taskd.store.database import Database
from taskd.store.schema import upgrade
from taskd.store.tables import RunRow

FIRES = 200  # schedules that are due every second
LISTS = {
    "schedules": "/api/v1/scheduler/schedulers?size=50",
    "schedules, filtered": "/api/v1/scheduler/schedulers?size=50&name=99&sort=-next_run_at",
    "results": "/api/v1/result/results?size=50",
    "results of a status": "/api/v1/result/results?size=50&status=FAILURE",
    "results of a schedule": "/api/v1/result/results?size=50&schedule=idle-77",
    "metrics": "/metrics",
}


def fill(database: Database, count: int, results: int) -> None:
    """Idle schedules, and a history of theirs."""
    now = datetime.now(UTC)
    for start in range(0, count, 100):
        columns = {
            name: ScheduleSpec.read(
                {"name": name, "task": "taskd.tasks.demo.echo", "date": "2030-01-01T00:00"}, "UTC"
            ).columns()
            for name in (f"idle-{n}" for n in range(start, min(start + 100, count)))
        }
        database.write(
            lambda session, columns=columns: [
                schedules.create(session, uid_of(name), name, declared, schedules.Origin("api"), now)
                for name, declared in columns.items()
            ]
        )
    for start in range(0, results, 10_000):
        rows = [
            {
                "task_id": f"old-{n}", "task_name": "taskd.tasks.demo.echo", "kind": "schedule", "generation": 1,
                "status": "FAILURE" if n % 50 == 0 else "SUCCESS", "schedule_id": n % count + 1,
                "schedule_name": f"idle-{n % count}", "scheduled_for": now - timedelta(seconds=results - n),
                "completed_at": now - timedelta(seconds=results - n), "runtime": 0.1,
            }
            for n in range(start, start + 10_000)
        ]  # fmt: skip
        database.write(lambda session, rows=rows: session.execute(insert(RunRow), rows))
    if database.dialect == "postgresql":
        # As autovacuum would have by the time there are so many: counting is forty times slower without.
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE task_result, task_scheduler")


def lateness(database: Database, since: datetime) -> list[float]:
    """Seconds from due to decided, sorted."""
    query = select(RunRow.scheduled_for, RunRow.decided_at).where(RunRow.decided_at >= since)
    rows = database.read(lambda session: session.execute(query).all())
    return sorted((decided - due).total_seconds() for due, decided in rows)


@dataclass(frozen=True)
class Took:
    """How many a second, and milliseconds: half were quicker, 99 of 100, all."""

    rate: float
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, took: list[float], seconds: float) -> "Took":
        """Of milliseconds, sorted."""
        p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
        return cls(len(took) / seconds, statistics.median(took), p99, took[-1])

    def __str__(self) -> str:
        return f"{self.rate:,.0f} | {self.p50:.1f} | {self.p99:.1f} | {self.most:.1f}"


# wrk keeps no rate by itself: each connection pauses, for as long as it happens, so that all together ask so often if
# answers took no time, and not all at once.
SCRIPT = """
function delay() return math.random(0, %d) end
function done(summary, latency, requests)
    local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    io.stderr:write(string.format("[%%d, %%f, %%f, %%f, %%f]", wrong, summary.requests * 1e6 / summary.duration,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
"""


def by_wrk(url: str, seconds: float, connections: int, rate: float | None) -> Took:
    """Asked by wrk."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (2 * 1000 * connections / rate if rate else 0))
        script.flush()
        options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", script.name]
        done = subprocess.run(["wrk", *options, url], capture_output=True, text=True, check=True)
    wrong, *figures = json.loads(done.stderr)
    assert not wrong, done.stdout
    return Took(*figures)


async def ask(url: str, seconds: float, connections: int, rate: float | None) -> Took:
    """Asked from here: at `rate`, whether or not the last answer has come, or as fast as the connections can."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def one(client: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        async with client.get(url) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        took.append((time.perf_counter() - began) * 1000)

    async def go_on(client: aiohttp.ClientSession) -> None:
        while time.perf_counter() < until:
            await one(client)

    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as group:
        for _ in range(0 if rate else connections):
            group.create_task(go_on(client))
        for _ in range(int(seconds * rate) if rate else 0):
            group.create_task(one(client))
            await asyncio.sleep(1 / (rate or 1))
    return Took.of(sorted(took), seconds)


def measured(url: str, seconds: float, rate: float | None) -> Took:
    """By wrk where it is installed."""
    if shutil.which("wrk"):
        return by_wrk(url, seconds, int(rate) if rate else 4, rate)
    return asyncio.run(ask(url, seconds, 4, rate))


@contextmanager
def listening(url: str) -> Iterator[None]:
    """Somebody hears the live stream, and reads it."""
    with subprocess.Popen(["curl", "-sN", f"{url}/api/v1/events"], stdout=subprocess.DEVNULL) as listener:
        yield
        listener.terminate()


def main() -> None:
    """Fill, and ask a daemon."""
    options = argparse.ArgumentParser()
    options.add_argument("url", nargs="?")
    options.add_argument("--results", type=int, default=1_000_000)
    options.add_argument("--schedules", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--rate", type=float, default=50)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = given.url or f"sqlite:///{home}/taskd.db"
        database = Database(url)
        upgrade(database)
        if (database.read(lambda session: session.scalar(select(func.max(RunRow.id)))) or 0) < given.results:
            fill(database, given.schedules, given.results)
        if given.seconds:
            queue = RedisQueue()
            try:
                with daemon(home, url, queue) as address:
                    measure(database, address, given.seconds, given.rate)
            finally:
                queue.remove()
        database.close()


@contextmanager
def daemon(home: Path, url: str, queue: RedisQueue) -> Iterator[str]:
    """One that fires; where it answers."""
    (home / "schedules").mkdir()
    beats = "".join(f"  beat-{n}: {{task: taskd.tasks.demo.echo, interval: 1s}}\n" for n in range(FIRES))
    (home / "schedules/beats.yaml").write_text(f"schedules:\n{beats}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        **os.environ, "TASKD_DATABASE__URL": url, "TASKD_STATE_DIR": str(home / "state"),
        "TASKD_BROKER__URL": queue.url, "TASKD_BROKER__REDIS__PREFIX": queue.prefix,
        "TASKD_HTTP__BIND": f"127.0.0.1:{port}", "TASKD_SCHEDULES__PATHS": str(home / "schedules"),
    }  # fmt: skip
    command = [sys.executable, "-m", "taskd", "run"]
    process = subprocess.Popen(command, cwd=home, env=environ, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def measure(database: Database, address: str, seconds: float, rate: float) -> None:
    """Print all of it."""
    client, load = "wrk" if shutil.which("wrk") else "aiohttp", os.getloadavg()[0]
    print(f"{database.dialect}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, {client}\n")
    time.sleep(10)
    late = {"nobody asks": decided(database, 8)}
    with listening(address):
        time.sleep(10)
        late["somebody listens"] = decided(database, 8)
    print("| a page of 50 | asked | requests/s | p50 ms | p99 ms | most ms |\n|---|---|---|---|---|---|")
    for path in LISTS.values():  # connections are opened, statements prepared
        measured(address + path, 2, None)
    for name, path in LISTS.items():
        print(f"| {name} | {rate:.0f} a second | {measured(address + path, seconds, rate)} |", flush=True)
    late[f"asked {rate:.0f} times a second"] = decided(database, seconds * len(LISTS))
    for name, path in LISTS.items():
        print(f"| {name} | 4 at a time | {measured(address + path, seconds, None)} |", flush=True)
    late["asked by 4 all the time"] = decided(database, seconds * len(LISTS))
    print("\n| decided late, while | fires/s | p50 ms | p99 ms | most ms |\n|---|---|---|---|---|")
    for what, took in late.items():
        print(f"| {what} | {took} |")


def decided(database: Database, seconds: float) -> Took:
    """Of the last seconds: from due to decided."""
    took = lateness(database, datetime.now(UTC) - timedelta(seconds=seconds))
    return Took.of([1000 * value for value in took], seconds)


def wait_until_ready(port: int) -> None:
    """Until the daemon fires."""

    async def ready() -> bool:
        try:
            async with (
                aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
                client.get("/readyz") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    while not asyncio.run(ready()):
        time.sleep(0.2)


if __name__ == "__main__":
    main()
