"""Migrations: from the first tables, with data in all of them, to those of today, on each database."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Uuid,
    column,
    insert,
    inspect,
    table,
    text,
)

from taskd.errors import WrongSchema
from taskd.store import schema
from taskd.store.columns import UtcDateTime
from taskd.store.database import Database
from taskd.store.tables import Base
from tests.acceptance.processes import TASKD, environment
from tests.services import DATABASES, own_database

FIRST = "0001"
CHANGED = {"last_good"}  # of another type in the first tables
SHOWN = "taskd db upgrade"


@pytest.fixture(params=["sqlite", *DATABASES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database for each test."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/taskd.db"
        return
    with own_database(request.param) as url:
        yield url


@pytest.fixture
def first(url: str) -> Iterator[Database]:
    """A database with the first tables."""
    database = Database(url)
    config = schema._config()
    with database.engine.connect().execution_options(taskd_write=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, FIRST)
    yield database
    database.close()


def _value(column: Column[Any], number: int) -> Any:  # noqa: PLR0911  one line for each type
    """Something that the column can hold."""
    match column.type:
        case UtcDateTime():
            return datetime(2026, 1, 1, number, tzinfo=UTC)
        case Uuid():
            return UUID(int=number)
        case JSON():
            return {"number": number}
        case LargeBinary():
            return b"x"
        case Boolean():
            return True
        case Integer():
            return number
        case Float():
            return 1.5
    return f"{column.name[:8]}-{number}"


def _fill(database: Database) -> dict[str, int]:
    """Two rows in every table that has none, in the columns that were there then; how many rows each has."""
    counts: dict[str, int] = {}
    there = inspect(database.engine)
    for today in Base.metadata.sorted_tables:
        if not there.has_table(today.name):
            continue
        then = {column["name"] for column in there.get_columns(today.name)}
        kept = [each for each in today.columns if each.name in then - CHANGED and each.computed is None]
        rows = [{each.name: _value(each, number) for each in kept} for number in (1, 2)]
        plain = table(today.name, *(column(each.name, each.type) for each in kept))
        with database.engine.connect().execution_options(taskd_write=True) as connection, connection.begin():
            if not _count(connection, today.name):
                connection.execute(insert(plain), rows)
            counts[today.name] = _count(connection, today.name)
    return counts


def _count(connection: Connection, name: str) -> int:
    return connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()


def test_data_of_the_first_version_is_there_after_an_upgrade(first: Database) -> None:
    before = _fill(first)
    assert before.keys() >= {"task_scheduler", "task_result", "task_outbox", "task_event", "task_lease"}
    with pytest.raises(WrongSchema, match=f"is at revision {FIRST}, taskd needs .*: run `{SHOWN}`"):
        schema.check(first)
    schema.upgrade(first)
    schema.check(first)
    with first.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
        now = {name: _count(connection, name) for name in before}
    assert now == before
    schema.upgrade(first)  # once more does no harm


def test_several_that_upgrade_at_once_do_it_once(url: str, tmp_path: Path) -> None:
    """As two pods of one deployment do."""
    environ = environment(TASKD_DATABASE__URL=url, TASKD_STATE_DIR=str(tmp_path / "state"))
    at_once = [
        subprocess.Popen(
            [*TASKD, "db", "upgrade"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(3)
    ]  # fmt: skip
    said = [process.communicate(timeout=180)[0] for process in at_once]
    assert [process.returncode for process in at_once] == [0, 0, 0], said
    database = Database(url)
    schema.check(database)
    assert inspect(database.engine).has_table("task_result")
    database.close()


def test_a_daemon_refuses_to_start_on_an_older_schema_and_names_the_command(
    first: Database, tmp_path: Path
) -> None:
    url = first.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [*TASKD, "run"],
        cwd=tmp_path,
        env=environment(TASKD_DATABASE__URL=url, TASKD_STATE_DIR=str(tmp_path / "state")),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert f"run `{SHOWN}`" in done.stderr
    assert "Traceback" not in done.stderr
