"""The worker's way to its settings and its database: one engine a process, none of it carried over a fork."""

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery import Celery

from taskd.config import Settings, load
from taskd.store.database import Database

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


def held_over_forks(database: Database) -> AbstractContextManager[object]:
    """While it is held, no process is forked: around every use of SQLite by a thread that isn't the only one."""
    return no_fork if database.dialect == "sqlite" else nullcontext()


def _before_fork(*_: Any) -> None:
    no_fork.acquire()
    for database in _databases.values():
        if database.dialect == "sqlite":
            database.close()


os.register_at_fork(before=_before_fork, after_in_parent=no_fork.release, after_in_child=no_fork.release)
