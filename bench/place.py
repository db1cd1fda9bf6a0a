"""Where the benchmarks run: a database and a broker of their own, a daemon as a process, schedules in bulk.

Servers are those on the usual local ports, or what TASKD_BENCH_POSTGRESQL_URL, …_REDIS_URL and …_RABBITMQ_URL name.
"""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kombu import Connection
from redis import Redis
from sqlalchemy import create_engine, insert, make_url, text

from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.tables import ScheduleRow

POSTGRESQL = os.environ.get(
    "TASKD_BENCH_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
)
REDIS = os.environ.get("TASKD_BENCH_REDIS_URL", "redis://127.0.0.1:6379/14")
RABBITMQ = os.environ.get("TASKD_BENCH_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
HERE = Path(__file__).parent


@contextmanager
def own_database(kind: str, home: Path) -> Iterator[str]:
    """The URL of a new database with taskd's tables."""
    name = f"taskd_bench_{uuid.uuid4().hex[:8]}"
    url = f"sqlite:///{home}/{name}.db"
    if kind == "postgresql":
        server = create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        url = make_url(POSTGRESQL).set(database=name).render_as_string(hide_password=False)
    try:
        database = Database(url)
        schema.upgrade(database)
        database.close()
        yield url
    finally:
        if kind == "postgresql":
            with server.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            server.dispose()


class RedisQueue:
    """Queue `celery` under a prefix of its own."""

    def __init__(self) -> None:
        self.url, self.prefix = REDIS, f"bench_{uuid.uuid4().hex[:8]}:"
        self._client = Redis.from_url(REDIS)

    def settings(self) -> str:
        """For taskd.yaml."""
        return f'{{kind: redis, url: "{self.url}", redis: {{prefix: "{self.prefix}"}}}}'

    def count(self, queue: str = "celery") -> int:
        """How many messages stand in it."""
        return int(self._client.llen(f"{self.prefix}{queue}"))  # type: ignore[arg-type]

    def remove(self) -> None:
        """Leave nothing behind."""
        for key in self._client.scan_iter(f"{self.prefix}*", count=1000):
            self._client.delete(key)


class RabbitQueue:
    """Queue `celery` in a virtual host of its own where rabbitmqctl can make one, else as it is there."""

    def __init__(self) -> None:
        self._vhost = f"taskd_bench_{uuid.uuid4().hex[:8]}"
        user = urlsplit(RABBITMQ).username or "guest"
        own = _rabbitmqctl("add_vhost", self._vhost)
        own = own and _rabbitmqctl("set_permissions", "-p", self._vhost, user, ".*", ".*", ".*")
        self.url = urlsplit(RABBITMQ)._replace(path=f"/{self._vhost}").geturl() if own else RABBITMQ
        self._connection = Connection(self.url)

    def settings(self) -> str:
        """For taskd.yaml."""
        return f'{{kind: rabbitmq, url: "{self.url}"}}'

    def count(self, queue: str = "celery") -> int:
        """How many messages stand in it."""
        try:
            channel = self._connection.channel()
            found = channel.queue_declare(queue=queue, passive=True).message_count
            channel.close()
        except self._connection.channel_errors:
            return 0
        return int(found)

    def remove(self) -> None:
        """Leave nothing behind."""
        self._connection.release()
        _rabbitmqctl("delete_vhost", self._vhost)


def _rabbitmqctl(*words: str) -> bool:
    program = shutil.which("rabbitmqctl")
    if program is None:
        return False
    return not subprocess.run([program, *words], capture_output=True, check=False).returncode


def add_schedules(url: str, specs: list[ScheduleSpec], cursor: datetime, due: datetime | None = None) -> None:
    """Declare through the API's door, in bulk; nothing is due for the time before `cursor`."""
    database = Database(url)
    for start in range(0, len(specs), 5000):
        rows = [_row(spec, cursor, due) for spec in specs[start : start + 5000]]
        database.write(lambda session, rows=rows: session.execute(insert(ScheduleRow), rows))  # type: ignore[misc]
    database.close()


def _row(spec: ScheduleSpec, cursor: datetime, due: datetime | None) -> dict[str, Any]:
    return spec.columns() | {
        "uid": uid_of(spec.name),
        "name": spec.name,
        "owner": "api",
        "version": 1,
        "created_at": cursor,
        "updated_at": cursor,
        "cursor_at": cursor,
        "next_run_at": due,
        "total_run_count": 0,
        "counted_from": 0,
        "failures_in_a_row": 0,
        "state": "active",
        "conditions": [],
    }


@contextmanager
def process(home: Path, name: str, command: list[str], **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file; terminated at the end."""
    with (home / f"{name}.log").open("wb") as output:
        started = subprocess.Popen(command, env={**os.environ, **env}, cwd=home, stdout=output, stderr=output)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def daemon(home: Path, database: str, broker: RedisQueue | RabbitQueue) -> Iterator[subprocess.Popen[bytes]]:
    """`taskd run` over that database and broker, without any files."""
    (home / "none").mkdir(exist_ok=True)
    config = home / "taskd.yaml"
    config.write_text(
        f"timezone: UTC\nstate_dir: {home / 'state'}\nschedules: {{paths: [{home / 'none'}]}}\n"
        f'database: {{url: "{database}"}}\nbroker: {broker.settings()}\n'
        f'celery: {{imports: [noop]}}\nhttp: {{bind: "unix:{home / "api.sock"}"}}\n'
    )
    command = [sys.executable, "-m", "taskd", "run"]
    with process(home, "daemon", command, TASKD_CONFIG=str(config), PYTHONPATH=str(HERE)) as started:
        yield started
