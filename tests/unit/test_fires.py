"""Fire times gained and lost: what a change of a schedule means for the week to come."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.reconcile.fires import LISTED, SPAN, Fires, Side, fires_changed, fires_of, limited
from taskd.reconcile.offline import table_of
from taskd.reconcile.plan import Plan, compare
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.schedule.timing import occurrences
from taskd.source.yamlfile import FileReading, read_file

NOW = datetime(2026, 3, 27, 12, 0, 0, 250_000, tzinfo=UTC)  # a Friday; Berlin's clocks go forward on Sunday


def side(counted: int = 0, **keys: Any) -> Side:
    spec = ScheduleSpec.read({"name": "x", "task": "t", **keys}, "Europe/Berlin")
    return Side(spec.columns(), uid_of("x"), counted)


def shown(fires: Fires | None) -> tuple[int, int, int, int]:
    assert fires is not None
    return fires.before, fires.after, fires.gained, fires.lost


def test_another_hour_gains_and_loses_each_day() -> None:
    fires = fires_changed(side(crontab="0 9 * * *"), side(crontab="0 10 * * *"), NOW)
    assert shown(fires) == (7, 7, 7, 7)
    assert fires is not None
    assert [f"{at:%d %H}" for at in fires.first_lost] == ["28 08", "29 07", "30 07", "31 07", "01 07"]
    assert [f"{at:%d %H}" for at in fires.first_gained] == ["28 09", "29 08", "30 08", "31 08", "01 08"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"crontab": "0 9 * * *"}, {"crontab": "0 9 * * *", "queue": "q", "jitter": 60}),
        ({"crontab": "* * * * * *"}, {"interval": 1}),
        ({"crontab": "0 0 * * *", "timezone": "UTC"}, {"interval": "1d"}),
        ({"crontab": "0 9 1 1 *"}, {"crontab": "0 9 2 1 *"}),
        ({"crontab": "0 9 * * *", "enabled": False}, {"crontab": "0 10 * * *", "enabled": False}),
        ({"crontab": "0 9 * * *"}, {"crontab": "0 9 * * *", "max_run_count": 7}),
    ],
)
def test_where_no_fire_time_changes_there_is_nothing_to_show(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert fires_changed(side(**before), side(**after), NOW) is None


def test_a_new_one_gains_and_a_deleted_or_disabled_one_loses() -> None:
    hourly = side(crontab="0 * * * *")
    assert shown(fires_changed(None, hourly, NOW)) == (0, 168, 168, 0)
    assert shown(fires_changed(hourly, None, NOW)) == (168, 0, 0, 168)
    assert shown(fires_changed(hourly, side(crontab="0 * * * *", enabled=False), NOW)) == (168, 0, 0, 168)


def test_a_crontab_of_seconds_is_counted_like_any_other() -> None:
    every_second, every_other = side(crontab="* * * * * *"), side(crontab="*/2 * * * * *")
    assert shown(fires_changed(every_second, every_other, NOW)) == (604_800, 302_400, 0, 302_400)


def test_windows_and_limits_leave_out_what_they_forbid() -> None:
    hourly = side(crontab="0 * * * *")
    ends = side(crontab="0 * * * *", end_time="2026-03-28T00:00:00+00:00")
    assert shown(fires_changed(hourly, ends, NOW)) == (168, 12, 0, 156)
    begins = side(crontab="0 * * * *", start_time="2026-04-03T11:30:00+00:00")
    assert shown(fires_changed(hourly, begins, NOW)) == (168, 1, 0, 167)
    assert shown(fires_changed(None, side(crontab="0 * * * *", one_off=True), NOW)) == (0, 1, 1, 0)
    some = side(crontab="0 * * * *", max_run_count=5)
    assert shown(fires_changed(hourly, some, NOW)) == (168, 5, 0, 163)


def test_a_schedule_that_has_used_up_its_limit_loses_nothing() -> None:
    assert fires_changed(side(crontab="0 * * * *", one_off=True, counted=1), None, NOW) is None
    some = side(crontab="0 * * * *", max_run_count=5, counted=3)
    assert shown(fires_changed(some, None, NOW)) == (2, 0, 0, 2)


def test_fractions_of_a_second_are_times_of_their_own() -> None:
    whole, half = side(interval=60), side(interval=60, start_time="2026-01-01T00:00:00.5+00:00")
    assert shown(fires_changed(whole, half, NOW)) == (10_080, 10_080, 10_080, 10_080)
    fires = fires_changed(None, side(date="2026-03-27T12:00:00.75+00:00"), NOW)
    assert fires is not None
    assert fires.first_gained == (NOW + timedelta(seconds=0.5),)


def test_a_row_whose_trigger_someone_broke_fires_nothing() -> None:
    hourly = side(crontab="0 * * * *")
    for broken in ({"crontab": "nonsense"}, {"timezone": "Mars"}, {"policy": {"dst": {"gap": 1, "x": 2}}}):
        row = hourly._replace(columns={**hourly.columns, **broken})
        assert shown(fires_changed(row, hourly, NOW)) == (0, 168, 168, 0)


def plan_of(before: str, after: str) -> Plan:
    def read(body: str) -> FileReading:
        return read_file(f"schedules: {body}".encode(), "a.yaml", "Europe/Berlin")

    return compare([read(after)], table_of({"a.yaml": read(before)}))


LIMITED = "{x: {task: t, crontab: '0 * * * *', max_run_count: 5}}"


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("{}", (2, 0, 0, 2)),
        ("{x: {task: t, crontab: '0 * * * *', max_run_count: 6}}", (2, 6, 4, 0)),
        ("{x: {task: t, crontab: '30 * * * *', max_run_count: 5}}", (2, 5, 5, 2)),
        ("{x: {task: t, crontab: '0 * * * *', max_run_count: 5, enabled: false}}", (2, 0, 0, 2)),
    ],
)
def test_the_fires_that_a_limit_has_seen_are_gone_until_the_timing_changes(
    after: str, expected: tuple[int, int, int, int]
) -> None:
    plan = plan_of(LIMITED, after)
    assert limited(plan) == [uid_of("x")]
    assert shown(fires_of(plan, NOW, {uid_of("x"): 3})["x"]) == expected


def test_a_limit_that_is_used_up_stays_so_while_only_the_task_changes() -> None:
    plan = plan_of(LIMITED, LIMITED.replace("task: t", "task: u"))
    assert fires_of(plan, NOW, {uid_of("x"): 5}) == {"x": None}


def test_a_renamed_schedule_keeps_the_values_of_its_h() -> None:
    plan = plan_of(
        "{old: {task: t, crontab: 'H H * * *'}}", "{new: {task: t, crontab: 'H H * * *', replaces: old}}"
    )
    assert [change.declared.spec.name for change in plan.renames] == ["new"]
    assert fires_of(plan, NOW, {}) == {"old": None}
    again = plan_of(
        "{new: {task: t, crontab: 'H H * * *', replaces: old}}",
        "{new: {task: t, crontab: 'H H * * *', replaces: old, enabled: false}}",
    )
    (fires,) = fires_of(again, NOW, {}).values()
    assert fires is not None
    spec = ScheduleSpec.read({"name": "old", "task": "t", "crontab": "H H * * *"}, "Europe/Berlin")
    assert fires.first_lost[0] == next(occurrences(spec.trigger, NOW))


TRIGGERS = st.one_of(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */3 * * 1-5", "0,30 9-17 * * *", "H H * * *"]).map(
        lambda text: {"crontab": text}
    ),
    st.integers(60, 10**6).map(lambda seconds: {"interval": seconds}),
    st.datetimes(datetime(2026, 3, 20), datetime(2026, 4, 10)).map(
        lambda at: {"date": at.isoformat() + "+00:00"}
    ),
)


@given(TRIGGERS, TRIGGERS, st.integers(0, 10**6))
def test_it_is_what_comparing_the_occurrences_one_by_one_gives(
    before: dict[str, Any], after: dict[str, Any], later: int
) -> None:
    since = NOW + timedelta(seconds=later)
    old, new = (
        set(takewhile(lambda at: at <= since + SPAN, occurrences(spec.trigger, since)))
        for spec in (
            ScheduleSpec.read({"name": "x", "task": "t", **keys}, "Europe/Berlin") for keys in (before, after)
        )
    )
    fires = fires_changed(side(**before), side(**after), since)
    if old == new:
        assert fires is None
        return
    assert shown(fires) == (len(old), len(new), len(new - old), len(old - new))
    assert fires is not None
    assert fires.first_gained == tuple(sorted(new - old)[:LISTED])
    assert fires.first_lost == tuple(sorted(old - new)[:LISTED])
