"""The database, for commands that work on it themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from taskd.config import Settings
from taskd.errors import DatabaseUnavailable
from taskd.store import schema
from taskd.store.database import Database


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database as it is; an SQLite file is made where there is none."""
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database.pool_size)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def existing(settings: Settings) -> Iterator[Database]:
    """A database that somebody made before: a question must not leave an empty file behind."""
    url = make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise DatabaseUnavailable(
            f"there is no database {url.database} yet: start `taskd dev`, or make it with `taskd db upgrade`"
        )
    with opened(settings) as database:
        yield database


@contextmanager
def migrated(settings: Settings) -> Iterator[Database]:
    """One at the schema that this version works with; raises WrongSchema, which says what to do."""
    with existing(settings) as database:
        schema.check(database)
        yield database
