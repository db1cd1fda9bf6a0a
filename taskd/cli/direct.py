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
from taskd.reconcile.answer import plan_answer
from taskd.reconcile.reconciler import Consent, Reconciler
from taskd.source.tree import Tree
from taskd.store.database import Database

_LOOK_EVERY = 0.2  # seconds, while a lease is waited for


def in_process(settings: Settings) -> Way:
    """Raises DatabaseUnavailable, WrongSchema. The database is closed with the current command."""
    context = context_of(settings)

    def way(method: str, target: str, body: bytes) -> Reply:
        given = json.loads(body) if body else None
        reply = answer(context, method, target, given, actor=f"cli:{getuser()}")
        return reply.status, json.dumps(reply.whole()).encode()

    return way


def context_of(settings: Settings) -> Context:
    """What the handlers work with in a process that makes its passes itself; raises as in_process does."""
    database = click.get_current_context().with_resource(migrated(settings))
    one_pass = _Pass(settings, database)
    return Context(
        settings=settings,
        database=database,
        app=create_app(settings),
        plan=one_pass.preview,
        sync=one_pass.make,
    )


class _Pass:
    """A pass over the schedule files by this process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._lease = Leadership(database, "reconcile", new_holder(), settings.lease.ttl)
        self._secret_keys = frozenset(settings.redact.keys)
        self._reconciler = Reconciler(
            database,
            [Tree(path, settings.timezone) for path in settings.schedules.paths],
            poll=settings.schedules.poll,
            fence=self._lease.fence,
            changed=lambda: None,  # the dispatcher, wherever it is, sees it within a second
            secret_keys=self._secret_keys,
            guard=settings.schedules.prune_guard,
        )
        # What it would log is in the answer.
        logging.getLogger("taskd.reconcile").addHandler(logging.NullHandler())

    def preview(self) -> dict[str, Any]:
        """What a pass would change."""
        return plan_answer(self._database, self._reconciler.preview(), self._secret_keys)

    def make(self, consent: Consent | None = None) -> dict[str, Any]:
        """Take the lease, make the pass, give the lease back."""
        self._take_lease()
        try:
            return plan_answer(self._database, self._reconciler.one_pass(consent).plan, self._secret_keys)
        finally:
            self._lease.resign()

    def _take_lease(self) -> None:
        """At once where nobody has it; where its holder doesn't move, it has died, and that takes the lease's time."""
        deadline = clock.monotonic() + self._lease.ttl + 1
        while not self._lease.step(clock.monotonic()):
            if clock.monotonic() > deadline:
                another = "another taskd reconciles this database: ask it, with --url"
                raise Unavailable(self._lease.clock_is_wrong or another)
            time.sleep(_LOOK_EVERY)
