"""Two daemons on one database: one leads, the other stands by, and nothing is fired twice in between."""

import json
import signal
import time
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tests import services
from tests.acceptance.installations import LEADS, Installation, assert_each_once, figures, kill_group, said
from tests.acceptance.processes import Running, taskd

NAMES = ("a", "b", "c")


def second(place: Installation, **settings: str) -> tuple[Running, int]:
    """Another daemon on the same tables and broker, as on another machine: it has its own sockets."""
    port = services.free_port()
    own = {
        "TASKD_STATE_DIR": str(place.folder / f"state-{port}"),
        "TASKD_HTTP__BIND": f"127.0.0.1:{port}",
        "TASKD_DATABASE__URL": place.database.url.render_as_string(hide_password=False),
        "TASKD_BROKER__URL": place.app.conf.broker_url,
    }
    return place.daemon(**{**own, **settings}), port


def get(port: int, path: str) -> Mapping[str, Any]:
    """What a daemon answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        assert answer.status == HTTPStatus.OK
        found: Mapping[str, Any] = json.load(answer)
        return found


def test_a_standby_answers_and_takes_over_from_a_killed_leader(place: Installation) -> None:
    place.beats(*NAMES)
    place.worker()
    leader = place.daemon(until=LEADS)
    standby, port = second(place)
    assert "ready, standing by" in standby.output
    place.goes_on("a")
    assert LEADS not in standby.output
    assert get(port, "/healthz")["status"] == get(port, "/readyz")["status"] == "ok"
    assert {found["name"] for found in get(port, "/api/v1/scheduler/schedulers")["items"]} == set(NAMES)
    told = taskd(place.folder, "sync", "--approve", "5f0c1d2e3a4b5c6d", "--url", f"http://127.0.0.1:{port}")
    assert (told.returncode, told.stderr) == (
        2,
        "taskd: this taskd stands by: ask the one that leads, with --url\n",
    )

    kill_group(leader)
    _measure(standby, "a killed leader")
    for name in NAMES:
        place.goes_on(name)
    assert standby.stop(within=15) == 0
    place.settle()
    assert_each_once(place, *NAMES)


def test_a_leader_that_is_stopped_hands_over_at_once(place: Installation) -> None:
    """The lease of a minute would run out too late for this test."""
    minute = {"TASKD_LEASE__TTL": "60s"}
    place.beats(*NAMES)
    place.worker()
    leader = place.daemon(until=LEADS, **minute)
    standby, _ = second(place, **minute)
    place.goes_on("a")

    assert leader.stop(within=15) == 0
    _measure(standby, "a stopped leader")
    place.goes_on("a")
    assert standby.stop(within=15) == 0
    assert place.holder("dispatch") is None
    assert place.holder("reconcile") is None
    place.settle()
    assert_each_once(place, *NAMES)
    assert {run.status for run in place.runs()} == {"SUCCESS"}


def test_a_leader_that_was_frozen_stands_by_when_it_wakes(place: Installation) -> None:
    place.beats(*NAMES)
    place.worker()
    frozen = place.daemon(until=LEADS)
    standby, _ = second(place)
    place.goes_on("a")

    frozen.process.send_signal(signal.SIGSTOP)
    _measure(standby, "a leader was frozen")
    place.goes_on("a")
    frozen.process.send_signal(signal.SIGCONT)
    said(frozen, "lost the dispatch lease")
    place.goes_on("a")
    assert [daemon.stop(within=15) for daemon in (standby, frozen)] == [0, 0]
    place.settle()
    assert_each_once(place, *NAMES)


def _measure(standby: Running, after: str) -> None:
    began = time.monotonic()
    said(standby, LEADS)
    figures.info("the standby leads %.2f s after %s", time.monotonic() - began, after)
