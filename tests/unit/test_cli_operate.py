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
    assert stocked.taskd("trigger", "heartbeat").stdout.startswith("PENDING heartbeat, run 2, task ")


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
    assert result.stdout == 'SUCCESS heartbeat 250 ms {"ok": true}\n'
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


@pytest.fixture
def many(place: Workplace) -> Workplace:
    """Three reports, of which one is another team's, and a name that looks like a pattern."""
    place.file(
        """\
defaults: {labels: {team: ops}}
schedules:
  report-a: {task: t, interval: 90s}
  report-b: {task: t, interval: 90s, enabled: false}
  report-c: {task: t, interval: 90s, labels: {team: shop}}
  "report-[ab]": {task: t, interval: 90s, labels: {team: "a=b:c"}}
"""
    )
    place.taskd("db", "upgrade")
    place.taskd("sync")
    return place


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["report-?"], ["report-a", "report-b", "report-c"]),
        (["*"], ["report-[ab]", "report-a", "report-b", "report-c"]),
        (["report-[ab]"], ["report-[ab]"]),  # the name itself, before what it would be a pattern of
        (["report-[bc]", "report-a"], ["report-a", "report-b", "report-c"]),
        (["-l", "team=ops"], ["report-a", "report-b"]),
        (["-l", "team=a=b:c"], ["report-[ab]"]),
        (["report-*", "-l", "team=shop"], ["report-c"]),
    ],
    ids=" ".join,
)
def test_patterns_and_labels_address_many(many: Workplace, words: list[str], meant: list[str]) -> None:
    assert [each["name"] for each in many.json("list", *words)] == meant
    assert [each["name"] for each in many.json("pause", *words)] == meant
    assert [each["name"] for each in many.json("list") if each["paused"]] == meant


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nightly-*"], "taskd: there is no schedule whose name is like 'nightly-*'"),
        (["report-a", "-l", "team=shop"], "taskd: there is no schedule 'report-a' with the label team=shop"),
        (["-l", "team=x"], "taskd: there is no schedule with the label team=x"),
        (["-l", "team"], "'team' isn't key=value"),
        ([], "Name schedules, or give labels: '*' means all."),
    ],
)
def test_what_addresses_none_is_refused(many: Workplace, words: list[str], complaint: str) -> None:
    assert many.complaint("pause", *words).endswith(complaint)
    assert not any(each["paused"] for each in many.json("list"))


def test_one_that_is_refused_keeps_the_others_from_nothing(many: Workplace) -> None:
    many.taskd("pause", "*")
    done = many.taskd("start", "report-?", exits=1)
    assert done.stdout.splitlines() == ["active report-a", "active report-c"]
    assert "'report-b' is disabled in" in done.stderr


def test_many_are_triggered_and_waited_for(many: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one team; the run of one of its two schedules fails."""

    def end_all(_seconds: float) -> None:
        database = many.database()

        def work(session: Any) -> None:
            for run in session.query(RunRow):
                run.status = "SUCCESS" if run.schedule_name == "report-a" else "FAILURE"

        database.write(work)
        database.close()

    monkeypatch.setattr(time, "sleep", end_all)
    runs = many.json("trigger", "-l", "team=ops", "--wait", exits=1)
    assert [(run["schedule_name"], run["status"]) for run in runs] == [
        ("report-a", "SUCCESS"),
        ("report-b", "FAILURE"),
    ]
    assert many.taskd("trigger", "report-a").stdout.startswith("PENDING report-a, run 3, task ")
    assert [run["name"] for run in many.json("trigger", "report-a", "report-c")] == ["report-a", "report-c"]
