"""P and T2: what is due is sent and marked; what can't be sent waits, and never delays what can."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection
from sqlalchemy import delete, select

from taskd.dispatch import publisher as publishing
from taskd.dispatch.leader import Leadership
from taskd.dispatch.messages import Order, compose
from taskd.dispatch.publisher import Publisher
from taskd.store import runs
from taskd.store.database import Database
from taskd.store.runs import NewRun
from taskd.store.tables import OutboxRow, RunRow
from tests.services import free_port

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
Put = Callable[..., str]


class Leading(Leadership):
    """One that leads, whatever the table says: who leads is asked elsewhere."""

    def leads(self, seconds: float) -> bool:
        return True


@pytest.fixture
def leadership(database: Database) -> Leadership:
    return Leading(database, "dispatch", "me", 10.0)


@pytest.fixture
def app() -> Celery:
    """An application whose queues are this process's own."""
    app = Celery("test", broker=f"memory://{uuid4().hex}", set_as_current=False)
    app.conf.update(task_serializer="json", accept_content=["json"])
    return app


@pytest.fixture
def put(database: Database, app: Celery) -> Put:
    """A decided run with its message in the outbox; returns its task id."""

    def clear(session: Any) -> None:
        session.execute(delete(RunRow))
        session.execute(delete(OutboxRow))

    database.write(clear)
    ids = count(1)

    def decide(queue: str, at: datetime | None = NOON) -> str:
        task_id = str(uuid4())
        message = compose(app, Order(task_id, "t", [], {}, {"queue": queue}, {}), NOON)
        kind = "schedule" if at else "manual"
        new = NewRun(task_id, "t", "PENDING", kind, next(ids), queue, NOON, [], {}, at, None, message)
        database.write(lambda session: runs.add(session, [new]))
        return task_id

    return decide


def run(database: Database, task_id: str) -> RunRow:
    return database.read(lambda session: runs.find(session, task_id))


def waiting(database: Database) -> int:
    query = select(OutboxRow).where(OutboxRow.not_before.is_not(None))
    return len(database.read(lambda session: list(session.scalars(query))))


def received(app: Celery, queue: str) -> list[str]:
    """The task ids in a queue, in order."""
    found = []
    with app.connection_for_read() as connection:
        assert isinstance(connection, Connection)
        channel = connection.channel()
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            found.append(message.headers["id"])
    return found


def test_what_is_due_is_sent_once_in_order_and_marked(
    database: Database, app: Celery, leadership: Leadership, put: Put
) -> None:
    queue = uuid4().hex
    sent = [put(queue, NOON + timedelta(seconds=n)) for n in range(5)]
    publisher = Publisher(database, app, leadership)
    assert publisher.tick(NOON + timedelta(seconds=1)) == 5
    assert publisher.tick(NOON + timedelta(seconds=1)) == 0
    assert received(app, queue) == sent
    assert all(run(database, task_id).published_at for task_id in sent)
    assert waiting(database) == 0


def test_more_than_a_batch_goes_in_one_pass(
    database: Database, app: Celery, leadership: Leadership, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BATCH", 2)
    queue = uuid4().hex
    for n in range(5):
        put(queue, NOON + timedelta(seconds=n))
    assert Publisher(database, app, leadership).tick(NOON) == 5


def test_while_the_broker_is_away_everything_waits_and_goes_out_when_it_is_back(
    database: Database, app: Celery, leadership: Leadership, put: Put
) -> None:
    queue = uuid4().hex
    task_id = put(queue)
    away = Celery("test", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)
    away.conf.update(broker_transport_options={"socket_connect_timeout": 1})
    publisher = Publisher(database, away, leadership)
    assert publisher.tick(NOON) == 0
    assert publisher.next_due() is None  # it gives the broker a rest
    assert (run(database, task_id).status, waiting(database)) == ("PENDING", 1)
    assert Publisher(database, app, leadership).tick(NOON) == 1
    assert received(app, queue) == [task_id]


def test_a_queue_that_is_refused_does_not_delay_another(
    database: Database, app: Celery, leadership: Leadership, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = uuid4().hex, uuid4().hex
    first, second, third = put(bad), put(good), put(bad, NOON + timedelta(seconds=1))
    send = publishing.send

    def refuse(app: Celery, producer: Any, name: str, message: Any) -> None:
        if message.options["queue"] == bad:
            raise RuntimeError("PRECONDITION_FAILED")
        send(app, producer, name, message)

    monkeypatch.setattr(publishing, "send", refuse)
    assert Publisher(database, app, leadership).tick(NOON) == 1
    assert received(app, good) == [second]
    assert {run(database, task_id).published_at for task_id in (first, third)} == {None}
    assert waiting(database) == 2


def test_what_waited_longer_than_its_window_is_missed_but_not_a_manual_run(
    database: Database, app: Celery, leadership: Leadership, put: Put
) -> None:
    queue = uuid4().hex
    old, asked = put(queue), put(queue, None)
    Publisher(database, app, leadership).tick(NOON + timedelta(hours=2))
    assert received(app, queue) == [asked]
    missed = run(database, old)
    assert (missed.status, (missed.detail or {})["reason"]) == ("MISSED", "broker")
    assert waiting(database) == 0


def test_who_no_longer_leads_sends_nothing(
    database: Database, app: Celery, leadership: Leadership, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(uuid4().hex)
    monkeypatch.setattr(Leading, "leads", lambda *_: False)
    assert Publisher(database, app, leadership).tick(NOON) == 0
    assert waiting(database) == 1
