"""Life signs: `task_worker`, and the runs that workers left behind. Liveness is a counter, never a wall clock."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from taskd.store.claims import ACTIVE
from taskd.store.tables import OutboxRow, RunRow, WorkerRow


@dataclass(frozen=True)
class Worker:
    """A worker's main process. `incarnation` is new for every process, `name` outlives restarts."""

    name: str
    incarnation: str
    host: str
    pid: int
    pool: str
    queues: list[str]
    recorded_tasks: list[str]


@dataclass(frozen=True)
class Running:
    """A started run and who claimed it."""

    id: int
    claim: str
    worker: str | None

    @property
    def incarnation(self) -> str:
        """The claiming worker's."""
        return self.claim.partition(".")[0]


def sign_on(session: Session, worker: Worker) -> None:
    """Take the name's row over, whoever had it: its former owner is gone, or misconfigured."""
    values = {**asdict(worker), "beat": 0}
    taken = session.connection().execute(
        update(WorkerRow).where(WorkerRow.name == worker.name).values(values)
    )
    if not taken.rowcount:
        session.add(WorkerRow(**values))


def beat(session: Session, worker: Worker) -> str | None:
    """Count up. The incarnation that the name's row now has: another's if it was taken over, None if there is none."""
    counted = session.connection().execute(
        update(WorkerRow)
        .where(WorkerRow.name == worker.name, WorkerRow.incarnation == worker.incarnation)
        .values(beat=WorkerRow.beat + 1)
    )
    if counted.rowcount:
        return worker.incarnation
    return session.scalar(select(WorkerRow.incarnation).where(WorkerRow.name == worker.name))


def sign_off(session: Session, incarnation: str) -> None:
    """The worker has stopped, or is given up."""
    session.execute(delete(WorkerRow).where(WorkerRow.incarnation == incarnation))


def beats(session: Session) -> Mapping[str, int]:
    """Incarnation → counter."""
    return {
        row.incarnation: row.beat for row in session.execute(select(WorkerRow.incarnation, WorkerRow.beat))
    }


def names(session: Session) -> Mapping[str, str]:
    """Name → the incarnation that has it now."""
    return {
        row.name: row.incarnation for row in session.execute(select(WorkerRow.name, WorkerRow.incarnation))
    }


def pool_of(session: Session, name: str | None) -> str | None:
    """The kind of pool of the worker of that name: prefork, solo, thread, gevent, eventlet."""
    return session.scalar(select(WorkerRow.pool).where(WorkerRow.name == name))


def recorded(session: Session) -> set[str]:
    """The tasks that any worker records."""
    return {task for tasks in session.scalars(select(WorkerRow.recorded_tasks)) for task in tasks}


def queues(session: Session) -> set[str]:
    """The queues from which any worker takes."""
    return {queue for taken in session.scalars(select(WorkerRow.queues)) for queue in taken}


def running(session: Session) -> list[Running]:
    """All started runs; as many as the workers have slots."""
    rows = session.execute(select(RunRow.id, RunRow.claim, RunRow.worker).where(RunRow.status == "STARTED"))
    return [Running(row.id, row.claim, row.worker) for row in rows if row.claim]


def lose(session: Session, run: Running, at: datetime) -> bool:
    """End a run as LOST if its claim is still the one that was judged."""
    still = (RunRow.id == run.id, RunRow.claim == run.claim, RunRow.status == "STARTED")
    row = session.execute(select(RunRow.detail).where(*still).with_for_update()).one_or_none()
    if row is None:
        return False
    facts: dict[str, Any] = {"reason": "worker lost", "worker": run.worker, "incarnation": run.incarnation}
    values = {"status": "LOST", "completed_at": at, "detail": {**(row.detail or {}), **facts}}
    return session.connection().execute(update(RunRow).where(*still).values(values)).rowcount == 1


def drop_settled_messages(session: Session, limit: int) -> int:
    """Delete up to `limit` outbox rows whose runs are final or gone: nobody will publish them again."""
    settled = session.scalars(
        select(OutboxRow.run_id)
        .outerjoin(RunRow, RunRow.id == OutboxRow.run_id)
        .where(RunRow.id.is_(None) | RunRow.status.not_in(ACTIVE))
        .limit(limit)
    ).all()
    if settled:
        session.execute(delete(OutboxRow).where(OutboxRow.run_id.in_(settled)))
    return len(settled)
