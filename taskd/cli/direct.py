"""The API in this process, on the database, where no daemon answers: the same handlers, the same answers."""

import json
import logging
import time
from getpass import getuser
from typing import Any

import click

from taskd import clock
from taskd.celery_app import create_app
from taskd.cli.database import migrated
from taskd.cli.ways import Reply, Way
from taskd.config import Settings
from taskd.dispatch.leader import Leadership, new_holder
from taskd.errors import Unavailable
from taskd.http.exchange import Context
from taskd.http.routes import answer
from taskd.reconcile.reconciler import Reconciler
from taskd.reconcile.render import as_json
from taskd.source.tree import Tree
from taskd.store.database import Database

_LOOK_EVERY = 0.2  # seconds, while a lease is waited for


def in_process(settings: Settings) -> Way:
    """Raises DatabaseUnavailable, WrongSchema. The database is closed with the current command."""
    database = click.get_current_context().with_resource(migrated(settings))
    one_pass = _Pass(settings, database)
    context = Context(
        settings=settings,
        database=database,
        app=create_app(settings),
        plan=one_pass.preview,
        sync=one_pass.make,
    )

    def way(method: str, target: str, body: bytes) -> Reply:
        given = json.loads(body) if body else None
        reply = answer(context, method, target, given, actor=f"cli:{getuser()}")
        return reply.status, json.dumps(reply.body).encode()

    return way


class _Pass:
    """A pass over the schedule files by this process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._lease = Leadership(database, "reconcile", new_holder(), settings.lease.ttl)
        self._secret_keys = frozenset(settings.redact.keys)
        self._reconciler = Reconciler(
            database,
            [Tree(path, settings.timezone) for path in settings.schedules.paths],
            poll=settings.schedules.poll,
            fence=self._lease.fence,
            changed=lambda: None,  # the dispatcher, wherever it is, sees it within a second
            secret_keys=self._secret_keys,
        )
        # What it would log is in the answer.
        logging.getLogger("taskd.reconcile").addHandler(logging.NullHandler())

    def preview(self) -> dict[str, Any]:
        """What a pass would change."""
        return as_json(self._reconciler.preview(), self._secret_keys)

    def make(self) -> dict[str, Any]:
        """Take the lease, make the pass, give the lease back."""
        self._take_lease()
        try:
            return as_json(self._reconciler.one_pass().plan, self._secret_keys)
        finally:
            self._lease.resign()

    def _take_lease(self) -> None:
        """At once where nobody has it; where its holder doesn't move, it has died, and that takes the lease's time."""
        deadline = clock.monotonic() + self._lease.ttl + 1
        while not self._lease.step(clock.monotonic()):
            if clock.monotonic() > deadline:
                raise Unavailable("another taskd reconciles this database: ask it, with --url")
            time.sleep(_LOOK_EVERY)
