"""The worker's connection to its broker breaks while a task runs: the worker goes on, and so does the task, or it runs anew."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.brokers import Broker
from tests.integration.workers import Site, Worker, running
from tests.proxy import Proxy
from tests.services import SOON
from tests.waiting import eventually


@contextmanager
def behind_a_proxy(broker: Broker, folder: Path, **conf: object) -> Iterator[tuple[Site, Worker, Proxy]]:
    """A worker that reaches its broker through a proxy, and a site that reaches it directly."""
    parts = urlsplit(broker.url)
    options = SOON if parts.scheme == "redis" else {}
    conf |= {"task_default_queue": broker.prefix, "broker_transport_options": options}
    site = Site(folder, {"TASKD_BROKER__URL": broker.url, "TASKD_CELERY__CONF": json.dumps(conf)})
    with Proxy((parts.hostname or "", parts.port or 0)) as proxy, running(site) as start:
        user, at, _ = parts.netloc.rpartition("@")
        through = parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl()
        yield site, start("prefork", TASKD_BROKER__URL=through), proxy


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    broker = Broker(request.param, request.getfixturevalue(f"{request.param}_url"))
    yield broker
    broker.clean()


def lose(proxy: Proxy, worker: Worker) -> None:
    proxy.cut()
    eventually(lambda: worker.said("Connection to broker lost"), within=60)
    proxy.restore()


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "adhoc"])
def test_the_worker_stays_and_what_it_runs_ends_as_it_would_have(
    broker: Broker, tmp_path: Path, decided: bool
) -> None:
    with behind_a_proxy(broker, tmp_path) as (site, worker, proxy):
        task_id = site.send("t.until_told", 120, decided=decided)
        eventually(lambda: task_id in site.started(), within=30)
        lose(proxy, worker)
        if decided:  # what comes again is refused meanwhile
            eventually(lambda: worker.said(f"[{task_id}] is refused"), within=60)
        (tmp_path / "go").touch()
        row = site.becomes(task_id, "SUCCESS", within=60)
        assert (row.result, row.generation) == ("done", 0)
        assert not decided or site.started().count(task_id) == 1
        assert site.becomes(site.send("t.effect"), "SUCCESS", within=60).result == "done"
        assert worker.process.poll() is None


def test_what_celery_cancels_at_it_runs_anew_as_the_same_attempt(broker: Broker, tmp_path: Path) -> None:
    cancels = {"worker_cancel_long_running_tasks_on_connection_loss": True}
    with behind_a_proxy(broker, tmp_path, **cancels) as (site, worker, proxy):
        task_id = site.send("t.once_long")
        eventually(lambda: task_id in site.started(), within=30)
        eventually(lambda: site.accepted(task_id), within=30)  # else Celery doesn't cancel it
        lose(proxy, worker)
        row = site.becomes(task_id, "SUCCESS", within=60)
        assert (row.result, row.generation, row.detail) == ("done", 0, None)
        assert site.started().count(task_id) == 2
        assert worker.process.poll() is None


def test_a_worker_on_the_embedded_broker_outlives_its_folder(tmp_path: Path) -> None:
    with running(Site(tmp_path)) as start:
        worker = start("prefork")
        broker = tmp_path / "state" / "broker"
        broker.rename(tmp_path / "gone")  # at one instant
        eventually(lambda: worker.said("Connection to broker lost"), within=20)
        eventually((broker / "queues" / "celery").is_dir, within=20)
        site = Site(tmp_path)  # its own connection is new
        assert site.becomes(site.send("t.effect"), "SUCCESS").result == "done"
        assert worker.process.poll() is None
