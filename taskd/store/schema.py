"""Migrations: bring the schema up to date, or say that it isn't."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from taskd.errors import DatabaseUnavailable, WrongSchema
from taskd.store.database import Database

logging.getLogger("alembic").setLevel(logging.WARNING)  # at INFO it tells of its context at every look


def head() -> str:
    """The revision that this version of taskd works with."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(database: Database) -> str | None:
    """The database's revision, or None where taskd has made no tables yet."""
    return database.read(lambda session: _revision(session.connection()))


def upgrade(database: Database) -> None:
    """Migrate to the head, in one transaction where the database can do that (MariaDB can't)."""
    config = _config()
    try:
        with database.engine.connect().execution_options(taskd_write=True) as connection, connection.begin():
            if _revision(connection) == head():
                return
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        where = database.url.render_as_string(hide_password=True)
        raise DatabaseUnavailable(f"the database {where} can't be migrated: {error.orig}") from error


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
