"""Overlap with a real worker: what is cancelled never starts, what is terminated dies, what is held waits its turn."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.dispatch.publisher import Publisher
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.store import schedules
from taskd.store.schedules import Origin
from taskd.store.tables import RunRow
from tests.integration.workers import Site, StartWorker, running
from tests.waiting import eventually

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Fire = Callable[[datetime], list[RunRow]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def start(site: Site) -> Iterator[StartWorker]:
    with running(site) as start:
        yield start


@pytest.fixture
def fire(site: Site) -> Iterator[Fire]:
    """One pass of the dispatcher and the publisher, as the engine makes them; all runs, in order."""
    leadership = Leadership(site.database, "dispatch", "me", ttl=1e9)
    assert leadership.step(0.0)
    dispatcher = Dispatcher(site.database, site.app, leadership)
    publisher = Publisher(site.database, site.app, leadership)

    def step(now: datetime) -> list[RunRow]:
        dispatcher.tick(now)
        dispatcher.revoker.send()
        publisher.tick(now)
        query = select(RunRow).order_by(RunRow.id)
        return site.database.read(lambda session: list(session.scalars(query)))

    yield step
    publisher.close()


def declare(site: Site, **keys: Any) -> None:
    given = {"name": "one", "task": "t.effect", "crontab": "* * * * *", **keys}
    columns = ScheduleSpec.read(given, "UTC").columns()
    before = NOON - MINUTE
    site.database.write(
        lambda session: schedules.create(session, uid_of("one"), "one", columns, Origin("api"), before)
    )


def test_terminate_kills_the_body_and_the_next_run_goes(site: Site, start: StartWorker, fire: Fire) -> None:
    declare(site, args=[600], overlap="terminate")
    start("prefork")
    (first,) = fire(NOON)
    eventually(lambda: site.started() == [first.task_id])  # its row says so a moment before
    _, second = fire(NOON + MINUTE)
    ended = site.becomes(first.task_id, "REVOKED")
    assert (ended.detail or {})["superseded_by"] == second.task_id
    eventually(lambda: site.started() == [first.task_id, second.task_id])


def test_what_was_cancelled_while_it_waited_never_starts(site: Site, start: StartWorker, fire: Fire) -> None:
    declare(site, overlap="cancel")
    fire(NOON)
    first, second = fire(NOON + MINUTE)  # the first one's message is with the broker by now
    assert (first.status, first.published_at is None) == ("REVOKED", False)
    start("prefork")
    site.becomes(second.task_id, "SUCCESS")
    assert site.started() == [second.task_id]


def test_what_is_held_starts_when_the_run_before_it_has_ended(
    site: Site, start: StartWorker, fire: Fire
) -> None:
    declare(site, overlap="buffer")
    first, held = fire(NOON)[0], fire(NOON + MINUTE)[1]
    start("prefork")
    site.becomes(first.task_id, "SUCCESS")
    assert held.published_at is None
    fire(NOON + MINUTE + timedelta(seconds=1))
    site.becomes(held.task_id, "SUCCESS")
    assert site.started() == [first.task_id, held.task_id]
