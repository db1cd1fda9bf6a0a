"""Triggers in words."""

from datetime import UTC, datetime

import pytest

from taskd.schedule.trigger import Crontab, Interval
from taskd.schedule.words import explain


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("30 9 * * *", "At 09:30"),
        ("15 30 9 * * *", "At 09:30:15"),
        ("5 4 3 2 1 0", "At 03:04:05, on day 2 of the month, or on Sunday, only in January"),
        ("*/5 9-17 * * mon-fri", "Every 5 minutes, between 09:00 and 17:59, Monday through Friday"),
        ("0 9 * * 7", "At 09:00, only on Sunday"),
        ("0 9 * * 5-7", "At 09:00, Friday through Sunday"),
        ("0 9 L * *", "At 09:00, on the last day of the month"),
        ("0 9 LW * *", "At 09:00, on the last weekday of the month"),
        ("0 9 15W * *", "At 09:00, on the weekday nearest day 15 of the month"),
        ("0 9 * * 5L", "At 09:00, on the last Friday of the month"),
        ("0 9 * * L5", "At 09:00, on the last Friday of the month"),
        ("0 9 * * 5#2", "At 09:00, on the second Friday of the month"),
        ("0 9 * * fri#2", "At 09:00, on the second Friday of the month"),
        ("@daily", "At 00:00"),
        ("@hourly", "Every hour"),
        ("@weekly", "At 00:00, only on Sunday"),
        ("@yearly", "At 00:00, on day 1 of the month, only in January"),
        ("0 9,17 * * *", "At 09:00 and 17:00"),
        ("0 9 1 * mon", "At 09:00, on day 1 of the month, or on Monday"),
    ],
)
def test_plain_crontabs_have_a_librarys_words(expression: str, words: str) -> None:
    assert explain(Crontab(expression, "UTC")).words == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/7 9-17 * * mon-fri", "minute 0,7,14,21,28,35,42,49,56, hour 9-17, day-of-week mon-fri"),
        ("0 */5 * * *", "minute 0, hour 0,5,10,15,20"),
        ("10/20 * * * *", "minute 10,30,50"),
        ("0 9 1,15W * *", "minute 0, hour 9, day-of-month 1,15w"),
        ("0 9 L,15 * *", "minute 0, hour 9, day-of-month l,15"),
        ("0 9 * * 5#2,1#1", "minute 0, hour 9, day-of-week 5#2,1#1"),
        ("0 9 * * 5L,1L", "minute 0, hour 9, day-of-week 5l,1l"),
        ("0 9 */2 * *", "minute 0, hour 9, day-of-month */2"),
        ("0 9 * */3 *", "minute 0, hour 9, month 1,4,7,10"),
        ("0 9 * * 0-7", "minute 0, hour 9, day-of-week 0-7"),
        ("15,45 9 * * *", "minute 15,45, hour 9"),
        ("15,45 30 9 * * *", "second 15,45, minute 30, hour 9"),
        ("0 9 13 * fri", "minute 0, hour 9, day-of-month 13 and day-of-week fri"),
    ],
)
def test_what_the_library_gets_wrong_is_listed_by_field(expression: str, words: str) -> None:
    assert explain(Crontab(expression, "UTC", "and")).words == f"When the clock shows {words}"


def test_each_field_says_what_it_comes_to() -> None:
    assert explain(Crontab("*/20 9-11,13 L * mon", "UTC")).fields == {
        "second": "0",
        "minute": "0,20,40",
        "hour": "9-11,13",
        "day-of-month": "l",
        "month": "every",
        "day-of-week": "mon",
    }


@pytest.mark.parametrize(("expression", "kind"), [("*/5 2 * * *", "wildcard"), ("5 2 * * *", "fixed")])
def test_the_class_says_what_clock_changes_do(expression: str, kind: str) -> None:
    told = explain(Crontab(expression, "UTC"))
    assert told.kind == kind
    assert told.means is not None
    assert ("fires twice" in told.means) == (kind == "wildcard")


def test_an_interval_says_from_where_it_counts() -> None:
    assert explain(Interval(5400)).words == "Every 1h30m, counted from 1970-01-01T00:00:00+00:00"
    anchored = explain(Interval(90_061, datetime(2026, 1, 1, tzinfo=UTC)))
    assert anchored.words == "Every 1d1h1m1s, counted from 2026-01-01T00:00:00+00:00"
    assert (anchored.kind, anchored.fields) == (None, {})
