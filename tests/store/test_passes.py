"""Passes over files and table: what they keep of the sources, what they don't do again, what they put right."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from taskd.errors import LeaseLost
from taskd.reconcile import table
from taskd.reconcile.reconciler import Pass, Reconciler
from taskd.source.tree import Tree
from taskd.store import schedules, sources
from taskd.store.conditions import STALE
from taskd.store.database import Database
from taskd.store.fenced import Fence
from taskd.store.tables import EventRow, ScheduleRow, SourceFileRow, SourceRow


def text(*names: str, every: int = 9) -> str:
    return "schedules:\n" + "".join(f"  {name}: {{task: t, interval: {every}}}\n" for name in names)


BROKEN = text("milk") + "  bread: {task: t}\n"


@dataclass
class Shop:
    """A root of files and the reconciler of one process; `restart` gives another process."""

    database: Database
    root: Path
    fence: Fence = lambda _session: None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.tree = Tree(self.root, "UTC")
        self.reconciler = Reconciler(
            self.database,
            [self.tree],
            poll=10,
            fence=lambda session: self.fence(session),  # noqa: PLW0108  a test may replace it
            changed=lambda: None,
        )

    def write(self, file: str, content: str) -> Pass:
        (self.root / file).write_text(content)
        return self.make_pass()

    def make_pass(self) -> Pass:
        return self.reconciler.one_pass()

    def intervals(self) -> dict[str, int | None]:
        query = select(ScheduleRow.name, ScheduleRow.interval_seconds).where(ScheduleRow.deleted_at.is_(None))
        return self.database.read(lambda session: dict(session.execute(query).all()))

    def stale(self) -> dict[str, str]:
        rows = self.database.read(table.load)
        return {row.name: told for row in rows if (told := row.conditions.get(STALE))}

    def sql(self, statement: Any) -> None:
        self.database.write(lambda session: session.execute(statement))

    def drift(self, name: str, **columns: Any) -> None:
        """What someone does with SQL, past all of taskd."""
        self.sql(update(ScheduleRow).where(ScheduleRow.name == name).values(**columns))

    def source(self) -> SourceRow:
        [row] = self.database.read(sources.status)
        return row

    def conditions(self) -> list[str]:
        return [one["type"] for one in self.source().conditions]

    def events(self) -> list[EventRow]:
        return self.database.read(
            lambda session: list(session.scalars(select(EventRow).order_by(EventRow.id)))
        )


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    def clear(session: Session) -> None:
        for row in (ScheduleRow, EventRow, SourceRow, SourceFileRow):
            session.execute(delete(row))

    database.write(clear)
    root = tmp_path / "root"
    root.mkdir()
    return Shop(database, root)


def test_a_restart_on_a_broken_tree_goes_on_as_before(shop: Shop) -> None:
    shop.write("beside.yaml", text("tea"))
    shop.write("a.yaml", text("milk", "bread"))
    shop.restart()
    shop.write("a.yaml", BROKEN)  # edited and broken while nobody looked
    assert shop.intervals() == {"milk": 9, "bread": 9, "tea": 9}
    assert set(shop.stale()) == {"milk", "bread"}
    assert "a.yaml:3:3: bread: no trigger" in shop.stale()["milk"]
    shop.drift("bread", interval_seconds=5)
    shop.sql(delete(ScheduleRow).where(ScheduleRow.name == "milk"))
    shop.write("beside.yaml", text("tea", "coffee"))
    assert shop.intervals() == {"milk": 9, "bread": 9, "tea": 9, "coffee": 9}
    shop.write("a.yaml", text("milk", every=7))
    assert (shop.intervals(), shop.stale()) == ({"milk": 7, "tea": 9, "coffee": 9}, {})


def test_the_first_pass_of_all_may_meet_a_broken_tree(shop: Shop) -> None:
    shop.write("a.yaml", BROKEN)
    assert (shop.intervals(), shop.conditions()) == ({}, ["Stale"])
    shop.restart()
    shop.make_pass()
    assert shop.intervals() == {}


def test_a_root_that_is_away_over_a_restart_loses_nothing(shop: Shop) -> None:
    shop.write("a.yaml", text("milk", "bread"))
    shop.root.rename(shop.root.with_name("away"))
    shop.make_pass()
    shop.restart()
    shop.make_pass()
    assert shop.intervals() == {"milk": 9, "bread": 9}
    assert "Unreadable" in shop.conditions()
    shop.restart()
    shop.root.with_name("away").rename(shop.root)
    shop.write("a.yaml", BROKEN)
    shop.drift("bread", interval_seconds=5)
    shop.make_pass()
    assert shop.intervals() == {"milk": 9, "bread": 9}


def test_a_pass_over_what_has_not_changed_loads_and_writes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write("a.yaml", text("milk"))
    shop.write("b.yaml", BROKEN.replace("milk", "tea"))
    shop.make_pass()
    monkeypatch.setattr(table, "load", None)
    monkeypatch.setattr(shop.database, "write", None)
    first = shop.make_pass()
    assert shop.make_pass() is first


def test_one_edited_file_loads_only_its_own_schedules(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("a.yaml", text("milk"))
    shop.write("b.yaml", text("tea"))
    shop.make_pass()
    monkeypatch.setattr(table, "load", None)
    shop.write("b.yaml", text("tea", "coffee", every=7))
    shop.write("a.yaml", text())
    shop.write("a.yaml", text())
    shop.write("c.yaml", text("milk", every=8))
    assert shop.intervals() == {"milk": 8, "tea": 7, "coffee": 7}


def test_what_is_remembered_of_the_table_is_what_is_there(shop: Shop) -> None:
    shop.write("a.yaml", text("milk", "bread"))
    shop.write("a.yaml", text("milk", "butter", every=8))
    shop.write("b.yaml", text("tea"))
    shop.make_pass()
    snapshot = shop.reconciler._memory.snapshot
    assert snapshot is not None
    assert shop.database.read(lambda session: table.look(session, snapshot)) is snapshot
    assert sorted(snapshot.rows.values(), key=str) == sorted(shop.database.read(table.load), key=str)


def test_drift_of_any_column_is_healed_within_one_pass(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskd.reconcile.plan.MOST_HEALS", 100)
    shop.write("a.yaml", text("milk"))
    shop.make_pass()
    wrong: dict[str, Any] = {
        "task": "u",
        "schedule_type": "date",
        "crontab": "@daily",
        "interval_seconds": 10,
        "start_time": datetime(2026, 1, 1, tzinfo=UTC),
        "end_time": datetime(2026, 1, 1, tzinfo=UTC),
        "timezone": "Asia/Tokyo",
        "args": [1],
        "kwargs": {"a": 1},
        "description": "",
        "enabled": False,
        "one_off": True,
        "max_run_count": 1,
        "options": {"queue": "q"},
        "policy": {"jitter": 1},
        "labels": {"a": "b"},
        "fingerprint": "0" * 64,
    }
    assert set(wrong) == set(schedules.DECLARED)
    shop.make_pass()
    [before] = shop.database.read(table.load)
    for column, value in wrong.items():
        shop.drift("milk", **{column: value})
        assert len(shop.make_pass().plan.updates) == 1, column
        [after] = shop.database.read(table.load)
        assert after.columns == before.columns, column


def test_a_source_says_what_it_has_seen_and_what_it_has_applied(shop: Shop) -> None:
    good = shop.write("a.yaml", text("milk")).readings[0].revision.name
    source = shop.source()
    assert (source.revision_seen, source.revision_applied, shop.conditions()) == (good, good, ["Ready"])
    since = source.conditions[0]["since"]
    bad = shop.write("a.yaml", BROKEN).readings[0].revision.name
    source = shop.source()
    assert (source.revision_seen, source.revision_applied, shop.conditions()) == (bad, good, ["Stale"])
    stale_since = source.conditions[0]["since"]
    assert stale_since > since
    shop.write("b.yaml", text("tea"))
    assert shop.source().conditions[0]["since"] == stale_since
    assert shop.source().revision_applied == good
    better = shop.write("a.yaml", text("milk", "bread")).readings[0].revision.name
    assert (shop.source().revision_applied, shop.conditions()) == (better, ["Ready"])
    kinds = [event.kind for event in shop.events() if event.name is None]
    assert kinds == ["synced", "stale", "stale", "synced"]


def test_the_last_twenty_passes_that_found_something_are_kept(shop: Shop) -> None:
    for n in range(22):
        shop.write("a.yaml", text("milk", every=n + 1))
        shop.make_pass()
    passes = shop.source().passes
    assert len(passes) == 20
    assert passes[0]["revision"] == shop.source().revision_applied
    assert (passes[0]["updated"], passes[0]["created"], passes[0]["errors"]) == (1, 0, 0)
    assert passes[0]["seconds"] >= 0
    assert passes[0]["at"] > passes[1]["at"]


def test_events_carry_the_revision_that_caused_them(shop: Shop) -> None:
    shop.write("b.yaml", text("tea"))
    made = shop.write("a.yaml", text("milk")).readings[0].revision.name
    gone = shop.write("a.yaml", text()).readings[0].revision.name
    shop.make_pass()  # an emptied file counts once it is seen twice
    told = {event.kind: event.revision for event in shop.events() if event.name == "milk"}
    assert told == {"created": made, "deleted": gone}


def test_a_root_that_is_not_configured_any_more_has_no_status(shop: Shop, tmp_path: Path) -> None:
    shop.write("a.yaml", text("milk"))
    shop.root.rename(tmp_path / "moved")
    shop.root = tmp_path / "moved"
    shop.restart()
    shop.make_pass()
    assert shop.source().root == str(tmp_path / "moved")
    files = shop.database.read(lambda session: session.scalars(select(SourceFileRow.source)).all())
    assert files == [str(tmp_path / "moved")]


def test_a_pass_that_ends_in_the_middle_leaves_whole_files(shop: Shop) -> None:
    def content(file: int, every: int) -> str:
        return text(*(f"s{file}-{n}" for n in range(30)), every=every)

    for file in range(5):
        (shop.root / f"{file}.yaml").write_text(content(file, 9))
    shop.make_pass()
    for file in range(5):
        (shop.root / f"{file}.yaml").write_text(content(file, 7))
    fences = iter([None, None, LeaseLost("another leads")])

    def fence(_session: object) -> None:
        if lost := next(fences, None):
            raise lost

    shop.fence = fence
    with pytest.raises(LeaseLost):
        shop.make_pass()
    by_file = [{shop.intervals()[f"s{file}-{n}"] for n in range(30)} for file in range(5)]
    assert sorted(map(str, by_file)) == ["{7}", "{7}", "{9}", "{9}", "{9}"]
    shop.make_pass()
    assert set(shop.intervals().values()) == {7}
    assert not shop.make_pass().plan.writes


async def test_a_daemon_that_ends_waits_for_one_part_only(shop: Shop) -> None:
    shop.write("a.yaml", text("milk"))
    for file in range(5):
        (shop.root / f"{file}.yaml").write_text(text(*(f"s{file}-{n}" for n in range(30))))
    stop = asyncio.Event()

    def fence(_session: object) -> None:
        stop.set()

    shop.fence = fence
    await asyncio.wait_for(shop.reconciler.run(stop), 20)
    assert len(shop.intervals()) == 31
    shop.restart()
    shop.make_pass()
    assert len(shop.intervals()) == 151


def test_all_who_ask_during_a_pass_share_the_next_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    passes: list[int] = []
    read = shop.tree.read

    def slowly() -> Any:
        passes.append(1)
        under_way.set()
        assert go_on.wait(20)
        return read()

    monkeypatch.setattr(shop.tree, "read", slowly)
    threads = [threading.Thread(target=shop.reconciler.pass_from_now)]
    threads[0].start()
    assert under_way.wait(20)
    (shop.root / "a.yaml").write_text(text("milk"))
    asked = threading.Barrier(9)

    def ask() -> None:
        begun = shop.reconciler._begun
        asked.wait(20)
        assert begun == 1
        shop.reconciler.pass_from_now()

    threads += [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads[1:]:
        thread.start()
    asked.wait(20)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert shop.intervals() == {"milk": 9}
    assert len(passes) <= 3
