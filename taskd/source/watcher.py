"""Wakes the reconciler when something under a source's root may have changed.

Hint       file events, gathered for a moment; they may come late, twice, or never (network file systems, a
           swapped link, a root that comes back)
Truth      the poll: whatever happens, the wake-up comes every `poll` seconds, and a pass finds what changed
Roots      may be missing, vanish, return or be swapped at any time: what is watched follows within a poll
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

from watchfiles import awatch

QUIET_MS, GATHER_MS = 100, 2000
"""A burst of events is one wake-up, once it has been quiet so long; a long one is one every so often."""

_log = logging.getLogger(__name__)

_Watched = Mapping[Path, int]
"""Folders by path, with their inodes: another inode is another folder, which the kernel isn't watching yet."""


class Watcher:
    """A service: calls `wake` on events under the roots and every `poll` seconds, until it is stopped."""

    name = "watcher"
    needs_lease = None

    def __init__(self, roots: Iterable[str | Path], wake: Callable[[], object], poll: float = 10.0) -> None:
        self._roots = [Path(root).absolute() for root in roots]
        self._wake = wake
        self._poll = poll

    async def run(self, stop: asyncio.Event) -> None:
        """Returns once `stop` is set. A root that can't be watched is polled."""
        # awatch sets the event that it is given when it is cancelled: the daemon's own isn't for it.
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(self._trees, over, recursive=True))
            group.create_task(self._follow(self._parents, over, recursive=False))
            await stop.wait()
            over.set()

    def _trees(self) -> _Watched:
        """The roots that are folders, where they really are."""
        return _inodes(root.resolve() for root in self._roots if root.is_dir())

    def _parents(self) -> _Watched:
        """The folders in which a root that is a link or a file gets replaced."""
        return _inodes(root.parent for root in self._roots if root.is_symlink() or not root.is_dir())

    async def _follow(self, targets: Callable[[], _Watched], over: asyncio.Event, *, recursive: bool) -> None:
        while not over.is_set():
            try:
                await self._watch(targets, over, recursive=recursive)
            except OSError as error:
                _log.warning("can't watch for file events, polling instead: %s", error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), self._poll)
                self._wake()

    async def _watch(self, targets: Callable[[], _Watched], over: asyncio.Event, *, recursive: bool) -> None:
        """Wakes on events and every `poll` seconds, until what is to be watched has changed."""
        watched = targets()
        events = awatch(
            *watched,
            watch_filter=None if recursive else lambda _, path: Path(path) in self._roots,
            debounce=GATHER_MS,
            step=QUIET_MS,
            stop_event=over,
            rust_timeout=int(self._poll * 1000),
            yield_on_timeout=True,
            recursive=recursive,
            ignore_permission_denied=True,
        )
        async with aclosing(events):
            async for changes in events:
                if changes or recursive:  # one poll is enough
                    self._wake()
                if targets() != watched:
                    return


def _inodes(folders: Iterable[Path]) -> _Watched:
    found = {}
    for folder in folders:
        with suppress(OSError):
            found[folder] = folder.stat().st_ino
    return found
