"""The engine, transactions, and everything in which the three databases differ.

`write` runs its work in one transaction and runs it again when the database asks for that (deadlock, lock
timeout, busy); `read` never locks. Both turn a database that is away into DatabaseUnavailable.
"""

import json
import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from taskd.clock import monotonic
from taskd.errors import ConfigError, DatabaseUnavailable

T = TypeVar("T")
Role = Literal["daemon", "worker"]
log = logging.getLogger("taskd.store")

PATIENCE = 5.0  # seconds for which a busy or deadlocked transaction is tried again
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_POSTGRES_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
_MARIADB_AGAIN = {1020, 1205, 1213}  # changed since read, lock wait timeout, deadlock


class Database:
    """One engine. `role`: a daemon's SQLite connections are durable and checkpoint; a worker's leave that to it."""

    def __init__(self, url: str, *, pool_size: int = 5, role: Role = "daemon") -> None:
        self.url = make_url(url)
        try:
            self.engine = create_engine(
                self.url,
                pool_size=pool_size,
                pool_pre_ping=True,
                json_serializer=_to_json,
                hide_parameters=True,
                **_engine_options(self.dialect),
            )
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(_missing_driver(self.dialect)) from error
        if self.dialect == "sqlite":
            _prepare_sqlite(self.engine, role)
        # A forked child must not speak on its parent's connections.
        os.register_at_fork(after_in_child=lambda: self.engine.dispose(close=False))

    @property
    def dialect(self) -> str:
        """`sqlite`, `postgresql` or `mariadb`."""
        name = self.url.get_backend_name()
        return "mariadb" if name == "mysql" else name

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction that takes its write lock first; again, with jitter, when told to."""
        deadline = monotonic() + PATIENCE
        while True:
            try:
                with Session(self.engine, expire_on_commit=False) as session:
                    session.connection(execution_options={"taskd_write": True})
                    outcome = work(session)
                    session.commit()
                    return outcome
            except DBAPIError as error:
                if not (_asks_again(error) and monotonic() < deadline):
                    self._raise_if_away(error)
                    raise
                log.debug("transaction is tried again: %s", error.orig)
            except PoolTimeout as error:
                raise self._unavailable("no connection became free") from error
            time.sleep(random.uniform(0.002, 0.03))  # noqa: S311  spreads the contenders, hides nothing

    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction that sees one state and changes nothing."""
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                return work(session)
        except DBAPIError as error:
            self._raise_if_away(error)
            raise
        except PoolTimeout as error:
            raise self._unavailable("no connection became free") from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _raise_if_away(self, error: DBAPIError) -> None:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigError(f"database.url: {self.url.database} is no SQLite database") from error
        if error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
            raise self._unavailable(str(error.orig).strip().splitlines()[0]) from error

    def _unavailable(self, why: str) -> DatabaseUnavailable:
        where = self.url.render_as_string(hide_password=True)
        return DatabaseUnavailable(f"the database {where} can't be used: {why}")


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _missing_driver(dialect: str) -> str:
    extra = (
        f"install it with `pip install 'taskd[{dialect}]'`"
        if dialect in {"postgresql", "mariadb"}
        else "use sqlite, postgresql or mariadb"
    )
    return f"database.url: there is no driver for {dialect!r} here: {extra}"


def _engine_options(dialect: str) -> dict[str, Any]:
    # A process stopped inside a transaction must not block the next leader: the server ends it after 3 s.
    if dialect == "postgresql":
        session = "-c idle_in_transaction_session_timeout=3000 -c lock_timeout=5000 -c timezone=UTC"
        return {
            "isolation_level": "READ COMMITTED",
            "pool_timeout": 5,
            "connect_args": {"connect_timeout": 5, "options": session},
        }
    if dialect == "mariadb":
        session = "SET SESSION idle_transaction_timeout=3, innodb_lock_wait_timeout=5, time_zone='+00:00'"
        return {
            "isolation_level": "READ COMMITTED",
            "pool_timeout": 5,
            "connect_args": {
                "connect_timeout": 5,
                "read_timeout": 30,
                "write_timeout": 30,
                "charset": "utf8mb4",
                "init_command": session,
            },
        }
    return {"pool_timeout": 5, "connect_args": {"timeout": 0.05, "check_same_thread": False}}


def _prepare_sqlite(engine: Engine, role: Role) -> None:
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if role == 'daemon' else 'NORMAL'}")
        if role == "worker":
            cursor.execute("PRAGMA wal_autocheckpoint=0")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock at once: an upgrade half-way could only fail.
        write = connection.get_execution_options().get("taskd_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _asks_again(error: DBAPIError) -> bool:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_BUSY
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return state in _POSTGRES_AGAIN
    number = next(iter(cause.args), None) if cause is not None else None
    return number in _MARIADB_AGAIN
