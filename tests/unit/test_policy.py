"""Decisions about what lies between a cursor and now."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.schedule import timing
from taskd.schedule.duration import seconds_of
from taskd.schedule.policy import (
    MOMENT,
    ON_TIME,
    Catchup,
    Missed,
    Stretch,
    Timetable,
    decide,
    fires_left,
    overdue,
    standing,
)
from taskd.schedule.spec import uid_of
from taskd.schedule.trigger import Crontab, Date, Interval

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVERY_MINUTE = Timetable(Crontab("* * * * *", "UTC"))
UID = uid_of("a")
LATEST = Catchup()
ALL = Catchup("all")
NONE = Catchup("none")


def test_an_occurrence_that_has_just_come_due_fires() -> None:
    decision = decide(EVERY_MINUTE, LATEST, NOON - MINUTE, NOON + timedelta(seconds=1))
    assert decision.fires == (NOON,)
    assert (decision.missed, decision.cursor, decision.next_run_at) == ((), NOON, NOON + MINUTE)


def test_nothing_due_moves_nothing() -> None:
    decision = decide(EVERY_MINUTE, LATEST, NOON, NOON + timedelta(seconds=30))
    assert (decision.fires, decision.missed, decision.cursor) == ((), (), NOON)
    assert decision.next_run_at == NOON + MINUTE


def test_after_an_outage_the_latest_runs_once_and_the_rest_is_one_missed_stretch() -> None:
    now = NOON + timedelta(seconds=40)
    decision = decide(EVERY_MINUTE, LATEST, NOON - 10 * MINUTE, now)
    assert decision.fires == (NOON,)
    assert decision.missed == (Missed(Stretch(NOON - 9 * MINUTE, NOON - MINUTE, 9), "catchup"),)


def test_what_is_on_time_stands_in_for_what_is_late() -> None:
    decision = decide(EVERY_MINUTE, LATEST, NOON - 3 * MINUTE, NOON + timedelta(seconds=2))
    assert decision.fires == (NOON,)
    assert [gap.stretch.count for gap in decision.missed] == [2]


def test_what_is_older_than_the_window_is_missed_for_that_reason() -> None:
    now = NOON + timedelta(seconds=40)
    decision = decide(EVERY_MINUTE, Catchup("all", window=300), NOON - 20 * MINUTE, now)
    assert decision.fires == tuple(NOON - n * MINUTE for n in (4, 3, 2, 1, 0))
    assert decision.missed == (Missed(Stretch(NOON - 19 * MINUTE, NOON - 5 * MINUTE, 15), "window"),)


def test_all_keeps_the_newest_when_there_are_too_many() -> None:
    decision = decide(EVERY_MINUTE, Catchup("all", max=2), NOON - 5 * MINUTE, NOON + timedelta(seconds=40))
    assert decision.fires == (NOON - MINUTE, NOON)
    assert decision.missed == (Missed(Stretch(NOON - 4 * MINUTE, NOON - 2 * MINUTE, 3), "catchup"),)


def test_none_fires_nothing_that_is_late() -> None:
    decision = decide(EVERY_MINUTE, NONE, NOON - 2 * MINUTE, NOON + timedelta(seconds=40))
    assert decision.fires == ()
    assert [gap.stretch.count for gap in decision.missed] == [2]


def test_a_second_missed_for_a_year_is_two_rows() -> None:
    each_second = Timetable(Interval(1))
    decision = decide(each_second, LATEST, NOON - timedelta(days=365), NOON)
    assert decision.fires == tuple(NOON - timedelta(seconds=n) for n in range(15, -1, -1))
    assert [gap.reason for gap in decision.missed] == ["window", "catchup"]
    assert sum(gap.stretch.count for gap in decision.missed) == 365 * 86400 - 16


def test_fires_stop_where_the_limit_is_reached() -> None:
    decision = decide(EVERY_MINUTE, ALL, NOON - 5 * MINUTE, NOON + timedelta(seconds=40), fires_left=2)
    assert decision.fires == (NOON - 4 * MINUTE, NOON - 3 * MINUTE)
    assert (decision.missed, decision.cursor, decision.next_run_at) == ((), NOON - 3 * MINUTE, None)


def test_a_date_fires_once() -> None:
    decision = decide(Timetable(Date(NOON)), LATEST, NOON - MINUTE, NOON + timedelta(seconds=1))
    assert (decision.fires, decision.next_run_at) == ((NOON,), None)


def test_a_date_that_nobody_could_fire_in_time_is_missed() -> None:
    decision = decide(Timetable(Date(NOON)), LATEST, NOON - MINUTE, NOON + timedelta(hours=2))
    assert (decision.fires, [gap.stretch for gap in decision.missed]) == ((), [Stretch(NOON, NOON, 1)])


def test_the_window_is_inclusive_at_both_ends() -> None:
    windowed = Timetable(Crontab("* * * * *", "UTC"), NOON, NOON + MINUTE)
    assert windowed.next_after(NOON - timedelta(days=1)) == NOON
    assert windowed.next_after(NOON) == NOON + MINUTE
    assert windowed.next_after(NOON + MINUTE) is None


AT = {f"{minutes:02}": NOON + timedelta(minutes=minutes - 60) for minutes in range(0, 121, 10)}  # 60 is noon
EVERY_TEN = Timetable(Interval(600))
CATCHUP = """
# catchup          | cursor | woken at  | fires             | window | left out | next
latest             | 50     | 60 + 15s  | 60                |        |          | 70
none               | 50     | 60 + 15s  | 60                |        |          | 70
all                | 50     | 60 + 15s  | 60                |        |          | 70
latest             | 50     | 60 + 16s  | 60                |        |          | 70
none               | 50     | 60 + 16s  |                   |        | 60-60    | 70
all                | 50     | 60 + 16s  | 60                |        |          | 70
latest             | 20     | 60 + 16s  | 60                |        | 30-50    | 70
none               | 20     | 60 + 16s  |                   |        | 30-60    | 70
all                | 20     | 60 + 16s  | 30 40 50 60       |        |          | 70
all max 2          | 20     | 60 + 16s  | 50 60             |        | 30-40    | 70
latest             | 20     | 60 + 1s   | 60                |        | 30-50    | 70
none               | 20     | 60 + 1s   | 60                |        | 30-50    | 70
all                | 20     | 60 + 1s   | 30 40 50 60       |        |          | 70
latest window 20m  | 00     | 60 + 16s  | 60                | 10-40  | 50-50    | 70
none window 20m    | 00     | 60 + 16s  |                   | 10-40  | 50-60    | 70
all window 20m     | 00     | 60 + 16s  | 50 60             | 10-40  |          | 70
all window 20m     | 00     | 60 + 0s   | 40 50 60          | 10-30  |          | 70
all window 5m      | 20     | 60 + 299s | 60                | 30-50  |          | 70
all window 5m      | 20     | 60 + 301s |                   | 30-60  |          | 70
latest window 1s   | 40     | 60 + 15s  | 60                | 50-50  |          | 70
"""


def rows(table: str) -> list[list[str]]:
    """The rows of a table as drawn above."""
    lines = [line for line in table.strip().splitlines() if not line.startswith("#")]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def _catchup(text: str) -> Catchup:
    policy, *rest = text.split()
    given_ = dict(zip(rest[::2], rest[1::2], strict=True))
    return Catchup(policy, seconds_of(given_.get("window", "1h")), int(given_.get("max", 100)))  # type: ignore[arg-type]


@pytest.mark.parametrize("row", rows(CATCHUP), ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}")
def test_the_catchup_table(row: list[str]) -> None:
    policy, cursor, woken, fires, window, left_out, following = row
    at, late = woken.removesuffix("s").split(" + ")
    decision = decide(EVERY_TEN, _catchup(policy), AT[cursor], AT[at] + timedelta(seconds=int(late)))
    assert decision.fires == tuple(AT[fire] for fire in fires.split())
    gaps = {gap.reason: (gap.stretch.first, gap.stretch.last) for gap in decision.missed}
    told = {"window": window, "catchup": left_out}
    expected = {reason: tuple(AT[end] for end in gap.split("-")) for reason, gap in told.items() if gap}
    assert gaps == expected
    assert (decision.cursor, decision.next_run_at) == (AT[at], AT[following])


def test_a_second_missed_for_a_year_asks_the_evaluator_a_handful_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def counted(question: str) -> Callable[..., Any]:
        answer = getattr(timing, question)
        return lambda *args: (asked.append(question), answer(*args))[1]

    for question in ("next_after", "last_until", "count_between"):
        monkeypatch.setattr(timing, question, counted(question))
    for jitter in (0, 30):
        for trigger in (Interval(1), Crontab("* * * * * *", "Europe/Berlin")):
            each_second = Timetable(trigger, jitter=jitter, uid=UID)
            asked.clear()
            decide(each_second, Catchup("all", max=100), NOON - timedelta(days=365), NOON)
            assert len(asked) < 250


def test_a_delay_is_the_occurrences_own_and_shorter_than_the_way_to_the_next() -> None:
    hourly = Timetable(Interval(3600), jitter=7200, uid=UID)
    delays = [hourly.due(at) - at for at in hourly.newest(Stretch(NOON - 99 * HOUR, NOON, 100), 100)]
    assert delays == [hourly.due(NOON - n * HOUR) - (NOON - n * HOUR) for n in range(99, -1, -1)]
    assert min(delays) >= timedelta(0)
    assert max(delays) < HOUR
    assert len(set(delays)) == 100
    assert max(delays) - min(delays) > 0.8 * HOUR
    assert Timetable(Date(NOON), jitter=60, uid=UID).due(NOON) < NOON + MINUTE


def test_a_delayed_occurrence_waits_for_its_delay_and_keeps_its_scheduled_time() -> None:
    hourly = Timetable(Interval(3600), jitter=1800, uid=UID)
    due = hourly.due(NOON)
    assert due > NOON
    waiting = decide(hourly, NONE, NOON - HOUR, due - MOMENT)
    assert (waiting.fires, waiting.missed, waiting.cursor, waiting.next_run_at) == ((), (), NOON - HOUR, due)
    fired = decide(hourly, NONE, NOON - HOUR, due + ON_TIME)  # on time: lateness counts from its delay
    assert (fired.fires, fired.cursor) == ((NOON,), NOON)
    assert fired.next_run_at == hourly.due(NOON + HOUR)
    late = decide(hourly, NONE, NOON - HOUR, due + ON_TIME + MOMENT)
    assert (late.fires, [gap.reason for gap in late.missed]) == ((), ["catchup"])


def test_the_window_counts_from_the_delay_too() -> None:
    hourly = Timetable(Interval(3600), jitter=1800, uid=UID)
    window = Catchup("all", window=600)
    end = hourly.due(NOON) + timedelta(seconds=600)
    assert decide(hourly, window, NOON - HOUR, end).fires == (NOON,)
    assert decide(hourly, window, NOON - HOUR, end + MOMENT).missed == (
        Missed(Stretch(NOON, NOON, 1), "window"),
    )
    assert not overdue(hourly, window, NOON, end)
    assert overdue(hourly, window, NOON, end + MOMENT)


def test_what_waits_is_not_overdue_while_it_would_still_be_on_time() -> None:
    brief = Catchup("all", window=1)
    assert not overdue(EVERY_MINUTE, brief, NOON, NOON + ON_TIME)
    assert overdue(EVERY_MINUTE, brief, NOON, NOON + ON_TIME + MOMENT)


def test_the_end_is_about_scheduled_times_not_about_delays() -> None:
    ending = Timetable(Interval(3600), end=NOON, jitter=1800, uid=UID)
    assert decide(ending, LATEST, NOON - HOUR, ending.due(NOON)).fires == (NOON,)
    assert standing(ending, NOON - HOUR, enabled=True, paused=False, fires_left=None).state == "active"
    assert standing(ending, NOON, enabled=True, paused=False, fires_left=None).state == "ended"


def test_a_forward_jump_of_the_clock_is_an_outage() -> None:
    jumped = decide(EVERY_TEN, LATEST, NOON, NOON + 3 * HOUR + MINUTE)
    assert jumped.fires == (NOON + 3 * HOUR,)
    assert sum(gap.stretch.count for gap in jumped.missed) == 17


def test_after_a_backward_jump_nothing_that_was_decided_fires_again() -> None:
    for jitter in (0, 300):
        jittered = Timetable(Interval(600), jitter=jitter, uid=UID)
        back = decide(jittered, ALL, NOON, NOON - 3 * HOUR)
        assert (back.fires, back.missed, back.cursor) == ((), (), NOON)
        assert back.next_run_at == jittered.due(NOON + 10 * MINUTE)


@given(
    seconds=st.integers(1, 5000),
    jitter=st.integers(0, 9000),
    policy=st.sampled_from(["none", "latest", "all"]),
    window=st.integers(1, 4000),
    left=st.none() | st.integers(1, 5),
    steps=st.lists(st.integers(-3000, 9000), min_size=1, max_size=12),
    end=st.integers(0, 40_000),
)
def test_however_the_clock_goes_each_occurrence_is_accounted_for_once(
    seconds: int, jitter: int, policy: Any, window: int, left: int | None, steps: list[int], end: int
) -> None:
    timetable = Timetable(Interval(seconds), NOON, NOON + timedelta(seconds=end), jitter, UID)
    catchup = Catchup(policy, window, 3)
    cursor = now = latest = NOON - MOMENT
    fired: list[datetime] = []
    covered = 0
    for step in steps:
        now += timedelta(seconds=step)
        decision = decide(timetable, catchup, cursor, now, fires_left=left)
        assert decision.cursor >= cursor
        assert all(timetable.due(fire) <= now for fire in decision.fires)
        fired += decision.fires
        covered += len(decision.fires) + sum(gap.stretch.count for gap in decision.missed)
        cursor, latest = decision.cursor, max(latest, now)
        if left is not None:
            left -= len(decision.fires)
            if left == 0:
                break
        assert decision.next_run_at is None or decision.next_run_at > now or left == 0
    assert fired == sorted(set(fired))
    done = timetable.between(NOON - MOMENT, cursor)
    assert covered == (done.count if done else 0)
    if left != 0:
        reached = timetable.between(NOON - MOMENT, timetable.reached(latest))
        assert covered == (reached.count if reached else 0)


@given(
    seconds=st.integers(1, 5000),
    policy=st.sampled_from(["none", "latest", "all"]),
    window=st.integers(0, 4000),
    most=st.integers(0, 20),
    gap=st.integers(0, 20_000),
)
def test_every_occurrence_is_covered_exactly_once(
    seconds: int, policy: str, window: int, most: int, gap: int
) -> None:
    timetable = Timetable(Interval(seconds))
    catchup = Catchup(policy, window, most)  # type: ignore[arg-type]
    cursor, now = NOON - timedelta(seconds=gap), NOON
    decision = decide(timetable, catchup, cursor, now)
    due = timetable.between(cursor, now)
    covered = len(decision.fires) + sum(gap.stretch.count for gap in decision.missed)
    assert covered == (due.count if due else 0)
    assert list(decision.fires) == sorted(set(decision.fires))
    assert all(fire > gap.stretch.last for gap in decision.missed for fire in decision.fires)
    assert all(fire >= min(catchup.oldest(now), now - ON_TIME) for fire in decision.fires)
    assert cursor <= decision.cursor <= now


@pytest.mark.parametrize(
    ("given_", "state"),
    [
        ({}, "active"),
        ({"paused": True}, "paused"),
        ({"enabled": False, "paused": True}, "disabled"),
        ({"fires_left": 0, "enabled": False}, "completed"),
        ({"fires_left": 1}, "active"),
    ],
)
def test_where_a_schedule_stands(given_: dict[str, bool], state: str) -> None:
    facts = {"enabled": True, "paused": False, "fires_left": None} | given_
    stand = standing(EVERY_MINUTE, NOON, **facts)  # type: ignore[arg-type]
    assert stand.state == state
    assert (stand.next_run_at is not None) == (state == "active")


def test_past_its_end_a_schedule_has_ended_and_a_date_is_completed() -> None:
    ended = Timetable(Crontab("* * * * *", "UTC"), end=NOON)
    assert standing(ended, NOON, enabled=False, paused=False, fires_left=None).state == "ended"
    assert (
        standing(Timetable(Date(NOON)), NOON, enabled=True, paused=False, fires_left=None).state
        == "completed"
    )


def test_limits_count_from_where_it_was_armed() -> None:
    assert fires_left(one_off=False, max_run_count=0, counted=9) is None
    assert fires_left(one_off=True, max_run_count=0, counted=0) == 1
    assert fires_left(one_off=True, max_run_count=5, counted=1) == 0
    assert fires_left(one_off=False, max_run_count=5, counted=7) == 0
