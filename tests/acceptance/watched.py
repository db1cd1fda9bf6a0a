"""A running installation as its tables and its API tell of it, and files for it to follow."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy import select

from taskd.store import schedules, sources
from taskd.store.tables import EventRow, SourceRow
from tests.acceptance.installations import Installation
from tests.waiting import eventually

HALF_A_MINUTE = 30.0
ECHO = "  {}:\n    task: taskd.tasks.demo.echo\n    interval: 1s\n    args: [{}]\n"


def text(**schedules: str) -> str:
    return "schedules:\n" + "".join(ECHO.format(name, arg) for name, arg in schedules.items())


class Watched:
    """What the tables and the API say of a running installation."""

    def __init__(self, place: Installation) -> None:
        self.place = place

    def living(self) -> dict[str, Any]:
        """The argument of each schedule that isn't deleted."""
        rows = self.place.database.read(lambda session: list(session.scalars(schedules.living())))
        return {row.name: row.args[0] for row in rows}

    def becomes(self, **schedules: object) -> None:
        eventually(lambda: self.living() == schedules, HALF_A_MINUTE)

    def source(self, root: Path) -> SourceRow:
        rows = self.place.database.read(sources.status)
        return next(row for row in rows if row.root == str(root))

    def conditions(self, root: Path) -> list[str]:
        return [one["type"] for one in self.source(root).conditions]

    def last_event(self, name: str) -> EventRow | None:
        query = select(EventRow).where(EventRow.name == name).order_by(EventRow.id.desc()).limit(1)
        return self.place.database.read(lambda session: session.scalar(query))

    def ask(self, method: str, path: str, **body: object) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.place.port}/api/v1{path}"
        headers = {"Content-Type": "application/json"}
        sent = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, sent, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=180) as answered:
            return answered.status, json.load(answered)

    def sync(self) -> Any:
        """What a pass from now on does."""
        status, done = self.ask("POST", "/sync?wait=60s")
        assert status == 200
        return done

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was done to it, the newest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"/scheduler/schedulers/{name}/events")[1]["items"]
        return found

    def kinds(self, name: str) -> list[str]:
        return [event["kind"] for event in self.events(name)]
