"""`check` and `sync`."""

import json

import pytest

from taskd.cli import files
from taskd.cli.client import Client
from taskd.cli.ways import Reply
from tests.unit.conftest import Workplace

GOOD = "schedules:\n  a:\n    task: taskd.tasks.demo.echo\n    interval: 1m\n"
BAD = (
    "schedules:\n  b:\n    task: t\n    cronttab: '* * * * *'\n  c:\n    task: t\n    crontab: '0 0 30 2 *'\n"
)


def heads(text: str) -> list[str]:
    """The lines that name schedules."""
    return [line for line in text.splitlines() if not line.startswith(" ")]


def test_valid_files_are_counted(place: Workplace) -> None:
    place.file(GOOD)
    result = place.taskd("check")
    assert (result.stdout, result.stderr) == ("", "1 schedule in 1 file: valid\n")


def test_all_errors_of_all_files_come_at_once_with_their_places(place: Workplace) -> None:
    place.file(BAD, "bad.yaml")
    place.file(GOOD, "good.yaml")
    place.file(GOOD, "rival.yaml")
    lines = place.taskd("check", exits=1).stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "schedules/rival.yaml:2:3",
        "schedules/bad.yaml:2:3",
        "schedules/bad.yaml:4:5",
        "schedules/bad.yaml:7:14",
    ]
    assert lines[0].endswith("a: this name is declared in schedules/good.yaml:2 already: rename one of them")
    assert "did you mean 'crontab'?" in lines[2]


def test_a_warning_is_shown_and_is_no_error(place: Workplace) -> None:
    place.file("schedules: {a: {task: taskd.tasks.demo.echo, interval: 24h}}")
    assert "warning: a: interval: counts elapsed time" in place.taskd("check").stdout


def test_where_it_is_strict_a_warning_is_an_error(place: Workplace) -> None:
    place.file("schedules: {a: {task: taskd.tasks.demo.echo, interval: 24h}}")
    result = place.taskd("check", "--strict", exits=1)
    assert result.stdout.startswith("schedules/a.yaml:1:56: error: a: interval: counts elapsed time")
    assert result.stderr == "1 schedule in 1 file: 1 error\n"
    assert place.json("check")["valid"]
    assert not place.json("check", "--strict", exits=1)["valid"]


def test_tasks_that_the_application_does_not_have_are_warned_about(place: Workplace) -> None:
    place.file(
        "schedules:\n  a: {task: taskd.tasks.demo.ecoh, interval: 5}\n  b: {task: reports.daily, interval: 5}\n"
    )
    assert place.taskd("check").stdout.splitlines() == [
        "schedules/a.yaml:2:3: warning: a: task: no task 'taskd.tasks.demo.ecoh' is registered, did you mean 'taskd.tasks.demo.echo'?",
        "schedules/a.yaml:3:3: warning: b: task: no task 'reports.daily' is registered",
    ]
    assert len(place.json("check", "--strict", exits=1)["errors"]) == 2


def test_the_tasks_of_one_s_own_application_are_known(place: Workplace) -> None:
    (place.folder / "own_tasks.py").write_text(
        "from celery import shared_task\n@shared_task(name='own.task')\ndef task(): print('no')\nprint('at import')\n"
    )
    (place.folder / "taskd.yaml").write_text("celery: {imports: [own_tasks]}")
    place.file("schedules: {a: {task: own.task, interval: 5}}")
    assert place.json("check", "--strict")["valid"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_application_that_can_t_be_imported_is_one_warning(
    place: Workplace, content: str, said: str
) -> None:
    (place.folder / "broken_tasks.py").write_text(content)
    (place.folder / "taskd.yaml").write_text("celery: {imports: [broken_tasks]}")
    place.file("schedules: {a: {task: t, interval: 5}, b: {task: u, interval: 5}}")
    sentence = f"celery.imports: not all of broken_tasks can be imported: {said}: whether all tasks exist can't be told"
    assert place.taskd("check").stdout == f"warning: {sentence}\n"
    assert place.taskd("check", "--format", "github", "--strict", exits=1).stdout == (
        f"::error title=taskd::{sentence}\n"
    )


def test_check_as_annotations_of_a_pull_request(place: Workplace) -> None:
    place.file("schedules:\n  'x, 100%: y': {task: taskd.tasks.demo.echo, interval: 24h}\n")
    place.file(BAD, "bad.yaml")
    lines = place.taskd("check", "--format", "github", exits=1).stdout.splitlines()
    assert lines == [
        "::error file=schedules/bad.yaml,line=2,col=3,title=b::no trigger: give crontab, interval or date",
        "::error file=schedules/bad.yaml,line=4,col=5,title=b::cronttab: unknown key, did you mean 'crontab'?",
        "::error file=schedules/bad.yaml,line=7,col=14,title=c::crontab '0 0 30 2 *' never occurs: no such day comes in any year",
        "::warning file=schedules/a.yaml,line=2,col=57,title=x%2C 100%25%3A y::interval: counts elapsed time, not the wall clock: use a crontab for a time of day",
    ]


def test_check_as_json(place: Workplace) -> None:
    place.file(BAD)
    found = place.json("check", exits=1)
    assert (found["valid"], found["files"], found["schedules"]) == (False, 1, 0)
    assert found["errors"][1]["path"] == "schedules/a.yaml"
    assert (found["errors"][1]["line"], found["errors"][1]["column"]) == (4, 5)
    assert found == place.json("check", "--format", "json", exits=1)


def test_named_files_are_checked_and_no_others(place: Workplace) -> None:
    place.file(BAD, "bad.yaml")
    good = place.file(GOOD, "good.yaml")
    assert place.json("check", str(good))["schedules"] == 1
    assert place.json("check", "schedules", str(good), exits=1)["files"] == 2


def test_check_refuses_what_isn_t_there(place: Workplace) -> None:
    assert "'nowhere' does not exist" in place.complaint("check", "nowhere")
    assert place.complaint("check") == "taskd: schedules: No such file or directory"


def test_a_pass_applies_what_the_plan_showed(stocked: Workplace) -> None:
    stocked.file("schedules: {other: {task: t, interval: 9}}")
    shown = heads(stocked.taskd("plan", exits=3).stdout)
    assert [line.split()[:2] for line in shown] == [
        ["create", "other"],
        ["delete", "daily-report"],
        ["delete", "heartbeat"],
    ]
    assert heads(stocked.taskd("sync").stdout) == shown
    assert [each["name"] for each in stocked.json("list")] == ["other"]


def test_a_pass_applies_the_good_files_beside_a_broken_one(stocked: Workplace) -> None:
    stocked.file(BAD, "bad.yaml")
    stocked.file("schedules: {other: {task: t, interval: 9}}", "c.yaml")
    assert [each["name"] for each in stocked.json("sync", exits=1)["creates"]] == ["other"]


MANY = "schedules:\n" + "".join(f"  s{n}: {{task: t, interval: 1m}}\n" for n in range(9))


def test_held_deletions_are_shown_with_the_command_that_approves_them(stocked: Workplace) -> None:
    stocked.file(MANY, "many.yaml")
    stocked.taskd("sync")
    (stocked.folder / "schedules/many.yaml").unlink()
    result = stocked.taskd("sync")
    assert result.stdout.splitlines()[0].startswith("hold   s0  kept for now, was in file ")
    assert "9 held; 2 unchanged" in result.stderr
    command = result.stderr.strip().rpartition("taskd ")[2]
    assert stocked.taskd("plan", exits=3).stderr.strip().endswith(command)
    assert "DeletionHeld: its deletion is held" in stocked.taskd("show", "s3").stdout

    wrong = stocked.complaint("sync", "--approve", "0123456789abcdef")
    assert wrong.startswith(
        "taskd: no deletions are held under '0123456789abcdef': now there are 9 deletions held"
    )
    done = stocked.taskd(*command.split(), "--wait")
    assert "9 deletes; 2 unchanged" in done.stderr
    assert [each["name"] for each in stocked.json("list")] == ["daily-report", "heartbeat"]
    assert "nothing is held now" in stocked.complaint(*command.split())


def test_a_rename_is_shown_as_one(stocked: Workplace) -> None:
    text = (stocked.folder / "schedules/a.yaml").read_text()
    stocked.file(text.replace("  heartbeat:", "  pulse:\n    replaces: heartbeat").replace("90s", "60s"))
    shown = stocked.taskd("plan", exits=3).stdout.splitlines()
    assert shown[0].startswith("rename heartbeat  in file ")
    assert [line.strip() for line in shown[1:4]] == [
        "~ name: heartbeat → pulse",
        "~ interval_seconds: 90 → 60",
        "fires in 7 days: 6720 → 10080",
    ]
    assert stocked.taskd("sync").stdout.splitlines()[:3] == shown[:3]
    assert stocked.json("show", "pulse")["name"] == "pulse"
    assert stocked.taskd("plan").stderr == "no changes; 2 unchanged\n"


def test_a_long_pass_is_waited_for_where_that_is_asked(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    done = {
        "digest": "d",
        "holding": None,
        "moves": [],
        "fires": {"left_out": 0},
        "unchanged": 1,
        "warnings": [],
    } | {kind: [] for kind in ("creates", "updates", "renames", "deletes", "held", "conflicts", "errors")}

    def way(method: str, target: str, body: bytes) -> Reply:
        asked.append((target, json.loads(body)))
        late = len(asked) % 3 == 0
        return (200, json.dumps(done).encode()) if late else (202, b'{"detail": "it goes on"}')

    monkeypatch.setattr(files, "connect", lambda *_: Client(way))
    place.taskd("sync", "--approve", "d", "--wait")
    assert asked == [("/api/v1/sync/approve", {"digest": "d"}), *[("/api/v1/sync", {})] * 2]
    assert place.complaint("sync") == "taskd: it goes on"
