"""Celery messages, built by Celery (`app.amqp`) as `apply_async` would, and kept as values until they are sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.app.amqp import task_message
from celery.utils.nodenames import anon_nodename
from celery.utils.saferepr import saferepr
from kombu import Exchange, Producer, Queue
from kombu.serialization import dumps, loads
from kombu.utils.encoding import str_to_bytes

from taskd.redaction import redact
from taskd.store.claims import RUN_HEADER
from taskd.store.outbox import Message

SEND_TIMEOUT = 10.0  # seconds for one publish and its confirmation


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run: a task by name, with its arguments and the schedule's `options` column."""

    task_id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: Mapping[str, Any]
    origin: Mapping[str, Any]  # for RUN_HEADER: {"schedule", "scheduled_for": ISO or None, "kind"}


def compose(app: Celery, order: Order, now: datetime, secret_keys: frozenset[str] = frozenset()) -> Message:
    """Serialise and route one message. Raises kombu's EncodeError or a TypeError where that can't be done."""
    registered: Any = app.tasks.get(order.task)
    args = tuple(order.args)
    options = _task_options(registered) | dict(order.options)
    expires = options.pop("expires", None)
    limits = {limit: options.pop(limit, None) for limit in ("time_limit", "soft_time_limit")}
    user_headers = options.pop("headers", None) or {}
    options.pop("ignore_result", None)
    serializer = options.pop("serializer", None) or app.conf.task_serializer
    route = app.amqp.router.route(options, order.task, args, order.kwargs, registered)
    # The header says when it expires; `send_task` sets a time to live too, by which RabbitMQ would drop the message
    # unseen. The worker drops it as well, and says so in the run's row.
    message = app.amqp.as_task_v2(
        order.task_id,
        order.task,
        args,
        order.kwargs,
        expires=now + timedelta(seconds=expires) if isinstance(expires, (int, float)) else expires,
        ignore_result=False,
        reply_to=app.thread_oid,
        argsrepr=saferepr(redact(order.args, secret_keys), app.amqp.argsrepr_maxsize),
        kwargsrepr=saferepr(redact(order.kwargs, secret_keys), app.amqp.kwargsrepr_maxsize),
        origin=anon_nodename(),
        **limits,
    )
    content_type, content_encoding, body = dumps(message.body, serializer=serializer)
    sending = _plain(route) | {"serializer": serializer, "content_type": content_type}
    return Message(
        body=str_to_bytes(body),
        headers={**user_headers, **message.headers, RUN_HEADER: dict(order.origin)},
        options=sending | {"content_encoding": content_encoding, "properties": message.properties},
    )


def send(app: Celery, producer: Producer, name: str, message: Message) -> None:
    """Publish with the broker's confirmation; Celery's publish signals are sent. Raises what the transport raises."""
    options = dict(message.options)
    properties = options.pop("properties")
    content_type, encoding = options.pop("content_type"), options.pop("content_encoding")
    body = loads(message.body, content_type, encoding, accept=[content_type])
    app.amqp.send_task_message(
        producer,
        name,
        task_message(dict(message.headers), dict(properties), body, None),
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
