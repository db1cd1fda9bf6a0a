"""`celery beat -S taskd`: Celery's own Beat program over the same engine as the daemon's.

Nothing is opened before the first tick: Beat makes schedulers also just to print their names.

fault                                   what happens
wrong settings, no tables               Beat ends with one sentence and exit code 2
the database is away on start           tried again at every tick
the dispatching threads end or hang     `tick` raises: Beat ends, and its watcher knows
SIGTERM within a tick, or within close  Beat's handler calls `close`, also a second time: each call stops the engine
                                        and gives the lease back before the process ends
"""

import logging
import os
from typing import Any, NoReturn

from celery import Celery
from celery.beat import Scheduler

from taskd.config import Settings, load
from taskd.dispatch.engine import Engine
from taskd.dispatch.leader import Leadership, new_holder
from taskd.errors import TaskdError, Unavailable
from taskd.store import schema
from taskd.store.database import Database

LONGEST_TICK = 1.0  # seconds
STALLED = 30.0  # seconds without a heartbeat of the dispatching thread
log = logging.getLogger("taskd.beat")


class TaskdScheduler(Scheduler):
    """Fires the schedules of `task_scheduler`. Entries of `beat_schedule` are not fired, and named in a warning."""

    def __init__(self, app: Celery, *args: Any, **kwargs: Any) -> None:
        self._settings: Settings | None = None
        self._database: Database | None = None
        self._engine: Engine | None = None
        self._refused = False
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Say what won't be fired; the schedules themselves stay in the database."""
        if entries := sorted(self.app.conf.beat_schedule or {}):
            log.warning(
                "entries of beat_schedule are not fired by taskd: %s; declare them in files (`taskd import beat`)",
                ", ".join(entries),
            )

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Start the engine at first; raise once it no longer works, so that Beat ends and its watcher knows."""
        if self._engine is None:
            try:
                self._start()
            except Unavailable as error:
                log.warning("%s; trying again", error)
                return LONGEST_TICK
            except TaskdError as error:
                self._refuse(error)
        if self._engine is None or not self._engine.alive() or self._engine.heart_age() > STALLED:
            raise RuntimeError("taskd's dispatcher has stopped")
        return LONGEST_TICK

    def close(self) -> None:
        """Stop and give the lease back. A signal may call it inside a tick, and inside itself."""
        if self._engine is not None:
            self._engine.stop()  # again, if a signal has interrupted it: its lease isn't given back yet
            self._engine = None
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if self._refused:
            raise SystemExit(2)

    def _refuse(self, error: TaskdError) -> NoReturn:
        """End Beat with a sentence. It takes SystemExit for a wish to shut down: `close` gives the exit code."""
        log.critical("%s", error)
        self._refused = True
        raise SystemExit(2) from error

    @property
    def info(self) -> str:
        """For Beat's banner; the password is masked."""
        if self._database is None:
            return "    . db -> taskd"
        return f"    . db -> {self._database.url.render_as_string(hide_password=True)}"

    def _start(self) -> None:
        settings = load(None, os.environ)
        if self._database is None:
            self._database = Database(
                settings.database_url.get_secret_value(), pool_size=settings.database.pool_size
            )
        schema.check(self._database)
        leadership = Leadership(self._database, "dispatch", new_holder(), settings.lease.ttl)
        # Known before it starts: a signal may come at any moment, and `close` must find it.
        self._engine = Engine(self._database, self.app, leadership, frozenset(settings.redact.keys))
        self._engine.start()
