"""What doesn't change from fire to fire, worked out once a schedule and version: its timing and its message.

Memory only: the table says what is due, at which version and cursor, and a version that has moved is compiled anew.
So nothing here can be wrong for longer than the row is, and nothing is missed that isn't here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import Row

from taskd.dispatch.messages import Order, Template, compose
from taskd.schedule.policy import Catchup, Decision, Timetable, decide, fires_left
from taskd.schedule.policy_fields import catchup_of
from taskd.store.columns import json_or_null
from taskd.store.schedules import timetable_of

MOST = 250_000  # schedules kept; beyond that the oldest go


@dataclass(frozen=True, eq=False, slots=True)
class Timing:
    """When a schedule occurs and what becomes of what is late; one object for all that are alike."""

    timetable: Timetable
    catchup: Catchup


@dataclass(frozen=True, eq=False, slots=True)
class Compiled:
    """One schedule at one version."""

    id: int
    version: int
    uid: UUID
    name: str
    task: str
    args: str | None  # JSON, as are kwargs
    kwargs: str | None
    policy: Mapping[str, Any]
    updated_at: datetime
    one_off: bool
    max_run_count: int
    timing: Timing
    template: Template

    def fires_left(self, counted: int) -> int | None:
        """How many scheduled fires its limits leave after `counted`; None: no limit."""
        return fires_left(one_off=self.one_off, max_run_count=self.max_run_count, counted=counted)


class Compiler:
    """Compiles, and keeps what it has compiled. One thread uses it."""

    def __init__(self, app: Celery, secret_keys: frozenset[str]) -> None:
        self._app, self._secret_keys = app, secret_keys
        self._kept: dict[int, Compiled] = {}
        self._timings: dict[tuple[Timetable, Catchup], Timing] = {}

    def known(self, row: Row[Any]) -> Compiled | None:
        """What is kept of a schedule as its row (`id`, `version`, `updated_at`) stands; ids may be given out again."""
        kept = self._kept.get(row.id)
        same = kept is not None and kept.version == row.version and kept.updated_at == row.updated_at
        return kept if same else None

    def compile(self, row: Row[Any]) -> Compiled:
        """From the columns of its row. Raises whatever is wrong with them."""
        order = Order(row.task, row.args or [], row.kwargs or {}, row.options, row.name, "schedule")
        compiled = Compiled(
            row.id,
            row.version,
            row.uid,
            row.name,
            row.task,
            json_or_null(row.args),
            json_or_null(row.kwargs),
            row.policy,
            row.updated_at,
            row.one_off,
            row.max_run_count,
            self._timing(row),
            compose(self._app, order, self._secret_keys),
        )
        self._kept.pop(row.id, None)
        self._kept[row.id] = compiled
        if len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return compiled

    def _timing(self, row: Row[Any]) -> Timing:
        timetable, catchup = timetable_of(row._mapping), catchup_of(row.policy)
        if not timetable.jitter:
            timetable = replace(timetable, uid=None)  # which only spreads delays
        if len(self._timings) > MOST:
            self._timings.clear()
        return self._timings.setdefault((timetable, catchup), Timing(timetable, catchup))


class Decisions:
    """Decisions at one instant: equal questions are answered once."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._made: dict[tuple[Timing, datetime, int | None], Decision] = {}

    def about(self, timing: Timing, cursor: datetime, left: int | None) -> Decision:
        """As `policy.decide`."""
        question = (timing, cursor, left)
        decision = self._made.get(question)
        if decision is None:
            decision = decide(timing.timetable, timing.catchup, cursor, self.now, fires_left=left)
            self._made[question] = decision
        return decision
