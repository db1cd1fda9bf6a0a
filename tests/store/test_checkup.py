"""What `doctor` asks of a database, on each of the three."""

from datetime import timedelta

import pytest

from taskd import clock
from taskd.cli.checkup.storage import clock_findings
from taskd.store.database import Database


def test_the_clock_of_the_same_machine_is_right(database: Database) -> None:
    levels = [finding.level for finding in clock_findings(database)]
    assert levels == ([] if database.dialect == "sqlite" else ["ok"])


def test_a_clock_that_is_off_is_told_with_a_remedy(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.dialect == "sqlite":
        return
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(minutes=3))
    (finding,) = clock_findings(database)
    assert (finding.level, "s away from the database's" in finding.says) == ("warning", True)
    assert "timedatectl" in (finding.remedy or "")
