"""Pauses on every database: those that end by themselves, those that the system makes, and what they span."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.pausing import FailureCount
from taskd.errors import LeaseLost
from taskd.store import active, failures, leases, outbox, overrides, schema
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.tables import EventRow
from tests.store.scene import (
    HOUR,
    MINUTE,
    NOON,
    SOON,
    Declare,
    all_runs,
    change,
    edit,
    end,
    events,
    schedule,
    statements,
    statements_with_values,
    statuses,
)

SECOND = timedelta(seconds=1)


def fires(database: Database) -> list[datetime]:
    return [run.scheduled_for for run in all_runs(database) if run.status == "PENDING" and run.scheduled_for]


def fail(database: Database, dispatcher: Dispatcher, minute: int, status: str = "FAILURE") -> None:
    """The occurrence of a minute after noon fires and its run ends."""
    dispatcher.tick(SOON + minute * MINUTE)
    run = all_runs(database)[-1]
    assert run.status == "PENDING"
    if status == "LOST":
        database.write(lambda session: active.lose_stale(session, [run.id], SOON + minute * MINUTE))
    else:
        end(database, run, SOON + minute * MINUTE, status)


@pytest.fixture
def count(database: Database) -> FailureCount:
    return FailureCount(Fenced(database, lambda _: None))


def test_a_pause_until_ends_by_itself_and_what_comes_after_is_due(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(catchup="all")
    until = NOON + 5 * MINUTE + 30 * SECOND
    change(database, overrides.pause, "op", "maintenance", NOON - MINUTE, until=until)
    assert dispatcher.tick(until - SECOND) == 0
    assert schedule(database).state == "paused"
    dispatcher.tick(NOON + 8 * MINUTE + SECOND)  # the daemon was away when it ended
    assert fires(database) == [NOON + n * MINUTE for n in (6, 7, 8)]
    row = schedule(database)
    assert (row.state, row.paused_at, row.paused_until) == ("active", None, None)
    assert events(database) == [("paused", "op"), ("resumed", "taskd")]


def test_an_occurrence_at_the_very_end_of_a_pause_belongs_to_it(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    change(database, overrides.pause, "op", None, NOON - MINUTE, until=NOON)
    dispatcher.tick(SOON)
    assert fires(database) == []
    assert schedule(database).next_run_at == NOON + MINUTE


def test_nobody_resumes_who_does_not_lead(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    change(database, overrides.pause, "op", None, NOON - MINUTE, until=NOON)
    seen = database.read(lambda session: leases.read(session, "dispatch"))
    assert database.write(lambda session: leases.take(session, "dispatch", "other", seen))
    with pytest.raises(LeaseLost):
        dispatcher.tick(SOON)
    assert schedule(database).state == "paused"


def test_a_pause_says_until_when_and_the_last_word_counts(database: Database, declare: Declare) -> None:
    declare()
    change(database, overrides.pause, "ann", "why", NOON, until=NOON + HOUR)
    change(database, overrides.pause, "ann", "why", NOON + MINUTE, until=NOON + HOUR)
    assert events(database) == [("paused", "ann")]
    change(database, overrides.pause, "bob", None, NOON + MINUTE, until=NOON + 2 * HOUR)
    row = schedule(database)
    assert (row.paused_at, row.paused_by, row.paused_reason) == (NOON, "bob", "why")
    assert row.paused_until == NOON + 2 * HOUR
    details = database.read(
        lambda session: list(session.scalars(select(EventRow.detail).order_by(EventRow.id)))
    )
    assert [detail and detail["until"] for detail in details] == [
        (NOON + HOUR).isoformat(),
        (NOON + 2 * HOUR).isoformat(),
    ]


def test_a_pause_with_an_end_is_also_ended_by_hand(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    change(database, overrides.pause, "op", None, NOON - MINUTE, until=NOON + HOUR)
    change(database, overrides.resume, "op", None, NOON + 30 * SECOND)
    dispatcher.tick(SOON + MINUTE)
    assert fires(database) == [NOON + MINUTE]
    dispatcher.tick(NOON + HOUR + SECOND)
    assert events(database) == [("paused", "op"), ("resumed", "op")]


@pytest.mark.parametrize(
    ("policy", "fired", "missed"), [("none", [], 6), ("latest", [5], 5), ("all", [0, 1, 2, 3, 4, 5], 0)]
)
def test_resume_with_catch_up_treats_the_pause_as_an_outage(
    database: Database, dispatcher: Dispatcher, declare: Declare, policy: str, fired: list[int], missed: int
) -> None:
    declare(catchup=policy)
    change(database, overrides.pause, "op", None, NOON - MINUTE)
    now = NOON + 5 * MINUTE + 30 * SECOND
    change(database, overrides.resume, "op", None, now, catch_up=True)
    dispatcher.tick(now)
    assert fires(database) == [NOON + n * MINUTE for n in fired]
    gaps = [run.detail or {} for run in all_runs(database) if run.status == "MISSED"]
    assert sum(gap["count"] for gap in gaps) == missed


@pytest.mark.parametrize(("catch_up", "status"), [(False, []), (True, ["PENDING"])])
def test_a_date_that_passed_while_it_was_paused_completes(
    database: Database, dispatcher: Dispatcher, declare: Declare, catch_up: bool, status: list[str]
) -> None:
    declare(date="2026-06-01T12:00:00")
    change(database, overrides.pause, "op", None, NOON - MINUTE)
    change(database, overrides.resume, "op", None, NOON + 10 * MINUTE, catch_up=catch_up)
    dispatcher.tick(NOON + 10 * MINUTE)
    assert (statuses(database), schedule(database).state) == (status, "completed")


@pytest.mark.parametrize(
    ("crontab", "resumed", "following"),
    [
        # Berlin's clocks skip 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
        ("30 2 * * *", "2026-03-29T00:30Z", "2026-03-29T01:00Z"),  # made up for right after the gap
        ("30 2 * * *", "2026-03-29T01:00Z", "2026-03-30T00:30Z"),  # the pause held that one
        ("*/30 2 * * *", "2026-03-29T00:30Z", "2026-03-30T00:00Z"),
        # and show 02:00 to 03:00 twice on 25 October, until 01:00 UTC and after it.
        ("30 2 * * *", "2026-10-25T00:29Z", "2026-10-25T00:30Z"),
        ("30 2 * * *", "2026-10-25T00:45Z", "2026-10-26T01:30Z"),  # between the passes: the second isn't one
        ("*/30 2 * * *", "2026-10-25T00:45Z", "2026-10-25T01:00Z"),
    ],
)
def test_a_pause_over_a_clock_change(
    database: Database, dispatcher: Dispatcher, declare: Declare, crontab: str, resumed: str, following: str
) -> None:
    at = datetime.fromisoformat(resumed)
    declare(crontab=crontab, timezone="Europe/Berlin", at=at - timedelta(days=3))
    change(database, overrides.pause, "op", None, at - timedelta(days=2))
    change(database, overrides.resume, "op", None, at)
    dispatcher.tick(at)
    assert all_runs(database) == []
    assert schedule(database).next_run_at == datetime.fromisoformat(following).astimezone(UTC)


def test_after_so_many_failures_in_a_row_the_system_pauses_and_says_why(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(pause_after_failures=3)
    for minute in range(3):
        fail(database, dispatcher, minute)
    last = all_runs(database)[-1]
    assert dispatcher.tick(SOON + 3 * MINUTE) == 0
    row = schedule(database)
    assert (row.state, row.paused_by, row.failures_in_a_row) == ("paused", "taskd", 3)
    assert row.paused_reason == f"3 runs in a row have failed, the last of them {last.task_id}"
    assert events(database) == [("paused", "taskd")]
    assert len(all_runs(database)) == 3


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        (["FAILURE", "FAILURE", "SUCCESS", "FAILURE", "FAILURE"], "active"),
        (["FAILURE", "LOST", "FAILURE"], "paused"),
        (["FAILURE", "REVOKED", "FAILURE", "IGNORED", "FAILURE"], "paused"),
        (["FAILURE", "FAILURE", "RETRY"], "active"),
        (["FAILURE", "FAILURE", "REVOKED"], "active"),
    ],
)
def test_what_counts_as_in_a_row(
    database: Database, dispatcher: Dispatcher, declare: Declare, outcomes: list[str], state: str
) -> None:
    declare(pause_after_failures=3)
    for minute, outcome in enumerate(outcomes):
        fail(database, dispatcher, minute, outcome)
    dispatcher.tick(SOON + len(outcomes) * MINUTE)
    assert schedule(database).state == state


def test_resume_begins_anew(database: Database, dispatcher: Dispatcher, declare: Declare) -> None:
    declare(pause_after_failures=2)
    for minute in range(2):
        fail(database, dispatcher, minute)
    dispatcher.tick(SOON + 2 * MINUTE)
    change(database, overrides.resume, "op", None, SOON + 3 * MINUTE)
    assert schedule(database).failures_in_a_row == 0
    fail(database, dispatcher, 4)
    assert schedule(database).state == "active"
    fail(database, dispatcher, 5)
    dispatcher.tick(SOON + 6 * MINUTE)
    assert schedule(database).state == "paused"


def test_a_change_of_the_file_ends_the_systems_pause_but_not_an_operators(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(pause_after_failures=1)
    fail(database, dispatcher, 0)
    dispatcher.tick(SOON + MINUTE)
    keys: dict[str, Any] = {"crontab": "* * * * *", "pause_after_failures": 1}
    edit(database, SOON + 5 * MINUTE, **keys)
    assert schedule(database).state == "paused"  # nothing has changed
    edit(database, SOON + 5 * MINUTE, **keys, args=[1])
    assert schedule(database).state == "active"
    fail(database, dispatcher, 6)
    assert all_runs(database)[-1].scheduled_for == NOON + 6 * MINUTE
    dispatcher.tick(SOON + 7 * MINUTE)
    change(database, overrides.pause, "op", None, SOON + 8 * MINUTE)
    edit(database, SOON + 9 * MINUTE, **keys, args=[2])
    assert (schedule(database).state, schedule(database).paused_by) == ("paused", "op")


def test_a_daily_job_is_paused_when_it_fails_not_when_it_is_due_again(
    database: Database, dispatcher: Dispatcher, declare: Declare, count: FailureCount
) -> None:
    declare(crontab="0 12 * * *", pause_after_failures=1)
    fail(database, dispatcher, 0)
    count.look(SOON + SECOND)
    assert (schedule(database).state, schedule(database).failures_in_a_row) == ("paused", 1)
    count.look(SOON + 2 * SECOND)
    assert schedule(database).failures_in_a_row == 1


def test_failures_in_a_row_are_counted_for_every_schedule(
    database: Database, dispatcher: Dispatcher, declare: Declare, count: FailureCount
) -> None:
    declare()
    counted = []
    for minute, outcome in enumerate(["FAILURE", "FAILURE", "SUCCESS", "FAILURE"]):
        fail(database, dispatcher, minute, outcome)
        count.look(SOON + minute * MINUTE + SECOND)
        counted.append(schedule(database).failures_in_a_row)
    assert counted == [1, 2, 0, 1]
    assert schedule(database).state == "active"


def test_a_record_that_comes_late_is_counted_by_the_next_decision(
    database: Database, dispatcher: Dispatcher, declare: Declare, count: FailureCount
) -> None:
    declare(crontab="0 * * * *", pause_after_failures=1)
    dispatcher.tick(SOON)
    count.look(SOON + 30 * MINUTE)
    end(database, all_runs(database)[0], SOON, "FAILURE")  # it was spooled: ended long ago, written now
    count.look(SOON + 31 * MINUTE)
    assert schedule(database).state == "active"
    assert dispatcher.tick(SOON + HOUR) == 0
    assert schedule(database).state == "paused"


def test_schedules_without_the_policy_cost_no_query_the_others_one_for_fifty(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    def probes(now: datetime) -> int:
        sent = statements(database, lambda: dispatcher.tick(now))
        return sum("decided_at >=" in statement for statement in sent)

    for n in range(10):
        declare(f"s{n}")
    assert probes(SOON) == 0
    for n in range(51):
        declare(f"t{n}", pause_after_failures=2)
    assert probes(SOON + MINUTE) == 2


def test_a_batch_is_one_insert_whatever_its_rows_are(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    for n in range(10):
        declare(f"s{n}", at=NOON - HOUR)
    sent = statements(database, lambda: dispatcher.tick(SOON))
    assert statuses(database).count("MISSED") == statuses(database).count("PENDING") == 10
    assert sum(statement.startswith("INSERT INTO task_result") for statement in sent) == 1


def test_the_fence_guards_the_count(database: Database, dispatcher: Dispatcher, declare: Declare) -> None:
    def lost(_: Session) -> None:
        raise LeaseLost("another leads")

    declare()
    fail(database, dispatcher, 0)
    with pytest.raises(LeaseLost):
        FailureCount(Fenced(database, lost)).look(SOON + SECOND)
    assert schedule(database).failures_in_a_row == 0


def test_what_is_asked_every_second_reads_no_history(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    schema.upgrade(database)

    def ask(session: Session) -> None:
        failures.with_outcomes_since(session, NOON)
        active.of_schedules(session, [1])
        outbox.held_schedules(session)

    plans = []
    for statement, values in statements_with_values(database, lambda: database.read(ask)):
        with database.engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.append(next(step for *_, step in plan))
    database.close()
    assert plans == [
        "SEARCH task_result USING INDEX ix_task_result_completed_at (completed_at>?)",
        "SEARCH task_result USING INDEX ix_task_result_status_id (status=?)",
        "SEARCH task_outbox USING COVERING INDEX ix_task_outbox_held_by (held_by>?)",
    ]
