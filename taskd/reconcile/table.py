"""The table as a plan compares it, kept in memory from pass to pass.

Truth      the database: each pass asks it for the seal of all rows, and reads them all anew where that has changed,
           whoever changed them and however
Economy    a pass that wrote some rows reads only these back, and takes their seals out of the sum and puts them in again
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from sys import intern
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from taskd.reconcile.claims import Living
from taskd.reconcile.plan import HEAL_SPAN, Create, Delete, Mark, Move, Plan, Update
from taskd.store import conditions, events
from taskd.store.schedules import DECLARED, KEPT, paged
from taskd.store.seal import COMPARED, Seal, seal
from taskd.store.tables import ScheduleRow

_COLUMNS = [ScheduleRow.id, *(getattr(ScheduleRow, column) for column in COMPARED)]
SHORT = 64  # characters
PAGE = 500  # schedules a statement
_EMPTY: dict[type, Any] = {list: [], dict: {}}
MOST_KEPT = 500
"""So many rows at most are read back one by one; after a larger change the next pass reads all."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All living schedules, by name, when they had this seal."""

    seal: Seal
    rows: Mapping[str, Living]


def load(session: Session, give: Callable[[], None] = lambda: None) -> list[Living]:
    """All living schedules; `give` is called before each PAGE."""
    return [_living(row) for row in paged(session, _query(), PAGE, give)]


def look(session: Session, last: Snapshot | None, give: Callable[[], None] = lambda: None) -> Snapshot:
    """The table now: `last` itself where nothing has changed since."""
    # Sealed before it is read: what changes in between is read, and shows in the seal of the next time.
    now = seal(session)
    if last is not None and last.seal == now:
        return last
    return Snapshot(now, {row.name: row for row in load(session, give)})


def with_past(session: Session, last: Snapshot, names: Collection[str], now: datetime) -> list[Living]:
    """All living schedules with how often each was healed lately, and those of `names` that were deleted lately."""
    heals = events.healed_since(session, now - timedelta(seconds=HEAL_SPAN))
    living = [replace(row, heals=heals[row.uid]) if row.uid in heals else row for row in last.rows.values()]
    return [*living, *_buried(session, sorted(names), now)] if names else living


def _buried(session: Session, names: list[str], now: datetime) -> Iterator[Living]:
    """Of each name the one deleted last."""
    found: dict[str, Living] = {}
    for start in range(0, len(names), MOST_KEPT):
        these = ScheduleRow.name.in_(names[start : start + MOST_KEPT]), ScheduleRow.deleted_at >= now - KEPT
        query = select(*_COLUMNS).where(*these).order_by(ScheduleRow.deleted_at)
        found |= {row.name: replace(_living(row), buried=True) for row in session.execute(query)}
    yield from found.values()


def names_in(plan: Plan) -> frozenset[str]:
    """The names of all rows that applying it writes, before and after."""
    changed: list[Update | Move | Delete | Mark] = [
        *plan.updates, *plan.moves, *plan.renames, *plan.deletes, *plan.marks
    ]  # fmt: skip
    declared: list[Create | Update] = [*plan.creates, *plan.renames]
    return frozenset({change.row.name for change in changed} | {new.declared.spec.name for new in declared})


def written(session: Session, last: Snapshot, names: Collection[str], before: Seal) -> Snapshot:
    """`last`, once this transaction has changed the rows with these names, whose seal was `before`."""
    kept = {name: row for name, row in last.rows.items() if name not in names}
    read = [_living(row) for row in session.execute(_query().where(ScheduleRow.name.in_(names)))]
    now = last.seal.replaced(before, seal(session, names))
    return Snapshot(now, kept | {row.name: row for row in read})


def _query() -> Select[Any]:
    return select(*_COLUMNS).where(ScheduleRow.deleted_at.is_(None))


def _living(row: Row[Any]) -> Living:
    _id, uid, name, version, owner, source, path, line, found, *values = tuple(row)
    columns = dict(zip(DECLARED, map(_once, values), strict=True))
    owner, source, path = map(_once, (owner, source, path))
    return Living(uid, name, version, owner, source, path, line, columns, _once(conditions.messages(found)))


def _once(value: Any) -> Any:
    """What many schedules have, kept once for all: half of what a hundred thousand take. Nobody changes it."""
    if type(value) is str and len(value) <= SHORT:
        return intern(value)
    return value or _EMPTY.get(type(value), value)
