"""Overlap: what becomes of a fire while earlier runs of its schedule are still active.

Active     from its decision until a final status, unless its lease has run out or it is held itself. The lease
           begins at the worker's claim and lasts `lease_of`; a run past it is stale and blocks nothing. While a run
           waits for its next attempt no worker has it, and no lease runs

policy     while `max_active` runs are active
allow      it fires
skip       it is SKIPPED
buffer     it is held, behind what is held already, at most `size` of them; beyond that it is SKIPPED
cancel     the oldest active run is revoked, then it fires; one that has begun goes on to its end
terminate  the oldest active run is revoked, and killed if it has begun, then it fires

What is held goes on, in order, as soon as there is room, whatever the policy has become by then. Of several fires
in one decision only the last can stay under cancel and terminate: the others are SKIPPED before they were sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, with_config

from taskd.schedule.fields import EXACT, Seconds

LEAST_LEASE = 3600  # seconds: a worker without limits gets this long before its run blocks no longer

OverlapPolicy = Literal["allow", "skip", "buffer", "cancel", "terminate"]


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Overlap:
    """What to do when earlier runs are active; `stale_after` in seconds, by default `lease_of` says it."""

    policy: OverlapPolicy = "allow"
    max_active: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    size: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    stale_after: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """A run without a final status.

    `claimed_at`: when the worker that has it took it; `held`: it waits for room itself; `scheduled_for`: None for a manual one.
    """

    run_id: int
    task_id: str
    claimed_at: datetime | None = None
    held: bool = False
    scheduled_for: datetime | None = None


@dataclass(frozen=True, slots=True)
class Go:
    """The fire goes out."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The fire waits for the run `behind`."""

    behind: str


@dataclass(frozen=True, slots=True)
class Skip:
    """The fire doesn't happen: `because` of the run `active`."""

    active: str
    because: Literal["active", "buffer full", "superseded"] = "active"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What becomes of each fire, in order, and of the runs that were there."""

    fires: tuple[Go | Hold | Skip, ...]
    released: tuple[Active, ...] = ()
    revoked: tuple[Active, ...] = ()
    stale: tuple[Active, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether it does anything to the runs that were there."""
        return bool(self.released or self.revoked or self.stale)


def lease_of(overlap: Overlap, hard_limit: float | None) -> timedelta:
    """How long after its claim a run stays active; `hard_limit` in seconds."""
    return timedelta(seconds=overlap.stale_after or max(hard_limit or 0, LEAST_LEASE))


def arrange(
    overlap: Overlap, lease: timedelta, runs: Sequence[Active], fires: Sequence[str], now: datetime
) -> Arrangement:
    """Arrange `fires` (task ids, oldest first) among the runs without a final status, oldest first."""
    match overlap.policy:
        case "allow":
            return Arrangement((Go(),) * len(fires), released=tuple(run for run in runs if run.held))
        case "cancel" | "terminate":
            return _replace(overlap, runs, fires)
        case "skip" | "buffer":
            return _queue(overlap, runs, fires, now - lease)


def _replace(overlap: Overlap, runs: Sequence[Active], fires: Sequence[str]) -> Arrangement:
    """The newest `max_active` of all stay. A stale run is no exception: it may well be what is to be killed."""
    running, released = _with_released(overlap, runs, [run for run in runs if not run.held])
    kept = fires[-overlap.max_active :]
    revoked = running[: max(len(running) + len(kept) - overlap.max_active, 0)] if kept else []
    superseded = [Skip(kept[0], "superseded") for _ in fires[: len(fires) - len(kept)]]
    return Arrangement(
        (*superseded, *(Go() for _ in kept)),
        tuple(run for run in released if run not in revoked),
        tuple(revoked),
    )


def _queue(
    overlap: Overlap, runs: Sequence[Active], fires: Sequence[str], claimed_since: datetime
) -> Arrangement:
    """First come, first served; what was claimed at or before `claimed_since` is stale."""
    stale = [run for run in runs if run.claimed_at is not None and run.claimed_at <= claimed_since]
    running, released = _with_released(
        overlap, runs, [run for run in runs if not run.held and run not in stale]
    )
    active = [run.task_id for run in running]
    places = overlap.size if overlap.policy == "buffer" else 0
    queued = sum(run.held for run in runs) - len(released)
    verdicts: list[Go | Hold | Skip] = []
    for task_id in fires:
        if len(active) < overlap.max_active and not queued:
            active.append(task_id)
            verdicts.append(Go())
        elif queued < places:
            queued += 1
            verdicts.append(Hold(active[0]))
        else:
            verdicts.append(Skip(active[0], "buffer full" if places else "active"))
    return Arrangement(tuple(verdicts), tuple(released), stale=tuple(stale))


def _with_released(
    overlap: Overlap, runs: Sequence[Active], running: list[Active]
) -> tuple[list[Active], list[Active]]:
    """What is active once what is held has taken the room there is, and what that is."""
    held = [run for run in runs if run.held]
    released = held[: max(overlap.max_active - len(running), 0)]
    return running + released, released
