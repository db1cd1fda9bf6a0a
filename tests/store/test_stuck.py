"""`PublishFailing` says of a schedule why its messages wait, and is gone once they don't."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import update

from taskd.dispatch.dispatcher import Dispatcher
from taskd.dispatch.stuck import PERIOD, STALE, PublishWatch
from taskd.store import conditions, outbox
from taskd.store.database import Database
from taskd.store.fenced import Fenced
from taskd.store.tables import OutboxRow
from tests.store.scene import SOON, Declare, all_runs, schedule

LATER = SOON + timedelta(seconds=10)
MUCH_LATER = SOON + timedelta(seconds=70)
Refusals = dict[str | None, str]


def says(database: Database, name: str) -> str | None:
    return conditions.message_of(schedule(database, name).conditions, "PublishFailing")


def published(database: Database, names: Mapping[str, bool]) -> None:
    """Their messages are with the broker, or are due again."""
    for run in all_runs(database):
        gone = names[run.schedule_name or ""]
        values = {"not_before": None if gone else SOON, "published_at": SOON if gone else None}
        change = update(OutboxRow).where(OutboxRow.run_id == run.id).values(values)
        database.write(lambda session, change=change: session.execute(change))


@pytest.fixture
def refusals() -> Refusals:
    return {}


@pytest.fixture
def watch(database: Database, dispatcher: Dispatcher, declare: Declare, refusals: Refusals) -> PublishWatch:
    """Two schedules that have fired, one of them into a queue of its own."""
    declare("plain")
    declare("special", queue="special")
    assert dispatcher.tick(SOON) == 2
    return PublishWatch(Fenced(database, lambda _: None), lambda: refusals)


def test_what_has_just_come_due_is_no_failure(
    database: Database, watch: PublishWatch, refusals: Refusals
) -> None:
    watch.look(0.0, LATER)  # a large herd takes so long where nothing fails
    refusals[None] = "ConnectionRefusedError: refused"
    watch.look(PERIOD, SOON + timedelta(seconds=2))
    assert says(database, "plain") is None


def test_a_queue_that_refuses_concerns_the_schedules_that_use_it(
    database: Database, watch: PublishWatch, refusals: Refusals
) -> None:
    refusals["special"] = "NotFound: no queue 'special' in vhost '/'"
    published(database, {"plain": True, "special": False})
    watch.look(0.0, LATER)
    told = says(database, "special") or ""
    assert "queue 'special' refuses them (NotFound: no queue 'special' in vhost '/')" in told
    assert "declare the queue" in told
    assert says(database, "plain") is None


def test_while_one_queue_refuses_the_others_still_have_their_time(
    database: Database, watch: PublishWatch, refusals: Refusals
) -> None:
    refusals["special"] = "NotFound: no queue"
    watch.look(0.0, LATER)
    assert says(database, "special")
    assert says(database, "plain") is None


def test_a_broker_that_is_away_concerns_all_that_wait_and_is_told_without_its_password(
    database: Database, watch: PublishWatch, refusals: Refusals
) -> None:
    refusals[None] = "ConnectionRefusedError: amqp://me:s3cret@broker// refused\nand more"
    watch.look(0.0, LATER)
    for name in ("plain", "special"):
        told = says(database, name) or ""
        assert "the broker takes none" in told
        assert "s3cret" not in told
        assert "and more" not in told


def test_the_condition_goes_when_nothing_waits_any_more(database: Database, watch: PublishWatch) -> None:
    watch.look(0.0, MUCH_LATER)
    assert "see the log of the process that dispatches" in (says(database, "plain") or "")
    published(database, {"plain": True, "special": False})
    watch.look(PERIOD, MUCH_LATER)
    assert says(database, "plain") is None
    assert says(database, "special")


def test_what_another_leader_said_is_cleared_too(database: Database, watch: PublishWatch) -> None:
    watch.look(0.0, MUCH_LATER)
    published(database, {"plain": True, "special": True})
    PublishWatch(Fenced(database, lambda _: None)).look(STALE, MUCH_LATER)
    assert says(database, "plain") is says(database, "special") is None


def test_an_unchanged_state_writes_nothing(
    database: Database, watch: PublishWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.look(0.0, MUCH_LATER)
    monkeypatch.setattr(database, "write", None)
    watch.look(PERIOD, MUCH_LATER)
    assert database.read(lambda session: outbox.waiting_since(session, SOON)).keys() != set()
