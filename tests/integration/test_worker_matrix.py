"""Every way in which a task can end, on every pool and broker: what its row says then. One worker runs all of them.

Each is sent as a decided run and as an ad hoc call; the worker must take the next task after all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import pytest
from kombu import Producer

from taskd.dispatch.messages import Order, compose, send
from taskd.store import claims
from taskd.store.tables import RunRow
from tests import services
from tests.integration.brokers import Broker
from tests.integration.test_worker_crash import sweep_until_patience_ends
from tests.integration.workers import FINAL, Site, Worker, running
from tests.waiting import eventually

ALL = frozenset({"prefork", "threads", "gevent", "solo"})
PREFORK = frozenset({"prefork"})
TERMINATE = frozenset({"prefork", "gevent"})  # test_control has what the others say to it


@dataclass(frozen=True)
class Row:
    """One call and its end; `told` is the result, or a failure's type. `seconds`: its runtime, at least."""

    task: str
    args: tuple[Any, ...]
    status: str
    told: Any
    attempt: int = 0
    seconds: float = 0
    pools: frozenset[str] = ALL


ROWS = [
    Row("taskd.tasks.demo.echo", (1, "ü"), "SUCCESS", {"args": [1, "ü"], "kwargs": {}}),
    Row("taskd.tasks.demo.fail", ("why",), "FAILURE", "RuntimeError"),
    Row("t.effect", (1, 2, 3), "FAILURE", "TypeError"),
    Row("t.result", ("odd",), "SUCCESS", {"taskd:repr": "<odd>"}),
    Row("t.ignored_result", (), "SUCCESS", 7),
    Row("t.retry", ("SUCCESS",), "SUCCESS", "SUCCESS", attempt=1),
    Row("t.retry", ("FAILURE", 2), "FAILURE", "RuntimeError", attempt=2),
    Row("t.transient", (), "SUCCESS", 2, attempt=2),
    Row("t.async_transient", (), "SUCCESS", 1, attempt=1),
    Row("t.replace", (), "SUCCESS", "done", attempt=claims.NESTING),
    Row("t.ignore", (), "IGNORED", None),
    Row("t.reject", (False,), "FAILURE", "Reject"),
    Row("t.reject", (True,), "SUCCESS", "second time"),
    Row("t.exits", ("sys.exit",), "FAILURE", "TaskAborted"),
    Row("t.exits", ("memory",), "FAILURE", "TaskAborted"),
    Row("taskd.tasks.demo.async_echo", (2,), "SUCCESS", {"args": [2], "kwargs": {}}),
    Row("t.async_sleeps", (), "FAILURE", "SoftTimeLimitExceeded", seconds=1),
    Row("t.sleeps", (False,), "FAILURE", "SoftTimeLimitExceeded", seconds=1, pools=PREFORK),
    Row("t.sleeps", (True,), "FAILURE", "TimeLimitExceeded", seconds=2, pools=frozenset({"prefork"})),
    Row("t.hard_limit", (), "FAILURE", "TimeLimitExceeded", seconds=1, pools=frozenset({"gevent"})),
    Row("t.exits", ("kill",), "FAILURE", "WorkerLostError", pools=PREFORK),
    Row("t.unknown", (), "FAILURE", "NotRegistered"),
]
MALFORMED = [
    ("5", {"task": "t.effect", "id": "malformed-1"}, "its body isn't [args, kwargs, embed]"),
    ("[[],{}]", {"task": "t.effect", "id": "malformed-2"}, "its body isn't [args, kwargs, embed]"),
    ("[[],[1],{}]", {"task": "t.effect", "id": "malformed-3"}, "its keyword arguments are no mapping of names"),
    ("[5,{},{}]", {"task": "t.effect", "id": "malformed-4"}, "its positional arguments are no list"),
    ("[[],{},{}]", {"task": "t.effect"}, "it has no id of 1 to 155 characters"),
    ("[[],{},{}]", {"task": "t.effect", "id": 7}, "it has no id of 1 to 155 characters"),
    ("[[], {", {"task": "t.effect", "id": "malformed-5"}, "its body can't be decoded"),
    ('{"a": 1}', {}, "it names no task"),
]  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A worker of one pool at one broker."""

    site: Site
    worker: Worker
    pool: str
    broker: str


def place_at(request: pytest.FixtureRequest, factory: pytest.TempPathFactory, broker: str) -> dict[str, str]:
    """What the environment says of the broker."""
    if broker == "files":
        return {}
    url = request.getfixturevalue(f"{broker}_url")
    prefix = Broker(broker, url).prefix
    return {"TASKD_BROKER__URL": url, "TASKD_CELERY__CONF": f'{{"task_default_queue": "{prefix}"}}'}


PLACES = [
    pytest.param(pool, broker, id=f"{pool}-{broker}", marks=marks)
    for pool, broker, marks in [
        ("prefork", "redis", ()),
        ("threads", "rabbitmq", ()),
        ("gevent", "redis", ()),
        ("solo", "rabbitmq", ()),
        ("prefork", "files", pytest.mark.slow),
        ("prefork", "rabbitmq", pytest.mark.slow),
        ("threads", "redis", pytest.mark.slow),
        ("gevent", "rabbitmq", pytest.mark.slow),
        ("solo", "redis", pytest.mark.slow),
    ]
]


@pytest.mark.parametrize(("pool", "broker"), PLACES)
def test_every_end_has_its_row(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pool: str, broker: str
) -> None:
    if pool == "gevent" and find_spec("gevent") is None:
        services.absent("gevent", "install taskd[gevent]")
    site = Site(tmp_path_factory.mktemp(pool), place_at(request, tmp_path_factory, broker))
    with running(site) as start:
        place = Place(site, start(pool), pool, broker)
        revoked = [revoke(place, decided) for decided in (True, False)]
        sent = list(send_all(place))
        malformed = [publish_raw(place.site, body, headers) for body, headers, _ in MALFORMED]
        assert malformed
        expired = send_expired(place.site)
        at_once = [place.site.send("t.async_name") for _ in range(2)]
        for row, decided, task_id in sent:
            check(place, row, decided, place.site.becomes(task_id, *FINAL, within=60))
        for task_id in revoked:
            assert reason_of(place, task_id) == ("REVOKED", "revoked")
        assert reason_of(place, expired) == ("REVOKED", "expired")
        for task_id in at_once:
            assert place.site.becomes(task_id, *FINAL, within=60).result == task_id
        check_malformed(place)
        last = place.site.send("t.effect")
        assert place.site.becomes(last, *FINAL, within=60).result == "done"
        assert place.worker.process.poll() is None
        if pool in TERMINATE:
            task_id = begun(place)
            site.app.control.revoke(task_id, terminate=True)
            row = site.becomes(task_id, *FINAL, within=60)
            assert (row.status, row.detail) == ("REVOKED", {"reason": "terminated"})
        task_id = begun(place)
        place.worker.kill()
        assert sweep_until_patience_ends(site) == 1
        row = site.becomes(task_id, *FINAL)
        assert row.detail is not None
        assert (row.status, row.detail["reason"]) == ("LOST", "worker lost")


def begun(place: Place) -> str:
    """A run that goes on for a minute, and its worker's main process knows it."""
    task_id = place.site.send("t.effect", 60)
    eventually(lambda: task_id in place.site.started(), within=60)
    if place.pool != "solo":  # which answers nobody meanwhile
        eventually(lambda: place.site.accepted(task_id), within=60)
    return task_id


def send_all(place: Place) -> Iterator[tuple[Row, bool, str]]:
    """Each call, decided and ad hoc."""
    for row in ROWS:
        if place.pool in row.pools:
            for decided in (True, False):
                yield row, decided, place.site.send(row.task, *row.args, decided=decided)


def publish_raw(site: Site, body: str, headers: dict[str, Any]) -> bool:
    with site.app.connection_for_write() as connection, connection.channel() as channel:
        queue = site.app.amqp.queues[site.app.conf.task_default_queue]
        Producer(channel).publish(
            body,
            routing_key=queue.routing_key,
            exchange=queue.exchange,
            declare=[queue],
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
        )
    return True


def send_expired(site: Site) -> str:
    """As the dispatcher does it: `send_task` would have RabbitMQ drop the message."""
    task_id = site.decide("t.effect")
    before, order = (
        datetime.now(UTC) - timedelta(seconds=9),
        Order("t.effect", [], {}, {"expires": 1}, "s", "schedule"),
    )
    message = compose(site.app, order).fill(task_id, before.isoformat(), before)
    with site.app.connection_for_write() as connection:
        send(site.app, site.app.amqp.Producer(connection), "t.effect", message)
    return task_id


def revoke(place: Place, decided: bool) -> str:
    """A run that waits in the worker for its countdown."""
    task_id = place.site.send("t.effect", decided=decided, countdown=8)
    eventually(lambda: place.worker.said(f"[{task_id}] received"), within=60)
    place.site.app.control.revoke(task_id)
    return task_id


def reason_of(place: Place, task_id: str) -> tuple[str, str]:
    row = place.site.becomes(task_id, *FINAL, within=60)
    assert task_id not in place.site.started()
    assert row.detail is not None
    return row.status, row.detail["reason"]


def check(place: Place, row: Row, decided: bool, seen: RunRow) -> None:
    told = seen.result.get("exc_type") if seen.status == "FAILURE" else seen.result
    assert (seen.task_name, seen.status, told, seen.generation) == (
        row.task,
        row.status,
        row.told,
        row.attempt,
    )
    assert seen.kind == ("schedule" if decided else "adhoc")
    if row.told == "NotRegistered":
        return
    seen = place.site.ended(seen.task_id)
    assert (seen.args, seen.worker) == (list(row.args), "w1@test")
    assert seen.completed_at is not None
    assert seen.runtime is not None
    assert seen.runtime >= row.seconds / 2  # a limit counts from before the claim
    if row.status == "FAILURE" and row.told not in {"Reject", "WorkerLostError", "TimeLimitExceeded"}:
        assert row.told in (seen.traceback or "")
    if row.task == "t.async_sleeps":
        eventually(lambda: f"cancelled:{seen.task_id}" in place.site.started())


def check_malformed(place: Place) -> None:
    """Set aside, each with a row that says why."""
    for _, headers, flaw in MALFORMED:
        if isinstance(id_ := headers.get("id"), str):
            row = place.site.becomes(id_, *FINAL, within=60)
            assert row.detail is not None
            assert (row.status, row.detail["reason"]) == ("FAILURE", "malformed message")
            assert row.detail["message"].startswith(flaw)
        else:
            eventually(lambda flaw=flaw: place.worker.said(f"a message is set aside, {flaw}"))
