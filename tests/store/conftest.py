"""One database a module on each of the three: what holds on one must hold on all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskd.store import schema
from taskd.store.database import Database
from tests.services import DATABASES, own_database


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
