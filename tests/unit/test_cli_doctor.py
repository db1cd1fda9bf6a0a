"""`doctor`: each finding with its remedy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskd import clock
from taskd.cli.checkup.machine import zone_findings
from taskd.dispatch.leader import Leadership
from taskd.store import workers
from taskd.store.database import Database
from taskd.store.workers import Worker
from tests.unit.conftest import Workplace

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskd.cli.checkup.running.ANSWER", 0.1)
    monkeypatch.setenv("TASKD_LEASE__TTL", "3s")


def findings(place: Workplace, about: str, exits: int = 1) -> list[tuple[str, str, str | None]]:
    """(level, sentence, remedy) of one area."""
    found = place.json("doctor", exits=exits)["findings"]
    return [(each["level"], each["says"], each["remedy"]) for each in found if each["about"] == about]


def test_an_empty_folder_is_told_how_to_begin(place: Workplace) -> None:
    (database,) = findings(place, "database")
    assert database == (
        "problem",
        f"there is no database {place.folder}/.taskd/taskd.db",
        "start `taskd dev`, or make it with `taskd db upgrade`",
    )
    assert not (place.folder / ".taskd").exists()


def test_an_old_schema_names_the_command(place: Workplace) -> None:
    (place.folder / ".taskd").mkdir()
    (place.folder / ".taskd/taskd.db").touch()
    assert findings(place, "database") == [
        ("problem", "the database has no tables of taskd yet", "run `taskd db upgrade`")
    ]


def test_nobody_leads_and_nobody_works(stocked: Workplace) -> None:
    assert [level for level, _, _ in findings(stocked, "lease")] == ["problem", "problem"]
    assert findings(stocked, "workers") == [
        ("problem", "there is none: nothing that fires is run", "start `taskd worker`")
    ]


@contextmanager
def leading(database: Database) -> Iterator[None]:
    """Somebody who holds and renews both leases."""
    leases = [Leadership(database, name, "me", 3) for name in ("dispatch", "reconcile")]
    over = threading.Event()
    assert all(lease.step(clock.monotonic()) for lease in leases)

    def renew() -> None:
        while not over.wait(0.1):
            for lease in leases:
                database.write(lease.fence)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_with_a_leader_and_a_worker_all_is_well_but_for_what_the_worker_leaves_out(
    stocked: Workplace,
) -> None:
    database = stocked.database()
    worker = Worker("w@host", "1", "host", 1, "prefork", ["celery"], ["taskd.tasks.demo.echo"])
    database.write(lambda session: workers.sign_on(session, worker))
    with leading(database):
        shown = stocked.json("doctor")
    database.close()
    assert shown["ok"]
    said = {(each["about"], each["level"]): each["says"] for each in shown["findings"]}
    assert said["lease", "ok"] == "me reads the schedule files"
    assert said["workers", "warning"] == "none records 1 scheduled task: reports.tasks.daily"


def test_a_queue_that_nobody_takes_from_is_a_problem(stocked: Workplace) -> None:
    stocked.file("schedules: {x: {task: t, interval: 1h, queue: reports, time_limit: 5s}}\n", "b.yaml")
    stocked.taskd("sync")
    database = stocked.database()
    database.write(
        lambda session: workers.sign_on(session, Worker("w@host", "1", "host", 1, "solo", ["celery"], []))
    )
    database.close()
    sentences = [says for _, says, _ in findings(stocked, "workers")]
    assert "none takes from reports, which schedules name" in sentences
    assert "the pool of w@host can't end a task, and x asks for a time limit" in sentences


def test_a_holder_that_stands_still_is_called_dead(stocked: Workplace) -> None:
    database = stocked.database()
    assert Leadership(database, "dispatch", "gone", 3).step(clock.monotonic())
    database.close()
    assert findings(stocked, "lease")[0][1].startswith("gone holds dispatch, and hasn't renewed it for 3 s")


def test_a_broken_file_is_told_with_its_place(place: Workplace) -> None:
    place.file("schedules: {x: {task: t}}\n")
    assert findings(place, "sources") == [
        ("problem", "schedules: 1 error, the first at schedules/a.yaml:1:13", "taskd check schedules")
    ]


def test_a_broker_that_is_away_is_named_without_its_password(place: Workplace) -> None:
    Path("taskd.yaml").write_text("broker: {url: 'redis://:hunter2@127.0.0.1:1/0'}\n")
    ((level, says, _),) = findings(place, "broker")
    assert level == "problem"
    assert says.startswith("redis://:**@127.0.0.1:1/0 can't be reached")


def test_permissions_that_let_anyone_in_are_problems(stocked: Workplace) -> None:
    settings = Path("taskd.yaml")
    settings.write_text("broker: {redis: {password: hunter2}}\n")
    settings.chmod(0o644)
    Path(".taskd").chmod(0o777)
    Path("schedules").chmod(0o777)
    remedies = [remedy or "" for _, _, remedy in findings(stocked, "files")]
    assert remedies == [
        f"chmod o-w {stocked.folder}/.taskd",
        "chmod 640 taskd.yaml, or keep the secret in a file of its own: ${file:/path}",
        f"chmod o-w {stocked.folder}/schedules",
    ]


def test_a_secret_from_elsewhere_may_be_named_in_a_readable_file(
    stocked: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASS", "hunter2")
    Path("taskd.yaml").write_text("broker:\n  redis:\n    password: ${PASS}\n")
    Path("taskd.yaml").chmod(0o644)
    assert [level for level, _, _ in findings(stocked, "files")] == ["ok"]


@pytest.mark.parametrize(
    ("release", "level"), [("2025b", "ok"), ("2026.1", "ok"), ("2024a", "warning"), ("", "warning")]
)
def test_the_age_of_the_zones_is_told(release: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskd.cli.checkup.machine.zone_database", lambda: ("/usr/share/zoneinfo", release))
    (finding,) = zone_findings(NOW)
    assert finding.level == level
    assert (finding.remedy is None) == (level == "ok")


def test_for_people_each_remedy_stands_below_its_finding(place: Workplace) -> None:
    shown = place.taskd("doctor", exits=1)
    assert "→ start `taskd dev`, or make it with `taskd db upgrade`" in shown.stdout
    assert shown.stderr.endswith("2 problems, 1 warning\n")
