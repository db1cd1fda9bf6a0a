"""What taskd asks of a broker, of each of them the same."""

from collections import Counter

import pytest

from tests.integration.brokers import Broker, StartPeer, consuming, drain, length, publish, receive
from tests.waiting import eventually

QUIET = 0.5  # seconds in which nothing may come


def test_messages_come_in_the_order_they_were_sent(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, *range(50))
        assert receive(connection, queue, 50) == list(range(50))


def test_an_acknowledged_message_never_comes_again(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, "first", "second")
        with consuming(connection, queue, prefetch=1) as messages:
            drain(connection, lambda: len(messages) == 1)
            messages[0].ack()
    with broker.connect() as connection:
        eventually(lambda: length(connection, queue) == 1)
        assert receive(connection, queue, 1) == ["second"]


def test_what_was_not_acknowledged_comes_again_and_says_so(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, "precious")
        with consuming(connection, queue) as messages:
            drain(connection, lambda: len(messages) == 1)
            assert not messages[0].delivery_info.get("redelivered")
    with broker.connect() as connection, consuming(connection, queue) as messages:
        drain(connection, lambda: len(messages) == 1)
        assert messages[0].payload == "precious"
        assert messages[0].delivery_info["redelivered"]
        messages[0].ack()


def test_a_requeued_message_comes_again_and_says_so(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, "first", "second")
        with consuming(connection, queue, prefetch=1) as messages:
            drain(connection, lambda: len(messages) == 1)
            messages[0].requeue()
            drain(connection, lambda: len(messages) == 2)
            if broker.kind == "redis":  # kombu's Redis transport puts it last
                messages[1].ack()
                drain(connection, lambda: len(messages) == 3)
            assert messages[-1].payload == "first"
            assert messages[-1].delivery_info["redelivered"]
            messages[-1].ack()


def test_a_rejected_message_is_gone(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, "bad", "good")
        with consuming(connection, queue) as messages:
            drain(connection, lambda: len(messages) == 2)
            messages[0].reject()
            messages[1].requeue()
    with broker.connect() as connection:
        assert receive(connection, queue, 1) == ["good"]
        assert length(connection, queue) == 0


def test_recovering_gives_back_what_the_channel_holds(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, 1, 2, 3)
        with consuming(connection, queue) as messages:
            drain(connection, lambda: len(messages) == 3)
            messages[0].channel.basic_recover(requeue=True)
            drain(connection, lambda: len(messages) == 6)
            assert sorted(message.payload for message in messages[3:]) == [1, 2, 3]
            for message in messages[3:]:
                message.ack()


def test_what_a_killed_consumer_held_comes_back(broker: Broker, peer: StartPeer) -> None:
    if broker.kind == "redis":
        broker.options["visibility_timeout"] = 1  # Redis knows no dead consumers, only old messages
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, "one", "two")
        holder = peer("hold", queue)
        holder.prints(3)
        with consuming(connection, queue) as messages:
            holder.kill()
            drain(connection, lambda: len(messages) >= 2, within=5 if broker.kind == "files" else 30)
            assert {message.payload for message in messages} == {"one", "two"}
            assert all(message.delivery_info["redelivered"] for message in messages)
            for message in messages:
                message.ack()


def test_a_consumer_is_given_no_more_than_its_prefetch_limit(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, *range(5))
        with consuming(connection, queue, prefetch=2) as messages:
            drain(connection, lambda: len(messages) == 2)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=QUIET)
            messages[0].ack()
            drain(connection, lambda: len(messages) == 3)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=QUIET)


def test_urgent_messages_overtake(broker: Broker) -> None:
    queue = broker.queue(max_priority=9)
    with broker.connect() as connection:
        publish(connection, queue, "later", priority=9 - broker.first_priority)
        publish(connection, queue, "now", priority=broker.first_priority)
        publish(connection, queue, "last", priority=9 - broker.first_priority)
        assert receive(connection, queue, 3) == ["now", "later", "last"]


def test_a_fanout_reaches_every_process(broker: Broker, peer: StartPeer) -> None:
    queues = [broker.queue("fanout", exchange=f"{broker.prefix}_all", key="all") for _ in range(2)]
    listeners = [peer("work", queue) for queue in queues]
    for listener in listeners:
        listener.prints(1)
    with broker.connect() as connection:
        publish(connection, queues[0], "hear this")
    for listener in listeners:
        listener.prints(2)
        assert listener.bodies() == ["hear this"]


def test_a_topic_reaches_the_queues_whose_pattern_fits(broker: Broker) -> None:
    orders, everything = (
        broker.queue("topic", exchange=f"{broker.prefix}_topics", key=key) for key in ("orders.*", "#")
    )
    with broker.connect() as connection, connection.Producer() as producer:
        for key in ("orders.new", "bills.new"):
            producer.publish(key, exchange=orders.exchange, routing_key=key, declare=[orders, everything])
        assert receive(connection, orders, 1) == ["orders.new"]
        assert receive(connection, everything, 2) == ["orders.new", "bills.new"]


def test_purging_empties_the_queue_and_counts(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, *range(7))
        eventually(lambda: length(connection, queue) == 7)
        assert queue(connection.channel()).purge() == 7
        assert length(connection, queue) == 0


def test_a_deleted_queue_is_gone_with_its_messages(broker: Broker) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, "old")
        eventually(lambda: length(connection, queue) == 1)
        queue(connection.channel()).delete()
    with broker.connect() as connection:
        publish(connection, queue, "new")
        assert receive(connection, queue, 1) == ["new"]


def test_a_mebibyte_arrives_whole(broker: Broker) -> None:
    queue, body = broker.queue(), bytes(range(256)) * 4096
    with broker.connect() as connection:
        publish(
            connection,
            queue,
            body,
            serializer="raw",
            content_type="application/data",
            content_encoding="binary",
        )
        with consuming(connection, queue, accept=["application/data"]) as messages:
            drain(connection, lambda: len(messages) == 1)
            assert messages[0].body == body
            messages[0].ack()


def test_of_two_consumers_each_message_goes_to_one(broker: Broker, peer: StartPeer) -> None:
    queue = broker.queue()
    workers = [peer("work", queue), peer("work", queue)]
    for worker in workers:
        worker.prints(1)
    with broker.connect() as connection:
        publish(connection, queue, *range(500))
    eventually(lambda: sum(len(worker.bodies()) for worker in workers) >= 500, within=30)
    assert sorted(workers[0].bodies() + workers[1].bodies()) == list(range(500))
    assert all(worker.bodies() for worker in workers)


def test_several_producers_lose_nothing_and_keep_their_order(broker: Broker, peer: StartPeer) -> None:
    queue = broker.queue()
    with broker.connect() as connection:
        publish(connection, queue, ["here", 0])
        for name in "abc":
            peer("publish", queue, "50", name)
        received = receive(connection, queue, 151)
    assert Counter(name for name, _ in received) == {"here": 1, "a": 50, "b": 50, "c": 50}
    for name in "abc":
        assert [number for sender, number in received if sender == name] == list(range(50))
