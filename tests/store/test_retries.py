"""Further attempts of a run, on every database: those that wait here, those that get lost, and new runs for lost ones."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from celery import Celery
from sqlalchemy import update

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.rerunning import Reruns
from taskd.dispatch.sweeper import Sweeper
from taskd.store import attempts, claims, failures, outbox, overrides, retries, workers
from taskd.store.claims import Call, Start
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.outbox import Message
from taskd.store.retries import PATIENCE
from taskd.store.tables import RunRow
from taskd.store.workers import Worker
from tests.store import scene
from tests.store.scene import SOON, Declare, all_runs, begin, end, schedule

NEXT = Message.of(b"again", {"retries": 1}, {"queue": "q"})
DUE = SOON + timedelta(hours=5)


@pytest.fixture(autouse=True)
def _empty(clear: Callable[[], None]) -> None:
    clear()


@pytest.fixture
def fired(database: Database, declare: Declare, dispatcher: Dispatcher) -> Callable[..., RunRow]:
    """A run of a schedule with these keys, published and begun."""

    def fire(**keys: object) -> RunRow:
        declare(**keys)
        dispatcher.tick(SOON)
        [run] = all_runs(database)
        database.write(lambda session: outbox.mark_published(session, [run.id], SOON))
        begin(database, run, SOON)
        return run

    return fire


def wait(database: Database, run: RunRow, at: datetime = DUE) -> bool:
    mine = claims.held_by(f"worker.{run.id}")
    return database.write(lambda session: retries.wait(session, run.task_id, NEXT, at, mine, SOON))


def again(database: Database, run: RunRow, generation: int = 1) -> str:
    call = Call(run.task_id, run.task_name, decided=True)
    start = Start(call, "worker.later", generation, "worker", DUE)
    return attempts.begin(database, start)


def now_in_outbox(database: Database, at: datetime) -> list[bytes]:
    due = database.read(lambda session: outbox.due(session, at, 10))
    return [waiting.message.body for waiting in due if waiting.scheduled_for is None]


def test_a_retry_waits_in_the_outbox_in_place_of_its_first_message_and_no_window_ends_it(
    database: Database, fired: Callable[..., RunRow]
) -> None:
    run = fired(catchup={"policy": "latest", "window": "1m"})
    assert wait(database, run)
    assert now_in_outbox(database, DUE - timedelta(seconds=1)) == []
    assert now_in_outbox(database, DUE) == [b"again"]
    assert all_runs(database)[0].status == "RETRY"
    assert again(database, run) == "claimed"


def test_an_attempt_that_is_not_the_runs_latest_has_no_next_one(
    database: Database, fired: Callable[..., RunRow]
) -> None:
    run = fired()
    end(database, run, SOON)
    assert not wait(database, run)
    assert all_runs(database)[0].status == "SUCCESS"


def test_a_superseded_run_is_not_tried_again(database: Database, fired: Callable[..., RunRow]) -> None:
    run = fired()
    superseded = update(RunRow).values(detail={"superseded_by": "another"})
    database.write(lambda session: session.execute(superseded))
    assert wait(database, run)
    assert (all_runs(database)[0].status, now_in_outbox(database, DUE)) == ("REVOKED", [])


def test_a_retry_that_the_broker_lost_is_lost_after_a_day_and_starts_if_it_comes_after_all(
    database: Database, fired: Callable[..., RunRow], app: Celery
) -> None:
    run = fired()
    end(database, run, SOON, "RETRY")
    sweeper = Sweeper(Fenced(database, lambda session: None), Reruns(app))
    sweeper.sweep(0.0, SOON + PATIENCE)
    assert all_runs(database)[0].status == "RETRY"
    sweeper.sweep(1.0, SOON + PATIENCE + timedelta(minutes=1))
    lost = all_runs(database)[0]
    assert (lost.status, lost.detail and lost.detail["reason"]) == ("LOST", "retry lost")
    assert again(database, run, generation=0) == "refused"
    assert again(database, run) == "claimed"


def test_a_retry_that_waits_here_is_never_lost(
    database: Database, fired: Callable[..., RunRow], app: Celery
) -> None:
    run = fired()
    wait(database, run, SOON + 3 * PATIENCE)
    Sweeper(Fenced(database, lambda session: None), Reruns(app)).sweep(0.0, SOON + 2 * PATIENCE)
    assert all_runs(database)[0].status == "RETRY"


def lose(database: Database, app: Celery, now: datetime = SOON) -> list[RunRow]:
    """A worker of the same name has started anew."""
    successor = Worker("worker", "new", "host", 1, "prefork", ["celery"], ["t"])
    database.write(lambda session: workers.sign_on(session, successor))
    Sweeper(Fenced(database, lambda session: None), Reruns(app)).sweep(0.0, now)
    return sorted(all_runs(database), key=lambda run: run.id)


def test_a_run_is_run_again_when_its_worker_is_lost_and_its_schedule_asks_for_it(
    database: Database, fired: Callable[..., RunRow], app: Celery
) -> None:
    fired(args=[7], retry={"max": 1, "backoff": "2m", "jitter": False, "on_worker_lost": True})
    lost, rerun = lose(database, app)
    assert (lost.status, rerun.status, rerun.args) == ("LOST", "PENDING", [7])
    assert lost.detail is not None
    assert lost.detail["retried_by"] == rerun.task_id
    assert (rerun.kind, rerun.scheduled_for) == ("schedule", None)
    assert lost.scheduled_for is not None
    due = lost.scheduled_for.isoformat()
    assert rerun.detail == {"retry_of": lost.task_id, "attempt": 1, "scheduled_for": due}
    [waiting] = [row for row in scene.outbox(database) if row.run_id == rerun.id]
    assert waiting.not_before == SOON + timedelta(minutes=2)
    assert (waiting.headers["id"], waiting.headers["root_id"]) == (rerun.task_id, rerun.task_id)
    assert again(database, lost) == "refused"

    begin(database, rerun, SOON)
    assert [run.status for run in lose(database, app)] == ["LOST", "LOST"]  # its one retry is used up
    streak = database.read(lambda session: failures.streaks(session, [schedule(database)]))
    assert [found.length for found in streak.values()] == [1]


@pytest.mark.parametrize("keys", [{}, {"retry": 3}, {"retry": {"max": 0}}])
def test_a_lost_run_is_not_run_again_unasked(
    database: Database, fired: Callable[..., RunRow], app: Celery, keys: dict[str, object]
) -> None:
    fired(**keys)
    assert [run.status for run in lose(database, app)] == ["LOST"]


def test_a_paused_schedule_runs_nothing_again(
    database: Database, fired: Callable[..., RunRow], app: Celery
) -> None:
    fired(retry={"on_worker_lost": True})
    scene.change(database, overrides.pause, "me", None, SOON)
    assert [run.status for run in lose(database, app)] == ["LOST"]
