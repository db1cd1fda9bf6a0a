"""Decisions about what lies between a cursor and now."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.schedule.policy import ON_TIME, Catchup, Missed, Stretch, Timetable, decide, fires_left, standing
from taskd.schedule.trigger import Crontab, Date, Interval

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVERY_MINUTE = Timetable(Crontab("* * * * *", "UTC"))
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
