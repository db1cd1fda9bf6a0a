"""Zone names and wall clocks: one instant, or a sentence that says why not."""

from datetime import UTC, datetime

import pytest

from taskd.schedule.zones import AmbiguousTime, NonexistentTime, UnknownTimezone, instant_of, zone


def test_a_plain_wall_clock_is_one_instant() -> None:
    shown = instant_of(datetime(2026, 12, 31, 23, 30), zone("Asia/Shanghai"))
    assert shown == datetime(2026, 12, 31, 15, 30, tzinfo=UTC)


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(NonexistentTime, match=r"doesn't exist in Europe/Berlin"):
        instant_of(datetime(2026, 3, 29, 2, 30), zone("Europe/Berlin"))


def test_a_time_that_comes_twice_is_refused_with_both_ways_to_write_it() -> None:
    with pytest.raises(AmbiguousTime, match=r"02:30:00\+02:00 or .*02:30:00\+01:00"):
        instant_of(datetime(2026, 10, 25, 2, 30), zone("Europe/Berlin"))


@pytest.mark.parametrize("name", ["Europe/Berln", "", "../etc/passwd", "Europe", "Mars/Base", "\0"])
def test_an_unknown_zone_says_so(name: str) -> None:
    with pytest.raises(UnknownTimezone, match="unknown time zone"):
        zone(name)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(UnknownTimezone, match="did you mean 'Europe/Berlin'"):
        zone("Europe/Berln")
