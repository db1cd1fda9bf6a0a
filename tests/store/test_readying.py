"""What comes due soon is compiled while nothing is due, on every database."""

from datetime import timedelta

import pytest

from taskd.celery_app import create_app
from taskd.config import load
from taskd.dispatch import readying
from taskd.dispatch.compiled import Compiler
from taskd.dispatch.readying import AFTER_CHANGES, Readying
from taskd.store import events
from taskd.store.database import Database
from tests.store.scene import NOON, Declare, edit, schedule

BEFORE = NOON - timedelta(seconds=30)
NAMES = [f"s{number}" for number in range(7)]


@pytest.fixture
def compiler() -> Compiler:
    return Compiler(create_app(load(None, {})), frozenset())


@pytest.fixture
def readying_(database: Database, compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> Readying:
    monkeypatch.setattr(readying, "LOOK", 3)
    monkeypatch.setattr(readying, "PAGE", 2)
    return Readying(database, compiler)


def known(database: Database, compiler: Compiler) -> set[str]:
    return {name for name in NAMES if compiler.known(schedule(database, name))}  # type: ignore[arg-type]  # a row of the table will do


def test_all_that_is_due_soon_is_compiled_a_page_at_a_time(
    database: Database, declare: Declare, compiler: Compiler, readying_: Readying
) -> None:
    for name in NAMES:
        declare(name, interval="60s")
    sizes = []
    while readying_.look(BEFORE):
        sizes.append(len(known(database, compiler)))
    assert known(database, compiler) == set(NAMES)
    assert sizes == sorted(sizes)
    assert all(later - size <= 2 for size, later in zip([0, *sizes], sizes, strict=False))


def test_what_is_due_later_is_left_alone(
    database: Database, declare: Declare, compiler: Compiler, readying_: Readying
) -> None:
    for name in NAMES:
        declare(name, interval="1h", at=NOON)
    assert not readying_.look(BEFORE)
    assert known(database, compiler) == set()


def test_what_was_edited_meanwhile_is_compiled_anew(
    database: Database, declare: Declare, compiler: Compiler, readying_: Readying
) -> None:
    for name in NAMES:
        declare(name, interval="60s")
    while readying_.look(BEFORE):
        pass
    edit(database, BEFORE, "s3", interval="60s", args=[1])
    database.write(events.bump_change)
    assert "s3" not in known(database, compiler)
    while readying_.look(BEFORE + AFTER_CHANGES):
        pass
    assert known(database, compiler) == set(NAMES)
