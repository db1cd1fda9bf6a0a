"""Overlap on every database: who is active is read from the rows, under the lock of the schedule's row."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from sqlalchemy.orm import Session

from taskd.dispatch import manual
from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.revoking import Revoker
from taskd.errors import LeaseLost
from taskd.schedule.overlap import OverlapPolicy
from taskd.store import claims, leases, overrides, retries, schedules
from taskd.store import outbox as outbox_statements
from taskd.store.database import Database
from taskd.store.outbox import Message
from taskd.store.tables import RunRow
from tests.store.scene import (
    HOUR,
    MINUTE,
    NOON,
    SOON,
    Declare,
    all_runs,
    begin,
    change,
    edit,
    end,
    outbox,
    schedule,
    statements,
    statuses,
)

SECOND = timedelta(seconds=1)
Revoked = list[tuple[list[str], bool]]


@pytest.fixture
def revoked(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Revoked:
    """What workers were told: (task ids, terminate)."""
    told: Revoked = []
    monkeypatch.setattr(
        app.control, "revoke", lambda ids, *, terminate, connection: told.append((ids, terminate))
    )
    return told


def due(database: Database, now: Any) -> list[str]:
    """The task ids that the publisher would send."""
    waiting = database.read(lambda session: outbox_statements.due(session, now, 100))
    return [message.task_id for message in waiting]


def trigger(database: Database, app: Celery, now: Any = SOON, overlap: OverlapPolicy | None = None) -> RunRow:
    def write(session: Session) -> RunRow:
        row = schedules.find(session, "one", lock=True)
        return manual.trigger(session, app, row, "op", now, overlap=overlap)

    return database.write(write)


def test_skip_names_the_active_run_and_uses_up_no_count(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="skip", max_run_count=2)
    for minute in range(3):
        dispatcher.tick(SOON + minute * MINUTE)
    first, second, third = all_runs(database)
    assert [run.status for run in (first, second, third)] == ["PENDING", "SKIPPED", "SKIPPED"]
    assert second.detail == {
        "reason": "overlap",
        "active": first.task_id,
        "message": "an earlier run was active",
    }
    assert (second.completed_at, len(outbox(database))) == (SOON + MINUTE, 1)
    row = schedule(database)
    assert (row.total_run_count, row.last_run_at, row.cursor_at) == (1, NOON, NOON + 2 * MINUTE)
    end(database, first, SOON + 2 * MINUTE)
    dispatcher.tick(SOON + 3 * MINUTE)
    assert statuses(database)[-1] == "PENDING"
    assert schedule(database).state == "completed"


def test_a_limit_that_skipped_fires_did_not_reach_leaves_the_schedule_active(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="skip", max_run_count=2, catchup="all", at=NOON - 4 * MINUTE)
    dispatcher.tick(SOON)  # two of four fires would reach the limit, but the second is skipped
    assert statuses(database) == ["PENDING", "SKIPPED"]
    row = schedule(database)
    assert (row.state, row.total_run_count, row.next_run_at) == ("active", 1, NOON - MINUTE)


def test_max_active_runs_may_be_active_and_whatever_is_retried_is(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap={"policy": "skip", "max_active": 2})
    dispatcher.tick(SOON)
    begin(database, all_runs(database)[0], SOON)
    end(database, all_runs(database)[0], SOON, "RETRY")
    for minute in (1, 2):
        dispatcher.tick(SOON + minute * MINUTE)
    assert statuses(database) == ["RETRY", "PENDING", "SKIPPED"]


def test_a_buffered_run_is_held_until_the_one_before_it_has_ended(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="buffer")
    for minute in range(3):
        dispatcher.tick(SOON + minute * MINUTE)
    first, second, third = all_runs(database)
    assert [run.status for run in (first, second, third)] == ["PENDING", "PENDING", "SKIPPED"]
    assert (third.detail or {})["message"] == "an earlier run was active, and as many waited as may"
    held = next(message for message in outbox(database) if message.run_id == second.id)
    assert (held.held_by, held.not_before) == (first.task_id, None)
    assert due(database, SOON + HOUR) == [first.task_id]
    end(database, first, SOON + 2 * MINUTE)
    now = SOON + 2 * MINUTE + SECOND
    assert dispatcher.tick(now) == 1
    assert due(database, now) == [first.task_id, second.task_id]
    assert dispatcher.tick(now) == 0
    assert schedule(database).total_run_count == 2


def test_what_is_buffered_goes_before_what_comes_due_with_its_release(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="buffer")
    for minute in range(2):
        dispatcher.tick(SOON + minute * MINUTE)
    first, second = all_runs(database)
    end(database, first, SOON + MINUTE)
    dispatcher.tick(SOON + 2 * MINUTE)
    third = all_runs(database)[2]
    held_by = {message.run_id: message.held_by for message in outbox(database)}
    assert (held_by[second.id], held_by[third.id]) == (None, second.task_id)


def test_what_is_buffered_past_its_window_is_missed(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(
        overlap={"policy": "buffer", "stale_after": "2h"}, catchup={"window": "10m"}, crontab="*/5 * * * *"
    )
    dispatcher.tick(SOON)
    begin(database, all_runs(database)[0], SOON)
    dispatcher.tick(SOON + 5 * MINUTE)
    change(
        database, overrides.pause, "op", None, SOON
    )  # nothing more comes due, and what is scheduled is skipped
    change(database, overrides.resume, "op", None, SOON + 5 * MINUTE)
    dispatcher.tick(SOON + 10 * MINUTE)
    dispatcher.tick(NOON + 20 * MINUTE)
    assert statuses(database)[:3] == ["STARTED", "SKIPPED", "PENDING"]
    dispatcher.tick(NOON + 20 * MINUTE + SECOND)
    missed = all_runs(database)[2]
    assert (missed.status, missed.detail) == (
        "MISSED",
        {"reason": "buffer", "message": "no room came within its catch-up window"},
    )
    assert missed.id not in {message.run_id for message in outbox(database)}


def test_a_run_past_its_lease_blocks_no_longer_and_is_lost(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap={"policy": "skip", "stale_after": "90s"})
    dispatcher.tick(SOON)
    first = all_runs(database)[0]
    begin(database, first, SOON)
    dispatcher.tick(SOON + MINUTE)
    assert statuses(database) == ["STARTED", "SKIPPED"]
    dispatcher.tick(SOON + 2 * MINUTE)
    assert statuses(database) == ["LOST", "SKIPPED", "PENDING"]
    assert (all_runs(database)[0].detail or {})["reason"] == "stale"
    end(database, first, SOON + 3 * MINUTE)  # its worker was slow, not dead: its word counts
    assert statuses(database)[0] == "SUCCESS"


def test_a_run_that_waits_for_a_worker_is_active_however_long(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap={"policy": "skip", "stale_after": "90s"})
    dispatcher.tick(SOON)
    dispatcher.tick(SOON + HOUR)
    assert statuses(database)[0] == "PENDING"
    assert statuses(database)[-1] == "SKIPPED"


def test_a_run_that_waits_for_its_next_attempt_is_no_stale_one(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="skip", crontab="0 * * * *", retry={"max": 1, "backoff": "3h", "backoff_max": "3h"})
    dispatcher.tick(SOON)
    [first] = all_runs(database)
    begin(database, first, SOON)
    mine, again = claims.held_by(f"worker.{first.id}"), Message.of(b"again", {"retries": 1}, {"queue": "q"})
    database.write(
        lambda session: retries.wait(session, first.task_id, again, SOON + 3 * HOUR, mine, SOON + MINUTE)
    )
    for hour in (1, 2):
        dispatcher.tick(SOON + hour * HOUR)
    assert statuses(database) == ["RETRY", "SKIPPED", "SKIPPED"]
    assert [message.run_id for message in outbox(database)] == [first.id]


def test_the_hard_limit_makes_the_lease_longer(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="skip", time_limit="3h", crontab="0 * * * *", at=NOON - HOUR)
    dispatcher.tick(SOON)
    begin(database, all_runs(database)[0], SOON)
    for hour in (1, 2, 3, 4):
        dispatcher.tick(SOON + hour * HOUR)
    assert statuses(database) == ["LOST", "SKIPPED", "SKIPPED", "PENDING", "SKIPPED"]


@pytest.mark.parametrize("policy", ["cancel", "terminate"])
def test_what_nobody_has_begun_is_revoked_in_its_row(
    database: Database, dispatcher: Dispatcher, declare: Declare, revoked: Revoked, policy: str
) -> None:
    declare(overlap=policy)
    for minute in range(2):
        dispatcher.tick(SOON + minute * MINUTE)
    first, second = all_runs(database)
    assert (first.status, second.status) == ("REVOKED", "PENDING")
    assert first.detail == {"reason": "overlap", "superseded_by": second.task_id}
    assert [message.run_id for message in outbox(database)] == [second.id]
    dispatcher.revoker.send()
    assert revoked == []


@pytest.mark.parametrize(("policy", "terminate"), [("cancel", False), ("terminate", True)])
def test_the_worker_of_what_has_begun_is_told_after_the_commit(
    database: Database,
    dispatcher: Dispatcher,
    declare: Declare,
    revoked: Revoked,
    policy: str,
    terminate: bool,
) -> None:
    declare(overlap=policy)
    dispatcher.tick(SOON)
    first = all_runs(database)[0]
    begin(database, first, SOON)
    dispatcher.tick(SOON + MINUTE)
    assert revoked == []  # the publisher's thread tells them
    dispatcher.revoker.send()
    dispatcher.revoker.send()
    assert revoked == [([first.task_id], terminate)]
    first, second = all_runs(database)
    assert (first.status, second.status) == ("STARTED", "PENDING")
    assert first.detail == {"superseded_by": second.task_id}


def test_nothing_is_revoked_once_another_process_leads(
    database: Database, dispatcher: Dispatcher, declare: Declare, revoked: Revoked
) -> None:
    declare(overlap="terminate")
    dispatcher.tick(SOON)
    begin(database, all_runs(database)[0], SOON)
    seen = database.read(lambda session: leases.read(session, "dispatch"))
    assert database.write(lambda session: leases.take(session, "dispatch", "other", seen))
    with pytest.raises(LeaseLost):
        dispatcher.tick(SOON + MINUTE)
    dispatcher.revoker.send()
    assert revoked == []
    assert statuses(database) == ["STARTED"]


def test_of_fires_that_come_at_once_only_the_last_is_sent(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="cancel", catchup="all", at=NOON - 3 * MINUTE)
    dispatcher.tick(SOON)
    runs = all_runs(database)
    assert [run.status for run in runs] == ["SKIPPED", "SKIPPED", "PENDING"]
    assert {(run.detail or {})["active"] for run in runs[:2]} == {runs[2].task_id}
    assert schedule(database).total_run_count == 1


def test_who_cannot_be_told_is_told_later(
    database: Database, app: Celery, dispatcher: Dispatcher, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the broker is away")

    declare(overlap="cancel")
    dispatcher.tick(SOON)
    begin(database, all_runs(database)[0], SOON)
    dispatcher.tick(SOON + MINUTE)
    monkeypatch.setattr(app.control, "revoke", refuse)
    dispatcher.revoker.send()
    monkeypatch.setattr(app.control, "revoke", lambda ids, **_: told.extend(ids))
    dispatcher.revoker.send()
    assert told == [all_runs(database)[0].task_id]


def test_a_broker_that_stays_away_is_not_asked_for_ever(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskd.dispatch import revoking
    from taskd.dispatch.revoking import Revocation

    asked: list[Revocation] = []
    monkeypatch.setattr(revoking, "broadcast", lambda _, revocation: asked.append(revocation))
    revoker = Revoker(app)
    revoker.add([Revocation(("a",), terminate=False)])
    monkeypatch.setattr(revoking.clock, "monotonic", lambda: revoker._waiting[0][0] + revoking.PATIENCE)
    revoker.send()
    revoker.send()
    assert len(asked) == 1


def test_pausing_skips_what_is_held(database: Database, dispatcher: Dispatcher, declare: Declare) -> None:
    declare(overlap="buffer")
    dispatcher.tick(SOON)
    begin(database, all_runs(database)[0], SOON)
    dispatcher.tick(SOON + MINUTE)
    change(database, overrides.pause, "op", None, SOON + MINUTE)
    assert statuses(database) == ["STARTED", "SKIPPED"]


def test_what_is_held_goes_once_the_file_allows_overlap(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="buffer", crontab="0 * * * *", at=NOON - HOUR)
    trigger_at = SOON + MINUTE
    dispatcher.tick(SOON)
    dispatcher.tick(SOON + HOUR)
    edit(database, SOON + HOUR, crontab="0 * * * *")
    assert dispatcher.tick(SOON + HOUR + MINUTE) == 1
    assert len(due(database, trigger_at + HOUR)) == 2


def test_schedules_that_allow_overlap_cost_nothing_and_the_others_one_query_a_batch(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    def queries(now: Any) -> int:
        sent = statements(database, lambda: dispatcher.tick(now))
        return sum("task_result.schedule_id +" in statement for statement in sent)

    for n in range(10):
        declare(f"allow{n}")
    assert queries(SOON) == 0
    for n in range(10):
        declare(f"skip{n}", overlap="skip")
    assert queries(SOON + MINUTE) == 1
    assert statuses(database).count("PENDING") == 30
    assert queries(SOON + 2 * MINUTE) == 1
    assert statuses(database).count("SKIPPED") == 10


def test_a_manual_run_follows_the_schedules_policy_unless_it_is_asked_otherwise(
    database: Database, app: Celery, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="skip")
    dispatcher.tick(SOON)
    (active,) = all_runs(database)
    skipped = trigger(database, app)
    assert (skipped.status, (skipped.detail or {})["active"]) == ("SKIPPED", active.task_id)
    assert trigger(database, app, overlap="allow").status == "PENDING"
    held = trigger(database, app, overlap="buffer")
    assert [message.held_by for message in outbox(database) if message.run_id == held.id] == [active.task_id]
    assert schedule(database).total_run_count == 1


def test_a_manual_run_is_active_for_the_schedule(
    database: Database, app: Celery, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="skip")
    asked = trigger(database, app, NOON - MINUTE)
    dispatcher.tick(SOON)
    (skipped,) = (run for run in all_runs(database) if run.kind == "schedule")
    assert (skipped.status, (skipped.detail or {})["active"]) == ("SKIPPED", asked.task_id)


def test_a_held_manual_run_waits_as_long_as_it_takes_also_while_the_schedule_is_paused(
    database: Database, app: Celery, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="buffer")
    dispatcher.tick(SOON)
    first = all_runs(database)[0]
    begin(database, first, SOON)
    held = trigger(database, app)
    change(database, overrides.pause, "op", None, SOON)
    assert dispatcher.tick(SOON + 50 * MINUTE) == 0
    end(database, first, SOON + 50 * MINUTE)
    assert dispatcher.tick(SOON + 3 * HOUR) == 1
    assert held.task_id in due(database, SOON + 3 * HOUR)


def test_a_manual_run_that_terminates_another_says_so_once_it_is_committed(
    database: Database, app: Celery, dispatcher: Dispatcher, declare: Declare, revoked: Revoked
) -> None:
    declare()
    dispatcher.tick(SOON)
    first = all_runs(database)[0]
    begin(database, first, SOON)

    def fail(session: Session) -> None:
        row = schedules.find(session, "one", lock=True)
        manual.trigger(session, app, row, "op", SOON, overlap="terminate")
        raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        database.write(fail)
    assert revoked == []
    assert trigger(database, app, overlap="terminate").status == "PENDING"
    assert revoked == [([first.task_id], True)]
