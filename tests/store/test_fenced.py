"""A leader's transactions: fenced, in batches, and in nobody's way where they wait for the fence; on every database."""

from collections.abc import Sequence

import pytest
from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.dispatch.publisher import Publisher
from taskd.errors import LeaseLost
from taskd.store import fenced
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.tables import RunRow
from tests.store.scene import MINUTE, NOON, Declare, all_runs


@pytest.fixture
def said() -> list[object]:
    return []


@pytest.fixture
def led(database: Database, said: list[object]) -> Fenced:
    return Fenced(database, lambda _session: said.append("fence"))


def test_the_fence_comes_after_the_work_and_before_what_others_want(led: Fenced, said: list[object]) -> None:
    led.write(lambda _session: said.append("work"), behind=lambda _session: said.append("behind"))
    assert said == ["work", "fence", "behind"]


@pytest.mark.parametrize(("found", "fences"), [(None, 1), (2, 1), ([3], 1), (0, 0), (False, 0), ([], 0)])
def test_who_has_found_nothing_has_written_nothing(
    led: Fenced, said: list[object], found: object, fences: int
) -> None:
    assert led.write(lambda _session: found) == found
    assert len(said) == fences


def test_many_are_written_a_few_at_a_time_each_fenced(
    led: Fenced, said: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fenced, "BATCH", 2)

    def write(_session: Session, some: Sequence[int]) -> int:
        said.append(list(some))
        return len(some)

    assert led.write_each([1, 2, 3], write) == [2, 1]
    assert said == [[1, 2], "fence", [3], "fence"]


@pytest.mark.usefixtures("empty")
def test_nothing_stands_of_who_leads_no_more(database: Database) -> None:
    def fence(_session: Session) -> None:
        raise LeaseLost("another leads")

    run = RunRow(task_id="a", task_name="t", status="PENDING", kind="adhoc")
    with pytest.raises(LeaseLost):
        Fenced(database, fence).write(lambda session: session.add(run))
    assert all_runs(database) == []


def test_a_leader_that_waits_for_the_fence_has_locked_no_run_that_a_worker_has(
    database: Database,
    declare: Declare,
    app: Celery,
    leadership: Leadership,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    sent: list[int] = []
    locks: list[int] = []
    fence = leadership.fence

    def look_and_fence(session: Session) -> None:
        query = select(RunRow.id).where(RunRow.id.in_(sent)).with_for_update(nowait=True)
        locks.extend(database.read(lambda other: list(other.scalars(query))))
        fence(session)

    monkeypatch.setattr(leadership, "fence", look_and_fence)
    monkeypatch.setattr("taskd.dispatch.dispatcher.MARKS", 0)
    publisher = Publisher(database, app, leadership)
    dispatcher = Dispatcher(database, app, leadership, publisher=publisher)
    declare()
    assert dispatcher.tick(NOON) == 1
    [run] = all_runs(database)
    sent.append(run.id)
    publisher.marks.add(sent, NOON)
    assert dispatcher.tick(NOON + MINUTE) == 1
    assert locks == sent
    assert all_runs(database)[0].published_at == NOON  # it was marked in the same transaction
