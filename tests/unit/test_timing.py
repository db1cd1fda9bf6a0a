"""When triggers are due: promises for any zone, expression and instant, and the ones worth an example."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones
from zoneinfo._zoneinfo import ZoneInfo as PythonZoneInfo

import pytest
from croniter import croniter
from cronsim import CronSim
from hypothesis import assume, given
from hypothesis import strategies as st

from taskd.schedule import stretches, timing
from taskd.schedule.crontab import ImpossibleCrontab, InvalidCrontab, parse
from taskd.schedule.notes import clock_changes, note_of, noted
from taskd.schedule.rules import rules_of
from taskd.schedule.timing import (
    count_between,
    last_until,
    marks_between,
    next_after,
    occurrences,
    upcoming,
)
from taskd.schedule.trigger import Crontab, Date, Dst, Interval, Trigger
from taskd.schedule.zones import UnknownTimezone
from tests.unit.oracle import transitions

MICROSECOND, SECOND, MINUTE, HOUR, DAY = (
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
SHIFTY = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Sao_Paulo",
    "America/Santiago",
    "Asia/Amman",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Asia/Gaza",
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(trigger: Trigger, after: str, n: int) -> list[str]:
    return [f"{at:%m-%dT%H:%M}" for at in upcoming(trigger, utc(after), n)]


# --- for any zone, expression and instant


def field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    ranges = st.tuples(value, value).map(lambda ends: f"{min(ends)}-{max(ends)}")
    stepped = st.tuples(st.just("*") | ranges, st.integers(1, high - low)).map(
        lambda parts: f"{parts[0]}/{parts[1]}"
    )
    item = value.map(str) | ranges | stepped
    return st.just("*") | item | st.lists(item, min_size=2, max_size=3).map(",".join)


DATES = field(1, 31) | st.sampled_from(["l", "lw", "15w", "1w", "31w"])
WEEKDAYS = field(0, 6) | st.sampled_from(["sun", "mon-fri", "5l", "sun#1", "mon#5", "7"])
TIMES = st.one_of(
    st.tuples(field(0, 59), field(0, 23)),
    st.tuples(
        st.sampled_from(["0", "30", "*/15", "0,30"]),
        st.sampled_from(["*", "0", "1", "2", "3", "0-3", "23,0"]),
    ),
)
MONTHS = st.just("*") | field(1, 12)


@st.composite
def crontabs(draw: st.DrawFn) -> Crontab:
    minute, hour = draw(TIMES)
    seconds = draw(st.just("") | field(0, 59).map(lambda text: text + " "))
    gap, overlap = (
        draw(st.sampled_from([None, "run_after", "skip"])),
        draw(st.sampled_from([None, "first", "both"])),
    )
    trigger = Crontab(
        f"{seconds}{minute} {hour} {draw(DATES)} {draw(MONTHS)} {draw(WEEKDAYS)}",
        draw(st.sampled_from(SHIFTY) | st.sampled_from(sorted(available_timezones()))),
        draw(st.sampled_from(["or", "and"])),
        Dst(gap, overlap),
    )
    try:
        next_after(trigger, utc("2026-01-01"))
    except ImpossibleCrontab:
        assume(False)
    return trigger


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    anchor = draw(st.none() | st.datetimes(utc("2000-01-01").replace(tzinfo=None), timezones=st.just(UTC)))
    return Interval(draw(st.integers(1, 10**7)), anchor)


CHANGES = [at for zone in SHIFTY for at, *_ in transitions(zone, utc("2010-01-01"), utc("2013-01-01"))]
INSTANTS = st.one_of(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.builds(
        lambda change, seconds: change + timedelta(seconds=seconds),
        st.sampled_from(CHANGES),
        st.integers(-90000, 90000) | st.floats(-7200, 7200),
    ),
)
TRIGGERS = crontabs() | intervals() | INSTANTS.map(Date)


@given(TRIGGERS, INSTANTS)
def test_next_is_strictly_later_and_last_is_not(trigger: Trigger, instant: datetime) -> None:
    due, last = next_after(trigger, instant), last_until(trigger, instant)
    assert due is None or due > instant
    assert last is None or last <= instant


@given(TRIGGERS, INSTANTS, st.floats(0, 10**6))
def test_next_and_last_never_go_back(trigger: Trigger, instant: datetime, later: float) -> None:
    for ask in (next_after, last_until):
        first, second = ask(trigger, instant), ask(trigger, instant + timedelta(seconds=later))
        if first is not None and second is not None:
            assert first <= second


@given(TRIGGERS, INSTANTS, st.floats(0, 1))
def test_between_two_occurrences_every_instant_has_the_same_answers(
    trigger: Trigger, instant: datetime, part: float
) -> None:
    last, due = last_until(trigger, instant), next_after(trigger, instant)
    assume(last is not None)
    assume(due is not None)
    assert last is not None
    assert due is not None
    between = min(last + part * (due - last), due - MICROSECOND)
    assert next_after(trigger, between) == due
    assert last_until(trigger, between) == last
    assert last_until(trigger, due) == due
    assert next_after(trigger, due - MICROSECOND) == due


@given(TRIGGERS, INSTANTS, st.integers(0, 60))
def test_the_count_is_what_iterating_gives(trigger: Trigger, instant: datetime, n: int) -> None:
    found = upcoming(trigger, instant, n)
    until = found[-1] if found else instant
    assert count_between(trigger, instant, until) == len(found)
    assert all(first < second for first, second in pairwise(found))
    if found:
        assert count_between(trigger, instant, until - MICROSECOND) == len(found) - 1
        assert count_between(trigger, until, instant) == 0
        assert last_until(trigger, until) == until


@given(TRIGGERS, INSTANTS, st.integers(1, 200))
def test_the_marks_are_what_iterating_gives(trigger: Trigger, instant: datetime, hours: int) -> None:
    until = instant + timedelta(hours=hours)
    marks = marks_between(trigger, instant, until)
    assert marks.bit_count() == count_between(trigger, instant, until)
    start = instant.replace(microsecond=0)
    found = takewhile(lambda at: at <= until, upcoming(trigger, instant, 100))
    assert all(marks >> (at - start) // SECOND & 1 for at in found)


@given(TRIGGERS, INSTANTS, st.floats(0, 10**8), st.floats(0, 10**8))
def test_counts_add_up(trigger: Trigger, instant: datetime, first: float, second: float) -> None:
    middle = instant + timedelta(seconds=first)
    end = middle + timedelta(seconds=second)
    assert count_between(trigger, instant, end) == (
        count_between(trigger, instant, middle) + count_between(trigger, middle, end)
    )


@given(crontabs(), INSTANTS, st.sampled_from(SHIFTY))
def test_the_zone_an_instant_is_written_in_makes_no_difference(
    trigger: Crontab, instant: datetime, zone: str
) -> None:
    local = instant.astimezone(ZoneInfo(zone))
    assert next_after(trigger, local) == next_after(trigger, instant)
    assert last_until(trigger, local) == last_until(trigger, instant)
    for later in (instant + HOUR / 2, instant + HOUR):
        here = later.astimezone(local.tzinfo)
        assert count_between(trigger, local, here) == count_between(trigger, instant, later)
        assert count_between(trigger, here, local) == 0


# cronsim goes back in time from a second pass, mishandles shifts that aren't an hour, and takes `5-5/2` for `5/2`:
# so, hourly zones, no such range, and a day's distance from any change.
@given(
    TIMES,
    DATES.filter(lambda text: not text.endswith("w") or text == "lw"),
    MONTHS,
    INSTANTS,
    st.sampled_from(SHIFTY[:2]),
)
def test_cronsim_agrees_where_it_is_right(
    times: tuple[str, str], date: str, month: str, instant: datetime, zone: str
) -> None:
    trigger = Crontab(f"{times[0]} {times[1]} {date} {month} *", zone)
    assume(not re.search(r"\b(\d+)-\1/", trigger.expression))
    try:
        due = next_after(trigger, instant)
    except ImpossibleCrontab:
        return
    assert due is not None
    assume(all(is_calm(zone, at) for at in (instant, due)))
    opinion = next(CronSim(trigger.expression, instant.astimezone(ZoneInfo(zone))))
    assert due == opinion.astimezone(UTC)


def is_calm(zone: str, at: datetime) -> bool:
    return len({(at + day).astimezone(ZoneInfo(zone)).utcoffset() for day in (-DAY, DAY)}) == 1


# croniter reads zoneless clocks well where nothing is a range of one value, a list with W or #, or a W beside weekdays.
@given(crontabs(), st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)))
def test_croniter_agrees_where_it_is_right(trigger: Crontab, instant: datetime) -> None:
    minute_first = len(trigger.expression.split()) == 5
    date, _month, weekday = trigger.expression.split()[-3:]
    assume(not re.search(r"\b(\d+)-\1\b", trigger.expression))
    assume(date not in {"lw", "31w"} and weekday != "5l")
    assume("*" in (date, weekday) or not (date.endswith("w") or "#" in weekday or "*" in date + weekday))
    due = next_after(replace(trigger, timezone="UTC"), instant.replace(tzinfo=UTC))
    opinion = croniter(
        trigger.expression, instant, day_or=trigger.day_match == "or", second_at_beginning=not minute_first
    )
    assert due is not None
    assert due.replace(tzinfo=None) == opinion.get_next(datetime)


def test_no_zone_keeps_an_offset_for_less_than_the_search_assumes() -> None:
    """stretches.py samples once a day, and looks a day back: the zone data of a later year must not break it."""
    for name in sorted(available_timezones()):
        tables = PythonZoneInfo(name)  # the Python twin of the C class shows its transitions
        offsets = [info.utcoff.total_seconds() for info in tables._ttinfos]
        changes = [at for at, (a, b) in zip(tables._trans_utc[1:], pairwise(offsets), strict=True) if a != b]
        assert all(later - at > 2 * 86400 for at, later in pairwise(changes)), name
        assert all(abs(b - a) <= 86400 for a, b in pairwise(offsets)), name


# --- where clocks jump


def test_a_fixed_time_in_a_gap_fires_once_right_after_it() -> None:
    berlin = Crontab("30 2 * * *", "Europe/Berlin")
    assert shown(berlin, "2026-03-28T12:00", 2) == ["03-29T01:00", "03-30T00:30"]
    many = Crontab("0-59/15 2 * * *", "Europe/Berlin")
    assert shown(many, "2026-03-28T12:00", 2) == ["03-29T01:00", "03-30T00:00"]


def test_a_landing_on_a_regular_time_is_one_occurrence() -> None:
    both = Crontab("30 2,3 * * *", "Australia/Lord_Howe")
    assert count_between(both, utc("2026-10-03T12:00"), utc("2026-10-04T12:00")) == 2
    berlin = Crontab("0,30 2,3 * * *", "Europe/Berlin")
    assert shown(berlin, "2026-03-29T00:00", 3) == ["03-29T01:00", "03-29T01:30", "03-30T00:00"]


def test_a_missing_day_is_made_up_for_at_its_end() -> None:
    apia = Crontab("0 9 * * *", "Pacific/Apia")
    assert shown(apia, "2011-12-29T00:00", 4) == ["12-29T19:00", "12-30T10:00", "12-30T19:00", "12-31T19:00"]


def test_an_hourly_schedule_follows_elapsed_time_through_both_passes() -> None:
    hourly = Crontab("30 * * * *", "Europe/Berlin")
    assert shown(hourly, "2026-10-24T23:00", 4) == [
        "10-24T23:30",
        "10-25T00:30",
        "10-25T01:30",
        "10-25T02:30",
    ]
    assert shown(hourly, "2026-03-29T00:00", 3) == ["03-29T00:30", "03-29T01:30", "03-29T02:30"]


def test_asked_from_the_second_pass_a_fixed_time_waits_for_tomorrow() -> None:
    berlin = Crontab("30 2 * * *", "Europe/Berlin")
    assert shown(berlin, "2026-10-25T00:30", 1) == ["10-26T01:30"]
    assert shown(berlin, "2026-10-25T01:10", 1) == ["10-26T01:30"]
    assert last_until(berlin, utc("2026-10-25T01:45")) == utc("2026-10-25T00:30")


def test_overrides_take_the_place_of_the_class() -> None:
    gap = "2026-03-28T12:00"
    assert shown(Crontab("30 2 * * *", "Europe/Berlin", dst=Dst(gap="skip")), gap, 1) == ["03-30T00:30"]
    assert shown(Crontab("*/30 2 * * *", "Europe/Berlin", dst=Dst(gap="run_after")), gap, 1) == [
        "03-29T01:00"
    ]
    overlap = "2026-10-24T23:00"
    both, first = Dst(overlap="both"), Dst(overlap="first")
    assert shown(Crontab("30 2 * * *", "Europe/Berlin", dst=both), overlap, 2) == [
        "10-25T00:30",
        "10-25T01:30",
    ]
    assert shown(Crontab("30 * * * *", "Europe/Berlin", dst=first), overlap, 3) == [
        "10-24T23:30",
        "10-25T00:30",
        "10-25T02:30",
    ]


@pytest.mark.parametrize(
    ("expression", "zone", "dst", "at", "note"),
    [
        ("30 2 * * *", "Europe/Berlin", Dst(), "2026-03-29T01:00", "moved from 02:30, which the clocks skip"),
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            Dst(),
            "2026-03-29T01:00",
            "moved from 02:00 and 1 more, which the clocks skip",
        ),
        ("30 2,3 * * *", "Europe/Berlin", Dst(), "2026-03-29T01:30", None),
        (
            "0 2,3 * * *",
            "Europe/Berlin",
            Dst(),
            "2026-03-29T01:00",
            "also stands for 02:00, which the clocks skip",
        ),
        (
            "0 9 * * *",
            "Pacific/Apia",
            Dst(),
            "2011-12-30T10:00",
            "moved from 2011-12-30 09:00, which the clocks skip",
        ),
        (
            "15 30 2 * * *",
            "Europe/Berlin",
            Dst(),
            "2026-03-29T01:00",
            "moved from 02:30:15, which the clocks skip",
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            Dst(),
            "2026-10-25T00:30",
            "first of two: the clocks show 02:30 twice",
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            Dst(),
            "2026-10-25T01:30",
            "second of two: the clocks show 02:30 twice",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            Dst(),
            "2026-10-25T00:30",
            "the first of two 02:30, the second doesn't fire",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            Dst(overlap="both"),
            "2026-10-25T01:30",
            "second of two: the clocks show 02:30 twice",
        ),
        ("30 2 * * *", "Europe/Berlin", Dst(), "2026-10-26T01:30", None),
        ("30 2 * * *", "UTC", Dst(), "2026-03-29T02:30", None),
    ],
)
def test_an_occurrence_that_the_clocks_touch_says_so(
    expression: str, zone: str, dst: Dst, at: str, note: str | None
) -> None:
    trigger = Crontab(expression, zone, dst=dst)
    assert last_until(trigger, utc(at)) == utc(at)
    assert note_of(trigger, utc(at)) == note


@pytest.mark.parametrize(
    ("expression", "dst", "spring", "autumn"),
    [
        ("30 2 * * *", Dst(), "skip 02:30: made up for at 03:00", "show 02:30 twice: the first fires"),
        (
            "*/15 2 * * *",
            Dst(),
            "skip 02:00 and 3 more: nothing fires that day",
            "show 02:00 and 3 more twice: both fire",
        ),
        ("30 * * * *", Dst(), "skip 02:30: nothing fires instead", "show 02:30 twice: both fire"),
        (
            "30 2 * * *",
            Dst("skip", "both"),
            "skip 02:30: nothing fires that day",
            "show 02:30 twice: both fire",
        ),
    ],
)
def test_the_clock_changes_that_touch_a_schedule_are_listed(
    expression: str, dst: Dst, spring: str, autumn: str
) -> None:
    changes = clock_changes(
        Crontab(expression, "Europe/Berlin", dst=dst), utc("2026-01-01"), utc("2027-01-01")
    )
    assert changes == [
        (utc("2026-03-29T01:00"), f"the clocks {spring}", "that day" in spring, "nothing" in spring),
        (utc("2026-10-25T01:00"), f"the clocks {autumn}", False, False),
    ]


def test_clock_changes_are_inclusive_at_their_end_and_only_those_that_touch() -> None:
    berlin, spring = Crontab("30 2 * * *", "Europe/Berlin"), utc("2026-03-29T01:00")
    assert len(clock_changes(berlin, spring - SECOND, spring)) == 1
    assert clock_changes(berlin, spring, spring + DAY) == []
    assert clock_changes(berlin, spring - DAY, spring - SECOND) == []
    assert clock_changes(Crontab("0 9 * * *", "Europe/Berlin"), utc("2026-01-01"), utc("2030-01-01")) == []
    assert clock_changes(Interval(60), utc("2026-01-01"), utc("2030-01-01")) == []
    apia = clock_changes(Crontab("0 9 * * *", "Pacific/Apia"), utc("2011-12-01"), utc("2011-12-31"))
    assert [change.note for change in apia] == [
        "the clocks skip 2011-12-30 09:00: made up for at 2011-12-31 00:00"
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["29 03:00 moved from 02:30, which the clocks skip", "30 02:30 None"]),
        ("*/30 2 * * *", ["30 02:00 on 2026-03-29 the clocks skip 02:00 and 1 more: nothing fires that day"]),
        ("30 * * * *", ["29 01:30 None", "29 03:30 the clocks skip 02:30: nothing fires instead"]),
    ],
)
def test_what_the_clocks_take_away_is_noted_at_the_next_occurrence(
    expression: str, expected: list[str]
) -> None:
    trigger, since = Crontab(expression, "Europe/Berlin"), utc("2026-03-29T00:00")
    found = noted(trigger, since, upcoming(trigger, since, len(expected)))
    assert [f"{at.astimezone(ZoneInfo('Europe/Berlin')):%d %H:%M} {note}" for at, note in found] == expected


def test_intervals_and_dates_have_nothing_to_note() -> None:
    assert note_of(Interval(60), utc("2026-10-25T00:30")) is None
    assert note_of(Date(utc("2026-10-25T00:30")), utc("2026-10-25T00:30")) is None


# --- instants, intervals, dates, bounds


def test_fractions_of_a_second_are_before_the_next_one() -> None:
    every = Crontab("* * * * * *", "UTC")
    at = utc("2026-01-01T00:00:00.999999")
    assert next_after(every, at) == utc("2026-01-01T00:00:01")
    assert last_until(every, at) == utc("2026-01-01T00:00:00")
    assert count_between(every, at, at + MICROSECOND) == 1


def test_an_interval_keeps_its_anchor_both_ways() -> None:
    every = Interval(90, utc("2026-01-01T00:00:10.5"))
    assert next_after(every, utc("2026-01-01T00:00:10.5")) == utc("2026-01-01T00:01:40.5")
    assert next_after(every, utc("2026-01-01T00:00:10.4")) == utc("2026-01-01T00:00:10.5")
    assert last_until(every, utc("2025-12-31T23:59:00")) == utc("2025-12-31T23:58:40.5")
    assert next_after(Interval(3600), utc("2026-01-01T05:59:59")) == utc("2026-01-01T06:00:00")


def test_an_interval_missed_for_a_year_is_arithmetic() -> None:
    assert count_between(Interval(1), utc("2025-01-01"), utc("2026-01-01")) == 31_536_000


def test_a_date_is_due_once() -> None:
    date = Date(datetime(2026, 3, 29, 3, 30, tzinfo=ZoneInfo("Europe/Berlin")))
    assert list(occurrences(date, utc("2026-01-01"))) == [utc("2026-03-29T01:30")]
    assert next_after(date, utc("2026-03-29T01:30")) is None
    assert last_until(date, utc("2026-03-29T01:30")) == utc("2026-03-29T01:30")
    assert last_until(date, utc("2026-03-29T01:29")) is None
    assert count_between(date, utc("2026-03-29T01:29"), utc("2026-03-29T01:30")) == 1
    assert count_between(date, utc("2026-03-29T01:30"), utc("2026-03-29T01:31")) == 0


def test_a_crontab_of_seconds_over_a_year_counts_what_the_year_had() -> None:
    year = utc("2025-12-31T23:59:59"), utc("2026-12-31T23:59:59")
    assert count_between(Crontab("* * * * * *", "Europe/Berlin"), *year) == 31_536_000
    # The fixed class leaves out the second pass; what the gap skips becomes 03:00:00, which fires anyway.
    assert count_between(Crontab("0-59 0-59 0-23 * * *", "Europe/Berlin"), *year) == 31_536_000 - 3600


@pytest.mark.parametrize("zone", ["Africa/Casablanca", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("expression", "day_match"),
    [
        ("* * * * * *", "or"),
        ("0 0 29 2 *", "or"),
        ("0 0 29 2 1", "and"),
        ("0 0 29w 2 1", "and"),
        ("0 0 29 2 sun#5", "and"),
        ("0 0 lw 2 monl", "and"),
        ("0 0 31 12 5#5", "and"),
        ("0 0 1-7 2 sun#5", "or"),
        ("30 2 28 3 7", "and"),
    ],
)
def test_no_answer_takes_much_work_even_from_cold(expression: str, day_match: str, zone: str) -> None:
    """Counted in Python's calls, which a loaded machine doesn't change; `bench/timing.py` has the milliseconds."""
    trigger = Crontab(expression, zone, day_match)  # type: ignore[arg-type]
    worst = next_after(trigger, utc("2026-01-15"))
    assert worst is not None

    def work(ask: Callable[[], object]) -> int:
        for function in (timing._next_after, timing._last_until, rules_of, parse, stretches._stretches):
            function.cache_clear()
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            ask()
        finally:
            sys.setprofile(before)
        return calls

    assert work(lambda: next_after(trigger, worst)) < 15_000
    assert work(lambda: last_until(trigger, worst - SECOND)) < 15_000
    assert work(lambda: count_between(trigger, worst, worst + 365 * DAY)) < 10_000


def test_rare_days_are_found_over_decades() -> None:
    leap_monday = Crontab("0 0 29 2 1", "Africa/Casablanca", "and")
    assert [at.year for at in upcoming(leap_monday, utc("2026-01-01"), 4)] == [2044, 2072, 2112, 2140]
    assert last_until(leap_monday, utc("2026-01-01")) == utc("2016-02-29T00:00")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12", "Europe/Berlin"])
def test_the_ends_of_time_are_answers_and_not_errors(zone: str) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for expression in ("* * * * *", "0 0 29 2 *", "30 2 * * *"):
        trigger = Crontab(expression, zone)
        assert next_after(trigger, last) is None
        assert last_until(trigger, first) is None
        assert next_after(trigger, first) is not None
        assert last_until(trigger, last) is not None
    new_year = Crontab("0 0 1 1 *", zone)
    assert last_until(new_year, first + DAY) is None
    assert next_after(Crontab("59 23 31 12 *", zone), last - 2 * DAY) is None
    assert next_after(Interval(10**9), last) is None
    assert last_until(Interval(10**9), first + SECOND) is None


def test_a_trigger_that_was_never_validated_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidCrontab):
        next_after(Crontab("61 * * * *", "UTC"), utc("2026-01-01"))
    with pytest.raises(ImpossibleCrontab):
        last_until(Crontab("0 0 30 2 *", "UTC"), utc("2026-01-01"))
    with pytest.raises(UnknownTimezone):
        count_between(Crontab("* * * * *", "Mars/Base"), utc("2026-01-01"), utc("2026-01-02"))
