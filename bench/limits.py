"""The raw limits of the machine, per second: what one process can do of each part alone."""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from celery import Celery
from place import REDIS
from redis import Redis


def per_second(work: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    work()
    return round(n / (time.perf_counter() - start))


def measure() -> dict[str, float]:  # noqa: C901  four small loops
    """`send_task` in a loop, building a message, LPUSH in a pipeline, a durable claim in SQLite."""
    prefix = f"bench_{uuid4().hex[:8]}:"
    app = Celery("limits", broker=REDIS, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    redis, payload = Redis.from_url(REDIS), "x" * 900
    app.send_task("noop", [0])  # connects

    def send() -> None:
        for n in range(2000):
            app.send_task("noop", [n])

    def build() -> None:
        for n in range(5000):
            app.amqp.as_task_v2(str(uuid4()), "noop", (n,), {})

    def push() -> None:
        for _ in range(20):
            pipeline = redis.pipeline(transaction=False)
            for _ in range(500):
                pipeline.lpush(f"{prefix}raw", payload)
            pipeline.execute()

    found = {
        "send_task": per_second(send, 2000),
        "message": per_second(build, 5000),
        "lpush": per_second(push, 10_000),
    }
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "claim.db", isolation_level=None)
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE run (id INTEGER PRIMARY KEY, task TEXT UNIQUE, body BLOB)"
        )

        def claim() -> None:
            for batch in range(100):
                database.execute("BEGIN IMMEDIATE")
                database.executemany(
                    "INSERT INTO run (task, body) VALUES (?, ?)",
                    [(f"{batch}-{n}", payload) for n in range(500)],
                )
                database.execute("COMMIT")

        found["sqlite_claim"] = per_second(claim, 50_000)
        database.close()
    return found
