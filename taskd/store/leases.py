"""Statements on `task_lease`. No wall clock takes part: who waits measures with its own."""

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from taskd.errors import LeaseLost
from taskd.store.tables import LeaseRow


@dataclass(frozen=True, slots=True)
class Lease:
    """What the row says: who holds it, the count of holders, and the holder's life sign."""

    holder: str | None
    epoch: int
    seq: int


def read(session: Session, name: str) -> Lease:
    """The lease as it stands."""
    row = session.execute(
        select(LeaseRow.holder, LeaseRow.epoch, LeaseRow.seq).where(LeaseRow.name == name)
    ).one()
    return Lease(*row)


def take(session: Session, name: str, holder: str, seen: Lease) -> bool:
    """Take over from exactly the state that was seen; False if it has moved since."""
    taken = session.connection().execute(
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.epoch == seen.epoch, LeaseRow.seq == seen.seq)
        .values(holder=holder, epoch=seen.epoch + 1, seq=seen.seq + 1)
    )
    return taken.rowcount == 1


def fence(session: Session, name: str, holder: str, epoch: int) -> None:
    """Renew, and let nothing of this transaction commit unless `holder` still leads (raises LeaseLost)."""
    renewed = session.connection().execute(
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.holder == holder, LeaseRow.epoch == epoch)
        .values(seq=LeaseRow.seq + 1)
    )
    if renewed.rowcount != 1:
        raise LeaseLost(f"another process has taken the {name} lease")


def give_back(session: Session, name: str, holder: str, epoch: int) -> None:
    """Let a standby take over at once; nothing happens if it has already."""
    session.execute(
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.holder == holder, LeaseRow.epoch == epoch)
        .values(holder=None, seq=LeaseRow.seq + 1)
    )
