"""P and T2: what is due in the outbox goes to the broker, and is marked once the broker has confirmed it.

States     a message is waiting → sent and confirmed → marked. It keeps its task id however often it is sent
Order      of one queue: by run id; a queue that fails waits alone, the others go on

fault                                   what happens
crash between confirmation and mark     it is sent again; the worker's claim refuses the second copy
an old leader wakes here                the same
the broker is away                      nothing is sent; tried again with backoff, on a new connection
one queue is refused                    its messages wait, with backoff; other queues don't
a message waited past its window        its run ends as MISSED (reason: broker)
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import OperationalError

from taskd import clock
from taskd.dispatch.leader import Leadership
from taskd.dispatch.messages import send
from taskd.store import outbox, runs
from taskd.store.database import Database
from taskd.store.outbox import Waiting
from taskd.store.schedules import outlived

BATCH = 200
LONGEST_BACKOFF = 30.0  # seconds
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


@dataclass(slots=True)
class Sent:
    """What became of one batch, by run id."""

    published: list[int] = field(default_factory=list)
    overdue: list[int] = field(default_factory=list)


class Publisher:
    """Sends what is due. One thread calls `tick`, while its process leads."""

    def __init__(self, database: Database, app: Celery, leadership: Leadership) -> None:
        self._database, self._app, self._leadership = database, app, leadership
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._broker = Backoff()
        self._queues: dict[str, Backoff] = {}

    def tick(self, now: datetime) -> int:
        """Send all that is due at `now`; how many messages the broker has confirmed."""
        published, after = 0, 0
        while self._leadership.leads(clock.monotonic()):
            batch = self._database.read(partial(outbox.due, now=now, limit=BATCH, after=after))
            sent = self._send_all(batch, now)
            self._mark(sent, now)
            published += len(sent.published)
            if len(batch) < BATCH:
                break
            after = batch[-1].run_id
        return published

    def next_due(self) -> datetime | None:
        """When the next message is due; None as long as the broker is given a rest."""
        if self._broker.until > clock.monotonic():
            return None
        return self._database.read(outbox.next_due)

    def close(self) -> None:
        """Let the connection go."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()

    def _send_all(self, batch: Sequence[Waiting], now: datetime) -> Sent:
        sent = Sent()
        for waiting in batch:
            if _overdue(waiting, now):
                sent.overdue.append(waiting.run_id)
            elif self._may_send(waiting.queue) and self._send(waiting):
                sent.published.append(waiting.run_id)
        return sent

    def _may_send(self, queue: str) -> bool:
        seconds = clock.monotonic()
        backoff = self._queues.get(queue)
        return (
            self._broker.until <= seconds
            and (backoff is None or backoff.until <= seconds)
            and self._leadership.leads(seconds)
        )

    def _send(self, waiting: Waiting) -> bool:
        try:
            send(self._app, self._open(), waiting.task_name, waiting.message)
        except Exception as error:  # noqa: BLE001  every transport has its own, and the queue must go on
            self._failed(waiting, error)
            return False
        self._broker = Backoff()
        self._queues.pop(waiting.queue, None)
        return True

    def _open(self) -> Producer:
        if self._producer is None:
            self._connection = self._app.connection_for_write()
            if self._connection.transport.driver_type == "amqp":
                # Whatever the application says: without it a message that RabbitMQ never got would count as sent.
                self._connection.transport_options = {
                    **(self._connection.transport_options or {}),
                    "confirm_publish": True,
                }
            self._producer = self._app.amqp.Producer(self._connection.channel(), auto_declare=False)
        return self._producer

    def _failed(self, waiting: Waiting, error: Exception) -> None:
        """The whole broker is given a rest if the connection failed, else this queue alone."""
        connection = self._connection
        lost: tuple[type[BaseException], ...] = (
            OSError,
            OperationalError,
            *(connection.connection_errors if connection else ()),
        )
        whole = connection is None or isinstance(error, lost)
        backoff = self._broker if whole else self._queues.setdefault(waiting.queue, Backoff())
        pause = backoff.fail(clock.monotonic())
        what = "the broker" if whole else f"queue {waiting.queue!r}"
        log.warning(
            "%s takes no messages (%s: %s): again in %.1f s", what, type(error).__name__, error, pause
        )
        self.close()

    def _mark(self, sent: Sent, now: datetime) -> None:
        if sent.published:
            self._database.write(lambda session: outbox.mark_published(session, sent.published, clock.now()))
        if sent.overdue:
            detail = {"reason": "broker", "message": "no broker took it within its catch-up window"}
            self._database.write(
                lambda session: runs.end_unpublished(session, sent.overdue, "MISSED", detail, now)
            )


def _overdue(waiting: Waiting, now: datetime) -> bool:
    return waiting.scheduled_for is not None and outlived(waiting.schedule, waiting.scheduled_for, now)
