"""Writes a plan: all of it in the caller's transaction, with an event for each change."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.errors import TaskdError
from taskd.reconcile.plan import Create, Delete, Living, Mark, Move, Plan, Update
from taskd.reconcile.render import before_and_after, plain
from taskd.schedule.spec import uid_of
from taskd.source.yamlfile import Declared
from taskd.store import events, schedules
from taskd.store.schedules import Origin, declared
from taskd.store.sources import condition
from taskd.store.tables import ScheduleRow

T = TypeVar("T")
ACTOR = "reconciler"
PART = 500  # rows a statement
STALE = "Stale"


class ChangedMeanwhile(TaskdError):
    """A schedule is no longer as the plan saw it: the pass must be done again."""


@dataclass(frozen=True, slots=True)
class Source:
    """The root that a path belongs to, and the revision at which it was read."""

    root: str
    revision: str


def load(session: Session) -> list[Living]:
    """The table as a plan compares it."""
    return [
        Living(row.uid, row.name, row.version, row.owner, row.path, row.line, _stale(row), declared(row))
        for row in session.scalars(schedules.living())
    ]


def apply(
    session: Session, plan: Plan, sources: Mapping[str, Source], secret_keys: Collection[str], now: datetime
) -> None:
    """Write every change of `plan`. `sources` by path of a declaration. Raises ChangedMeanwhile."""
    writer = _Writer(session, sources, secret_keys, now, _locked(session, plan))
    writer.create(plan.creates)
    for update in plan.updates:
        writer.update(update)
    for move in plan.moves:
        writer.move(move)
    for gone in plan.deletes:
        writer.delete(gone)
    for mark in plan.marks:
        writer.mark(mark)
    if plan.changes:
        events.bump_change(session)


def _locked(session: Session, plan: Plan) -> dict[UUID, ScheduleRow]:
    """The rows that the plan touches, locked in one order; raises ChangedMeanwhile if one has moved on."""
    changes: list[Update | Move | Delete | Mark] = [*plan.updates, *plan.moves, *plan.deletes, *plan.marks]
    seen = [change.row for change in changes]
    rows: dict[UUID, ScheduleRow] = {}
    for part in _parts(sorted({row.uid for row in seen}), PART):
        query = (
            select(ScheduleRow).where(ScheduleRow.uid.in_(part)).order_by(ScheduleRow.id).with_for_update()
        )
        rows |= {row.uid: row for row in session.scalars(query)}
    if any(row.uid not in rows or rows[row.uid].version != row.version for row in seen):
        raise ChangedMeanwhile("a schedule changed while the files were compared with it")
    return rows


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _stale(row: ScheduleRow) -> str | None:
    return next((str(found["message"]) for found in row.conditions if found["type"] == STALE), None)


@dataclass(frozen=True, slots=True)
class _Writer:
    session: Session
    sources: Mapping[str, Source]
    secret_keys: Collection[str]
    now: datetime
    rows: Mapping[UUID, ScheduleRow]

    def create(self, creates: Iterable[Create]) -> None:
        """New names; one that was deleted comes back with its identity, counts and history."""
        for part in _parts([create.declared for create in creates], PART):
            buried = schedules.tombstones(self.session, [new.spec.name for new in part])
            taken = schedules.taken_uids(self.session, [uid_of(new.spec.name) for new in part])
            for new in part:
                self._create(new, buried.get(new.spec.name), taken)

    def _create(self, new: Declared, buried: ScheduleRow | None, taken: Collection[UUID]) -> None:
        columns, name = new.spec.columns(), new.spec.name
        if buried is not None:
            schedules.revive(self.session, buried, columns, self._origin(new), self.now)
            row = buried
        else:
            uid = self._free_uid(name) if uid_of(name) in taken else uid_of(name)
            row = schedules.create(self.session, uid, name, columns, self._origin(new), self.now)
        after = plain(columns, self.secret_keys)
        self._event("restored" if buried else "created", row, after=after, new=new)

    def update(self, update: Update) -> None:
        """A changed declaration, or a table that was changed behind the daemon's back."""
        row, new = self.rows[update.row.uid], update.declared
        schedules.redeclare(self.session, row, new.spec.columns(), self._origin(new), self.now)
        before, after = before_and_after(update, self.secret_keys)
        self._event("healed" if update.drift else "updated", row, before=before, after=after, new=new)

    def move(self, move: Move) -> None:
        """Another place in the files: nothing to tell, nothing for dispatchers."""
        row, origin = self.rows[move.row.uid], self._origin(move.declared)
        row.source, row.path, row.line = origin.source, origin.path, origin.line

    def delete(self, gone: Delete) -> None:
        """No file declares it any more."""
        row = self.rows[gone.row.uid]
        schedules.bury(self.session, row, self.now)
        self._event("deleted", row, before=plain(gone.row.columns, self.secret_keys))

    def mark(self, mark: Mark) -> None:
        """Its file is broken, or mended."""
        row = self.rows[mark.row.uid]
        others = [found for found in row.conditions if found["type"] != STALE]
        stale = [condition(STALE, self.now, mark.message)] if mark.message else []
        row.conditions = [*others, *stale]

    def _origin(self, new: Declared) -> Origin:
        return Origin("file", self.sources[new.path].root, new.path, new.line)

    def _free_uid(self, name: str) -> UUID:
        """The next identity of a name whose own one a schedule of another name today was born with."""
        uids = (uid_of(f"{name}#{n}") for n in count(2))
        return next(uid for uid in uids if not schedules.taken_uids(self.session, [uid]))

    def _event(
        self,
        kind: str,
        row: ScheduleRow,
        *,
        before: dict[str, object] | None = None,
        after: dict[str, object] | None = None,
        new: Declared | None = None,
    ) -> None:
        revision = self.sources[new.path].revision if new else None
        events.record(self.session, kind, ACTOR, self.now, row, before=before, after=after, revision=revision)
