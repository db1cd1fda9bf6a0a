"""`import sqlalchemy-celery-beat`, from tables that the package made: in SQLite, and in a schema of its own on a server."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from taskd.cli import main
from taskd.cli.importing.databases import _reading
from taskd.errors import DatabaseUnavailable
from tests.importing import coming, coming_in_celery, specs_of
from tests.services import DATABASES, own_database

NOW = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database; on MariaDB the package's schema would be a database of that name, shared by all."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/beat.db"
        return
    with own_database(request.param) as url:
        yield url


@pytest.fixture
def own(url: str) -> dict[str, Any]:
    """The package's own schedules by name, after it has stored them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sqlalchemy_celery_beat import models
        from sqlalchemy_celery_beat.session import SessionManager

        session = SessionManager().session_factory(url)
        hourly = models.CrontabSchedule(minute="*/20", hour="6-20", timezone="Asia/Shanghai")
        both = models.CrontabSchedule(
            minute="0", hour="4", day_of_month="1-7", day_of_week="1", timezone="UTC"
        )
        minutes = models.IntervalSchedule(every=7, period=models.Period.MINUTES)
        sun = models.SolarSchedule(event=models.SolarEvent.SUNSET, latitude=1, longitude=2)
        originals = {"crontab": hourly, "both": both, "interval": minutes, "sun": sun}
        session.add_all(originals.values())
        session.flush()
        for name, schedule in originals.items():
            session.add(
                models.PeriodicTask(
                    schedule_model=schedule, name=name, task="t", args="[1]", last_run_at=NOW, queue="q"
                )
            )
        session.commit()
        own = {name: each.schedule for name, each in originals.items() if name != "sun"}
        session.close()
    return own


def imported(url: str) -> str:
    result = CliRunner().invoke(main, ["import", "sqlalchemy-celery-beat", url])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_its_schedules_keep_their_times(url: str, own: dict[str, Any]) -> None:
    text = imported(url)
    found = specs_of(text)
    assert set(found) == set(own) == {"crontab", "both", "interval"}
    for name, schedule in own.items():
        assert coming(found[name], NOW) == coming_in_celery(schedule, NOW), name
    assert (found["crontab"].queue, found["crontab"].args) == ("q", [1])
    assert "not carried over: " in text


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_file_is_read_without_a_trace(url: str, own: dict[str, Any]) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    imported(url)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]  # not even a journal


@pytest.mark.parametrize("kind", DATABASES)
def test_a_server_lets_nothing_be_written(kind: str) -> None:
    with (
        own_database(kind) as url,
        pytest.raises(DatabaseUnavailable, match=r"(?i)read.only transaction"),
        _reading(url) as connection,
    ):
        connection.execute(text("CREATE TABLE x (id int)"))
