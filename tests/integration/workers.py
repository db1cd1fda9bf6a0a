"""A worker as a process, its database and its broker, and what is asked of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery
from sqlalchemy import select

from taskd.celery_app import create_app
from taskd.config import load
from taskd.store import schema
from taskd.store.claims import RUN_HEADER
from taskd.store.database import Database
from taskd.store.tables import RunRow
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINAL = ("SUCCESS", "FAILURE", "REVOKED", "IGNORED", "LOST")


@dataclass
class Site:
    """One installation: state folder, settings, tables. `environ` is what its processes are started with."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    module: str = "tests.integration.misbehaving"  # of the application that its workers run

    def __post_init__(self) -> None:
        self.effects = self.folder / "effects"
        self.environ = {
            "TASKD_STATE_DIR": str(self.folder / "state"),
            "TASKD_CELERY__IMPORTS": "tests.integration.misbehaving,taskd.tasks",
            "EFFECTS": str(self.effects),
            **self.environ,
        }
        settings = load(None, self.environ)
        self.app: Celery = create_app(settings)
        self.app.set_current()
        self.database = Database(settings.database_url.get_secret_value())
        schema.upgrade(self.database)

    def send(self, task: str, *args: Any, decided: bool = True, **options: Any) -> str:
        """Publish a call; a decided one gets its row first, as the dispatcher does it. Returns its task id."""
        task_id = self.decide(task, *args) if decided else str(uuid4())
        self.publish(task, task_id, *args, decided=decided, **options)
        return task_id

    def decide(self, task: str, *args: Any) -> str:
        """Write the row alone."""
        task_id = str(uuid4())
        row = {"task_name": task, "status": "PENDING", "kind": "schedule", "args": list(args)}
        self.database.write(lambda session: session.add(RunRow(task_id=task_id, **row)))
        return task_id

    def publish(
        self,
        task: str,
        task_id: str,
        *args: Any,
        decided: bool = True,
        retry: Any = None,
        republished: bool = False,
        **options: Any,
    ) -> None:
        """Publish a message, whatever the table says; `retry` as its schedule's `options` have it."""
        origin: dict[str, Any] = {"schedule": "s", "scheduled_for": NOW.isoformat(), "kind": "schedule"}
        origin |= {"retry": retry} if retry else {}
        origin |= {"republished": 1} if republished else {}
        headers = {RUN_HEADER: origin} if decided else {}
        self.app.send_task(task, args, task_id=task_id, headers=headers, ignore_result=False, **options)

    def row(self, task_id: str) -> RunRow | None:
        """The run as it stands."""
        query = select(RunRow).where(RunRow.task_id == task_id)
        return self.database.read(lambda session: session.execute(query).scalar_one_or_none())

    def becomes(self, task_id: str, *statuses: str, within: float = 20) -> RunRow:
        """The run once it has one of those statuses."""

        def check() -> RunRow | None:
            row = self.row(task_id)
            return row if row and row.status in statuses else None

        return eventually(check, within)  # type: ignore[return-value]  # eventually never returns None

    def ended(self, task_id: str, within: float = 20) -> RunRow:
        """The run once it has ended and its start is known: a killed child's may still wait in its spool."""

        def check() -> RunRow | None:
            row = self.row(task_id)
            return row if row and row.status in FINAL and row.started_at and row.runtime is not None else None

        return eventually(check, within)  # type: ignore[return-value]  # eventually never returns None

    def accepted(self, task_id: str) -> bool:
        """Whether a worker's main process has heard from its child that it runs."""
        answers = self.app.control.inspect(timeout=2).active() or {}
        return any(task_id == task["id"] for tasks in answers.values() for task in tasks)

    def started(self) -> list[str]:
        """Which runs' bodies have started, as they told a file."""
        return self.effects.read_text().split() if self.effects.exists() else []


@dataclass
class Worker:
    """A `celery worker` process."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self, words: str) -> bool:
        """Whether its output has these words."""
        return words in self.output.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9 the main process and its children, as a machine's failure does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def stop(self) -> None:
        """A warm shutdown."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(90)


StartWorker = Callable[..., Worker]


@contextmanager
def running(site: Site) -> Iterator[StartWorker]:
    """Starts workers; they are killed when the block ends."""
    workers: list[Worker] = []

    def start(pool: str = "prefork", name: str = "w1", *words: str, **environ: str) -> Worker:
        output = site.folder / f"worker{len(workers)}.log"
        command = [sys.executable, "-m", "celery", "-A", site.module, "worker"]
        command += ["-P", pool, "-c", "2", "-n", f"{name}@test", "-l", "info", *words]
        with output.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **site.environ, **environ, "PYTHONUNBUFFERED": "1"},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process, output)
        workers.append(worker)
        eventually(lambda: worker.said("ready.") or process.poll() is not None, within=30)
        assert process.poll() is None, output.read_text()
        return worker

    try:
        yield start
    finally:
        for worker in workers:
            worker.kill()
        site.database.close()
        site.app.close()
