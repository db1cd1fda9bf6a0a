"""`/api/v1/system`: which taskd this is, who leads, and how far publishing is behind."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from taskd.http.exchange import Answer, Context, Part, Request
from taskd.http.forms import Nothing, query_of
from taskd.schedule.zones import tzdata_version
from taskd.store import leases, outbox, sources
from taskd.store.leases import Lease

NO_PART = Part("none", None)


def system(context: Context, request: Request) -> Answer:
    """The state of this process and of what it shares with others. Seconds; ages by this process's own clock."""
    query_of(Nothing, request)
    dispatch, reconcile, oldest, revisions = context.database.read(
        lambda session: (
            leases.read(session, "dispatch"),
            leases.read(session, "reconcile"),
            outbox.next_due(session),
            sources.revisions(session),
        )
    )
    parts = context.parts()
    lag = max((request.now - oldest).total_seconds(), 0.0) if oldest else 0.0
    return Answer(
        200,
        {
            "version": version("taskd"),
            "revision": next(iter(revisions.values()), None) if len(revisions) < 2 else dict(revisions),
            **_shown(dispatch, parts.get("dispatch", NO_PART)),
            "reconcile": _shown(reconcile, parts.get("reconcile", NO_PART)),
            "clock": context.clock_is_wrong() or "ok",
            "database": context.database.dialect,
            "broker": _broker(context),
            "lag": round(lag, 3),
            "tzdata": tzdata_version(),
        },
    )


def _shown(lease: Lease, part: Part) -> Mapping[str, Any]:
    age = None if part.lease_age is None else round(part.lease_age, 3)
    return {"leader": lease.holder, "epoch": lease.epoch, "lease_age": age, "role": part.role}


def _broker(context: Context) -> str:
    kind = str(context.app.connection_for_write().transport_cls)
    return {"amqp": "rabbitmq", "pyamqp": "rabbitmq", "amqps": "rabbitmq", "rediss": "redis"}.get(kind, kind)
