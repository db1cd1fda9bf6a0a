"""The chaos suite, short: every kind of fault once or so. `bench/chaos.py` does it for as long as one likes."""

import random
from pathlib import Path

import pytest

from tests import services
from tests.chaos.checker import occurrences, violations
from tests.chaos.storm import storm

pytestmark = pytest.mark.timeout(300)  # processes, on a machine that has much to do
FAULTS, SCHEDULES = 8, 10


@pytest.fixture
def seed() -> int:
    """New each time; pytest shows it where the test fails."""
    return random.SystemRandom().randrange(10**6)


def test_every_occurrence_is_one_row_and_one_effect_whatever_fails(
    tmp_path: Path, redis_url: str, seed: int
) -> None:
    prefix = f"{services.own_name('chaos')}:"
    with (
        services.own_database("postgresql") as database,
        storm(tmp_path, database, redis_url, prefix, replicas=2, schedules=SCHEDULES, seed=seed) as chaos,
    ):
        chaos.rage(FAULTS, rest=0.5)
        facts = chaos.calm()
        chaos.flush()
    assert violations(facts) == []
    assert occurrences(facts) > SCHEDULES * FAULTS
