"""A folder in which the command line is used."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taskd.cli import main
from taskd.config import load
from taskd.store.database import Database


class Workplace:
    """A working folder with its own state, its own schedules and nothing from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database_url = f"sqlite:///{folder}/.taskd/taskd.db"

    def taskd(self, *words: str, exits: int = 0) -> Result:
        """Call taskd; its exit code is part of what is promised."""
        result = self.invoke(*words)
        assert result.exit_code == exits, result.output
        return result

    def invoke(self, *words: str) -> Result:
        """Call taskd, and see."""
        return CliRunner().invoke(main, words)

    def json(self, *words: str, exits: int = 0) -> Any:
        """What it prints with --json."""
        return json.loads(self.taskd(*words, "--json", exits=exits).stdout)

    def complaint(self, *words: str, exits: int = 2) -> str:
        """What it says on stderr when it can't; stdout stays empty."""
        result = self.taskd(*words, exits=exits)
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.stderr.strip()

    def file(self, text: str, name: str = "a.yaml") -> Path:
        """Write a schedule file."""
        path = self.folder / "schedules" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def database(self) -> Database:
        """Its database, to look at and to prepare."""
        return Database(load(None, {}).database_url.get_secret_value())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("TASKD_CONFIG", "TASKD_URL", "ENVIRONMENT", "CELERY_BROKER"):
        monkeypatch.delenv(name, raising=False)
    return Workplace(tmp_path)


@pytest.fixture
def stocked(place: Workplace) -> Workplace:
    """One with two schedules in its database."""
    place.file(
        """\
schedules:
  daily-report:
    task: reports.tasks.daily
    crontab: "0 9 * * *"
    timezone: Europe/Berlin
    kwargs: {password: hunter2}
  heartbeat:
    task: taskd.tasks.demo.echo
    interval: 90s
"""
    )
    place.taskd("db", "upgrade")
    place.taskd("sync")
    return place
