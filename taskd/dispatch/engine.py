"""The two threads that fire: one leads and decides, one publishes. Nothing else runs in them, so nothing delays them."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import inf

from celery import Celery

from taskd import clock, garbage
from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.dispatch.publisher import Publisher
from taskd.errors import LeaseLost, Unavailable
from taskd.store.database import Database

LONGEST_SLEEP = 1.0  # seconds: changes by other processes are seen within it
HUNG = 5.0  # seconds of one pass of a thread
STANDBY_LOOK = timedelta(seconds=0.25)  # a leader that resigns is followed within it
log = logging.getLogger("taskd.dispatch")


class Engine:
    """Dispatches from `start` to `stop`, while this process holds the `dispatch` lease."""

    def __init__(
        self,
        database: Database,
        app: Celery,
        leadership: Leadership,
        secret_keys: frozenset[str] = frozenset(),
    ) -> None:
        self.leadership = leadership
        self._publisher = Publisher(database, app, leadership)
        self._dispatcher = Dispatcher(database, app, leadership, secret_keys, self._publisher)
        self._stopping = threading.Event()
        self._decide, self._publish = threading.Event(), self._publisher.arrived
        self._heart = clock.monotonic()
        self._rests_until: dict[str, float] = {}  # by thread; while it is at work, since when
        self._deciding = False  # a pass is under way
        self._threads = [
            threading.Thread(
                target=self._run, args=(self._lead, self._decide), name="taskd-dispatch", daemon=True
            ),
            threading.Thread(
                target=self._run, args=(self._send, self._publish), name="taskd-publish", daemon=True
            ),
        ]

    def start(self) -> None:
        """Start both threads. Garbage is looked for more rarely from then on, in the whole process."""
        garbage.look_rarely()
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Something has changed: look now rather than soon."""
        self._decide.set()
        self._publish.set()

    def stop(self, within: float = 8.0) -> bool:
        """Finish what is in flight, give the lease back; False if a thread didn't end within `within` seconds."""
        self._stopping.set()
        self.wake()
        deadline = clock.monotonic() + within
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(deadline - clock.monotonic(), 0.0))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended:
            self._finish()
        return ended

    def refusals(self) -> Mapping[str | None, str]:
        """Why messages wait: the publisher's errors by queue, and by None for the whole broker."""
        return self._publisher.refusals

    def publish_failures(self) -> int:
        """How often the broker, or a queue of it, took nothing since the start."""
        return self._publisher.failures

    def free_for(self) -> float:
        """Seconds until one of the threads has something to do; 0 or less while one is at work.

        One that has been for longer than HUNG waits for a broker or a database, and needs nobody's consideration.
        """
        now = clock.monotonic()
        return min(
            (until - now for until in list(self._rests_until.values()) if until > now - HUNG), default=inf
        )

    def heart_age(self) -> float:
        """Seconds since the dispatching thread last came round; it does so at least every second."""
        return clock.monotonic() - self._heart

    def alive(self) -> bool:
        """Whether both threads still run."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self, step: Callable[[datetime], datetime | None], woken: threading.Event) -> None:
        """Step, then sleep until the next is due, at most LONGEST_SLEEP, or until woken."""
        failures, me = 0, threading.current_thread().name
        while not self._stopping.is_set():
            woken.clear()
            self._rests_until[me] = clock.monotonic()
            try:
                due = step(clock.now())
                failures = 0
            except (Unavailable, LeaseLost) as error:
                failures += 1
                due = None
                if failures == 1:
                    log.warning("%s; trying again", error)
            except Exception:
                due = None
                log.exception("a pass failed; trying again")
            pause = _pause(due)
            self._rests_until[me] = clock.monotonic() + pause
            woken.wait(pause)

    def _lead(self, now: datetime) -> datetime | None:
        self._heart = clock.monotonic()
        if not self.leadership.step(self._heart):
            return now + STANDBY_LOOK
        try:
            self._deciding = True
            written = self._dispatcher.tick(now)
        except LeaseLost:
            self.leadership.lose()
            raise
        finally:
            self._deciding = False
        if written:
            self._publish.set()
        elif self._dispatcher.get_ready(now):
            return now
        return self._dispatcher.next_due()

    def _send(self, now: datetime) -> datetime | None:
        if not self.leadership.leads(clock.monotonic()):
            return None
        self._dispatcher.revoker.send()
        self._publisher.tick(now, more_comes=self._deciding)
        return self._publisher.next_due()

    def _finish(self) -> None:
        """Send what the last pass decided; then another may lead. Both threads have ended."""
        try:
            self._publisher.tick(clock.now())
            self._publisher.close()
            self.leadership.resign()
        except Unavailable as error:
            log.warning("what is left goes to the next leader, once the lease has run out: %s", error)


def _pause(due: datetime | None) -> float:
    if due is None:
        return LONGEST_SLEEP
    return min(max((due - clock.now()).total_seconds(), 0.01), LONGEST_SLEEP)
