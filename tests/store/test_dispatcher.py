"""T1 on every database: what is due is decided once, with its row, its message and its cursor, or not at all."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import select, update

from taskd.dispatch import claim as claiming
from taskd.dispatch import dispatcher as dispatching
from taskd.dispatch.compiled import Decisions
from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.errors import LeaseLost
from taskd.schedule.spec import ScheduleSpec
from taskd.store import events, leases, overrides, runs, schedules
from taskd.store.database import Database
from taskd.store.schedules import Origin
from taskd.store.tables import Base, EventRow, ScheduleRow
from tests.store.scene import MINUTE, NOON, SOON, Declare, all_runs, outbox, schedule, statements

pytestmark = pytest.mark.usefixtures("empty")


def test_what_is_due_becomes_a_run_a_message_and_a_moved_cursor(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(args=[1], kwargs={"to": "每日"}, queue="reports")
    assert dispatcher.tick(SOON) == 1
    (run,) = all_runs(database)
    row = schedule(database)
    assert (run.status, run.kind, run.scheduled_for, run.decided_at) == ("PENDING", "schedule", NOON, SOON)
    assert (run.schedule_id, run.schedule_name, run.queue) == (row.id, "one", "reports")
    assert (run.args, run.kwargs, run.task_name) == ([1], {"to": "每日"}, "t")
    assert run.task_id == runs.task_id_for(row.uid, NOON)
    assert [message.run_id for message in outbox(database)] == [run.id]
    assert (row.cursor_at, row.last_run_at, row.next_run_at) == (NOON, NOON, NOON + MINUTE)
    assert row.total_run_count == 1


def test_a_second_look_finds_nothing_to_decide(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    dispatcher.tick(SOON)
    assert dispatcher.tick(SOON) == 0
    assert len(all_runs(database)) == 1
    assert dispatcher.next_due() == NOON + MINUTE


def test_all_that_is_due_is_decided_in_one_pass(
    database: Database, dispatcher: Dispatcher, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "LOOK", 4)
    monkeypatch.setattr(dispatching, "BATCH", 3)
    for n in range(8):
        declare(f"s{n}")
    assert dispatcher.tick(SOON) == 8
    assert len(outbox(database)) == 8


def test_a_transaction_is_bounded_by_what_it_writes(
    database: Database, dispatcher: Dispatcher, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "BATCH_BYTES", 5000)
    for n in range(4):
        declare(f"s{n}", args=["x" * 2000])
    declare("large", args=["x" * 9000])
    sent = statements(database, lambda: dispatcher.tick(SOON))
    assert sum(statement.startswith("INSERT INTO task_result") for statement in sent) == 5
    assert len(outbox(database)) == 5


def test_an_outage_is_one_late_fire_and_one_row_for_what_was_missed(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(at=NOON - 10 * MINUTE)
    dispatcher.tick(NOON + timedelta(seconds=40))
    missed, fired = all_runs(database)
    assert (missed.status, missed.scheduled_for) == ("MISSED", NOON - MINUTE)
    assert missed.detail == {
        "reason": "catchup",
        "from": (NOON - 9 * MINUTE).isoformat(),
        "to": (NOON - MINUTE).isoformat(),
        "count": 9,
    }
    assert (fired.status, fired.scheduled_for) == ("PENDING", NOON)
    assert schedule(database).total_run_count == 1
    assert len(outbox(database)) == 1


def test_nothing_stands_once_another_process_leads(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    seen = database.read(lambda session: leases.read(session, "dispatch"))
    assert database.write(lambda session: leases.take(session, "dispatch", "other", seen))
    with pytest.raises(LeaseLost):
        dispatcher.tick(SOON)
    assert all_runs(database) == outbox(database) == []
    assert schedule(database).cursor_at == NOON - MINUTE


def test_a_schedule_that_changed_since_it_was_read_is_left_for_the_next_pass(
    database: Database, dispatcher: Dispatcher, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare()
    prepare = dispatcher._prepare

    def pause_first(*given: Any) -> Any:
        database.write(
            lambda session: overrides.pause(session, schedules.find(session, "one"), "op", None, SOON)
        )
        return prepare(*given)

    monkeypatch.setattr(dispatcher, "_prepare", pause_first)
    assert dispatcher.tick(SOON) == 0
    assert all_runs(database) == []


def test_two_processes_that_decide_the_same_write_one_row(
    database: Database, app: Celery, leadership: Leadership, declare: Declare
) -> None:
    declare()
    first, second = (Dispatcher(database, app, leadership) for _ in range(2))
    due = second._due(SOON)
    assert first.tick(SOON) == 1
    assert second._decide(due, Decisions(SOON)) == 0
    assert len(all_runs(database)) == 1


def test_an_occurrence_that_has_its_row_is_left_out_and_the_cursor_moves_past_it(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare("one")
    dispatcher.tick(SOON)
    back = {"cursor_at": NOON - MINUTE, "next_run_at": NOON}  # as if someone had turned it back
    database.write(lambda session: session.execute(update(ScheduleRow).values(**back)))
    declare("two")
    assert dispatcher.tick(SOON) == 1
    assert [(run.schedule_name, run.scheduled_for) for run in all_runs(database)] == [
        ("one", NOON),
        ("two", NOON),
    ]
    assert schedule(database).cursor_at == NOON
    assert schedule(database).total_run_count == 1


def test_a_schedule_that_cannot_be_evaluated_is_quarantined_alone(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    bad = declare("bad")
    declare("good")
    nonsense = update(ScheduleRow).where(ScheduleRow.id == bad).values(crontab="nonsense")
    database.write(lambda session: session.execute(nonsense))
    assert dispatcher.tick(SOON) == 1
    row = schedule(database, "bad")
    assert (row.state, row.next_run_at) == ("quarantined", None)
    assert "nonsense" in (row.state_detail or "")
    assert dispatcher.next_due() == NOON + MINUTE


def test_a_row_that_cannot_be_written_is_found_and_quarantined_alone(
    database: Database, dispatcher: Dispatcher, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        declare(f"s{n}")
    fired_run = claiming.fired_run

    def poison(schedule: Any, *rest: Any) -> Any:
        run = fired_run(schedule, *rest)
        return run._replace(task_name=None) if schedule.name == "s3" else run

    monkeypatch.setattr(claiming, "fired_run", poison)
    assert dispatcher.tick(SOON) == 4
    assert schedule(database, "s3").state == "quarantined"
    assert {run.schedule_name for run in all_runs(database)} == {"s0", "s1", "s2", "s4"}


def test_a_date_and_a_one_off_complete_and_a_limit_is_kept(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare("date", date="2026-06-01T12:00:00")
    declare("once", one_off=True)
    declare("twice", max_run_count=2)
    for minute in range(4):
        dispatcher.tick(SOON + minute * MINUTE)
    fired = [run.schedule_name for run in all_runs(database)]
    assert sorted(fired) == ["date", "once", "twice", "twice"]
    assert {schedule(database, name).state for name in ("date", "once", "twice")} == {"completed"}


def test_new_timing_arms_a_completed_schedule_again(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare("once", one_off=True)
    dispatcher.tick(SOON)
    spec = ScheduleSpec.read({"name": "once", "task": "t", "crontab": "*/2 * * * *", "one_off": True}, "UTC")

    def edit(session: Any) -> None:
        row = schedules.find(session, "once", lock=True)
        schedules.redeclare(session, row, spec.columns(), Origin("file"), SOON)

    database.write(edit)
    assert schedule(database, "once").state == "active"
    dispatcher.tick(SOON + 2 * MINUTE)
    assert [run.scheduled_for for run in all_runs(database)] == [NOON, NOON + 2 * MINUTE]
    assert schedule(database, "once").state == "completed"


def test_an_end_is_the_last_fire(database: Database, dispatcher: Dispatcher, declare: Declare) -> None:
    declare(end_time="2026-06-01T12:01:00Z")
    for minute in range(4):
        dispatcher.tick(SOON + minute * MINUTE)
    assert [run.scheduled_for for run in all_runs(database)] == [NOON, NOON + MINUTE]
    assert schedule(database).state == "ended"


def test_a_paused_schedule_does_not_fire_and_what_was_not_published_is_skipped(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    dispatcher.tick(SOON)
    database.write(
        lambda session: overrides.pause(session, schedules.find(session, "one", lock=True), "op", "why", SOON)
    )
    assert dispatcher.tick(SOON + MINUTE) == 0
    (run,) = all_runs(database)
    assert (run.status, run.detail) == ("SKIPPED", {"reason": "the schedule was paused"})
    assert outbox(database) == []
    assert schedule(database).paused_reason == "why"


def test_what_was_not_published_when_a_file_disables_its_schedule_is_skipped(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    dispatcher.tick(SOON)
    spec = ScheduleSpec.read({"name": "one", "task": "t", "crontab": "* * * * *", "enabled": False}, "UTC")

    def edit(session: Any) -> None:
        row = schedules.find(session, "one", lock=True)
        schedules.redeclare(session, row, spec.columns(), Origin("file"), SOON)

    database.write(edit)
    (run,) = all_runs(database)
    assert (run.status, run.detail) == ("SKIPPED", {"reason": "the schedule was disabled"})
    assert outbox(database) == []


def test_what_passed_during_a_pause_neither_fires_nor_is_missed(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare()
    find = lambda session: schedules.find(session, "one", lock=True)  # noqa: E731
    database.write(lambda session: overrides.pause(session, find(session), "op", None, NOON - MINUTE))
    database.write(lambda session: overrides.resume(session, find(session), "op", None, NOON + 5 * MINUTE))
    dispatcher.tick(SOON + 6 * MINUTE)
    assert [(run.status, run.scheduled_for) for run in all_runs(database)] == [("PENDING", NOON + 6 * MINUTE)]
    told = database.read(lambda session: list(session.scalars(select(EventRow.kind).order_by(EventRow.id))))
    assert told == ["paused", "resumed"]


def test_every_override_moves_the_change_sequence(database: Database, declare: Declare) -> None:
    declare()
    before = database.read(events.change_seq)
    database.write(lambda session: overrides.pause(session, schedules.find(session, "one"), "op", None, NOON))
    assert database.read(events.change_seq) == before + 1


def test_the_tables_are_those_of_the_schema(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
