"""Crontab expressions: what they name, and one sentence for each that can't stand."""

from datetime import UTC, datetime, timedelta

import pytest

from taskd.errors import InvalidSchedule
from taskd.schedule.crontab import (
    ImpossibleCrontab,
    InvalidCrontab,
    is_wildcard,
    parse,
    resolve_hash,
    validate,
)
from taskd.schedule.timing import upcoming
from taskd.schedule.trigger import Crontab, DayMatch

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(seconds=1)


def days(expression: str, n: int = 4, day_match: DayMatch = "or") -> list[str]:
    return [f"{at:%m-%d}" for at in upcoming(Crontab(expression, "UTC", day_match), NEW_YEAR, n)]


def times(expression: str, n: int = 4) -> list[str]:
    return [f"{at:%H:%M:%S}" for at in upcoming(Crontab(expression, "UTC"), NEW_YEAR, n)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/20 * * * *", ["00:00:00", "00:20:00", "00:40:00", "01:00:00"]),
        ("50/4 * * * *", ["00:50:00", "00:54:00", "00:58:00", "01:50:00"]),
        ("10-16/3 5 * * *", ["05:10:00", "05:13:00", "05:16:00", "05:10:00"]),
        ("59-59 * * * *", ["00:59:00", "01:59:00", "02:59:00", "03:59:00"]),
        ("5,1,5 0,12 * * *", ["00:01:00", "00:05:00", "12:01:00", "12:05:00"]),
        ("30 15 10 * * *", ["10:15:30", "10:15:30", "10:15:30", "10:15:30"]),
        ("*/30 0 * * * *", ["00:00:00", "00:00:30", "01:00:00", "01:00:30"]),
        ("  0\t08  * * * ", ["08:00:00", "08:00:00", "08:00:00", "08:00:00"]),
        ("@hourly", ["00:00:00", "01:00:00", "02:00:00", "03:00:00"]),
    ],
)
def test_times_of_day(expression: str, expected: list[str]) -> None:
    assert times(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("@daily", ["01-01", "01-02", "01-03", "01-04"]),
        ("@Midnight", ["01-01", "01-02", "01-03", "01-04"]),
        ("@weekly", ["01-04", "01-11", "01-18", "01-25"]),
        ("@monthly", ["01-01", "02-01", "03-01", "04-01"]),
        ("@yearly", ["01-01", "01-01", "01-01", "01-01"]),
        ("@annually", ["01-01", "01-01", "01-01", "01-01"]),
        ("0 0 * * Mon", ["01-05", "01-12", "01-19", "01-26"]),
        ("0 0 * * 7", ["01-04", "01-11", "01-18", "01-25"]),
        ("0 0 * * 5-7", ["01-02", "01-03", "01-04", "01-09"]),
        ("0 0 * * */6", ["01-03", "01-04", "01-10", "01-11"]),
        ("0 0 1 JAN-mar,dec *", ["01-01", "02-01", "03-01", "12-01"]),
        ("0 0 L * *", ["01-31", "02-28", "03-31", "04-30"]),
        ("0 0 lw * *", ["01-30", "02-27", "03-31", "04-30"]),
        ("0 0 1W * *", ["01-01", "02-02", "03-02", "04-01"]),
        ("0 0 31W * *", ["01-30", "03-31", "05-29", "07-31"]),
        ("0 0 1,15W * *", ["01-01", "01-15", "02-01", "02-16"]),
        ("0 0 * * 5L", ["01-30", "02-27", "03-27", "04-24"]),
        ("0 0 * * L5", ["01-30", "02-27", "03-27", "04-24"]),
        ("0 0 * * mon#2", ["01-12", "02-09", "03-09", "04-13"]),
        ("0 0 * * 7#5", ["03-29", "05-31", "08-30", "11-29"]),
        ("0 0 * * mon#1,fri", ["01-02", "01-05", "01-09", "01-16"]),
        ("0 0 1W * 1", ["01-01", "01-05", "01-12", "01-19"]),
        ("0 0 31 2 1", ["02-02", "02-09", "02-16", "02-23"]),
    ],
)
def test_days(expression: str, expected: list[str]) -> None:
    assert days(expression) == expected


def test_two_restricted_day_fields_match_either_or_both() -> None:
    assert days("0 0 13 * fri") == ["01-02", "01-09", "01-13", "01-16"]
    assert days("0 0 13 * fri", day_match="and") == ["02-13", "03-13", "11-13", "08-13"]


@pytest.mark.parametrize(
    ("expression", "field", "says"),
    [
        ("60 * * * *", "minute", "'60' can't stand in the minute field: it takes 0-59"),
        ("* 24 * * *", "hour", "it takes 0-23"),
        ("* * 0 * *", "day-of-month", "it takes 1-31, L, LW, 15W"),
        ("* * * 13 *", "month", "it takes 1-12, jan-dec"),
        ("* * * * 8", "day-of-week", "it takes 0-6, sun-sat, 7, 5L, 5#2"),
        ("60 0 * * * *", "second", "it takes 0-59"),
        ("* * * * mond", "day-of-week", "'mond' can't stand"),
        ("* mon * * *", "hour", "'mon' can't stand"),
        ("-5 * * * *", "minute", "'-5' can't stand"),
        ("1,,2 * * * *", "minute", "'' can't stand"),
        ("1- * * * *", "minute", "'1-' can't stand"),
        ("1-2-3 * * * *", "minute", "'1-2-3' can't stand"),
        ("** * * * *", "minute", "'**' can't stand"),
        ("1.5 * * * *", "minute", "'1.5' can't stand"),
        ("+5 * * * *", "minute", "can't stand"),
        ("1_0 * * * *", "minute", "can't stand"),
        ("9999999999999 * * * *", "minute", "can't stand"),
        ("* * ? * *", "day-of-month", "'?' can't stand"),
        ("* * l-3 * *", "day-of-month", "'l-3' can't stand"),
        ("* * 32w * *", "day-of-month", "'32w' can't stand"),
        ("* * w * *", "day-of-month", "'w' can't stand"),
        ("* * 1-5w * *", "day-of-month", "'1-5w' can't stand"),
        ("* l * * *", "hour", "'l' can't stand"),
        ("* * * * l", "day-of-week", "'l' can't stand"),
        ("* * * * 8l", "day-of-week", "'8l' can't stand"),
        ("* * * * 1#6", "day-of-week", "a month has a 1st to 5th"),
        ("* * * * 1#0", "day-of-week", "a month has a 1st to 5th"),
        ("* * * * 1-5#2", "day-of-week", "'1-5#2' can't stand"),
        ("0 22-2 * * *", "hour", "'22-2' in the hour field runs backwards: write 22-23,0-2"),
        ("0 0 * * fri-sun", "day-of-week", "runs backwards: write 5-6,0 if"),
        ("0 0 1 nov-feb *", "month", "runs backwards: write 11-12,1-2"),
        ("*/60 * * * *", "minute", "'*/60' in the minute field: its step must be 1 to 59"),
        ("0 */24 * * *", "hour", "1 to 23"),
        ("0 0 */31 * *", "day-of-month", "1 to 30"),
        ("0 0 1 */12 *", "month", "1 to 11"),
        ("0 0 * * */7", "day-of-week", "1 to 6"),
        ("*/0 * * * *", "minute", "1 to 59"),
        ("*/x * * * *", "minute", "1 to 59"),
        ("*/ * * * *", "minute", "1 to 59"),
        ("1/2/3 * * * *", "minute", "1 to 59"),
        ("R * * * *", "minute", "would be random: write H"),
        ("0 r(0-5)/2 * * *", "hour", "would be random: write H"),
        ("H * * * *", "minute", "stands for a value hashed from a schedule's name"),
        ("0 0 h(1-5) * *", "day-of-month", "stands for a value hashed"),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_what_is_allowed(
    expression: str, field: str, says: str
) -> None:
    with pytest.raises(InvalidCrontab) as caught:
        validate(expression)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"crontab {expression!r}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "0 fields: write minute, hour"),
        ("* * * *", "4 fields: write minute, hour"),
        ("0 0 0 1 1 * 2026", r"7 fields \(years are not supported\)"),
        ("@reboot", "there is no such alias: write one of @hourly"),
        ("@", "there is no such alias"),
        ("@daily 5", "2 fields"),
        ("٥ * * * *", "only ASCII"),
        ("0 0 * *\u00a0*", "only ASCII"),
        ("1," * 200 + "1 * * * *", "409 characters are too many: at most 256"),
    ],
)
def test_a_bad_expression_says_what_to_write(expression: str, says: str) -> None:
    with pytest.raises(InvalidCrontab, match=says) as caught:
        validate(expression)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31W 4 *", "0 0 30,31 feb *", "0 0 0 30 2 *"]
)
def test_a_day_that_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(ImpossibleCrontab, match="never occurs"):
        validate(expression)


def test_days_that_never_meet_are_refused_only_if_both_must_match() -> None:
    validate("0 0 1-7 2 sun#5")
    with pytest.raises(ImpossibleCrontab):
        validate("0 0 1-7 2 sun#5", "and")
    validate("0 0 29 2 sun#5", "and")  # once in 28 years


@pytest.mark.parametrize("expression", ["0 0 */2 * mon", "0 0 1 * */2", "0 0 */2 * */3", "0 0 */1 * fri"])
def test_a_stepped_star_beside_the_other_day_field_needs_an_explicit_day_match(expression: str) -> None:
    with pytest.raises(InvalidCrontab, match=r"day_match: and .* or day_match: or"):
        validate(expression)
    validate(expression, "or", day_match_given=True)
    validate(expression, "and", day_match_given=True)


@pytest.mark.parametrize("expression", ["0 0 */2 * *", "0 0 * * */2", "0 0 2-31/2 * mon", "0 0 1,15 * mon"])
def test_other_day_fields_need_no_day_match(expression: str) -> None:
    validate(expression)


def test_every_refusal_is_an_invalid_schedule_and_a_value_error() -> None:
    for kind in (InvalidCrontab, ImpossibleCrontab):
        assert issubclass(kind, InvalidSchedule)
        assert issubclass(kind, ValueError)


@pytest.mark.parametrize(
    ("expression", "wildcard"),
    [
        ("* * * * *", True),
        ("0 * * * *", True),
        ("*/15 2 * * *", True),
        ("0 */2 * * *", True),
        ("@hourly", True),
        ("30 0 * * * *", True),
        ("0 2 * * *", False),
        ("0-59 0-23 * * *", False),
        ("* 30 2 * * *", False),
        ("@daily", False),
    ],
)
def test_the_class_is_read_from_how_minute_and_hour_begin(expression: str, *, wildcard: bool) -> None:
    assert is_wildcard(expression) is wildcard
    assert parse(expression).wildcard is wildcard


def test_a_hash_is_the_same_everywhere() -> None:
    # Fixed values: a change here moves every user's schedules.
    assert resolve_hash("H H * * *", "nightly") == "40 14 * * *"
    assert resolve_hash("H H H * * *", "nightly") == "34 40 14 * * *"
    assert resolve_hash("H H H H H", "nightly") == "40 14 24 2 0"
    assert resolve_hash("H/15 h(9-17) * * H(1-5)", "nightly") == "10-59/15 17 * * 1"
    assert resolve_hash("H(0-29)/10,45 0 * * *", "nightly") == "0-29/10,45 0 * * *"


def test_without_hashes_the_expression_stays_as_written() -> None:
    assert resolve_hash("0  9 * * Thu", "x") == "0  9 * * Thu"
    assert resolve_hash("@daily", "x") == "@daily"


def test_hashes_keep_within_their_field_and_spread() -> None:
    resolved = [resolve_hash("H H H H H", str(n)) for n in range(500)]
    for expression in resolved:
        validate(expression)
    for i, values in enumerate([60, 24, 28, 12, 7]):
        found = {int(expression.split()[i]) for expression in resolved}
        assert len(found) > values * 0.9
    assert {int(expression.split()[2]) for expression in resolved} == set(range(1, 29))


def test_stepped_hashes_start_within_their_first_step() -> None:
    starts = {resolve_hash("H(10-40)/7 * * * *", str(n)).split()[0] for n in range(200)}
    assert starts == {f"{start}-40/7" for start in range(10, 17)}


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("H(30-10) * * * *", "runs backwards"),
        ("H(0-60) * * * *", "it takes 0-59"),
        ("H/60 * * * *", "its step must be 1 to 59"),
        ("H/0 * * * *", "its step must be 1 to 59"),
        ("H * * *", "4 fields"),
    ],
)
def test_a_bad_hash_is_refused(expression: str, says: str) -> None:
    with pytest.raises(InvalidCrontab, match=says):
        resolve_hash(expression, "x")


def test_what_only_looks_like_a_hash_is_refused_when_parsed() -> None:
    for expression in ("H-5 * * * *", "H() * * * *", "Hx * * * *"):
        assert resolve_hash(expression, "x") == expression
        with pytest.raises(InvalidCrontab):
            validate(expression)
