"""Batches to RabbitMQ: published one after the other, confirmed together.

States     published → confirmed | returned (no queue takes it) | refused (nack); tags count publishes on the channel
Queues     are declared first, each on a channel that may die of it: a refused declaration concerns that queue alone

fault                                   what happens
the exchange isn't there                the channel dies: what isn't confirmed is sent one by one, which shows whose it is
a queue was deleted meanwhile           its messages are returned: refused, and the queue is declared anew next time
no confirmation within SEND_TIMEOUT     broken: what isn't confirmed is sent again on a new connection
the broker blocks (memory, disk)        the same, once it says so; a new connection begins with a single message
"""

from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu import Connection

from taskd import clock
from taskd.dispatch.messages import CORRELATION, SEND_TIMEOUT
from taskd.dispatch.outlet import (
    Envelope,
    Outcome,
    Singly,
    Uncommon,
    envelope_of,
    is_broken,
    somebody_listens,
)
from taskd.store.outbox import Waiting

BLOCKED_PATIENCE = 1.0  # seconds for the confirmations of what was sent before the broker blocked


class Refused(Exception):
    """RabbitMQ didn't take a message."""


class AmqpOutlet:
    """As Outlet. `connection` doesn't confirm by itself; `confirming` does, for what is sent singly."""

    def __init__(self, app: Celery, connection: Connection, confirming: Connection) -> None:
        self._app, self.connection = app, connection
        self._singly = Singly(app, confirming)
        self._channel: Any = None
        self._tag = 0
        self._pending: dict[int, Waiting] = {}
        self._returned: dict[str, str] = {}
        self._blocked: str | None = None
        self._envelopes: dict[str, Envelope] = {}
        connection.transport_options = {
            **(connection.transport_options or {}),
            "confirm_publish": False,
            "on_blocked": self._on_blocked,
        }

    def send(self, batch: Sequence[Waiting]) -> Outcome:
        """All at once; message by message where somebody listens, or where one is out of the common run."""
        if somebody_listens():
            return self._singly.send(batch)
        outcome = Outcome()
        try:
            self._publish(batch, outcome)
            self._wait(outcome)
        except Uncommon:
            return self._rest_singly(batch, outcome)
        except Exception as error:  # noqa: BLE001  told apart by what it is about
            if is_broken(self.connection, error) and not self._only_the_channel_died():
                outcome.broken = error
                return outcome
            return self._rest_singly(batch, outcome)
        return outcome

    def close(self) -> None:
        """Let the connections go."""
        self._singly.close()
        self.connection.release()

    def _only_the_channel_died(self) -> bool:
        """amqp calls it a lost connection when it publishes on a channel that the broker has closed."""
        return self._channel is not None and not self._channel.is_open and bool(self.connection.connected)

    def _open(self) -> Any:
        if self._channel is None:
            channel: Any = self.connection.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)
            channel.events["basic_return"].add(self._on_return)
            self._channel, self._tag = channel, 0
        return self._channel

    def _publish(self, batch: Sequence[Waiting], outcome: Outcome) -> None:
        self._outcome = outcome
        self._pending.clear()
        self._returned.clear()
        channel = self._open()
        for waiting in batch:
            if self._blocked is not None:
                break
            if waiting.queue in outcome.refused:
                continue
            envelope = self._envelope(waiting, outcome)
            if envelope is not None:
                self._tag += 1
                self._pending[self._tag] = waiting
                channel.basic_publish(
                    channel.prepare_message(
                        waiting.message.body,
                        envelope.priority,
                        envelope.content_type,
                        envelope.content_encoding,
                        waiting.message.headers,
                        {**envelope.properties, CORRELATION: waiting.task_id},
                    ),
                    exchange=envelope.exchange,
                    routing_key=envelope.routing_key,
                    mandatory=True,
                    timeout=SEND_TIMEOUT,
                )

    def _wait(self, outcome: Outcome) -> None:
        """Until all is confirmed. Raises TimeoutError where that takes too long."""
        deadline = clock.monotonic() + SEND_TIMEOUT
        while self._pending:
            patience = BLOCKED_PATIENCE if self._blocked is not None else deadline - clock.monotonic()
            try:
                self.connection.drain_events(timeout=max(patience, 0.001))
            except TimeoutError as error:
                raise TimeoutError(self._blocked or f"no confirmation within {SEND_TIMEOUT:.0f} s") from error
        if self._blocked is not None:
            outcome.broken = TimeoutError(self._blocked)

    def _envelope(self, waiting: Waiting, outcome: Outcome) -> Envelope | None:
        """None where its queue can't be declared. Raises Uncommon."""
        known = self._envelopes.get(waiting.message.options_json)
        if known is None:
            known = envelope_of(self._app, waiting)
            try:
                for entity in known.declare:
                    with self.connection.channel() as channel:
                        entity(channel).declare()
            except self.connection.channel_errors as error:
                outcome.refused[waiting.queue] = Refused(str(error))
                return None
            self._envelopes[waiting.message.options_json] = known
        return known

    def _rest_singly(self, batch: Sequence[Waiting], outcome: Outcome) -> Outcome:
        self._channel = None
        sent = set(outcome.sent)
        rest = [
            waiting
            for waiting in batch
            if waiting.run_id not in sent and waiting.queue not in outcome.refused
        ]
        singly = self._singly.send(rest)
        return Outcome(outcome.sent + singly.sent, outcome.refused | singly.refused, singly.broken)

    def _answered(self, tag: int, *, multiple: bool) -> list[Waiting]:
        tags = [known for known in self._pending if known <= tag] if multiple else [tag]
        return [self._pending.pop(known) for known in tags if known in self._pending]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for waiting in self._answered(tag, multiple=multiple):
            why = self._returned.get(waiting.task_id)
            if why is None:
                self._outcome.sent.append(waiting.run_id)
            else:
                self._refuse(waiting, why)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for waiting in self._answered(tag, multiple=multiple):
            self._refuse(waiting, "the broker refuses it (nack)")

    def _on_return(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        to = f"exchange {exchange!r}, routing key {routing_key!r}" if exchange else f"queue {routing_key!r}"
        self._returned[message.properties["correlation_id"]] = f"no queue takes it: {to} ({error})"

    def _on_blocked(self, reason: str) -> None:
        self._blocked = reason

    def _refuse(self, waiting: Waiting, why: str) -> None:
        self._outcome.refused[waiting.queue] = Refused(why)
        self._envelopes.pop(waiting.message.options_json, None)  # declared anew
