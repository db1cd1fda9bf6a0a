"""Old events go, in small batches, and only at the hands of a leader."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from taskd.dispatch import retention
from taskd.dispatch.retention import Retention
from taskd.errors import LeaseLost
from taskd.store import events
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.tables import EventRow, RunRow
from tests.store.scene import NOON

DAY = 86_400


def told(database: Database, *at: datetime) -> None:
    database.write(
        lambda session: [events.record(session, "paused", "me", each) for each in at] and session.flush()
    )


def left(database: Database) -> list[datetime]:
    query = select(EventRow.at).order_by(EventRow.at)
    return database.read(lambda session: list(session.scalars(query)))


@pytest.mark.usefixtures("empty")
def test_what_is_older_than_it_has_to_be_kept_goes_in_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    told(database, *(NOON - timedelta(days=days) for days in (93, 92, 91, 90, 1)))
    keeper = Retention(Fenced(database, lambda session: None), events=90 * DAY)
    assert [keeper.one_batch(NOON) for _ in range(3)] == [2, 1, 0]
    assert left(database) == [NOON - timedelta(days=90), NOON - timedelta(days=1)]


@pytest.mark.usefixtures("empty")
def test_forever_keeps_all(database: Database) -> None:
    told(database, NOON - timedelta(days=9999))
    assert Retention(Fenced(database, lambda session: None), events=None).one_batch(NOON) == 0
    assert len(left(database)) == 1


@pytest.mark.usefixtures("empty")
def test_who_no_longer_leads_deletes_nothing(database: Database) -> None:
    def fence(_: object) -> None:
        raise LeaseLost("another process has taken the reconcile lease")

    told(database, NOON - timedelta(days=99))
    with pytest.raises(LeaseLost):
        Retention(Fenced(database, fence), events=90 * DAY).one_batch(NOON)
    assert len(left(database)) == 1


@pytest.mark.usefixtures("empty")
def test_runs_are_kept_by_how_they_ended_and_active_ones_always(database: Database) -> None:
    for status in ("SUCCESS", "MISSED", "FAILURE", "LOST", "STARTED"):
        for days in (1, 10, 100):
            ended = None if status == "STARTED" else NOON - timedelta(days=days)
            row = RunRow(
                task_id=f"{status}-{days}", task_name="t", kind="adhoc", status=status, completed_at=ended
            )
            database.write(lambda session, row=row: session.add(row))
    keeper = Retention(Fenced(database, lambda session: None), results=5 * DAY, failed=50 * DAY)
    assert [keeper.one_batch(NOON) for _ in range(2)] == [6, 0]
    kept = database.read(lambda session: set(session.scalars(select(RunRow.task_id))))
    ended = {"SUCCESS-1", "MISSED-1", "FAILURE-1", "FAILURE-10", "LOST-1", "LOST-10"}
    assert kept == ended | {f"STARTED-{days}" for days in (1, 10, 100)}
