"""Long tasks in front of a queue: what waits behind them isn't lost, whoever holds it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from taskd import clock
from taskd.dispatch.evidence import Evidence
from taskd.dispatch.messages import Order, compose
from taskd.dispatch.publisher import Publisher
from taskd.store import runs
from taskd.store.fenced import Fenced
from taskd.store.runs import NewRun
from tests.integration.brokers import Broker
from tests.integration.workers import Site, StartWorker, running
from tests.leading import Leading
from tests.waiting import eventually

HALF_AN_HOUR = 1800
LATER = timedelta(minutes=1)


@pytest.fixture
def site(broker: Broker, tmp_path: Path) -> Iterator[Site]:
    queue = broker.queue().name
    environ = {"TASKD_BROKER__URL": broker.url, "TASKD_CELERY__CONF": f'{{"task_default_queue": "{queue}"}}'}
    if broker.kind == "redis":
        environ["TASKD_BROKER__REDIS__PREFIX"] = broker.options["global_keyprefix"]
    return Site(tmp_path, environ)


@pytest.fixture
def workers(site: Site) -> Iterator[StartWorker]:
    with running(site) as start:
        yield start


def test_a_queue_of_half_hour_tasks_looks_like_no_loss_and_a_purge_behind_them_does(
    site: Site, workers: StartWorker
) -> None:
    """Two slots: both run, one or two more are in the worker's memory, the rest waits in the queue."""
    leadership = Leading(site.database, "dispatch", "me", 10.0)
    publisher = Publisher(site.database, site.app, leadership)
    evidence = Evidence(Fenced(site.database, leadership.fence), site.app)
    worker = workers("prefork", "w1", "--prefetch-multiplier", "2")
    ids = []
    for number in range(8):
        at = clock.now() - timedelta(seconds=60 - number)
        task_id = f"00000000-0000-4000-8000-{number:012d}"
        order = Order("t.effect", [HALF_AN_HOUR], {}, {}, "s", "schedule")
        message = compose(site.app, order).fill(task_id, at.isoformat(), at)
        ids.append(task_id)
        args = f"[{HALF_AN_HOUR}]"
        new = NewRun(task_id, "t.effect", "PENDING", "schedule", 1, "s", at, args, "{}", at, message=message)
        site.database.write(lambda session, new=new: runs.add(session, [new]))
    assert publisher.tick(clock.now()) == len(ids)
    eventually(lambda: len(site.started()) == 2, within=30)
    eventually(lambda: worker.output.read_text().count("received") > 2, within=30)

    queue = site.app.conf.task_default_queue
    for seconds in range(4):
        assert evidence.look(float(seconds), clock.now() + LATER) == 0
    with site.app.connection_for_write() as connection:
        purged = connection.channel().queue_purge(queue)
    assert purged >= 4
    assert [evidence.look(float(seconds), clock.now() + LATER) for seconds in range(4, 7)] == [0, purged, 0]
    publisher.close()
