"""What systemd sees of the daemon: its words on a real notify socket, sockets handed over, its end."""

import asyncio
import contextlib
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from taskd import daemon
from taskd.config import Settings
from taskd.dispatch.dispatcher import Dispatcher
from taskd.store import schema
from taskd.store.database import Database
from tests import services
from tests.acceptance.installations import LEADS, START, Installation, assert_each_once, figures, said
from tests.acceptance.processes import TASKD, Running
from tests.waiting import eventually


class Systemd:
    """The notify socket, and all that was said on it, line by line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.05)
        self.told: list[str] = []

    def hears(self, *words: str, within: float = START) -> None:
        """Wait until each of these has been said since the last wait."""
        began = len(self.told)
        eventually(lambda: self.listen() and set(words) <= set(self.told[began:]), within)

    def listen(self) -> bool:
        """Take what there is; always true."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.told += self._socket.recv(4096).decode().splitlines()
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.close()


def test_a_daemon_tells_when_it_is_ready_lives_rereads_and_ends(
    place: Installation, systemd: Systemd
) -> None:
    place.beats("a")
    process = place.daemon(NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="4000000")
    systemd.hears("READY=1", "STATUS=leading")
    systemd.hears("WATCHDOG=1")
    process.process.send_signal(signal.SIGHUP)
    systemd.hears("RELOADING=1", "READY=1")
    assert "STOPPING=1" not in systemd.told
    assert process.stop(signal.SIGTERM, within=15) == 0
    systemd.listen()
    assert systemd.told.count("STOPPING=1") == 1


def test_a_standby_is_ready_lives_by_polling_the_lease_and_tells_when_it_leads(
    place: Installation, systemd: Systemd, tmp_path: Path
) -> None:
    leader = place.daemon(until=LEADS)
    place.daemon(
        NOTIFY_SOCKET=str(systemd.path),
        WATCHDOG_USEC="4000000",
        TASKD_STATE_DIR=str(tmp_path / "other"),
        TASKD_DATABASE__URL=place.database.url.render_as_string(hide_password=False),
        TASKD_BROKER__URL=place.app.conf.broker_url,
        TASKD_HTTP__BIND=f"127.0.0.1:{services.free_port()}",
    )
    systemd.hears("READY=1", "STATUS=standing by")
    systemd.hears("WATCHDOG=1")
    assert leader.stop(signal.SIGTERM, within=15) == 0
    systemd.hears("STATUS=leading")


async def test_a_dispatcher_that_stands_still_is_not_fed(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every other part alive: systemd ends it, as it hears nothing for WatchdogSec."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    (tmp_path / "schedules").mkdir()
    settings = Settings.model_validate({"http": {"bind": f"127.0.0.1:{services.free_port()}"}})
    database = Database(settings.database_url.get_secret_value())
    schema.upgrade(database)
    database.close()
    goes_on, stuck = threading.Event(), threading.Event()
    tick = Dispatcher.tick
    goes_on.set()

    def maybe_stuck(self: Dispatcher, now: datetime) -> int:
        if not goes_on.is_set():
            stuck.set()
            goes_on.wait()
        return tick(self, now)

    monkeypatch.setattr(Dispatcher, "tick", maybe_stuck)
    stop = asyncio.Event()
    serving = asyncio.create_task(daemon.serve(settings, stop=stop))
    try:
        await asyncio.to_thread(systemd.hears, "READY=1", "WATCHDOG=1")
        goes_on.clear()
        await asyncio.to_thread(stuck.wait, START)
        await asyncio.to_thread(lambda: [systemd.listen() for _ in range(50)])  # what it was fed before
        before = systemd.told.count("WATCHDOG=1")
        await asyncio.to_thread(lambda: [systemd.listen() for _ in range(100)])  # longer than its time
        assert systemd.told.count("WATCHDOG=1") == before
        goes_on.set()
        await asyncio.to_thread(systemd.hears, "WATCHDOG=1")
    finally:
        goes_on.set()
        stop.set()
        await serving


@pytest.mark.slow
def test_sigterm_under_load_loses_and_doubles_nothing(place: Installation) -> None:
    names = [f"s{number}" for number in range(12)]
    place.beats(*names)
    place.worker()
    place.worker("-n", "second@%h")
    for _ in range(2):
        process = place.daemon(until=LEADS)
        place.goes_on(names[-1])
        began = time.monotonic()
        assert process.stop(signal.SIGTERM, within=15) == 0
        figures.info("SIGTERM under load: the daemon had ended after %.2f s", time.monotonic() - began)
        assert place.holder() is None
    place.settle()
    assert assert_each_once(place, *names) > len(names)


def activated(place: Installation, port: int) -> Running:
    """A daemon that begins with the first connection to `port`; systemd hands on no variables by itself."""
    variables = [word for name, value in place.environ.items() for word in ("-E", f"{name}={value}")]
    process = place.start(["systemd-socket-activate", *variables, "-l", f"127.0.0.1:{port}", *TASKD, "run"])
    return said(process, f"Listening on 127.0.0.1:{port}")


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd isn't installed")
def test_a_socket_that_systemd_listens_on_is_taken_over(place: Installation) -> None:
    process = activated(place, place.port)
    with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/healthz", timeout=START) as answer:
        assert answer.status == 200
    said(process, "ready, leading")
    assert process.stop(signal.SIGTERM, within=15) == 0


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd isn't installed")
def test_a_socket_that_no_setting_means_is_refused(place: Installation) -> None:
    other = services.free_port()
    process = activated(place, other)
    socket.create_connection(("127.0.0.1", other)).close()
    assert process.process.wait(START) == 2
    assert f"systemd listens at 127.0.0.1:{other} for this daemon, which doesn't" in process.output
