"""The brokers of the suite, each with what is its own, and other processes at them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange, Message, Queue
from redis import Redis

import taskd.broker  # noqa: F401 teaches kombu files://
from tests.services import own_name
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
TIMEOUT = 30.0  # seconds that anything here may take


@dataclass
class Broker:
    """A broker, what to say when connecting, and the names that are to be removed afterwards."""

    kind: str
    url: str
    options: dict[str, Any] = field(default_factory=dict)
    queues: list[Queue] = field(default_factory=list)
    prefix: str = field(default_factory=lambda: own_name("test"))

    @property
    def first_priority(self) -> int:
        """The priority that is served first: kombu's Redis transport counts the other way."""
        return 0 if self.kind == "redis" else 9

    def connect(self) -> Connection:
        """A connection, not yet opened."""
        return Connection(self.url, transport_options=self.options)

    def queue(
        self, exchange_type: str = "direct", *, exchange: str = "", key: str = "", **options: Any
    ) -> Queue:
        """A queue of a new name; its exchange is `exchange`, or one of the same name."""
        name = f"{self.prefix}_{len(self.queues)}"
        queue = Queue(name, Exchange(exchange or name, exchange_type, durable=True), key or name, **options)
        self.queues.append(queue)
        return queue

    def clean(self) -> None:
        """Remove what the test made."""
        if self.kind == "redis":
            with Redis.from_url(self.url) as client:
                for key in client.scan_iter(f"*{self.prefix}*"):
                    client.delete(key)
        elif self.kind == "rabbitmq":
            with self.connect() as connection:
                for queue in self.queues:
                    bound = queue(connection.channel())
                    bound.delete()
                    bound.exchange.delete()


def publish(connection: Connection, queue: Queue, *bodies: Any, **options: Any) -> None:
    """Send each of `bodies` to `queue` by its exchange."""
    with connection.Producer() as producer:
        for body in bodies:
            producer.publish(
                body,
                exchange=queue.exchange,
                routing_key=queue.routing_key,
                declare=[queue],
                retry=True,
                **options,
            )


def drain(connection: Connection, until: Callable[[], bool], within: float = TIMEOUT) -> None:
    """Let events come until the condition holds."""

    def one_event() -> bool:
        if not until():
            try:
                connection.drain_events(timeout=0.1)
            except TimeoutError:
                return False
        return until()

    eventually(one_event, within)


@contextmanager
def consuming(
    connection: Connection, queue: Queue, prefetch: int = 0, **options: Any
) -> Iterator[list[Message]]:
    """The messages as they come, unacknowledged."""
    messages: list[Message] = []
    with connection.channel() as channel:
        consumer = channel.Consumer([queue], on_message=messages.append, **options)
        consumer.qos(prefetch_count=prefetch)
        with consumer:
            yield messages


def receive(connection: Connection, queue: Queue, count: int, within: float = TIMEOUT) -> list[Any]:
    """Consume and acknowledge `count` messages: their bodies."""
    with consuming(connection, queue) as messages:
        drain(connection, lambda: len(messages) >= count, within)
        for message in messages:
            message.ack()
        return [message.payload for message in messages]


def length(connection: Connection, queue: Queue) -> int:
    """How many messages are ready."""
    with connection.channel() as channel:
        return int(queue(channel).queue_declare().message_count)


@dataclass(frozen=True)
class Peer:
    """Another process at the broker (peer.py), and what it prints."""

    process: subprocess.Popen[bytes]
    output: Path

    def lines(self) -> list[str]:
        """The whole lines so far."""
        return self.output.read_text().splitlines()

    def bodies(self) -> list[Any]:
        """What it received so far."""
        return [json.loads(line) for line in self.lines() if line != "ready"]

    def prints(self, count: int, within: float = TIMEOUT) -> list[str]:
        """Wait for `count` lines."""
        eventually(lambda: len(self.lines()) >= count or self.process.poll() is not None, within)
        assert len(self.lines()) >= count, self.output.with_suffix(".errors").read_text()
        return self.lines()

    def kill(self) -> None:
        """kill -9, and see it gone."""
        self.process.kill()
        self.process.wait(TIMEOUT)


StartPeer = Callable[..., Peer]


@contextmanager
def peers(broker: Broker, folder: Path) -> Iterator[StartPeer]:
    """Starts peers; they are killed when the block ends."""
    with ExitStack() as stack:

        def start(action: str, queue: Queue, *words: str) -> Peer:
            output = folder / f"peer-{len(list(folder.glob('peer-*')))}"
            what = [broker.url, json.dumps(broker.options), json.dumps(queue.as_dict(recurse=True))]
            with output.open("wb") as out, output.with_suffix(".errors").open("wb") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.integration.peer", action, *what, *words],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    stdout=out,
                    stderr=errors,
                )
            peer = Peer(process, output)
            stack.callback(peer.kill)
            return peer

        yield start
