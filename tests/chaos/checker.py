"""Did the promise hold? A pure function over what the tables, the processes and the independent journal say.

The promise: every occurrence of a schedule is covered by exactly one row (a MISSED row covers its stretch); a SUCCESS
has started exactly once, a LOST run at most once, anything else never; rows are in the order of the leaders' epochs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FINAL = {"SUCCESS", "MISSED", "SKIPPED", "LOST"}


@dataclass(frozen=True)
class Schedule:
    """An interval schedule: due at each whole multiple of `step` after `born`; decided up to `cursor`, inclusive."""

    name: str
    step: timedelta
    born: datetime
    cursor: datetime


@dataclass(frozen=True)
class Run:
    """A row, in the order of row ids. `stretch`: first, last and count of what a MISSED row covers."""

    schedule: str
    task_id: str
    scheduled_for: datetime
    status: str
    stretch: tuple[datetime, datetime, int] | None = None


@dataclass(frozen=True)
class Start:
    """A line of the journal: a body has started, whose message the process `decided_by` composed."""

    task_id: str
    decided_by: str


@dataclass(frozen=True)
class Facts:
    """All that is known at the end. `leaders`: process by epoch, as the processes' own logs have it."""

    schedules: Sequence[Schedule]
    runs: Sequence[Run]
    starts: Sequence[Start]
    leaders: Mapping[int, str]


def violations(facts: Facts) -> list[str]:
    """What breaks the promise, each in one line; nothing if it held."""
    return [*_coverage(facts), *_endings(facts), *_effects(facts), *_epochs(facts)]


def occurrences(facts: Facts) -> int:
    """How many there were."""
    return sum(_due(schedule).total() for schedule in facts.schedules)


def _coverage(facts: Facts) -> Iterator[str]:
    known = {schedule.name for schedule in facts.schedules}
    yield from (
        f"{run.schedule}: a row of no schedule, {run.task_id}"
        for run in facts.runs
        if run.schedule not in known
    )
    for schedule in facts.schedules:
        covered: Counter[datetime] = Counter()
        for run in facts.runs:
            if run.schedule == schedule.name:
                covered.update(_covers(run, schedule.step))
        due = _due(schedule)
        yield from (f"{schedule.name}: nothing covers {at.isoformat()}" for at in sorted(due - covered))
        extra = covered - due
        yield from (
            f"{schedule.name}: {n} rows too many for {at.isoformat()}" for at, n in sorted(extra.items())
        )


def _due(schedule: Schedule) -> Counter[datetime]:
    step = int(schedule.step.total_seconds())
    first, last = (int(at.timestamp()) // step for at in (schedule.born, schedule.cursor))
    return Counter(datetime.fromtimestamp(k * step, UTC) for k in range(first + 1, last + 1))


def _covers(run: Run, step: timedelta) -> list[datetime]:
    if run.stretch is None:
        return [run.scheduled_for]
    first, last, count = run.stretch
    written_out = [first + k * step for k in range(count)]
    # A stretch that doesn't add up covers its newest occurrence alone, and the rest shows as gaps.
    return (
        written_out if written_out and written_out[-1] == last == run.scheduled_for else [run.scheduled_for]
    )


def _endings(facts: Facts) -> Iterator[str]:
    yield from (
        f"{run.schedule}: {run.task_id} is {run.status}" for run in facts.runs if run.status not in FINAL
    )
    ids = Counter(run.task_id for run in facts.runs)
    yield from (f"{n} rows have the task id {task_id}" for task_id, n in ids.items() if n > 1)


def _effects(facts: Facts) -> Iterator[str]:
    started = Counter(start.task_id for start in facts.starts)
    statuses = {run.task_id: run.status for run in facts.runs}
    for task_id, times in started.items():
        status = statuses.get(task_id)
        if times > 1:
            yield f"{task_id} ({status}) started {times} times"
        if status not in {"SUCCESS", "LOST"}:
            yield f"{task_id} started, though its row says {status}"
    yield from (
        f"{task_id} is a SUCCESS that never started"
        for task_id, status in statuses.items()
        if status == "SUCCESS" and task_id not in started
    )


def _epochs(facts: Facts) -> Iterator[str]:
    """Each fired row belongs to an epoch of the process that decided it, and to none before the row's in front of it."""
    deciders = {start.task_id: start.decided_by for start in facts.starts}
    reached = 0
    for run in facts.runs:
        decider = deciders.get(run.task_id)
        if decider is None:
            continue
        later = [epoch for epoch, leader in facts.leaders.items() if leader == decider and epoch >= reached]
        if not later:
            yield f"{run.task_id} was decided by {decider}, which led in no epoch from {reached} on"
            continue
        reached = min(later)
