"""An API over a real database, asked without a server."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy.orm import Session

from taskd.config import Settings
from taskd.http.exchange import Answer, Context
from taskd.http.routes import answer
from taskd.http.server import HttpServer
from taskd.schedule.spec import ScheduleSpec, uid_of
from taskd.store import schedules
from taskd.store.database import Database
from taskd.store.schema import upgrade
from taskd.store.tables import RunRow, ScheduleRow

SCHEDULERS = "/api/v1/scheduler/schedulers"
RESULTS = "/api/v1/result/results"
THEN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Api:
    """The API in this process, with what the tests need to set its stage."""

    context: Context
    woken: list[int] = field(default_factory=list)

    def ask(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer, as `answer` gives it."""
        told = answer(self.context, method, target, body, actor="ada", headers=headers)
        return replace(told, body=told.whole())

    def get(self, target: str) -> Any:
        """The body of a GET that must succeed."""
        told = self.ask("GET", target)
        assert told.status == 200, told.body
        return told.body

    def add(self, name: str, origin: schedules.Origin | None = None, **declared: Any) -> int:
        """Declare a schedule, by default in a file and due every five minutes; its id."""
        if not {"crontab", "interval", "date"} & declared.keys():
            declared["crontab"] = "*/5 * * * *"
        spec = ScheduleSpec.read({"name": name, "task": "demo.echo", **declared}, "UTC")
        owner = origin or schedules.Origin("file", "schedules", "schedules/a.yaml", 3)

        def work(session: Session) -> int:
            row = schedules.create(session, uid_of(spec.name), spec.name, spec.columns(), owner, THEN)
            session.flush()
            return row.id

        return self.context.database.write(work)

    def change(self, pk: int, **columns: Any) -> None:
        """Set columns of a schedule behind everyone's back."""

        def work(session: Session) -> None:
            row = session.get_one(ScheduleRow, pk)
            for column, value in columns.items():
                setattr(row, column, value)

        self.context.database.write(work)

    def ran(self, task_id: str, **columns: Any) -> int:
        """Add a run; its id."""
        values = {"task_name": "demo.echo", "status": "SUCCESS", "kind": "adhoc", "generation": 0, **columns}

        def work(session: Session) -> int:
            row = RunRow(task_id=task_id, **values)
            session.add(row)
            session.flush()
            return row.id

        return self.context.database.write(work)

    def read(self, work: Callable[[Session], Any]) -> Any:
        """What `work` finds in the database."""
        return self.context.database.read(work)

    def having(self, **members: Any) -> "Api":
        """The same with another context."""
        return Api(replace(self.context, **members), self.woken)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with taskd's tables, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "taskd.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture
def api(tmp_path: Path, empty_database: Path) -> Api:
    """A fresh one."""
    return make_api(tmp_path, empty_database)


def make_api(folder: Path, empty_database: Path) -> Api:
    """One whose state is in `folder`."""
    settings = Settings(state_dir=folder, http={"bind": "127.0.0.1:0", "allowed_hosts": ["taskd.example"]})
    shutil.copy(empty_database, folder / "taskd.db")
    database = Database(settings.database_url.get_secret_value())
    woken: list[int] = []
    app = Celery("test", set_as_current=False)
    context = Context(settings=settings, database=database, app=app, wake=lambda: woken.append(1))
    return Api(context, woken)


class serving:  # noqa: N801  a context manager
    """The API over TCP, from a thread."""

    def __init__(self, api: Api) -> None:
        self._http = HttpServer(api.context)
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._up.wait(20)
        return self._http.addresses[0]

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        served = asyncio.create_task(self._http.run(self._stop))
        await self._http.listening.wait()
        self._up.set()
        await served
