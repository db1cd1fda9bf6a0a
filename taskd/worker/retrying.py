"""Retries: which policy an attempt has, and where its next message waits.

| who asks                          | which errors                  | how often                  | pauses               |
|-----------------------------------|-------------------------------|----------------------------|----------------------|
| `self.retry`, `autoretry_for`     | as the task says              | as the task says           | as the task says     |
| the schedule's `retry`            | every one that comes out of it| its `max`                  | its own              |
| nobody: BaseTask's own            | TRANSIENT, unless the task has| the task's `max_retries`,  | the task's           |
|                                   | an `autoretry_for`            | else task_max_retries      | `retry_backoff` …    |

All of them count the same attempts. A wait of more than LONGEST_IN_BROKER is spent in the database: brokers redeliver
messages that are kept for long (visibility timeouts). Where it can't be written there, the message itself waits.
"""

import random
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn

import kombu.exceptions
import sqlalchemy.exc
from celery import Celery, Task
from celery.utils.time import get_exponential_backoff_interval
from kombu import Producer
from kombu.serialization import dumps
from kombu.utils.encoding import str_to_bytes

from taskd.clock import now
from taskd.errors import Unavailable
from taskd.schedule.retry import retry_of
from taskd.store.claims import RUN_HEADER
from taskd.store.outbox import Message
from taskd.worker.calls import claim_of

TRANSIENT: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    kombu.exceptions.OperationalError,
    sqlalchemy.exc.OperationalError,
    Unavailable,
)
LONGEST_IN_BROKER = 60.0  # seconds
_PUBLISHERS_OWN = {"declare", "retry", "retry_policy", "timeout", "confirm_timeout"}
_ROUTE = {"exchange", "routing_key", "serializer", "compression", "delivery_mode"}


def try_again(task: Any, error: Exception) -> None:
    """Raise Retry where the attempt's policy has one left for `error`; else return, or raise `error`."""
    request, given_up = task.request, vars(task).pop("override_max_retries", None)
    policy = retry_of((request.headers or {}).get(RUN_HEADER) or {})
    if policy is not None:
        _retry(task, error, policy.max, policy.pause(request.retries or 0, random.random()))  # noqa: S311  spreads, hides nothing
    elif _is_transient(task, error):
        _retry(task, error, given_up, _own_pause(task))


def _retry(task: Any, error: Exception, most: int | None, pause: float | None) -> NoReturn:
    try:
        raise task.retry(exc=error, countdown=pause, max_retries=most)
    finally:
        vars(task).pop("override_max_retries", None)  # Celery leaves it to the task's next run


def _is_transient(task: Any, error: Exception) -> bool:
    spared = tuple(getattr(task, "dont_autoretry_for", ()))
    own = getattr(task, "autoretry_for", ())
    return not own and isinstance(error, task.retried_for) and not isinstance(error, spared)


def _own_pause(task: Any) -> float | None:
    """As Celery's autoretry has it; None is the task's `default_retry_delay`."""
    if not task.retry_backoff:
        return None
    factor = int(max(1.0, float(task.retry_backoff)))
    retries = task.request.retries or 0
    pause: float = get_exponential_backoff_interval(
        factor, retries, int(task.retry_backoff_max), task.retry_jitter
    )
    return pause


def waits_long(request: Any, options: Mapping[str, Any]) -> datetime | None:
    """When the retry that is about to be sent with `options` is due, if its run is recorded and the wait is long."""
    attempt = (options.get("task_id"), options.get("retries"))
    if claim_of(request) is None or attempt != (request.id, (request.retries or 0) + 1):
        return None
    at = options.get("eta") or now() + timedelta(seconds=options.get("countdown") or 0)
    if not isinstance(at, datetime) or at.tzinfo is None:
        return None
    return at if at - now() > timedelta(seconds=LONGEST_IN_BROKER) else None


class _Catcher(Producer):
    """Keeps what it is to publish. Its connection is never opened."""

    caught: tuple[Any, dict[str, Any]]

    def publish(self, body: Any, **how: Any) -> None:  # type: ignore[override]  # whatever Celery gives
        """Nothing reaches the broker."""
        self.caught = (body, how)


def message_of(app: Celery, task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Message:
    """The message that Celery would send at once; raises what its serializer raises."""
    catcher = _Catcher(app.connection_for_write())
    at_once = {key: value for key, value in options.items() if key not in {"eta", "countdown"}}
    Task.apply_async(task, args, kwargs, producer=catcher, **at_once)
    body, how = catcher.caught
    headers = how.pop("headers")
    route = {key: how.pop(key) for key in _ROUTE if key in how}
    properties = {key: value for key, value in how.items() if key not in _PUBLISHERS_OWN}
    content_type, content_encoding, raw = dumps(body, serializer=route["serializer"])
    if not route["exchange"]:  # the anonymous one: by the queue's name
        route = {key: value for key, value in route.items() if key != "exchange"}
        route["queue"] = route.pop("routing_key")
    return Message.of(
        body=str_to_bytes(raw),
        headers=dict(headers),
        options={key: value for key, value in route.items() if value is not None}
        | {"content_type": content_type, "content_encoding": content_encoding, "properties": properties},
    )
