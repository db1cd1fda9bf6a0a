"""What the tests of dispatch share: a noon, and looks at what the tables hold. The fixtures are in conftest.py."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, select

from taskd.schedule.spec import ScheduleSpec
from taskd.store import attempts, claims, schedules
from taskd.store.claims import Call, Outcome, Start
from taskd.store.database import Database
from taskd.store.schedules import Origin
from taskd.store.tables import EventRow, OutboxRow, RunRow, ScheduleRow

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SOON = NOON + timedelta(seconds=1)

Declare = Callable[..., int]


def schedule(database: Database, name: str = "one") -> ScheduleRow:
    return database.read(lambda session: schedules.find(session, name))


def all_runs(database: Database) -> list[RunRow]:
    """By scheduled time."""
    return database.read(lambda session: list(session.scalars(select(RunRow).order_by(RunRow.scheduled_for))))


def outbox(database: Database) -> list[OutboxRow]:
    return database.read(lambda session: list(session.scalars(select(OutboxRow))))


def statuses(database: Database) -> list[str]:
    """Of all runs, in the order of their decisions."""
    return database.read(lambda session: list(session.scalars(select(RunRow.status).order_by(RunRow.id))))


def events(database: Database) -> list[tuple[str, str]]:
    """(kind, actor), oldest first."""
    query = select(EventRow.kind, EventRow.actor).order_by(EventRow.id)
    return database.read(lambda session: [(kind, actor) for kind, actor in session.execute(query)])


def begin(database: Database, run: RunRow, at: datetime) -> None:
    """A worker starts it."""
    start = Start(Call(run.task_id, run.task_name, decided=True), f"worker.{run.id}", 0, "worker", at)
    assert attempts.begin(database, start) == "claimed"


def end(database: Database, run: RunRow, at: datetime, status: str = "SUCCESS") -> None:
    """A worker starts it, if none has, and tells how it ended."""
    if database.read(lambda session: session.get_one(RunRow, run.id)).status == "PENDING":
        begin(database, run, at)
    mine = claims.held_by(f"worker.{run.id}")
    outcome = Outcome(status, at)
    assert database.write(lambda session: claims.finish(session, run.task_id, outcome, mine))


def change(database: Database, what: Callable[..., Any], *args: Any, name: str = "one", **how: Any) -> None:
    """An operator's `what` (a function of store.overrides) to a schedule."""

    def write(session: Any) -> None:
        what(session, schedules.find(session, name, lock=True), *args, **how)

    database.write(write)


def edit(database: Database, now: datetime, name: str = "one", **keys: Any) -> None:
    """Its file says something else now."""
    spec = ScheduleSpec.read({"name": name, "task": "t"} | keys, "UTC")

    def write(session: Any) -> None:
        row = schedules.find(session, name, lock=True)
        schedules.redeclare(session, row, spec.columns(), Origin("file"), now)

    database.write(write)


def statements(database: Database, work: Callable[[], object]) -> list[str]:
    """The SQL that `work` executes."""
    return [statement for statement, _ in statements_with_values(database, work)]


def statements_with_values(database: Database, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """The SQL that `work` executes, each with its parameters; no BEGIN."""
    seen: list[tuple[str, Any]] = []

    def note(*execution: Any) -> None:
        _, _, statement, values, *_ = execution
        if not statement.startswith("BEGIN"):
            seen.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return seen
