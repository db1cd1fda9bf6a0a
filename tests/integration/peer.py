"""Another process at the broker: `peer ACTION URL OPTIONS QUEUE …`, until it is killed."""

import contextlib
import json
import os
import signal
import sys

from kombu import Connection, Exchange, Queue

import taskd.broker  # noqa: F401 teaches kombu files://

action, url, options, described, *words = sys.argv[1:]
connection = Connection(url, transport_options=json.loads(options))
queue_options = json.loads(described)
exchange = Exchange(**{key: queue_options["exchange"][key] for key in ("name", "type", "durable")})
queue = Queue(
    queue_options["name"],
    exchange,
    queue_options["routing_key"],
    **{key: queue_options[key] for key in ("durable", "exclusive", "auto_delete", "max_priority")},
)


def say(text: object) -> None:
    print(text, flush=True)  # noqa: T201 what the test reads


def publish(count: str, name: str) -> None:
    """`count` messages: [name, 0], [name, 1], …"""
    with connection.Producer() as producer:
        for number in range(int(count)):
            producer.publish(
                [name, number], exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue]
            )
    say("published")


def consume(*, ack: bool) -> None:
    """Say "ready", and each body; for ever."""
    channel = connection.channel()
    consumer = channel.Consumer([queue], prefetch_count=10)

    @consumer.register_callback
    def received(body: object, message: object) -> None:
        say(json.dumps(body))
        if ack:
            message.ack()

    with consumer:
        poll()  # Redis subscribes to a fanout only now
        say("ready")
        while True:
            poll()


def poll() -> None:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.2)


match action:
    case "publish":
        publish(*words)
    case "work":
        consume(ack=True)
    case "hold":
        consume(ack=False)
    case "fork":  # hold one message, then leave a child behind that lives on
        with connection.SimpleQueue(queue) as waiting:
            waiting.get(timeout=10)
            if (child := os.fork()) == 0:
                signal.pause()
            say(child)
            signal.pause()
