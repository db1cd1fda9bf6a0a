"""P and T2: what is due goes to the broker, and is marked once the broker has confirmed it.

States     a message is waiting → sent and confirmed → marked. It keeps its task id however often it is sent
Ways in    what T1 has just committed is handed over in memory; what else is due is read from the outbox: on start, when
           something was left behind, and whenever there is nothing at hand (manual runs, what was held)
Order      of one queue: by run id; a queue that fails waits alone, the others go on. Once anything was left behind,
           all goes through the outbox, in its order, until nothing is behind any more
Marks      are written with a T1 where there are many, else once nothing more comes, by this thread

fault                                   what happens
crash between confirmation and mark     it is sent again, in a herd up to 10,000; the worker's claim refuses the copies
an old leader wakes here                the same; its mark matches no lease, so the next leader sends it once more
the broker is away                      nothing is sent or read; tried again with backoff, on a new connection
one queue is refused                    its messages wait, with backoff; other queues don't
a message waited past its window        its run ends as MISSED (reason: broker)
T1 fails that carried marks             they are written with the next one, or by this thread
"""

import logging
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Event, Lock

from celery import Celery

from taskd import clock
from taskd.dispatch.leader import Leadership
from taskd.dispatch.outlet import Outcome, Outlet
from taskd.dispatch.outlets import open_outlet
from taskd.store import outbox, runs
from taskd.store.database import Database
from taskd.store.fenced import Fenced, nothing
from taskd.store.outbox import Mark, Waiting
from taskd.store.schedules import outlived

BATCH = 500
LONGEST_BACKOFF = 30.0  # seconds
OVERDUE_EVERY = 30.0  # seconds between looks, during an outage, at what has waited too long
log = logging.getLogger("taskd.publish")


@dataclass(slots=True)
class Backoff:
    """Seconds to wait after each failure in a row: doubling, with jitter."""

    until: float = 0.0
    failures: int = 0

    def fail(self, seconds: float) -> float:
        """Count a failure at `seconds` (monotonic); how long to wait now."""
        self.failures += 1
        pause: float = min(0.25 * 2**self.failures, LONGEST_BACKOFF) * random.uniform(0.75, 1.25)  # noqa: S311
        self.until = seconds + pause
        return pause


class Marks:
    """What the broker has confirmed and no transaction has noted yet. From any thread."""

    def __init__(self) -> None:
        self._confirmed: deque[Mark] = deque()

    def add(self, run_ids: Sequence[int], at: datetime) -> None:
        """The broker has confirmed these."""
        if run_ids:
            self._confirmed.append(Mark(run_ids, at))

    @contextmanager
    def taken(self, at_least: int = 0) -> Iterator[Sequence[Mark]]:
        """All of them, or none where there are fewer, for one transaction: if that fails they are here again."""
        taken: list[Mark] = []
        enough = len(self._confirmed) >= at_least
        while enough and self._confirmed:
            taken.append(self._confirmed.popleft())
        try:
            yield taken
        except BaseException:
            self._confirmed.extendleft(reversed(taken))
            raise

    def forget(self) -> None:
        """Whoever leads now finds them unmarked, and sends them once more."""
        self._confirmed.clear()

    def __bool__(self) -> bool:
        return bool(self._confirmed)


class Publisher:
    """Sends what is due. One thread calls `tick`, while its process leads; another hands over what it commits."""

    def __init__(self, database: Database, app: Celery, leadership: Leadership) -> None:
        self._database, self._app, self._leadership = Fenced(database, leadership.fence), app, leadership
        self._outlet: Outlet | None = None
        self._broker = Backoff()
        self._queues: dict[str, Backoff] = {}
        self.failures = 0  # how often the broker, or a queue, took nothing since the start
        self.refusals: dict[
            str | None, str
        ] = {}  # what fails now: a queue, or None for the broker → the error
        self._at_hand: deque[Waiting] = deque()
        self._behind = True
        self._epoch: int | None = None
        self._looked_for_overdue = float("-inf")
        self.marks = Marks()
        self.arrived = Event()  # something is at hand
        self.committing = Lock()  # held from a T1's commit until its messages are handed over

    def hand_over(self, messages: Sequence[Waiting]) -> None:
        """Take what has just been committed; the caller holds `committing`."""
        if messages:
            self._at_hand.extend(messages)
            self.arrived.set()

    def tick(self, now: datetime, *, more_comes: bool = False) -> int:
        """Send all that is due at `now`; how many messages the broker has confirmed.

        `more_comes`: a pass is under way, which will hand over more, and whose transactions take the marks.
        """
        self._begin_anew_as_another_leader()
        published = self._send_what_is_at_hand()
        if more_comes and not self._behind:
            return published
        self._mark()
        if self._resting():
            self._end_overdue(now)
            return published
        return published + self._send_backlog(now)

    def next_due(self) -> datetime | None:
        """When the next message is due; None as long as the broker or a queue is given a rest, or more comes anyway."""
        if self._behind or self.marks:
            return None
        return self._database.read(outbox.next_due)

    def close(self) -> None:
        """Let the connection go."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close()

    def _begin_anew_as_another_leader(self) -> None:
        """Another may have led meanwhile: what is at hand may have been sent, and something may have been left."""
        if self._epoch != self._leadership.epoch:
            self._epoch, self._behind = self._leadership.epoch, True
            self.marks.forget()

    def _send_what_is_at_hand(self) -> int:
        published = 0
        while self._at_hand and not self._behind and self._leads():
            batch = [self._at_hand.popleft() for _ in range(min(BATCH, len(self._at_hand)))]
            published += self._send(batch)
        return published

    def _send_backlog(self, now: datetime) -> int:
        """What the outbox has, page by page; queues that are given a rest left out."""
        published, after, left = 0, 0, False
        while self._leads():
            page = self._page(now, after)
            overdue = [waiting.run_id for waiting in page if _overdue(waiting, now)]
            self._end(overdue, now)
            fit = [waiting for waiting in page if waiting.run_id not in overdue]
            sent = self._send(fit) if fit else 0
            self._mark()
            published += sent
            left = left or sent < len(fit)
            if len(page) < BATCH:
                self._behind = left or bool(self._resting_queues())
                break
            after = page[-1].run_id
        return published

    def _page(self, now: datetime, after: int) -> list[Waiting]:
        with self.committing:
            page = self._database.read(
                partial(outbox.due, now=now, limit=BATCH, after=after, but_not=self._resting_queues())
            )
            self._at_hand.clear()  # the outbox has it, on this page or a later one
            self._behind = True
        return page

    def _send(self, batch: Sequence[Waiting]) -> int:
        """How many were sent; what wasn't is behind."""
        resting = self._resting_queues()
        fit = [waiting for waiting in batch if waiting.queue not in resting] if resting else batch
        outcome = self._outcome(fit) if fit else Outcome()
        self.marks.add(outcome.sent, clock.now())
        self._note(outcome, {waiting.queue for waiting in fit})
        if len(outcome.sent) < len(batch):
            self._behind = True
        return len(outcome.sent)

    def _outcome(self, batch: Sequence[Waiting]) -> Outcome:
        try:
            if self._outlet is None:
                self._outlet = open_outlet(self._app)
            if not self._broker.failures:
                return self._outlet.send(batch)
            first = self._outlet.send(batch[:1])  # one tries whether it is back
            rest = Outcome() if first.broken or not batch[1:] else self._outlet.send(batch[1:])
            return Outcome(first.sent + rest.sent, first.refused | rest.refused, first.broken or rest.broken)
        except Exception as error:  # noqa: BLE001  every transport has its own, and firing must go on
            return Outcome(broken=error)

    def _note(self, outcome: Outcome, queues: set[str]) -> None:
        """The whole broker is given a rest if the connection failed, else the queues that were refused."""
        for queue in queues - outcome.refused.keys():
            if outcome.broken is None:
                self._queues.pop(queue, None)
                self.refusals.pop(queue, None)
        for queue, error in outcome.refused.items():
            self._rest(self._queues.setdefault(queue, Backoff()), queue, error)
        if outcome.broken is not None:
            self._rest(self._broker, None, outcome.broken)
            self.close()
        elif outcome.sent:
            self._broker = Backoff()
            self.refusals.pop(None, None)

    def _rest(self, backoff: Backoff, name: str | None, error: Exception) -> None:
        pause = backoff.fail(clock.monotonic())
        what = "the broker" if name is None else f"queue {name!r}"
        self.failures += 1
        self.refusals[name] = f"{type(error).__name__}: {error}"
        log.warning(
            "%s takes no messages (%s: %s): again in %.1f s", what, type(error).__name__, error, pause
        )

    def _leads(self) -> bool:
        return not self._resting() and self._leadership.leads(clock.monotonic())

    def _resting(self) -> bool:
        return self._broker.until > clock.monotonic()

    def _resting_queues(self) -> set[str]:
        seconds = clock.monotonic()
        return {queue for queue, backoff in self._queues.items() if backoff.until > seconds}

    def _mark(self) -> None:
        if self.marks:
            with self.marks.taken() as marks:
                self._database.write(nothing, behind=lambda session: outbox.mark_all(session, marks))

    def _end_overdue(self, now: datetime) -> None:
        """During an outage, now and then: what nobody needs any more."""
        seconds = clock.monotonic()
        if seconds - self._looked_for_overdue < OVERDUE_EVERY:
            return
        self._looked_for_overdue = seconds
        after = 0
        while page := self._database.read(partial(outbox.late, now=now, limit=BATCH, after=after)):
            self._end([late.run_id for late in page if outlived(late.schedule, late.scheduled_for, now)], now)
            after = page[-1].run_id

    def _end(self, run_ids: Sequence[int], now: datetime) -> None:
        if run_ids:
            detail = {"reason": "broker", "message": "no broker took it within its catch-up window"}
            self._database.write(
                lambda session: runs.end_unpublished(session, run_ids, "MISSED", detail, now)
            )


def _overdue(waiting: Waiting, now: datetime) -> bool:
    return waiting.scheduled_for is not None and outlived(waiting.schedule, waiting.scheduled_for, now)
