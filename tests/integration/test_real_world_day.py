"""46 schedules of a real installation over a simulated day: each fires at its minutes, and at no others."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import select

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.reconcile.apply import Source, apply
from taskd.reconcile.plan import compare
from taskd.reconcile.table import load
from taskd.schedule.crontab import resolve_hash
from taskd.schedule.spec import uid_of
from taskd.source.tree import Tree
from taskd.source.yamlfile import Declared
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.tables import RunRow
from tests.unit import oracle

FILES = Path(__file__).parents[1] / "data" / "real-world"
START = datetime(2026, 5, 31, 23, 59, 30, tzinfo=UTC)  # before a Monday that is the first of a month
END = START + timedelta(days=1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(
        f"sqlite:///{tmp_path}/taskd.db", role="worker"
    )  # durability isn't what is asked here
    schema.upgrade(database)
    yield database
    database.close()


def expected(new: Declared) -> Iterator[datetime]:
    """By arithmetic or by matching every minute: nothing of the evaluator."""
    spec = new.spec
    if spec.crontab is not None:
        crontab = resolve_hash(spec.crontab, str(uid_of(spec.name)))
        start, end = START.replace(second=0), END.replace(second=0) + timedelta(minutes=1)
        yield from (at for at in oracle.occurrences(crontab, "UTC", start, end) if START < at <= END)
        return
    assert spec.interval_seconds is not None
    seconds = int(START.timestamp())
    for second in range(seconds + 1, seconds + 86400 + 1):
        if second % spec.interval_seconds == 0:
            yield datetime.fromtimestamp(second, UTC)


@pytest.mark.timeout(300)
def test_every_due_time_is_one_run_and_nothing_else_is(database: Database) -> None:
    reading = Tree(FILES, "UTC").read()
    plan = compare(reading.files.values(), database.read(load))
    assert (len(plan.creates), plan.errors) == (46, ())
    sources = {path: Source(reading.root, reading.revision) for path in reading.files}
    database.write(lambda session: apply(session, plan, sources, (), START))

    leadership = Leadership(database, "dispatch", "me", ttl=1e9)
    assert leadership.step(0.0)
    dispatcher = Dispatcher(database, Celery("test", broker="memory://", set_as_current=False), leadership)
    while (due := dispatcher.next_due()) is not None and due <= END:
        dispatcher.tick(due)

    query = select(RunRow.schedule_name, RunRow.scheduled_for).where(RunRow.status == "PENDING")
    fired = Counter((name, at) for name, at in database.read(lambda session: list(session.execute(query))))
    schedules = [create.declared for create in plan.creates]
    assert fired == Counter((new.spec.name, at) for new in schedules for at in expected(new))
