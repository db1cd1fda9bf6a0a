"""Batches to Redis: one LPUSH a list, all of them sent in one piece, without a retry that nobody sees.

What stands in a list is kombu's JSON around Celery's headers. kombu builds it once for each kind of message (equal
options), with marks where the messages differ; filling in the marks is all that is left to do for a message.
"""

import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu import Connection
from kombu.utils.json import dumps
from redis.exceptions import ResponseError

from taskd.dispatch.messages import CORRELATION
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

BINDINGS_KEPT = 5.0  # seconds for which an exchange's bindings are believed
_MARK = uuid4().hex
_BODY, _HEADERS, _ID, _TAG = (f"{_MARK}-{part}" for part in ("body", "headers", "id", "tag"))


class Unrouted(Exception):
    """No queue is bound to the exchange."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(
            f"no queue is bound to exchange {exchange!r} for {routing_key!r}: start a worker that consumes from one"
        )


@dataclass(frozen=True, slots=True)
class Lane:
    """Where messages with equal options go, and their JSON with gaps."""

    keys: tuple[str, ...]
    until: float
    before_body: str
    before_headers: str
    before_id: str
    before_tag: str
    end: str

    def payload(self, waiting: Waiting, tag: str) -> str:
        """One message."""
        message = waiting.message
        body = b64encode(message.body).decode()
        return (
            f"{self.before_body}{body}{self.before_headers}{message.headers_json}"
            f"{self.before_id}{waiting.task_id}{self.before_tag}{tag}{self.end}"
        )


class RedisOutlet:
    """As Outlet."""

    def __init__(self, app: Celery, connection: Connection) -> None:
        self._app, self.connection = app, connection
        self._singly = Singly(app, connection)
        self._channel: Any = None
        self._lanes: dict[str, Lane] = {}
        self._tags, self._count = uuid4().hex, count()

    def send(self, batch: Sequence[Waiting]) -> Outcome:
        """One pipeline for all; message by message where somebody listens, or where one is out of the common run."""
        try:
            if somebody_listens():
                return self._singly.send(batch)
            return self._send(batch)
        except Uncommon:
            return self._singly.send(batch)
        except Exception as error:
            if not is_broken(self.connection, error):
                raise
            return Outcome(broken=error)

    def close(self) -> None:
        """Let the connection go."""
        self.connection.release()

    def _send(self, batch: Sequence[Waiting]) -> Outcome:
        outcome = Outcome()
        lists: dict[str, list[str]] = defaultdict(list)
        going: dict[str, list[Waiting]] = defaultdict(list)  # by the first of their lists
        for waiting in batch:
            if waiting.queue in outcome.refused:
                continue
            try:
                lane = self._lane(waiting)
            except Unrouted as error:
                outcome.refused[waiting.queue] = error
                continue
            payload = lane.payload(waiting, self._next_tag())
            for key in lane.keys:
                lists[key].append(payload)
                going[key].append(waiting)
        self._push(lists, going, outcome)
        return outcome

    def _push(self, lists: dict[str, list[str]], going: dict[str, list[Waiting]], outcome: Outcome) -> None:
        if not lists:
            return
        sent = {}
        for key, refusal in zip(lists, self._refusals(lists), strict=True):
            for waiting in going[key]:
                if refusal is not None:
                    outcome.refused[waiting.queue] = refusal
                else:
                    sent[waiting.run_id] = waiting.queue
        outcome.sent += [run_id for run_id, queue in sent.items() if queue not in outcome.refused]

    def _refusals(self, lists: dict[str, list[str]]) -> list[ResponseError | None]:
        """Push; for each list why it wasn't taken, or None.

        redis-py's pipeline would send a herd in thousands of pieces, and each lets go of the interpreter, which the
        deciding thread then keeps for as long as it may.
        """
        channel = self._open()
        with channel.conn_or_acquire() as client:
            pool = client.connection_pool
            connection = pool.get_connection()
            try:
                pushes = (_lpush(f"{channel.global_keyprefix}{key}", texts) for key, texts in lists.items())
                connection.send_packed_command([b"".join(pushes)])
                return [_refusal(connection) for _ in lists]
            except BaseException:
                connection.disconnect()  # what it still has to say would be taken for another's answer
                raise
            finally:
                pool.release(connection)

    def _next_tag(self) -> str:
        """Unlike any other; a random number for each message would let go of the interpreter each time."""
        return f"{self._tags}-{next(self._count):x}"

    def _open(self) -> Any:
        if self._channel is None:
            self._channel = self.connection.channel()
        return self._channel

    def _lane(self, waiting: Waiting) -> Lane:
        """Raises Unrouted, Uncommon."""
        lane = self._lanes.get(waiting.message.options_json)
        if lane is None or lane.until < time.monotonic():
            lane = self._lanes[waiting.message.options_json] = self._new_lane(waiting)
        return lane

    def _new_lane(self, waiting: Waiting) -> Lane:
        envelope, channel = envelope_of(self._app, waiting), self._open()
        for entity in envelope.declare:
            entity(channel).declare() if not entity.is_bound else entity.declare(channel=channel)
        queues = self._queues(channel, envelope)
        message = channel.prepare_message(
            "",
            envelope.priority,
            envelope.content_type,
            envelope.content_encoding,
            {},
            {**envelope.properties, CORRELATION: _ID},
        )
        channel._inplace_augment_message(message, envelope.exchange, envelope.routing_key)  # noqa: SLF001
        message["body"], message["headers"] = _BODY, _HEADERS
        message["properties"]["delivery_tag"] = _TAG
        priority = channel._get_message_priority(message, reverse=False)  # noqa: SLF001
        keys = tuple(channel._q_for_pri(queue, priority) for queue in queues)  # noqa: SLF001
        until = time.monotonic() + BINDINGS_KEPT if envelope.exchange else float("inf")
        return Lane(keys, until, *_parts(dumps(message)))

    def _queues(self, channel: Any, envelope: Envelope) -> Sequence[str]:
        if not envelope.exchange:
            queues: Sequence[str] = [envelope.routing_key]
        elif channel.typeof(envelope.exchange).type == "fanout":
            raise Uncommon
        else:
            queues = channel._lookup(envelope.exchange, envelope.routing_key)  # noqa: SLF001
        if not queues:
            raise Unrouted(envelope.exchange, envelope.routing_key)
        if any(queue in channel._expires for queue in queues):  # noqa: SLF001
            raise Uncommon  # each message renews what expires
        return queues


def _lpush(key: str, payloads: Sequence[str]) -> bytes:
    """As Redis reads it from the wire."""
    words = [word.encode() for word in (key, *payloads)]
    head = b"*%d\r\n$5\r\nLPUSH\r\n" % (len(words) + 1)
    return head + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def _refusal(connection: Any) -> ResponseError | None:
    try:
        connection.read_response()
    except ResponseError as error:
        return error
    return None


def _parts(text: str) -> list[str]:
    before_body, rest = text.split(_BODY)
    before_headers, rest = rest.split(f'"{_HEADERS}"')
    before_id, rest = rest.split(_ID)
    before_tag, end = rest.split(_TAG)
    return [before_body, before_headers, before_id, before_tag, end]
