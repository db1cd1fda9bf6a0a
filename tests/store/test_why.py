"""Why an occurrence ran or didn't: every answer, from what files, operators and the dispatcher left in each database."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from taskd import clock
from taskd.config import Settings
from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.http.exchange import Context
from taskd.http.routes import answer
from taskd.reconcile.reconciler import Reconciler
from taskd.source.tree import Tree
from taskd.store import overrides, schedules
from taskd.store.database import Database
from taskd.store.tables import EventRow, LeaseRow, OutboxRow, RunRow, ScheduleRow

PATH = "/api/v1/scheduler/schedulers"
HOURLY = {"crontab": '"0 * * * *"'}


@dataclass
class World:
    """Files, a dispatcher, operators and a clock that stands still; times are given as `01 09:30`, June 2026, UTC."""

    database: Database
    root: Path
    context: Context
    dispatcher: Dispatcher
    reconciler: Reconciler
    monkeypatch: pytest.MonkeyPatch

    def at(self, time: str) -> "World":
        """Set the clock."""
        now = datetime.fromisoformat(f"2026-06-{time}Z")
        self.monkeypatch.setattr(clock, "now", lambda: now)
        return self

    def declare(self, timezone: str = "UTC", **keys: Any) -> None:
        """Write the schedule `job` into its file, and reconcile; without keys it is taken out."""
        lines = [f"    {key}: {value}" for key, value in ({"task": "t", "timezone": timezone} | keys).items()]
        other = ["schedules:", "  other:", "    task: t", "    interval: 50d"]
        (self.root / "a.yaml").write_text("\n".join([*other, *(["  job:", *lines] if keys else [])]))
        self.reconciler.one_pass()

    def tick(self, *times: str) -> None:
        """Let the dispatcher look at these times."""
        for time in times:
            self.dispatcher.tick(datetime.fromisoformat(f"2026-06-{time}Z"))

    def post(self, action: str, **body: Any) -> None:
        """What an operator does."""
        told = answer(self.context, "POST", f"{PATH}/job/{action}", body, actor="ada")
        assert told.status == 200, told.body

    def change_run(self, **columns: Any) -> None:
        """What workers and brokers do to the runs."""
        self.database.write(lambda session: session.execute(update(RunRow).values(**columns)))

    def ask(self, at: str, status: int = 200) -> Any:
        """The answer for a time in June 2026."""
        told = answer(self.context, "GET", f"{PATH}/job/why?at={quote(f'2026-06-{at}')}", actor="ada")
        assert told.status == status, told.body
        return told.body

    def why(self, at: str) -> str:
        """The answer on one line."""
        told = self.ask(at)
        return f"{told['decision']}: {told['words']}"


@pytest.fixture
def world(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One without schedules, at noon of the first."""

    def clear(session: Session) -> None:
        for table in (ScheduleRow, RunRow, OutboxRow, EventRow):
            session.execute(delete(table))
        session.execute(update(LeaseRow).values(holder=None))

    database.write(clear)
    app = Celery("test", broker="memory://", set_as_current=False)
    leadership = Leadership(database, "dispatch", "me", ttl=1e9)
    assert leadership.step(0.0)
    yield World(
        database,
        tmp_path,
        Context(settings=Settings(), database=database, app=app),
        Dispatcher(database, app, leadership),
        Reconciler(
            database, [Tree(tmp_path, "UTC")], poll=10, fence=lambda _session: None, changed=lambda: None
        ),
        monkeypatch,
    ).at("01 12:00")
    leadership.resign()


def run_id(world: World) -> int:
    return world.database.read(lambda session: session.scalars(select(RunRow.id)).one())


def test_what_fired_on_time_says_what_came_of_it(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00:00.120")
    run = f"run {run_id(world)}, 120 ms after it was due"
    assert world.why("01T13:00") == f"fired: {run}, waits for the broker"
    world.change_run(published_at=clock.now())
    assert world.why("01T13:00") == f"fired: {run}, has no worker yet"
    world.change_run(status="STARTED")
    assert world.why("01T13:00") == f"fired: {run}, is running"
    half_past = datetime(2026, 6, 1, 13, 30, 0, 120_000, UTC)
    world.change_run(started_at=half_past)
    assert world.why("01T13:00") == f"fired: {run}, started 30m later, is running"
    world.change_run(status="SUCCESS", runtime=1.25, started_at=None)
    told = world.ask("01T13:00")
    assert told["words"] == f"{run}, ended SUCCESS after 1.25 s"
    assert (told["decision"], told["name"], told["asked"]) == ("fired", "job", "2026-06-01T13:00")
    assert told["occurrence"]["scheduled_for"] == "2026-06-01T13:00:00+00:00"
    assert told["run"]["status"] == "SUCCESS"


def test_what_fired_late_says_by_how_much(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:12")
    assert world.why("01T13:00") == f"late: run {run_id(world)}, 12m after it was due, waits for the broker"


def test_lateness_counts_from_the_delayed_time(world: World) -> None:
    world.declare(**HOURLY, jitter="50m")
    row = world.database.read(lambda session: schedules.find(session, "job"))
    assert row.next_run_at is not None
    world.dispatcher.tick(row.next_run_at + timedelta(seconds=2))
    assert world.why("01T13:00").startswith(f"fired: run {run_id(world)}, 2.00 s after it was due")


def test_each_occurrence_of_a_missed_stretch_finds_its_row(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 19:30")
    at = "2026-06-01 13:00:00+00:00 to 2026-06-01 18:00:00+00:00"
    missed = world.ask("01T13:00")
    assert missed["run"]["status"] == "MISSED"
    row = missed["run"]["id"]
    expected = (
        f"missed: nothing could fire it within its catch-up window; run {row} stands for all 6 from {at}"
    )
    assert {world.why(time) for time in ("01T13:00", "01T16:00", "01T18:00")} == {expected}
    assert world.why("01T19:00").startswith("late: ")
    assert world.ask("01T16:30")["decision"] == "not_an_occurrence"
    assert world.ask("01T12:30")["decision"] == "not_an_occurrence"


def test_what_the_catch_up_policy_left_out_is_missed(world: World) -> None:
    world.declare(crontab='"*/20 * * * *"')
    world.tick("01 12:50")
    assert world.why("01T12:20").startswith("missed: by its catch-up policy it gave way to later ones; run ")


def test_what_no_broker_took_is_missed_in_the_words_of_its_row(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    world.change_run(status="MISSED", detail={"reason": "broker", "message": "no broker took it"})
    assert world.why("01T13:00") == f"missed: no broker took it; run {run_id(world)}"


def test_what_a_pause_caught_unpublished_is_skipped(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    world.post("pause", reason="migration")
    assert world.why("01T13:00") == f"skipped: the schedule was paused; run {run_id(world)}"


def test_what_overlap_skipped_names_the_run_in_its_way(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    detail = {"reason": "overlap", "active": "abc", "message": "an earlier run was active"}
    world.change_run(status="SKIPPED", detail=detail)
    assert world.why("01T13:00") == f"skipped: an earlier run was active (abc); run {run_id(world)}"


def test_before_it_existed(world: World) -> None:
    world.declare(**HOURLY)
    assert world.why("01T11:00") == "before_it_existed: the schedule was created at 2026-06-01 12:00:00+00:00"


def test_a_deleted_schedule_still_answers(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    world.at("01 13:30").declare()
    deleted = "deleted: the schedule was deleted at 2026-06-01 13:30:00+00:00 by reconciler"
    assert world.ask("01T13:00")["decision"] == "skipped"
    assert world.why("01T14:00") == deleted
    world.at("01 15:30").declare(**HOURLY)
    assert world.why("01T14:00") == deleted
    assert world.why("01T16:00") == "not_yet_due: it will fire at 2026-06-01 16:00:00+00:00"


def test_a_time_at_which_nothing_is_due_names_the_nearest(world: World) -> None:
    world.declare(**HOURLY)
    told = world.ask("01T13:20")
    assert told["words"] == (
        "crontab '0 * * * *' in UTC isn't due then, "
        "but at 2026-06-01 13:00:00+00:00 and 2026-06-01 14:00:00+00:00"
    )
    assert told["decision"] == "not_an_occurrence"
    assert told["before"]["scheduled_for"] == "2026-06-01T13:00:00+00:00"
    assert told["after"]["scheduled_for"] == "2026-06-01T14:00:00+00:00"


def test_times_are_judged_by_the_timing_of_their_day(world: World) -> None:
    world.declare(crontab='"0 9 * * *"')
    world.at("05 12:00").declare(crontab='"0 10 * * *"')
    edited = "the schedule was updated at 2026-06-05 12:00:00+00:00 by reconciler"
    assert world.why("04T10:00").endswith(f"2026-06-05 09:00:00+00:00; {edited}")
    assert world.ask("04T10:00")["event"]["kind"] == "updated"
    assert world.ask("05T10:00")["decision"] == "not_an_occurrence"
    assert world.ask("06T10:00")["decision"] == "not_yet_due"
    assert world.ask("06T09:00")["decision"] == "not_an_occurrence"


def test_outside_its_window(world: World) -> None:
    world.declare(**HOURLY, start_time="2026-06-02T00:00:00", end_time="2026-06-03T00:00:00")
    assert world.why("01T23:00") == "outside_window: its start_time is 2026-06-02 00:00:00+00:00"
    assert world.why("03T01:00") == "outside_window: its end_time is 2026-06-03 00:00:00+00:00"
    assert world.ask("03T00:00")["decision"] == "not_yet_due"


def test_disabled_then(world: World) -> None:
    world.declare(**HOURLY)
    world.at("01 14:30").declare(**HOURLY, enabled="false")
    disabled = "disabled: the schedule is disabled: updated at 2026-06-01 14:30:00+00:00 by reconciler"
    assert world.why("01T15:00") == disabled
    world.at("01 16:30").declare(**HOURLY)
    assert world.why("01T15:00") == disabled
    assert world.ask("01T17:00")["decision"] == "not_yet_due"


def test_disabled_from_the_start(world: World) -> None:
    world.declare(**HOURLY, enabled="false")
    told = "disabled: the schedule is disabled: created at 2026-06-01 12:00:00+00:00 by reconciler"
    assert world.why("01T15:00") == told


def test_paused_then_says_who_and_why(world: World) -> None:
    world.declare(**HOURLY)
    world.at("01 14:30").post("pause", reason="migration")
    paused = "paused: the schedule was paused at 2026-06-01 14:30:00+00:00 by ada: migration"
    assert world.why("01T15:00") == paused
    world.at("01 16:30").post("resume")
    assert world.why("01T15:00") == paused
    assert world.ask("01T15:00")["event"] == {
        "at": "2026-06-01T14:30:00+00:00", "kind": "paused", "actor": "ada", "reason": "migration", "until": None,
    }  # fmt: skip
    assert world.ask("01T17:00")["decision"] == "not_yet_due"


def test_a_pause_whose_event_is_gone_is_known_from_its_row(world: World) -> None:
    world.declare(**HOURLY)
    world.at("01 14:30").post("pause", reason="migration")
    world.database.write(lambda session: session.execute(delete(EventRow)))
    assert world.why("01T15:00") == (
        "paused: the schedule was paused at 2026-06-01 14:30:00+00:00 by ada: migration"
    )


def test_a_pause_until_a_time_ends_there(world: World) -> None:
    world.declare(**HOURLY)
    now, until = clock.now(), datetime(2026, 6, 1, 16, tzinfo=UTC)
    world.database.write(
        lambda session: overrides.pause(
            session, schedules.find(session, "job"), "ada", "freeze", now, until=until
        )
    )
    paused = (
        "paused: the schedule was paused at 2026-06-01 12:00:00+00:00 by ada until 2026-06-01 16:00:00+00:00"
    )
    assert world.why("01T15:00") == f"{paused}: freeze"
    assert world.ask("01T16:00")["decision"] == "paused"
    assert world.ask("01T17:00")["decision"] == "not_yet_due"
    world.tick("01 17:05")
    assert world.ask("01T16:00")["decision"] == "paused"
    assert world.ask("01T17:00")["decision"] == "late"


def test_what_overlaps_is_skipped_held_and_missed_by_the_dispatcher_itself(world: World) -> None:
    world.declare(**HOURLY, overlap="{policy: buffer, size: 1}")
    world.tick("01 13:00", "01 14:00", "01 15:00")
    first = world.ask("01T13:00")["run"]["task_id"]
    held, skipped = (world.ask(time) for time in ("01T14:00", "01T15:00"))
    assert (held["decision"], skipped["decision"]) == ("held", "skipped")
    assert held["words"].endswith(f"waits in the overlap buffer for {first} to end")
    assert f"as many waited as may ({first})" in skipped["words"]
    world.tick("01 15:30")
    assert world.why("01T14:00").startswith("missed: no room came within its catch-up window; run ")


def test_a_file_that_sets_enabled_ends_a_pause(world: World) -> None:
    world.declare(**HOURLY)
    world.at("01 13:10").post("pause")
    world.at("01 13:20").declare(**HOURLY, enabled="false")
    world.at("01 13:30").declare(**HOURLY)
    assert world.ask("01T14:00")["decision"] == "not_yet_due"


def test_what_will_fire_says_when(world: World) -> None:
    world.declare(timezone="Asia/Shanghai", crontab='"0 9 * * *"')
    assert world.why("02T09:00") == "not_yet_due: it will fire at 2026-06-02 09:00:00+08:00"


def test_what_its_limit_leaves_no_fire_for(world: World) -> None:
    world.declare(**HOURLY, max_run_count=2)
    assert world.ask("01T14:00")["decision"] == "not_yet_due"
    assert world.why("01T15:00") == (
        "completed: the schedule will have completed: it may still fire 2 of the 3 occurrences until then"
    )
    world.tick("01 13:00", "01 14:00")
    world.at("01 14:30")
    assert world.why("01T15:00") == "completed: it has run as often as it may"


def test_what_is_due_now_is_being_decided(world: World) -> None:
    world.declare(**HOURLY)
    assert world.at("01 13:00:02").why("01T13:00") == "being_decided: it has been due for 2.00 s"
    assert world.at("01 13:05").why("01T13:00") == (
        "being_decided: it has been due for 5m, so no dispatcher leads: see /readyz"
    )


def test_what_a_quarantine_keeps_from_firing(world: World) -> None:
    world.declare(**HOURLY)

    def quarantine(session: Session) -> None:
        row = schedules.find(session, "job")
        row.state, row.state_detail = "quarantined", "EncodeError: no"

    world.database.write(quarantine)
    assert world.why("01T13:00") == "quarantined: the schedule can't be dispatched: EncodeError: no"


def test_what_was_undecided_when_the_schedule_changed(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    world.at("01 15:30").declare(crontab='"30 * * * *"')  # the dispatcher was down since 13:00
    assert world.why("01T14:00") == (
        "overtaken: it was undecided when the schedule was updated at 2026-06-01 15:30:00+00:00 by reconciler"
    )


def test_an_edit_of_the_arguments_lets_go_of_nothing(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    world.at("01 14:00:05").declare(**HOURLY, kwargs="{n: 1}")
    assert world.ask("01T14:00")["decision"] == "being_decided"


def test_what_was_purged_is_forgotten(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00", "01 14:00")
    world.database.write(lambda session: session.execute(delete(RunRow)))
    world.at("03 12:00").post("pause")
    assert world.why("01T13:00") == "forgotten: it was decided, and its run is no longer kept"


def test_a_minute_of_many_occurrences_tells_of_the_first(world: World) -> None:
    world.declare(interval="10s")
    told = world.ask("02T09:00")
    assert (told["occurrence"]["scheduled_for"], told["among"]) == ("2026-06-02T09:00:00+00:00", 6)
    told = world.ask("02T09:00:10")
    assert (told["occurrence"]["scheduled_for"], told["among"]) == ("2026-06-02T09:00:10+00:00", 1)


def test_a_minute_finds_the_second_in_it(world: World) -> None:
    world.declare(crontab='"25 0 9 * * *"')
    assert world.ask("02T09:00")["occurrence"]["scheduled_for"] == "2026-06-02T09:00:25+00:00"
    assert world.ask("02T09:00:00")["decision"] == "not_an_occurrence"


@pytest.mark.parametrize(
    "at", ["02T09:00", "02 09:00", "02T09:00+08:00", "02T01:00Z", "02T01:00:00.000000+00:00"]
)
def test_a_time_is_read_in_the_schedules_zone_unless_it_has_an_offset(world: World, at: str) -> None:
    world.declare(timezone="Asia/Shanghai", crontab='"0 9 * * *"')
    assert world.ask(at)["occurrence"]["local"] == "2026-06-02T09:00:00+08:00"


def clocks(world: World, at: str, **keys: Any) -> Any:
    """Ask about another month's wall clock in Berlin, where the schedule has been for long."""
    world.declare(timezone="Europe/Berlin", **keys)
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    world.database.write(
        lambda session: session.execute(update(ScheduleRow).values(created_at=long_ago, cursor_at=long_ago))
    )
    return answer(world.context, "GET", f"{PATH}/job/why?at={quote(at)}", actor="ada").body


def test_a_skipped_wall_clock_leads_to_what_made_up_for_it(world: World) -> None:
    told = clocks(world, "2026-03-29T02:30", crontab='"30 2 * * *"')
    assert told["occurrence"]["local"] == "2026-03-29T03:00:00+02:00"
    assert told["occurrence"]["note"] == "moved from 02:30, which the clocks skip"


def test_a_skipped_wall_clock_that_nothing_makes_up_for_says_so(world: World) -> None:
    told = clocks(world, "2026-03-29T02:30", crontab='"*/30 2 * * *"')
    skipped = "the clocks skip 02:00 and 1 more: nothing fires that day"
    assert told["words"] == f"2026-03-29T02:30 doesn't exist in Europe/Berlin: {skipped}"
    assert told["decision"] == "nonexistent"
    assert told["before"]["local"] == "2026-03-28T02:30:00+01:00"


def test_an_ambiguous_wall_clock_asks_which(world: World) -> None:
    told = clocks(world, "2026-10-25T02:30", crontab='"30 2 * * *"')
    assert told["status"] == 422
    assert told["detail"].endswith("write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00")
    told = clocks(world, "2026-10-25T02:30+02:00", crontab='"30 2 * * *"')
    assert told["occurrence"]["note"] == "the first of two 02:30, the second doesn't fire"
    told = clocks(world, "2026-10-25T02:30+01:00", crontab='"30 2 * * *"')
    assert told["decision"] == "not_an_occurrence"


@pytest.mark.parametrize("at", ["02", "noon", "31T09:00", "02T09", "02T25:00", "02T09:00Europe"])
def test_what_is_no_time_is_refused_with_an_example(world: World, at: str) -> None:
    world.declare(**HOURLY)
    assert "isn't a time: write it like 2026-06-01T09:00" in world.ask(at, status=422)["detail"]


def test_nobodys_schedule(world: World) -> None:
    assert world.ask("02T09:00", status=404)["detail"] == "there is no schedule 'job'"


def test_the_rows_of_another_schedule_are_not_its_own(world: World) -> None:
    world.declare(**HOURLY)
    world.tick("01 13:00")
    world.change_run(schedule_id=RunRow.schedule_id + 1)
    assert world.ask("01T13:00")["run"] is None


def test_with_jitter_an_occurrence_is_due_after_its_delay(world: World) -> None:
    """Lateness counts from scheduled time + delay."""
    world.at("01 08:30").declare(crontab='"0 9 * * *"', jitter="10h")
    row = world.database.read(lambda session: schedules.find(session, "job"))
    assert row.next_run_at is not None
    due = f"{row.next_run_at:%d %H:%M:%S.%f}"
    assert due > "01 09:10"
    assert world.at("01 09:05").ask("01T09:00")["decision"] == "not_yet_due"
    world.tick(due)
    assert world.at("01 23:00").ask("01T09:00")["decision"] == "fired"
