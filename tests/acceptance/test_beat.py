"""`celery beat -S taskd` fires the same table: instead of the daemon, or beside one that only reconciles."""

import signal
import sys
from typing import Any

import pytest

from taskd.broker import broker_url
from tests.acceptance.installations import CELERY, LEADS, Installation, assert_each_once, said
from tests.acceptance.processes import Running, taskd
from tests.waiting import eventually

NAMES = ("a", "b")
PLAIN = [sys.executable, "-m", "celery", "-A", "tests.acceptance.plain_app", "beat"]


def plain(place: Installation, *words: str, **settings: str) -> Running:
    """Beat for an application that isn't taskd's own."""
    broker = broker_url(place.folder / "state" / "broker")
    return place.start([*PLAIN, "--loglevel", "INFO", *words], PLAIN_BROKER=broker, **settings)


def test_beat_fires_without_the_daemon(place: Installation) -> None:
    place.beats(*NAMES)
    place.worker()
    synced = taskd(place.folder, "sync", **place.environ)
    assert synced.returncode == 0, synced.stderr

    beat = said(place.beat(), LEADS)
    for name in NAMES:
        place.goes_on(name)
    assert place.holder()
    assert beat.stop(signal.SIGTERM, within=15) == 0
    assert place.holder() is None
    place.settle()
    assert_each_once(place, *NAMES)
    assert place.holder("reconcile") is None


def test_beat_goes_on_where_the_daemon_ended(place: Installation) -> None:
    place.beats(*NAMES)
    place.worker()
    daemon = place.daemon(until=LEADS)
    place.goes_on("a")
    beat = said(place.beat(), "beat: Starting...")
    assert daemon.stop(within=15) == 0
    place.goes_on("a")
    assert beat.stop(signal.SIGTERM, within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)


def test_beat_dispatches_beside_a_daemon_that_only_reconciles(place: Installation) -> None:
    place.beats("a")
    place.worker()
    daemon = place.daemon("--no-dispatch", until="ready, leading")
    assert LEADS not in daemon.output
    beat = said(place.beat(), LEADS)
    place.goes_on("a")
    place.beats(*NAMES)
    place.goes_on("b")
    assert LEADS not in daemon.output
    assert [process.stop(signal.SIGTERM, within=15) for process in (beat, daemon)] == [0, 0]
    place.settle()
    assert_each_once(place, *NAMES)


def test_beat_says_in_one_sentence_that_there_are_no_tables(place: Installation) -> None:
    empty = {"TASKD_DATABASE__URL": f"sqlite:///{place.folder}/empty.db"}
    beat = place.start([*CELERY, "beat", "-S", "taskd"], **empty)
    assert beat.process.wait(90) == 2
    assert "has no tables of taskd yet: run `taskd db upgrade`" in beat.output
    assert "Traceback" not in beat.output


def test_beat_says_in_one_sentence_what_is_wrong_with_the_settings(place: Installation) -> None:
    beat = plain(place, "-S", "taskd", TASKD_LEASE__TTL="soon")
    assert beat.process.wait(90) == 2
    assert "lease.ttl" in beat.output
    assert "Traceback" not in beat.output


def test_beat_names_the_entries_that_it_does_not_fire(place: Installation) -> None:
    beat = said(plain(place, "-S", "taskd"), LEADS)
    assert "entries of beat_schedule are not fired by taskd: berlin" in beat.output
    assert beat.stop(signal.SIGTERM, within=15) == 0
    assert waiting(place) == []


@pytest.mark.parametrize("after", ["beat: Starting...", LEADS], ids=["while it starts", "while it leads"])
def test_two_signals_at_once_still_give_the_lease_back(place: Installation, after: str) -> None:
    beat = said(place.beat(), after)
    beat.process.send_signal(signal.SIGTERM)
    beat.stop(signal.SIGTERM, within=15)
    assert place.holder() is None


def test_beat_goes_on_when_the_database_it_did_not_find_is_there(place: Installation) -> None:
    """Its place is taken by something else at first."""
    state = place.folder / "state"
    aside = state.rename(place.folder / "aside")
    state.write_text("")
    beat = place.beat()
    said(beat, "can't be used")
    state.unlink()
    aside.rename(state)
    said(beat, LEADS)
    assert beat.stop(signal.SIGTERM, within=15) == 0


def test_tz_crontab_fires_under_celery_s_own_beat_and_survives_its_schedule_file(place: Installation) -> None:
    first = plain(place)
    assert eventually(lambda: waiting(place), within=30) == ["t.effect"]
    assert first.stop(signal.SIGTERM, within=15) == 0
    second = said(
        plain(place, "--loglevel", "DEBUG"), "beat: Waking up in"
    )  # before, Celery may trip over its own end
    assert second.stop(signal.SIGTERM, within=15) == 0
    assert "Traceback" not in first.output + second.output


def waiting(place: Installation) -> list[Any]:
    """The tasks of the messages in Celery's default queue, taken out."""
    found = []
    with place.app.connection_for_read() as connection:
        channel: Any = connection.channel()
        while (message := channel.basic_get("celery", no_ack=True)) is not None:
            found.append(message.headers["task"])
    return found
