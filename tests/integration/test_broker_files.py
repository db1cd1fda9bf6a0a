"""What only the embedded broker promises: its folder, its locks, what is left over."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError

from taskd import clock
from taskd.broker import broker_url
from taskd.broker import folder as broker_folder
from taskd.errors import ConfigError
from tests.integration.brokers import Broker, StartPeer, consuming, drain, length, publish, receive
from tests.waiting import eventually


@pytest.fixture
def connection(files_broker: Broker) -> Iterator[Connection]:
    with files_broker.connect() as opened:
        yield opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where `files_broker` keeps everything."""
    return tmp_path / "state" / "broker"


def test_the_url_is_shown_as_it_was_given(connection: Connection, root: Path) -> None:
    assert connection.as_uri() == f"files://{root}"
    assert connection.clone().info()["hostname"] == f"files://{root}"


def test_a_folder_of_any_name_will_do(tmp_path: Path) -> None:
    with Connection(broker_url(tmp_path / "a b;c#d?e%41é")) as connection:
        publish(connection, Queue("q", Exchange("x"), "k"), "here")
        assert receive(connection, Queue("q", Exchange("x"), "k"), 1) == ["here"]
    assert (tmp_path / "a b;c#d?e%41é" / "queues" / "q").is_dir()


def test_a_url_without_an_absolute_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="files:///absolute/path"):
        Connection("files://broker/q").connect()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "50%", "zäh 队列"])
def test_a_queue_may_have_any_name(connection: Connection, root: Path, name: str) -> None:
    queue = Queue(name, Exchange(name), name)
    publish(connection, queue, "here")
    assert receive(connection, queue, 1) == ["here"]
    assert len(list((root / "queues").iterdir())) == 1


def test_only_its_owner_may_look_in(connection: Connection, root: Path) -> None:
    connection.connect()
    assert root.stat().st_mode & 0o777 == 0o700


def test_an_unusable_folder_is_a_connection_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    connection = Connection(broker_url(tmp_path / "file" / "broker"))
    with pytest.raises(OperationalError, match="file/broker"):
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_a_folder_that_becomes_unwritable_is_a_connection_error_and_publishing_recovers(
    connection: Connection, root: Path, files_broker: Broker
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, "before")
    with unwritable(root / "new"), connection.Producer() as producer:
        with pytest.raises(connection.connection_errors, match="new"):
            producer.publish("lost", exchange=queue.exchange, routing_key=queue.routing_key)
        with pytest.raises(OperationalError):
            connection.clone().ensure_connection(max_retries=1, interval_start=0)
    publish(connection, queue, "after")
    assert receive(connection, queue, 2) == ["before", "after"]


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """`folder` is a file for the block; root may write anywhere, so permissions wouldn't do."""
    aside = folder.rename(folder.with_name("aside"))
    folder.touch()
    yield
    folder.unlink()
    aside.rename(folder)


def test_when_the_folder_is_removed_producers_and_consumers_reconnect(
    connection: Connection, files_broker: Broker, root: Path
) -> None:
    queue = files_broker.queue()
    with files_broker.connect() as consumer:
        with consuming(consumer, queue) as messages:
            publish(connection, queue, "gone")
            drain(consumer, lambda: len(messages) == 1)
            root.rename(root.with_name("removed"))
            publish(connection, queue, "kept")
            with pytest.raises(consumer.connection_errors, match="unacked"):
                drain(consumer, lambda: False, within=5)
        consumer.collect()
        assert receive(consumer, queue, 1) == ["kept"]


def test_nobody_sees_a_message_that_is_being_written(
    connection: Connection, files_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, seen = files_broker.queue(), []
    publish(connection, queue, "warm up")
    assert receive(connection, queue, 1) == ["warm up"]
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(length(connection, queue))
        sync(descriptor)

    monkeypatch.setattr(broker_folder.os, "fsync", look)
    publish(connection, queue, "whole")
    assert seen == [0, 1]  # the file's sync, then the folder's, when it is there


def test_what_a_dead_writer_left_is_never_delivered_and_goes_after_an_hour(
    connection: Connection, files_broker: Broker, root: Path
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, "whole")
    old, young = root / "new" / "old", root / "new" / "young"
    old.write_text('{"half')
    young.write_text('{"half')
    os.utime(old, (time.time() - 3601,) * 2)
    assert receive(connection, queue, 1) == ["whole"]
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize(
    "damage", ["", '{"half', "[]", "{}", '{"body": "x", "properties": {"delivery_info": {}}}']
)
def test_a_damaged_message_is_set_aside_and_named_once(
    connection: Connection, files_broker: Broker, root: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, "good")
    damaged = root / "queues" / queue.name / "0-00000000000000000-damaged"
    if "body" in damage:
        damage = damage.replace('{"delivery_info"', '{"body_encoding": "base64", "delivery_info"')
    damaged.write_text(damage)
    with caplog.at_level(logging.ERROR, "taskd.broker"):
        assert receive(connection, queue, 1) == ["good"]
        assert connection.default_channel.basic_get(queue.name) is None
    (kept,) = (root / "broken").iterdir()
    assert kept.read_text() == damage
    assert [str(kept) in record.getMessage() for record in caplog.records] == [True]


def test_a_killed_consumers_messages_come_back_though_its_child_lives_on(
    connection: Connection, files_broker: Broker, peer: StartPeer
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, "held")
    forked = peer("fork", queue)
    child = int(forked.prints(1)[0])
    try:
        with consuming(connection, queue) as messages:
            forked.kill()
            drain(connection, lambda: len(messages) == 1, within=5)
            assert messages[0].delivery_info["redelivered"]
            os.kill(child, 0)  # still there
            messages[0].ack()
    finally:
        os.kill(child, signal.SIGKILL)


def test_killing_one_consumer_after_another_loses_nothing(
    connection: Connection, files_broker: Broker, peer: StartPeer
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, *range(2000), delivery_mode="transient")
    workers = []
    for _ in range(8):
        workers.append(peer("work", queue))
        workers[-1].prints(20)
        workers[-1].kill()
    workers.append(peer("work", queue))
    wanted = {str(number) for number in range(2000)}
    eventually(lambda: wanted <= {line for worker in workers for line in worker.lines()}, within=30)
    eventually(lambda: length(connection, queue) == 0)


def test_a_forked_child_leaves_its_parents_messages_alone(
    connection: Connection, files_broker: Broker
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, "parent's", "child's")
    with consuming(connection, queue, prefetch=1) as messages:
        drain(connection, lambda: len(messages) == 1)
        if (child := os.fork()) == 0:
            taken = messages[0].channel.basic_get(queue.name)  # by a channel that it inherited
            messages[0].channel.close()
            os._exit(0 if taken is not None and taken.payload == "child's" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert length(connection, queue) == 1
        messages[0].ack()
        drain(connection, lambda: len(messages) == 2)
        assert messages[1].payload == "child's"
        messages[1].ack()


def test_the_reply_queue_of_a_dead_process_is_collected(
    connection: Connection, files_broker: Broker, peer: StartPeer, root: Path
) -> None:
    work, reply = files_broker.queue(), files_broker.queue(durable=False, exclusive=True, auto_delete=True)
    asker = peer("work", reply)
    asker.prints(1)
    with consuming(connection, work):
        publish(connection, work, "nothing to do with it")
        drain(connection, lambda: length(connection, work) == 0)
        assert reply.name in {queue for queue, _, _ in connection.default_channel.list_bindings()}
        asker.kill()
        drain(connection, lambda: not (root / "queues" / reply.name).exists(), within=5)
    assert not (root / "temporary" / reply.name).exists()
    assert reply.name not in {queue for queue, _, _ in connection.default_channel.list_bindings()}


def test_a_reply_to_nobody_is_dropped_and_makes_no_queue(
    connection: Connection, files_broker: Broker, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, put, channel = files_broker.queue(), broker_folder.Folder.put, connection.default_channel
    publish(connection, reply, "in time")

    def too_late(*words: Any, **options: Any) -> bool:
        channel.queue_delete(reply.name)  # after the exchange was asked who is bound
        return put(*words, **options)

    monkeypatch.setattr(broker_folder.Folder, "put", too_late)
    with connection.Producer() as producer:
        producer.publish("too late", exchange=reply.exchange, routing_key=reply.routing_key)
    assert list((root / "queues").iterdir()) == []


def test_an_auto_delete_queue_waits_for_its_first_consumer(
    connection: Connection, files_broker: Broker
) -> None:
    queue = files_broker.queue(auto_delete=True)
    with files_broker.connect() as producer:
        publish(producer, queue, "early")
    with consuming(connection, files_broker.queue()), pytest.raises(TimeoutError):
        connection.drain_events(timeout=1.5)  # tidies, and finds nothing to do
    assert receive(connection, queue, 1) == ["early"]


def test_a_restarted_worker_hears_broadcasts_under_its_old_name(
    files_broker: Broker, connection: Connection, peer: StartPeer
) -> None:
    mailbox = files_broker.queue("fanout", exclusive=True, durable=False)
    first = peer("work", mailbox)
    first.prints(1)
    first.kill()
    publish(connection, Queue("", mailbox.exchange), "to the dead")
    second = peer("work", mailbox)
    second.prints(1)
    with connection.Producer() as producer:
        producer.publish("to the living", exchange=mailbox.exchange)
    second.prints(2)
    assert second.bodies() == ["to the living"]


def test_order_survives_a_clock_that_is_set_back(
    connection: Connection, files_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = files_broker.queue()
    with connection.Producer() as producer:
        for number, year in enumerate([2030, 2020, 2031]):
            monkeypatch.setattr(clock, "now", lambda year=year: datetime(year, 1, 1, tzinfo=UTC))
            producer.publish(number, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue])
    assert receive(connection, queue, 3) == [0, 1, 2]


def test_a_long_queue_is_not_listed_for_each_message(
    connection: Connection, files_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, listed = files_broker.queue(), []
    publish(connection, queue, *range(300), delivery_mode="transient")
    ready = broker_folder.Folder.ready
    monkeypatch.setattr(broker_folder.Folder, "ready", lambda *words: listed.append(words) or ready(*words))
    receive(connection, queue, 300)
    assert len(listed) < 20


def test_exchanges_are_what_they_were_declared(connection: Connection) -> None:
    channel = connection.channel()
    channel.exchange_declare("news", "fanout")
    channel.exchange_declare("news", "fanout")
    with pytest.raises(ChannelError, match="'news' is fanout, not topic"):
        channel.exchange_declare("news", "topic")
    with pytest.raises(ChannelError, match="'none' isn't declared"):
        channel.exchange_declare("none", passive=True)
    with pytest.raises(ChannelError, match="'none' isn't declared"):
        channel.queue_bind("queue", "none", "key")
    channel.queue_bind("queue", "news", "key")
    assert list(channel.list_bindings()) == [("queue", "news", "key")]
    channel.queue_unbind("queue", "news", "key")
    assert list(channel.list_bindings()) == []
    channel.exchange_delete("news")
    assert channel.get_exchanges() == []


def test_nothing_stays_behind_when_all_is_done(
    connection: Connection, files_broker: Broker, root: Path
) -> None:
    queue = files_broker.queue()
    publish(connection, queue, 1, 2, 3)
    assert receive(connection, queue, 3) == [1, 2, 3]
    connection.release()
    eventually(
        lambda: not [path for place in ("new", "unacked", "broken") for path in (root / place).iterdir()]
    )
