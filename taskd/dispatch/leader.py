"""Leadership: one process of many may dispatch, one may reconcile.

States    follower → leader → follower. A follower watches the row; a leader renews it.
Truth     the row (holder, epoch, seq); nobody's wall clock
Takes     when the row names no holder, or (epoch, seq) hasn't changed for `ttl` by the follower's own clock
Trust     a leader believes in itself until ttl − MARGIN after the *start* of its last successful statement
Renews    by the fence in its own transactions, alone when idle

Clock     only one whose wall clock is within FURTHEST of the database's leads: what is due is told by it

fault                                   what it costs
a leader is killed                      nothing is done for at most ttl, then a follower takes over
a leader is stopped and wakes           its trust has run out; if a transaction was under way, the fence rolls it back
a leader can't reach the database       its trust runs out, it steps down; it takes over again if nobody else has
two followers try at once               one UPDATE matches (epoch, seq), the other matches nothing
a leader stops inside a transaction     PostgreSQL and MariaDB end it after 3 s; SQLite stays locked until its
                                        process ends, by systemd's watchdog for one
the wall clock jumps                    nothing here: only CLOCK_BOOTTIME is read; away from the database's, the
                                        lease is given back until it is right again
"""

import logging
import os
import socket
from uuid import uuid4

from sqlalchemy.orm import Session

from taskd import clock
from taskd.dispatch.skew import ClockCheck
from taskd.errors import LeaseLost
from taskd.store import leases
from taskd.store.database import Database
from taskd.store.leases import Lease

log = logging.getLogger("taskd.lease")


def new_holder() -> str:
    """A name for this process that no other process ever has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


class Leadership:
    """One process's part in one lease. All methods are synchronous; `seconds` is a monotonic reading."""

    def __init__(self, database: Database, name: str, holder: str, ttl: float) -> None:
        self.name, self.holder, self.ttl = name, holder, ttl
        self.epoch: int | None = None  # not None: this process leads
        self._database = database
        self._seen: Lease | None = None
        self._seen_since = 0.0
        self._trusted_until = 0.0
        self._clock = ClockCheck(database)

    @property
    def clock_is_wrong(self) -> str | None:
        """Why this process doesn't lead, if that is for its clock: a sentence."""
        return self._clock.sentence

    def age(self, seconds: float) -> float | None:
        """Seconds since the lease was last seen to move, by this process's clock; None if it never looked."""
        if self.epoch is not None:
            return seconds - (self._trusted_until - self.ttl + self.margin)
        return seconds - self._seen_since if self._seen is not None else None

    @property
    def margin(self) -> float:
        """How long before the lease could be taken over trust ends, in seconds."""
        return self.ttl / 5

    @property
    def held_by_another(self) -> bool:
        """Whether some other process held it when this one last looked."""
        seen = self._seen
        return self.epoch is None and seen is not None and seen.holder not in {None, self.holder}

    def leads(self, seconds: float) -> bool:
        """Whether this process may go on as the leader now."""
        return self.epoch is not None and seconds < self._trusted_until

    def step(self, seconds: float) -> bool:
        """Renew, or take over where that is allowed; whether this process leads afterwards."""
        right = self._clock.right(seconds, clock.now())
        if not right:
            self.resign()
        if self.leads(seconds):
            if seconds >= self._trusted_until - (self.ttl - self.margin) * 2 / 3:
                self._renew(seconds)
        else:
            self._follow(seconds, may_take=right)
        return self.leads(seconds)

    def fence(self, session: Session) -> None:
        """In each of a leader's transactions: it commits only while the lease is still held."""
        if self.epoch is None:
            raise LeaseLost(f"this process doesn't hold the {self.name} lease")
        leases.fence(session, self.name, self.holder, self.epoch)

    def trust_from(self, seconds: float) -> None:
        """A fenced transaction that began at `seconds` has committed: believe in it from there."""
        self._trusted_until = max(self._trusted_until, seconds + self.ttl - self.margin)

    def lose(self) -> None:
        """Step down: someone else leads."""
        if self.epoch is not None:
            log.warning("lost the %s lease", self.name)
        self.epoch, self._seen = None, None

    def resign(self) -> None:
        """Give the lease back, so that a standby takes over at once."""
        epoch, self.epoch = self.epoch, None
        if epoch is not None:
            self._database.write(lambda session: leases.give_back(session, self.name, self.holder, epoch))
            log.info("gave the %s lease back", self.name)

    def _renew(self, seconds: float) -> None:
        try:
            self._database.write(self.fence)
        except LeaseLost:
            self.lose()
        else:
            self.trust_from(seconds)

    def _follow(self, seconds: float, *, may_take: bool) -> None:
        began = clock.monotonic()
        row = self._database.read(lambda session: leases.read(session, self.name))
        if self.epoch is not None and self.epoch != row.epoch:
            self.lose()
        if row != self._seen:
            # The leader may have renewed until the very end of a slow read.
            self._seen, self._seen_since = row, seconds + clock.monotonic() - began
        free = row.holder is None or row.holder == self.holder
        if may_take and (free or seconds - self._seen_since >= self.ttl):
            self._take(row, seconds)

    def _take(self, row: Lease, seconds: float) -> None:
        if self._database.write(lambda session: leases.take(session, self.name, self.holder, row)):
            self.epoch = row.epoch + 1
            self.trust_from(seconds)
            log.info("took the %s lease, epoch %d", self.name, self.epoch)
