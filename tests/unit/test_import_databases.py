"""`import django-celery-beat` and `import sqlalchemy-celery-beat`, from tables that the packages made."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.importing import coming, specs_of
from tests.unit.conftest import Workplace

DATA = Path(__file__).parents[1] / "data" / "imports"
NOW = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def django(place: Workplace) -> str:
    """The URL of a database that django-celery-beat made (tests/data/imports/make_django.py)."""
    path = place.folder / "django.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript((DATA / "django-celery-beat.sql").read_text())
    connection.close()
    path.chmod(0o444)
    return f"sqlite:///{path}"


def test_django_celery_beats_schedules_keep_their_times(place: Workplace, django: str) -> None:
    found = specs_of(place.taskd("import", "django-celery-beat", django).stdout)
    expected = json.loads((DATA / "django-celery-beat.json").read_text())
    assert len(expected) == 10
    for name, times in expected.items():
        since = datetime.fromisoformat(times[0]) - timedelta(seconds=1)
        mine = [at.isoformat() for at in coming(found[name], since)]
        assert mine == times, name


def test_all_columns_are_carried(place: Workplace, django: str) -> None:
    text = place.taskd("import", "django-celery-beat", django).stdout
    found = specs_of(text)
    spec = found["everything"]
    assert (spec.args, spec.kwargs, spec.headers) == ([1, "two"], {"three": None}, {"h": "1"})
    assert (spec.queue, spec.exchange, spec.routing_key, spec.priority) == ("reports", "ex", "rk", 5)
    assert (spec.expires, spec.description) == (60, "All of it")
    assert spec.start_time == NOW + timedelta(hours=1)
    assert found["until"].end_time == NOW + timedelta(days=1, seconds=-1)
    assert not found["disabled"].enabled
    assert (found["once"].one_off, found["once"].enabled) == (True, True)
    assert not found["done-once"].enabled  # it has run: its own scheduler would have disabled it
    assert found["at"].start_time == NOW + timedelta(days=9)
    assert "not carried over: sunset at 1" in text
    assert "not carried over: 0.5 s" in text


def test_a_database_without_its_tables_is_told(place: Workplace) -> None:
    place.taskd("db", "upgrade")
    url = place.database_url
    assert "there is no table celery_periodictask" in place.complaint("import", "sqlalchemy-celery-beat", url)
    gone = place.complaint("import", "django-celery-beat", "sqlite:///gone.db")
    assert gone.endswith("gone.db: there is no such database")
    assert not Path("gone.db").exists()


def test_a_password_is_not_shown(place: Workplace) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/x"
    complaint = place.complaint("import", "django-celery-beat", url)
    assert "hunter2" not in complaint
    assert "can't be read" in complaint
