"""SQLite: the daemon's connections are durable and checkpoint; a worker's leave that to it. Nobody relies on its back-off."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from taskd.errors import DatabaseUnavailable
from taskd.store import database as databases
from taskd.store.database import Database, Role

FULL, NORMAL = 2, 1


@pytest.mark.parametrize(("role", "synchronous", "pages"), [("daemon", FULL, 10_000), ("worker", NORMAL, 0)])
def test_who_makes_commits_durable_and_who_checkpoints(
    sqlite_url: str, role: Role, synchronous: int, pages: int
) -> None:
    database = Database(sqlite_url, role=role)

    def pragma(name: str) -> object:
        return database.read(lambda session: session.scalar(text(f"PRAGMA {name}")))

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == synchronous
    assert pragma("wal_autocheckpoint") == pages
    assert int(str(pragma("busy_timeout"))) <= 100
    database.close()


def test_a_lock_that_goes_is_waited_for_and_one_that_stays_is_an_outage(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sqlite_url)
    database.write(lambda session: session.execute(text("CREATE TABLE t (n)")))
    other = sqlite3.connect(tmp_path / "taskd.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
    letting_go.start()
    database.write(lambda session: session.execute(text("INSERT INTO t VALUES (1)")))
    letting_go.join()

    monkeypatch.setattr(databases, "PATIENCE", 0.3)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        database.write(lambda session: session.execute(text("INSERT INTO t VALUES (2)")))
    other.close()
    database.close()
