"""Looks at each message before Celery does: what isn't a call is set aside, so that the worker lives on.

Some of them Celery drops with a line in the log, with others its consumer dies, or takes them again for ever. Here each
is rejected (a dead letter exchange gets it) and has a row: that of its run, which ends as FAILURE, or one of its own.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from celery import Celery, bootsteps, signals
from celery.exceptions import NotRegistered

from taskd.clock import now
from taskd.store.claims import RUN_HEADER, Call, Outcome
from taskd.store.records import Record, Teller
from taskd.worker.scribe import scribe_of
from taskd.worker.values import clean

log = logging.getLogger("taskd.worker")
LONGEST_ID = 155


class MessageCheck(bootsteps.StartStopStep):
    """Stands before the consumer's own handler, anew on each connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Before the consumer's loop asks for its handler."""
        make = partial(type(consumer).create_task_handler, consumer)
        consumer.create_task_handler = lambda *how, **more: _checked(consumer, make(*how, **more))


def flaw_of(message: Any) -> str | None:
    """Why a message is no call of a task; None where it looks like one."""
    try:
        payload = message.payload
    except Exception as error:  # noqa: BLE001  every serializer has its own
        return f"its body can't be decoded: {type(error).__name__}: {error}"
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    if "task" in headers:
        if not isinstance(payload, list | tuple) or len(payload) != 3:
            return "its body isn't [args, kwargs, embed]"
        return _flaw_of_call(headers, payload[0], payload[1])
    if isinstance(payload, Mapping) and "task" in payload:  # protocol 1 has all of it in the body
        return _flaw_of_call(payload, payload.get("args") or [], payload.get("kwargs") or {})
    return "it names no task"


def _flaw_of_call(head: Mapping[str, Any], args: Any, kwargs: Any) -> str | None:
    name, id_ = head["task"], head.get("id")
    if not isinstance(name, str) or not name:
        return "it names no task"
    if not isinstance(id_, str) or not 1 <= len(id_) <= LONGEST_ID:
        return f"it has no id of 1 to {LONGEST_ID} characters"
    if not isinstance(args, list | tuple):
        return "its positional arguments are no list"
    if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        return "its keyword arguments are no mapping of names"
    return None


def _checked(consumer: Any, handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def on_message(message: Any) -> Any:
        if (flaw := flaw_of(message)) is None:
            return handle(message)
        log.error("a message is set aside, %s", flaw)
        _end(consumer.app, message, "malformed message", flaw)
        return message.reject_log_error(log, consumer.connection_errors)

    return on_message


def _end(app: Celery, message: Any, reason: str, text: str, error: str = "MalformedMessage") -> None:
    """The row of what can't be run; a message without a usable id gets one."""
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    id_, name = headers.get("id"), headers.get("task")
    known = isinstance(id_, str) and 1 <= len(id_) <= LONGEST_ID
    task_id = clean(str(id_)) if known else f"malformed-{uuid4()}"
    delivery = message.delivery_info if isinstance(message.delivery_info, Mapping) else {}
    call = Call(
        task_id,
        clean(name)[:255] if isinstance(name, str) and name else "unknown",
        decided=known and bool(headers.get(RUN_HEADER)),
        queue=delivery.get("routing_key"),
    )
    told = {"exc_type": error, "exc_message": [clean(text)], "exc_module": "taskd.errors"}
    detail = {"reason": reason, "message": clean(text)}
    outcome = Outcome("FAILURE", now(), result=told, detail=detail)
    retries = headers.get("retries")
    teller = Teller("worker before the start", generation=retries if isinstance(retries, int) else 0)
    scribe_of(app).keep(Record(task_id, teller, outcome=outcome, call=call))


@signals.worker_init.connect
def _join(sender: Any, **_: Any) -> None:
    sender.app.steps["consumer"].add(MessageCheck)


@signals.task_unknown.connect
def _unknown(sender: Any, message: Any, name: str, **_: Any) -> None:
    text = f"the worker {sender.hostname} has no task {name!r}: add its module to celery.imports"
    _end(sender.app, message, "unknown task", text, NotRegistered.__name__)


@signals.task_rejected.connect
def _rejected(sender: Any, message: Any, exc: Exception | None, **_: Any) -> None:
    if exc is not None:
        _end(sender.app, message, "malformed message", str(exc))
