"""One database a module on each of the three: what holds on one must hold on all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from taskd.store import schema
from taskd.store.database import Database
from tests.services import absent, answers, own_name

SERVERS = {
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "mariadb": "mariadb+pymysql://root@127.0.0.1:3306/mysql",
}


@pytest.fixture(scope="module", params=["sqlite", *SERVERS])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a new, empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/taskd.db"
        return
    server, name = _server(request.param), own_name("db")
    _execute(server, f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    _execute(server, f"DROP DATABASE {name}")


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


def _server(kind: str) -> URL:
    variable = f"TASKD_TEST_{kind.upper()}_URL"
    url = os.environ.get(variable, SERVERS[kind])
    if not answers(url):
        absent(kind, f"start one on its usual local port or set {variable}")
    return make_url(url)


def _execute(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
