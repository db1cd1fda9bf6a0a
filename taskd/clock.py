"""The one place that reads time; everything else takes it as an argument."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock: aware, UTC, microseconds."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never go back and, where the system can tell, go on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def monotonic_usec() -> int:
    """Microseconds of CLOCK_MONOTONIC, as systemd counts them."""
    return time.monotonic_ns() // 1000


async def waited(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, at most so long; whether it is."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
