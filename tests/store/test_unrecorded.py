"""The `Unrecorded` condition, on every database."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from taskd.dispatch.unrecorded import PATIENCE, RecordingWatch, sentence
from taskd.errors import LeaseLost
from taskd.store import fenced, workers
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.tables import WorkerRow
from taskd.store.workers import Worker
from tests.store.scene import NOON, Declare, edit, schedule

LATER = NOON + timedelta(hours=1)


@pytest.fixture
def watch(database: Database) -> RecordingWatch:
    database.write(lambda session: session.execute(delete(WorkerRow)))
    return RecordingWatch(Fenced(database, lambda session: None))


def sign_on(database: Database, *tasks: str) -> None:
    worker = Worker("w@host", "one", "host", 1, "prefork", ["celery"], list(tasks))
    database.write(lambda session: workers.sign_on(session, worker))


def conditions(database: Database) -> list[dict[str, Any]]:
    return schedule(database).conditions


def test_an_overlap_policy_that_cannot_hold_is_said_once_workers_had_time_to_start(
    database: Database, declare: Declare, watch: RecordingWatch
) -> None:
    declare(overlap="skip")
    sign_on(database, "another.task")
    version = schedule(database).version
    watch.look(0.0, NOON)
    watch.look(PATIENCE - 1, NOON)
    assert conditions(database) == []
    watch.look(PATIENCE, NOON)
    watch.look(PATIENCE + 1, LATER)
    assert conditions(database) == [
        {"type": "Unrecorded", "since": NOON.isoformat(), "message": sentence("t")}
    ]
    assert schedule(database).version == version


def test_it_goes_as_soon_as_a_worker_records_the_task(
    database: Database, declare: Declare, watch: RecordingWatch
) -> None:
    declare(overlap="skip")
    watch.look(0.0, NOON)
    watch.look(PATIENCE, NOON)
    assert conditions(database)
    sign_on(database, "t")
    watch.look(PATIENCE + 2, NOON)
    assert conditions(database) == []


def test_it_goes_with_the_policy_that_asked_for_it(
    database: Database, declare: Declare, watch: RecordingWatch
) -> None:
    declare(overlap="buffer", interval="60s")
    watch.look(0.0, NOON)
    watch.look(PATIENCE, NOON)
    assert conditions(database)
    edit(database, NOON, interval="60s")
    RecordingWatch(Fenced(database, lambda session: None)).look(0.0, NOON)
    assert conditions(database) == []


def test_a_restart_neither_clears_nor_repeats_it(
    database: Database, declare: Declare, watch: RecordingWatch
) -> None:
    declare(overlap="skip")
    watch.look(0.0, NOON)
    watch.look(PATIENCE, NOON)
    before = conditions(database)
    RecordingWatch(Fenced(database, lambda session: None)).look(5.0, LATER)
    assert conditions(database) == before


def test_a_schedule_whose_runs_may_overlap_needs_no_records(
    database: Database, declare: Declare, watch: RecordingWatch
) -> None:
    declare()
    watch.look(0.0, NOON)
    watch.look(PATIENCE, NOON)
    assert conditions(database) == []


def test_only_a_leader_writes_it(database: Database, declare: Declare) -> None:
    declare(overlap="skip")

    def fence(_: object) -> None:
        raise LeaseLost("another leads")

    watch = RecordingWatch(Fenced(database, fence))
    watch.look(0.0, NOON)
    with pytest.raises(LeaseLost):
        watch.look(PATIENCE, NOON)
    assert conditions(database) == []


def test_many_schedules_are_told_a_few_at_a_time(
    database: Database, declare: Declare, watch: RecordingWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fenced, "BATCH", 2)
    names = ["a", "b", "c"]
    for name in names:
        declare(name, overlap="skip")
    watch.look(0.0, NOON)
    watch.look(PATIENCE, NOON)
    assert all(schedule(database, name).conditions for name in names)
    sign_on(database, "t")
    watch.look(PATIENCE + 2, NOON)
    assert not any(schedule(database, name).conditions for name in names)
