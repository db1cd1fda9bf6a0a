"""What is changed in the table behind the daemon's back is put right, but not without end."""

from collections.abc import Mapping
from typing import Any

import pytest

from taskd.reconcile.plan import MOST_HEALS, Plan, compare
from tests.unit.tables import EVERY_MINUTE, file, living

FILES = [file("a.yaml", one=EVERY_MINUTE)]
MEDDLED = FILES[0].schedules[0].spec.columns() | {"task": "other"}


def plan(columns: Mapping[str, Any] = MEDDLED, **row: Any) -> Plan:
    return compare(FILES, living(FILES, one={"columns": columns, **row}))


def test_drift_is_healed_as_often_as_may_be_chance() -> None:
    assert [change.drift for change in plan(heals=MOST_HEALS - 1).updates] == [True]


def test_one_that_is_changed_again_and_again_is_left_with_a_condition() -> None:
    found = plan(heals=MOST_HEALS)
    assert found.changes == 0
    [mark] = found.marks
    assert mark.kind == "HealFighting"
    assert (mark.message or "").startswith(
        "task: something changes what a.yaml:2 says, and it was put right 5 times in 10 minutes"
    )
    settled = plan(conditions={"HealFighting": mark.message})
    assert not settled.writes


@pytest.mark.parametrize("file_changed", [True, False])
def test_the_fight_is_over_when_the_table_agrees_or_the_file_changes(file_changed: bool) -> None:
    columns = MEDDLED | {"fingerprint": "as it was"} if file_changed else FILES[0].schedules[0].spec.columns()
    found = plan(columns, heals=MOST_HEALS, conditions={"HealFighting": "…"})
    assert len(found.updates) == file_changed
    assert [(mark.kind, mark.message) for mark in found.marks] == [("HealFighting", None)]


def test_defaults_that_a_file_leaves_out_are_no_drift() -> None:
    short = file("a.yaml", one="task: t, interval: 60")
    spelt = "interval: 1m, task: t, args: [], kwargs: {}, enabled: true, jitter: 0, catchup: latest, overlap: allow"
    assert not compare([file("a.yaml", one=spelt)], living([short])).writes
