"""Migrations: bring the schema up to date, or say that it isn't."""

import logging
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from taskd.clock import monotonic
from taskd.errors import DatabaseUnavailable, WrongSchema
from taskd.store.database import Database, asks_again

Step = Callable[[int, int], None]
"""(how many migrations are made, of how many)."""
PATIENCE = 60.0  # seconds in which another process is let finish its migration
_AGAIN = 0.2  # seconds between two tries

logging.getLogger("alembic").setLevel(logging.WARNING)  # at INFO it tells of its context at every look


def head() -> str:
    """The revision that this version of taskd works with."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(database: Database) -> str | None:
    """The database's revision, or None where taskd has made no tables yet."""
    return database.read(lambda session: _revision(session.connection()))


def upgrade(database: Database, step: Step = lambda _done, _total: None) -> None:
    """Migrate to the head, in one transaction where the database can do that (MariaDB can't).

    Of several that try at once one does it, and the others see that it is done.
    """
    deadline = monotonic() + PATIENCE
    while True:
        try:
            with database.migrating() as connection:
                _to_head(connection, step)
        except DBAPIError as error:
            if not (asks_again(error) and monotonic() < deadline):
                where = database.url.render_as_string(hide_password=True)
                raise DatabaseUnavailable(f"the database {where} can't be migrated: {error.orig}") from error
            time.sleep(_AGAIN)
        else:
            return


def _to_head(connection: Connection, step: Step) -> None:
    found = _revision(connection)
    if found != head():
        config = _config()
        missing = len(list(ScriptDirectory.from_config(config).iterate_revisions("head", found or "base")))
        made = count(1)
        config.attributes["connection"] = connection
        config.attributes["applied"] = lambda **_: step(next(made), missing)
        step(0, missing)
        command.upgrade(config, "head")


def check(database: Database) -> None:
    """Raise WrongSchema, with what to do, unless the database is at the head."""
    found = current(database)
    if found == head():
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise WrongSchema(
            f"the database is at revision {found}, newer than this taskd knows: install a newer taskd"
        )
    state = "has no tables of taskd yet" if found is None else f"is at revision {found}, taskd needs {head()}"
    raise WrongSchema(f"the database {state}: run `taskd db upgrade`")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
