"""Celery messages, built by Celery (`app.amqp`) as `apply_async` would, once a schedule, and filled in for each run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from sys import intern
from typing import Any, Literal, cast
from uuid import uuid4

from celery import Celery
from celery.app.amqp import task_message
from celery.utils.nodenames import anon_nodename
from celery.utils.saferepr import saferepr
from kombu import Exchange, Producer, Queue
from kombu.serialization import dumps, loads
from kombu.utils.encoding import str_to_bytes

from taskd.redaction import redact
from taskd.store.claims import RUN_HEADER
from taskd.store.columns import to_json
from taskd.store.outbox import Message

SEND_TIMEOUT = 10.0  # seconds for one publish and its confirmation
CORRELATION = "correlation_id"  # the property that is the task id: the headers have it already


_MARK = uuid4().hex  # nobody's arguments contain it
_ID, _AT, _EXPIRES = f"{_MARK}-id", f"{_MARK}-at", f"{_MARK}-expires"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run: a task by name, with its arguments and the schedule's `options` column."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: Mapping[str, Any]
    schedule: str
    kind: Literal["schedule", "manual"]


@dataclass(frozen=True, slots=True)
class Template:
    """The message of a schedule, built but for what differs from fire to fire. `expires` in seconds."""

    body: bytes
    headers_json: str
    options_json: str
    expires: float | None

    def fill(self, task_id: str, scheduled_for: str | None, now: datetime) -> Message:
        """The message of one run; `scheduled_for` in ISO 8601."""
        at = "null" if scheduled_for is None else f'"{scheduled_for}"'
        headers = self.headers_json.replace(_ID, task_id).replace(f'"{_AT}"', at)
        if self.expires is not None:
            headers = headers.replace(_EXPIRES, (now + timedelta(seconds=self.expires)).isoformat())
        return Message(self.body, headers, self.options_json)


def compose(app: Celery, order: Order, secret_keys: frozenset[str] = frozenset()) -> Template:
    """Serialise and route a schedule's message. Raises kombu's EncodeError, ValueError or TypeError if that can't be."""
    registered: Any = app.tasks.get(order.task)
    args = tuple(order.args)
    options = _task_options(registered) | dict(order.options)
    expires = options.pop("expires", None)
    counts = isinstance(expires, (int, float))
    limits = {limit: options.pop(limit, None) for limit in ("time_limit", "soft_time_limit")}
    user_headers = options.pop("headers", None) or {}
    retry = options.pop("retry", None)
    options.pop("ignore_result", None)
    serializer = options.pop("serializer", None) or app.conf.task_serializer
    route = app.amqp.router.route(options, order.task, args, order.kwargs, registered)
    # The header says when it expires; `send_task` sets a time to live too, by which RabbitMQ would drop the message
    # unseen. The worker drops it as well, and says so in the run's row.
    message = app.amqp.as_task_v2(
        _ID,
        order.task,
        args,
        order.kwargs,
        expires=cast("Any", _EXPIRES) if counts else expires,  # what is text already it takes as it is
        ignore_result=False,
        reply_to=app.thread_oid,
        argsrepr=saferepr(redact(order.args, secret_keys), app.amqp.argsrepr_maxsize),
        kwargsrepr=saferepr(redact(order.kwargs, secret_keys), app.amqp.kwargsrepr_maxsize),
        origin=anon_nodename(),
        **limits,
    )
    content_type, content_encoding, body = dumps(message.body, serializer=serializer)
    origin: dict[str, Any] = {"schedule": order.schedule, "scheduled_for": _AT, "kind": order.kind}
    if retry is not None:
        origin["retry"] = dict(retry)  # how its worker is to retry it
    properties = {key: value for key, value in message.properties.items() if key != CORRELATION}
    sending = _plain(route) | {"serializer": serializer, "content_type": content_type}
    return Template(
        str_to_bytes(body),
        to_json({**user_headers, **message.headers, RUN_HEADER: origin}),
        intern(to_json(sending | {"content_encoding": content_encoding, "properties": properties})),
        float(expires) if counts else None,
    )


def send(app: Celery, producer: Producer, name: str, message: Message) -> None:
    """Publish with the broker's confirmation; Celery's publish signals are sent. Raises what the transport raises."""
    options, headers = dict(message.options), message.headers
    properties = {CORRELATION: headers["id"], **options.pop("properties")}
    content_type, encoding = options.pop("content_type"), options.pop("content_encoding")
    body = loads(message.body, content_type, encoding, accept=[content_type])
    app.amqp.send_task_message(
        producer,
        name,
        task_message(headers, properties, body, None),
        retry=False,
        timeout=SEND_TIMEOUT,
        confirm_timeout=SEND_TIMEOUT,
        **options,
    )


def _task_options(task: Any) -> dict[str, Any]:
    """What the task's class says of its own messages, as `send_task` reads it."""
    if task is None:
        return {}
    return {option: value for option, value in task._get_exec_options().items() if value is not None}  # noqa: SLF001


def _plain(route: Mapping[str, Any]) -> dict[str, Any]:
    """A route as JSON: queues and exchanges by name."""
    return {
        key: value.name if isinstance(value, (Queue, Exchange)) else value
        for key, value in route.items()
        if value is not None
    }
