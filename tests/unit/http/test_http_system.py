"""`/api/v1/system`: which taskd, who leads, how far behind."""

from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version

from sqlalchemy import insert, update

from taskd import clock
from taskd.http.exchange import Part
from taskd.store.tables import LeaseRow, OutboxRow, SourceRow
from tests.unit.http.conftest import Api

SYSTEM = "/api/v1/system"


def test_a_process_that_wants_no_lease_says_who_leads(api: Api) -> None:
    lead = update(LeaseRow).where(LeaseRow.name == "dispatch").values(holder="box:7:ab", epoch=4)
    api.context.database.write(lambda session: session.execute(lead))
    told = api.get(SYSTEM)
    assert told["version"] == version("taskd")
    assert (told["leader"], told["epoch"], told["role"], told["lease_age"]) == ("box:7:ab", 4, "none", None)
    assert told["reconcile"] == {"leader": None, "epoch": 0, "lease_age": None, "role": "none"}
    assert (told["database"], told["lag"], told["revision"], told["clock"]) == ("sqlite", 0, None, "ok")
    assert str(told["tzdata"]).startswith("20")


def test_a_leader_says_how_old_its_lease_is_and_why_it_would_not_lead(api: Api) -> None:
    parts = {"dispatch": Part("leader", 1.23456), "reconcile": Part("standby", 0.5)}
    api.context = replace(api.context, parts=lambda: parts, clock_is_wrong=lambda: "it is an hour ahead")
    told = api.get(SYSTEM)
    assert (told["role"], told["lease_age"]) == ("leader", 1.235)
    assert told["reconcile"]["role"] == "standby"
    assert told["clock"] == "it is an hour ahead"


def test_the_lag_is_the_age_of_the_oldest_message_that_should_have_gone(api: Api) -> None:
    def waiting(since: float) -> None:
        message = {
            "body": b"",
            "headers": {},
            "options": {},
            "not_before": clock.now() - timedelta(seconds=since),
        }
        run_id = int(since) + 1000
        api.context.database.write(
            lambda session: session.execute(insert(OutboxRow).values(run_id=run_id, publish_no=0, **message))
        )

    waiting(-60)
    assert api.get(SYSTEM)["lag"] == 0
    waiting(90)
    assert 90 <= api.get(SYSTEM)["lag"] < 120


def test_the_revision_is_the_one_that_was_applied(api: Api) -> None:
    def applied(name: str, revision: str) -> None:
        row = SourceRow(name=name, root=name, revision_applied=revision, conditions=[], passes=[])
        api.context.database.write(lambda session: session.add(row))

    applied("schedules", "abc123")
    assert api.get(SYSTEM)["revision"] == "abc123"
    applied("team", "def456")
    assert api.get(SYSTEM)["revision"] == {"schedules": "abc123", "team": "def456"}
