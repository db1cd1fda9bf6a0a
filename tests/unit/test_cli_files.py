"""`check`, `plan`, `sync`."""

from tests.unit.conftest import Workplace

GOOD = "schedules:\n  a:\n    task: t\n    interval: 1m\n"
BAD = (
    "schedules:\n  b:\n    task: t\n    cronttab: '* * * * *'\n  c:\n    task: t\n    crontab: '0 0 30 2 *'\n"
)


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
    place.file("schedules: {a: {task: t, interval: 24h}}")
    assert "warning: a: interval: counts elapsed time" in place.taskd("check").stdout


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


def test_a_plan_shows_what_would_change_and_changes_nothing(stocked: Workplace) -> None:
    stocked.file(
        "schedules:\n  heartbeat:\n    task: taskd.tasks.demo.echo\n    interval: 2m\n  new: {task: t, interval: 9}\n"
    )
    for _ in range(2):
        lines = stocked.taskd("plan", exits=3).stdout.splitlines()
        assert lines[0].startswith("create new  in ")
        assert lines[1].startswith("delete daily-report  was in ")
        assert lines[2].startswith("update heartbeat  interval_seconds: 90 → 120")


def test_a_plan_as_json(stocked: Workplace) -> None:
    stocked.file("schedules: {heartbeat: {task: taskd.tasks.demo.echo, interval: 2m}}")
    plan = stocked.json("plan", exits=3)
    assert [each["name"] for each in plan["deletes"]] == ["daily-report"]
    assert plan["updates"][0]["after"] == {"interval_seconds": 120}


def test_a_plan_without_changes_exits_0_and_with_errors_1(stocked: Workplace) -> None:
    assert stocked.taskd("plan").stderr == "no changes; 2 unchanged\n"
    stocked.file(BAD, "bad.yaml")
    assert "bad.yaml:4:5: error: b: cronttab: unknown key" in stocked.taskd("plan", exits=1).stdout


def test_secrets_are_masked_in_a_plan(stocked: Workplace) -> None:
    text = (stocked.folder / "schedules/a.yaml").read_text()
    stocked.file(text.replace("hunter2", "hunter3"))
    shown = stocked.taskd("plan", exits=3).stdout
    assert "update daily-report" in shown
    assert "hunter" not in shown


def test_a_pass_applies_what_the_plan_showed(stocked: Workplace) -> None:
    stocked.file("schedules: {other: {task: t, interval: 9}}")
    shown = stocked.taskd("plan", exits=3).stdout
    assert stocked.taskd("sync").stdout == shown
    assert [each["name"] for each in stocked.json("list")] == ["other"]


def test_a_pass_applies_the_good_files_beside_a_broken_one(stocked: Workplace) -> None:
    stocked.file(BAD, "bad.yaml")
    stocked.file("schedules: {other: {task: t, interval: 9}}", "c.yaml")
    assert [each["name"] for each in stocked.json("sync", exits=1)["creates"]] == ["other"]
