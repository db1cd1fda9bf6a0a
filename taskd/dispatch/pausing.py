"""Pauses that end by themselves, and pauses that the system makes: `until`, and `pause_after_failures`.

Exact   the dispatcher asks for the streak of each due schedule that has the policy before it decides: no run fires
        after the N-th failure that the database knows of
Soon    the sweeper counts where runs have just ended, so that a daily job is paused, and every schedule's
        `failures_in_a_row` right, within seconds. A record that comes more than MARGIN late (a worker's spool) is
        counted with the schedule's next outcome, or by the next decision
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from taskd.dispatch.compiled import Compiled
from taskd.store import failures, overrides
from taskd.store.fenced import BATCH, Fenced
from taskd.store.schedules import SYSTEM
from taskd.store.tables import ScheduleRow

MARGIN = timedelta(seconds=30)  # for workers' clocks, and commits under way
LOOK_BACK = timedelta(hours=1)  # on start: others may have counted until they ended
log = logging.getLogger("taskd.dispatch")


def resume_when_over(database: Fenced, now: datetime) -> None:
    """Resume what was paused until now; reads alone where there is nothing."""
    over = select(ScheduleRow.id).where(ScheduleRow.state == "paused", ScheduleRow.paused_until <= now)

    while database.read(lambda session: session.execute(over.limit(1)).first()):
        if database.write(lambda session: overrides.resume_when_over(session, now, BATCH)) < BATCH:
            break


def pause_failing(database: Fenced, due: Sequence[Row[Any] | Compiled], now: datetime) -> set[int]:
    """Pause those of `due` whose runs have failed too often in a row; the ids of those that mustn't fire now."""
    limited = [row for row in due if "pause_after_failures" in row.policy]
    if not limited:
        return set()
    most = max(_limit(row.policy) for row in limited)
    streaks = database.read(lambda session: failures.streaks(session, limited, most))
    broken = {row.id for row in limited if streaks[row.id].length >= _limit(row.policy)}
    database.write_each(sorted(broken), partial(_note, now=now))
    return broken


class FailureCount:
    """Keeps `failures_in_a_row` right, and pauses what fails too often. One thread calls `look`."""

    def __init__(self, database: Fenced) -> None:
        self._database = database
        self._looked_at: datetime | None = None

    def look(self, now: datetime) -> None:
        """Count where runs have ended since the last look."""
        since = now - LOOK_BACK if self._looked_at is None else self._looked_at - MARGIN

        def read(session: Session) -> set[int]:
            rows = failures.with_outcomes_since(session, since)
            streaks = failures.streaks(session, rows)
            return {row.id for row in rows if streaks[row.id].length != row.failures_in_a_row}

        self._database.write_each(sorted(self._database.read(read)), partial(_note, now=now))
        self._looked_at = now


def _limit(policy: Mapping[str, Any]) -> int:
    """Failures in a row that pause; what someone has broken in the table pauses nothing."""
    limit = policy.get("pause_after_failures")
    return limit if isinstance(limit, int) else failures.MOST + 1


def _note(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Write the streaks, read anew under the rows' locks; what is active and has one too long is paused."""
    query = select(ScheduleRow).where(ScheduleRow.id.in_(ids), ScheduleRow.deleted_at.is_(None))
    rows = list(session.scalars(query.order_by(ScheduleRow.id).with_for_update()))
    for row, streak in zip(rows, failures.streaks(session, rows).values(), strict=True):
        if row.state == "active" and streak.length >= _limit(row.policy):
            reason = f"{streak.length} runs in a row have failed, the last of them {streak.last}"
            log.warning("schedule %r is paused: %s", row.name, reason)
            overrides.pause(session, row, SYSTEM, reason, now)
        row.failures_in_a_row = streak.length
