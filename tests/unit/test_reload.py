"""SIGHUP: what the log and systemd are told."""

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from taskd.config import Settings
from taskd.errors import ConfigError, LeaseLost
from taskd.reload import Reloading, changed


def test_what_changed_is_named_without_its_value() -> None:
    before = Settings.model_validate({})
    after = Settings.model_validate(
        {
            "timezone": "UTC",
            "lease": {"ttl": "20s"},
            "broker": {"redis": {"password": "hunter2"}},
            "schedules": {"paths": ["elsewhere"]},
        }
    )
    assert list(changed(before, after)) == [
        "timezone",
        "schedules.paths",
        "broker.redis.password",
        "lease.ttl",
    ]
    assert list(changed(before, Settings.model_validate({}))) == []


async def reload(reloading: Reloading, asked: asyncio.Event, systemd: socket.socket) -> list[bytes]:
    """One reload; what systemd heard of it."""
    stop = asyncio.Event()
    service = asyncio.create_task(reloading.run(stop))
    asked.set()
    systemd.setblocking(False)
    heard = [await asyncio.wait_for(asyncio.get_running_loop().sock_recv(systemd, 200), 10) for _ in range(2)]
    stop.set()
    await service
    return heard


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return listening


async def test_systemd_hears_when_it_begins_and_when_it_is_over(
    systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    passes: list[int] = []
    asked, settings = asyncio.Event(), Settings.model_validate({})
    with caplog.at_level(logging.INFO):
        first, second = await reload(
            Reloading(asked, settings, lambda: settings, lambda: passes.append(1)), asked, systemd
        )
    systemd.close()
    word, _, stamp = first.decode().partition("\n")
    assert (word, second) == ("RELOADING=1", b"READY=1")
    assert stamp.removeprefix("MONOTONIC_USEC=").isdecimal()
    assert passes == [1]
    assert caplog.messages == ["reloading"]


async def test_mistakes_are_one_line_and_the_files_are_read_all_the_same(
    systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    passes: list[int] = []

    def broken() -> Settings:
        raise ConfigError("taskd.yaml:1:1: no\ntaskd.yaml:2:1: not either")

    def standby() -> None:
        passes.append(1)
        raise LeaseLost("another leads")

    asked = asyncio.Event()
    with caplog.at_level(logging.WARNING):
        await reload(Reloading(asked, Settings.model_validate({}), broken, standby), asked, systemd)
    systemd.close()
    assert passes == [1]
    assert caplog.messages == [
        "the settings stay as they are: taskd.yaml:1:1: no; taskd.yaml:2:1: not either",
        "no pass: another leads",
    ]
