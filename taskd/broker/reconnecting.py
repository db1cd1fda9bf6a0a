"""kombu's Redis transports, made so that a worker outlives its connection.

A channel that is closed gives back what is unacknowledged: with `acks_late`, whatever runs. In kombu 5.7 one whose
connection Redis has broken doesn't know any more where Redis is, and the worker ends of an AttributeError. Here that is
the error of a lost connection, which workers expect and survive. The messages come back by `visibility_timeout`; by then
most of their runs have ended, and refuse them.
"""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as ConnectionLost


class _Lost:
    """A channel that says that its connection is lost."""

    connection: Any

    def _connparams(self, *args: Any, **how: Any) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise ConnectionLost("the connection of this channel is lost")
        parameters: dict[str, Any] = super()._connparams(*args, **how)  # type: ignore[misc]  # the channel's
        return parameters


class Channel(_Lost, redis.Channel):
    """On one Redis."""


class SentinelChannel(_Lost, redis.SentinelChannel):
    """On what Sentinels say."""


class Transport(redis.Transport):
    """`redis://`, `rediss://`."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """`sentinel://`."""

    Channel = SentinelChannel
