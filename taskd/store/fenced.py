"""A database in which only a leader's word stands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from taskd.store.database import Database

# Rows a transaction: others wait for what it has locked, and servers end one that lies idle for 3 s.
BATCH = 500

S = TypeVar("S")
T = TypeVar("T")

Fence = Callable[[Session], object]
"""Raises LeaseLost unless this process still leads; until it commits, nobody else can."""


def nothing(_session: Session) -> None:
    """What most have to do."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """`database`, with `fence` in each transaction that writes. Raises LeaseLost, and then nothing stands."""

    database: Database
    fence: Fence

    def read(self, work: Callable[[Session], T]) -> T:
        """As the database does it."""
        return self.database.read(work)

    def write(self, work: Callable[[Session], T], behind: Callable[[Session], object] = nothing) -> T:
        """Run `work` in one transaction. One that returns nothing found (0, False, no rows) has written nothing.

        `behind` the fence belongs what locks rows that workers want: should this process stand still where it waits
        for the fence, nobody waits for them.
        """

        def fenced(session: Session) -> T:
            done = work(session)
            if done is None or done:
                self.fence(session)
            behind(session)
            return done

        return self.database.write(fenced)

    def write_each(self, items: Sequence[S], work: Callable[[Session, Sequence[S]], T]) -> list[T]:
        """Run `work` for BATCH items at a time, each time in a transaction of its own."""
        parts = (items[start : start + BATCH] for start in range(0, len(items), BATCH))
        return [self.write(partial(_for_some, work=work, some=some)) for some in parts]


def _for_some(session: Session, work: Callable[[Session, Sequence[S]], T], some: Sequence[S]) -> T:
    return work(session, some)
