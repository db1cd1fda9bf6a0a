"""What T1 writes for one schedule, as a value: its decision, with the rows and messages that follow from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from taskd.dispatch.compiled import Compiled, Decisions
from taskd.dispatch.overlapping import Finding
from taskd.schedule.policy import Decision, Missed
from taskd.store import runs
from taskd.store.outbox import Message
from taskd.store.runs import NewRun

BATCH_BYTES = 4 * 2**20  # of one transaction
ROW_BYTES = 1024  # that a run takes beside its message, roughly


@dataclass(frozen=True, slots=True)
class Claim:
    """One schedule's decision, ready to be written if its row still has that version and that cursor."""

    schedule: Compiled
    cursor: datetime
    decision: Decision
    runs: tuple[NewRun, ...]

    def asks(self) -> bool:
        """Whether earlier runs of the schedule may stand in its way."""
        return "overlap" in self.schedule.policy and bool(
            self.fires()
        )  # the default, allow, isn't spelled out

    def fires(self) -> list[NewRun]:
        """The runs that happen."""
        return [run for run in self.runs if run.status == "PENDING"]

    def without(self, known: set[tuple[int, datetime]]) -> "Claim":
        """The claim without the runs that stand already; the cursor moves past them all the same."""
        rest = tuple(run for run in self.runs if (self.schedule.id, run.scheduled_for) not in known)
        return replace(self, runs=rest)

    def bytes(self) -> int:
        """How much it writes, roughly."""
        return sum(ROW_BYTES + (len(run.message.body) if run.message else 0) for run in self.runs)


def claim_of(schedule: Compiled, cursor: datetime, counted: int, decisions: Decisions) -> Claim:
    """Decide about a schedule whose row has that cursor and that count, and fill in its messages."""
    decision = decisions.about(schedule.timing, cursor, schedule.fires_left(counted))
    passed = tuple(missed_run(schedule, missed, decisions.now) for missed in decision.missed)
    fired = tuple(fired_run(schedule, at, decisions.now) for at in decision.fires)
    return Claim(schedule, cursor, decision, passed + fired)


def batches(claims: Sequence[Claim]) -> Iterator[list[Claim]]:
    """The claims in transactions of about BATCH_BYTES; one that is larger stands alone."""
    batch: list[Claim] = []
    size = 0
    for claim in claims:
        more = claim.bytes()
        if batch and size + more > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(claim)
        size += more
    if batch:
        yield batch


def arranged(claims: Sequence[Claim], findings: Sequence[Finding]) -> list[Claim]:
    """The claims with their fires as overlap leaves them."""
    if not findings:
        return list(claims)
    fires = {finding.asking.columns["id"]: finding.fires for finding in findings}

    def with_fires(claim: Claim) -> Claim:
        missed = [run for run in claim.runs if run.status == "MISSED"]
        return replace(claim, runs=(*missed, *fires[claim.schedule.id]))

    return [with_fires(claim) if claim.schedule.id in fires else claim for claim in claims]


def fired_run(schedule: Compiled, at: datetime, now: datetime) -> NewRun:
    """The run of the occurrence `at`, its message filled in."""
    task_id = runs.task_id_for(schedule.uid, at)
    return _run(
        schedule, task_id, "PENDING", at, now, None, schedule.template.fill(task_id, at.isoformat(), now)
    )


def missed_run(schedule: Compiled, missed: Missed, now: datetime) -> NewRun:
    """The one row of a stretch that isn't fired, at its newest occurrence."""
    stretch = missed.stretch
    detail = {
        "reason": missed.reason,
        "from": stretch.first.isoformat(),
        "to": stretch.last.isoformat(),
        "count": stretch.count,
    }
    task_id = runs.task_id_for(schedule.uid, stretch.last)
    return _run(schedule, task_id, "MISSED", stretch.last, now, detail, None)


def _run(
    schedule: Compiled,
    task_id: str,
    status: Literal["PENDING", "MISSED"],
    at: datetime,
    now: datetime,
    detail: dict[str, Any] | None,
    message: Message | None,
) -> NewRun:
    return NewRun(
        task_id,
        schedule.task,
        status,
        "schedule",
        schedule.id,
        schedule.name,
        now,
        schedule.args,
        schedule.kwargs,
        at,
        detail,
        message,
    )
