"""The chaos suite's checker fails on extras as well as on gaps."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.checker import Facts, Run, Schedule, Start, occurrences, violations

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIVE = Schedule("five", SECOND, NOON, NOON + 5 * SECOND)


def at(number: int) -> datetime:
    return NOON + number * SECOND


def fired(number: int, status: str = "SUCCESS") -> Run:
    return Run("five", f"id{number}", at(number), status)


def missed(first: int, last: int, count: int | None = None) -> Run:
    stretch = (at(first), at(last), count or last - first + 1)
    return Run("five", f"id{last}", at(last), "MISSED", stretch)


def facts(runs: Sequence[Run], starts: Sequence[Start] | None = None, **leaders: int) -> Facts:
    begun = [Start(run.task_id, "p1") for run in runs if run.status in {"SUCCESS", "LOST"}]
    epochs = {epoch: process for process, epoch in leaders.items()} or {1: "p1"}
    return Facts([FIVE], runs, begun if starts is None else starts, epochs)


ALL = [fired(number) for number in range(1, 6)]


def test_a_clean_day_breaks_nothing() -> None:
    clean = facts([fired(1), missed(2, 4), fired(5)])
    assert violations(clean) == []
    assert occurrences(clean) == 5


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        (ALL[1:], "nothing covers 2026-06-01T12:00:01"),
        ([*ALL[:2], *ALL[3:]], "nothing covers 2026-06-01T12:00:03"),
        ([*ALL, replace(fired(3), task_id="other")], "1 rows too many for 2026-06-01T12:00:03"),
        ([*ALL, fired(6)], "1 rows too many for 2026-06-01T12:00:06"),
        ([fired(0), *ALL], "1 rows too many for 2026-06-01T12:00:00"),
        ([fired(1), fired(2), missed(2, 4), fired(5)], "1 rows too many for 2026-06-01T12:00:02"),
        ([fired(1), missed(2, 4, count=2), fired(5)], "nothing covers 2026-06-01T12:00:02"),
        ([*ALL, replace(fired(3), schedule="nobody's", task_id="x")], "a row of no schedule"),
        ([*ALL[:4], fired(5, "PENDING")], "id5 is PENDING"),
        ([*ALL[:4], fired(5, "STARTED")], "id5 is STARTED"),
        ([*ALL[:4], replace(fired(5), task_id="id4")], "2 rows have the task id id4"),
    ],
)
def test_rows_that_do_not_cover_each_occurrence_once_are_named(runs: list[Run], says: str) -> None:
    assert [line for line in violations(facts(runs)) if says in line]


@pytest.mark.parametrize(
    ("runs", "starts", "says"),
    [
        (ALL, ["id1", "id2", "id3", "id4"], "id5 is a SUCCESS that never started"),
        (ALL, ["id1", "id2", "id3", "id4", "id5", "id2"], "id2 (SUCCESS) started 2 times"),
        (
            [*ALL[:4], fired(5, "LOST")],
            ["id1", "id2", "id3", "id4", "id5", "id5"],
            "id5 (LOST) started 2 times",
        ),
        (
            [*ALL[:4], missed(5, 5)],
            ["id1", "id2", "id3", "id4", "id5"],
            "id5 started, though its row says MISSED",
        ),
        ([*ALL[:4], fired(5, "SKIPPED")], ["id1", "id2", "id3", "id4", "id5"], "its row says SKIPPED"),
        (ALL, ["id1", "id2", "id3", "id4", "id5", "ghost"], "ghost started, though its row says None"),
    ],
)
def test_effects_that_do_not_fit_their_rows_are_named(runs: list[Run], starts: list[str], says: str) -> None:
    assert [line for line in violations(facts(runs, [Start(one, "p1") for one in starts])) if says in line]


def test_a_lost_run_may_have_started_or_not() -> None:
    runs = [*ALL[:4], fired(5, "LOST")]
    assert violations(facts(runs)) == []
    assert violations(facts(runs, [Start(run.task_id, "p1") for run in ALL[:4]])) == []


def test_leaders_may_follow_each_other_and_come_back() -> None:
    deciders = ["p1", "p1", "p2", "p2", "p1"]
    starts = [Start(run.task_id, by) for run, by in zip(ALL, deciders, strict=True)]
    assert violations(replace(facts(ALL, starts), leaders={1: "p1", 2: "p2", 3: "p1"})) == []


def test_a_row_of_an_old_epoch_after_a_newer_one_is_named() -> None:
    deciders = ["p1", "p1", "p2", "p1", "p2"]
    starts = [Start(run.task_id, by) for run, by in zip(ALL, deciders, strict=True)]
    [line] = violations(facts(ALL, starts, p1=1, p2=2))
    assert line == "id4 was decided by p1, which led in no epoch from 2 on"


def test_a_row_of_a_process_that_never_led_is_named() -> None:
    starts = [Start(run.task_id, "p9") for run in ALL]
    assert len(violations(facts(ALL, starts))) == 5
