"""The three triggers, as hashable values: equal questions can be answered once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, with_config

DayMatch = Literal["or", "and"]


@with_config(ConfigDict(extra="forbid"))  # as part of a declaration: no key of it is ignored
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
