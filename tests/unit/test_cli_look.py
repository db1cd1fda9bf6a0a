"""`list`, `show`, `runs`, `run-show`, `log`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskd.store.tables import RunRow, ScheduleRow
from tests.unit.conftest import Workplace

NINE = datetime(2026, 1, 31, 1, tzinfo=UTC)  # 09:00 in Shanghai


def add_run(place: Workplace, schedule: str, status: str, **columns: Any) -> None:
    """A run of `schedule` due at NINE."""
    database = place.database()

    def work(session: Any) -> None:
        row = session.query(ScheduleRow).filter_by(name=schedule).one()
        given = {"task_id": f"{schedule}-{status}", "scheduled_for": NINE, "started_at": NINE, **columns}
        owner = {"schedule_id": row.id, "schedule_name": schedule, "task_name": row.task, "kind": "schedule"}
        session.add(RunRow(status=status, generation=0, **owner, **given))

    database.write(work)
    database.close()


def test_a_list_says_when_each_is_due(stocked: Workplace) -> None:
    head, daily, heartbeat = stocked.taskd("list").stdout.splitlines()
    assert head.split() == ["NAME", "WHEN", "TASK", "STATE", "NEXT"]
    assert daily.split()[:7] == ["daily-report", *["0", "9", "*", "*", "*"], "reports.tasks.daily"]
    assert " 09:00:00+0" in daily  # Berlin's nine o'clock, in summer and in winter
    assert "every 1m30s" in heartbeat


def test_a_list_as_json_has_every_column_of_the_seed(stocked: Workplace) -> None:
    [daily, _] = stocked.json("list")
    assert daily["crontab"] == "0 9 * * *"
    assert {"last_run_at", "total_run_count", "max_run_count", "schedule_type"} <= daily.keys()


def test_an_empty_list_says_what_to_do(place: Workplace) -> None:
    place.taskd("db", "upgrade")
    assert "taskd dev" in place.taskd("list").stderr
    assert place.json("list") == []


def test_one_schedule_is_shown_with_its_next_and_last(stocked: Workplace) -> None:
    add_run(stocked, "daily-report", "SUCCESS", runtime=0.5, result={"rows": 3})
    shown = stocked.taskd("show", "daily-report").stdout
    assert "crontab           0 9 * * *" in shown
    assert "a.yaml" in shown
    assert 'SUCCESS  500 ms   {"rows": 3}' in shown
    assert "hunter2" not in shown
    document = stocked.json("show", "daily-report")
    assert len(document["next"]) == 10
    assert document["runs"][0]["status"] == "SUCCESS"


@pytest.mark.parametrize("command", ["show", "next", "runs", "pause", "resume", "start", "trigger"])
def test_a_name_that_no_schedule_has_is_named(stocked: Workplace, command: str) -> None:
    assert stocked.complaint(command, "nope/é") == "taskd: there is no schedule 'nope/é'"


def test_runs_show_what_came_of_each(stocked: Workplace) -> None:
    add_run(
        stocked,
        "heartbeat",
        "FAILURE",
        runtime=1.25,
        traceback="Traceback …\n  File …\nValueError: no\x1b[2J data\n",
    )
    add_run(stocked, "daily-report", "MISSED", detail={"reason": "window"})
    missed, failed = stocked.taskd("runs").stdout.splitlines()[1:]
    assert "2026-01-31 09:00:00+08:00  FAILURE  1.25 s   ValueError: no [2J data" in failed
    assert "MISSED            window" in missed
    assert [run["status"] for run in stocked.json("runs")] == ["MISSED", "FAILURE"]


def test_one_run_is_shown_with_its_traceback(stocked: Workplace) -> None:
    traceback = "Traceback …\n  File …\nValueError: no\x1b[2J data\n"
    add_run(stocked, "daily-report", "FAILURE", traceback=traceback, log="half of it\n", runtime=1.5)
    for handle in ("1", "daily-report-FAILURE"):
        shown = stocked.taskd("run-show", handle)
        assert "status            FAILURE\n" in shown.stdout
        assert "scheduled_for     2026-01-31 09:00:00+08:00\n" in shown.stdout
        assert shown.stdout.endswith("\n\nTraceback …\n  File …\nValueError: no [2J data\n")
        assert shown.stderr == "what it logged: taskd log 1\n"
    assert stocked.json("run-show", "1")["traceback"] == traceback
    assert stocked.complaint("run-show", "7") == "taskd: there is no run '7'"


def test_a_log_is_shown_masked_to_its_end(stocked: Workplace) -> None:
    add_run(stocked, "daily-report", "SUCCESS", log="one\npassword=hunter2\n")
    assert stocked.taskd("log", "daily-report-SUCCESS").stdout == "one\npassword=******\n"
    assert stocked.taskd("log", "daily-report-SUCCESS", "-f").stdout.startswith("one\n")
    assert stocked.json("log", "daily-report-SUCCESS")["status"] == "SUCCESS"
    [line] = stocked.taskd("log", "daily-report-SUCCESS", "-f", "--json").stdout.splitlines()
    assert (json.loads(line)["status"], json.loads(line)["log"]) == ("SUCCESS", "one\npassword=******\n")
    add_run(stocked, "daily-report", "FAILURE", scheduled_for=None)
    assert "has logged nothing" in stocked.taskd("log", "daily-report-FAILURE").stderr


def test_runs_are_filtered_and_counted_out(stocked: Workplace) -> None:
    for number, status in enumerate(("SUCCESS", "FAILURE", "LOST")):
        add_run(stocked, "heartbeat", status, scheduled_for=NINE + timedelta(minutes=number))
    assert [run["status"] for run in stocked.json("runs", "--status", "failure", "--status", "LOST")] == [
        "LOST",
        "FAILURE",
    ]
    assert [run["status"] for run in stocked.json("runs", "heartbeat", "-n", "1")] == ["LOST"]
    assert stocked.json("runs", "daily-report") == []
    assert stocked.taskd("runs", "daily-report").stderr == "there are no such runs\n"


def test_a_status_that_does_not_exist_is_refused(stocked: Workplace) -> None:
    assert "'GREAT' is not one of" in stocked.complaint("runs", "--status", "GREAT")


def test_old_runs_are_purged_by_hand(stocked: Workplace) -> None:
    add_run(stocked, "daily-report", "SUCCESS", completed_at=NINE)
    add_run(stocked, "heartbeat", "FAILURE", completed_at=NINE)
    assert (
        "deleted 1 run\n"
        in stocked.taskd("purge", "--older-than", "1d", "--status", "success", "--yes").stderr
    )
    assert [run["status"] for run in stocked.json("runs")] == ["FAILURE"]
    assert "a duration is written" in stocked.taskd("purge", "--older-than", "soon", exits=2).output
