"""kill -9, a database that is away, shutdowns: nothing is lost, nothing starts twice, and the rows say so.

Effects are counted outside the database: one line in a file for each body that starts.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from taskd.clock import now
from taskd.dispatch.rerunning import Reruns
from taskd.dispatch.sweeper import PATIENCE, Sweeper
from taskd.store import workers
from taskd.store.fenced import Fenced
from tests.integration.workers import Site, StartWorker, Worker, running
from tests.waiting import eventually


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def start(site: Site) -> Iterator[StartWorker]:
    with running(site) as start:
        yield start


def sweep_until_patience_ends(site: Site) -> int:
    sweeper, lost = Sweeper(Fenced(site.database, lambda session: None), Reruns(site.app)), 0
    for seconds in range(int(PATIENCE) + 2):
        lost += sweeper.sweep(float(seconds), now())
    return lost


def kill_main_process_only(worker: Worker) -> None:
    worker.process.kill()
    worker.process.wait(10)


@pytest.mark.parametrize("kill", [Worker.kill, kill_main_process_only])
def test_a_killed_worker_loses_what_it_had_begun_and_nothing_else(
    site: Site, start: StartWorker, kill: object
) -> None:
    first = start("prefork", "w1", "--prefetch-multiplier", "4")
    begun = [site.send("t.effect", 60) for _ in range(2)]
    eventually(lambda: set(begun) <= set(site.started()))  # their rows say so a moment before
    taken = [site.send("t.effect") for _ in range(6)]
    eventually(lambda: any(first.said(f"[{task_id}] received") for task_id in taken))
    assert callable(kill)
    kill(first)

    start("prefork", "w2")
    for task_id in taken:
        site.becomes(task_id, "SUCCESS")
    for task_id in begun:
        eventually(lambda task_id=task_id: (row := site.row(task_id)) and row.detail == {"refused": 1})
    assert Counter(site.started()) == Counter(begun + taken)

    assert sweep_until_patience_ends(site) == 2
    for task_id in begun:
        row = site.becomes(task_id, "LOST")
        assert row.detail is not None
        assert row.detail["reason"] == "worker lost"
        assert row.detail["worker"] == "w1@test"
    assert Counter(site.started()) == Counter(begun + taken)


def test_a_worker_stopped_warmly_finishes_what_it_had_begun(site: Site, start: StartWorker) -> None:
    worker = start()
    task_id = site.send("t.effect", 2)
    site.becomes(task_id, "STARTED")
    worker.stop()
    assert site.becomes(task_id, "SUCCESS").result == "done"


def test_what_a_cold_stop_interrupts_runs_again(site: Site, start: StartWorker) -> None:
    worker = start()
    task_id = site.send("t.once_long")
    site.becomes(task_id, "STARTED")
    eventually(lambda: site.accepted(task_id))  # else it isn't among what a cold stop cancels
    os.kill(worker.process.pid, signal.SIGQUIT)
    site.becomes(task_id, "PENDING")
    worker.process.wait(60)
    start("prefork", "w2")
    assert site.becomes(task_id, "SUCCESS").result == "done"
    assert site.started().count(task_id) == 2


def test_a_long_task_on_a_busy_solo_worker_is_not_taken_for_lost(site: Site, start: StartWorker) -> None:
    start("solo")
    task_id = site.send("t.effect", 8)
    site.becomes(task_id, "STARTED")
    sweeper = Sweeper(Fenced(site.database, lambda session: None), Reruns(site.app))
    for step in range(3):  # each sweep sees a new beat, so a day may pass between them
        before = beats(site)
        eventually(lambda before=before: beats(site) != before)
        assert sweeper.sweep(step * PATIENCE / 3, now()) == 0
    assert site.becomes(task_id, "SUCCESS")


def beats(site: Site) -> object:
    return site.database.read(workers.beats)


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Nobody else can write to the database."""
    with site.database.engine.connect().execution_options(taskd_write=True) as connection, connection.begin():
        yield


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "adhoc"])
def test_a_locked_database_delays_no_task_and_is_told_afterwards(
    site: Site, start: StartWorker, decided: bool
) -> None:
    start()
    ids = [site.decide("t.effect") if decided else str(uuid4()) for _ in range(6)]
    with locked(site):
        for task_id in ids:
            site.publish("t.effect", task_id, decided=decided)
        eventually(lambda: sorted(site.started()) == sorted(ids), within=20)
    for task_id in ids:
        row = site.becomes(task_id, "SUCCESS", within=20)
        assert (row.result, row.worker) == ("done", "w1@test")
        assert row.started_at is not None
    assert sorted(site.started()) == sorted(ids)


@pytest.mark.parametrize(
    ("claim", "republished"), [("available", True), ("strict", False)], ids=["repeated copy", "strict"]
)
def test_what_may_not_start_unclaimed_waits_for_the_database(
    site: Site, start: StartWorker, claim: str, republished: bool
) -> None:
    worker = start("prefork", "w1", TASKD_RESULTS__CLAIM=claim)
    task_id = site.decide("t.effect")
    with locked(site):
        site.publish("t.effect", task_id, republished=republished)
        eventually(lambda: worker.said("waits for the database"), within=20)
        assert site.started() == []
    assert site.becomes(task_id, "SUCCESS", within=30).result == "done"
    assert site.started() == [task_id]


def test_what_a_killed_worker_could_not_tell_is_told_by_the_next(site: Site, start: StartWorker) -> None:
    """Its finished runs end as they did; what it was at is refused a second start."""
    first = start()
    done, at_work = [site.decide("t.effect") for _ in range(4)], site.decide("t.effect", 60)
    with locked(site):
        for task_id in done:
            site.publish("t.effect", task_id)
        site.publish("t.effect", at_work, 60)
        eventually(lambda: len(site.started()) == 5, within=20)
        eventually(lambda: all(first.said(f"[{task_id}] succeeded") for task_id in done), within=20)
        first.kill()
        start("prefork", "w2")
    for task_id in done:
        assert site.becomes(task_id, "SUCCESS", within=30).worker == "w1@test"
    eventually(lambda: (row := site.row(at_work)) and row.detail == {"refused": 1}, within=40)
    assert sweep_until_patience_ends(site) == 1
    assert site.becomes(at_work, "LOST").worker == "w1@test"
    assert sorted(site.started()) == sorted([*done, at_work])
