"""The engine, transactions, and everything in which the three databases differ.

`write` runs its work in one transaction and runs it again when the database asks for that (deadlock, lock
timeout, busy); `read` never locks. Both turn a database that is away into DatabaseUnavailable.
"""

import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from taskd.clock import monotonic
from taskd.errors import ConfigError, DatabaseUnavailable
from taskd.store import classes
from taskd.store.columns import from_json, to_json
from taskd.store.single import Single

T = TypeVar("T")
Role = Literal["daemon", "worker"]
log = logging.getLogger("taskd.store")

IDLE = 3  # seconds after which a server ends a transaction whose process stands still: it must not block the next leader
PATIENCE = 5.0  # seconds for which a busy or deadlocked transaction is tried again
_MIGRATION = 8470_0001  # the advisory lock's number, within one database
# named locks are the server's, and released with the session
_TAKE_TURN = "SELECT GET_LOCK(CONCAT(LEFT(DATABASE(), 50), ' migration'), 25)"
_GIVE_TURN = "SELECT RELEASE_LOCK(CONCAT(LEFT(DATABASE(), 50), ' migration'))"
# A herd touches every page of the runs' indexes: with SQLite's own cache of 2 MB, and a checkpoint every 4 MB, it would
# read and write them again and again. The cache (-KiB) is taken as it is needed; only the daemon checkpoints.
_SQLITE_AS: dict[Role, dict[str, object]] = {
    "daemon": {"synchronous": "FULL", "wal_autocheckpoint": 10_000, "cache_size": -16_384},
    "worker": {"synchronous": "NORMAL", "wal_autocheckpoint": 0},
}
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_POSTGRES_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
# a read-only standby, and the classes: insufficient resources (a full disk), operator's intervention, system error
_POSTGRES_AWAY = ("25006", "53", "57", "58")
_NOW = {
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')",
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
}
# A server that has vanished without a word is noticed within 15 s.
_POSTGRES_ALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}
# For a transaction of one statement: no BEGIN and COMMIT around it where that costs nothing to say.
_COMMITS_ITSELF: dict[str, dict[str, Any]] = {
    "sqlite": {"taskd_alone": True},
    "postgresql": {"isolation_level": "AUTOCOMMIT"},
    "mariadb": {},
}
_REST = 1.0  # seconds
_MARIADB_AGAIN = {1020, 1205, 1213}  # changed since read, lock wait timeout, deadlock


class Database:
    """One engine. `role`: a daemon's SQLite connections are durable and checkpoint; a worker's leave that to it."""

    def __init__(self, url: str, *, pool_size: int = 5, role: Role = "daemon") -> None:
        self.url = make_url(url)
        try:
            self.engine = create_engine(
                self.url,
                pool_size=pool_size,
                json_serializer=to_json,
                json_deserializer=from_json,
                hide_parameters=True,
                **_engine_options(self.dialect),
            )
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(_missing_driver(self.dialect)) from error
        if self.dialect == "sqlite":
            try:
                _prepare_sqlite(self.engine, role)
            except OSError as error:
                raise self._unavailable(f"its folder can't be made: {error.strerror}") from error
        # SQLite has one writer at a time, and lets the others look again and again: threads of one process take turns.
        self._turn = threading.RLock() if self.dialect == "sqlite" and role == "daemon" else nullcontext()
        self._alone = self.engine.execution_options(**_COMMITS_ITSELF[self.dialect])
        _ping_after_a_rest(self.engine)
        # A forked child must not speak on its parent's connections.
        os.register_at_fork(after_in_child=lambda: self.engine.dispose(close=False))

    @property
    def dialect(self) -> str:
        """`sqlite`, `postgresql` or `mariadb`."""
        name = self.url.get_backend_name()
        return "mariadb" if name == "mysql" else name

    def write(self, work: Callable[[Session], T], patience: float = PATIENCE) -> T:
        """Run `work` in one transaction that takes its write lock first; again, with jitter, when told to.

        `patience`: seconds for which it is tried again.
        """

        def transaction() -> T:
            with Session(self.engine, expire_on_commit=False) as session:
                session.connection(execution_options={"taskd_write": True})
                outcome = work(session)
                session.commit()
                return outcome

        return self._tried(transaction, patience)

    def write_alone(self, statement: Single, patience: float = PATIENCE, **values: Any) -> int:
        """Run one statement that is a transaction by itself, in the same way; how many rows it has changed."""
        return self._tried(lambda: statement.run(self._alone, **values), patience)

    def _tried(self, transaction: Callable[[], T], patience: float) -> T:
        deadline = monotonic() + patience
        while True:
            try:
                with self._turn:
                    return transaction()
            except DBAPIError as error:
                if not (asks_again(error) and monotonic() < deadline):
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

    def now(self) -> datetime:
        """The database's wall clock (UTC): for SQLite that of this machine."""
        shown = self.read(lambda session: session.execute(text(_NOW[self.dialect])).scalar_one())
        at = datetime.fromisoformat(shown) if isinstance(shown, str) else shown
        return cast("datetime", at).replace(tzinfo=UTC)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction beside which no other process migrates. Raises DatabaseUnavailable, or what `asks_again` tells.

        SQLite's write lock sees to that by itself; MariaDB commits each change of a table, so its lock isn't one of rows.
        """
        with self.engine.connect().execution_options(taskd_write=True) as connection, connection.begin():
            if self.dialect == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION})")
            if self.dialect == "mariadb" and not connection.exec_driver_sql(_TAKE_TURN).scalar():
                raise self._unavailable("another process has been migrating it for 25 s")
            try:
                yield connection
            finally:
                if self.dialect == "mariadb":
                    connection.exec_driver_sql(_GIVE_TURN)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _raise_if_away(self, error: DBAPIError) -> None:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigError(f"database.url: {self.url.database} is no SQLite database") from error
        state = getattr(error.orig, "sqlstate", None) or ""
        away = isinstance(error, (OperationalError, InterfaceError)) or state.startswith(_POSTGRES_AWAY)
        if error.connection_invalidated or away:
            raise self._unavailable(str(error.orig).strip().splitlines()[0]) from error

    def _unavailable(self, why: str) -> DatabaseUnavailable:
        where = self.url.render_as_string(hide_password=True)
        return DatabaseUnavailable(f"the database {where} can't be used: {why}")


def _missing_driver(dialect: str) -> str:
    extra = (
        f"install it with `pip install 'taskd[{dialect}]'`"
        if dialect in {"postgresql", "mariadb"}
        else "use sqlite, postgresql or mariadb"
    )
    return f"database.url: there is no driver for {dialect!r} here: {extra}"


def _engine_options(dialect: str) -> dict[str, Any]:
    if dialect == "postgresql":
        session = f"-c idle_in_transaction_session_timeout={IDLE * 1000} -c lock_timeout=5000 -c timezone=UTC"
        return {
            "isolation_level": "READ COMMITTED",
            "pool_timeout": 5,
            "connect_args": {"connect_timeout": 5, "options": session, **_POSTGRES_ALIVE},
        }
    if dialect == "mariadb":
        session = (
            f"SET SESSION idle_transaction_timeout={IDLE}, innodb_lock_wait_timeout=5, time_zone='+00:00'"
        )
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


def _ping_after_a_rest(engine: Engine) -> None:
    """A ping before each use would cost as much as many a statement does."""

    @event.listens_for(engine, "checkin")
    def _note(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        if monotonic() - record.info.get("rests_since", monotonic()) > _REST:
            try:
                alive = engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error:
                alive = False
            if not alive:
                raise DisconnectionError("it was closed while it rested")


def _prepare_sqlite(engine: Engine, role: Role) -> None:
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
        connection.create_function("taskd_hash", -1, _hash, deterministic=True)  # see seal.py
        connection.create_function("taskd_class", 1, classes.number, deterministic=True)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        for pragma, value in _SQLITE_AS[role].items():
            cursor.execute(f"PRAGMA {pragma}={value}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock at once: an upgrade half-way could only fail.
        options = connection.get_execution_options()
        if not options.get("taskd_alone"):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("taskd_write") else "BEGIN")


def _hash(*values: object) -> int:
    return hash(values) & 0xFFFFFFFF


def asks_again(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a moment later: another one was in its way."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_BUSY
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return state in _POSTGRES_AGAIN
    number = next(iter(cause.args), None) if cause is not None else None
    return number in _MARIADB_AGAIN
