"""TzCrontab in Celery's hands: asked with a time that is passed in, kept on Beat's shelf, sent by Beat itself."""

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.beat import PersistentScheduler, Scheduler
from celery.schedules import crontab

import taskd
from taskd import TzCrontab
from taskd.schedule import timing
from taskd.schedule.trigger import Crontab


class Clock:
    """Celery's `nowfun`, moved by hand."""

    def __init__(self, now: str) -> None:
        self.at = datetime.fromisoformat(now)

    def __call__(self) -> datetime:
        return self.at


def fires(schedule: TzCrontab, clock: Clock, until: str, step: timedelta) -> list[str]:
    """When Beat would send it, asking every `step` from the clock's time on; UTC."""
    found, last = [], clock()
    while clock.at < datetime.fromisoformat(until):
        clock.at += step
        if schedule.is_due(last).is_due:
            last = clock()
            found.append(f"{last.astimezone(UTC):%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("given", "timezone", "start", "end", "expected"),
    [
        # Berlin, 02:00 → 03:00: the skipped 02:30 runs right after the gap.
        ({"minute": 30, "hour": 2}, "Europe/Berlin", "2026-03-28T12:00Z", "2026-03-30T12:00Z", ["29 01:00", "30 00:30"]),
        # Berlin, 03:00 → 02:00: a fixed time fires in the first pass alone, minutes by the clock in both.
        ({"minute": 30, "hour": 2}, "Europe/Berlin", "2026-10-24T12:00Z", "2026-10-25T12:00Z", ["25 00:30"]),
        ({"minute": "*/30", "hour": 2}, "Europe/Berlin", "2026-10-24T12:00Z", "2026-10-25T12:00Z",
         ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
        # Lord Howe moves by half an hour, Santiago at midnight.
        ({"minute": "15", "hour": "2"}, "Australia/Lord_Howe", "2026-10-03T00:00Z", "2026-10-04T12:00Z", ["03 15:30"]),
        ({"minute": 0, "hour": 0}, "America/Santiago", "2026-09-05T12:00Z", "2026-09-07T12:00Z", ["06 04:00", "07 03:00"]),
        # No clock changes: nine in Shanghai is one in the morning UTC.
        ({"minute": "0", "hour": "9", "day_of_week": "*"}, "Asia/Shanghai", "2026-06-01T00:00Z", "2026-06-02T12:00Z",
         ["01 01:00", "02 01:00"]),
    ],
)  # fmt: skip
def test_beat_asks_through_a_clock_change(
    given: dict[str, Any], timezone: str, start: str, end: str, expected: list[str]
) -> None:
    clock = Clock(start)
    assert (
        fires(TzCrontab(**given, timezone=timezone, nowfun=clock), clock, end, timedelta(minutes=5))
        == expected
    )


@pytest.mark.parametrize("pass_", ["2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00"])
def test_its_next_is_the_evaluators_in_both_passes_of_a_repeated_hour(pass_: str) -> None:
    last = datetime.fromisoformat(pass_).astimezone(ZoneInfo("Europe/Berlin"))
    schedule = TzCrontab("*/20", timezone="Europe/Berlin", nowfun=lambda: last)
    following = timing.next_after(Crontab("*/20 * * * *", "Europe/Berlin"), last)
    assert following is not None
    assert schedule.remaining_estimate(last) == following - last.astimezone(UTC) == timedelta(minutes=10)
    assert schedule.is_due(last) == (False, 600.0)


def test_a_due_one_says_how_long_until_the_next() -> None:
    schedule = TzCrontab("0", "9", timezone="Asia/Shanghai", nowfun=Clock("2026-06-02T01:00:10+00:00"))
    assert schedule.is_due(datetime(2026, 6, 1, 2, tzinfo=UTC)) == (True, 86_390.0)
    assert schedule.remaining_estimate(datetime(2026, 6, 1, 2, tzinfo=UTC)) == timedelta(seconds=-10)


def test_naive_times_are_utc_as_everywhere_in_celery() -> None:
    schedule = TzCrontab("0", "9", timezone="Asia/Shanghai", nowfun=lambda: datetime(2026, 6, 1, 0, 59))
    assert schedule.is_due(datetime(2026, 6, 1, 0, 0)) == (False, 60.0)


def test_a_clock_set_back_fires_nothing_again() -> None:
    clock = Clock("2026-06-01T01:30:00+00:00")
    schedule = TzCrontab("0", timezone="UTC", nowfun=clock)
    assert schedule.is_due(datetime(2026, 6, 1, 3, 0, tzinfo=UTC)) == (False, 9_000.0)


def test_what_waited_beyond_beats_deadline_is_not_due() -> None:
    app = Celery("test", set_as_current=False)
    clock = Clock("2026-06-02T02:00:00+00:00")
    schedule = TzCrontab("0", "9", timezone="Asia/Shanghai", nowfun=clock, app=app)
    before = datetime(2026, 6, 2, 0, tzinfo=UTC)
    app.conf.beat_cron_starting_deadline = 3600
    assert schedule.is_due(before) == (True, 82_800.0)
    app.conf.beat_cron_starting_deadline = 3599
    assert schedule.is_due(before) == (False, 82_800.0)


def test_without_a_zone_it_is_read_in_the_applications() -> None:
    app = Celery("test", set_as_current=False)
    app.conf.timezone = "America/New_York"
    assert TzCrontab("0", "9", app=app).trigger.timezone == "America/New_York"


@pytest.mark.parametrize(
    ("given", "expression"),
    [
        ({}, "* * * * *"),
        ({"minute": 0, "hour": {9, 17, 10, 11}}, "0 9-11,17 * * *"),
        ({"minute": range(60), "hour": [*range(24)], "day_of_month": {*range(1, 32)}}, "0-59 0-23 1-31 * *"),
        ({"minute": "0, 30", "day_of_week": "Monday-FRIDAY"}, "0,30 * * * mon-fri"),
        ({"month_of_year": "january,may", "day_of_month": "L"}, "* * l jan,may *"),
        ({"minute": 0, "day_of_week": "mondayl,fril"}, "0 * * * monl,fril"),
        ({"minute": None}, "* * * * *"),
    ],
)
def test_it_takes_what_celerys_crontab_takes(given: dict[str, Any], expression: str) -> None:
    assert TzCrontab(**given).expression == expression


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"hour": 24}, "'24' can't stand in the hour field"),
        ({"hour": "22-2"}, "'22-2' in the hour field runs backwards: write 22-23,0-2"),
        ({"day_of_month": 30, "month_of_year": 2}, "never occurs"),
        ({"minute": "H"}, "'h' in the minute field stands for a value hashed from a schedule's name"),
        ({"timezone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'?"),
        ({"minute": ""}, "minute is empty: leave it out for every minute"),
        ({"day_of_week": set()}, "day_of_week is empty: leave it out for every day"),
    ],
)
def test_what_the_evaluator_refuses_is_refused_when_it_is_made(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        TzCrontab(**given)
    assert sentence in str(refused.value)


def test_both_days_must_match_as_in_celery_unless_or_is_asked_for() -> None:
    after = datetime(2026, 6, 1, tzinfo=UTC)
    given = {"minute": 0, "hour": 0, "day_of_month": "13", "day_of_week": "fri", "timezone": "UTC"}
    days = [
        timing.next_after(TzCrontab(**given, **match).trigger, after) for match in ({}, {"day_match": "or"})
    ]
    assert [f"{day:%m-%d}" for day in days if day] == ["11-13", "06-05"]


def test_it_compares_and_hashes_by_value() -> None:
    one, same = (
        TzCrontab(0, {9, 10}, timezone="Asia/Shanghai"),
        TzCrontab("0", "9-10", timezone="Asia/Shanghai"),
    )
    assert one == same
    assert hash(one) == hash(same)
    others = [
        TzCrontab(0, 9),
        TzCrontab(0, {9, 10}),
        TzCrontab(0, {9, 10}, timezone="UTC"),
        crontab("0", "9-10"),
    ]
    assert one not in others


def test_it_is_pickled_without_its_application() -> None:
    app = Celery("test", set_as_current=False)
    schedule = TzCrontab(0, 9, "mon-fri", 1, 2, timezone="Asia/Shanghai", day_match="or", app=app)
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert again._app is None
    assert repr(again) == "<TzCrontab: 0 9 1 2 mon-fri in Asia/Shanghai (m/h/dM/MY/d)>"


def test_it_is_loaded_when_it_is_asked_for() -> None:
    assert "TzCrontab" in taskd.__all__
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = taskd.Nonsense


def test_beat_sends_it_when_its_zone_says_so(tmp_path: Path) -> None:
    clock, sent = Clock("2026-10-24T22:00:00+00:00"), []
    schedule = TzCrontab("30", "2", timezone="Europe/Berlin", nowfun=clock)
    app = beat_app({"report": {"task": "report", "schedule": schedule}})

    class Sending(Scheduler):
        def apply_async(self, entry: Any, **_options: Any) -> None:
            sent.append((entry.name, f"{clock.at:%d %H:%M}"))

    scheduler = Sending(app)
    while clock.at < datetime(2026, 10, 27, tzinfo=UTC):
        while scheduler.tick() == 0:
            pass
        clock.at += timedelta(minutes=1)
    assert sent == [("report", "25 00:30"), ("report", "26 01:30")]


def test_beats_shelf_keeps_its_last_run_over_a_restart(tmp_path: Path) -> None:
    def scheduler(minute: Any) -> PersistentScheduler:
        app = beat_app({"report": {"task": "report", "schedule": TzCrontab(minute, timezone="Asia/Tokyo")}})
        return PersistentScheduler(app, schedule_filename=str(tmp_path / "beat"))

    then = datetime(2026, 1, 1, tzinfo=UTC)
    first = scheduler("0")
    first.schedule["report"].last_run_at = then
    first.close()
    again = scheduler({0})
    assert again.schedule["report"].last_run_at == then
    assert again.schedule["report"].schedule.trigger == Crontab("0 * * * *", "Asia/Tokyo", "and")
    again.close()


def beat_app(entries: dict[str, Any]) -> Celery:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = entries
    return app
