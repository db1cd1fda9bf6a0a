"""What long work owes to what fires in the same process: it gives way.

Before each part (a file is parsed, changes are applied, messages are looked through) it waits until nothing fires, nor
will before it is done; never for long, since there may be no such moment, and in all at most SHARE times as long as it
works.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from taskd import clock

T = TypeVar("T")

PATIENCE = 0.1  # seconds for which it gives way at a time
SHARE = 3
SOME = 200  # items of a long list between two looks
TAKE = 0.02  # seconds that they take at most
_LOOK_EVERY = 0.002  # seconds


class RightOfWay:
    """Of what fires before what can wait: one for each kind of work.

    `free_for`: seconds until something fires; none are left while it does.
    """

    def __init__(self, free_for: Callable[[], float]) -> None:
        self._free_for = free_for
        self._went_on = -math.inf

    def give(self, seconds: float = 0.0) -> None:
        """Wait for a moment in which nothing fires for so many seconds, of which half of PATIENCE is asked at most."""
        wanted, now = min(seconds, PATIENCE / 2), clock.monotonic()
        deadline = now + min(SHARE * (now - self._went_on), PATIENCE)
        while self._free_for() <= wanted and now < deadline:
            time.sleep(_LOOK_EVERY)
            now = clock.monotonic()
        self._went_on = now

    def among(self, items: Iterable[T]) -> Iterator[T]:
        """The items of a long list, giving way before each SOME."""
        rest = iter(items)
        while some := list(islice(rest, SOME)):
            self.give(TAKE)
            yield from some


def nobody_fires() -> RightOfWay:
    """For a process in which nothing has to be given way to."""
    return RightOfWay(lambda: math.inf)
