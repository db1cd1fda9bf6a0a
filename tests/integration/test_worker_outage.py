"""The worker is killed under a steady load, with the database or without: every row is there afterwards.

TASKD_TEST_OUTAGE=60 makes it longer than CI has time for.
"""

import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from kombu import Queue
from sqlalchemy import select

from taskd.clock import monotonic
from taskd.errors import DatabaseUnavailable
from taskd.store.claims import ACTIVE
from taskd.store.tables import RunRow
from tests import services
from tests.integration.test_worker_crash import sweep_until_patience_ends
from tests.integration.workers import Site, running
from tests.proxy import Proxy
from tests.waiting import eventually

SECONDS = float(os.environ.get("TASKD_TEST_OUTAGE", "10"))  # without a database
RATE = 50  # runs a second

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400 + 5 * SECONDS)]


@contextmanager
def load(site: Site, runs: Iterator[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """Publish RATE of the runs a second, in the background; those that have been."""
    published: list[tuple[str, bool]] = []
    stop = threading.Event()

    def publish() -> None:
        began = monotonic()
        for number, (task_id, decided) in enumerate(runs, 1):
            site.publish("t.effect", task_id, decided=decided)
            published.append((task_id, decided))
            if stop.wait(max(0.0, began + number / RATE - monotonic())):
                break

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield published
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("away", [True, False], ids=["without a database", "with one"])
def test_a_worker_killed_under_load_loses_no_record(tmp_path: Path, rabbitmq_url: str, *, away: bool) -> None:
    seconds = SECONDS if away else 2.0
    queue = services.own_name("outage")
    with services.own_database("postgresql") as url:
        parts = urlsplit(url)
        with Proxy((parts.hostname or "", parts.port or 0)) as proxy:
            user = parts.netloc.rpartition("@")[0]
            through = parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl()
            site = Site(
                tmp_path,
                {
                    "TASKD_DATABASE__URL": url,
                    "TASKD_BROKER__URL": rabbitmq_url,
                    "TASKD_CELERY__CONF": json.dumps({"task_default_queue": queue}),
                },
            )
            with running(site) as start:
                first = start("prefork", "w1", TASKD_DATABASE__URL=through)
                decided = [site.decide("t.effect") for _ in range(int((seconds + 10) * RATE / 2))]
                runs = itertools.chain.from_iterable(
                    ((task, True), (str(uuid4()), False)) for task in decided
                )
                with load(site, runs) as published:
                    eventually(lambda: len(site.started()) >= RATE, within=60)
                    if away:
                        proxy.cut()
                    half = len(published) + RATE * seconds / 2
                    eventually(lambda: len(published) >= half, within=60 + seconds)
                    first.kill()
                    start("prefork", "w2", TASKD_DATABASE__URL=through)
                    eventually(lambda: len(published) >= half + RATE * seconds / 2, within=60 + seconds)
                    if away:
                        proxy.restore()
                check(site, published)
            with site.app.connection_for_write() as connection:
                Queue(queue)(connection.channel()).delete()


def check(site: Site, published: list[tuple[str, bool]]) -> None:
    """What the killed worker was at is LOST, where its schedule's run may not start twice; all else has succeeded."""
    ids = {task_id for task_id, _ in published}
    [begun] = eventually(lambda: only_what_was_begun(site, ids), within=240, pause=0.5)
    assert len(begun) <= 2
    assert all(decided for task_id, decided in published if task_id in begun)
    started = Counter(site.started())  # one that was begun may have been killed before its body said so
    assert all(started[task_id] == 1 for task_id, decided in published if decided and task_id not in begun)
    assert all(started[task_id] for task_id in ids - begun)
    assert all(started[task_id] <= 1 for task_id in begun)
    sweep_until_patience_ends(site)
    told = eventually(lambda: states(site, ids), within=60)
    assert {told[task_id][0] for task_id in begun} <= {"LOST"}
    assert {told[task_id][0] for task_id in ids - begun} == {"SUCCESS"}


def states(site: Site, ids: set[str]) -> dict[str, tuple[str, str | None]]:
    """Status and worker of each run that has a row; nothing where PostgreSQL takes this process for a stopped one."""
    query = select(RunRow.task_id, RunRow.status, RunRow.worker)
    with suppress(DatabaseUnavailable):
        rows = site.database.read(lambda session: session.execute(query).all())
        return {row.task_id: (row.status, row.worker) for row in rows if row.task_id in ids}
    return {}


def only_what_was_begun(site: Site, ids: set[str]) -> list[set[str]]:
    """The runs that the killed worker has left, once all others have ended; until then nothing."""
    told = states(site, ids)
    active = {task_id for task_id, (status, _) in told.items() if status in ACTIVE}
    left = {task_id for task_id in active if told[task_id] == ("STARTED", "w1@test")}
    return [left] if len(told) == len(ids) and left == active else []
