"""kill -9 of the worker, at any moment: what it hadn't begun runs once elsewhere, what it had begun is LOST."""

import random
from collections import Counter

import pytest

from tests.acceptance.conftest import SERVERS
from tests.acceptance.installations import (
    LEADS,
    Installation,
    assert_each_once,
    figures,
    kill,
    kill_group,
    live_on,
)
from tests.waiting import eventually

NAMES = ("a", "b", "c", "d", "e")
TAKES_MORE = ("--prefetch-multiplier", "4")  # so that there is much that it has taken but not begun


@pytest.mark.parametrize(
    ("place", "kills"), [("embedded", 6), *((kind, 3) for kind in SERVERS)], indirect=["place"]
)
def test_every_due_time_is_one_run_however_often_the_worker_is_killed(
    place: Installation, kills: int
) -> None:
    """Its two slots are busy half of the time."""
    moments = random.Random(f"{kills} kills")
    place.beats(*NAMES, every="2s", seconds=0.4)
    daemon = place.daemon(until=LEADS)
    for number in range(kills):
        worker = place.worker(*TAKES_MORE)
        place.goes_on("a")
        live_on(worker, moments.uniform(0, 2))
        eventually(lambda: place.runs(None, "STARTED"))
        (kill if number % 2 else kill_group)(worker)  # the main process alone, or with its children

    place.worker(*TAKES_MORE)
    place.goes_on("a", within=60)
    assert daemon.stop(within=15) == 0
    ends = Counter(run.status for run in place.settle())
    count = assert_each_once(place, *NAMES)
    assert 0 < ends["LOST"] <= 2 * kills
    assert ends.total() == ends["SUCCESS"] + ends["LOST"]
    figures.info("%d kills, %d occurrences: %s", kills, count, dict(ends))


def test_another_worker_takes_over_for_one_that_is_gone_for_good(place: Installation) -> None:
    place.declare("long.yaml", "schedules: {long: {task: t.effect, interval: 1s, one_off: true, args: [60]}}")
    daemon = place.daemon(until=LEADS)
    first = place.worker("--hostname", "first@test")
    [long] = eventually(lambda: place.runs("long", "STARTED"), within=20)

    kill_group(first)
    place.beats("a", "b")
    place.worker("--hostname", "second@test")
    place.goes_on("a")
    eventually(lambda: place.runs("long", "LOST"), within=30)
    assert daemon.stop(within=15) == 0
    place.settle()
    row = place.row(long.task_id)
    assert row
    assert row.detail
    assert row.detail["reason"] == "worker lost"
    assert row.detail["worker"] == "first@test"
    assert row.detail["refused"] == 1  # the message came back, and found its run begun
    assert_each_once(place, "a", "b")
