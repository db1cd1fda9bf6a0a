"""What a broker still has of given messages. Each broker shows something else, so each has its own look.

Redis      the lists of a queue, then `unacked`: what workers have taken is there until they acknowledge it. Between
           its pop and that note a message is in neither for a moment, so one look alone proves nothing
RabbitMQ   counts alone: how many wait, how many consumers there are. What consumers hold, only they can tell
files      the queue's folder, and the inboxes of those who took from it; also one look alone proves nothing
others     nothing: no message is ever taken for lost
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from kombu import Connection
from redis import Redis

from taskd.broker.folder import AGAIN, Folder, as_file_name

CHUNK = 500  # messages read at a time
SENTINEL = "taskd.sentinel"
TIMEOUT = 4.0  # seconds for one call


@dataclass(frozen=True, slots=True)
class Holdings:
    """Of the messages asked for, by task id: `gone` are nowhere; `untouched` wait in their queue.

    `asks`: queues that are empty and have that many consumers, who may hold any of theirs.
    `mark`: a name that the broker forgets along with its messages (Redis).
    """

    gone: frozenset[str] = frozenset()
    untouched: frozenset[str] = frozenset()
    asks: Mapping[str, int] | None = None
    mark: str | None = None


def look(
    connection: Connection, wanted: Mapping[str, Collection[str]], give: Callable[[], None] = lambda: None
) -> Holdings:
    """Look for messages, task ids by queue; raises what the transport raises. `give` is called before each CHUNK."""
    match connection.transport.driver_type:
        case "redis":
            return _in_redis(connection, wanted, give)
        case "amqp":
            return _in_rabbitmq(connection, wanted)
        case "files":
            return _in_files(connection, wanted)
    return Holdings()


def impatient(connection: Connection) -> Connection:
    """The connection, not yet opened, with short time limits: who looks holds up the daemon's end."""
    limits: dict[str, Mapping[str, float]] = {
        "redis": {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT},
        "amqp": {"connect_timeout": TIMEOUT, "read_timeout": TIMEOUT, "write_timeout": TIMEOUT},
    }
    limit = limits.get(connection.transport.driver_type, {})
    connection.transport_options = {**(connection.transport_options or {}), **limit}
    return connection


def _in_redis(
    connection: Connection, wanted: Mapping[str, Collection[str]], give: Callable[[], None]
) -> Holdings:
    channel: Any = connection.channel()
    redis = Redis(connection_pool=channel.pool)  # kombu's own client adds the prefix to some commands only
    prefix = channel.global_keyprefix
    waiting: set[str] = set()
    for queue in wanted:
        for step in channel.priority_steps:
            key = f"{prefix}{channel._q_for_pri(queue, step)}"  # noqa: SLF001
            waiting.update(_ids(_listed(redis, key, give)))
    # After the queues: what a worker takes meanwhile is in here, and what comes back is found by the next look.
    taken = {
        task_id
        for _, payload in redis.hscan_iter(f"{prefix}{channel.unacked_key}", count=CHUNK)
        for task_id in _ids([json.loads(payload)[0]])
    }
    key = f"{prefix}{SENTINEL}"
    redis.set(key, uuid4().hex, nx=True)
    ids = {task_id for ids in wanted.values() for task_id in ids}
    return Holdings(frozenset(ids - waiting - taken), frozenset(ids & waiting), mark=str(redis.get(key)))


def _listed(redis: Any, key: str, give: Callable[[], None]) -> Iterator[Any]:
    """The messages of a list. New ones come in front and push the others on, so none is passed over."""
    start = 0
    give()
    while payloads := redis.lrange(key, start, start + CHUNK - 1):
        yield from map(json.loads, payloads)
        start += CHUNK
        give()


def _ids(messages: Any) -> Iterator[str]:
    for message in messages:
        raw = json.loads(message) if isinstance(message, str) else message
        if task_id := raw.get("headers", {}).get("id"):
            yield task_id


def _in_rabbitmq(connection: Connection, wanted: Mapping[str, Collection[str]]) -> Holdings:
    gone: set[str] = set()
    untouched: set[str] = set()
    asks: dict[str, int] = {}
    for queue, ids in wanted.items():
        waiting, consumers = _counts(connection, queue)
        if waiting and not consumers:
            untouched.update(ids)
        elif not waiting and consumers:
            asks[queue] = consumers
        elif not waiting:  # nobody has it: what a consumer held has come back when it left
            gone.update(ids)
    return Holdings(frozenset(gone), frozenset(untouched), asks)


def _counts(connection: Connection, queue: str) -> tuple[int, int]:
    """How many messages wait in `queue`, and its consumers; none of either where it isn't declared."""
    channel: Any = connection.channel()  # its own: the question ends it where there is no such queue
    try:
        declared = channel.queue_declare(queue, passive=True)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) != 404:
            raise
        return 0, 0
    channel.close()
    return declared.message_count, declared.consumer_count


def _in_files(connection: Connection, wanted: Mapping[str, Collection[str]]) -> Holdings:
    channel: Any = connection.channel()
    folder: Folder = channel.folder
    waiting: set[str] = set()
    taken: set[str] = set()
    for queue in wanted:
        waiting.update(map(_task_id, folder.ready(as_file_name(queue))))
        taken.update(map(_task_id, folder.taken(as_file_name(queue))))
    ids = {task_id for ids in wanted.values() for task_id in ids}
    return Holdings(frozenset(ids - waiting - taken), frozenset(ids & waiting))


def _task_id(name: str) -> str:
    """Of the message in a file of that name: <priority>-<stamp>-<task id>-<random>."""
    return name.removesuffix(AGAIN).split("-", 2)[-1].rpartition("-")[0]
