"""`PublishFailing`: a schedule's messages are due, and no broker takes them.

The outbox tells which schedules wait, whoever publishes; why, only the publisher of this process can tell.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.config import masked
from taskd.store import conditions, outbox
from taskd.store.conditions import PUBLISH_FAILING
from taskd.store.fenced import Fenced
from taskd.store.schedules import paged
from taskd.store.tables import ScheduleRow

WAITED = timedelta(seconds=5)  # before anybody need know: a restart of the broker takes less
UNEXPLAINED = timedelta(minutes=1)  # where nothing refuses them: a herd of a hundred thousand takes its time
PERIOD = 5.0  # seconds between two looks
STALE = 30.0  # seconds without a look, after which others may have changed what the schedules say
LONGEST = 300  # characters of an error
MEANWHILE = "they are sent in order once that is mended; past the catch-up window a run ends as MISSED"

Refusals = Callable[[], Mapping[str | None, str]]
"""The publisher's errors, by queue, and by None for the whole broker."""


def nobody_publishes() -> Mapping[str | None, str]:
    """Another process does."""
    return {}


def sentence(queue: str | None, refusals: Mapping[str | None, str]) -> str:
    """What the condition says of messages that wait for `queue`."""
    if queue is not None and (error := refusals.get(queue)):
        return (
            f"its messages wait, because queue {queue!r} refuses them ({_short(error)}): declare the queue, or let "
            f"the schedule's `queue` name another; {MEANWHILE}"
        )
    if error := refusals.get(None):
        return (
            f"its messages wait, because the broker takes none ({_short(error)}): see that it runs, has memory and "
            f"disk space, and is where broker.url says; {MEANWHILE}"
        )
    return (
        f"its messages have waited for more than {UNEXPLAINED.seconds} s to be published: see the log of the process that "
        f"dispatches; {MEANWHILE}"
    )


class PublishWatch:
    """Sets and clears the condition. One thread calls `look`."""

    def __init__(self, database: Fenced, refusals: Refusals = nobody_publishes) -> None:
        self._database, self._refusals = database, refusals
        self._looked_at = float("-inf")
        self._says: dict[int, str] = {}  # by schedule, what its condition says

    def look(self, seconds: float, now: datetime) -> None:
        """At most every PERIOD, at the monotonic `seconds`."""
        if seconds - self._looked_at < PERIOD:
            return
        if seconds - self._looked_at > STALE:
            self._says = self._database.read(_saying)
        self._looked_at = seconds
        wanted = self._wanted(now)
        changed = [one for one in {*wanted, *self._says} if wanted.get(one) != self._says.get(one)]
        messages = [(one, wanted.get(one)) for one in changed]
        self._database.write_each(messages, partial(conditions.put_all, kind=PUBLISH_FAILING, now=now))
        self._says = dict(wanted)

    def _wanted(self, now: datetime) -> dict[int, str]:
        """What each schedule's condition ought to say."""
        refusals = dict(self._refusals())

        def waiting(time: timedelta) -> dict[int, str | None]:
            return self._database.read(lambda session: outbox.waiting_since(session, now - time))

        lately = waiting(WAITED) if refusals else {}
        refused = {one: queue for one, queue in lately.items() if None in refusals or queue in refusals}
        return {one: sentence(queue, refusals) for one, queue in (waiting(UNEXPLAINED) | refused).items()}


def _saying(session: Session) -> dict[int, str]:
    rows = paged(
        session, select(ScheduleRow.id, ScheduleRow.conditions).where(ScheduleRow.deleted_at.is_(None))
    )
    said = {row.id: conditions.message_of(row.conditions, PUBLISH_FAILING) for row in rows}
    return {one: says for one, says in said.items() if says is not None}


def _short(error: str) -> str:
    line = masked(error).partition("\n")[0]
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"
