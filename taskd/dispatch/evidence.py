"""Messages that the broker has lost are published again, on evidence only. A leader's service, off the firing path.

States     published → begun by a worker (no concern of this module) | suspected → published again, at most REPEATS
           times, then LOST | waits: REVOKED past its `expires`, MISSED past its catch-up window where no worker
           takes from its queue | SENT: its message is gone, and no worker has recorded its task for a while, so one
           that doesn't tell has taken it
Evidence   the broker was asked twice, and had the message neither time; or once, and since the look before it has
           forgotten a mark of ours (Redis: a restart without its data, FLUSHALL). A long queue is no evidence: a
           message that waits, or that a worker holds, is there. Nor is silence: RabbitMQ doesn't tell what consumers
           hold, so each consumer of the queue must answer that it hasn't got it
Wrong      evidence costs nothing but a message: under the same task id, the worker's claim refuses the second copy.
           So only runs of tasks that a living worker records are published again

fault                                        what happens
a queue is purged or deleted, FLUSHALL       published again, a look or two later
the broker starts again without its data     the same, once it answers
a worker is killed between Redis' pop and
  kombu's note of it                         the same; what it had noted comes back by the visibility timeout
a worker is busy for half an hour            nothing: it holds its messages, the others wait
a worker is stopped (SIGSTOP) at that pop    published again; when it wakes, one of the two copies is refused
the broker is away                           nothing is known, so nothing is done
another process leads by now                 the fence matches no row: nothing of the look stands
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from celery import Celery
from kombu import Connection
from sqlalchemy.orm import Session

from taskd import clock
from taskd.broker import holdings
from taskd.broker.holdings import Holdings
from taskd.clock import waited
from taskd.courtesy import TAKE, RightOfWay, nobody_fires
from taskd.errors import Unavailable
from taskd.store import unclaimed, workers
from taskd.store.fenced import BATCH, Fenced
from taskd.store.schedules import outlived
from taskd.store.unclaimed import Unclaimed

PERIOD = 5.0  # seconds between two looks
SHARE = 0.05  # of the time may be spent looking: a queue of a million messages is looked through seldom
AGE = timedelta(seconds=5)  # since it was published: most are begun by then
PAGE = 20_000  # runs a look; the next look goes on behind them
REPEATS = 3  # times that a lost message is published again
LATE = timedelta(seconds=10)  # past `expires`: the workers' clocks, and records under way
ABSENCE = 60.0  # seconds without a worker for a queue, or a task: they take their time to restart
TELLING = 2.0  # seconds for workers to answer
log = logging.getLogger("taskd.evidence")


class Evidence:
    """`changed` is called when messages are to be published again."""

    name = "evidence"
    needs_lease = "reconcile"  # the daemon holds it, also where a Beat holds the other

    def __init__(
        self,
        database: Fenced,
        app: Celery,
        changed: Callable[[], None] = lambda: None,
        way: RightOfWay | None = None,
    ) -> None:
        self._database, self._app, self._changed = database, app, changed
        self._way = way or nobody_fires()
        self._suspects: Mapping[int, int] = {}  # by run id: the publication that was missing at the last look
        self._mark: tuple[str | None, datetime | None] = (None, None)  # seen last, and when
        self._unserved: Mapping[str, float] = {}  # queue → since when no worker takes from it
        self._unrecorded: Mapping[str, float] = {}  # task → since when no worker records it
        self._after = 0
        self._cost = 0.0  # seconds for which the last look kept the tables and the broker busy

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop. What is away is asked again; LeaseLost ends the service."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.look, clock.monotonic(), clock.now())
            except Unavailable as error:
                log.warning("no message is looked for: %s", error)
            await waited(stop, max(PERIOD, self._cost / SHARE))

    def look(self, seconds: float, now: datetime) -> int:
        """Once, at the monotonic `seconds`: how many messages are published again."""
        began = clock.monotonic()
        found = self._found(now)
        self._cost = clock.monotonic() - began
        recorded, served = self._database.read(
            lambda session: (workers.recorded(session), workers.queues(session))
        )
        looked_at = range(self._after + 1, found[-1].run_id + 1) if len(found) == PAGE else None
        self._after = looked_at.stop - 1 if looked_at else 0
        self._end_expired(found, now)
        queues, tasks = (
            {run.queue for run in found if run.queue is not None},
            {run.task_name for run in found},
        )
        self._unserved = _since(self._unserved, queues - served, seconds)
        self._unrecorded = _since(self._unrecorded, tasks - recorded, seconds)
        waiting = [run for run in self._way.among(found) if run.queue is not None and not _expired(run, now)]
        try:
            held = self._ask(waiting)
        except Exception as error:  # noqa: BLE001  every transport has its own; the publisher says that it is away
            log.debug("the broker can't be asked what it has: %s", error)
            return 0
        self._end_unserved([run for run in waiting if run.task_id in held.untouched], seconds, now)
        lost = self._lost([run for run in waiting if run.task_id in held.gone], looked_at, held.mark, now)
        self._end_sent(lost, seconds, now)
        return self._mend([run for run in lost if run.task_name in recorded], now)

    def _found(self, now: datetime) -> list[Unclaimed]:
        found: list[Unclaimed] = []
        after, complete = self._after, False
        while len(found) < PAGE and not complete:
            self._way.give(TAKE)
            some = self._database.read(
                partial(unclaimed.page, before=now - AGE, limit=min(BATCH, PAGE - len(found)), after=after)
            )
            found += some
            complete = len(some) < BATCH
            after = found[-1].run_id if found else after
        return found

    def _ask(self, waiting: Sequence[Unclaimed]) -> Holdings:
        wanted: dict[str, list[str]] = defaultdict(list)
        for run in waiting:
            wanted[run.queue or ""].append(run.task_id)
        if not wanted:
            return Holdings()
        with holdings.impatient(self._app.connection_for_read()) as connection:
            began = clock.monotonic()
            held = holdings.look(connection, wanted, partial(self._way.give, TAKE))
            self._cost += clock.monotonic() - began
            asked = {queue: wanted[queue] for queue in held.asks or {}}
            theirs = _not_held_by_workers(self._app, connection, asked, held.asks or {})
        return Holdings(held.gone | theirs, held.untouched, mark=held.mark)

    def _lost(
        self, gone: Sequence[Unclaimed], looked_at: range | None, mark: str | None, now: datetime
    ) -> list[Unclaimed]:
        """Those of which there is evidence by now. `looked_at`: run ids, where it wasn't all."""
        before, since = self._mark
        forgotten = None not in {before, mark} and mark != before
        self._mark = (mark or before, now)
        suspects = self._suspects
        elsewhere = {run: no for run, no in suspects.items() if looked_at and run not in looked_at}
        self._suspects = elsewhere | {run.run_id: run.publish_no for run in gone}
        return [
            run
            for run in gone
            if suspects.get(run.run_id) == run.publish_no
            or (forgotten and since is not None and run.published_at < since)
        ]

    def _mend(self, lost: Sequence[Unclaimed], now: datetime) -> int:
        again = [run for run in lost if run.publish_no <= REPEATS]
        given_up = [run for run in lost if run.publish_no > REPEATS]
        facts = {"reason": "message lost", "message": f"the broker lost it {REPEATS + 1} times"}

        def publish_again(session: Session, runs: Sequence[Unclaimed]) -> int:
            return unclaimed.publish_again(session, runs, "the broker had lost its message", now)

        self._write_end(given_up, "LOST", facts, now)
        republished = sum(self._database.write_each(again, publish_again))
        for run in lost:
            log.warning("the broker has lost the message of run %d (queue %r)", run.run_id, run.queue)
        if lost:
            self._changed()
        return republished

    def _end_expired(self, found: Iterable[Unclaimed], now: datetime) -> None:
        expired = [run for run in found if _expired(run, now)]
        facts = {"reason": "expired", "message": "no worker began it before it expired"}
        self._write_end(expired, "REVOKED", facts, now)

    def _end_unserved(self, untouched: Iterable[Unclaimed], seconds: float, now: datetime) -> None:
        for_long = {queue for queue, since in self._unserved.items() if seconds - since >= ABSENCE}
        missed = [
            run
            for run in self._way.among(untouched)
            if run.queue in for_long and run.scheduled_for and outlived(run.schedule, run.scheduled_for, now)
        ]
        facts = {"reason": "no worker", "message": "no worker took from its queue within its catch-up window"}
        self._write_end(missed, "MISSED", facts, now)

    def _end_sent(self, gone: Iterable[Unclaimed], seconds: float, now: datetime) -> None:
        for_long = {task for task, since in self._unrecorded.items() if seconds - since >= ABSENCE}
        facts = {"reason": "unrecorded", "message": "a worker has it, but none records this task"}
        self._write_end([run for run in gone if run.task_name in for_long], "SENT", facts, now)

    def _write_end(
        self, runs: Sequence[Unclaimed], status: unclaimed.End, facts: Mapping[str, str], now: datetime
    ) -> None:
        self._database.write_each(
            runs, lambda session, some: unclaimed.end(session, some, status, facts, now)
        )


def _expired(run: Unclaimed, now: datetime) -> bool:
    return run.expires is not None and run.expires + LATE < now


def _since(before: Mapping[str, float], absent: Collection[str], seconds: float) -> dict[str, float]:
    return {name: before.get(name, seconds) for name in absent}


def _not_held_by_workers(
    app: Celery, connection: Connection, wanted: Mapping[str, Collection[str]], consumers: Mapping[str, int]
) -> frozenset[str]:
    """Those that each consumer of their queue says it hasn't got; none where one of them doesn't answer."""
    if not wanted:
        return frozenset()
    takes = app.control.inspect(timeout=TELLING, connection=connection).active_queues() or {}
    told = {queue: {name for name, taken in takes.items() if _names(queue, taken)} for queue in wanted}
    everybody = sorted(set().union(*told.values()))
    if not everybody:
        return frozenset()
    ids = sorted({task_id for those in wanted.values() for task_id in those})
    # As soon as all have answered, and no later.
    inspect = app.control.inspect(everybody, TELLING, connection=connection, limit=len(everybody))
    has = inspect.query_task(*ids) or {}
    missing: set[str] = set()
    for queue, those in wanted.items():
        if len(told[queue]) == consumers[queue] and has.keys() >= told[queue]:
            missing |= set(those) - {task_id for name in told[queue] for task_id in has[name]}
    return frozenset(missing)


def _names(queue: str, taken: Iterable[Mapping[str, object]]) -> bool:
    return any(one["name"] == queue for one in taken)
