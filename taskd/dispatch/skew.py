"""This machine's wall clock against the database's: whoever is far off fires too early or too late, so it doesn't lead.

Looks   on start, every EVERY seconds, and at once where the wall clock has moved against CLOCK_BOOTTIME
SQLite  has no other clock than this machine's: there is nothing to compare
Counts  what the question took in favour of the clock: a slow answer accuses nobody
"""

import logging
from datetime import datetime

from taskd.clock import monotonic
from taskd.store.database import Database

FURTHEST = 5.0  # seconds off the database's clock
EVERY = 30.0  # seconds between two looks, while the wall clock goes on as it did
AGAIN = 1.0  # seconds until the next look while it is wrong
JUMP = 1.0  # seconds by which the wall clock has moved against the monotonic one
log = logging.getLogger("taskd.lease")


class ClockCheck:
    """One process's clock. One thread calls `right`; any may read `sentence`."""

    def __init__(self, database: Database) -> None:
        self.sentence: str | None = None
        self._database = database
        self._looked_at = float("-inf")
        self._offset = 0.0  # of the wall clock to the monotonic one, at the last look

    def right(self, seconds: float, now: datetime) -> bool:
        """Whether the clock that shows `now`, at the monotonic `seconds`, is near enough to the database's."""
        if self._database.dialect == "sqlite":
            return True
        offset = now.timestamp() - seconds
        patience = EVERY if self.sentence is None else AGAIN
        if seconds - self._looked_at >= patience or abs(offset - self._offset) > JUMP:
            self._say(self._off(now))
            self._looked_at, self._offset = seconds, offset
        return self.sentence is None

    def _off(self, now: datetime) -> float:
        """Seconds by which this clock is at least ahead (negative: behind)."""
        began = monotonic()
        theirs = self._database.now()
        took = monotonic() - began
        least = (now - theirs).total_seconds()
        # It was read at some moment between asking and hearing.
        return least if least > 0 else min(least + took, 0.0)

    def _say(self, off: float) -> None:
        before, self.sentence = self.sentence, _sentence(off)
        if self.sentence is not None and before is None:
            log.error("%s", self.sentence)
        elif self.sentence is None and before is not None:
            log.info("this machine's clock agrees with the database's again")


def _sentence(off: float) -> str | None:
    if abs(off) <= FURTHEST:
        return None
    way = "ahead of" if off > 0 else "behind"
    return (
        f"this machine's clock is {abs(off):.0f} s {way} the database's, so this process doesn't lead: "
        "set the clock right (NTP) here or there"
    )
