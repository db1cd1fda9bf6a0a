"""One database a module on each of the three: what holds on one must hold on all."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.leader import Leadership
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.store import schedules, schema
from taskd.store.database import Database
from taskd.store.schedules import Origin
from taskd.store.tables import EventRow, LeaseRow, OutboxRow, RunRow, ScheduleRow, StatRow
from tests.services import DATABASES, own_database
from tests.store.scene import MINUTE, NOON, Declare


@pytest.fixture(scope="module", params=["sqlite", *DATABASES])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a new, empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/taskd.db"
        return
    with own_database(request.param) as url:
        yield url


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """A new database with taskd's tables; tests of a module share it, so each takes names of its own."""
    database = Database(database_url)
    schema.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database of its own for one test, where the dialect doesn't matter."""
    return f"sqlite:///{tmp_path}/taskd.db"


@pytest.fixture
def clear(database: Database) -> Callable[[], None]:
    """Forgets all schedules, runs, messages, events and figures."""

    def delete_all(session: Session) -> None:
        for table in (ScheduleRow, RunRow, OutboxRow, EventRow, StatRow):
            session.execute(delete(table))

    return lambda: database.write(delete_all)


@pytest.fixture
def empty(clear: Callable[[], None]) -> None:
    """No schedule, run, message, event or figure of another test."""
    clear()


@pytest.fixture
def app() -> Celery:
    """An application with a broker in memory."""
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(task_serializer="json", accept_content=["json"])
    return app


@pytest.fixture
def leadership(database: Database) -> Iterator[Leadership]:
    """The `dispatch` lease, held for as long as the test goes on."""
    database.write(lambda session: session.execute(update(LeaseRow).values(holder=None)))
    leadership = Leadership(database, "dispatch", "me", ttl=1e9)
    assert leadership.step(0.0)
    yield leadership
    leadership.resign()


@pytest.fixture
def dispatcher(database: Database, app: Celery, leadership: Leadership) -> Dispatcher:
    """One that leads."""
    return Dispatcher(database, app, leadership)


@pytest.fixture
def declare(database: Database, empty: None) -> Declare:
    """Add a schedule, as of a minute before noon unless `at` says otherwise; returns its id."""

    def add(name: str = "one", at: datetime = NOON - MINUTE, **keys: Any) -> int:
        if not {"interval", "date"} & keys.keys():
            keys.setdefault("crontab", "* * * * *")
        spec = ScheduleSpec.read({"name": name, "task": "t"} | keys, "UTC")
        origin = Origin("file", "schedules", "schedules/a.yaml", 3)

        def create(session: Session) -> int:
            row = schedules.create(session, uid_of(name), name, spec.columns(), origin, at)
            session.flush()
            return row.id

        return database.write(create)

    return add
