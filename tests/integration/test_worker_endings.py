"""However a task ends, its row says so: prefork and solo, decided runs and ad hoc calls."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from sqlalchemy import update

from taskd.store import claims
from taskd.store.tables import RunRow, WorkerRow
from tests.acceptance.processes import children
from tests.integration.workers import FINAL, Site, Worker, running
from tests.waiting import eventually


@dataclass(frozen=True)
class Place:
    """A site with a worker at work."""

    site: Site
    worker: Worker


@pytest.fixture(scope="module", params=["prefork", "solo"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    site = Site(tmp_path_factory.mktemp(request.param))
    with running(site) as start:
        yield Place(site, start(request.param))


@pytest.fixture(scope="module")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    site = Site(tmp_path_factory.mktemp("prefork_only"))
    with running(site) as start:
        yield Place(site, start("prefork"))


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "adhoc"])
@pytest.mark.parametrize(
    ("task", "args", "status", "attempt", "result"),
    [
        ("taskd.tasks.demo.echo", [1, "ü"], "SUCCESS", 0, {"args": [1, "ü"], "kwargs": {}}),
        ("taskd.tasks.demo.async_echo", [2], "SUCCESS", 0, {"args": [2], "kwargs": {}}),
        ("taskd.tasks.demo.fail", ["why"], "FAILURE", 0, "RuntimeError"),
        ("t.effect", [1, 2, 3], "FAILURE", 0, "TypeError"),
        ("t.result", ["odd"], "SUCCESS", 0, {"taskd:repr": "<odd>"}),
        ("t.retry", ["SUCCESS"], "SUCCESS", 1, "SUCCESS"),
        ("t.retry", ["FAILURE", 2], "FAILURE", 2, "RuntimeError"),
        ("t.transient", [], "SUCCESS", 2, 2),
        ("t.async_transient", [], "SUCCESS", 1, 1),
        ("t.replace", [], "SUCCESS", claims.NESTING, "done"),
        ("t.ignore", [], "IGNORED", 0, None),
        ("t.reject", [False], "FAILURE", 0, "Reject"),
        ("t.reject", [True], "SUCCESS", 0, "second time"),
        ("t.exits", ["sys.exit"], "FAILURE", 0, "TaskAborted"),
        ("t.exits", ["memory"], "FAILURE", 0, "TaskAborted"),
    ],
)
def test_a_run_ends_as_its_task_does(
    place: Place, task: str, args: list[Any], status: str, attempt: int, result: Any, decided: bool
) -> None:
    row = place.site.ended(place.site.send(task, *args, decided=decided))
    told = row.result.get("exc_type") if row.status == "FAILURE" else row.result
    assert (row.status, row.generation, told) == (status, attempt, result)
    assert row.kind == ("schedule" if decided else "adhoc")
    assert (row.task_name, row.args, row.worker) == (task, args, "w1@test")
    assert row.started_at is not None
    assert row.completed_at is not None
    assert row.completed_at >= row.started_at
    assert row.runtime is not None
    assert row.runtime >= 0
    if row.status == "FAILURE" and result != "Reject":
        assert row.traceback is not None
        assert str(result) in row.traceback


@pytest.mark.parametrize(
    ("how", "error", "at_least"),
    [(["t.sleeps", False], "SoftTimeLimitExceeded", 0.5), (["t.sleeps", True], "TimeLimitExceeded", 1)],
)
def test_a_time_limit_is_one_failure(prefork: Place, how: list[Any], error: str, at_least: float) -> None:
    row = prefork.site.ended(prefork.site.send(how[0], how[1]))
    assert (row.status, row.result["exc_type"]) == ("FAILURE", error)
    assert row.runtime is not None
    assert row.runtime >= at_least


def test_a_killed_child_is_a_failure_with_its_reason(prefork: Place) -> None:
    row = prefork.site.becomes(prefork.site.send("t.exits", "kill"), *FINAL, within=40)
    assert (row.status, row.result["exc_type"]) == ("FAILURE", "WorkerLostError")


def test_children_that_are_killed_leave_no_lock_to_the_others(prefork: Place) -> None:
    before = eventually(lambda: children(prefork.worker.process.pid))
    for child in before:
        os.kill(child, signal.SIGKILL)
    eventually(
        lambda: len(now := children(prefork.worker.process.pid)) == len(before) and not {*now} & {*before}
    )
    assert prefork.site.ended(prefork.site.send("t.effect")).result == "done"


def test_progress_shows_while_it_runs(place: Place) -> None:
    task_id = place.site.send("taskd.tasks.demo.sleep", 3)
    seen = eventually(lambda: (row := place.site.row(task_id)) and row.progress and row)
    assert (seen.status, seen.progress["total"]) == ("STARTED", 10)
    assert place.site.app.AsyncResult(task_id).state == "PROGRESS"
    assert place.site.becomes(task_id, *FINAL).progress == {"current": 9, "total": 10}


def test_what_a_task_logs_shows_while_it_runs_and_stays(place: Place) -> None:
    task_id = place.site.send("t.logs", 5, True)
    seen = eventually(lambda: (row := place.site.row(task_id)) and row.log and row, within=20)
    assert seen.status == "STARTED"
    assert f"WARNING reports: password=hunter2 in {task_id}" in seen.log
    log = place.site.becomes(task_id, *FINAL).log or ""
    assert [line.split(": ", 1)[1] for line in log.splitlines()] == [
        f"password=hunter2 in {task_id}",
        "nul \\x00 and \\ud800 at the end",
    ]


def test_a_revoked_run_does_not_start(place: Place) -> None:
    task_id = place.site.send("t.effect", countdown=3)
    eventually(lambda: place.worker.said(f"[{task_id}] received"))
    place.site.app.control.revoke(task_id)
    row = place.site.becomes(task_id, *FINAL)
    assert (row.status, row.detail) == ("REVOKED", {"reason": "revoked"})
    eventually(lambda: place.worker.said(f"Discarding revoked task: t.effect[{task_id}]"))
    assert task_id not in place.site.started()


def test_an_expired_run_does_not_start(place: Place) -> None:
    task_id = place.site.send("t.effect", expires=datetime.now(UTC) - timedelta(seconds=1))
    row = place.site.becomes(task_id, *FINAL)
    assert (row.status, row.detail, row.runtime) == ("REVOKED", {"reason": "expired"}, None)
    assert task_id not in place.site.started()


def test_a_terminated_run_is_revoked(prefork: Place) -> None:
    task_id = prefork.site.send("t.effect", 60)
    prefork.site.becomes(task_id, "STARTED")
    prefork.site.app.control.revoke(task_id, terminate=True)
    row = prefork.site.becomes(task_id, *FINAL)
    assert (row.status, row.detail) == ("REVOKED", {"reason": "terminated"})


def test_a_second_copy_is_refused_and_the_row_counts_it(place: Place) -> None:
    task_id = place.site.send("t.effect", 1)
    place.site.publish("t.effect", task_id, 1)
    place.site.publish("t.effect", task_id, 1)
    place.site.becomes(task_id, "SUCCESS")
    eventually(lambda: (row := place.site.row(task_id)) and row.detail == {"refused": 2})
    assert place.site.started().count(task_id) == 1


def test_a_run_whose_row_is_gone_is_refused(place: Place) -> None:
    place.site.publish("t.effect", "purged-0001")
    eventually(lambda: place.worker.said("[purged-0001] is refused: its row is gone"))
    assert "purged-0001" not in place.site.started()


def test_a_task_that_calls_others_directly_is_one_run(place: Place) -> None:
    task_id = place.site.send("t.nested")
    row = place.site.becomes(task_id, *FINAL)
    assert (row.status, row.result) == ("SUCCESS", ["done", 1.5, task_id])


def test_a_caller_gets_the_result_and_never_waits_for_what_will_not_come(place: Place) -> None:
    app = place.site.app
    assert app.AsyncResult(place.site.send("taskd.tasks.demo.echo", 1)).get(10) == {"args": [1], "kwargs": {}}
    with pytest.raises(RuntimeError, match="on purpose"):
        app.AsyncResult(place.site.send("taskd.tasks.demo.fail", decided=False)).get(10)
    skipped = place.site.send("t.ignore")
    place.site.becomes(skipped, "IGNORED")
    with pytest.raises(TaskRevokedError):
        app.AsyncResult(skipped).get(10)


def test_a_worker_shows_that_it_lives(place: Place) -> None:
    def sign() -> WorkerRow | None:
        return place.site.database.read(lambda session: session.get(WorkerRow, "w1@test"))

    first = eventually(sign)
    assert first is not None
    assert first.pool in {"prefork", "solo"}
    assert first.queues == ["celery"]
    assert "taskd.tasks.http_check" in first.recorded_tasks
    assert not any(name.startswith("celery.") for name in first.recorded_tasks)
    eventually(lambda: (now := sign()) and now.beat > first.beat)


def test_an_outcome_told_late_by_the_holder_of_a_lost_run_still_counts(place: Place) -> None:
    task_id = place.site.send("t.effect", 1)
    place.site.becomes(task_id, "STARTED")
    given_up = update(RunRow).where(RunRow.task_id == task_id).values(status="LOST")
    place.site.database.write(lambda session: session.execute(given_up))
    assert place.site.becomes(task_id, "SUCCESS").result == "done"
