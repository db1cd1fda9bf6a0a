"""`trigger`, `pause`, `resume`, `start`."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from taskd.store.tables import EventRow, RunRow
from tests.unit.conftest import Workplace


@pytest.fixture
def ends_as(stocked: Workplace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Ends every run while someone waits for it, as a worker would: begun at the first look, over at the second."""

    def arrange(status: str, **columns: Any) -> None:
        steps = iter([{"status": "STARTED"}, {"status": status, **columns}])

        def pass_time(_seconds: float) -> None:
            database = stocked.database()
            values: dict[Any, Any] = next(steps)
            database.write(lambda session: session.query(RunRow).update(values))
            database.close()

        monkeypatch.setattr(time, "sleep", pass_time)

    return arrange


def test_a_pause_is_shown_with_who_and_why_and_ends_with_resume(stocked: Workplace) -> None:
    assert stocked.taskd("pause", "heartbeat", "--reason", "moving house").stdout == "paused heartbeat\n"
    paused = stocked.json("show", "heartbeat")
    assert (paused["paused"], paused["paused_reason"], paused["next_run_at"]) == (True, "moving house", None)
    assert paused["paused_by"].startswith("cli:")
    assert "heartbeat is paused: moving house" in stocked.taskd("next", "heartbeat").stderr
    assert stocked.json("resume", "heartbeat")["state"] == "active"


def test_a_pause_may_have_an_end_and_a_resume_may_catch_up(stocked: Workplace) -> None:
    until = "2999-01-02T08:00:00+01:00"
    assert stocked.json("pause", "heartbeat", "--until", until)["paused_until"] == "2999-01-02T07:00:00+00:00"
    assert stocked.json("resume", "heartbeat", "--catch-up")["state"] == "active"
    assert "has passed" in stocked.complaint("pause", "heartbeat", "--until", "2020-01-02T08:00:00+01:00")


def test_a_trigger_may_ask_not_to_overlap(stocked: Workplace) -> None:
    stocked.taskd("trigger", "heartbeat")
    assert stocked.json("trigger", "heartbeat", "--overlap", "skip")["status"] == "SKIPPED"


def test_start_resumes_too(stocked: Workplace) -> None:
    stocked.taskd("pause", "heartbeat")
    assert stocked.taskd("start", "heartbeat").stdout == "active heartbeat\n"


def test_start_does_not_overrule_a_file_and_names_it(stocked: Workplace) -> None:
    path = stocked.file("schedules:\n  heartbeat: {task: t, interval: 9, enabled: false}\n")
    stocked.taskd("sync")
    assert stocked.complaint("start", "heartbeat") == (
        f"taskd: 'heartbeat' is disabled in {path}:2: set `enabled: true` there"
    )


def test_a_trigger_tells_the_run(stocked: Workplace) -> None:
    run = stocked.json("trigger", "heartbeat")
    assert run["status"] == "PENDING"
    [found] = stocked.json("runs", "heartbeat")
    assert (found["id"], found["task_id"], found["kind"]) == (run["id"], run["task_id"], "manual")
    assert stocked.taskd("trigger", "heartbeat").stdout.startswith("PENDING run 2, task ")


def test_a_trigger_takes_other_arguments_for_once(stocked: Workplace) -> None:
    stocked.taskd("trigger", "heartbeat", "--args", '["x", 1]', "--kwargs", '{"day": "monday"}')
    [run] = stocked.json("runs")
    assert (run["args"], run["kwargs"]) == (["x", 1], {"day": "monday"})


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--args", "[1", "isn't JSON"),
        ("--args", "{}", "isn't a JSON list"),
        ("--kwargs", "[]", "isn't a JSON object"),
    ],
)
def test_arguments_that_can_t_be_used_are_refused(
    stocked: Workplace, option: str, value: str, complaint: str
) -> None:
    assert complaint in stocked.complaint("trigger", "heartbeat", option, value)
    assert stocked.json("runs") == []


def test_waiting_ends_with_the_run_and_exits_by_its_outcome(
    stocked: Workplace, ends_as: Callable[..., None]
) -> None:
    ends_as("SUCCESS", runtime=0.25, result={"ok": True})
    result = stocked.taskd("trigger", "heartbeat", "--wait")
    assert result.stdout == 'SUCCESS 250 ms {"ok": true}\n'
    waiting, *steps = result.stderr.splitlines()
    assert waiting.startswith("no daemon answers on this machine")
    assert steps == ["run 1: PENDING", "run 1: STARTED"]


def test_waiting_for_a_run_that_fails_exits_1(stocked: Workplace, ends_as: Callable[..., None]) -> None:
    ends_as("FAILURE", traceback="Traceback\nValueError: no data\n")
    run = stocked.json("trigger", "heartbeat", "--wait", exits=1)
    assert (run["status"], run["task_name"]) == ("FAILURE", "taskd.tasks.demo.echo")


def test_every_change_leaves_an_event_with_who_made_it(stocked: Workplace) -> None:
    stocked.taskd("pause", "heartbeat")
    stocked.taskd("trigger", "heartbeat")
    database = stocked.database()
    rows = database.read(lambda session: session.query(EventRow).filter(EventRow.actor.like("cli:%")).all())
    database.close()
    assert [(row.kind, row.name) for row in rows] == [("paused", "heartbeat"), ("triggered", "heartbeat")]
