"""Counts and quantiles, on every database."""

import asyncio
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from taskd import clock
from taskd.dispatch.retention import Retention
from taskd.dispatch.rolling import RollingUp
from taskd.errors import LeaseLost
from taskd.store import rollups, stats
from taskd.store.classes import ERROR
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.measured import Bucket, measure
from taskd.store.tables import RunRow, StatRow
from tests.store.scene import HOUR, MINUTE, NOON, Declare
from tests.waiting import eventually

EDGES = [NOON, NOON + HOUR, NOON + 2 * HOUR, NOON + 3 * HOUR]


SPANS = {"minutes": [NOON + n * MINUTE for n in range(61)], "hours": EDGES, "an hour and a half": [NOON, NOON + 1.5 * HOUR],
         "three minutes, in parts": [NOON + n * MINUTE / 4 for n in range(13)]}  # fmt: skip


def add(database: Database, **columns: object) -> None:
    row = {"task_id": str(uuid4()), "task_name": "t", "kind": "schedule", "status": "SUCCESS"} | columns
    database.write(lambda session: session.add(RunRow(**row)))


@pytest.mark.usefixtures("empty")
def test_runs_are_counted_and_measured_in_the_bucket_in_which_they_ended(
    database: Database, declare: Declare
) -> None:
    one = declare()
    for seconds in range(1, 101):
        began = NOON + timedelta(seconds=2.5)
        ended = {"scheduled_for": NOON + MINUTE * seconds / 1e6, "started_at": began, "schedule_id": one}
        add(database, completed_at=NOON + timedelta(seconds=seconds), runtime=float(seconds), **ended)
    add(database, completed_at=NOON + HOUR, status="MISSED")
    add(database, completed_at=NOON + 3 * HOUR)
    add(database, status="STARTED")
    first, second, third = database.read(lambda session: stats.buckets(session, EDGES))
    assert (first.start, first.counts, second.counts, third.counts) == (
        NOON,
        {"SUCCESS": 100},
        {"MISSED": 1},
        {},
    )
    assert first.runtime == pytest.approx({"p50": 50, "p95": 95, "p99": 99}, rel=ERROR)
    assert first.lateness["p50"] == pytest.approx(2.5, abs=0.03)
    assert (second.runtime, second.lateness) == ({}, {})
    for schedule, counted in [(one, 100), ("one", 100), (one + 1, 0), ("two", 0)]:
        [bucket] = database.read(
            lambda session, schedule=schedule: stats.buckets(session, EDGES[:2], schedule)
        )
        assert sum(bucket.counts.values()) == counted


def rolling_up(database: Database) -> RollingUp:
    return RollingUp(Fenced(database, lambda _session: None))


def add_up(database: Database, now: datetime) -> int:
    """How many minutes were added up."""
    minutes = 0
    while rolling_up(database).add_next(now):
        minutes += 1
    return minutes


def counted(database: Database, edges: list[datetime]) -> list[Bucket]:
    """From the runs alone."""
    found = [Bucket(start) for start in edges[:-1]]
    database.read(lambda session: measure(session, found, edges[0], edges[-1]))
    return found


def asked(database: Database, edges: list[datetime]) -> list[Bucket]:
    return database.read(lambda session: stats.buckets(session, edges))


@pytest.mark.usefixtures("empty")
def test_what_is_added_up_is_what_counting_finds(database: Database) -> None:
    """However far the adding up has come, and whether a bucket is made of hours, minutes or neither."""
    for n in range(60):
        at = NOON + n * timedelta(minutes=2.3)
        took = {"runtime": n**2 / 7, "scheduled_for": at - timedelta(seconds=n + 1), "started_at": at}
        add(
            database,
            completed_at=at,
            status="FAILURE" if n % 7 == 0 else "SUCCESS",
            **(took if n % 5 else {}),
        )
    for now in (NOON, NOON + 25 * MINUTE, NOON + HOUR + 33 * MINUTE, NOON + 5 * HOUR):
        add_up(database, now)
        for name, edges in SPANS.items():
            assert asked(database, edges) == counted(database, edges), (name, now)
    assert add_up(database, NOON + 9 * HOUR) == 0


@pytest.mark.usefixtures("empty")
def test_a_minute_is_added_up_once_its_outcomes_had_time_to_be_written(database: Database) -> None:
    add(database, completed_at=NOON + MINUTE / 2)
    over = NOON + MINUTE + rollups.DELAY
    assert add_up(database, over - timedelta(seconds=1)) == 0
    assert add_up(database, over) == 1
    rows = database.read(lambda session: list(session.scalars(select(StatRow).order_by(StatRow.seconds))))
    assert [(row.seconds, row.start, row.counts) for row in rows] == [
        (60, NOON, {"SUCCESS": 1}),
        (3600, NOON, {"SUCCESS": 1}),
    ]


@pytest.mark.usefixtures("empty")
def test_what_is_told_late_counts_once_its_minute_is_made_anew(database: Database) -> None:
    add(database, completed_at=NOON, status="LOST", task_id="late")
    add(database, completed_at=NOON + HOUR / 2)
    add_up(database, NOON + HOUR)
    late = (
        update(RunRow)
        .where(RunRow.task_id == "late")
        .values(status="SUCCESS", completed_at=NOON + 3 * MINUTE)
    )
    database.write(lambda session: session.execute(late))
    assert asked(database, EDGES)[0].counts == {"SUCCESS": 1, "LOST": 1}
    for start in (NOON, NOON + 3 * MINUTE, NOON + 4 * MINUTE):
        rolling_up(database).make(start)
    for edges in SPANS.values():
        assert asked(database, edges) == counted(database, edges)


def test_minutes_are_due_again_as_they_reach_an_age_at_which_their_runs_are_kept() -> None:
    looked, now = NOON + MINUTE / 3, NOON + 2.5 * MINUTE
    due = [NOON - age + n * MINUTE for age in rollups.AGAIN for n in range(2)]
    assert [*rollups.due_again(looked, now, None)] == due
    assert [*rollups.due_again(looked, now, HOUR)] == due[:2]
    assert [*rollups.due_again(now, now, None)] == []
    assert len([*rollups.due_again(NOON - 99 * HOUR, now, None)]) == 60 * len(rollups.AGAIN)


@pytest.mark.usefixtures("empty")
def test_charts_outlive_the_runs_and_go_by_the_hour(database: Database) -> None:
    for n in range(4):
        add(database, completed_at=NOON + n * HOUR / 2)
    add_up(database, NOON + 3 * HOUR)
    database.write(lambda session: session.execute(delete(RunRow)))
    assert [bucket.counts for bucket in asked(database, EDGES)] == [{"SUCCESS": 2}, {"SUCCESS": 2}, {}]
    keeper = Retention(Fenced(database, lambda session: None), results=60, failed=86_400)
    day = timedelta(days=1)
    assert [keeper.one_batch(NOON + day + n * HOUR) for n in range(4)] == [0, 3, 3, 0]
    assert database.read(lambda session: session.scalars(select(StatRow)).all()) == []


@pytest.mark.usefixtures("empty")
def test_the_leader_adds_up_and_nobody_else(database: Database) -> None:
    def fence(_: object) -> None:
        raise LeaseLost("another process has taken the reconcile lease")

    add(database, completed_at=NOON)
    with pytest.raises(LeaseLost):
        RollingUp(Fenced(database, fence)).add_next(NOON + HOUR)
    assert database.read(lambda session: session.scalars(select(StatRow)).all()) == []


@pytest.mark.usefixtures("empty")
def test_a_daemon_adds_up_minute_after_minute_until_it_stops(database: Database) -> None:
    ended = [clock.now() - timedelta(minutes=minutes) for minutes in (3, 5, 9)]
    for at in ended:
        add(database, completed_at=at)
    minutes = select(StatRow).where(StatRow.seconds == 60)

    def told() -> list[StatRow]:
        return database.read(lambda session: list(session.scalars(minutes)))

    async def until_all_are_there() -> None:
        stop = asyncio.Event()
        service = asyncio.create_task(rolling_up(database).run(stop))
        await asyncio.to_thread(eventually, lambda: len(told()) == len(ended))
        stop.set()
        await service

    asyncio.run(until_all_are_there())
    assert [row.counts for row in told()] == [{"SUCCESS": 1}] * len(ended)
