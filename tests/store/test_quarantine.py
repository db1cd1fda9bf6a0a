"""Quarantine is for the schedule that is at fault, until it is declared anew; never for a database that takes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text, update

from taskd.dispatch.dispatcher import Dispatcher
from taskd.errors import Unavailable
from taskd.schedule.spec import uid_of
from taskd.store import overrides
from taskd.store.database import Database
from taskd.store.tables import ScheduleRow
from tests.store.scene import MINUTE, NOON, SOON, Declare, all_runs, change, edit, events, schedule

NAMES = ("one", "two", "three")


def execute(database: Database, statement: str) -> None:
    database.write(lambda session: session.execute(text(statement)))


@contextmanager
def without_an_outbox(database: Database) -> Iterator[None]:
    """Stands for all that makes every insert fail: revoked privileges, a damaged table, a full disk."""
    execute(database, "ALTER TABLE task_outbox RENAME TO aside")
    try:
        yield
    finally:
        execute(database, "ALTER TABLE aside RENAME TO task_outbox")


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """As the standby of a cluster is, or a server that an administrator has made so (PostgreSQL)."""
    _default_read_only(database, "on")
    try:
        yield
    finally:
        _default_read_only(database, "off")


def _default_read_only(database: Database, switch: str) -> None:
    with database.engine.connect() as connection:
        at_will = connection.execution_options(isolation_level="AUTOCOMMIT")
        name = database.url.database
        at_will.execute(text("SET default_transaction_read_only = off"))
        at_will.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = {switch}"))
    database.engine.dispose()  # it holds for new connections


def fires_all_that_waited(database: Database, dispatcher: Dispatcher) -> None:
    assert {schedule(database, name).state for name in NAMES} == {"active"}
    assert dispatcher.tick(SOON) == len(NAMES)
    assert {run.scheduled_for for run in all_runs(database)} == {NOON}


def test_where_nothing_can_be_written_nobody_is_quarantined(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    for name in NAMES:
        declare(name)
    with without_an_outbox(database), pytest.raises(Unavailable, match="the database"):
        dispatcher.tick(SOON)
    fires_all_that_waited(database, dispatcher)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_is_read_only_quarantines_nobody(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    for name in NAMES:
        declare(name)
    with read_only(database), pytest.raises(Unavailable, match="read-only"):
        dispatcher.tick(SOON)
    fires_all_that_waited(database, dispatcher)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_full_disk_quarantines_nobody(database: Database, dispatcher: Dispatcher, declare: Declare) -> None:
    for name in NAMES:
        declare(name, args=["x" * 100_000])
    database.engine.dispose()
    full = database.read(lambda session: session.scalar(text("PRAGMA page_count")))
    database.read(lambda session: session.execute(text(f"PRAGMA max_page_count = {full}")))
    with pytest.raises(Unavailable, match="full"):
        dispatcher.tick(SOON)
    database.engine.dispose()
    fires_all_that_waited(database, dispatcher)


def test_a_quarantine_is_seen_and_ends_when_the_schedule_is_declared_anew(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    one = declare("one")
    nonsense = update(ScheduleRow).where(ScheduleRow.id == one).values(timezone="Nowhere/Else")
    database.write(lambda session: session.execute(nonsense))
    assert dispatcher.tick(SOON) == 0
    row = schedule(database)
    assert row.state == "quarantined"
    assert "Nowhere/Else" in (row.state_detail or "")
    assert ("quarantined", "taskd") in events(database)

    edit(database, SOON, crontab="*/2 * * * *")
    assert schedule(database).state == "active"
    assert dispatcher.tick(NOON + 2 * MINUTE) == 1


def test_what_no_longer_can_be_evaluated_is_quarantined_by_whoever_comes_upon_it(
    database: Database, declare: Declare
) -> None:
    declare("n4", crontab="0 0 H(29-31) 2 *")  # the 29th, by its own name
    other = update(ScheduleRow).values(uid=uid_of("n5"))  # as of a schedule that was renamed: the 31st
    database.write(lambda session: session.execute(other))
    change(database, overrides.pause, "me", None, SOON, name="n4")
    row = schedule(database, "n4")
    assert (row.state, row.next_run_at) == ("quarantined", None)
    assert "'0 0 31 2 *' never occurs" in (row.state_detail or "")
