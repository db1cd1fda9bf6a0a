"""A plan as the API tells it."""

from collections.abc import Collection
from functools import partial
from typing import Any

from taskd import clock
from taskd.reconcile.fires import limited
from taskd.reconcile.plan import Plan
from taskd.reconcile.render import as_json
from taskd.store import schedules
from taskd.store.database import Database


def plan_answer(database: Database, plan: Plan, secret_keys: Collection[str]) -> dict[str, Any]:
    """In the shape of `GET /api/v1/sync/plan`. Raises DatabaseUnavailable."""
    uids = limited(plan)
    counted = database.read(partial(schedules.counted, uids=uids)) if uids else {}
    return as_json(plan, secret_keys, clock.now(), counted)
