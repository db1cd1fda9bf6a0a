"""What is tried again: by the task's own word, by its schedule's, by BaseTask's default; and where it waits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from taskd.clock import monotonic, now
from taskd.dispatch.leader import Leadership
from taskd.dispatch.publisher import Publisher
from taskd.store.tables import OutboxRow
from tests.integration.workers import Site, running

AT_ONCE = {"backoff": 0}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("retries"))
    with running(site) as start:
        start("prefork")
        yield site


@pytest.mark.parametrize(
    ("task", "args", "retry", "status", "attempt"),
    [
        ("t.flaky", [2], {"max": 2, **AT_ONCE}, "SUCCESS", 2),
        ("t.flaky", [3], {"max": 2, **AT_ONCE}, "FAILURE", 2),
        ("t.flaky", [1, "exit"], {"max": 1, **AT_ONCE}, "SUCCESS", 1),
        ("t.flaky", [1, "ConnectionError"], {"max": 0}, "FAILURE", 0),
        ("t.flaky", [1], None, "FAILURE", 0),
        ("t.async_flaky", [1], {"max": 1, **AT_ONCE}, "SUCCESS", 1),
        ("t.retry", ["FAILURE", 1], {"max": 2, **AT_ONCE}, "FAILURE", 2),
        ("t.ignore", [], {"max": 2, **AT_ONCE}, "IGNORED", 0),
        ("t.reject", [False], {"max": 2, **AT_ONCE}, "FAILURE", 0),
        ("t.replace", [], {"max": 2, **AT_ONCE}, "SUCCESS", 65536),
    ],
)
def test_a_schedules_retry_counts_for_every_exception(
    site: Site, task: str, args: list[Any], retry: dict[str, Any] | None, status: str, attempt: int
) -> None:
    row = site.becomes(site.send(task, *args, retry=retry), "SUCCESS", "FAILURE", "IGNORED")
    assert (row.status, row.generation) == (status, attempt)
    if status == "SUCCESS":
        assert (row.traceback, row.progress) == (None, None)


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "adhoc"])
def test_a_long_wait_is_spent_in_the_database_not_with_the_broker(site: Site, decided: bool) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=30)
    row = site.becomes(site.send("t.later", 300, decided=decided, expires=expires), "RETRY")
    query = select(OutboxRow).where(OutboxRow.run_id == row.id)
    waiting = site.database.read(lambda session: session.scalars(query).one())
    assert waiting.not_before is not None
    assert timedelta(seconds=290) < waiting.not_before - now() <= timedelta(seconds=300)
    assert (waiting.headers["retries"], waiting.headers["eta"], waiting.headers["expires"]) == (1, None, None)

    due = update(OutboxRow).where(OutboxRow.run_id == row.id).values(not_before=now() - timedelta(seconds=1))
    site.database.write(lambda session: session.execute(due))
    publish(site)
    assert site.becomes(row.task_id, "SUCCESS").result == "second"


def publish(site: Site) -> None:
    leadership = Leadership(site.database, "dispatch", "me", ttl=60)
    assert leadership.step(monotonic())
    publisher = Publisher(site.database, site.app, leadership)
    assert publisher.tick(now()) == 1
    publisher.close()
    leadership.resign()


def test_a_retry_does_not_inherit_expires(site: Site) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=2)
    assert site.becomes(site.send("t.later", 3, expires=expires), "SUCCESS").result == "second"
