"""The publisher at real brokers: what counts as sent is there, confirmed, and what Celery itself would have sent."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.signals import after_task_publish, before_task_publish
from kombu import Exchange, Queue

from taskd.dispatch.messages import Order, compose
from taskd.dispatch.outlet import Outlet
from taskd.dispatch.outlets import open_outlet
from taskd.schedule.spec import uid_of
from taskd.store.outbox import Waiting
from tests.services import free_port
from tests.store.scene import NOON


@pytest.fixture(params=["redis_url", "rabbitmq_url"])
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    """An application that says nothing about confirmations or time-outs."""
    url = request.getfixturevalue(request.param)
    app = Celery("test", broker=url, set_as_current=False)
    app.conf.update(broker_connection_timeout=5, task_serializer="json")
    if "redis" in url:
        app.conf.broker_transport_options = {"global_keyprefix": f"{uuid4().hex}:"}
    yield app
    app.close()


@pytest.fixture
def outlet(app: Celery) -> Iterator[Outlet]:
    outlet = open_outlet(app)
    yield outlet
    outlet.close()


def waiting(app: Celery, number: int, **options: Any) -> Waiting:
    order = Order("t", [number, "ü"], {"n": number}, options, "one", "schedule")
    task_id = str(uid_of(f"{number}"))
    return Waiting(
        number, task_id, "t", NOON, None, compose(app, order).fill(task_id, NOON.isoformat(), NOON)
    )


def received(app: Celery, queue: str) -> list[Any]:
    found = []
    with app.connection_for_read() as connection:
        channel: Any = connection.channel()
        while (message := Queue(queue)(channel).get(no_ack=True)) is not None:
            found.append(message)
    return found


def numbers(app: Celery, queue: str) -> list[int]:
    return [message.decode()[0][0] for message in received(app, queue)]


def test_a_batch_arrives_whole_and_in_order(app: Celery, outlet: Outlet) -> None:
    one, two = uuid4().hex, uuid4().hex
    batch = [waiting(app, number, queue=two if number % 3 else one) for number in range(1, 500)]
    outcome = outlet.send(batch)
    assert sorted(outcome.sent) == [each.run_id for each in batch]
    assert (outcome.refused, outcome.broken) == ({}, None)
    assert numbers(app, one) == [number for number in range(1, 500) if number % 3 == 0]
    assert numbers(app, two) == [number for number in range(1, 500) if number % 3]


@pytest.mark.parametrize(
    "options", [{}, {"priority": 7}, {"expires": 60}, {"headers": {"tenant": "ü"}}], ids=str
)
def test_a_message_in_a_batch_is_the_one_that_celery_sends(
    app: Celery, outlet: Outlet, options: dict[str, Any]
) -> None:
    queue = uuid4().hex
    ours = waiting(app, 1, queue=queue, **options)
    assert outlet.send([ours]).sent == [1]

    def listens(**_: Any) -> None: ...

    before_task_publish.connect(listens)  # so that it is Celery who sends
    try:
        assert outlet.send([ours]).sent == [1]
    finally:
        before_task_publish.disconnect(listens)
    batched, celerys = received(app, queue)
    for message in (batched, celerys):
        message.properties.pop("delivery_tag", None)
    assert batched.headers == celerys.headers
    assert batched.properties == celerys.properties
    assert batched.decode() == celerys.decode()
    assert (batched.content_type, batched.content_encoding) == (
        celerys.content_type,
        celerys.content_encoding,
    )


def test_who_listens_to_celerys_signals_hears_of_each_message_once_it_is_sent(
    app: Celery, outlet: Outlet
) -> None:
    queue, told = uuid4().hex, []

    def listen(headers: Any, **_: Any) -> None:
        told.append((headers["id"], len(numbers(app, queue))))

    after_task_publish.connect(listen)
    try:
        batch = [waiting(app, number, queue=queue) for number in (1, 2)]
        assert outlet.send(batch).sent == [1, 2]
    finally:
        after_task_publish.disconnect(listen)
    assert told == [(each.task_id, 1) for each in batch]


def test_a_route_through_an_exchange_is_followed(app: Celery, outlet: Outlet) -> None:
    name = uuid4().hex
    queue = Queue(name, Exchange(f"x{name}", "direct"), routing_key="reports.daily")
    with app.connection_for_write() as connection:
        queue(connection.channel()).declare()
    app.amqp.queues.add(queue)
    assert outlet.send([waiting(app, 1, exchange=f"x{name}", routing_key="reports.daily")]).sent == [1]
    assert numbers(app, name) == [1]


def test_what_no_queue_takes_is_refused_and_the_rest_is_sent(app: Celery, outlet: Outlet) -> None:
    good, bad = uuid4().hex, uuid4().hex
    batch = [
        waiting(app, 1, queue=good),
        waiting(app, 2, exchange=bad, routing_key="nowhere"),
        waiting(app, 3, queue=good),
    ]
    outcome = outlet.send(batch)
    assert sorted(outcome.sent) == [1, 3]
    assert list(outcome.refused) == [bad]
    assert outcome.broken is None
    arrived = numbers(app, good)  # where RabbitMQ closes the channel unconfirmed, they are sent once more
    assert list(dict.fromkeys(arrived)) == [1, 3]


@pytest.mark.parametrize("app", ["rabbitmq_url"], indirect=True)
def test_a_queue_that_was_deleted_is_made_again(app: Celery, outlet: Outlet) -> None:
    queue = uuid4().hex
    assert outlet.send([waiting(app, 1, queue=queue)]).sent == [1]
    with app.connection_for_write() as connection:
        connection.channel().queue_delete(queue)
    outcomes = [outlet.send([waiting(app, 2, queue=queue)]) for _ in range(2)]
    assert [2] in [outcome.sent for outcome in outcomes]
    assert set(numbers(app, queue)) == {2}


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_is_told_from_a_queue_that_is_refused(scheme: str) -> None:
    away = Celery("away", broker=f"{scheme}://127.0.0.1:{free_port()}/", set_as_current=False)
    outlet = open_outlet(away)
    outcome = outlet.send([waiting(away, 1, queue="any")])
    outlet.close()
    assert (outcome.sent, outcome.refused) == ([], {})
    assert outcome.broken is not None
