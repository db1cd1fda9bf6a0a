"""Records on every database: written late, twice, in the wrong company; and the scribe while the database is away."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from taskd.errors import DatabaseUnavailable
from taskd.store import attempts, records
from taskd.store.claims import Call, Outcome, Start
from taskd.store.database import Database
from taskd.store.records import Record, Teller
from taskd.store.tables import RunRow
from taskd.worker import spool
from taskd.worker.scribe import Scribe
from taskd.worker.spool import waiting
from tests.waiting import eventually

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=9)


@pytest.fixture
def scribe(database: Database, tmp_path: Path) -> Iterator[Scribe]:
    scribe = Scribe(database, tmp_path / "spool", errands=2)
    yield scribe
    scribe.close(5)


def decide(database: Database, **columns: object) -> str:
    task_id = str(uuid4())
    row = {"task_name": "t", "status": "PENDING", "kind": "schedule", **columns}
    database.write(lambda session: session.add(RunRow(task_id=task_id, **row)))
    return task_id


def start(task_id: str, token: str = "w.a", *, decided: bool = True) -> Record:
    call = Call(task_id, "t", decided, args=["ü"], queue="celery")
    return Record(task_id, Teller("task", token), start=Start(call, token, 0, "w1@host", NOON))


def end(task_id: str, token: str = "w.a", status: str = "SUCCESS") -> Record:
    outcome = Outcome(status, LATER, result={"a": [1, None]}, runtime=1.5)
    return Record(task_id, Teller("task", token), outcome=outcome)


def write(database: Database, *told: Record) -> list[bool]:
    """Through a line of the spool, as they come back from it."""
    lines = [records.to_line(record) for record in told]
    return [
        database.write(lambda session, line=line: records.write(session, records.from_line(line)))
        for line in lines
    ]


def row(database: Database, task_id: str) -> RunRow | None:
    query = select(RunRow).where(RunRow.task_id == task_id)
    return database.read(lambda session: session.execute(query).scalar_one_or_none())


def status(database: Database, task_id: str) -> str | None:
    found = row(database, task_id)
    return found.status if found else None


@pytest.mark.parametrize("decided", [True, False])
def test_a_run_that_was_never_asked_about_is_written_afterwards_and_twice_is_once(
    database: Database, decided: bool
) -> None:
    task_id = decide(database) if decided else str(uuid4())
    told = start(task_id, decided=decided), end(task_id)
    assert write(database, *told) == [True, True]
    assert write(database, *told) == [False, False]
    seen = row(database, task_id)
    assert seen is not None
    assert (seen.status, seen.started_at, seen.completed_at) == ("SUCCESS", NOON, LATER)
    assert (seen.worker, seen.runtime, seen.result) == ("w1@host", 1.5, {"a": [1, None]})


def test_a_second_copy_that_started_unasked_is_noted_and_the_first_ones_end_stands(
    database: Database,
) -> None:
    task_id = decide(database)
    assert write(database, start(task_id), start(task_id, "v.b"), end(task_id, "v.b", "FAILURE")) == [
        True,
        True,
        False,
    ]
    assert write(database, end(task_id)) == [True]
    seen = row(database, task_id)
    assert seen is not None
    assert (seen.status, seen.detail) == ("SUCCESS", {"also_started": "w1@host"})


def test_what_was_given_up_as_missed_has_run_after_all(database: Database) -> None:
    task_id = decide(database, status="MISSED", completed_at=NOON)
    assert write(database, start(task_id), end(task_id)) == [True, True]
    assert status(database, task_id) == "SUCCESS"


def test_a_start_that_is_told_after_its_failure_is_added_to_it(database: Database) -> None:
    task_id = decide(database, status="FAILURE", completed_at=LATER)
    assert write(database, start(task_id), start(task_id)) == [True, False]
    seen = row(database, task_id)
    assert seen is not None
    assert (seen.status, seen.started_at, seen.runtime, seen.worker) == ("FAILURE", NOON, 9, "w1@host")


@pytest.mark.parametrize("final", ["REVOKED", "SUCCESS", "SKIPPED"])
def test_a_late_start_changes_no_other_end(database: Database, final: str) -> None:
    task_id = decide(database, status=final, completed_at=NOON)
    assert write(database, start(task_id), end(task_id)) == [False, False]
    assert status(database, task_id) == final


def test_records_of_several_runs_are_written_together(database: Database, scribe: Scribe) -> None:
    decided = [decide(database) for _ in range(3)]
    ids = [*decided, str(uuid4()), str(uuid4())]
    for task_id in ids:
        scribe.spool.append(records.to_line(start(task_id, decided=task_id in decided)))
        scribe.spool.append(records.to_line(end(task_id)))
    scribe.keep(start(decided[0]))
    eventually(lambda: [status(database, task_id) for task_id in ids] == ["SUCCESS"] * 5)
    eventually(lambda: not scribe.spool.holds())


def test_what_is_told_is_written_at_once(database: Database, scribe: Scribe) -> None:
    task_id = decide(database)
    for told, expected in ((start(task_id), "STARTED"), (end(task_id), "SUCCESS")):
        scribe.tell(told)
        scribe.catch_up(within=10)
        assert status(database, task_id) == expected
    assert list(scribe.spool.folder.iterdir()) == []


def test_of_progress_the_last_is_kept_and_comes_before_the_end(database: Database, scribe: Scribe) -> None:
    task_id = str(uuid4())
    scribe.tell(start(task_id, decided=False))
    for at in range(1000):
        scribe.tell(Record(task_id, Teller("task", "w.a"), progress={"at": at}))
    scribe.tell(end(task_id))
    scribe.catch_up(within=10)
    seen = row(database, task_id)
    assert seen is not None
    assert (seen.status, seen.progress) == ("SUCCESS", {"at": 999})


def test_where_the_spool_can_not_be_written_the_database_is_told_directly(
    database: Database, scribe: Scribe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool, "MOST_BYTES", 1)
    task_id = str(uuid4())
    for told in (start(task_id, decided=False), end(task_id)):
        scribe.tell(told)
    assert status(database, task_id) == "SUCCESS"
    monkeypatch.setattr(database, "write", _after(refuse, database.write))
    scribe.tell(start(str(uuid4()), decided=False))
    assert "STARTED of" in caplog.text
    assert "is lost: " in caplog.text


def batches(database: Database) -> list[tuple[list[Record], dict[str, object]]]:
    """Batches of records, and the status of each run once all of them are written."""
    new, also, decided, wrong = str(uuid4()), str(uuid4()), decide(database), decide(database)
    begun = start(new, decided=False), end(new)
    return [
        ([*begun, start(also, decided=False)], {new: "SUCCESS", also: "STARTED"}),
        ([start(also, decided=False), end(also, status="FAILURE"), *begun], {also: "FAILURE"}),  # known runs
        ([start(decided), start(wrong, "v.b")], {decided: "STARTED", wrong: "STARTED"}),
        ([end(decided), end(wrong)], {decided: "SUCCESS", wrong: "STARTED"}),  # one of them isn't the claim's
        ([end(wrong, "v.b", "RETRY"), end(decided)], {wrong: "RETRY", decided: "SUCCESS"}),
    ]


def test_runs_that_are_written_together_are_what_each_would_be_alone(
    database: Database, scribe: Scribe
) -> None:
    for told, expected in batches(database):
        for _again in range(2):
            scribe._write(told)
            assert {task_id: status(database, task_id) for task_id in expected} == expected
    assert not (scribe.spool.folder / "refused").exists()


def test_a_call_that_begins_and_ends_together_has_all_its_columns(database: Database) -> None:
    apart, together = str(uuid4()), str(uuid4())
    for task_id, write in ((apart, records.write_each), (together, records.write_all)):
        told = [start(task_id, decided=False), end(task_id)]
        database.write(lambda session, write=write, told=told: write(session, told))
    seen = [row(database, task_id) for task_id in (apart, together)]
    columns = [
        {column.key: getattr(each, column.key) for column in RunRow.__table__.columns} for each in seen
    ]
    for each in columns:
        del each["id"], each["task_id"]
    assert columns[0] == columns[1]


@pytest.fixture
def away(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen before anything is written to the database."""

    def happens(before: Callable[[], object]) -> None:
        for name in ("write", "write_alone"):
            monkeypatch.setattr(database, name, _after(before, getattr(database, name)))

    return happens


def _after(before: Callable[[], object], write: Callable[..., object]) -> Callable[..., object]:
    def written(*how: object, **values: object) -> object:
        before()
        return write(*how, **values)

    return written


def refuse() -> None:
    raise DatabaseUnavailable("the database is away")


def test_what_an_away_database_was_to_be_told_is_written_when_it_is_back(
    database: Database, scribe: Scribe, away: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [decide(database) for _ in range(3)]
    away(refuse)
    for task_id in ids:
        scribe.tell(start(task_id))
        scribe.catch_up(within=10)
        scribe.tell(Record(task_id, Teller("task", "w.a"), progress={"at": 1}))
        scribe.tell(end(task_id))
    kept = [line for file in waiting(scribe.spool.folder) for line in file.read_bytes().splitlines()]
    assert len(kept) == 6  # progress is for those who look at the time
    with pytest.raises(DatabaseUnavailable):
        scribe.ask(lambda: database.read(lambda session: None), within=10)
    monkeypatch.undo()
    eventually(lambda: [status(database, task_id) for task_id in ids] == ["SUCCESS"] * 3)
    eventually(lambda: not scribe.spool.holds())


def test_a_hanging_database_holds_nobody_up(
    database: Database, scribe: Scribe, away: Callable[..., None]
) -> None:
    task_id, there = decide(database), threading.Event()
    away(lambda: there.wait(60))
    with pytest.raises(DatabaseUnavailable, match="no answer"):
        scribe.ask(lambda: database.write(lambda session: None), within=0.05)
    scribe.tell(start(task_id))
    scribe.tell(end(task_id))
    scribe.catch_up(within=30)  # it is known to be away by now
    there.set()
    eventually(lambda: status(database, task_id) == "SUCCESS")


def test_one_record_that_can_not_be_written_does_not_keep_the_others(
    database: Database, scribe: Scribe
) -> None:
    task_id = decide(database)
    scribe.spool.append(b"no record at all")
    too_long = Record(
        "x", Teller("task", "w.b"), start=Start(Call("x" * 999, "t", decided=False), "w.b", 0, "w", NOON)
    )
    scribe.keep(too_long)
    scribe.keep(start(task_id))
    eventually(lambda: status(database, task_id) == "STARTED")
    refused = (scribe.spool.folder / "refused").read_bytes().splitlines()
    assert refused[0] == b"no record at all"
    if database.dialect != "sqlite":  # it knows no lengths
        assert records.from_line(refused[1]) == too_long


def test_an_ended_process_is_inherited_by_the_next(database: Database, tmp_path: Path) -> None:
    task_id = decide(database)
    first = Scribe(database, tmp_path)
    first.spool.append(records.to_line(start(task_id)))
    first.spool.append(records.to_line(end(task_id)))
    first.spool.close()
    second = Scribe(database, tmp_path)
    second.adopt()
    eventually(lambda: status(database, task_id) == "SUCCESS")
    second.close(5)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_must_wait_starts_when_the_database_is_back(
    database: Database, scribe: Scribe, away: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = decide(database)
    asked = start(task_id).start
    assert asked is not None
    away(refuse)
    with pytest.raises(DatabaseUnavailable):
        scribe.wait(lambda: attempts.begin(database, asked), 0.2, within=10)
    verdicts: list[str] = []
    waiting = threading.Thread(
        target=lambda: verdicts.append(scribe.wait(lambda: attempts.begin(database, asked), None, within=10))
    )
    waiting.start()
    monkeypatch.undo()
    waiting.join(20)
    assert verdicts == ["claimed"]
