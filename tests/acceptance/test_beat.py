"""`celery beat -S taskd` fires the same table: instead of the daemon, or beside one that only reconciles."""

import signal

from tests.acceptance.installations import LEADS, Installation, assert_each_once, said
from tests.acceptance.processes import taskd

NAMES = ("a", "b")


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
