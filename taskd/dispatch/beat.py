"""`celery beat -S taskd`: Celery's own Beat program over the same engine as the daemon's.

Nothing is opened before the first tick: Beat makes schedulers also just to print their names.
"""

import logging
import os
from typing import Any

from celery import Celery
from celery.beat import Scheduler

from taskd.config import Settings, load
from taskd.dispatch.engine import Engine
from taskd.dispatch.leader import Leadership, new_holder
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
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Say what won't be fired; the schedules themselves stay in the database."""
        if entries := sorted(self.app.conf.beat_schedule or {}):
            log.warning("entries of beat_schedule are not fired by taskd: %s", ", ".join(entries))

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Start the engine at first; raise once it no longer works, so that Beat ends and its watcher knows."""
        if self._engine is None:
            self._engine = self._start()
        if not self._engine.alive() or self._engine.heart_age() > STALLED:
            raise RuntimeError("taskd's dispatcher has stopped")
        return LONGEST_TICK

    def close(self) -> None:
        """Stop and give the lease back. A signal may call it inside a tick, and again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()
        database, self._database = self._database, None
        if database is not None:
            database.close()

    @property
    def info(self) -> str:
        """For Beat's banner; the password is masked."""
        if self._database is None:
            return "    . db -> taskd"
        return f"    . db -> {self._database.url.render_as_string(hide_password=True)}"

    def _start(self) -> Engine:
        settings = load(None, os.environ)
        self._database = Database(
            settings.database_url.get_secret_value(), pool_size=settings.database.pool_size
        )
        schema.check(self._database)
        leadership = Leadership(self._database, "dispatch", new_holder(), settings.lease.ttl)
        engine = Engine(self._database, self.app, leadership, frozenset(settings.redact.keys))
        engine.start()
        return engine
