"""`db upgrade`, `current`, `check`."""

from sqlalchemy import text

from taskd.store import schema
from tests.unit.conftest import Workplace


def test_upgrade_makes_the_tables_and_repeating_it_does_no_harm(place: Workplace) -> None:
    assert place.json("db", "upgrade") == {"before": None, "current": schema.head()}
    assert place.taskd("db", "upgrade").stdout == f"the database is at revision {schema.head()} already\n"


def test_current_and_check_agree_with_it(place: Workplace) -> None:
    place.taskd("db", "upgrade")
    assert place.json("db", "current") == {"current": schema.head(), "head": schema.head()}
    assert place.json("db", "check") == {"ok": True, "problem": None}


def test_an_unknown_revision_is_a_no_with_a_remedy(place: Workplace) -> None:
    place.taskd("db", "upgrade")
    database = place.database()
    database.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    database.close()
    assert place.taskd("db", "check", exits=1).stdout.endswith("install a newer taskd\n")
    assert place.json("db", "current")["current"] == "9999"


def test_without_a_database_there_is_nothing_to_check(place: Workplace) -> None:
    assert "there is no database" in place.complaint("db", "check")
    assert "there is no database" in place.complaint("db", "current")
