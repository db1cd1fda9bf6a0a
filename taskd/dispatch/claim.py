"""What T1 writes for one schedule, as a value: its decision, with the rows and messages that follow from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from taskd.dispatch.overlapping import Finding
from taskd.schedule.policy import Decision, Missed
from taskd.store import runs
from taskd.store.runs import NewRun

BATCH_BYTES = 4 * 2**20  # of one transaction
ROW_BYTES = 1024  # that a run takes beside its message, roughly


@dataclass(frozen=True, slots=True)
class Claim:
    """One schedule's decision, ready to be written if the schedule's `row` is still as it was read."""

    row: Row[Any]
    decision: Decision
    runs: tuple[NewRun, ...]

    def asks(self) -> bool:
        """Whether earlier runs of the schedule may stand in its way."""
        return "overlap" in self.row.policy and bool(self.fires())  # the default, allow, isn't spelled out

    def fires(self) -> list[NewRun]:
        """The runs that happen."""
        return [run for run in self.runs if run.status == "PENDING"]

    def advance(self) -> dict[str, Any]:
        """The columns that move, with the row's id as `row`."""
        fires = self.fires()
        return {
            "row": self.row.id,
            "to": self.decision.cursor,
            "next": self.decision.next_run_at,
            "fired": len(fires),
            "last": fires[-1].scheduled_for if fires else None,
        }

    def without(self, known: set[tuple[int, datetime]]) -> "Claim":
        """The claim without the runs that stand already; the cursor moves past them all the same."""
        rest = tuple(run for run in self.runs if (self.row.id, run.scheduled_for) not in known)
        return replace(self, runs=rest)

    def bytes(self) -> int:
        """How much it writes, roughly."""
        return sum(ROW_BYTES + (len(run.message.body) if run.message else 0) for run in self.runs)


def batches(claims: Sequence[Claim]) -> Iterator[list[Claim]]:
    """The claims in transactions of about BATCH_BYTES; one that is larger stands alone."""
    batch: list[Claim] = []
    size = 0
    for claim in claims:
        if batch and size + claim.bytes() > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(claim)
        size += claim.bytes()
    if batch:
        yield batch


def arranged(claims: Sequence[Claim], findings: Sequence[Finding]) -> list[Claim]:
    """The claims with their fires as overlap leaves them."""
    fires = {finding.asking.columns["id"]: finding.fires for finding in findings}

    def with_fires(claim: Claim) -> Claim:
        missed = [run for run in claim.runs if run.status == "MISSED"]
        return replace(claim, runs=(*missed, *fires[claim.row.id]))

    return [with_fires(claim) if claim.row.id in fires else claim for claim in claims]


def fired_run(row: Row[Any], at: datetime, now: datetime) -> NewRun:
    """The run of the occurrence `at`, its message still to be built."""
    return NewRun(
        runs.task_id_for(row.uid, at),
        row.task,
        "PENDING",
        "schedule",
        row.id,
        row.name,
        now,
        row.args,
        row.kwargs,
        at,
    )


def missed_run(row: Row[Any], missed: Missed, now: datetime) -> NewRun:
    """The one row of a stretch that isn't fired, at its newest occurrence."""
    stretch = missed.stretch
    detail = {
        "reason": missed.reason,
        "from": stretch.first.isoformat(),
        "to": stretch.last.isoformat(),
        "count": stretch.count,
    }
    return replace(fired_run(row, stretch.last, now), status="MISSED", detail=detail)
