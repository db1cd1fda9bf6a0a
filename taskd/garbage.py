"""How Python's garbage collector is kept from holding up what fires: it looks at objects while all threads wait.

Imports     stay: no collection need look at them
Herds       make thousands of objects and no circles, while each look passes over much of what is kept of all schedules:
            with Python's own 700 an eighth of a herd's time goes there
Large pass  a full collection takes a third of a second with 10,000 schedules, and would be made again and again while
            the pass makes its objects. So none is made during one, and what a large one has made is put out of the
            collector's sight; what is replaced later goes without its help
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HERD = 10_000  # objects between two looks at the young


def leave_what_is_there() -> None:
    """Never look again at what exists now."""
    gc.freeze()


def look_rarely() -> None:
    """From now on, in the whole process."""
    gc.set_threshold(HERD)


@contextmanager
def without_full_collections() -> Iterator[None]:
    """Objects made meanwhile are only looked at while they are young."""
    young, middle, old = gc.get_threshold()
    before = gc.get_count()[2]
    gc.set_threshold(young, middle, sys.maxsize & 0x7FFF_FFFF)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
        if gc.get_count()[2] - before > old:  # one would have been made
            gc.freeze()
