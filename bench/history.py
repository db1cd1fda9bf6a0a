"""A day of runs at 100 a second, 8.6 million rows: pages, filters, stats, and a purge beside recording: make bench

    python bench/history.py [--rows 8640000]

PostgreSQL makes the rows itself, in a database of their own that goes with the benchmark. Each question is asked of the
API's own handlers' queries, ROUNDS times; told is the median and the slowest. Results go to bench/results/history.md.
"""

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

import place
from sqlalchemy import text

from taskd.dispatch.rolling import RollingUp
from taskd.store import attempts, retention, run_pages, stats
from taskd.store.claims import Call, Outcome, Start
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.run_pages import RunFilter

ROUNDS = 7
DAY = datetime(2026, 3, 1, tzinfo=UTC)
RESULTS = place.HERE / "results" / "history.md"
# 500 schedules, 20 tasks, 4 workers; one in 200 fails, one in 1000 is missed. A minute at the end of the day is active.
FILL = """
INSERT INTO task_result (task_id, task_name, status, result, args, kwargs, started_at, completed_at, runtime, worker,
    schedule_id, schedule_name, scheduled_for, kind, decided_at, published_at, generation, claim, queue, root_id)
SELECT u, 'shop.task_' || n % 20,
    CASE WHEN n > :active THEN 'PENDING' WHEN n % 1000 = 7 THEN 'MISSED' WHEN n % 200 = 3 THEN 'FAILURE' ELSE 'SUCCESS' END,
    '{"n": 1}', '[]', '{}', CASE WHEN n <= :active THEN at + interval '0.2 s' END,
    CASE WHEN n <= :active THEN at + interval '1.5 s' END, n % 97 / 10.0, 'celery@host' || n % 4,
    n % 500, 'schedule ' || n % 500, at, 'schedule', at, at, 0, 'i.' || n, CASE WHEN n % 50 = 0 THEN 'slow' ELSE 'celery' END, u
FROM (SELECT n, md5(n::text) AS u, CAST(:day AS timestamptz) + n * interval '86400 s' / :rows AS at
      FROM generate_series(CAST(:first AS bigint), :last) AS n) AS numbered
"""


INDEXES = """
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid), conname FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid
WHERE indrelid = 'task_result'::regclass AND NOT indisprimary
"""


def fill(database: Database, rows: int) -> None:
    """Commit half a million at a time, and make the indexes once they are there."""
    with database.engine.begin() as connection:
        indexes = connection.execute(text(INDEXES)).all()
        for name, _, constraint in indexes:
            drop = (
                f"ALTER TABLE task_result DROP CONSTRAINT {constraint}"
                if constraint
                else f"DROP INDEX {name}"
            )
            connection.execute(text(drop))
    for first in range(1, rows + 1, 500_000):
        last = min(rows, first + 499_999)
        values = {"first": first, "last": last, "rows": rows, "active": rows - 6000, "day": DAY}
        with database.engine.begin() as connection:
            connection.execute(text(FILL), values)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _, definition, _ in indexes:
            connection.execute(text(definition))
        connection.execute(text("VACUUM ANALYZE task_result"))


def add_up(database: Database) -> int:
    """What the daemon that leads does minute by minute, to the end of the day less its delay; how many minutes."""
    minutes, end = 0, DAY + timedelta(days=1)
    rolling_up = RollingUp(Fenced(database, lambda _session: None))
    while rolling_up.add_next(end):
        minutes += 1
    return minutes


def questions(rows: int) -> dict[str, Callable[[Database], object]]:
    """What the API asks; by what a user would call it."""
    end, hour = DAY + timedelta(days=1), timedelta(hours=1)

    def page(**how: object) -> Callable[[Database], object]:
        place_ = {key: how.pop(key) for key in ("before", "after", "offset") if key in how}
        wanted = RunFilter(**how)  # type: ignore[arg-type]
        return lambda database: database.read(
            lambda session: run_pages.page(session, wanted, limit=50, **place_)  # type: ignore[arg-type]
        )

    def buckets(
        since: datetime, each: timedelta, schedule: int | None = None
    ) -> Callable[[Database], object]:
        edges = [since]
        while edges[-1] < end:
            edges.append(edges[-1] + each)
        return lambda database: database.read(lambda session: stats.buckets(session, edges, schedule))

    return {
        "the newest page": page(),
        "from a cursor in the middle": page(before=rows // 2),
        "page 20": page(offset=950),
        "of a schedule": page(schedule=77),
        "failures": page(statuses=["FAILURE"]),
        "failures of a schedule": page(schedule=203, statuses=["FAILURE"]),
        "failures of a schedule that has none": page(schedule=77, statuses=["FAILURE"]),
        "of a task": page(task_name="shop.task_3"),
        "failures of a task": page(task_name="shop.task_3", statuses=["FAILURE"]),
        "of a queue": page(queue="slow"),
        "of a queue that has none": page(queue="none"),
        "of a worker": page(worker="celery@host2"),
        "of a worker that has none": page(worker="celery@gone"),
        "of a kind that has none": page(kind="manual"),
        "by root id": page(root_id="c4ca4238a0b923820dcc509a6f75849b"),
        "an hour at noon": page(since=DAY + 12 * hour, until=DAY + 13 * hour),
        "failures of an hour at noon": page(
            statuses=["FAILURE"], since=DAY + 12 * hour, until=DAY + 13 * hour
        ),
        "stats of the day by the hour": buckets(DAY, hour),
        "stats of the last hour by the minute": buckets(end - hour, timedelta(minutes=1)),
        "stats of a schedule, the day by the hour": buckets(DAY, hour, 77),
    }


def ask(database: Database, question: Callable[[Database], object]) -> tuple[float, float]:
    """Milliseconds: median and slowest, once it has been asked before."""
    question(database)
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        question(database)
        took.append((time.perf_counter() - began) * 1000)
    return median(took), max(took)


@contextmanager
def recording(database: Database) -> Iterator[list[float]]:
    """A worker's start and end of a run, again and again; milliseconds of each pair."""
    took: list[float] = []
    stop = threading.Event()

    def record() -> None:
        while not stop.wait(0.005):
            call, at, began = (
                Call(str(uuid4()), "shop.task_1", decided=False),
                datetime.now(UTC),
                time.perf_counter(),
            )
            attempts.begin(database, Start(call, "w.x", 0, "celery@host1", at))
            end = call.task_id, "w.x", Outcome("SUCCESS", at, runtime=0.1)
            database.write(lambda session, end=end: attempts.end_all(session, [end]))
            took.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def purge(database: Database, seconds: float) -> tuple[int, float]:
    """The batches of the daemon's retention one after the other, for so long or to the end; rows and seconds."""
    deleted, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count = database.write(
            lambda session: retention.purge_runs(session, DAY + timedelta(days=2), (), 500)
        )
        deleted += count
        if not count:
            break
    return deleted, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8_640_000)
    parser.add_argument("--purge", type=float, default=60, help="seconds of purging, at most")
    given, load = parser.parse_args(), os.getloadavg()
    lines = ["| question | median, ms | slowest, ms |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder, place.own_database("postgresql", Path(folder)) as url:
        database = Database(url)
        began = time.perf_counter()
        fill(database, given.rows)
        print(f"{given.rows:,} rows made in {time.perf_counter() - began:.0f} s", flush=True)
        began = time.perf_counter()
        minutes = add_up(database)
        added = (time.perf_counter() - began) * 1000 / minutes
        lines = [f"Adding up for the charts: {added:.0f} ms for each of {minutes} minutes.", "", *lines]
        print(lines[0], flush=True)
        for name, question in questions(given.rows).items():
            middle, most = ask(database, question)
            lines.append(f"| {name} | {middle:.1f} | {most:.1f} |")
            print(lines[-1], flush=True)
        with recording(database) as alone:
            time.sleep(5)
        with recording(database) as beside:
            deleted, seconds = purge(database, given.purge)
        told = (
            f"Purging: {deleted:,} rows in {seconds:.0f} s, {deleted / seconds:,.0f} a second. A run's start and end meanwhile, "
            f"ms: {_spread(beside)}; without a purge: {_spread(alone)}."
        )
        database.close()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL"
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, load {load} to {os.getloadavg()}"
    RESULTS.write_text("\n".join([head, "", f"{given.rows:,} runs", "", *lines, "", told, ""]))
    print(told)


def _spread(took: list[float]) -> str:
    cuts = quantiles(took, n=100)
    return f"median {cuts[49]:.1f}, p99 {cuts[98]:.1f}, slowest {max(took):.1f}"


if __name__ == "__main__":
    main()
