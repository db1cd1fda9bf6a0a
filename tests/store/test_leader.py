"""Leadership on every database: one holder, taken over only from a row that stands still."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

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
