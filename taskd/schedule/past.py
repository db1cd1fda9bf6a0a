"""A schedule as it was at some time: its events say what has been done to it since, and that is undone.

Events are kept for a while only. What is older than the oldest is as that one found it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a schedule. `before` and `after`: the declared columns that it changed, as far as it says."""

    at: datetime
    kind: str
    actor: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    until: datetime | None = None

    @property
    def enables(self) -> bool | None:
        """What it sets `enabled` to; None where it leaves that alone."""
        enabled = self.after.get("enabled")
        return None if enabled == self.before.get("enabled") else enabled


def columns_at(columns: Mapping[str, Any], changes: Sequence[Change], at: datetime) -> dict[str, Any]:
    """The declared columns as they stood at `at`; `changes` are all there are, oldest first."""
    then = dict(columns)
    for change in takewhile(lambda change: change.at > at, reversed(changes)):
        then |= change.before
    return then


def deletion_at(changes: Sequence[Change], at: datetime) -> Change | None:
    """The deletion that stood at `at`."""
    return _standing(changes, at, "deleted", ("restored", "created"))


def pause_at(changes: Sequence[Change], at: datetime) -> Change | None:
    """The pause that stood at `at`, by the scheduled time: one `until` a time includes it."""
    pause = _standing(changes, at, "paused", ("resumed",))
    if pause is None or (pause.until is not None and at > pause.until):
        return None
    # The file's word, where it is newer, ends a pause too.
    overruled = any(pause.at < change.at <= at and change.enables is not None for change in changes)
    return None if overruled else pause


def disabling_at(changes: Sequence[Change], at: datetime) -> Change | None:
    """The last change until `at` that set `enabled`."""
    told = [change for change in changes if change.at <= at and change.enables is not None]
    return told[-1] if told else None


def next_change(changes: Sequence[Change], at: datetime) -> Change | None:
    """The first change after `at` that lets go of what was undecided then."""
    return next((change for change in changes if change.at > at and _lets_go(change)), None)


_TIMING = frozenset(
    {"schedule_type", "crontab", "interval_seconds", "start_time", "end_time", "timezone"}
    | {"enabled", "one_off", "max_run_count"}
)
_TIMING_POLICY = ("day_match", "dst")
_STEPS = ("paused", "resumed", "enabled", "deleted", "restored", "quarantined")


def _lets_go(change: Change) -> bool:
    """Whether the cursor moved up to it, or the schedule stopped: edits of arguments and other policies don't."""
    if change.kind in _STEPS:
        return True
    policies = [columns.get("policy", {}) for columns in (change.before, change.after)]
    return change.kind != "created" and (
        not _TIMING.isdisjoint(change.before)
        or any(policies[0].get(key) != policies[1].get(key) for key in _TIMING_POLICY)
    )


def _standing(changes: Sequence[Change], at: datetime, kind: str, ends: tuple[str, ...]) -> Change | None:
    """The last change of `kind` until `at`, unless one of `ends` came after it."""
    told = [change for change in changes if change.at <= at and change.kind in (kind, *ends)]
    return told[-1] if told and told[-1].kind == kind else None
