"""The kombu transport over `folder` and `exchanges`: `files:///var/lib/taskd/broker`.

For the processes of one machine, on a local file system (flock and rename over a network are another
matter), of one user: the folder is that user's alone.

Direct, topic and fanout exchanges; acknowledgement, rejection, prefetch limits; priorities as RabbitMQ has
them (9 before 0), without asking for them at declaration; exclusive and auto-delete queues, collected when
their users are gone. Not: expiry of messages, `if_unused`, headers exchanges, exchange-to-exchange bindings.
"""

import heapq
import logging
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import unquote, urlsplit

from kombu import Connection
from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.virtual.exchange import ExchangeType
from kombu.utils.json import dumps, loads

from taskd import clock
from taskd.broker.exchanges import Binding, Exchanges
from taskd.broker.folder import AGAIN, Folder, as_file_name, holds
from taskd.broker.looped import LoopedTransport
from taskd.errors import ConfigError

TIDY_EVERY = 1.0  # seconds
LISTED = 100  # messages remembered of one listing, so that a long queue isn't listed for each of them
TRANSIENT = 1  # AMQP's delivery mode for what needn't survive a power failure

logger = logging.getLogger(__name__)


class QoS(virtual.QoS):
    """What is delivered and unacknowledged: files in the channel's inbox. Any thread may acknowledge."""

    channel: "Channel"

    def ack(self, delivery_tag: str) -> None:
        """Remove the message."""
        self.channel.folder.acknowledge(delivery_tag)
        super().ack(delivery_tag)
        self._has_room()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Remove the message, or give it back."""
        if not requeue:
            self.channel.folder.acknowledge(delivery_tag)
        super().reject(delivery_tag, requeue=requeue)
        self._has_room()

    def _has_room(self) -> None:
        if not self.channel.closed:
            self.channel.connection.look()


class Channel(virtual.Channel):
    """AMQP's verbs on files. A delivery tag is where the taken message lies."""

    QoS = QoS
    supports_fanout = True
    do_restore = False  # closing the inbox gives back, and so does whoever finds it abandoned

    connection: "Transport"

    def __init__(self, connection: "Transport", **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.folder, self.exchanges = connection.folder, Exchanges(connection.folder)
        self._inbox = ""
        self._stamp = 0
        self._listed: dict[str, tuple[float, deque[str]]] = {}

    @property
    def inbox(self) -> str:
        """Where this channel keeps what it took; made when first needed, and anew in a forked child."""
        if not holds(self._inbox):
            self._inbox = self.folder.open_inbox()
        return self._inbox

    def close(self) -> None:
        """Give back what is unacknowledged."""
        super().close()
        if holds(self._inbox):
            self.folder.close_inbox(self._inbox)

    # publishing

    def _put(self, queue: str, message: Any, **_: Any) -> None:
        properties, name = message["properties"], self._next_name(message)
        content, persistent = dumps(message).encode(), properties.get("delivery_mode") != TRANSIENT
        while not self.folder.put(as_file_name(queue), name, content, persistent=persistent):
            route = properties["delivery_info"]
            if route["exchange"] and queue not in self._lookup(route["exchange"], route["routing_key"]):
                return  # deleted since the exchange was asked: AMQP drops it too
            self.folder.make_queue(as_file_name(queue))

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **_: Any) -> None:
        for queue in self._lookup(exchange, routing_key):
            self._put(queue, message)

    def _next_name(self, message: Any) -> str:
        """Sorts by priority, then in the order of this channel; unique over processes and reboots."""
        self._stamp = max(self._stamp + 1, round(clock.now().timestamp() * 1_000_000))
        task_id = as_file_name(str(message["properties"].get("correlation_id") or "message"))[:40]
        priority = self._get_message_priority(message, reverse=True)
        return f"{priority}-{self._stamp:017d}-{task_id}-{secrets.token_hex(4)}"

    # consuming

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 kombu's signature
        self.connection.tidy()
        inbox, folder_name = self.inbox, as_file_name(queue)
        self.folder.open_tray(inbox, folder_name)
        for name in self._ready(folder_name):
            if taken := self.folder.take(inbox, folder_name, name):
                try:
                    return self._read(taken)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    kept = self.folder.set_aside(taken)
                    # TRY400: the reader needs the file, not our stack
                    logger.error("queue %s: message can't be read (%s); set aside as %s", queue, error, kept)  # noqa: TRY400
        raise Empty

    def _ready(self, queue: str) -> Iterator[str]:
        """The next messages; listed anew when they run out, or after a second for what came meanwhile."""
        now = clock.monotonic()
        until, names = self._listed.get(queue, (now, deque()))
        while True:
            if not names or now >= until:
                names = deque(heapq.nsmallest(LISTED, self.folder.ready(queue)))
                until = now + TIDY_EVERY
                self._listed[queue] = until, names
            if not names:
                return
            yield names.popleft()

    def _read(self, taken: str) -> Any:
        """The message as kombu wants it. Raises ValueError, KeyError, … for what isn't one."""
        message = loads(self.folder.path("unacked", taken).read_bytes())
        message["properties"]["delivery_tag"] = taken
        message["properties"]["delivery_info"]["redelivered"] = taken.endswith(AGAIN)
        self.Message(message, channel=self)  # a body that can't be decoded shows here, not at every delivery
        return message

    def _restore(self, message: Any) -> None:
        self.folder.give_back(message.delivery_tag)
        self._listed.clear()  # it is the first in its queue again

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], Any] | None,
        consumer_tag: str | None,
        **kwargs: Any,
    ) -> Any:
        """Consume; from a temporary queue also use it."""
        if self.folder.is_temporary(as_file_name(queue)):
            self.folder.use_temporary(as_file_name(queue), self.inbox)

        def acknowledged(message: Any) -> Any:
            self.folder.acknowledge(message.delivery_tag)
            return callback(message) if callback else None

        return super().basic_consume(
            queue, no_ack, acknowledged if no_ack else callback, consumer_tag, **kwargs
        )

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> virtual.Message | None:
        """The next message, or None."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.folder.acknowledge(str(message.delivery_tag))
        return message

    # queues

    def _new_queue(self, queue: str, *, exclusive: bool = False, auto_delete: bool = False, **_: Any) -> None:
        if exclusive or auto_delete:
            self.connection.tidy(now=True)  # one left over under this name goes, with what is in it
            self.folder.use_temporary(as_file_name(queue), self.inbox if exclusive else None)
        self.folder.make_queue(as_file_name(queue))

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return self.folder.path("queues", as_file_name(queue)).is_dir()

    def _size(self, queue: str) -> int:
        return len(self.folder.ready(as_file_name(queue)))

    def _purge(self, queue: str) -> int:
        return self.folder.purge(as_file_name(queue))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any) -> None:  # noqa: ARG002 kombu's signature
        """Remove the queue and its bindings."""
        if not (if_empty and self._size(queue)):
            self.exchanges.unbind_queue(queue)
            self.folder.delete_queue(as_file_name(queue))

    # exchanges

    def exchange_declare(
        self,
        exchange: str | None = None,
        type: str = "direct",  # noqa: A002 kombu's name
        *_: Any,
        passive: bool = False,
        **__: Any,
    ) -> None:
        """Make the exchange. Raises ChannelError if it isn't there (passive) or is of another type."""
        name = exchange or f"amq.{type}"
        found = self.exchanges.type_of(name)
        if passive and found is None:
            raise ChannelError(f"exchange {name!r} isn't declared", (40, 10), "Exchange.declare", 404)
        if not passive and found not in (None, type):
            raise ChannelError(f"exchange {name!r} is {found}, not {type}", (40, 10), "Exchange.declare", 406)
        self.exchanges.declare(name, found or type)

    def exchange_delete(self, exchange: str, *_: Any, **__: Any) -> None:
        """Remove the exchange and its bindings."""
        self.exchanges.delete(exchange)

    def queue_bind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **_: Any
    ) -> None:
        """Let `exchange` deliver to `queue`."""
        self.exchanges.bind(*self._binding(queue, exchange, routing_key, arguments))

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **_: Any
    ) -> None:
        """Undo `queue_bind`."""
        self.exchanges.unbind(*self._binding(queue, exchange, routing_key, arguments))

    def _binding(self, queue: str, exchange: str | None, routing_key: str, arguments: Any) -> tuple[str, Any]:
        exchange = exchange or "amq.direct"
        return exchange, self.typeof(exchange).prepare_bind(queue, exchange, routing_key or "", arguments)

    def typeof(self, exchange: str, default: str = "direct") -> ExchangeType:
        """How `exchange` delivers."""
        types: dict[str, Any] = self.exchange_types  # instances, not the classes of the annotation
        instance: ExchangeType = types[self.exchanges.type_of(exchange) or default]
        return instance

    def get_exchanges(self) -> list[str]:
        """All exchanges' names."""
        return self.exchanges.names()

    def get_table(self, exchange: str) -> list[Binding]:
        """The bindings of `exchange`."""
        return self.exchanges.table(exchange)

    def list_bindings(self) -> Generator[tuple[str, str, str], None, None]:
        """All bindings: queue, exchange, routing key."""
        return ((queue, name, key) for name in self.get_exchanges() for key, _, queue in self.get_table(name))


class Transport(LoopedTransport):
    """A connection: the folder that its URL names. What goes wrong with files is a connection error."""

    Channel = Channel
    can_parse_url = True  # the URL stays whole
    driver_type = driver_name = "files"
    connection_errors = (*virtual.Transport.connection_errors, OSError)
    implements = LoopedTransport.implements.extend(exchange_type=frozenset(["direct", "topic", "fanout"]))

    def __init__(self, client: Connection, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        parts = urlsplit(client.hostname or "")
        if parts.scheme != "files" or parts.netloc or len(parts.path) < len("/x"):
            raise ConfigError(f"{client.hostname}: the embedded broker's URL is files:///absolute/path")
        self.folder = Folder(Path(unquote(parts.path)))
        self._tidy_at = 0.0

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:  # noqa: ARG002 kombu's signature
        """The URL; there is no password in it."""
        return uri

    def establish_connection(self) -> "Transport":
        """Make the folder if it isn't there. Raises OSError where that, or writing, isn't allowed."""
        self.folder.make()
        return super().establish_connection()

    def tidy(self, *, now: bool = False) -> None:
        """Give back what dead consumers took and collect what they left, at most once a second."""
        if now or clock.monotonic() >= self._tidy_at:
            self.folder.close_abandoned_inboxes()
            if (
                self.folder.left_over_queues()
            ):  # asked again below; the lock is for the rare case that some are
                with self.folder.users_locked():
                    for queue in self.folder.left_over_queues():
                        Exchanges(self.folder).unbind_queue(unquote(queue))
                        self.folder.delete_queue(queue)
            self.folder.remove_stale_drafts(clock.now().timestamp())
            self._tidy_at = clock.monotonic() + TIDY_EVERY
