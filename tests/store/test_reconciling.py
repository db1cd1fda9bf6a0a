"""Passes over real files against each database: what is held, approved, renamed, adopted, healed; and its events."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from taskd import clock
from taskd.dispatch.retention import Retention
from taskd.errors import NotAllowed
from taskd.reconcile.plan import MOST_HEALS, Plan
from taskd.reconcile.reconciler import Consent, Reconciler
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.source.tree import Tree
from taskd.store import overrides, schedules
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.schedules import KEPT, Origin
from taskd.store.tables import EventRow, RunRow, ScheduleRow
from tests.store.scene import NOON

BODY = "task: t, interval: 1h"


@dataclass
class Site:
    """A root, its table, and a clock that moves when it is told to."""

    database: Database
    root: Path
    now: datetime = NOON
    changes: int = 0
    reconciler: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(
            self.database,
            [Tree(self.root, "UTC")],
            poll=10,
            fence=lambda _session: None,
            changed=lambda: None,
            secret_keys=frozenset({"password"}),
        )

    def file(self, name: str = "a.yaml", **bodies: str) -> None:
        """Write a file of schedules; without any it is taken away."""
        path = self.root / name
        if not bodies:
            path.unlink()
            return
        path.write_text("schedules:\n" + "".join(f"  {key}: {{{body}}}\n" for key, body in bodies.items()))

    def declare(self, *names: str, file: str = "a.yaml", **bodies: str) -> Plan:
        """Write a file and make a pass."""
        self.file(file, **dict.fromkeys(names, BODY), **bodies)
        return self.settled()

    def settled(self, consent: Consent | None = None) -> Plan:
        """Make a pass; a second one finds nothing more to do."""
        plan = self.reconciler.one_pass(consent).plan
        assert not self.reconciler.preview().writes
        return plan

    def row(self, name: str) -> ScheduleRow:
        """A living schedule."""
        return self.database.read(lambda session: schedules.find(session, name))

    def names(self) -> list[str]:
        """Of what lives."""
        return self.database.read(lambda session: [row.name for row in session.scalars(schedules.living())])

    def set(self, name: str, **columns: Any) -> None:
        """What SQL does behind the daemon's back."""
        self.database.write(
            lambda session: session.execute(
                update(ScheduleRow).where(ScheduleRow.name == name).values(**columns)
            )
        )

    def events(self, name: str | None = None) -> list[EventRow]:
        """Of schedules, oldest first."""
        query = select(EventRow).where(EventRow.schedule_uid.is_not(None)).order_by(EventRow.id)
        query = query.where(EventRow.name == name) if name else query
        return self.database.read(lambda session: list(session.scalars(query)))

    def kinds(self, name: str | None = None) -> list[str]:
        """The events' kinds, oldest first."""
        return [event.kind for event in self.events(name)]

    def conditions(self, name: str) -> dict[str, str]:
        """What is wrong with a schedule."""
        return {each["type"]: each["message"] for each in self.row(name).conditions}


@pytest.fixture
def site(database: Database, empty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(database, tmp_path)
    monkeypatch.setattr(clock, "now", lambda: site.now)
    return site


TEN = [f"s{n}" for n in range(10)]


def test_too_many_deletions_are_held_with_a_condition_and_an_event(site: Site) -> None:
    site.declare(*TEN)
    before = {name: site.row(name).version for name in TEN}
    site.now += timedelta(hours=1)
    plan = site.declare("s0", new=BODY)
    assert site.names() == ["new", *TEN]
    assert {name: site.row(name).version for name in TEN} == before
    assert site.row("s1").state == "active"
    [held] = site.row("s1").conditions
    assert (held["type"], held["since"]) == ("DeletionHeld", site.now.isoformat())
    assert held["message"].endswith(f"taskd sync --approve {plan.digest}")
    assert site.kinds("s1") == ["created", "deletion_held"]
    assert site.conditions("s0") == {}


def test_what_returns_to_the_files_is_let_go(site: Site) -> None:
    site.declare(*TEN)
    site.declare("s0")
    site.declare("s0", "s1", "s2")
    assert site.conditions("s1") == {}
    assert site.kinds("s1") == ["created", "deletion_held", "deletion_released"]
    site.declare(*TEN)
    assert site.names() == TEN


def test_an_approval_deletes_what_was_seen_by_whom(site: Site) -> None:
    site.declare(*TEN)
    digest = site.declare("s0").digest
    with pytest.raises(NotAllowed, match=f"now there are 9 deletions held .* --approve {digest}"):
        site.reconciler.one_pass(Consent("ann", digest="0123456789abcdef"))
    assert site.names() == TEN
    site.now += timedelta(days=1)
    plan = site.settled(Consent("ann", digest=digest))
    assert (len(plan.deletes), plan.held, site.names()) == (9, (), ["s0"])
    last = site.events("s1")[-1]
    assert (last.kind, last.actor) == ("deleted", "ann")
    assert last.detail is not None
    assert last.detail["approved"] == digest
    with pytest.raises(NotAllowed, match="nothing is held now"):
        site.reconciler.one_pass(Consent("ann", digest=digest))


def test_an_operator_who_touches_a_held_schedule_makes_the_approval_stale(site: Site) -> None:
    site.declare(*TEN)
    digest = site.declare("s0").digest

    def pause(session: Any) -> None:
        overrides.pause(session, schedules.find(session, "s5"), "bob", None, site.now)

    site.database.write(pause)
    with pytest.raises(NotAllowed):
        site.reconciler.one_pass(Consent("ann", digest=digest))
    assert site.settled().digest != digest


def test_a_root_that_vanishes_and_returns_deletes_nothing(site: Site) -> None:
    site.declare("one", "two")
    away = site.root.rename(site.root.with_name("away"))
    assert "No such file" in (site.settled().holding or "")
    site.root.mkdir()
    assert "no schedule file was found" in (site.settled().holding or "")
    site.root.rmdir()
    away.rename(site.root)
    assert site.settled().holding is None
    assert site.names() == ["one", "two"]
    assert site.row("one").conditions == []


def test_a_rename_keeps_identity_cursor_counts_overrides_and_history(site: Site) -> None:
    site.declare("old", "other")
    site.set("old", total_run_count=7)

    def fire_and_pause(session: Any) -> int:
        row = schedules.find(session, "old")
        session.add(
            RunRow(task_id="run", task_name="t", status="SUCCESS", schedule_id=row.id, kind="schedule")
        )
        overrides.pause(session, row, "bob", "because", site.now)
        return row.id

    schedule_id = site.database.write(fire_and_pause)
    before = site.row("old")
    site.now += timedelta(days=1)
    site.declare("other", new="task: other, interval: 1h, replaces: old")
    row = site.row("new")
    assert (row.id, row.uid, row.total_run_count) == (schedule_id, uid_of("old"), 7)
    assert (row.cursor_at, row.created_at) == (before.cursor_at, before.created_at)
    assert (row.task, row.paused_by, row.state) == ("other", "bob", "paused")
    event = site.events("new")[-1]
    assert (event.kind, event.before, event.after) == (
        "renamed",
        {"name": "old", "task": "t"},
        {"name": "new", "task": "other"},
    )
    site.declare("other", new="task: other, interval: 1h")
    assert site.kinds() == ["created", "created", "paused", "renamed"]
    site.declare("other", "old", new="task: other, interval: 1h")
    assert site.row("old").uid == uid_of("old#2")
    assert site.row("new").uid == uid_of("old")


def test_a_deleted_schedule_comes_back_under_another_name(site: Site) -> None:
    site.declare("old", "other")
    first = site.row("old")
    site.declare("other")
    site.now += KEPT - timedelta(days=1)
    site.declare("other", new=f"{BODY}, replaces: old")
    row = site.row("new")
    assert (row.id, row.uid, row.created_at, row.cursor_at) == (
        first.id,
        first.uid,
        first.created_at,
        site.now,
    )
    assert site.kinds("new") == ["restored"]


def test_a_deleted_name_comes_back_as_it_was_for_thirty_days(site: Site) -> None:
    site.declare("one", "other")
    site.set("one", total_run_count=7)
    first = site.row("one")
    site.declare("other")
    site.now += KEPT
    site.declare("one", "other")
    row = site.row("one")
    assert (row.id, row.uid, row.total_run_count, row.conditions) == (first.id, first.uid, 7, [])
    assert site.kinds("one") == ["created", "deleted", "restored"]


def purge(site: Site) -> None:
    """What the leader does every ten minutes."""
    Retention(Fenced(site.database, lambda _session: None)).one_batch(site.now)


@pytest.mark.parametrize("swept", [True, False])
def test_after_thirty_days_a_name_begins_anew(site: Site, swept: bool) -> None:
    site.declare("one", "other", "youngest")
    first = site.row("one")
    site.database.write(
        lambda session: session.add(
            RunRow(task_id="run", task_name="t", status="SUCCESS", schedule_id=first.id, kind="schedule")
        )
    )
    site.declare("other", "youngest")
    site.now += KEPT + timedelta(seconds=1)
    if swept:
        purge(site)
        rows = site.database.read(lambda session: list(session.scalars(select(ScheduleRow.name))))
        assert sorted(rows) == ["other", "youngest"]
    site.declare("one", "other", "youngest")
    row = site.row("one")
    assert row.id != first.id
    assert (row.created_at, row.total_run_count) == (site.now, 0)
    assert row.uid == uid_of("one" if swept else "one#2")
    assert site.database.read(lambda session: session.scalars(select(RunRow.schedule_id)).all()) == [first.id]


def test_an_id_is_never_given_to_another_schedule(site: Site) -> None:
    site.declare("first", "last")
    last = site.row("last").id
    site.declare("first")
    site.now += KEPT + timedelta(days=1)
    purge(site)
    site.declare("first", "new")
    assert site.row("new").id > last


def insert_for_api(site: Site, name: str, **keys: Any) -> None:
    spec = ScheduleSpec.read({"name": name, "task": "t", "interval": "1h"} | keys, "UTC")
    site.database.write(
        lambda session: schedules.create(session, uid_of(name), name, spec.columns(), Origin("api"), site.now)
    )


def test_a_file_takes_a_name_from_the_api_when_an_operator_says_so(site: Site) -> None:
    insert_for_api(site, "one")
    first = site.row("one")
    with pytest.raises(NotAllowed, match="no file declares 'one'"):
        site.reconciler.one_pass(Consent("ann", adopt="one"))
    plan = site.declare(one="task: t, interval: 2h")
    assert "belongs to the API: `taskd adopt one`" in str(plan.conflicts[0])
    assert "a.yaml:2 declares this name too" in site.conditions("one")["Conflict"]
    assert (site.row("one").owner, site.row("one").interval_seconds) == ("api", 3600)
    site.settled(Consent("ann", adopt="one"))
    row = site.row("one")
    assert (row.owner, row.line, row.interval_seconds, row.uid, row.conditions) == (
        "file",
        2,
        7200,
        first.uid,
        [],
    )
    told = {event.kind: event for event in site.events("one")}
    assert list(told) == ["conflict", "adopted", "conflict_ended"]
    assert (told["adopted"].actor, told["adopted"].before) == (
        "ann",
        {"owner": "api", "interval_seconds": 3600},
    )


def test_the_api_s_schedules_are_not_the_files_to_delete(site: Site) -> None:
    insert_for_api(site, "one")
    site.declare("two")
    site.declare("three")
    assert site.names() == ["one", "three"]


def test_drift_is_healed_with_an_event_until_it_is_a_fight(site: Site) -> None:
    site.declare("one")
    for _ in range(MOST_HEALS):
        site.now += timedelta(minutes=1)
        site.set("one", task="meddled")
        site.settled()
        assert site.row("one").task == "t"
    heal = site.events("one")[-1]
    assert (heal.kind, heal.before, heal.after) == ("healed", {"task": "meddled"}, {"task": "t"})
    site.set("one", task="meddled")
    site.settled()
    assert site.row("one").task == "meddled"
    assert "HealFighting" in site.conditions("one")
    site.now += timedelta(hours=1)
    site.settled()
    assert site.row("one").task == "meddled"
    site.set("one", task="t")
    site.settled()
    assert site.conditions("one") == {}
    assert site.kinds("one") == ["created", *["healed"] * MOST_HEALS, "heal_fighting", "heal_settled"]
    site.now += timedelta(hours=1)
    site.set("one", task="meddled")
    site.settled()
    assert site.row("one").task == "t"


def test_an_edit_ends_a_fight(site: Site) -> None:
    site.declare("one")
    for _ in range(MOST_HEALS + 1):
        site.set("one", task="meddled")
        site.settled()
    assert "HealFighting" in site.conditions("one")
    site.declare(one="task: better, interval: 1h")
    assert (site.row("one").task, site.conditions("one")) == ("better", {})


@pytest.mark.parametrize(
    "columns",
    [
        {"schedule_type": "never"},
        {"crontab": "61 * * * *"},
        {"timezone": "Mars/Base"},
        {"policy": {"dst": {"x": 1}}},
        {"policy": {"jitter": "much"}},
        {"interval_seconds": None},
        {"args": None, "kwargs": None, "options": {}, "labels": {"a": "b"}},
        {"enabled": False},
        {"state": "quarantined", "task": "x"},
    ],
    ids=",".join,
)
@pytest.mark.parametrize("body", [BODY, 'task: t, crontab: "H * * * *"'])
def test_whatever_sql_leaves_in_a_row_is_put_right(site: Site, columns: dict[str, Any], body: str) -> None:
    site.declare(one=body)
    before = site.row("one")
    site.set("one", **columns)
    site.settled()
    row = site.row("one")
    for column in schedules.DECLARED:
        assert getattr(row, column) == getattr(before, column), column
    assert (row.state, site.kinds("one")) in (("active", ["created", "healed"]), ("active", ["created"]))


def test_a_pause_that_the_file_overrules_ends_with_an_event(site: Site) -> None:
    site.declare("one")

    def pause(session: Any) -> None:
        overrides.pause(session, schedules.find(session, "one"), "bob", None, site.now)

    site.database.write(pause)
    site.declare(one="task: other, interval: 1h")
    assert site.row("one").paused_by == "bob"
    site.declare(one="task: other, interval: 1h, enabled: false")
    assert site.row("one").paused_by is None
    assert site.kinds("one") == ["created", "paused", "updated", "updated", "resumed"]


def test_a_move_between_files_is_nothing_to_tell(site: Site) -> None:
    site.declare("one", "other")
    site.file("a.yaml", other=BODY)
    site.declare("one", file="b.yaml")
    assert site.kinds("one") == ["created"]
    assert site.row("one").path == str(site.root / "b.yaml")


def test_events_never_have_secrets(site: Site) -> None:
    site.declare(one=f"{BODY}, kwargs: {{password: hunter2}}", other=BODY)
    site.declare(two=f"{BODY}, kwargs: {{password: hunter3}}, replaces: one", other=BODY)
    site.declare("other")
    told = [(event.before, event.after, event.detail) for event in site.events()]
    assert len(told) == 4
    assert "hunter" not in str(told)
