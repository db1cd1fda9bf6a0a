"""The one place that reads time; everything else takes it as an argument."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock: aware, UTC, microseconds."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never go back and, where the system can tell, go on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
