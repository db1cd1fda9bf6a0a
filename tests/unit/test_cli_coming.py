"""`next`."""

from datetime import datetime

import pytest

from tests.unit.conftest import Workplace


def test_a_crontab_is_read_in_its_zone_and_clock_changes_are_marked(place: Workplace) -> None:
    asked = ["next", "30 2 * * *", "--tz", "America/New_York", "--from", "2026-03-07T00:00", "-n", "2"]
    assert place.json(*asked) == [
        {"scheduled_for": "2026-03-07T07:30:00Z", "local": "2026-03-07T02:30:00-05:00", "note": None},
        {
            "scheduled_for": "2026-03-08T07:00:00Z",
            "local": "2026-03-08T03:00:00-04:00",
            "note": "moved from 02:30, which the clocks skip",
        },
    ]
    assert place.taskd(*asked).stdout.splitlines()[1:] == [
        "Sat 2026-03-07 02:30:00-05:00                                         ",
        "Sun 2026-03-08 03:00:00-04:00  moved from 02:30, which the clocks skip",
    ]


@pytest.mark.parametrize("expression", ["90m", "1h30m", "PT90M"])
def test_an_interval_is_anchored_at_the_epoch(place: Workplace, expression: str) -> None:
    coming = place.json("next", expression, "--from", "2026-01-01T00:00Z", "-n", "2")
    assert [each["scheduled_for"] for each in coming] == ["2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z"]


def test_by_default_it_is_about_now_and_the_daemon_s_zone(place: Workplace) -> None:
    coming = place.json("next", "@hourly")
    assert len(coming) == 10
    assert coming[0]["local"].endswith("+08:00")
    assert datetime.fromisoformat(coming[0]["scheduled_for"]) == datetime.fromisoformat(coming[0]["local"])


def test_a_schedule_is_shown_in_its_own_zone(stocked: Workplace) -> None:
    [each] = stocked.json("next", "daily-report", "--from", "2026-06-01T12:00", "-n", "1")
    assert each == {
        "scheduled_for": "2026-06-02T07:00:00Z",
        "local": "2026-06-02T09:00:00+02:00",
        "note": None,
    }
    [abroad] = stocked.json(
        "next", "daily-report", "--from", "2026-06-01T12:00Z", "-n", "1", "--tz", "Asia/Tokyo"
    )
    assert abroad["local"] == "2026-06-02T16:00:00+09:00"


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["61 * * * *"], "crontab '61 * * * *': '61' can't stand in the minute field"),
        (["0 0 30 2 *"], "never occurs"),
        (["R 1 * * *"], "'r' in the minute field would be random: write H"),
        (["@dayly"], "@dayly"),
        (["0s"], "a duration must be between 1s and 50 years"),
        (["@daily", "--tz", "Europe/Berlim"], "did you mean 'Europe/Berlin'?"),
        (["@daily", "--from", "tomorrow"], "'tomorrow' isn't a time: write it like"),
        (["@daily", "--tz", "Europe/Berlin", "--from", "2026-03-29T02:30"], "doesn't exist in Europe/Berlin"),
        (["@daily", "-n", "0"], "0 is not in the range"),
    ],
)
def test_what_can_t_be_evaluated_is_refused_in_a_sentence(
    place: Workplace, asked: list[str], complaint: str
) -> None:
    assert complaint in place.complaint("next", *asked)
