"""The messages that taskd publishes are those that Celery itself would send."""

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish
from kombu import Producer

from taskd.dispatch.messages import Order, compose, send
from taskd.store.claims import RUN_HEADER

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ORIGIN = {"schedule": "one", "scheduled_for": NOW.isoformat(), "kind": "schedule"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "queue": {"queue": "reports"},
    "routed by exchange": {"exchange": "jobs", "routing_key": "reports.daily"},
    "priority": {"priority": 7},
    "expiry": {"expires": 60},
    "limits": {"time_limit": 30, "soft_time_limit": 20},
    "headers": {"headers": {"tenant": "ü"}},
}


@pytest.fixture(params=["json", "msgpack"])
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(
        task_serializer=request.param,
        accept_content=["json", "msgpack"],
        task_routes={"routed": {"queue": "by-route"}},
    )

    @app.task(name="registered", time_limit=99, shared=False)
    def registered() -> None: ...

    yield app
    app.close()


def sent(app: Celery, publish: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What reaches the broker: where to, headers and properties, and the body."""
    seen: list[dict[str, Any]] = []
    original = Producer._publish

    def spy(self: Any, *given: Any, **more: Any) -> Any:
        seen.append(inspect.signature(original).bind(self, *given, **more).arguments)
        return original(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Producer, "_publish", spy)
        publish()
    (envelope,) = ({**one} for one in seen)
    # How it is sent, not what: the outbox is what tries again.
    for how in ("self", "declare", "retry", "retry_policy", "timeout", "confirm_timeout"):
        envelope.pop(how, None)
    envelope["properties"].pop(
        "expiration", None
    )  # by which a broker would drop it unseen: left out on purpose
    envelope["properties"].pop("delivery_tag", None)
    envelope["exchange"] = getattr(envelope["exchange"], "name", envelope["exchange"])
    return envelope, dict(envelope.pop("headers")), envelope.pop("body")


@pytest.mark.parametrize("task", ["registered", "unregistered", "routed"])
@pytest.mark.parametrize("case", CASES)
def test_field_by_field_like_celerys_own(app: Celery, case: str, task: str) -> None:
    options, args, kwargs = CASES[case], [1, "two"], {"three": [3]}

    def ours() -> None:
        message = compose(app, Order(task, args, kwargs, options, "one", "schedule")).fill(
            "id-1", NOW.isoformat(), NOW
        )
        with app.connection_for_write() as connection:
            send(app, app.amqp.Producer(connection.channel(), auto_declare=False), task, message)

    def celerys() -> None:
        given = dict(options)
        if "expires" in given:
            given["expires"] = NOW + timedelta(seconds=given["expires"])
        app.send_task(task, args, kwargs, task_id="id-1", ignore_result=False, **given)

    (our_envelope, our_headers, our_body), (envelope, headers, body) = sent(app, ours), sent(app, celerys)
    assert our_headers.pop(RUN_HEADER) == ORIGIN
    assert our_headers == headers
    assert our_body == body
    assert our_envelope == envelope


def test_user_headers_override_neither_celerys_nor_ours(app: Celery) -> None:
    headers = {"id": "forged", "task": "forged", RUN_HEADER: "forged", "mine": 1}
    message = compose(app, Order("t", [], {}, {"headers": headers}, "one", "schedule")).fill(
        "id-1", NOW.isoformat(), NOW
    )
    assert (message.headers["id"], message.headers["task"]) == ("id-1", "t")
    assert message.headers[RUN_HEADER] == ORIGIN
    assert message.headers["mine"] == 1


def test_secrets_are_masked_in_what_logs_show_and_whole_in_the_body(app: Celery) -> None:
    order = Order("t", [{"token": "abc"}], {"db_password": "hunter2"}, {}, "one", "schedule")
    message = compose(app, order, frozenset({"password", "token"})).fill("id-1", NOW.isoformat(), NOW)
    assert "hunter2" not in message.headers["kwargsrepr"]
    assert "abc" not in message.headers["argsrepr"]
    assert b"hunter2" in message.body


def test_what_cannot_be_serialised_raises(app: Celery) -> None:
    with pytest.raises(Exception, match=r"(?i)serializ|encode|overflow|integer"):
        compose(app, Order("t", [object()], {}, {}, "one", "schedule"))


def test_receivers_of_celerys_signals_see_the_message(app: Celery) -> None:
    seen = []

    def receive(body: Any = None, headers: Any = None, **_: Any) -> None:
        seen.append((body[0], headers["id"]))

    before_task_publish.connect(receive)
    try:
        message = compose(app, Order("t", [1], {}, {}, "one", "schedule")).fill("id-1", NOW.isoformat(), NOW)
        with app.connection_for_write() as connection:
            send(app, app.amqp.Producer(connection.channel(), auto_declare=False), "t", message)
    finally:
        before_task_publish.disconnect(receive)
    assert [(list(args), task_id) for args, task_id in seen] == [([1], "id-1")]
