"""Ids are given out before their rows are seen: none is told twice, none is missed, none is waited for forever."""

from hypothesis import given
from hypothesis import strategies as st

from taskd.store.arrivals import PATIENCE, Arrivals


@given(st.permutations(range(1, 30)), st.integers(1, 5))
def test_whatever_the_order_each_row_comes_once(committed: list[int], at_once: int) -> None:
    arrivals, come = Arrivals(0), []
    for start in range(0, len(committed), at_once):
        there = committed[: start + at_once]
        found = [row for row in there if arrivals.expects(row)]
        arrivals.note(found, seconds=0.0)
        come += found
        assert set(range(1, arrivals.settled + 1)) <= set(come)
    assert sorted(come) == list(range(1, 30))
    assert arrivals.settled == arrivals.newest == 29


def test_what_was_rolled_back_is_given_up() -> None:
    arrivals = Arrivals(10)
    arrivals.note([15], seconds=0.0)
    assert (arrivals.settled, arrivals.expects(12)) == (10, True)
    arrivals.note([13], seconds=PATIENCE - 1)
    assert (arrivals.settled, arrivals.expects(13), arrivals.expects(14)) == (10, False, True)
    arrivals.note([], seconds=PATIENCE)
    assert (arrivals.settled, arrivals.expects(12)) == (15, False)
