"""Leadership on every database: one holder, taken over only from a row that stands still."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from taskd import clock
from taskd.dispatch import skew
from taskd.dispatch.leader import Leadership
from taskd.errors import LeaseLost
from taskd.store import leases
from taskd.store.database import Database
from taskd.store.tables import LeaseRow

TTL = 10.0
Candidate = Callable[[str], Leadership]


@pytest.fixture
def candidate(database: Database) -> Candidate:
    """A process that would lead; nobody does at first."""
    database.write(lambda session: session.execute(update(LeaseRow).values(holder=None)))
    return lambda holder: Leadership(database, "dispatch", holder, TTL)


def test_a_free_lease_is_taken_at_once_and_by_one(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    assert one.step(0.0)
    assert not two.step(0.0)
    assert two.held_by_another
    assert not one.held_by_another


def test_a_silent_leader_is_replaced_after_its_time_and_not_before(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    assert one.step(0.0)
    assert not two.step(100.0)
    assert not two.step(109.9)
    assert two.step(110.1)


def test_a_leader_that_renews_is_not_replaced(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    for second in range(0, 40, 4):
        assert one.step(float(second))
        assert not two.step(float(second))


def test_trust_ends_before_the_lease_could_be_taken(candidate: Candidate) -> None:
    one = candidate("one")
    assert one.step(0.0)
    assert one.leads(TTL - one.margin - 0.1)
    assert not one.leads(TTL - one.margin)


def test_a_leader_that_slept_too_long_finds_another_and_stands_by(
    candidate: Candidate, database: Database
) -> None:
    one, two = candidate("one"), candidate("two")
    one.step(0.0)
    two.step(0.0)
    assert two.step(11.0)
    with pytest.raises(LeaseLost):
        database.write(one.fence)
    assert not one.step(11.0)
    assert one.held_by_another


def test_a_lease_that_was_given_back_is_taken_at_once(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    one.step(0.0)
    one.resign()
    assert two.step(0.0)


def test_giving_back_what_another_has_taken_does_nothing(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    one.step(0.0)
    two.step(0.0)
    two.step(11.0)
    one.resign()
    assert two.step(12.0)


def test_of_two_that_try_at_once_one_succeeds(candidate: Candidate, database: Database) -> None:
    candidate("one")
    seen = database.read(lambda session: leases.read(session, "dispatch"))
    took = [
        database.write(lambda session, me=me: leases.take(session, "dispatch", me, seen))
        for me in ("one", "two")
    ]
    assert took == [True, False]


def test_every_leader_has_its_own_epoch(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    one.step(0.0)
    first = one.epoch
    one.resign()
    two.step(1.0)
    assert first is not None
    assert two.epoch == first + 1


def test_the_lease_is_as_old_as_the_last_sign_of_its_holder(candidate: Candidate) -> None:
    one, two = candidate("one"), candidate("two")
    assert two.age(0.0) is None
    one.step(0.0)
    two.step(1.0)
    assert one.age(3.0) == 3.0
    assert two.age(3.0) == pytest.approx(2.0, abs=0.9)


@pytest.mark.parametrize(("hours", "says"), [(1, "3600 s ahead of"), (-1, "3600 s behind")])
def test_a_candidate_whose_clock_is_off_the_databases_does_not_lead_and_says_so(
    database: Database, candidate: Candidate, monkeypatch: pytest.MonkeyPatch, hours: int, says: str
) -> None:
    right = clock.now
    one = candidate("one")
    monkeypatch.setattr(clock, "now", lambda: right() + timedelta(hours=hours))
    if database.dialect == "sqlite":  # its clock is this machine's
        assert one.step(0.0)
        return
    assert not one.step(0.0)
    assert says in (one.clock_is_wrong or "")

    monkeypatch.setattr(clock, "now", right)
    assert one.step(1.0)
    assert one.clock_is_wrong is None


def test_a_leader_whose_clock_jumps_gives_the_lease_back_at_once(
    database: Database, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = clock.now
    one, two = candidate("one"), candidate("two")
    assert one.step(0.0)
    monkeypatch.setattr(clock, "now", lambda: right() + timedelta(hours=1))
    leads = database.dialect == "sqlite"
    assert one.step(0.1) == leads
    monkeypatch.setattr(clock, "now", right)
    assert two.step(0.2) != leads


def test_a_clock_within_seconds_of_the_databases_is_near_enough(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = clock.now
    off = timedelta(seconds=skew.FURTHEST - 2)
    monkeypatch.setattr(clock, "now", lambda: right() - off)
    assert candidate("one").step(0.0)
