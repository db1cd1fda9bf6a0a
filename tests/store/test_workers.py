"""Life signs, the sweeper and retention, on every database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from celery import Celery
from sqlalchemy import delete, select

from taskd.dispatch.rerunning import Reruns
from taskd.dispatch.sweeper import PATIENCE, Seen, Sweeper, gone, orphans, watch
from taskd.errors import LeaseLost
from taskd.store import workers
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.retention import purge_runs
from taskd.store.tables import OutboxRow, RunRow, WorkerRow
from taskd.store.workers import Running, Worker

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RERUNS = Reruns(Celery("t", broker="memory://", set_as_current=False))


@pytest.fixture(autouse=True)
def _empty(database: Database) -> None:
    for table in (RunRow, WorkerRow, OutboxRow):
        database.write(lambda session, table=table: session.execute(delete(table)))


def worker(incarnation: str, name: str = "w1@host") -> Worker:
    return Worker(name, incarnation, "host", 1, "prefork", ["celery"], ["t"])


def sign_on(database: Database, of: Worker) -> None:
    database.write(lambda session: workers.sign_on(session, of))


def beat(database: Database, of: Worker) -> str | None:
    return database.write(lambda session: workers.beat(session, of))


def add_run(database: Database, status: str = "STARTED", **columns: object) -> str:
    task_id = str(uuid4())
    row = RunRow(task_id=task_id, task_name="t", kind="schedule", status=status, **columns)
    database.write(lambda session: session.add(row))
    return task_id


def status_of(database: Database, task_id: str) -> tuple[str, dict[str, object] | None]:
    query = select(RunRow.status, RunRow.detail).where(RunRow.task_id == task_id)
    return tuple(database.read(lambda session: session.execute(query).one()))  # type: ignore[return-value]


def sweeper(database: Database) -> Sweeper:
    return Sweeper(Fenced(database, lambda session: None), RERUNS)


def test_a_worker_counts_until_its_name_is_taken_over(database: Database) -> None:
    first, second = worker("one"), worker("two")
    assert beat(database, first) is None
    sign_on(database, first)
    assert beat(database, first) == "one"
    assert database.read(workers.beats) == {"one": 1}
    sign_on(database, second)
    assert beat(database, first) == "two"
    assert database.read(workers.beats) == {"two": 0}


def test_a_counter_that_stands_still_is_gone_after_its_patience_and_a_moving_one_never() -> None:
    seen: dict[str, Seen] = {}
    for second in range(int(PATIENCE) + 1):
        assert gone(seen, float(second) - 1) == set()
        seen = watch(seen, {"alive": second, "dead": 7}, ["never signed on"], float(second))
    assert gone(seen, PATIENCE) == {"dead", "never signed on"}


def test_a_run_is_an_orphan_at_once_when_its_workers_name_has_signed_on_anew() -> None:
    runs = [Running(1, "old.a", "w1"), Running(2, "new.b", "w1"), Running(3, "other.c", "w2")]
    assert orphans(runs, {"w1": "new"}, gone=set()) == runs[:1]


def test_the_runs_of_a_silent_worker_are_lost_with_the_reason(database: Database) -> None:
    dead, alive = worker("dead"), worker("alive", "w2@host")
    sign_on(database, dead)
    sign_on(database, alive)
    lost = add_run(database, claim="dead.x", worker="w1@host", detail={"late": 1})
    kept = add_run(database, claim="alive.y", worker="w2@host")
    retry = add_run(database, status="RETRY", claim="dead.z", worker="w1@host")
    sweep = sweeper(database)
    for seconds in range(0, int(PATIENCE) + 1, 2):
        beat(database, alive)
        sweep.sweep(float(seconds), NOON)
    reason = {"late": 1, "reason": "worker lost", "worker": "w1@host", "incarnation": "dead"}
    assert status_of(database, lost) == ("LOST", reason)
    assert status_of(database, kept)[0] == "STARTED"
    assert status_of(database, retry)[0] == "RETRY"
    assert database.read(workers.names) == {"w2@host": "alive"}


def test_readings_too_far_apart_judge_nobody(database: Database) -> None:
    sign_on(database, worker("one"))
    run = add_run(database, claim="one.x", worker="w1@host")
    sweep = sweeper(database)
    assert sweep.sweep(0.0, NOON) == 0
    assert sweep.sweep(3600.0, NOON) == 0  # the machine slept, the workers with it
    assert status_of(database, run)[0] == "STARTED"


def test_a_sweeper_that_no_longer_leads_ends_nothing(database: Database) -> None:
    def fence(_: object) -> None:
        raise LeaseLost("another process has taken the dispatch lease")

    sign_on(database, worker("new"))
    run = add_run(database, claim="old.x", worker="w1@host")
    with pytest.raises(LeaseLost):
        Sweeper(Fenced(database, fence), RERUNS).sweep(0.0, NOON)
    assert status_of(database, run)[0] == "STARTED"


def test_messages_of_ended_runs_are_dropped_and_waiting_ones_stay(database: Database) -> None:
    for status in ("SUCCESS", "PENDING", "RETRY"):
        task_id = add_run(database, status)
        run_id = database.read(
            lambda s, task_id=task_id: s.execute(
                select(RunRow.id).where(RunRow.task_id == task_id)
            ).scalar_one()
        )
        message = OutboxRow(run_id=run_id, body=b"", headers={}, options={})
        database.write(lambda session, message=message: session.add(message))
    sweeper(database).sweep(0.0, NOON)
    left = select(RunRow.status).join(OutboxRow, OutboxRow.run_id == RunRow.id)
    assert set(database.read(lambda session: session.scalars(left).all())) == {"PENDING", "RETRY"}


def test_old_results_are_purged_in_batches_and_active_runs_never(database: Database) -> None:
    old, new = NOON - timedelta(days=40), NOON
    for status, ended in [("SUCCESS", old), ("SUCCESS", old), ("FAILURE", old), ("SUCCESS", new)]:
        add_run(database, status, completed_at=ended)
    active = add_run(database, "STARTED", started_at=old)
    month_ago = NOON - timedelta(days=30)
    purge = [database.write(lambda s: purge_runs(s, month_ago, ["SUCCESS"], 1)) for _ in range(3)]
    assert purge == [1, 1, 0]
    assert database.write(lambda s: purge_runs(s, month_ago, (), 10)) == 1
    assert status_of(database, active)[0] == "STARTED"
    assert len(database.read(lambda session: session.scalars(select(RunRow)).all())) == 2
