"""The 46 real-world schedules for real: the daemon, a worker, PostgreSQL, Redis, and the clock.

    python bench/real_world.py --minutes 10

Counts, by croniter and by arithmetic, what is due in the span, and holds the rows of task_result against it:
every due time one SUCCESS row, begun within a second. Needs PostgreSQL and Redis on their usual local ports.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles

from croniter import croniter
from redis import Redis
from sqlalchemy import create_engine, make_url, select, text

from taskd.schedule.crontab import resolve_hash
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.source.tree import Tree
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.tables import RunRow

HERE = Path(__file__).parent
FILES = HERE.parent / "tests" / "data" / "real-world"
SERVER = os.environ.get("TASKD_BENCH_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("TASKD_BENCH_REDIS_URL", "redis://127.0.0.1:6379/14")
NAME = f"taskd_bench_{os.getpid()}"


def due(spec: ScheduleSpec, start: datetime, end: datetime) -> list[datetime]:
    """The occurrences in (start, end], counted without taskd's evaluator."""
    if spec.interval_seconds:
        step = spec.interval_seconds
        first = int(start.timestamp()) // step + 1
        return [datetime.fromtimestamp(k * step, UTC) for k in range(first, int(end.timestamp()) // step + 1)]
    assert spec.crontab
    walk = croniter(resolve_hash(spec.crontab, str(uid_of(spec.name))), start)
    found = []
    while (at := walk.get_next(datetime)) <= end:
        found.append(at)
    return found


def configuration(home: Path, database: str) -> Path:
    """A taskd.yaml for this run alone."""
    queues = home / "taskd.yaml"
    queues.write_text(
        f"""
timezone: UTC
state_dir: {home / "state"}
schedules: {{paths: [{FILES}]}}
database: {{url: "{database}"}}
broker: {{kind: redis, url: "{REDIS}", redis: {{prefix: "{NAME}:"}}}}
celery: {{imports: [noop]}}
http: {{bind: "unix:{home / "api.sock"}"}}
"""
    )
    return queues


def start(home: Path, config: Path, name: str, *command: str) -> subprocess.Popen[bytes]:
    """A process of ours, its output in a file."""
    env = {**os.environ, "TASKD_CONFIG": str(config), "PYTHONPATH": str(HERE)}
    output = (home / f"{name}.log").open("wb")
    return subprocess.Popen([sys.executable, "-m", *command], env=env, stdout=output, stderr=output)


def measure(specs: list[ScheduleSpec], home: Path, database: Database, config: Path, minutes: float) -> bool:
    """Run for so long, report, and say whether all was as promised."""
    queues = ",".join(sorted({spec.queue or "celery" for spec in specs}))
    worker = start(
        home, config, "worker", "celery", "-A", "taskd.celery_app", "worker", "-c", "2", "-Q", queues
    )
    daemon = start(home, config, "daemon", "taskd", "run")
    try:
        time.sleep(15)  # both are up, all schedules are there
        begin = datetime.now(UTC)
        end = begin + timedelta(minutes=minutes)
        while (now := datetime.now(UTC)) < end + timedelta(seconds=5):
            print(f"\r{(end - now).total_seconds():6.0f} s to go", end="", file=sys.stderr, flush=True)
            time.sleep(1)
    finally:
        for process in (daemon, worker):
            process.terminate()
        codes = [process.wait(30) for process in (daemon, worker)]
    return report(specs, database, begin, end, codes)


def report(
    specs: list[ScheduleSpec], database: Database, begin: datetime, end: datetime, codes: list[int]
) -> bool:
    """Hold the rows against what was due."""
    expected = Counter((spec.name, at) for spec in specs for at in due(spec, begin, end))
    query = select(RunRow).where(RunRow.scheduled_for > begin, RunRow.scheduled_for <= end)
    rows = database.read(lambda session: list(session.scalars(query)))
    seen = Counter((row.schedule_name, row.scheduled_for) for row in rows if row.status == "SUCCESS")
    late = sorted(
        (row.started_at - row.scheduled_for).total_seconds()
        for row in rows
        if row.started_at and row.scheduled_for
    )
    cuts = quantiles(late, n=100)
    print(f"\n{len(specs)} schedules, {begin:%H:%M:%S} to {end:%H:%M:%S} UTC, exit codes {codes}")
    print(f"due {expected.total()}, SUCCESS {seen.total()}, other rows {len(rows) - seen.total()}")
    print(
        f"missing {sorted((expected - seen).elements())[:5]}, too many {sorted((seen - expected).elements())[:5]}"
    )
    print(f"begun after the due time: p50 {cuts[49]:.3f} s, p99 {cuts[98]:.3f} s, max {late[-1]:.3f} s")
    return expected == seen and late[-1] < 1.0 and codes == [0, 0]


def main() -> int:
    """Make a database, run, report, clean up."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--minutes", type=float, default=10)
    minutes = arguments.parse_args().minutes
    specs = [new.spec for file in Tree(FILES, "UTC").read().files.values() for new in file.schedules]
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {NAME}"))
    url = make_url(SERVER).set(database=NAME).render_as_string(hide_password=False)
    database = Database(url)
    try:
        schema.upgrade(database)
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            good = measure(specs, home, database, configuration(home, url), minutes)
            if not good:
                for log in home.glob("*.log"):
                    print(f"== {log.name}\n{log.read_text()[-3000:]}")
    finally:
        database.close()
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {NAME} WITH (FORCE)"))
        redis = Redis.from_url(REDIS)
        for key in redis.scan_iter(f"{NAME}:*"):
            redis.delete(key)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
