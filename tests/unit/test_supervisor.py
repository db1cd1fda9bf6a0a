"""Services start in order, stop in reverse, come back when they fail, and end the daemon when they can't live."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from taskd import supervisor
from taskd.errors import ConfigError, LeaseLost, Unavailable
from taskd.notify import notify, watchdog_interval
from taskd.supervisor import supervise


class Part:
    """A service that writes down what happens to it, and does `work` first."""

    def __init__(
        self, name: str, told: list[str], work: Callable[[], None] | None = None, lease: str | None = None
    ) -> None:
        self.name, self.needs_lease = name, lease
        self._told, self._work = told, work or (lambda: None)

    async def run(self, stop: asyncio.Event) -> None:
        self._told.append(f"{self.name} starts")
        self._work()
        await stop.wait()
        self._told.append(f"{self.name} stops")


class Trouble:
    """Raises each of its errors once, in turn; then sets `over`."""

    def __init__(self, over: asyncio.Event, *errors: Exception) -> None:
        self._over, self._errors = over, list(errors)

    def __call__(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self._over.set()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(supervisor, "LEASE_POLL", 0.001)


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    told: list[str] = []
    stop = asyncio.Event()
    await supervise([Part("a", told), Part("b", told), Part("c", told, stop.set)], {}, stop)
    assert told == ["a starts", "b starts", "c starts", "c stops", "b stops", "a stops"]


async def test_nothing_starts_after_a_part_that_cannot_live() -> None:
    told: list[str] = []
    with pytest.raises(ConfigError):
        await supervise(
            [Part("a", told, Trouble(asyncio.Event(), ConfigError("taken"))), Part("b", told)],
            {},
            asyncio.Event(),
        )
    assert told == ["a starts"]


@pytest.mark.parametrize("error", [Unavailable("away"), LeaseLost("taken"), RuntimeError("a bug")])
async def test_a_part_that_fails_is_started_again(error: Exception) -> None:
    told: list[str] = []
    stop = asyncio.Event()
    await supervise([Part("a", told, Trouble(stop, error, error))], {}, stop)
    assert told == ["a starts"] * 3 + ["a stops"]


async def test_what_a_human_must_mend_ends_everything() -> None:
    told: list[str] = []
    stop = asyncio.Event()
    parts = [Part("good", told), Part("bad", told, Trouble(stop, ConfigError("port 80 is taken")))]
    with pytest.raises(ConfigError, match="port 80 is taken"):
        await supervise(parts, {}, stop)
    assert told == ["good starts", "bad starts", "good stops"]


async def test_a_part_that_needs_a_lease_runs_only_while_it_is_held() -> None:
    told: list[str] = []
    stop, held = asyncio.Event(), [False]
    seen: list[int] = []

    def holds() -> bool:
        seen.append(len(told))
        if len(seen) == 3:
            held[0] = True
        if len(seen) == 10:
            held[0] = False
        if len(seen) == 15:
            stop.set()
        return held[0]

    await supervise([Part("a", told, lease="reconcile")], {"reconcile": holds}, stop)
    assert told == ["a starts", "a stops"]
    assert seen[:3] == [0, 0, 0]


def test_systemd_is_told_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=leading")
        assert systemd.recv(100) == b"READY=1\nSTATUS=leading"
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_the_watchdog_is_fed_twice_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_interval() == 15.0
    monkeypatch.delenv("WATCHDOG_USEC")
    assert watchdog_interval() is None
