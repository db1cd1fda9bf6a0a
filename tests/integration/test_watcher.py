"""The watcher on a real file system: each test waits for wake-ups, with a deadline."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskd.source import watcher as watcher_module
from taskd.source.tree import Tree
from taskd.source.watcher import Watcher

NEVER = 3600.0
TEXT = "schedules:\n  a: {task: t, interval: 9}\n"


@asynccontextmanager
async def watching(*roots: Path, poll: float = NEVER) -> AsyncIterator[asyncio.Event]:
    """A running watcher; the event is set by each wake-up."""
    woken, stop = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(Watcher(roots, woken.set, poll=poll).run(stop))
    try:
        yield woken
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)


async def woken_by(woken: asyncio.Event, act: Callable[[], object]) -> None:
    """Acts until a wake-up follows: a watch takes a moment to stand, and until then events are lost."""
    async with asyncio.timeout(20):
        while not woken.is_set():
            act()
            await wait_a_little(woken)
    woken.clear()


async def wait_a_little(woken: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(woken.wait(), 0.5)
    except TimeoutError:
        return


def writer(path: Path) -> Callable[[], object]:
    count = itertools.count()
    return lambda: path.write_text(f"# {next(count)}\n")


async def test_a_change_wakes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with watching(tmp_path) as woken:
        await woken_by(woken, writer(tmp_path / "a.yaml"))
        await woken_by(woken, writer(tmp_path / "sub" / "b.yaml"))
        await woken_by(woken, lambda: (tmp_path / "a.yaml").unlink(missing_ok=True))


async def test_without_events_the_poll_wakes(tmp_path: Path) -> None:
    async with watching(tmp_path, tmp_path / "missing", poll=0.05) as woken:
        for _ in range(3):
            await asyncio.wait_for(woken.wait(), 10)
            woken.clear()


async def test_a_root_may_come_later(tmp_path: Path) -> None:
    root = tmp_path / "later"
    async with watching(root) as woken:
        await woken_by(woken, lambda: (root.rmdir() if root.exists() else None, root.mkdir()))


async def test_a_root_that_came_back_is_watched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    real, watched = watcher_module.awatch, asyncio.Queue[int]()

    def spy(*paths: Path, **options: Any) -> Any:
        if options["recursive"] and paths:
            watched.put_nowait(paths[0].stat().st_ino)
        return real(*paths, **options)

    monkeypatch.setattr(watcher_module, "awatch", spy)
    async with watching(root, poll=0.1):
        assert await asyncio.wait_for(watched.get(), 10) == root.stat().st_ino
        root.rename(tmp_path / "away")
        root.mkdir()
        assert await asyncio.wait_for(watched.get(), 10) == root.stat().st_ino


async def test_a_swapped_link_wakes(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("v1")
    versions = itertools.cycle(["v2", "v1"])

    def swap() -> None:
        (tmp_path / "next").symlink_to(next(versions))
        (tmp_path / "next").rename(link)

    async with watching(link) as woken:
        await woken_by(woken, swap)


async def test_a_root_of_one_file_wakes_when_it_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "root.yaml"
    root.write_text(TEXT)

    def replace() -> None:
        (tmp_path / "new").write_text(TEXT)
        (tmp_path / "new").rename(root)

    async with watching(root) as woken:
        await woken_by(woken, replace)


async def test_reading_the_tree_does_not_wake(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    async with watching(tmp_path) as woken:
        await woken_by(woken, writer(tmp_path / "b.yaml"))
        await settled(woken)
        for _ in range(3):
            assert Tree(tmp_path, "UTC").read().files
        await wait_a_little(woken)
        assert not woken.is_set()


async def settled(woken: asyncio.Event) -> None:
    """Until no wake-up came for a while."""
    while True:
        woken.clear()
        await wait_a_little(woken)
        if not woken.is_set():
            return


async def test_a_burst_of_events_is_few_wake_ups(tmp_path: Path) -> None:
    wakes: list[int] = []
    woken, stop = asyncio.Event(), asyncio.Event()

    def wake() -> None:
        wakes.append(1)
        woken.set()

    running = asyncio.create_task(Watcher([tmp_path], wake, poll=NEVER).run(stop))
    await woken_by(woken, writer(tmp_path / "a.yaml"))
    await settled(woken)
    wakes.clear()
    for number in range(500):
        (tmp_path / f"{number}.yaml").write_text(TEXT)
    await asyncio.wait_for(woken.wait(), 10)
    await settled(woken)
    assert len(wakes) < 20
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_where_events_cannot_be_had_it_polls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> Awaitable[None]:
        raise OSError(28, "inotify limit reached")

    monkeypatch.setattr(watcher_module, "awatch", refuse)
    async with watching(tmp_path, poll=0.05) as woken:
        for _ in range(3):
            await asyncio.wait_for(woken.wait(), 10)
            woken.clear()
    assert "polling instead" in caplog.text


async def test_being_cancelled_stops_no_other_service(tmp_path: Path) -> None:
    stop, woken = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(Watcher([tmp_path], woken.set, poll=0.05).run(stop))
    await asyncio.wait_for(woken.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not stop.is_set()
