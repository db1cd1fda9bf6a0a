"""The way out: batches of messages to the broker over one connection, each broker in its own manner.

States     a batch → for each message sent (the broker has confirmed it) or not; never a third
Order      of one queue: as in the batch; after a refusal nothing more of that queue is sent
Same       every way sends what Celery's own `send_task_message` would: it is asked once for each kind of message
           (equal options), and what it made is filled in for the rest. Where somebody listens to Celery's publish
           signals, it is asked for each message, which goes out alone, so that listeners see what they always see

fault                                   what happens
one queue is refused                    told by queue; the rest of the batch is sent
the connection breaks, or answers late  `broken`: what wasn't confirmed counts as not sent, and is sent again
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Protocol, cast

from celery import Celery
from celery.signals import after_task_publish, before_task_publish, task_sent
from kombu import Connection, Producer
from kombu.exceptions import OperationalError

from taskd.dispatch.messages import send
from taskd.store.outbox import Waiting


@dataclass(slots=True)
class Outcome:
    """What became of a batch. `refused`: by queue, why; `broken`: why nothing more could be sent at all."""

    sent: list[int] = field(default_factory=list)
    refused: dict[str, Exception] = field(default_factory=dict)
    broken: Exception | None = None


class Outlet(Protocol):
    """One connection to the broker."""

    connection: Connection

    def send(self, batch: Sequence[Waiting]) -> Outcome:
        """Send and wait for the broker's word. Raises nothing of a transport's own."""
        ...

    def close(self) -> None:
        """Let the connection go."""
        ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """What Celery and kombu make of messages with equal options, the body and the headers apart."""

    exchange: str
    routing_key: str
    priority: int
    content_type: str
    content_encoding: str
    properties: dict[str, Any]
    declare: tuple[Any, ...]


class Uncommon(Exception):
    """A message that can't be filled in, since Celery changes its body or its headers (compression)."""


def envelope_of(app: Celery, waiting: Waiting) -> Envelope:
    """Ask Celery. Raises Uncommon."""
    capture = _Capture()
    send(app, capture, waiting.task_name, waiting.message)
    given = capture.given
    if _bytes(given["body"]) != waiting.message.body or given["headers"] != waiting.message.headers:
        raise Uncommon
    return Envelope(
        given["exchange"],
        given["routing_key"],
        given["priority"],
        given["content_type"],
        given["content_encoding"],
        given["properties"],
        tuple(given["declare"] or ()),
    )


def somebody_listens() -> bool:
    """Whether Celery's publish signals have receivers, as tracing has."""
    return any(signal.receivers for signal in (before_task_publish, after_task_publish, task_sent))


class Singly:
    """One message after the other, by Celery itself: for any transport."""

    def __init__(self, app: Celery, connection: Connection) -> None:
        self._app, self.connection = app, connection
        self._producer: Producer | None = None

    def send(self, batch: Sequence[Waiting]) -> Outcome:
        """Each waits for the broker's confirmation, where the transport has one."""
        outcome = Outcome()
        for waiting in batch:
            if waiting.queue in outcome.refused:
                continue
            try:
                self._send(waiting)
            except Exception as error:  # noqa: BLE001  every transport has its own, and the others must go on
                if is_broken(self.connection, error):
                    outcome.broken = error
                    break
                outcome.refused[waiting.queue] = error
                self._producer = None  # the channel may have died of it
            else:
                outcome.sent.append(waiting.run_id)
        return outcome

    def close(self) -> None:
        """Let the connection go."""
        self.connection.release()

    def _send(self, waiting: Waiting) -> None:
        if self._producer is None:
            self._producer = self._app.amqp.Producer(self.connection.channel(), auto_declare=False)
        send(self._app, self._producer, waiting.task_name, waiting.message)


def is_broken(connection: Connection, error: Exception) -> bool:
    """Whether an error concerns the whole connection, rather than one queue."""
    errors: tuple[type[BaseException], ...] = (OSError, OperationalError, *connection.connection_errors)
    return isinstance(error, errors)


class _Capture(Producer):
    """Keeps what would be published."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None), auto_declare=False)
        self.given: dict[str, Any] = {}

    def _publish(self, *given: Any, **more: Any) -> None:
        bound = signature(super()._publish).bind(*given, **more)
        self.given = bound.arguments | {"exchange": _name_of(bound.arguments["exchange"])}


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def _name_of(exchange: Any) -> str:
    return str(getattr(exchange, "name", exchange))
