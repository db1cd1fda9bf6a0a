"""Catch-up, delays and edits on every database, and the promise over all policies: each occurrence is covered once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.dispatch.publisher import Publisher
from taskd.schedule.policy import Timetable
from taskd.schedule.spec import uid_of
from taskd.schedule.trigger import Interval
from taskd.store.database import Database
from taskd.store.schedules import declared, timetable_of
from taskd.store.tables import RunRow
from tests.store.scene import (
    HOUR,
    MINUTE,
    NOON,
    SOON,
    Declare,
    all_runs,
    edit,
    end,
    outbox,
    schedule,
    statuses,
)

SECOND = timedelta(seconds=1)
HOURLY = Timetable(Interval(3600), jitter=3600, uid=uid_of("one"))
DUE = HOURLY.due(NOON)


def test_a_delayed_occurrence_is_decided_when_it_is_due_under_its_own_time(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(interval="1h", jitter="1h")
    assert schedule(database).next_run_at == DUE > NOON
    assert dispatcher.tick(DUE - SECOND) == 0
    assert dispatcher.tick(DUE) == 1
    (run,) = all_runs(database)
    row = schedule(database)
    assert (run.scheduled_for, run.decided_at, row.cursor_at, row.last_run_at) == (NOON, DUE, NOON, NOON)
    assert outbox(database)[0].not_before == DUE
    assert row.next_run_at == HOURLY.due(NOON + HOUR)


def test_an_edit_of_the_jitter_loses_no_occurrence_that_waits(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(interval="1h", jitter="1h")
    edit(database, NOON + 10 * SECOND, interval="1h")
    dispatcher.tick(NOON + 10 * SECOND)
    assert [run.scheduled_for for run in all_runs(database)] == [NOON]
    edit(database, NOON + 20 * SECOND, interval="1h", jitter="1h")
    assert dispatcher.tick(DUE) == 0


def test_an_edit_of_the_timing_fires_nothing_for_the_time_before_it(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(crontab="0 * * * *")
    edit(database, NOON + 5 * MINUTE, crontab="*/2 * * * *")
    dispatcher.tick(NOON + 6 * MINUTE + SECOND)
    assert [run.scheduled_for for run in all_runs(database)] == [NOON + 6 * MINUTE]


def test_an_edit_of_the_arguments_keeps_what_is_late(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(crontab="0 * * * *")
    edit(database, NOON + 5 * MINUTE, crontab="0 * * * *", args=["new"])
    dispatcher.tick(NOON + 5 * MINUTE)
    assert [(run.scheduled_for, run.args) for run in all_runs(database)] == [(NOON, ["new"])]


@pytest.mark.parametrize(
    ("catchup", "fired", "missed"),
    [
        ("none", [], {"catchup": 60, "window": 60}),
        ("latest", [120], {"catchup": 59, "window": 60}),
        ({"policy": "all", "max": 3}, [118, 119, 120], {"catchup": 57, "window": 60}),
        ({"policy": "all", "window": "3h"}, list(range(21, 121)), {"catchup": 20}),
        ({"policy": "latest", "window": "1m"}, [120], {"window": 119}),
    ],
)
def test_after_an_outage_each_policy_has_its_rows(
    database: Database,
    dispatcher: Dispatcher,
    declare: Declare,
    catchup: Any,
    fired: list[int],
    missed: dict[str, int],
) -> None:
    declare(at=NOON, catchup=catchup)
    dispatcher.tick(NOON + 120 * MINUTE + 30 * SECOND)
    runs = all_runs(database)
    assert [run.scheduled_for for run in runs if run.status == "PENDING"] == [
        NOON + n * MINUTE for n in fired
    ]
    gaps = [run.detail or {} for run in runs if run.status == "MISSED"]
    assert {gap["reason"]: gap["count"] for gap in gaps} == missed


def test_a_second_missed_for_a_year_is_a_handful_of_rows(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(interval=1, at=NOON - timedelta(days=365))
    dispatcher.tick(NOON)
    assert statuses(database) == ["MISSED", "MISSED", *["PENDING"] * 16]


def test_a_clock_that_jumps_back_fires_nothing_again_and_goes_on_where_it_was(
    database: Database, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(overlap="allow")
    dispatcher.tick(SOON)
    for minutes in (-120, -60, -1, 0):
        assert dispatcher.tick(SOON + minutes * MINUTE) == 0
    assert dispatcher.tick(SOON + MINUTE) == 1
    assert [run.scheduled_for for run in all_runs(database)] == [NOON, NOON + MINUTE]


@pytest.mark.parametrize(
    ("keys", "waited", "status"),
    [
        ({}, HOUR + MINUTE, "MISSED"),
        ({"catchup": {"window": "2h"}}, HOUR + MINUTE, "PENDING"),
        ({"catchup": {"window": "2h"}}, 2 * HOUR + MINUTE, "MISSED"),
        ({"catchup": {"window": "5m"}}, 6 * MINUTE, "MISSED"),
        ({"catchup": {"window": "1s"}}, 10 * SECOND, "PENDING"),  # it is on time
    ],
)
def test_what_no_broker_took_within_the_schedules_own_window_is_missed(
    database: Database,
    app: Celery,
    leadership: Leadership,
    dispatcher: Dispatcher,
    declare: Declare,
    keys: Any,
    waited: timedelta,
    status: str,
) -> None:
    declare(queue=uuid4().hex, crontab="0 12 * * *", **keys)
    dispatcher.tick(NOON)
    Publisher(database, app, leadership).tick(NOON + waited)
    assert statuses(database) == [status]
    assert (all_runs(database)[0].published_at is None) == (status == "MISSED")


def test_the_window_of_what_waits_for_the_broker_counts_from_its_delay(
    database: Database, app: Celery, leadership: Leadership, dispatcher: Dispatcher, declare: Declare
) -> None:
    declare(queue=uuid4().hex, interval="1h", jitter="1h", catchup={"window": "10m"})
    dispatcher.tick(DUE)
    assert DUE - NOON > 20 * MINUTE
    Publisher(database, app, leadership).tick(DUE + 9 * MINUTE)
    assert (statuses(database), all_runs(database)[0].published_at is None) == (["PENDING"], False)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    keys=st.fixed_dictionaries(
        {
            "interval": st.sampled_from([30, 60, 600]),
            "catchup": st.sampled_from(
                ["none", "latest", "all", {"policy": "all", "window": "2m", "max": 2}]
            ),
            "overlap": st.sampled_from(
                [
                    "allow",
                    "skip",
                    "cancel",
                    "terminate",
                    {"policy": "buffer", "size": 2},
                    {"policy": "skip", "max_active": 2},
                ]
            ),
            "jitter": st.sampled_from([0, 20, 3600]),
        }
    ),
    limit=st.sampled_from([0, 3]),
    moves=st.lists(
        st.tuples(st.integers(-300, 1200), st.sampled_from(["tick", "end"])), min_size=1, max_size=12
    ),
)
def test_every_occurrence_has_one_row_or_a_place_in_one(
    clear: Callable[[], None],
    database: Database,
    app: Celery,
    leadership: Leadership,
    declare: Declare,
    keys: dict[str, Any],
    limit: int,
    moves: list[tuple[int, str]],
) -> None:
    clear()
    dispatcher = Dispatcher(database, app, leadership)  # what was cleared it hasn't seen
    declare(at=NOON, max_run_count=limit, **keys)
    now = NOON
    for seconds, move in moves:
        now += timedelta(seconds=seconds)
        opened = [run for run in all_runs(database) if run.status in {"PENDING", "STARTED"}]
        if move == "end" and opened:
            end(database, opened[0], now)
        dispatcher.tick(now)
        _keeps_its_promise(database, limit)


def _keeps_its_promise(database: Database, limit: int) -> None:
    row, runs = schedule(database), all_runs(database)
    stood = timetable_of(declared(row) | {"uid": row.uid}).between(NOON, row.cursor_at)
    assert sum(map(_covered, runs)) == (stood.count if stood else 0)
    assert len({run.scheduled_for for run in runs}) == len(runs)
    fired = [run for run in runs if run.status not in {"MISSED", "SKIPPED"} or _was_held(run)]
    assert row.total_run_count == len(fired)
    assert not limit or len(fired) <= limit
    assert (row.state == "completed") == (limit > 0 and len(fired) == limit)


def _covered(run: RunRow) -> int:
    return (run.detail or {}).get("count", 1) if run.status == "MISSED" else 1


def _was_held(run: RunRow) -> bool:
    return (run.detail or {}).get("reason") == "buffer"
