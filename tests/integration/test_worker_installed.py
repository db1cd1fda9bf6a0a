"""`taskd.install(app)`: an application's own tasks are recorded as BaseTask's are, beside its own result backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from taskd.store.tables import RunRow, WorkerRow
from tests.integration.workers import Site, StartWorker, running
from tests.waiting import eventually

FINAL = ("SUCCESS", "FAILURE", "REVOKED", "IGNORED", "LOST")
APP = "tests.integration.installed"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("installed"), module=APP)
    with running(site) as start:
        start("prefork")
        yield site


def test_each_kind_of_task_is_recorded(site: Site) -> None:
    for task, args, status, told, attempt in [
        ("own.counted", ("word",), "SUCCESS", "word", 0),
        ("own.autoretried", (), "SUCCESS", 2, 2),
        ("own.not_transient", (), "FAILURE", "ConnectionError", 0),
    ]:
        for decided in (True, False):
            row = site.becomes(site.send(task, *args, decided=decided), *FINAL, within=60)
            result = row.result.get("exc_type") if row.status == "FAILURE" else row.result
            assert (row.task_name, row.status, result, row.generation) == (task, status, told, attempt)
            assert row.kind == ("schedule" if decided else "adhoc")
            assert row.worker == "w1@test"


def test_a_second_copy_is_refused_before_the_tasks_own_call(site: Site) -> None:
    task_id = site.send("own.counted")
    site.publish("own.counted", task_id)
    site.becomes(task_id, "SUCCESS", within=60)
    eventually(lambda: (row := site.row(task_id)) and row.detail == {"refused": 1}, within=60)
    assert site.started().count(task_id) == site.started().count(f"called:{task_id}") == 1


def test_a_schedules_retry_counts(site: Site) -> None:
    task_id = site.decide("own.flaky")
    site.publish("own.flaky", task_id, retry={"max": 1, "backoff": 0, "jitter": False})
    row = site.becomes(task_id, "SUCCESS", "FAILURE", within=60)
    assert (row.status, row.result, row.generation) == ("SUCCESS", 1, 1)


def test_its_worker_says_what_it_records(site: Site) -> None:
    found = eventually(lambda: site.database.read(lambda session: session.get(WorkerRow, "w1@test")))
    assert found is not None
    assert {"own.counted", "own.not_transient"} <= set(found.recorded_tasks)
    assert not any(name.startswith("celery.") for name in found.recorded_tasks)


@pytest.mark.slow  # billiard waits 10 s before it believes that a child is gone
@pytest.mark.parametrize("decided", [True, False], ids=["decided", "adhoc"])
def test_a_run_whose_process_died_runs_again_where_its_task_says_so(site: Site, decided: bool) -> None:
    task_id = site.send("own.killed_once", decided=decided)
    row = site.becomes(task_id, *FINAL, within=90)
    assert (row.status, row.result) == ("SUCCESS", "second time")
    assert site.started().count(task_id) == 2


def runs_of(site: Site, root_id: str) -> list[RunRow]:
    query = select(RunRow).where(RunRow.root_id == root_id).order_by(RunRow.id)
    return site.database.read(lambda session: list(session.scalars(query)))


@pytest.fixture
def beside_redis(tmp_path: Path, redis_url: str) -> Iterator[tuple[Site, StartWorker]]:
    site = Site(tmp_path, {"OWN_BACKEND": redis_url}, module=APP)
    with running(site) as start:
        yield site, start


def test_what_a_schedules_run_begins_keeps_its_id_and_chords_work_beside_redis(
    beside_redis: tuple[Site, StartWorker],
) -> None:
    site, start = beside_redis
    start("prefork")
    task_id = site.decide("own.begins_more")
    site.publish("own.begins_more", task_id)
    last = site.becomes(task_id, "SUCCESS", within=60).result
    assert site.becomes(last, *FINAL, within=60).result == 106
    begun = [run for run in runs_of(site, task_id) if run.task_id != task_id]  # this row is the test's own
    assert sorted(run.task_name for run in begun) == ["own.add"] * 4 + ["own.total"]
    assert {run.status for run in begun} == {"SUCCESS"}
