"""Keeps long-running parts alive: one shape for all of them.

A service runs until its `stop` is set. It is started anew, with backoff, when it fails; one that needs a lease
runs only while this process holds it. An error that a human must mend ends the daemon.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from taskd.clock import waited
from taskd.errors import LeaseLost, TaskdError, Unavailable

LEASE_POLL = 0.1  # seconds between two looks at a lease, in memory
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a failed service is started again
log = logging.getLogger("taskd.daemon")


class Service(Protocol):
    """A long-running part of the daemon."""

    @property
    def name(self) -> str:
        """What it is called in the log."""

    @property
    def needs_lease(self) -> str | None:
        """The lease without which it doesn't run."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""


async def supervise(
    services: Sequence[Service], leads: Mapping[str, Callable[[], bool]], stop: asyncio.Event
) -> None:
    """Run `services`, started in order and stopped in reverse, until `stop`; raises what a human must mend.

    `leads` tells of each lease whether this process holds it.
    """
    started: list[tuple[asyncio.Event, asyncio.Task[None]]] = []
    try:
        for service in services:
            own_stop = asyncio.Event()
            holds = leads[service.needs_lease] if service.needs_lease else None
            started.append(
                (own_stop, asyncio.create_task(_keep(service, holds, own_stop), name=service.name))
            )
            # A port that is taken shows at once: then nothing else is to begin, not even for a moment.
            await asyncio.sleep(0)
            if started[-1][1].done():
                break
        await _first(stop, [task for _, task in started])
    finally:
        for own_stop, task in reversed(started):
            own_stop.set()
            await asyncio.wait([task])
    for _, task in started:
        task.result()


async def _first(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Until `stop` is set or a task has ended."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


async def _keep(service: Service, holds: Callable[[], bool] | None, stop: asyncio.Event) -> None:
    pause = FIRST_PAUSE
    while not stop.is_set():
        if holds is not None and not holds():
            await waited(stop, LEASE_POLL)
            continue
        try:
            await _run_while(service, holds, stop)
            pause = FIRST_PAUSE
        except LeaseLost as error:
            log.warning("%s: %s", service.name, error)
        except Unavailable as error:
            log.warning("%s: %s; again in %.1f s", service.name, error, pause)
        except TaskdError:
            raise
        except Exception:
            log.exception("%s failed; again in %.1f s", service.name, pause)
        else:
            continue
        await waited(stop, pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _run_while(service: Service, holds: Callable[[], bool] | None, stop: asyncio.Event) -> None:
    """Run once, until `stop` is set or the lease is gone."""
    if holds is None:
        await service.run(stop)
        return
    over = asyncio.Event()
    work = asyncio.create_task(service.run(over))
    while not (work.done() or stop.is_set()) and holds():
        await asyncio.wait([work], timeout=LEASE_POLL)
    over.set()
    await work
