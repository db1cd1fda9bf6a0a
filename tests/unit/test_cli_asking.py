"""`explain` and `why`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskd import clock
from taskd.store.tables import RunRow, ScheduleRow
from tests.unit.conftest import Workplace

BERLIN = ["--tz", "Europe/Berlin"]
FIXED = "it follows the day's plan: what the clocks skip fires once, right after; what they repeat, the first time"


@pytest.fixture(autouse=True)
def new_year(monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight of 1 January 2026."""
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 1, 1, tzinfo=UTC))


def test_a_crontab_in_words_with_the_clock_changes_that_touch_it(place: Workplace) -> None:
    assert place.taskd("explain", "30 2 * * *", *BERLIN).stdout.splitlines() == [
        "At 02:30 in Europe/Berlin",
        "second        0",
        "minute        30",
        "hour          2",
        f"class         fixed: {FIXED}",
        "2026-03-29 03:00:00+02:00  the clocks skip 02:30: made up for at 03:00",
        "2026-10-25 02:00:00+01:00  the clocks show 02:30 twice: the first fires",
        "2027-03-28 03:00:00+02:00  the clocks skip 02:30: made up for at 03:00",
        "2027-10-31 02:00:00+01:00  the clocks show 02:30 twice: the first fires",
    ]


def test_an_explanation_for_programs(place: Workplace) -> None:
    told = place.json("explain", "*/30 2 * * *", *BERLIN)
    assert (told["words"], told["class"]) == ("Every 30 minutes, between 02:00 and 02:59", "wildcard")
    assert (told["timezone"], told["fields"]["minute"]) == ("Europe/Berlin", "0,30")
    assert told["clock_changes"][0] == {
        "at": "2026-03-29T01:00:00+00:00",
        "local": "2026-03-29T03:00:00+02:00",
        "note": "the clocks skip 02:00 and 1 more: nothing fires that day",
    }


def test_a_hashed_value_is_explained_as_one_of_many(place: Workplace) -> None:
    shown = place.taskd("explain", "H 9 * * thu")
    assert "H depends on the schedule's name" in shown.stderr
    told = place.json("explain", "H 9 * * thu")
    assert told["crontab"] == f"{told['fields']['minute']} 9 * * thu"
    assert place.taskd("explain", "@hourly").stderr == ""


def test_an_interval_is_explained(place: Workplace) -> None:
    shown = place.taskd("explain", "90m").stdout
    assert shown == "Every 1h30m, counted from 1970-01-01T00:00:00+00:00\n"
    assert place.json("explain", "90m")["clock_changes"] == []


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("nonsense", "'nonsense' is neither a crontab nor an interval"),
        ("0 0 30 2 *", "crontab '0 0 30 2 *' never occurs"),
        ("0 22-2 * * *", "runs backwards: write 22-23,0-2"),
    ],
)
def test_what_cannot_be_explained(place: Workplace, expression: str, complaint: str) -> None:
    assert complaint in place.complaint("explain", expression)


@pytest.fixture
def reported(stocked: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The daily report, due at nine in Berlin, has run once, twelve minutes late; it is noon now."""
    due = datetime(2026, 1, 2, 8, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: due + timedelta(hours=4))
    database = stocked.database()

    def work(session: Any) -> None:
        row = session.query(ScheduleRow).filter_by(name="daily-report").one()
        row.cursor_at = due
        run = {"schedule_id": row.id, "schedule_name": row.name, "task_name": row.task, "kind": "schedule"}
        when = {"scheduled_for": due, "decided_at": due + timedelta(minutes=12)}
        session.add(RunRow(task_id="x", status="SUCCESS", runtime=1.5, generation=0, **run, **when))

    database.write(work)
    database.close()
    return stocked


def test_why_a_run_came_late(reported: Workplace) -> None:
    assert reported.taskd("why", "daily-report", "--at", "2026-01-02T09:00").stdout.splitlines() == [
        "late: run 1, 12m after it was due, ended SUCCESS after 1.5 s",
        "due           2026-01-02 09:00:00+01:00",
    ]
    told = reported.json("why", "daily-report", "--at", "2026-01-02T08:00Z")
    assert (told["decision"], told["run"]["runtime"]) == ("late", 1.5)


def test_why_nothing_ran(reported: Workplace) -> None:
    assert reported.taskd("why", "daily-report", "--at", "2026-01-02 09:15").stdout == (
        "not_an_occurrence: crontab '0 9 * * *' in Europe/Berlin isn't due then, "
        "but at 2026-01-02 09:00:00+01:00 and 2026-01-03 09:00:00+01:00\n"
    )
    assert reported.taskd("why", "heartbeat", "--at", "2026-01-03T00:00Z").stdout.startswith("not_yet_due: ")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["daily-report", "--at", "noon"], "taskd: 'noon' isn't a time: write it like 2026-06-01T09:00"),
        (["daily-report", "--at", "2026-10-25T02:30"], "happens twice in Europe/Berlin: write"),
        (["nobody", "--at", "2026-01-01T09:00"], "taskd: there is no schedule 'nobody'"),
        (["daily-report"], "Missing option '--at'"),
    ],
)
def test_what_cannot_be_asked(reported: Workplace, asked: list[str], complaint: str) -> None:
    assert complaint in reported.complaint("why", *asked)


def test_a_paused_schedule_says_so_beside_its_next(stocked: Workplace) -> None:
    stocked.taskd("pause", "daily-report", "--reason", "migration")
    shown = stocked.taskd("next", "daily-report", "-n", "1")
    assert shown.stderr == "daily-report is paused: migration\n"
    assert shown.stdout.count("\n") == 2


def test_next_shows_what_a_hashed_value_became(stocked: Workplace) -> None:
    stocked.file("schedules: {nightly: {task: t, crontab: H 3 * * *, timezone: UTC}}", "b.yaml")
    stocked.taskd("sync")
    shown = stocked.taskd("next", "nightly", "-n", "1")
    became = re.fullmatch(r"'H 3 \* \* \*' became '(\d+) 3 \* \* \*'\n", shown.stderr)
    assert became is not None
    assert f" 03:{int(became[1]):02}:00+00:00" in shown.stdout
