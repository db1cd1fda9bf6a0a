"""Rows of a growing table as they are committed: ids are given out before that, so a later one may be seen first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute

PATIENCE = (
    15.0  # seconds in which an id that was left out may still come; no transaction of ours lasts longer
)
MOST_GAPS = 200
LOOK_BACK = 1000  # ids below the newest among which some may be under way when one begins to look


@dataclass(frozen=True, slots=True)
class _Gap:
    """Ids that were left out, both ends among them; given up at `until`."""

    first: int
    last: int
    until: float

    def without(self, found: int) -> Iterator["_Gap"]:
        if not self.first <= found <= self.last:
            yield self
            return
        if self.first < found:
            yield _Gap(self.first, found - 1, self.until)
        if found < self.last:
            yield _Gap(found + 1, self.last, self.until)


class Arrivals:
    """Which ids are still to come: all above `newest`, and for a while those that were left out below it."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self._gaps: list[_Gap] = []

    @property
    def settled(self) -> int:
        """Nothing comes at or below this id any more."""
        return min((gap.first - 1 for gap in self._gaps), default=self.newest)

    def expects(self, row_id: int) -> bool:
        """Whether it hasn't come yet."""
        return row_id > self.newest or any(gap.first <= row_id <= gap.last for gap in self._gaps)

    def wanted(self, column: InstrumentedAttribute[int]) -> ColumnElement[bool]:
        """The condition for what hasn't come yet."""
        left_out = (column.between(gap.first, gap.last) for gap in self._gaps)
        return or_(column > self.newest, *left_out)

    def note(self, found: Iterable[int], seconds: float) -> None:
        """These have come, with a look at `seconds`; what has been left out for too long was rolled back."""
        for row_id in sorted(found):
            if row_id > self.newest + 1:
                self._gaps.append(_Gap(self.newest + 1, row_id - 1, seconds + PATIENCE))
            if row_id > self.newest:
                self.newest = row_id
            else:
                self._gaps = [part for gap in self._gaps for part in gap.without(row_id)]
        self._gaps = [gap for gap in self._gaps if gap.until > seconds][-MOST_GAPS:]
