"""Broker or database away while the daemon runs: nothing is lost, nothing runs twice, and it says what is wrong."""

import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.acceptance.installations import LEADS, Installation, assert_each_once, figures, said
from tests.services import OwnRedis
from tests.waiting import eventually

NAMES = ("a", "b", "c")


def unready(place: Installation) -> dict[str, str]:
    """What /readyz complains about."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/readyz", timeout=60) as answer:
            assert answer.status == HTTPStatus.OK
            return {}
    except urllib.error.HTTPError as error:
        checks = json.load(error)["checks"]
        return {name: reason for name, reason in checks.items() if reason != "ok"}


def test_runs_wait_for_a_broker_that_is_away(redis_place: Installation, own_redis: OwnRedis) -> None:
    place = redis_place
    place.beats(*NAMES)
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")
    assert not unready(place)

    own_redis.stop()
    said(daemon, "the broker takes no messages")
    assert "can't be reached" in unready(place)["broker"]
    decided = len(place.runs("a"))
    eventually(lambda: len(place.runs("a")) >= decided + 3)  # deciding goes on

    own_redis.start()
    place.goes_on("a", within=40)
    assert not unready(place)
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)
    assert {run.status for run in place.runs()} == {"SUCCESS"}


def test_a_daemon_starts_while_the_broker_is_away(redis_place: Installation, own_redis: OwnRedis) -> None:
    place = redis_place
    place.beats(*NAMES)
    own_redis.stop()
    daemon = place.daemon(until=LEADS)
    assert list(unready(place)) == ["broker"]
    said(daemon, "the broker takes no messages")

    own_redis.start()
    place.worker()
    place.goes_on("a", within=40)
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)
    assert {run.status for run in place.runs()} == {"SUCCESS"}


@contextmanager
def unusable(folder: Path) -> Iterator[None]:
    """Something else stands where the folder was."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def test_runs_wait_for_the_embedded_broker_s_folder(place: Installation) -> None:
    place.beats(*NAMES)
    daemon = place.daemon(until=LEADS)
    eventually(lambda: any(run.published_at for run in place.runs()))
    with unusable(place.folder / "state" / "broker"):
        said(daemon, "takes no messages")
        assert "broker" in unready(place)
    place.worker()
    place.goes_on("a", within=40)
    assert not unready(place)
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)
    assert {run.status for run in place.runs()} == {"SUCCESS"}


@pytest.mark.parametrize("seconds", [3, 6], ids=["shorter than its patience", "longer than its lease"])
def test_firing_goes_on_after_the_database_was_locked(place: Installation, seconds: float) -> None:
    place.beats(*NAMES)
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")
    other = sqlite3.connect(place.folder / "state" / "taskd.db", isolation_level=None)
    until = time.monotonic() + seconds
    other.execute("BEGIN IMMEDIATE")
    eventually(lambda: time.monotonic() > until, within=seconds + 5)  # the outage itself
    other.execute("ROLLBACK")
    other.close()

    began = time.monotonic()
    for name in NAMES:
        place.goes_on(name)
    figures.info("all fire again %.1f s after a lock of %d s", time.monotonic() - began, seconds)
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)
    assert {run.status for run in place.runs()} == {"SUCCESS"}
