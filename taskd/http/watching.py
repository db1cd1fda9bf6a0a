"""The tables, watched: what changes becomes messages, for as long as somebody listens.

It reads, on connections and in a thread of its own, so nothing that fires waits for it; every process may watch, for
all is in the database. What a message tells is how things stand, so one that comes twice does no harm.

message     of                                                      data
fired       a run that wasn't there, for due times that happen      the run: the columns of `task_result`, but for args,
run         a run in another state than before                      kwargs and log; `cut`, where more is left out
change      who did what to a schedule, a run, workers              the columns of `task_event`
source      a pass that found anything new                          the same
leader      another process leads                                   lease, holder, epoch
worker      a worker that is there, or no longer                    name, online, incarnation, host, pool, queues
reset       more was missed than is told: look at the lists anew    reason

A position is in the last message of each look: who resumes from it is told what came since, some of it again.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from taskd.http import shapes
from taskd.http.message import Message
from taskd.store import stream
from taskd.store.claims import ACTIVE
from taskd.store.database import Database
from taskd.store.stream import News, Position, Standing
from taskd.store.tables import EventRow, RunRow

LONGEST = 8 * 1024  # bytes of a run; a longer one is told without what makes it so: ask for it by its id
_LONG = ("result", "traceback", "progress")
_PASSES = frozenset({"synced", "stale"})
_NEVER_FIRED = frozenset({"MISSED", "SKIPPED"})


class Watch:
    """One look after the other; `seconds` are a monotonic reading. Each method may raise DatabaseUnavailable."""

    def __init__(
        self, database: Database, secret_keys: Collection[str], now: datetime, seconds: float
    ) -> None:
        self._database, self._secret_keys, self._looked = database, secret_keys, now
        self._events, self._runs, self._standing = database.read(
            lambda session: (
                stream.arrivals(session, EventRow.id, seconds),
                stream.arrivals(session, RunRow.id, seconds),
                stream.standing(session),
            )
        )

    def begin(self, since: Position | None) -> list[Message]:
        """What a new listener is told first: what it has missed since then, who leads, which workers there are."""
        missed = [] if since is None else [*self._missed(since)]
        return self._marked([*missed, *_stands(self._standing, Standing({}, {}, {}))])

    def look(self, now: datetime, seconds: float) -> list[Message]:
        """What has changed since the last look."""
        known = self._standing
        news = self._database.read(
            lambda session: stream.news(session, self._events, self._runs, known.active)
        )
        assert news.standing is not None
        self._events.note((row.id for row in news.events), seconds)
        self._runs.note((row.id for row in news.begun), seconds)
        active = {run: status for run, status in known.active.items() if run not in news.gone}
        for row in (*news.begun, *news.changed):
            active.pop(row.id, None)
            if row.status in ACTIVE:
                active[row.id] = row.status
        self._standing, self._looked = replace(news.standing, active=active), now
        return self._marked([*self._told(news), *_stands(self._standing, known)])

    def _missed(self, since: Position) -> Iterator[Message]:
        news = None
        if abs(self._looked - since.at) <= stream.RESUMED:
            news = self._database.read(lambda session: stream.missed(session, since))
        if news is None:
            yield _message("reset", {"reason": "too much has come since: look at the lists anew"})
        else:
            yield from self._told(news)

    def _told(self, news: News) -> Iterator[Message]:
        for event in news.events:
            kind = "source" if event.kind in _PASSES else "change"
            yield _message(kind, shapes.event(event, self._secret_keys))
        for row in news.begun:
            run = self._run(row)
            if row.status not in _NEVER_FIRED:
                yield _message("fired", run)
            if row.status != "PENDING":
                yield _message("run", run)
        for row in news.changed:
            yield _message("run", self._run(row))

    def _run(self, row: Row[Any]) -> dict[str, Any]:
        run = shapes.columns_of_run({**row._mapping}, self._secret_keys)
        if len(json.dumps(run)) > LONGEST:
            run |= dict.fromkeys(_LONG) | {"cut": True}
        return run

    def _marked(self, messages: list[Message]) -> list[Message]:
        if messages:
            at = Position(self._events.settled, self._runs.settled, self._looked)
            messages[-1] = replace(messages[-1], position=str(at))
        return messages


def _stands(now: Standing, before: Standing) -> Iterator[Message]:
    for lease, leader in now.leaders.items():
        if before.leaders.get(lease) != leader:
            yield _message("leader", {"lease": lease, "holder": leader[0], "epoch": leader[1]})
    for name in before.workers.keys() - now.workers.keys():
        yield _message("worker", {"name": name, "online": False})
    for name, worker in now.workers.items():
        if before.workers.get(name) != worker:
            yield _message("worker", {"online": True, **worker})


def _message(event: str, data: Mapping[str, Any]) -> Message:
    return Message(event, json.dumps(data, ensure_ascii=False, allow_nan=False))
