"""kill -9 of the daemon, at any moment: no occurrence is lost, none runs twice."""

import random
import time

import pytest

from tests.acceptance.conftest import SERVERS
from tests.acceptance.installations import (
    LEADS,
    LEASE,
    Installation,
    assert_each_once,
    figures,
    kill_group,
    live_on,
)
from tests.acceptance.processes import TASKD

NAMES = ("a", "b", "c", "d", "e", "f")
BUSY = 0.06  # seconds after each full one in which it decides, publishes and marks


@pytest.mark.parametrize(
    ("place", "kills"), [("embedded", 8), *((kind, 4) for kind in SERVERS)], indirect=["place"]
)
def test_every_due_time_is_one_run_however_often_the_daemon_is_killed(
    place: Installation, kills: int
) -> None:
    moments = random.Random(f"{kills} kills")
    place.beats(*NAMES)
    place.worker()
    kill_group(place.daemon(until=LEADS))
    for number in range(kills):
        daemon = place.start([*TASKD, "run"])
        live_on(daemon, moments.uniform(0, LEASE + 3))  # from importing to some seconds after it leads again
        if number % 2:
            live_on(daemon, 1 - time.time() % 1 + moments.uniform(0, BUSY))
        kill_group(daemon)

    last = place.daemon(until=LEADS)
    for name in NAMES:
        place.goes_on(name)
    assert last.stop(within=15) == 0
    twice = sum("refused" in (run.detail or {}) for run in place.settle())
    count = assert_each_once(place, *NAMES)
    figures.info("%d kills, %d occurrences, %d published twice and refused once", kills, count, twice)
