"""The evaluator against a brute-force reading of the same crontabs, around the transitions of real zones."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import available_timezones

import pytest

from taskd.schedule import stretches, timing
from taskd.schedule.timing import count_between, last_until, marks_between, next_after
from taskd.schedule.trigger import Crontab, Dst
from tests.unit.oracle import fires, follows_the_clock, occurrences, transitions

DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)

WILDCARD = """
* * * * *
*/2 * * * *
*/7 * * * *
*/15 * * * *
*/30 * * * *
0 * * * *
30 * * * *
59 * * * *
5,35 * * * *
10-20/3 * * * *
45/5 * * * *
0 */2 * * *
30 */3 * * *
15 */5 * * *
*/20 2 * * *
* 0 * * *
* 1-3 * * *
*/10 23,0,1 * * *
* 2 * * sun
0 * * * mon-fri
*/5 * 1,15 * *
*/5 * l * *
30 * 31w * *
0 */4 * * 7
*/15 * * 1-6,11,12 *
*/15 0-4/2 * * *
*/45 * */2 * *
@hourly
0 */6 13 * fri
* * * * sat,sun
""".strip().splitlines()

FIXED = """
0 0 * * *
1 0 * * *
30 0 * * *
0 1 * * *
30 1 * * *
59 1 * * *
0 2 * * *
15 2 * * *
30 2 * * *
45 2 * * *
0 3 * * *
0,30 2,3 * * *
0 0,12 * * *
59 23 * * *
30 23 * * *
0 9 * * 1-5
0-59/10 0-3 * * *
30 1-2 * * *
7 0-23 * * *
0-59 2 * * *
0-59 0-23 * * *
0 2 * * sun
30 2 * * 7
0 0 * * sat,sun
30 0 1 * *
0 2 l * *
30 2 lw * *
15 1 15w * *
0 2 * * sun#2
30 1 * * sunl
30 2 * 3,10 sun#2,sunl
0 0 1-7 * sat
45 23 28-31 * *
0 5 29 2 *
20 4 1,15 * mon
@daily
@weekly
@monthly
""".strip().splitlines()

SECONDS = [
    "* * * * * *",
    "*/15 * * * * *",
    "30 59 * * * *",
    "0 0 */2 * * *",
    "15,45 30 1-3 * * *",
    "*/20 0 0-3 * * *",
]

HARD = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1)),
    ("America/New_York", datetime(2026, 11, 1, 6)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1)),
    ("Antarctica/Troll", datetime(2026, 10, 25, 1)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3)),
    ("America/Santiago", datetime(2026, 4, 5, 3)),
    ("America/Santiago", datetime(2026, 9, 6, 4)),
    ("Asia/Amman", datetime(2022, 2, 24, 22)),
    ("Asia/Amman", datetime(2021, 10, 28, 22)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10)),
    ("Pacific/Kwajalein", datetime(1993, 8, 21, 12)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2)),
    ("Africa/Casablanca", datetime(2026, 3, 22, 2)),
    ("Asia/Pyongyang", datetime(2015, 8, 14, 15)),
    ("Asia/Shanghai", datetime(2026, 5, 1, 0)),
]


def agree(trigger: Crontab, start: datetime, end: datetime) -> None:
    """All questions give what the oracle gives, in [start, end)."""
    expected = occurrences(trigger.expression, trigger.timezone, start, end, **rules(trigger))
    found, at = [], start - SECOND
    while (due := next_after(trigger, at)) is not None and due < end:
        found.append(due)
        at = due
    assert found == expected, trigger
    assert count_between(trigger, start - SECOND, end - SECOND) == len(expected), trigger
    back, at = [], end - SECOND
    while (due := last_until(trigger, at)) is not None and due >= start:
        back.append(due)
        at = due - SECOND
    assert back[::-1] == expected, trigger


def rules(trigger: Crontab) -> dict[str, str | None]:
    return {"day_match": trigger.day_match, "gap": trigger.dst.gap, "overlap": trigger.dst.overlap}


def agree_at_once(trigger: Crontab, start: datetime, end: datetime) -> None:
    """The marks, the count and both ends are the oracle's, in [start, end), for a trigger of whole minutes."""
    due = fires(trigger.expression, trigger.timezone, start, end, **rules(trigger))
    assert marks_between(trigger, start - SECOND, end - SECOND) >> 1 == as_marks(due), trigger
    assert count_between(trigger, start - SECOND, end - SECOND) == due.count(1), trigger
    if 1 in due:
        assert next_after(trigger, start - SECOND) == start + due.index(1) * MINUTE, trigger
        assert last_until(trigger, end - SECOND) == start + due.rindex(1) * MINUTE, trigger


def as_marks(minutes: bytes) -> int:
    """Bits of seconds from bytes of minutes: two minutes are fifteen bytes."""
    marks = bytearray(len(minutes) // 2 * 15)
    marks[::15] = minutes[::2]
    marks[7::15] = minutes[1::2].replace(b"\1", b"\x10")
    return int.from_bytes(marks, "little")


def test_the_list_has_enough_of_both_classes() -> None:
    assert len(WILDCARD) >= 30
    assert len(FIXED) >= 30
    assert all(map(follows_the_clock, WILDCARD))
    assert not any(map(follows_the_clock, FIXED))


@pytest.mark.parametrize(("zone", "change"), HARD, ids=str)
def test_the_hard_zones_agree_with_the_oracle(zone: str, change: datetime) -> None:
    start, end = change.replace(tzinfo=UTC) - DAY, change.replace(tzinfo=UTC) + DAY
    for expression in WILDCARD + FIXED:
        agree(Crontab(expression, zone), start, end)


@pytest.mark.parametrize(("zone", "change"), HARD[::2], ids=str)
def test_seconds_agree_with_the_oracle(zone: str, change: datetime) -> None:
    # The hour or two that the change skips or repeats, and a margin.
    start, end = change.replace(tzinfo=UTC) - 10 * MINUTE, change.replace(tzinfo=UTC) + 130 * MINUTE
    for expression in SECONDS:
        agree(Crontab(expression, zone), start, end)


@pytest.mark.parametrize("gap", ["run_after", "skip"])
@pytest.mark.parametrize("overlap", ["first", "both"])
def test_overrides_agree_with_the_oracle(gap: str, overlap: str) -> None:
    for zone, change in HARD[:6]:
        start, end = change.replace(tzinfo=UTC) - DAY / 2, change.replace(tzinfo=UTC) + DAY / 2
        for expression in WILDCARD[::3] + FIXED[::3]:
            agree(Crontab(expression, zone, dst=Dst(gap=gap, overlap=overlap)), start, end)  # type: ignore[arg-type]


@pytest.mark.parametrize("expression", ["0 2 13 * fri", "30 2 */3 * sun#2", "*/30 2 l * 1-5", "0 0 29 2 1"])
def test_day_match_and_agrees_with_the_oracle(expression: str) -> None:
    start = datetime(2044, 2, 1, tzinfo=UTC)
    agree(Crontab(expression, "Europe/Berlin", day_match="and"), start, start + 70 * DAY)


@pytest.fixture
def blocks_of_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    remembered = (stretches._stretches, timing._next_after, timing._last_until)
    monkeypatch.setattr(stretches, "_BLOCK", 1800)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@pytest.mark.usefixtures("blocks_of_half_an_hour")
@pytest.mark.parametrize(("zone", "change"), HARD[:8], ids=str)
def test_where_the_search_cuts_time_into_blocks_makes_no_difference(zone: str, change: datetime) -> None:
    start, end = change.replace(tzinfo=UTC) - DAY / 4, change.replace(tzinfo=UTC) + DAY / 4
    for expression in WILDCARD[::4] + FIXED[::2]:
        agree(Crontab(expression, zone), start, end)


@cache
def all_changes() -> list[tuple[str, datetime, timedelta, timedelta]]:
    """A zone, instant, offset before and after for every distinct change there is, 1990 to 2037."""
    start, end = datetime(1990, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
    distinct = {}
    for zone in sorted(available_timezones()):
        for at, before, after in transitions(zone, start, end):
            distinct.setdefault((before, after, at + before), (zone, at, before, after))
    return list(distinct.values())


PARTS = 128  # small, so that a busy machine isn't taken for a hanging one
WALKS = 8  # one in so many is also walked


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_transition_there_is_agrees_with_the_oracle(part: int) -> None:
    """Each with each expression, a day on each side, at once; near the change also one by one, in rotation."""
    for number, (zone, at, before, after) in list(enumerate(all_changes()))[part::PARTS]:
        near = 5 * MINUTE + abs(after - before)
        for turn, expression in enumerate(WILDCARD + FIXED, number):
            trigger = Crontab(expression, zone)
            agree_at_once(trigger, at - DAY, at + DAY)
            if turn % WALKS == 0:
                agree(trigger, at - near, at + near)
