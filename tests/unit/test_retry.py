"""Retry: pauses, and what the column keeps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.schedule.retry import Retry, retry_of


def test_pauses_double_up_to_the_longest() -> None:
    retry = Retry(max=9, backoff=10, backoff_max=60, jitter=False)
    assert [retry.pause(attempt, 0.9) for attempt in range(5)] == [10, 20, 40, 60, 60]


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_jitter_takes_at_most_half_of_a_pause(attempt: int, chance: float) -> None:
    exact, retry = Retry(backoff=3, jitter=False), Retry(backoff=3)
    assert exact.pause(attempt, chance) / 2 <= retry.pause(attempt, chance) <= exact.pause(attempt, chance)


def test_no_backoff_is_no_pause() -> None:
    assert Retry(backoff=0).pause(7, 0.5) == 0


@pytest.mark.parametrize("retry", [Retry(), Retry(max=0), Retry(3, 5, 6, jitter=False, on_worker_lost=True)])
def test_the_column_is_read_back_as_it_was(retry: Retry) -> None:
    assert retry_of({"retry": retry.column()}) == retry


@pytest.mark.parametrize("options", [{}, {"retry": 3}, {"retry": {"often": 3}}, {"retry": None}])
def test_what_says_nothing_valid_is_no_policy(options: dict[str, object]) -> None:
    assert retry_of(options) is None
