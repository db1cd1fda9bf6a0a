"""What servers do to a daemon: they lose messages, refuse queues, block, restart, and swallow the answer to a commit."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu import Connection, Queue
from redis import Redis

from taskd.store import conditions
from tests import services
from tests.acceptance.installations import (
    LEADS,
    Installation,
    assert_each_once,
    assert_effects,
    due,
    figures,
    said,
)
from tests.acceptance.processes import Running
from tests.acceptance.test_outages import unready
from tests.proxy import Proxy
from tests.services import OwnRabbitmq, OwnRedis
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)  # processes, on a machine that has much to do
NAMES = ("a", "b", "c")
WINDOW = 5  # seconds


def says(place: Installation, name: str) -> str | None:
    """Its `PublishFailing`."""
    row = place.schedule(name)
    return conditions.message_of(row.conditions, "PublishFailing") if row else None


def test_what_a_flush_takes_from_a_long_queue_is_published_again(
    redis_place: Installation,
    own_redis: OwnRedis,
) -> None:
    place = redis_place
    place.beats(*NAMES)
    daemon = place.daemon(until=LEADS)
    eventually(lambda: len([run for run in place.runs() if run.published_at]) > 10, within=30)
    with Redis.from_url(own_redis.url) as client:
        client.flushall()
    lost = [run.task_id for run in place.runs() if run.published_at]
    place.worker()
    for task_id in lost:
        place.becomes(task_id, "SUCCESS", within=60)
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)
    assert {run.status for run in place.runs()} == {"SUCCESS"}
    assert sum("republished" in (run.detail or {}) for run in place.runs()) >= len(lost) - 3


def test_runs_that_no_broker_takes_within_their_window_are_missed_and_say_so(
    redis_place: Installation,
    own_redis: OwnRedis,
) -> None:
    place = redis_place
    lines = [
        f"  {name}: {{task: t.effect, interval: 1s, catchup: {{window: {WINDOW}s}}}}\n" for name in NAMES
    ]
    place.declare("beats.yaml", "schedules:\n" + "".join(lines))
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")

    own_redis.stop()
    missed = eventually(lambda: place.runs("a", "MISSED"), within=60)
    assert (missed[0].detail or {})["reason"] == "broker"
    told = eventually(lambda: says(place, "a"), within=30)
    assert "the broker takes none" in told
    assert "broker.url" in told
    own_redis.start()
    for name in NAMES:
        place.goes_on(name, within=60)
    eventually(lambda: says(place, "a") is None, within=30)
    assert daemon.stop(within=15) == 0
    place.settle()
    for name in NAMES:  # each decided run has a row of its own: it was in time
        schedule = place.schedule(name)
        assert schedule
        assert sorted(due(schedule)) == sorted(
            run.scheduled_for for run in place.runs(name) if run.scheduled_for
        )
    assert_effects(place)


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRabbitmq]:
    with services.own_rabbitmq(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture
def rabbit_place(rabbit: OwnRabbitmq, tmp_path: Path) -> Iterator[Installation]:
    place = Installation(tmp_path, TASKD_BROKER__URL=rabbit.url)
    yield place
    place.kill_all()


def test_rabbitmq_may_run_out_of_memory_and_restart(rabbit_place: Installation, rabbit: OwnRabbitmq) -> None:
    place = rabbit_place
    place.beats(*NAMES)
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")

    rabbit.control("set_vm_memory_high_watermark", "0.0000001")  # blocks everyone who publishes
    eventually(lambda: "has memory" in (says(place, "a") or ""), within=60)
    decided = len(place.runs("a"))
    eventually(lambda: len(place.runs("a")) >= decided + 3, within=30)
    rabbit.control("set_vm_memory_high_watermark", "0.6")
    _goes_on(place, "after a memory alarm")

    rabbit.control("stop_app")
    said(daemon, "the broker takes no messages")
    rabbit.control("start_app")
    _goes_on(place, "after a restart")
    _ends_well(place, daemon)


def test_rabbitmq_may_refuse_one_queue_and_lose_another(
    rabbit_place: Installation, rabbit: OwnRabbitmq
) -> None:
    place = rabbit_place
    place.beats(*NAMES)
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")

    with Connection(rabbit.url) as connection:  # somebody else has declared it in another way
        Queue("other", durable=True, max_length=7, channel=connection.channel()).declare()
        place.declare("other.yaml", "schedules: {other: {task: t.effect, interval: 1s, queue: other}}")
        eventually(lambda: "queue 'other' refuses them" in (says(place, "other") or ""), within=60)
        assert "PRECONDITION_FAILED" in (says(place, "other") or "")
        place.goes_on("a")
        assert says(place, "a") is None
        Queue("other", channel=connection.channel()).delete()
    place.worker("--queues", "other", "--hostname", "other@test")
    eventually(lambda: place.runs("other", "SUCCESS"), within=60)
    eventually(lambda: says(place, "other") is None, within=30)

    with Connection(rabbit.url) as connection:  # with what is in it: its worker declares it anew
        Queue("celery", channel=connection.channel()).delete()
    _goes_on(place, "after a queue was deleted")
    _ends_well(place, daemon, "other")


def _ends_well(place: Installation, daemon: Running, *more: str) -> None:
    place.catches_up(within=60)
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES, *more)
    assert {run.status for run in place.runs()} == {"SUCCESS"}


def _goes_on(place: Installation, after: str) -> None:
    began = time.monotonic()
    for name in NAMES:
        place.goes_on(name, within=90)
    figures.info("all fire again %.1f s %s", time.monotonic() - began, after)
    eventually(lambda: says(place, "a") is None, within=30)


@pytest.mark.parametrize("place", ["postgresql+redis", "mariadb+rabbitmq"], indirect=True)
def test_a_commit_whose_answer_is_lost_counts_once_and_a_database_that_is_away_is_waited_for(
    place: Installation,
) -> None:
    place.beats(*NAMES)
    place.worker()
    parts = urlsplit(place.environ["TASKD_DATABASE__URL"])
    with Proxy((parts.hostname or "", parts.port or 0)) as proxy:
        user = parts.netloc.rpartition("@")[0]
        through = parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl()
        daemon = place.daemon(until=LEADS, TASKD_DATABASE__URL=through)
        place.goes_on("a")
        for _ in range(3):
            proxy.cut_after(b"COMMIT")
            assert proxy.has_cut.wait(20)
            place.goes_on("a", within=30)
        proxy.cut()
        said(daemon, "can't be used")
        assert "database" in unready(place)
        proxy.restore()
        for name in NAMES:
            place.goes_on(name, within=30)
        assert not unready(place)
        assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)
