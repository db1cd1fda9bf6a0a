"""`plan`: what would change, shown; against the database and against another checkout."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text
from sqlalchemy import update

from taskd import clock
from taskd.cli import planned
from taskd.reconcile.offline import table_of
from taskd.reconcile.plan import compare
from taskd.reconcile.render import as_json
from taskd.source.yamlfile import read_file
from taskd.store.tables import ScheduleRow
from tests.unit.conftest import Workplace

BAD = "schedules:\n  b:\n    task: t\n    cronttab: '* * * * *'\n"
# In zones whose clocks don't change: a week of them always has the same number of fire times.
BEFORE = """\
schedules:
  daily-report:
    task: reports.tasks.daily
    crontab: "0 9 * * *"
    timezone: Asia/Tokyo
    kwargs: {password: hunter2, to: ops}
  heartbeat: {task: taskd.tasks.demo.echo, interval: 90s}
  gone: {task: t, crontab: "* * * * * *"}
  moved: {task: t, crontab: "H 3 * * *"}
"""
AFTER = """\
schedules:
  daily-report:
    task: reports.tasks.daily
    crontab: "0 10 * * *"
    timezone: Asia/Tokyo
    kwargs: {password: hunter2, to: boss}
    catchup: all
  heartbeat: {task: taskd.tasks.demo.echo, interval: 90s, enabled: false}
  new: {task: t, date: 2999-01-01T00:00:00}
"""


def other(text: str, name: str = "a.yaml") -> None:
    """Write a schedule file of the checkout as it was."""
    path = Path("before/schedules", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def changed(place: Workplace) -> Workplace:
    place.file(AFTER)
    place.file('schedules: {moved: {task: t, crontab: "H 3 * * *"}}', "b.yaml")
    return place


@pytest.fixture
def checkouts(place: Workplace) -> Workplace:
    """A checkout as it was, in `before`, and the changed one around it."""
    other(BEFORE)
    return changed(place)


def without_instants(text: str) -> str:
    return re.sub(r"(gained|lost): .*", r"\1", text)


def test_a_plan_shows_fields_places_and_fire_times(checkouts: Workplace) -> None:
    result = checkouts.taskd("plan", "--against", "before", exits=3)
    assert (
        without_instants(result.stdout)
        == """\
create new  in file schedules/a.yaml:9
       + task: t
       + timezone: Asia/Shanghai
       + start_time: 2998-12-31T16:00:00+00:00
update daily-report  in file schedules/a.yaml:2
       ~ crontab: 0 9 * * * → 0 10 * * *
       ~ kwargs.to: ops → boss
       + catchup.policy: all
       fires in 7 days: 7 → 7
       + 7 gained
       - 7 lost
update heartbeat  in file schedules/a.yaml:8
       ~ enabled: true → false
       fires in 7 days: 6720 → 0
       - 6720 lost
delete gone  was in file schedules/a.yaml:8
       fires in 7 days: 604800 → 0
       - 604800 lost
move   moved  from schedules/a.yaml:9 to schedules/b.yaml:1
"""
    )
    assert result.stderr == "1 create, 2 updates, 1 delete, 1 move; 1 unchanged\n"
    gained = next(line for line in result.stdout.splitlines() if "7 gained" in line)
    assert gained.count(" 10:00:00+0") == 5
    assert gained.endswith(" and 2 more")


def test_against_the_database_it_shows_the_same(place: Workplace) -> None:
    place.file(BEFORE)
    place.taskd("db", "upgrade")
    place.taskd("sync")
    other(BEFORE)
    changed(place)
    shown = [
        without_instants(place.taskd("plan", *words, exits=3).stdout)
        for words in ([], ["--against", "before"])
    ]
    assert shown[0].replace(str(place.folder) + "/", "") == shown[1]


def test_a_completed_schedule_has_no_fire_times_to_lose(place: Workplace) -> None:
    place.file("schedules: {once: {task: t, crontab: '0 * * * *', one_off: true}, b: {task: t, interval: 5}}")
    place.taskd("db", "upgrade")
    place.taskd("sync")
    place.file("schedules: {b: {task: t, interval: 5}}")
    assert place.json("plan", exits=3)["deletes"][0]["fires"]["lost"] == 1
    database = place.database()
    database.write(lambda session: session.execute(update(ScheduleRow).values(total_run_count=1)))
    database.close()
    assert place.json("plan", exits=3)["deletes"][0]["fires"] is None


def test_a_rename_is_shown_under_the_name_it_had(place: Workplace) -> None:
    other("schedules: {old: {task: t, crontab: 'H H * * *'}}")
    place.file("schedules: {new: {task: t, crontab: 'H H * * *', replaces: old}}")
    result = place.taskd("plan", "--against", "before", exits=3)
    assert result.stdout == "rename old  in file schedules/a.yaml:1\n       ~ name: old → new\n"
    assert result.stderr == "1 rename; 0 unchanged\n"
    lines = place.taskd("plan", "--against", "before", "--format", "github", exits=3).stdout.splitlines()
    assert lines[1] == ("::notice file=schedules/a.yaml,line=1,title=old::old is renamed%0A~ name: old → new")


def test_deletions_that_a_guard_would_hold_are_shown_as_such(place: Workplace) -> None:
    bodies = [f"  s{n}: {{task: t, crontab: '0 {n} * * *'}}\n" for n in range(5)]
    other("schedules:\n" + "".join(bodies))
    place.file("schedules:\n" + bodies[0])
    result = place.taskd("plan", "--against", "before", exits=3)
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert heads == [f"hold   s{n}  kept for now, was in file schedules/a.yaml:{n + 2}" for n in range(1, 5)]
    assert "- 7 lost: " in result.stdout
    assert result.stderr == "4 held; 1 unchanged\n"


def test_the_other_checkout_may_be_of_the_folder_of_schedules_alone(checkouts: Workplace) -> None:
    plans = [checkouts.json("plan", "--against", each, exits=3) for each in ("before", "before/schedules")]
    assert plans[0]["updates"][0]["before"] == plans[1]["updates"][0]["before"]
    assert [each["path"] for plan in plans for each in plan["deletes"]] == ["schedules/a.yaml"] * 2


@pytest.mark.parametrize("root", [".", "schedules/a.yaml"])
def test_a_root_may_be_this_folder_or_a_single_file(
    place: Workplace, tmp_path_factory: pytest.TempPathFactory, root: str
) -> None:
    place.file(BEFORE)
    Path(".taskd.yaml").write_text(f"schedules: {{paths: [{root}]}}")
    there = tmp_path_factory.mktemp("there")
    (there / "schedules").mkdir()
    (there / "schedules/a.yaml").write_text(BEFORE.replace("90s", "91s"))
    plan = place.json("-c", ".taskd.yaml", "plan", "--against", str(there), exits=3)
    assert [each["path"] for each in plan["updates"]] == ["schedules/a.yaml"]
    assert plan["moves"] == []


def test_against_a_git_checkout(place: Workplace) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *who, *words], check=True, capture_output=True)

    place.file(BEFORE)
    git("init", "--initial-branch", "main")
    git("add", "schedules")
    git("commit", "--message", "before")
    git("worktree", "add", "--detach", "base", "main")
    assert place.taskd("plan", "--against", "base").stderr == "no changes; 4 unchanged\n"
    changed(place)
    assert len(place.json("plan", "--against", "base", exits=3)["updates"]) == 2


def test_a_plan_without_a_change_exits_0_and_one_with_errors_1(checkouts: Workplace) -> None:
    assert checkouts.taskd("plan", "--against", ".").stderr == "no changes; 4 unchanged\n"
    checkouts.file(BAD, "c.yaml")
    assert (
        "schedules/c.yaml:4:5: error: b: cronttab: unknown key"
        in checkouts.taskd("plan", "--against", "before", exits=1).stdout
    )


def test_errors_of_the_other_checkout_are_told_and_are_none_of_this_one(checkouts: Workplace) -> None:
    other(BAD, "old.yaml")
    result = checkouts.taskd("plan", "--against", "before", exits=3)
    assert result.stderr.startswith("schedules/old.yaml has errors in before: ")


@pytest.mark.parametrize("words", [["--against", "nowhere"], ["--against", "taskd.yaml"]])
def test_what_is_no_checkout_is_refused(checkouts: Workplace, words: list[str]) -> None:
    Path("taskd.yaml").touch()
    assert f"taskd: {words[1]} is no folder" in checkouts.complaint("plan", *words)


def test_another_checkout_is_compared_here_and_by_no_daemon(checkouts: Workplace) -> None:
    assert "asks no daemon" in checkouts.complaint("plan", "--against", "before", "--url", "http://x")


def test_another_checkout_that_has_none_of_several_roots_is_refused(checkouts: Workplace) -> None:
    Path("taskd.yaml").write_text("schedules: {paths: [schedules, more]}")
    Path("more").mkdir()
    assert "has none of schedules, more" in checkouts.complaint("plan", "--against", "before/schedules")
    assert len(checkouts.json("plan", "--against", "before", exits=3)["deletes"]) == 1


def test_a_plan_is_kept_in_a_file(checkouts: Workplace) -> None:
    checkouts.taskd("plan", "--against", "before", "--out", "plan.json", exits=3)
    kept = json.loads(Path("plan.json").read_text())
    shown = checkouts.json("plan", "--against", "before", exits=3)
    assert kept.keys() == shown.keys()
    assert kept["deletes"][0]["fires"]["lost"] == 604_800
    assert "nowhere/plan.json" in checkouts.complaint("plan", "--against", ".", "--out", "nowhere/plan.json")


def test_a_plan_as_annotations_says_what_matters_most_first(checkouts: Workplace) -> None:
    checkouts.file(BAD, "c.yaml")
    lines = checkouts.taskd("plan", "--against", "before", "--format", "github", exits=1).stdout.splitlines()
    assert lines[0].startswith("::error file=schedules/c.yaml,line=2,col=3,title=b::no trigger")
    assert lines[2] == "::notice title=taskd plan::1 create, 2 updates, 1 delete, 1 move; 1 unchanged"
    assert [without_instants(line) for line in lines[3:5]] == [
        "::notice file=schedules/a.yaml,line=8,title=gone::gone is deleted%0Afires in 7 days: 604800 → 0%0A- 604800 lost",
        "::notice file=schedules/a.yaml,line=2,title=daily-report::daily-report changes%0A~ crontab: 0 9 * * * → 0 10 * * *%0A~ kwargs.to: ops → boss%0A+ catchup.policy: all%0Afires in 7 days: 7 → 7%0A+ 7 gained",
    ]


def test_secrets_are_masked_in_a_plan(checkouts: Workplace) -> None:
    checkouts.file(AFTER.replace("hunter2", "hunter3"))
    other(AFTER)
    for form in ("text", "json", "github"):
        shown = checkouts.taskd("plan", "--against", "before", "--format", form, exits=3).stdout
        assert "daily-report" in shown
        assert "hunter" not in shown
    assert (
        "~ kwargs: a masked value changes" in checkouts.taskd("plan", "--against", "before", exits=3).stdout
    )


def test_a_changed_field_is_in_colour() -> None:
    each = {"name": "x", "before": {"queue": "a"}, "after": {"queue": "b"}}
    (line,) = planned.details(each)
    assert [(line.plain[span.start : span.end], span.style) for span in line.spans] == [
        ("~ queue: ", "yellow"),
        ("a", "red"),
        ("b", "green"),
    ]
    assert isinstance(line, Text)


def test_what_is_adopted_or_was_changed_by_others_says_so() -> None:
    file = read_file(b"schedules: {x: {task: t, interval: 5}}", "a.yaml", "UTC")
    (row,) = table_of({"a.yaml": file})
    theirs = replace(row, owner="api", path=None, line=None)
    adoption = as_json(compare([file], [theirs], adopted={"x": "someone"}), (), clock.now())
    assert [line.plain for line in planned.lines(adoption)] == [
        "update x  in a.yaml:1, until now the API's",
        "       ~ owner: api → file",
    ]
    drifted = replace(row, columns={**row.columns, "interval_seconds": 7, "timezone": "Mars"})
    drift = as_json(compare([file], [drifted]), (), clock.now())
    assert [line.plain for line in planned.lines(drift)][:3] == [
        "update x  in file a.yaml:1, changed behind taskd's back",
        "       ~ timezone: Mars → UTC",
        "       ~ interval_seconds: 7 → 5",
    ]
    gone = as_json(compare([], [drifted]), (), clock.now())
    assert [line.plain.split(":")[0] for line in planned.lines(gone)] == [
        "delete x  was in file a.yaml",
        "       fires in 7 days",
        "       - 86400 lost",
    ]
