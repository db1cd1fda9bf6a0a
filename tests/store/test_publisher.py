"""P and T2: what is due is sent and marked; what can't be sent waits, and never delays what can."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from math import inf
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection
from sqlalchemy import delete, select

from taskd.dispatch import outlet
from taskd.dispatch import publisher as publishing
from taskd.dispatch.leader import Leadership
from taskd.dispatch.messages import Order, compose
from taskd.dispatch.publisher import Publisher
from taskd.errors import LeaseLost
from taskd.store import outbox, runs
from taskd.store.database import Database
from taskd.store.runs import NewRun
from taskd.store.tables import OutboxRow, RunRow
from tests.leading import Leading
from tests.services import free_port
from tests.store.scene import statements

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
Put = Callable[..., str]


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
        order = Order("t", [], {}, {"queue": queue}, queue, "schedule")
        message = compose(app, order).fill(task_id, at and at.isoformat(), NOON)
        kind = "schedule" if at else "manual"
        new = NewRun(task_id, "t", "PENDING", kind, next(ids), queue, NOON, "[]", "{}", at, None, message)
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


def test_who_no_longer_leads_marks_nothing_so_that_the_next_leader_sends_it(
    database: Database, app: Celery, put: Put
) -> None:
    class Deposed(Leading):
        def fence(self, session: Any) -> None:
            raise LeaseLost("another process has taken the dispatch lease")

    queue = uuid4().hex
    task_id, late = put(queue), put(queue, NOON - timedelta(hours=3))
    with pytest.raises(LeaseLost):
        Publisher(database, app, Deposed(database, "dispatch", "me", 10.0)).tick(NOON)
    assert waiting(database) == 2
    assert run(database, task_id).published_at is None
    assert run(database, late).status == "PENDING"


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
    send = outlet.send

    def refuse(app: Celery, producer: Any, name: str, message: Any) -> None:
        if message.options["queue"] == bad:
            raise RuntimeError("PRECONDITION_FAILED")
        send(app, producer, name, message)

    monkeypatch.setattr(outlet, "send", refuse)
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


def test_during_an_outage_the_outbox_is_not_read_again_and_again(
    database: Database, leadership: Leadership, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slowly the test runs, the broker still rests at its end.
    monkeypatch.setattr(publishing.Backoff, "fail", lambda self, seconds: setattr(self, "until", inf) or 60.0)
    put(uuid4().hex)
    away = Celery("test", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)
    publisher = Publisher(database, away, leadership)
    assert publisher.tick(NOON) == 0
    publisher.tick(NOON)  # which looks for what nobody needs any more
    assert not [sql for sql in statements(database, lambda: publisher.tick(NOON)) if "task_outbox" in sql]


def test_what_is_handed_over_is_sent_without_asking_the_outbox_and_marked_by_the_next_t1(
    database: Database, app: Celery, leadership: Leadership, put: Put
) -> None:
    queue, publisher = uuid4().hex, Publisher(database, app, leadership)
    publisher.tick(NOON)  # nothing is behind
    task_id = put(queue)
    with publisher.committing:
        publisher.hand_over(database.read(lambda session: outbox.due(session, NOON, 10)))
    sql = statements(database, lambda: publisher.tick(NOON, more_comes=True))
    assert received(app, queue) == [task_id]
    assert sql == []
    with publisher.marks.taken() as marks:
        database.write(lambda session: outbox.mark_all(session, marks))
    assert run(database, task_id).published_at
    assert publisher.tick(NOON) == 0


def test_marks_of_a_transaction_that_failed_are_written_with_the_next(
    database: Database, app: Celery, leadership: Leadership, put: Put
) -> None:
    task_id, publisher = put(uuid4().hex), Publisher(database, app, leadership)
    [waiting] = database.read(lambda session: outbox.due(session, NOON, 10))
    publisher.marks.add([waiting.run_id], NOON)
    with pytest.raises(RuntimeError), publisher.marks.taken():
        raise RuntimeError("the commit failed")
    with publisher.marks.taken() as marks:
        database.write(lambda session: outbox.mark_all(session, marks))
    assert run(database, task_id).published_at == NOON


def test_after_an_outage_what_waited_goes_before_what_has_just_been_decided(
    database: Database, app: Celery, leadership: Leadership, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, publisher = uuid4().hex, Publisher(database, app, leadership)
    publisher.tick(NOON)
    sent, refuses = outlet.send, [True]

    def send(*given: Any) -> None:
        if refuses:
            refuses.clear()
            raise RuntimeError("PRECONDITION_FAILED")
        sent(*given)

    monkeypatch.setattr(outlet, "send", send)
    first = put(queue)
    publisher.tick(NOON)
    later = publishing.clock.monotonic() + 60
    monkeypatch.setattr(publishing.clock, "monotonic", lambda: later)
    second = put(queue, NOON + timedelta(seconds=1))
    with publisher.committing:
        found = database.read(lambda session: outbox.due(session, NOON, 10))
        publisher.hand_over([waiting for waiting in found if waiting.task_id == second])
    publisher.tick(NOON)
    assert received(app, queue) == [first, second]


def test_marks_wait_for_others_and_are_there_again_after_a_failure() -> None:
    marks = publishing.Marks()
    marks.add([1, 2], NOON)
    with marks.taken(at_least=2) as taken:
        assert not taken
    marks.add([3], NOON)
    with suppress(LeaseLost), marks.taken(at_least=2) as taken:
        raise LeaseLost("another process has taken the dispatch lease")
    with marks.taken() as taken:
        assert [mark.run_ids for mark in taken] == [[1, 2], [3]]
    assert not marks
