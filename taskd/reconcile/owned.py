"""API-owned schedules: one declaration at a time, by the same rules and with the same events as those of files.

Each function is part of the caller's transaction; the rows come locked.
"""

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256

from sqlalchemy.orm import Session

from taskd.errors import NotAllowed
from taskd.reconcile.render import plain
from taskd.schedule.spec import ScheduleSpec
from taskd.store import events, schedules
from taskd.store.schedules import Origin, declared
from taskd.store.tables import ScheduleRow

ORIGIN = Origin("api")


def create(
    session: Session,
    spec: ScheduleSpec,
    actor: str,
    now: datetime,
    secret_keys: Collection[str],
    key: str | None = None,
) -> ScheduleRow:
    """A new schedule, or one that was deleted, with its identity and history.

    The same idempotency `key` with the same declaration gives what it gave the first time. Raises NotAllowed where
    the name is taken; where another transaction takes it at the same time, the commit raises IntegrityError.
    """
    columns = spec.columns()
    asked = key and {"idempotency_key": _digest(key), "fingerprint": columns["fingerprint"]}
    if (living := schedules.named(session, spec.name)) is not None:
        if asked and events.has_detail(session, living, ("created", "restored"), asked):
            return living
        raise taken(living)
    buried = schedules.tombstones(session, [spec.name], now).get(spec.name)
    if buried is not None:
        row = buried
        schedules.revive(session, row, columns, ORIGIN, now)
    else:
        uid = schedules.free_uid(session, spec.name)
        row = schedules.create(session, uid, spec.name, columns, ORIGIN, now)
    session.flush()
    kind, after = "restored" if buried is not None else "created", plain(columns, secret_keys)
    events.record(session, kind, actor, now, row, after=after, detail=asked or None)
    events.bump_change(session)
    return row


def redeclare(
    session: Session,
    row: ScheduleRow,
    spec: ScheduleSpec,
    actor: str,
    now: datetime,
    secret_keys: Collection[str],
) -> None:
    """Make it as declared; nothing happens where it is so already. Raises NotAllowed where a file owns it."""
    check_owner(row)
    before, after = declared(row), spec.columns()
    changed = [column for column, value in after.items() if before[column] != value]
    if not changed:
        return
    was_paused = row.paused_at is not None
    schedules.redeclare(session, row, after, ORIGIN, now)
    shown = [
        {key: value for key, value in plain(side, secret_keys).items() if key in changed}
        for side in (before, after)
    ]
    events.record(session, "updated", actor, now, row, before=shown[0], after=shown[1])
    if was_paused and row.paused_at is None:
        reason = {"reason": "its declaration has changed since"}
        events.record(session, "resumed", actor, now, row, detail=reason)
    events.bump_change(session)


def delete(
    session: Session, row: ScheduleRow, actor: str, now: datetime, secret_keys: Collection[str]
) -> None:
    """Bury it. Raises NotAllowed where a file owns it."""
    check_owner(row)
    before = plain(declared(row), secret_keys)
    schedules.bury(session, row, now)
    events.record(session, "deleted", actor, now, row, before=before)
    events.bump_change(session)


def check_owner(row: ScheduleRow) -> None:
    """Raise NotAllowed where a file declares it."""
    if row.owner != "api":
        raise NotAllowed(
            f"{row.name!r} is declared in {row.path}:{row.line}: change it there", row.path, row.line
        )


def taken(row: ScheduleRow) -> NotAllowed:
    """Why another schedule of that name can't be made."""
    where = f"is declared in {row.path}:{row.line}" if row.owner == "file" else f"has the id {row.id}"
    return NotAllowed(f"there is a schedule {row.name!r} already: it {where}", row.path, row.line)


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()
