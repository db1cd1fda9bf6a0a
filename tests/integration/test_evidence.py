"""What a broker has lost is published again, and what only waits never is: on each real broker."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection
from redis import Redis
from sqlalchemy import update

import taskd.broker  # noqa: F401 teaches kombu files://
from taskd import clock
from taskd.dispatch import evidence as looking
from taskd.dispatch.evidence import ABSENCE, REPEATS, Evidence
from taskd.dispatch.messages import Order, compose
from taskd.dispatch.publisher import Publisher
from taskd.store import attempts, runs, schema, workers
from taskd.store.claims import Call, Start
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.runs import NewRun
from taskd.store.tables import RunRow
from taskd.store.workers import Worker
from tests.integration.brokers import Broker
from tests.leading import Leading

LATER = timedelta(minutes=1)
RECORDED, UNRECORDED = "recorded", "unrecorded"


@dataclass
class Scene:
    """A database and a broker, with what publishes and what looks."""

    broker: Broker
    database: Database
    app: Celery
    queue: str
    publisher: Publisher
    evidence: Evidence
    looks: int = field(default=0)

    def publish(self, *, task: str = RECORDED, at: datetime | None = None, **options: Any) -> str:
        """Decide a run, and send its message: the run's task id."""
        task_id, at = str(uuid4()), at or clock.now()
        message = compose(
            self.app, Order(task, [], {}, {"queue": self.queue, **options}, "s", "schedule")
        ).fill(task_id, at.isoformat(), at)
        new = NewRun(task_id, task, "PENDING", "schedule", 1, "s", at, "[]", "{}", at, message=message)
        self.database.write(lambda session: runs.add(session, [new]))
        assert self.send_what_is_due() == 1
        return task_id

    def send_what_is_due(self) -> int:
        return self.publisher.tick(clock.now() + LATER)

    def look(self, times: int = 1) -> int:
        """How many messages the last of so many looks, seconds apart, found lost."""
        for _ in range(times):
            self.looks += 1
            found = self.evidence.look(10.0 * self.looks, clock.now() + LATER)
        return found

    def run(self, task_id: str) -> RunRow:
        return self.database.read(lambda session: runs.find(session, task_id))

    def lose_all(self) -> None:
        with self.app.connection_for_write() as connection:
            connection.channel().queue_purge(self.queue)

    def waiting(self) -> list[Any]:
        """The messages in the queue, taken out."""
        found = []
        with self.app.connection_for_read() as connection:
            assert isinstance(connection, Connection)
            channel = connection.channel()
            while (message := channel.basic_get(self.queue, no_ack=True)) is not None:
                found.append(message)
        return found

    def begin(self, task_id: str) -> None:
        start = Start(Call(task_id, RECORDED, decided=True), "w.1", 0, "w", clock.now())
        assert attempts.begin(self.database, start) == "claimed"


@pytest.fixture
def scene(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A living worker records RECORDED and takes from the queue, as far as the table knows."""
    monkeypatch.setattr(looking, "TELLING", 0.2)  # nobody is there to answer
    monkeypatch.setattr(looking, "BATCH", 2)  # three are more than a transaction takes
    database = Database(f"sqlite:///{tmp_path}/taskd.db")
    schema.upgrade(database)
    app = Celery("test", broker=broker.url, set_as_current=False)
    queue = broker.queue()
    app.conf.update(broker_transport_options=broker.options, task_default_queue=queue.name)
    with app.connection_for_write() as connection:
        app.amqp.queues[queue.name](connection.channel()).declare()
    worker = Worker("w", "w", "host", 1, "prefork", [queue.name], [RECORDED])
    database.write(lambda session: workers.sign_on(session, worker))
    leadership = Leading(database, "dispatch", "me", 10.0)
    made = Scene(
        broker,
        database,
        app,
        queue.name,
        Publisher(database, app, leadership),
        Evidence(Fenced(database, leadership.fence), app),
    )
    yield made
    made.publisher.close()
    app.close()
    database.close()


def test_what_waits_is_not_lost_however_long(scene: Scene) -> None:
    for _ in range(3):
        scene.publish()
    assert scene.look(times=5) == 0
    assert len(scene.waiting()) == 3


def test_what_a_consumer_holds_is_not_lost_however_long(scene: Scene) -> None:
    scene.publish()
    with scene.app.connection_for_read() as connection, connection.channel() as channel:
        held: list[Any] = []
        queue = scene.app.amqp.queues[scene.queue]
        with connection.Consumer(
            [queue], channel=channel, callbacks=[lambda _, message: held.append(message)]
        ):
            while not held:
                connection.drain_events(timeout=10)
            assert scene.look(times=5) == 0


def test_what_a_purge_took_is_published_again_at_the_second_look_under_its_id_and_marked(
    scene: Scene,
) -> None:
    lost = [scene.publish() for _ in range(3)]
    scene.lose_all()
    assert scene.look() == 0
    assert scene.look() == 3
    assert scene.send_what_is_due() == 3
    found = scene.waiting()
    assert sorted(message.headers["id"] for message in found) == sorted(lost)
    assert [message.headers["taskd"]["republished"] for message in found] == [1, 1, 1]
    assert (scene.run(lost[0]).detail or {})["republished"] == 1


def test_a_broker_that_loses_everything_gets_a_message_four_times_and_no_more(scene: Scene) -> None:
    task_id = scene.publish()
    for _ in range(REPEATS):
        scene.lose_all()
        assert scene.look(times=2) == 1
        assert scene.send_what_is_due() == 1
    scene.lose_all()
    assert scene.look(times=2) == 0
    ended = scene.run(task_id)
    assert (ended.status, (ended.detail or {})["reason"]) == ("LOST", "message lost")


def test_a_run_that_has_begun_is_no_concern_of_the_broker_s(scene: Scene) -> None:
    scene.begin(scene.publish())
    scene.lose_all()
    assert scene.look(times=3) == 0


def test_a_run_that_nobody_records_is_never_published_again_and_counts_as_sent_after_a_minute(
    scene: Scene,
) -> None:
    task_id = scene.publish(task=UNRECORDED)
    scene.lose_all()  # as a worker that tells nothing takes it
    assert scene.look(times=3) == 0
    assert scene.run(task_id).status == "PENDING"  # one that records it may be about to start
    assert scene.look(times=5) == 0
    sent = scene.run(task_id)
    assert (sent.status, (sent.detail or {})["reason"]) == ("SENT", "unrecorded")


def test_what_nobody_began_before_it_expired_is_revoked(scene: Scene) -> None:
    expired, lasting = scene.publish(expires=1), scene.publish(expires=3600)
    scene.look()
    ended = scene.run(expired)
    assert (ended.status, (ended.detail or {})["reason"]) == ("REVOKED", "expired")
    assert scene.run(lasting).status == "PENDING"


def test_what_no_worker_took_within_its_window_is_missed(scene: Scene) -> None:
    old, young = scene.publish(), scene.publish()
    hours = update(RunRow).values(scheduled_for=clock.now() - timedelta(hours=3))
    scene.database.write(lambda session: session.execute(hours.where(RunRow.task_id == old)))
    scene.look(times=20)
    assert scene.run(old).status == "PENDING"  # a worker takes from the queue: it will come to it

    scene.database.write(lambda session: workers.sign_off(session, "w"))
    scene.look()
    assert scene.run(old).status == "PENDING"
    scene.look(times=round(ABSENCE / 10))
    ended = scene.run(old)
    assert (ended.status, (ended.detail or {})["reason"]) == ("MISSED", "no worker")
    assert scene.run(young).status == "PENDING"


def test_a_broker_that_is_away_is_no_evidence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.publish()
    away = Celery("test", broker="redis://127.0.0.1:1/0", set_as_current=False)
    monkeypatch.setattr(scene.evidence, "_app", away)
    assert scene.look() == 0


def on_redis(scene: Scene, command: str, key: str) -> Any:
    """A command to the server, about one of the installation's keys."""
    with Redis.from_url(scene.broker.url) as client:
        return getattr(client, command)(f"{scene.broker.options['global_keyprefix']}{key}")


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_what_a_killed_worker_had_popped_and_not_noted_is_published_again(scene: Scene) -> None:
    popped, waiting = scene.publish(), scene.publish()
    assert on_redis(scene, "rpop", scene.queue)
    assert scene.look(times=2) == 1
    assert scene.send_what_is_due() == 1
    assert [message.headers["id"] for message in scene.waiting()] == [waiting, popped]


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_after_a_flush_one_look_is_evidence_enough(scene: Scene) -> None:
    scene.publish()
    scene.look()
    for key in (scene.queue, "taskd.sentinel"):
        assert on_redis(scene, "delete", key)
    assert scene.look() == 1


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_queue_that_was_deleted_has_lost_what_was_in_it(scene: Scene) -> None:
    task_id = scene.publish()
    with scene.app.connection_for_write() as connection:
        connection.channel().queue_delete(scene.queue)
    assert scene.look(times=2) == 1
    scene.publisher.close()  # kombu declares a queue once a connection
    assert scene.send_what_is_due() == 1
    assert [message.headers["id"] for message in scene.waiting()] == [task_id]
