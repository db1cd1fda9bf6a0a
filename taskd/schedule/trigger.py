"""The three triggers, as hashable values: equal questions can be answered once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DayMatch = Literal["or", "and"]


@dataclass(frozen=True, slots=True)
class Dst:
    """What a crontab does where the clocks jump; None leaves it to the expression's class (timing.py)."""

    gap: Literal["run_after", "skip"] | None = None
    overlap: Literal["first", "both"] | None = None


@dataclass(frozen=True, slots=True)
class Crontab:
    """Due where the wall clock of `timezone` (an IANA name) matches `expression`."""

    expression: str
    timezone: str
    day_match: DayMatch = "or"
    dst: Dst = Dst()


@dataclass(frozen=True, slots=True)
class Interval:
    """Due at `anchor + k * seconds` for every integer k; `anchor` is aware, UTC, by default the epoch."""

    seconds: int
    anchor: datetime | None = None


@dataclass(frozen=True, slots=True)
class Date:
    """Due once, at the instant `at` (aware, UTC)."""

    at: datetime


Trigger = Crontab | Interval | Date
