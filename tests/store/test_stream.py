"""What the live stream reads, on each database: also what is committed late, and no more than it may."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from taskd.http.message import Message
from taskd.http.watching import Watch
from taskd.store import events, stream, workers
from taskd.store.database import Database
from taskd.store.stream import Position
from taskd.store.tables import EventRow, RunRow
from taskd.store.workers import Worker
from tests.store.scene import NOON, SOON, Declare, begin, end
from tests.store.scene import all_runs as runs_of

_MAY_BE_IDLE = {
    "postgresql": "SET LOCAL idle_in_transaction_session_timeout = 0",
    "mariadb": "SET SESSION idle_transaction_timeout = 0",
}
pytestmark = pytest.mark.usefixtures("empty")


def watch(database: Database) -> Watch:
    return Watch(database, ["password"], NOON, 0.0)


def told(messages: list[Message]) -> list[str]:
    return [message.event for message in messages]


def add(database: Database, *task_ids: str, status: str = "PENDING") -> None:
    rows = [{"task_id": each, "task_name": "t", "status": status, "kind": "adhoc"} for each in task_ids]
    database.write(lambda session: session.execute(insert(RunRow), rows))


def test_a_run_is_followed_to_its_end(database: Database) -> None:
    watching = watch(database)
    add(database, "one")
    assert told(watching.look(NOON, 1.0)) == ["fired"]
    assert watching.look(NOON, 2.0) == []
    [run] = runs_of(database)
    begin(database, run, NOON)
    assert told(watching.look(NOON, 3.0)) == ["run"]
    end(database, run, SOON)
    [ended] = watching.look(SOON, 4.0)
    assert '"status": "SUCCESS"' in ended.data
    assert watching.look(SOON, 5.0) == []


def test_what_was_active_before_anyone_listened_is_followed_too(database: Database) -> None:
    add(database, "one")
    watching = watch(database)
    assert watching.look(NOON, 1.0) == []
    end(database, runs_of(database)[0], NOON)
    assert told(watching.look(NOON, 2.0)) == ["run"]


@pytest.mark.parametrize("row", [EventRow, RunRow])
def test_a_row_that_is_committed_late_is_told(database: Database, row: type[EventRow | RunRow]) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    watching = watch(database)

    def new(name: str) -> EventRow | RunRow:
        if row is EventRow:
            return EventRow(at=NOON, kind="purged", actor=name)
        return RunRow(task_id=name, task_name="t", status="PENDING", kind="adhoc", generation=0)

    with Session(database.engine) as late:
        late.execute(text(_MAY_BE_IDLE[database.dialect]))
        late.add(new("late"))
        late.flush()
        database.write(lambda session: session.add(new("early")))
        [early] = watching.look(NOON, 1.0)
        assert '"early"' in early.data
        before = Position.read(early.position or "")
        late.commit()
    [came] = watching.look(NOON, 2.0)
    assert '"late"' in came.data
    # A listener that went away in between hears of it too.
    assert '"late"' in "".join(message.data for message in watching.begin(before))


def test_more_than_fits_comes_with_the_next_look(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST", 10)
    watching = watch(database)
    add(database, *(f"t{n}" for n in range(25)))
    assert [len(watching.look(NOON, float(n))) for n in range(4)] == [10, 10, 5, 0]
    for run in runs_of(database):
        end(database, run, NOON)
    assert [len(watching.look(NOON, float(n))) for n in range(4)] == [10, 10, 5, 0]


def test_of_many_active_runs_the_newest_are_followed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_ACTIVE", 5)
    watching = watch(database)
    add(database, *(f"t{n}" for n in range(20)))
    assert told(watching.look(NOON, 0.0)) == ["fired"] * 20
    for second in range(3):
        assert "fired" not in told(watching.look(NOON, float(second)))
    newest = max(runs_of(database), key=lambda run: run.id)
    end(database, newest, NOON)
    assert newest.task_id in "".join(message.data for message in watching.look(NOON, 4.0))


def test_who_was_away_for_too_long_or_missed_too_much_is_told_to_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watch(database)
    at = Position.read(watching.begin(None)[-1].position or "")
    add(database, *(f"t{n}" for n in range(5)))
    assert told(watching.begin(at))[:5] == ["fired"] * 5
    assert told(watching.begin(Position(at.event, at.run, NOON - timedelta(days=1))))[0] == "reset"
    monkeypatch.setattr(stream, "MOST_MISSED", 5)
    assert told(watching.begin(at))[0] == "reset"


def test_audit_events_and_passes_are_told_apart_and_masked(database: Database, declare: Declare) -> None:
    watching = watch(database)
    database.write(lambda session: events.record(session, "synced", "taskd", NOON, revision="abc"))
    after = {"kwargs": {"password": "hunter2"}}
    database.write(lambda session: events.record(session, "created", "ada", NOON, after=after))
    found = watching.look(NOON, 1.0)
    assert told(found) == ["source", "change"]
    assert "hunter2" not in found[1].data


def test_workers_come_and_go(database: Database) -> None:
    watching = watch(database)
    worker = Worker("w@h", "i1", "h", 1, "prefork", ["celery"], ["t"])
    database.write(lambda session: workers.sign_on(session, worker))
    [came] = watching.look(NOON, 1.0)
    assert (came.event, '"online": true' in came.data) == ("worker", True)
    database.write(lambda session: workers.beat(session, worker) and None)
    assert watching.look(NOON, 2.0) == []
    database.write(lambda session: workers.sign_off(session, "i1"))
    [gone] = watching.look(NOON, 3.0)
    assert (gone.event, '"online": false' in gone.data) == ("worker", True)
