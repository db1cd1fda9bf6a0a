"""kill -9 at any moment, of the daemon and of the worker: no occurrence is lost, none runs twice.

What a killed worker had taken but not begun runs once elsewhere; what it had begun ends LOST.
"""

import random
import time
from collections import Counter

import pytest

from tests.acceptance.conftest import SERVERS
from tests.acceptance.installations import (
    LEADS,
    LEASE,
    Installation,
    assert_each_once,
    figures,
    kill,
    kill_group,
    live_on,
    said,
)
from tests.acceptance.processes import TASKD, Running
from tests.waiting import eventually

NAMES = ("a", "b", "c", "d", "e")
BUSY = 0.06  # seconds after each full one in which the daemon decides, publishes and marks
TAKES_MORE = ("--prefetch-multiplier", "4")  # so that there is much that it has taken but not begun


def end(place: Installation, daemon: Running, kills: int) -> Counter[str]:
    """Stop the daemon, let the worker finish, hold the rows against what was due: how the runs ended."""
    for name in NAMES:
        place.goes_on(name, within=60)
    assert daemon.stop(within=15) == 0
    runs = place.settle()
    ends = Counter(run.status for run in runs)
    twice = sum("refused" in (run.detail or {}) for run in runs)
    count = assert_each_once(place, *NAMES)
    figures.info("%d kills, %d occurrences: %s, %d came again and were refused", kills, count, ends, twice)
    return ends


def begins_a_body(place: Installation) -> None:
    before = len(place.started())
    eventually(lambda: len(place.started()) > before, within=30)


def test_every_due_time_is_one_run_however_often_the_daemon_is_killed(place: Installation) -> None:
    moments, kills = random.Random("of the daemon"), 8
    place.beats(*NAMES)
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")
    for number in range(kills):
        if number % 3 == 0:
            live_on(daemon, moments.uniform(0, LEASE + 1))  # from importing on, mostly before it leads
        else:
            said(daemon, LEADS)
            live_on(daemon, 1 - time.time() % 1 + moments.uniform(0, BUSY))
        kill_group(daemon)
        daemon = place.start([*TASKD, "run"])

    assert end(place, said(daemon, LEADS), kills).keys() <= {"SUCCESS", "MISSED"}


def test_every_due_time_is_one_run_however_often_the_worker_is_killed(place: Installation) -> None:
    """Its two slots are busy half of the time."""
    moments, kills = random.Random("of the worker"), 5
    place.beats(*NAMES, every="2s", seconds=0.2)
    daemon = place.daemon(until=LEADS)
    for number in range(kills):
        worker = place.worker(*TAKES_MORE)
        begins_a_body(place)
        live_on(worker, moments.uniform(0, 2))
        if number < 2:
            begins_a_body(place)
        (kill if number % 2 else kill_group)(worker)  # the main process alone, or with its children

    place.worker(*TAKES_MORE)
    ends = end(place, daemon, kills)
    assert 0 < ends["LOST"] <= 2 * kills
    assert ends.keys() == {"SUCCESS", "LOST"}


@pytest.mark.parametrize("place", SERVERS, indirect=True)
def test_the_same_holds_on_servers(place: Installation) -> None:
    """On Redis the worker is spared: kombu forgets a message that it has popped (BRPOP) but not yet noted."""
    moments, rounds = random.Random("on servers"), 3
    spared = place.app.conf.broker_url.startswith("redis")
    place.beats(*NAMES, every="2s", seconds=0.2)
    daemon, worker = place.daemon(until=LEADS), place.worker(*TAKES_MORE)
    for _ in range(rounds):
        begins_a_body(place)
        for process in moments.sample([daemon] if spared else [daemon, worker], 1 if spared else 2):
            live_on(process, moments.uniform(0, 1))
            kill_group(process)
        daemon = place.start([*TASKD, "run"])
        worker = worker if spared else place.worker(*TAKES_MORE)
        said(daemon, LEADS)

    assert end(place, daemon, rounds if spared else 2 * rounds).keys() <= {"SUCCESS", "LOST", "MISSED"}


@pytest.mark.parametrize("place", ["embedded", "postgresql+redis"], indirect=True)
def test_another_worker_takes_over_for_one_that_is_gone_for_good(place: Installation) -> None:
    """One slot: `long` is in it, `next` waits in the worker's memory."""
    once = "schedules: {{{0}: {{task: t.effect, interval: 1s, one_off: true, args: [{1}]}}}}"
    place.declare("long.yaml", once.format("long", 60))
    daemon = place.daemon(until=LEADS)
    first = place.worker(*TAKES_MORE, "--concurrency", "1", "--hostname", "first@test")
    [long] = eventually(lambda: place.runs("long", "STARTED"), within=20)
    place.declare("next.yaml", once.format("next", 0))
    [taken] = eventually(lambda: place.runs("next"), within=20)
    said(first, f"[{taken.task_id}] received")

    kill_group(first)
    place.worker("--hostname", "second@test")
    place.becomes(taken.task_id, "SUCCESS", within=40)
    lost = place.becomes(long.task_id, "LOST", within=40)
    assert lost.detail
    assert lost.detail["reason"] == "worker lost"
    assert lost.detail["worker"] == "first@test"
    eventually(
        lambda: "refused" in (place.row(long.task_id).detail or {}), within=40
    )  # its message came back
    assert daemon.stop(within=15) == 0
    assert Counter(place.started()) == Counter([long.task_id, taken.task_id])
