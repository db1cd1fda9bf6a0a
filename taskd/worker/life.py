"""Life signs: this worker process's incarnation, and the counter by which others see that it lives.

The counter is a thread of the main process, so a task that keeps a solo worker busy for hours doesn't stop it.
It has signed on before the first message is taken: `worker_ready` comes before the consumer's loop.
"""

import logging
import os
import socket
import threading
from typing import Any
from uuid import uuid4

from celery import Celery, signals
from sqlalchemy.exc import SQLAlchemyError

from taskd.errors import DatabaseUnavailable
from taskd.store import workers
from taskd.store.database import Database
from taskd.store.workers import Worker
from taskd.worker import checking  # noqa: F401  joins every worker
from taskd.worker.calls import is_builtin
from taskd.worker.connection import database_of, held_over_forks
from taskd.worker.scribe import close_scribes, scribe_of

log = logging.getLogger("taskd.worker")

LAST_WORDS = 2.0  # seconds for records that still wait when the worker stops
BEAT = 2.0  # seconds; the sweeper gives a worker up after five missed ones


class _Process:
    """This process's identity; the children of a pool inherit it when they are forked."""

    incarnation = uuid4().hex
    heart: "Heart | None" = None


def incarnation() -> str:
    """Which start of which worker this process belongs to: the first part of its claims."""
    return _Process.incarnation


class Heart:
    """Counts up in `task_worker` until told to stop. A database that is away is tried again with the next beat."""

    def __init__(self, database: Database, worker: Worker) -> None:
        self._database, self._worker = database, worker
        self._stop = threading.Event()
        self._heard = True
        self._thread = threading.Thread(target=self._run, name="taskd-heart", daemon=True)

    def start(self) -> None:
        """Sign on, then beat."""
        self._attempt(lambda: self._database.write(lambda session: workers.sign_on(session, self._worker)))
        self._thread.start()

    def stop(self) -> None:
        """Sign off: nothing of this worker runs any more."""
        self._stop.set()
        self._thread.join(timeout=BEAT)
        self._attempt(
            lambda: self._database.write(lambda session: workers.sign_off(session, self._worker.incarnation))
        )

    def beat(self) -> None:
        """Once; signs on again where the row is gone, and says so where another process has it."""
        holder = self._database.write(lambda session: workers.beat(session, self._worker))
        if holder is None:
            self._database.write(lambda session: workers.sign_on(session, self._worker))
        elif holder != self._worker.incarnation:
            log.error(
                "another worker is named %s: give each a name of its own (-n), or its runs are taken for lost",
                self._worker.name,
            )

    def _run(self) -> None:
        while not self._stop.wait(BEAT):
            self._attempt(self.beat)

    def _attempt(self, write: Any) -> None:
        try:
            with held_over_forks(self._database):
                write()
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            if self._heard:
                log.warning("worker %s can't show that it lives: %s", self._worker.name, error)
            self._heard = False
        else:
            self._heard = True


def recorded_tasks(app: Celery) -> list[str]:
    """The names of the tasks whose runs are recorded."""
    return sorted(
        name
        for name, task in app.tasks.items()
        if getattr(task, "taskd_recorded", False) and not is_builtin(name)
    )


@signals.worker_init.connect
def _be_born(**_: Any) -> None:
    _Process.incarnation = uuid4().hex


@signals.worker_ready.connect
def _sign_on(sender: Any, **_: Any) -> None:
    if not (names := recorded_tasks(sender.app)):
        return
    worker = Worker(
        name=sender.hostname,
        incarnation=incarnation(),
        host=socket.gethostname(),
        pid=os.getpid(),
        pool=type(sender.pool).__module__.rpartition(".")[2],
        queues=sorted(queue.name for queue in sender.task_consumer.queues),
        recorded_tasks=names,
    )
    scribe_of(sender.app).adopt()
    _Process.heart = Heart(database_of(sender.app), worker)
    _Process.heart.start()


@signals.worker_process_shutdown.connect
def _last_words(**_: Any) -> None:
    close_scribes(LAST_WORDS)


@signals.worker_shutdown.connect
def _sign_off(**_: Any) -> None:
    if _Process.heart:
        close_scribes(LAST_WORDS)
        _Process.heart.stop()
        _Process.heart = None
