"""What a worker may write about a run, on every database."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from taskd.store import attempts, claims, records
from taskd.store.claims import Call, Outcome, Start
from taskd.store.database import Database
from taskd.store.records import Record, Teller
from taskd.store.tables import RunRow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=90)
Decide = Callable[..., str]


@pytest.fixture
def decide(database: Database) -> Decide:
    """Write the row of a decided run, as the dispatcher does; returns its task id."""

    def insert(**columns: Any) -> str:
        task_id = str(uuid4())
        row = {"task_name": "reports.daily", "status": "PENDING", "kind": "schedule", "detail": None}
        database.write(lambda session: session.add(RunRow(task_id=task_id, **{**row, **columns})))
        return task_id

    return insert


def start(task_id: str, token: str = "worker1.a", generation: int = 0, *, decided: bool = True) -> Start:
    call = Call(task_id, "reports.daily", decided, args=[1], kwargs={"a": "ü"}, queue="celery")
    return Start(call, token, generation, "celery@host", NOON)


def row(database: Database, task_id: str) -> RunRow:
    return database.read(lambda s: s.execute(select(RunRow).where(RunRow.task_id == task_id)).scalar_one())


def finish(database: Database, task_id: str, status: str, where: Any, **outcome: Any) -> bool:
    told = Outcome(status, LATER, **outcome)
    return database.write(lambda session: claims.finish(session, task_id, told, where))


def test_the_first_copy_starts_and_the_second_is_refused_and_counted(
    database: Database, decide: Decide
) -> None:
    task_id = decide()
    assert attempts.begin(database, start(task_id, "worker1.a")) == "claimed"
    assert attempts.begin(database, start(task_id, "worker2.b")) == "refused"
    assert attempts.begin(database, start(task_id, "worker1.c")) == "refused"
    seen = row(database, task_id)
    assert (seen.status, seen.claim, seen.started_at, seen.worker) == (
        "STARTED",
        "worker1.a",
        NOON,
        "celery@host",
    )
    assert seen.detail == {"refused": 2}


def test_a_claim_whose_answer_was_lost_is_repeated(database: Database, decide: Decide) -> None:
    task_id = decide()
    again = start(task_id)
    assert attempts.begin(database, again) == attempts.begin(database, again) == "claimed"


def test_a_retry_passes_and_a_late_copy_of_its_first_attempt_does_not(
    database: Database, decide: Decide
) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id, "worker1.a"))
    assert finish(database, task_id, "RETRY", claims.held_by("worker1.a"), result={"exc_type": "E"})
    assert attempts.begin(database, start(task_id, "worker1.b", generation=1)) == "claimed"
    assert attempts.begin(database, start(task_id, "worker1.c", generation=0)) == "refused"
    seen = row(database, task_id)
    assert (seen.generation, seen.result, seen.status) == (1, None, "STARTED")


def test_a_replacement_passes_though_its_retries_start_at_zero() -> None:
    assert claims.generation(retries=0, nesting=1) > claims.generation(retries=99, nesting=0)


def test_a_retry_written_late_does_not_undo_the_next_attempt(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id, "worker1.a"))
    attempts.begin(database, start(task_id, "worker2.b", generation=1))
    assert not finish(database, task_id, "RETRY", claims.held_by("worker1.a"), runtime=1.0)
    assert finish(database, task_id, "SUCCESS", claims.held_by("worker2.b"), runtime=1.0)
    assert not finish(database, task_id, "RETRY", claims.held_by("worker1.a"), runtime=1.0)
    assert row(database, task_id).status == "SUCCESS"


def test_an_outcome_fills_the_row(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id))
    assert finish(
        database, task_id, "SUCCESS", claims.held_by("worker1.a"), result=[1, {"ä": None}], runtime=2.5
    )
    seen = row(database, task_id)
    assert (seen.status, seen.result, seen.completed_at, seen.runtime) == (
        "SUCCESS",
        [1, {"ä": None}],
        LATER,
        2.5,
    )


def test_the_first_final_status_stands(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id))
    assert finish(database, task_id, "FAILURE", claims.held_in("worker1", 0))
    assert not finish(database, task_id, "SUCCESS", claims.held_by("worker1.a"))
    assert not finish(database, task_id, "FAILURE", claims.held_in("worker1", 0))
    assert attempts.begin(database, start(task_id, "worker1.b", generation=1)) == "refused"
    assert row(database, task_id).status == "FAILURE"


def test_what_was_given_up_for_lost_may_still_be_told_by_its_holder(
    database: Database, decide: Decide
) -> None:
    task_id = decide(status="LOST", claim="worker1.a", started_at=NOON, completed_at=NOON)
    assert not finish(database, task_id, "SUCCESS", claims.held_by("worker2.b"))
    assert finish(database, task_id, "SUCCESS", claims.held_by("worker1.a"))
    assert row(database, task_id).status == "SUCCESS"


def test_the_parent_ends_what_its_child_had_begun_and_nothing_of_another_worker(
    database: Database, decide: Decide
) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id, "worker1.a"))
    assert not finish(database, task_id, "FAILURE", claims.held_in("worker2", 0))
    assert finish(database, task_id, "FAILURE", claims.held_in("worker1", 0), detail={"reason": "killed"})
    seen = row(database, task_id)
    assert (seen.runtime, seen.detail) == (90.0, {"reason": "killed"})


def test_a_second_copy_that_expires_leaves_the_running_first_alone(
    database: Database, decide: Decide
) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id))
    assert not finish(database, task_id, "REVOKED", claims.not_begun(0))
    assert row(database, task_id).status == "STARTED"


def test_a_revoked_run_never_starts(database: Database, decide: Decide) -> None:
    task_id = decide(detail={"late": 3})
    assert database.write(lambda session: claims.revoke(session, task_id, NOON, "no longer wanted"))
    assert attempts.begin(database, start(task_id)) == "refused"
    seen = row(database, task_id)
    assert (seen.status, seen.detail) == (
        "REVOKED",
        {"late": 3, "reason": "no longer wanted", "refused": 1},
    )


def test_a_running_run_is_not_revoked_by_the_row_alone(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id))
    assert not database.write(lambda session: claims.revoke(session, task_id, NOON, "no longer wanted"))


def test_a_claim_given_back_is_free_for_the_next(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id, "worker1.a"))
    assert not database.write(lambda s: claims.give_back(s, task_id, claims.held_by("worker2.b")))
    assert database.write(lambda s: claims.give_back(s, task_id, claims.held_by("worker1.a")))
    assert row(database, task_id).status == "PENDING"
    assert attempts.begin(database, start(task_id, "worker2.b")) == "claimed"


def test_an_end_that_is_told_after_the_claim_was_given_back_knows_the_start(
    database: Database, decide: Decide
) -> None:
    """A child that is killed past its time limit gives back what its worker's main process then calls a failure."""
    task_id = decide()
    attempts.begin(database, start(task_id, "worker1.a"))
    assert database.write(lambda s: claims.give_back(s, task_id, claims.held_by("worker1.a")))
    assert finish(database, task_id, "FAILURE", claims.held_in("worker1", 0))
    seen = row(database, task_id)
    assert (seen.started_at, seen.runtime) == (NOON, (LATER - NOON).total_seconds())


def test_what_its_worker_says_late_is_not_about_the_next_delivery(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id, "worker1.a"))
    sent_back = Record(task_id, Teller("worker", "worker1", at=NOON), given_back=True)
    database.write(lambda session: records.write(session, sent_back))
    attempts.begin(database, replace(start(task_id, "worker1.b"), at=LATER))
    assert not database.write(lambda session: records.write(session, sent_back))
    assert (row(database, task_id).status, row(database, task_id).claim) == ("STARTED", "worker1.b")


def test_progress_is_noted_while_it_runs_and_never_after(database: Database, decide: Decide) -> None:
    task_id = decide()
    attempts.begin(database, start(task_id))

    def note(current: int) -> bool:
        where = claims.held_by("worker1.a")
        return database.write(lambda s: claims.note_progress(s, task_id, {"current": current}, where))

    assert note(1)
    finish(database, task_id, "SUCCESS", claims.held_by("worker1.a"))
    assert not note(2)
    assert row(database, task_id).progress == {"current": 1}


def test_a_decided_run_without_a_row_is_refused_as_purged(database: Database) -> None:
    assert attempts.begin(database, start(str(uuid4()))) == "purged"


def test_an_ad_hoc_call_gets_its_row(database: Database) -> None:
    task_id = str(uuid4())
    assert attempts.begin(database, start(task_id, decided=False)) == "claimed"
    seen = row(database, task_id)
    assert (seen.status, seen.kind, seen.args, seen.kwargs) == ("STARTED", "adhoc", [1], {"a": "ü"})


def test_an_ad_hoc_retry_without_a_row_gets_one(database: Database) -> None:
    task_id = str(uuid4())
    assert attempts.begin(database, start(task_id, generation=2, decided=False)) == "claimed"
    assert row(database, task_id).generation == 2


def test_a_second_delivery_of_an_ad_hoc_call_runs_and_takes_the_row(database: Database) -> None:
    task_id = str(uuid4())
    attempts.begin(database, start(task_id, "worker1.a", decided=False))
    assert attempts.begin(database, start(task_id, "worker2.b", decided=False)) == "claimed"
    assert not finish(database, task_id, "SUCCESS", claims.held_by("worker1.a"))
    assert finish(database, task_id, "SUCCESS", claims.held_by("worker2.b"))
    assert attempts.begin(database, start(task_id, "worker2.c", decided=False)) == "unrecorded"
    assert row(database, task_id).status == "SUCCESS"


def test_a_replaced_run_that_lost_its_header_is_still_refused_twice(
    database: Database, decide: Decide
) -> None:
    task_id = decide(kind="manual")
    assert attempts.begin(database, start(task_id, "worker1.a", decided=False)) == "claimed"
    assert attempts.begin(database, start(task_id, "worker1.b", decided=False)) == "refused"


def test_an_ad_hoc_call_revoked_before_its_start_gets_a_row(database: Database) -> None:
    call = start(str(uuid4()), decided=False).call
    told = Outcome("REVOKED", NOON, detail={"reason": "expired"})

    def write() -> bool:
        where = claims.not_begun(0)
        return database.write(lambda s: claims.finish_or_insert(s, call, "celery@host", told, where))

    assert write()
    assert not write()
    assert row(database, call.task_id).detail == {"reason": "expired"}
