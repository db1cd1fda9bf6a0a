"""`import beat`: a Celery application's beat_schedule."""

import shelve
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule

from taskd import TzCrontab
from taskd.schedule.crontab import resolve_hash
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.source.tree import Tree
from tests.importing import coming, coming_in_celery, specs_of
from tests.unit.conftest import Workplace
from tests.unit.test_real_world import FILES

LAST = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def old(place: Workplace) -> Iterator[Celery]:
    """An application that can be imported as `shop:app`."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.timezone = "UTC"
    module: Any = type(sys)("shop")
    module.app = app
    sys.modules["shop"] = module
    yield app
    del sys.modules["shop"]


def imported(place: Workplace, *words: str) -> tuple[str, dict[str, ScheduleSpec]]:
    """The file, and what is in it."""
    text = place.taskd("import", "beat", "shop:app", *words).stdout
    return text, dict(specs_of(text))


def remembered(place: Workplace, app: Celery, **last: datetime) -> str:
    """A file as Beat keeps it."""
    path = str(place.folder / "celerybeat-schedule")
    with shelve.open(path) as shelf:
        shelf["entries"] = {
            name: ScheduleEntry(name, "t", at, schedule=schedule(60), app=app) for name, at in last.items()
        }
    return path


def test_the_real_world_comes_at_the_same_times(place: Workplace, old: Celery) -> None:
    """46 schedules of a real service: the next hundred times of each, from the file and from Celery."""
    specs = [each.spec for file in Tree(FILES, "UTC").read().files.values() for each in file.schedules]
    for spec in specs:
        expression = resolve_hash(spec.crontab or "", str(uid_of(spec.name))) if spec.crontab else ""
        minute, hour, date, month, weekday = expression.split() or [""] * 5
        old.conf.beat_schedule[spec.name] = {
            "task": spec.task,
            "schedule": crontab(minute, hour, weekday, date, month, app=old)
            if spec.crontab
            else float(spec.interval_seconds or 0),
            "options": {"expires": spec.expires, "queue": spec.queue},
        }
    state = remembered(place, old, **{spec.name: LAST for spec in specs})
    _, found = imported(place, "--state", state)
    assert len(found) == 46
    for spec in specs:
        mine, theirs = found[spec.name], old.conf.beat_schedule[spec.name]["schedule"]
        theirs = schedule(timedelta(seconds=theirs), app=old) if isinstance(theirs, float) else theirs
        assert coming(mine, LAST) == coming_in_celery(theirs, LAST), spec.name
        assert (mine.task, mine.expires, mine.queue) == (spec.task, spec.expires, spec.queue)


@pytest.mark.parametrize(
    "original",
    [
        crontab(minute="*/10", hour="8-18/2", day_of_week="monday-friday"),
        crontab(minute=[0, 30], hour=4, day_of_month="1,15"),
        crontab(minute="0", hour="0", day_of_month="1-7", day_of_week="mon"),
        crontab(minute=5, month_of_year="jan-mar"),
        schedule(timedelta(minutes=7)),
        schedule(timedelta(hours=6), relative=True),
        schedule(timedelta(days=1), relative=True),
    ],
    ids=repr,
)
def test_any_schedule_of_celery_keeps_its_times(
    place: Workplace, old: Celery, original: crontab | schedule
) -> None:
    original.app = old
    old.conf.beat_schedule = {"x": {"task": "t", "schedule": original}}
    _, found = imported(place, "--state", remembered(place, old, x=LAST))
    assert coming(found["x"], LAST) == coming_in_celery(original, LAST)


def test_what_differs_at_a_clock_change_is_celerys_fault(place: Workplace, old: Celery) -> None:
    """Every 30 minutes over Berlin's change to winter: Celery leaves out the second pass of the repeated hour."""
    old.conf.timezone = "Europe/Berlin"
    half = crontab(minute="*/30", app=old)
    old.conf.beat_schedule = {"x": {"task": "t", "schedule": half}}
    _, found = imported(place)
    before = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    mine, theirs = coming(found["x"], before), coming_in_celery(half, before)
    assert mine == [before + timedelta(minutes=30) * k for k in range(1, 101)]  # what `*/30` says
    lost = sorted(set(mine) - set(theirs))[:2]
    assert lost == [datetime(2026, 10, 25, 1, 0, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]


def test_options_and_arguments_are_carried_and_what_is_not_is_told(place: Workplace, old: Celery) -> None:
    old.conf.beat_schedule = {
        "reports/daily": {
            "task": "t",
            "schedule": TzCrontab(minute=0, hour=9, timezone="Asia/Tokyo"),
            "args": (1, "on", "1e5"),
            "kwargs": {"note": 'a: "b" # c\nd'},
            "options": {"queue": "q", "priority": 3, "expires": 90.0, "countdown": 5},
        }
    }
    text, found = imported(place)
    spec = found["reports-daily"]
    assert (spec.crontab, spec.timezone) == ("0 9 * * *", "Asia/Tokyo")
    assert (spec.args, spec.kwargs) == ([1, "on", "1e5"], {"note": 'a: "b" # c\nd'})
    assert (spec.queue, spec.priority, spec.expires) == ("q", 3, 90)
    assert "# its name was 'reports/daily'" in text
    assert "# the option countdown=5 isn't carried over" in text


class OfItsOwn(schedule):
    """A schedule that only its own program understands."""


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"schedule": 0.5}, "0.5 s: taskd's durations are whole seconds"),
        ({"schedule": OfItsOwn(60)}, "OfItsOwn is a schedule that only its own program can evaluate"),
        ({"schedule": 60, "kwargs": {"x": object()}}, "its kwargs can't be written as JSON"),
        ({"schedule": 60, "task": None}, "task: is missing"),
    ],
)
def test_what_has_no_counterpart_stands_as_a_comment(
    place: Workplace, old: Celery, entry: dict[str, Any], reason: str
) -> None:
    old.conf.beat_schedule = {"x": {"task": "t", **entry}, "y": {"task": "t", "schedule": 60}}
    text, found = imported(place)
    assert list(found) == ["y"]
    assert f"# not carried over: {reason}" in text
    assert place.json("import", "beat", "shop:app")["not_carried_over"][0]["name"] == "x"


def test_entries_that_are_added_when_the_application_is_ready_are_found(
    place: Workplace, old: Celery
) -> None:
    @old.on_after_configure.connect
    def add(sender: Celery, **_: object) -> None:
        sender.add_periodic_task(60, old.signature("t"), name="added")

    old.on_after_configure.connect(add)
    assert list(imported(place)[1]) == ["added"]


def test_the_file_begins_with_the_cut_over_and_is_never_written_over(place: Workplace, old: Celery) -> None:
    old.conf.beat_schedule = {"x": {"task": "t", "schedule": 60}}
    target = place.folder / "imported.yaml"
    place.taskd("import", "beat", "shop:app", "-o", str(target))
    lines = target.read_text().splitlines()
    steps = [line for line in lines if line.startswith("#   ")]
    assert "Stop `celery beat`" in steps[1]
    assert "schedules.paths" in steps[2]
    complaint = place.complaint("import", "beat", "shop:app", "-o", str(target))
    assert complaint == f"taskd: {target} is there already: choose another name, or say --force"
    place.taskd("import", "beat", "shop:app", "-o", str(target), "--force")
    place.taskd("check", str(target))


def test_nothing_to_carry_over_is_a_valid_file_too(place: Workplace, old: Celery) -> None:
    place.taskd("import", "beat", "shop:app", "-o", "imported.yaml")
    place.taskd("check", "imported.yaml")


def test_an_application_or_a_state_that_is_not_there_is_one_sentence(place: Workplace, old: Celery) -> None:
    assert "'gone:app' can't be imported" in place.complaint("import", "beat", "gone:app")
    Path("state").write_text("no shelf")
    assert "can't be read as Beat's state" in place.complaint(
        "import", "beat", "shop:app", "--state", "state"
    )
