"""Lists are the same rows in the same order on every database."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.store import run_pages, schedule_pages, schedules
from taskd.store.database import Database
from taskd.store.run_pages import RunFilter, Total
from taskd.store.schedule_pages import ScheduleFilter, SortKey
from taskd.store.tables import RunRow
from tests.services import own_name

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["Zebra", "apple", "banana_split", "ba%na", "每日报表", "éclair", "eclair", "a'b\\c"]


@pytest.fixture(scope="module")
def task(database: Database) -> str:
    """The task of this module's schedules and runs; they differ in nothing but what the tests look for."""
    name = own_name("task")

    def work(session: Session) -> None:
        for number, title in enumerate(NAMES):
            labels = {"team": "data" if number % 2 else "Data", "每日": "a:b"}
            given = {"name": title, "task": name, "interval": number + 1, "labels": labels}
            spec = ScheduleSpec.read(given, "UTC")
            origin = schedules.Origin("file" if number else "api")
            row = schedules.create(session, uid_of(title), title, spec.columns(), origin, THEN)
            session.flush()
            row.last_run_at = THEN + timedelta(days=number) if number > 2 else None
            row.paused_at = THEN if number == 4 else None
        for number in range(7):
            at = THEN + timedelta(microseconds=number)
            dates = {"scheduled_for": at} if number % 2 else {"started_at": at}
            session.add(
                RunRow(task_id=f"{name}.{number}", task_name=name, status="SUCCESS", kind="adhoc", **dates)
            )
            session.flush()

    database.write(work)
    return name


def listed(
    database: Database, wanted: ScheduleFilter, sort: SortKey = "name", *, descending: bool = False
) -> list[str]:
    rows, total = database.read(
        lambda session: schedule_pages.page(session, wanted, sort, descending=descending, limit=100)
    )
    assert total == len(rows)
    return [row.name for row in rows]


def numbers(rows: Iterable[RunRow]) -> list[int]:
    return [int(row.task_id.rpartition(".")[2]) for row in rows]


def test_names_are_in_the_order_of_their_bytes(database: Database, task: str) -> None:
    in_order = sorted(NAMES, key=str.encode)
    assert listed(database, ScheduleFilter(task=task)) == in_order
    assert listed(database, ScheduleFilter(task=task), descending=True) == in_order[::-1]


def test_what_has_no_value_comes_last(database: Database, task: str) -> None:
    assert listed(database, ScheduleFilter(task=task), "last_run_at") == NAMES[3:] + NAMES[:3]
    backwards = listed(database, ScheduleFilter(task=task), "last_run_at", descending=True)
    assert backwards == NAMES[:2:-1] + NAMES[:3]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("an", ["banana_split"]),
        ("A", []),
        ("%", ["ba%na"]),
        ("_", ["banana_split"]),
        ("'b\\", ["a'b\\c"]),
        ("报", ["每日报表"]),
        ("e", ["Zebra", "apple", "eclair"]),
    ],
)
def test_a_part_of_a_name_is_taken_as_it_is(
    database: Database, task: str, part: str, found: list[str]
) -> None:
    assert listed(database, ScheduleFilter(task=task, name=part)) == found


def test_labels_must_be_exactly_these(database: Database, task: str) -> None:
    assert len(listed(database, ScheduleFilter(task=task, labels={"team": "data", "每日": "a:b"}))) == 4
    for labels in ({"team": "dat"}, {"team": "data "}, {"Team": "data"}, {"每日": "A:b"}, {"none": "x"}):
        assert listed(database, ScheduleFilter(task=task, labels=labels)) == []


def test_yes_and_no(database: Database, task: str) -> None:
    assert listed(database, ScheduleFilter(task=task, paused=True)) == ["每日报表"]
    assert len(listed(database, ScheduleFilter(task=task, paused=False, enabled=True))) == len(NAMES) - 1
    assert listed(database, ScheduleFilter(task=task, enabled=False)) == []
    assert listed(database, ScheduleFilter(task=task, owner="api", schedule_type="interval")) == ["Zebra"]


def test_a_page_is_a_part_and_the_total_is_of_all(database: Database, task: str) -> None:
    rows, total = database.read(
        lambda session: schedule_pages.page(session, ScheduleFilter(task=task), "id", offset=2, limit=3)
    )
    assert ([row.name for row in rows], total) == (NAMES[2:5], len(NAMES))


def test_runs_are_walked_both_ways(database: Database, task: str) -> None:
    wanted = RunFilter(task_name=task)
    first = database.read(lambda session: run_pages.page(session, wanted, limit=3))
    assert (numbers(first.rows), first.newer, first.older, first.total) == ([6, 5, 4], False, True, Total(7))
    second = database.read(lambda session: run_pages.page(session, wanted, limit=3, before=first.rows[-1].id))
    assert (numbers(second.rows), second.newer, second.older) == ([3, 2, 1], True, True)
    back = database.read(lambda session: run_pages.page(session, wanted, limit=3, after=second.rows[0].id))
    assert (numbers(back.rows), back.newer, back.older) == ([6, 5, 4], False, True)
    last = database.read(lambda session: run_pages.page(session, wanted, limit=3, offset=6))
    assert (numbers(last.rows), last.newer, last.older) == ([0], True, False)


def test_a_span_begins_with_its_first_moment_and_ends_before_its_last(database: Database, task: str) -> None:
    wanted = RunFilter(
        task_name=task, since=THEN + timedelta(microseconds=2), until=THEN + timedelta(microseconds=5)
    )
    assert numbers(database.read(lambda session: run_pages.page(session, wanted, limit=9)).rows) == [4, 3, 2]


def test_a_span_is_walked_by_its_times(database: Database) -> None:
    """A run of a time that had been missed comes where its time is, also behind the id of one that is deleted."""
    name = own_name("task")
    days = [THEN + timedelta(days=day) for day in (3, 1, 2, 2, 4)]
    for number, day in enumerate(days):
        row = RunRow(
            task_id=f"{name}.{number}", task_name=name, status="SUCCESS", kind="adhoc", started_at=day
        )
        database.write(lambda session, row=row: session.add(row))
    wanted = RunFilter(task_name=name, since=THEN, until=THEN + timedelta(days=9))
    first = database.read(lambda session: run_pages.page(session, wanted, limit=3))
    assert (numbers(first.rows), first.older, first.total) == ([4, 0, 3], True, Total(5))
    second = database.read(lambda session: run_pages.page(session, wanted, limit=3, before=first.rows[-1].id))
    assert (numbers(second.rows), second.newer, second.older) == ([2, 1], True, False)
    back = database.read(lambda session: run_pages.page(session, wanted, limit=2, after=second.rows[0].id))
    assert (numbers(back.rows), back.newer, back.older) == ([0, 3], True, True)
    gone = first.rows[-1].id
    database.write(lambda session: session.execute(delete(RunRow).where(RunRow.id == gone)))
    after_it = database.read(lambda session: run_pages.page(session, wanted, limit=3, before=gone))
    assert numbers(after_it.rows) == [2, 1]


def test_a_total_is_an_estimate_where_counting_takes_long(
    database: Database, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def total(wanted: RunFilter) -> Total:
        return database.read(lambda session: run_pages.page(session, wanted, limit=1)).total

    def at(*seconds: float) -> None:
        """The times that it is when the clock is looked at."""
        monkeypatch.setattr(run_pages, "monotonic", iter(seconds).__next__)

    at(*[0] * 30)
    assert total(RunFilter(task_name=task)) == Total(7)
    assert total(RunFilter(task_name="nobody's")) == Total(0)
    monkeypatch.setattr(run_pages, "EXACT", 5)
    assert total(RunFilter(task_name=task)) == Total(5, estimated=True)
    assert total(RunFilter(task_name="nobody's")) == Total(0)
    monkeypatch.setattr(run_pages, "FIRST", 3)
    assert total(RunFilter(task_name=task)) == Total(5, estimated=True)
    at(0, 0, 0, 1)  # the count takes long
    assert total(RunFilter(task_name=task)) == Total(3, estimated=True)
    at(0, 1)  # the page itself does: nothing is counted
    assert total(RunFilter(task_name=task)) == Total(2, estimated=True)
    at(*[0] * 30)
    everything = total(RunFilter())
    assert everything.estimated
    assert everything.count >= 7


def test_the_total_of_a_last_page_needs_no_count(
    database: Database, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def total(offset: int) -> Total:
        wanted = RunFilter(task_name=task)
        return database.read(lambda session: run_pages.page(session, wanted, limit=3, offset=offset)).total

    assert (total(0), total(9)) == (Total(7), Total(7))
    monkeypatch.setattr(run_pages, "_total", None)
    assert (total(6), total(4)) == (Total(7), Total(7))


def test_all_schedules_come_by_their_ids_in_their_order(database: Database, task: str) -> None:
    wanted = ScheduleFilter(task=task)
    order = database.read(lambda session: schedule_pages.ids(session, wanted, "last_run_at", descending=True))
    assert [
        row.name for row in database.read(lambda session: schedule_pages.among(session, [*order, 0]))
    ] == listed(database, wanted, "last_run_at", descending=True)
