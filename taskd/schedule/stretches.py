"""A zone as stretches of constant UTC offset. Instants are ints here: seconds since the epoch, UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from taskd.schedule.zones import offset_at, zone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
# Every zone can show these: an offset is less than a day.
FIRST, LAST = (
    (end - EPOCH) // SECOND for end in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
)

_BLOCK = 32 * 86400
# No zone has ever kept an offset for less than 95 hours (Freetown, 1939), nor changed it by more than 24.
_STEP = 86400
_LONGEST_SHIFT = 86400


class Stretch(NamedTuple):
    """Instants [start, end) of one offset. A stretch may also end where nothing changes, for our convenience."""

    start: int
    end: int
    offset: int
    before: int  # the offset until `start`: smaller, and the clocks skip; larger, and they repeat
    fresh: int  # readings below this one were shown before, in an earlier pass


def stretch_at(name: str, instant: int) -> Stretch:
    """The stretch of the zone `name` that contains `instant`."""
    return next(stretch for stretch in _stretches(name, instant // _BLOCK) if instant < stretch.end)


def stretches_between(name: str, start: int, end: int) -> Iterator[Stretch]:
    """The stretches that cover [start, end), in order."""
    while start < end:
        yield (stretch := stretch_at(name, start))
        start = stretch.end


@lru_cache(maxsize=16384)
def _stretches(name: str, block: int) -> tuple[Stretch, ...]:
    """The stretches of one block of days: a block is found by a division, and kept."""
    start, end = block * _BLOCK, (block + 1) * _BLOCK
    changes = _changes(name, start - _LONGEST_SHIFT, end)
    bounds = [start, *(at for at in changes if at > start), end]
    return tuple(_stretch(name, low, high, changes) for low, high in pairwise(bounds))


def _stretch(name: str, start: int, end: int, changes: list[int]) -> Stretch:
    offset = _offset(name, start)
    shown = (at + _offset(name, at - 1) for at in changes if at <= start)
    return Stretch(start, end, offset, _offset(name, start - 1), max((start + offset, *shown)))


def _changes(name: str, start: int, end: int) -> list[int]:
    """The instants in (start, end) at which the offset changes."""
    marks = [*range(start, end - 1, _STEP), end - 1]
    offsets = [_offset(name, mark) for mark in marks]
    return [
        _change(name, low, high)
        for (low, before), (high, after) in pairwise(zip(marks, offsets, strict=True))
        if before != after
    ]


def _change(name: str, low: int, high: int) -> int:
    """The first instant in (low, high] with the offset of `high`."""
    after = _offset(name, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(name, middle) == after else (middle, high)
    return high


def _offset(name: str, instant: int) -> int:
    return offset_at(EPOCH + timedelta(seconds=min(max(instant, FIRST), LAST)), zone(name)) // SECOND
