"""Messages that Redis hands out again while their run goes on: `visibility_timeout` is shorter than the task."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests import services
from tests.integration.workers import Site, running
from tests.waiting import eventually

CONF = json.dumps({"broker_transport_options": services.SOON})

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[Site]:
    prefix = services.own_name("twice")
    broker = {"TASKD_BROKER__URL": redis_url, "TASKD_BROKER__REDIS__PREFIX": prefix}
    site = Site(tmp_path, {**broker, "TASKD_CELERY__CONF": CONF})
    with running(site) as start:
        start("prefork")
        yield site
    redis = Redis.from_url(redis_url)
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "adhoc"])
def test_a_schedules_run_is_refused_its_second_delivery_and_an_ad_hoc_call_runs_again(
    site: Site, decided: bool
) -> None:
    task_id = site.send("t.until_told", 60, decided=decided)
    if decided:
        eventually(lambda: (((row := site.row(task_id)) and row.detail) or {}).get("refused"), within=60)
    else:
        eventually(lambda: site.started().count(task_id) > 1, within=60)
    (site.folder / "go").touch()
    assert site.becomes(task_id, "SUCCESS", within=60).result == "done"
    assert decided == (site.started().count(task_id) == 1)
