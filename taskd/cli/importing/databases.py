"""The tables of django-celery-beat and sqlalchemy-celery-beat, read without a chance to write."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, Table, create_engine, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from taskd.cli.importing.entry import Entry
from taskd.cli.importing.rows import Row, Trigger, entry_of
from taskd.config import masked
from taskd.config.urls import sqlalchemy_url
from taskd.errors import ConfigError, DatabaseUnavailable

_DJANGO = {kind: f"django_celery_beat_{kind}schedule" for kind in ("interval", "crontab", "clocked", "solar")}
_SQLALCHEMY = {kind: f"celery_{kind}schedule" for kind in _DJANGO}


def entries_of_django(url: str) -> Iterator[Entry]:
    """What django-celery-beat has in the database at `url`; raises ConfigError or DatabaseUnavailable."""
    taken: set[str] = set()
    with _reading(url) as connection:
        tasks = _rows(connection, "django_celery_beat_periodictask", None)
        found = {kind: _by_id(connection, table, None) for kind, table in _DJANGO.items()}
    for row in tasks:
        kind = next((kind for kind in found if row[f"{kind}_id"] is not None), "")
        yield entry_of(row, Trigger(kind, found[kind].get(row[f"{kind}_id"]) if kind else None), taken)


def entries_of_sqlalchemy(url: str) -> Iterator[Entry]:
    """What sqlalchemy-celery-beat has in the database at `url`; raises ConfigError or DatabaseUnavailable."""
    taken: set[str] = set()
    with _reading(url) as connection:
        # It has a schema of its own where there are schemas.
        own = "celery_schema" if "celery_schema" in inspect(connection).get_schema_names() else None
        tasks = _rows(connection, "celery_periodictask", own)
        found = {kind: _by_id(connection, table, own) for kind, table in _SQLALCHEMY.items()}
    for row in tasks:
        kind = str(row["discriminator"]).removesuffix("schedule")
        yield entry_of(row, Trigger(kind, found.get(kind, {}).get(row["schedule_id"])), taken)


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    """A connection that the server, or SQLite, lets write nothing."""
    address, options = _read_only(url)
    engine = create_engine(address, **options)
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DatabaseUnavailable(f"{masked(url)} can't be read: {cause}") from error
    finally:
        engine.dispose()


def _read_only(url: str) -> tuple[str, dict[str, Any]]:
    try:
        address = sqlalchemy_url(url)
        parsed = make_url(address)
    except (ValueError, ArgumentError) as error:
        raise ConfigError(f"{masked(url)}: {error}") from error
    match parsed.get_backend_name():
        case "sqlite":
            if not Path(parsed.database or "").is_file():
                raise ConfigError(f"{parsed.database}: there is no such database")
            return f"sqlite:///file:{parsed.database}?mode=ro&uri=true", {}
        case "postgresql":
            return address, {"connect_args": {"options": "-c default_transaction_read_only=on"}}
    return address, {"connect_args": {"init_command": "SET SESSION TRANSACTION READ ONLY"}}


def _rows(connection: Connection, name: str, schema: str | None) -> Sequence[Row]:
    if not inspect(connection).has_table(name, schema):
        raise ConfigError(f"there is no table {name} in this database: is it the right one?")
    # Reflected, so that any version of the package will do: what a version lacks or adds isn't asked for.
    table = Table(name, MetaData(), autoload_with=connection, schema=schema, resolve_fks=False)
    return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]


def _by_id(connection: Connection, name: str, schema: str | None) -> Mapping[int, Row]:
    return {row["id"]: row for row in _rows(connection, name, schema)}
