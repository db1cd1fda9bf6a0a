"""The worker's way to its settings and its database: one engine a process, none of it carried over a fork."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from taskd.clock import monotonic
from taskd.config import Settings, load
from taskd.errors import DatabaseUnavailable
from taskd.store.database import Database

T = TypeVar("T")
log = logging.getLogger("taskd.worker")

LONGEST_PAUSE = 2.0  # seconds between two tries

_databases: dict[str, Database] = {}
# A thread that holds a SQLite file open while another one forks would leave the child with broken locks.
no_fork = threading.RLock()


def settings_of(app: Celery) -> Settings:
    """The settings that made this application, or for a user's own one those of the environment."""
    known: Settings | None = getattr(app, "taskd_settings", None)
    if known is None:
        known = load(None, os.environ)
        app.taskd_settings = known  # type: ignore[attr-defined]  # the application carries it
    return known


def database_of(app: Celery) -> Database:
    """This process's engine for the application's database."""
    settings = settings_of(app)
    url = settings.database_url.get_secret_value()
    if url not in _databases:
        _databases[url] = Database(url, pool_size=settings.database.pool_size, role="worker")
    return _databases[url]


def patiently(work: Callable[[], T], patience: float, what: str) -> T:
    """`work()`, again with growing pauses while the database is away; raises its last error after `patience` s."""
    deadline, pause = monotonic() + patience, 0.1
    while True:
        try:
            return work()
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            if monotonic() + pause > deadline:
                raise
            if pause == 0.1:  # the first of them; the rest would say the same
                log.warning("%s waits for the database, up to %g s: %s", what, patience, error)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _before_fork(*_: Any) -> None:
    no_fork.acquire()
    for database in _databases.values():
        if database.dialect == "sqlite":
            database.close()


os.register_at_fork(before=_before_fork, after_in_parent=no_fork.release, after_in_child=no_fork.release)
