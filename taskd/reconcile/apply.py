"""Writes a plan: all of it in the caller's transaction, with an event for each change."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.errors import TaskdError
from taskd.reconcile.plan import Create, Delete, Mark, Move, Plan, Update
from taskd.reconcile.render import before_and_after, plain
from taskd.schedule.spec import uid_of
from taskd.source.revision import Revision
from taskd.source.yamlfile import Declared
from taskd.store import conditions, events, schedules
from taskd.store.schedules import Origin
from taskd.store.tables import ScheduleRow

T = TypeVar("T")
ACTOR = "reconciler"
TOLD = {
    conditions.DELETION_HELD: ("deletion_held", "deletion_released"),
    conditions.CONFLICT: ("conflict", "conflict_ended"),
    conditions.HEAL_FIGHTING: ("heal_fighting", "heal_settled"),
}
"""The events that tell when a condition comes and goes. A broken file is an event of its source."""
PART = 500  # rows a statement


class ChangedMeanwhile(TaskdError):
    """A schedule is no longer as the plan saw it: the pass must be done again."""


@dataclass(frozen=True, slots=True)
class Source:
    """The root that a path belongs to, and the revision at which it was read."""

    root: str
    revision: Revision


def apply(
    session: Session, plan: Plan, sources: Mapping[str, Source], secret_keys: Collection[str], now: datetime
) -> None:
    """Write every change of `plan`. `sources` by root and by path of a declaration. Raises ChangedMeanwhile."""
    writer = _Writer(session, sources, secret_keys, now, _locked(session, plan))
    writer.create(plan.creates)
    for update in plan.updates:
        writer.update(update)
    for rename in plan.renames:
        writer.rename(rename)
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
    changes: list[Update | Move | Delete | Mark] = [*plan.updates, *plan.renames, *plan.moves, *plan.deletes]
    seen = [change.row for change in [*changes, *plan.marks]]
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


@dataclass(frozen=True, slots=True)
class _Writer:
    session: Session
    sources: Mapping[str, Source]
    secret_keys: Collection[str]
    now: datetime
    rows: Mapping[UUID, ScheduleRow]

    def create(self, creates: Iterable[Create]) -> None:
        """New names; one that was deleted comes back with its identity, counts and history."""
        for part in _parts(list(creates), PART):
            names = [create.declared.spec.name for create in part]
            buried = schedules.tombstones(self.session, names, self.now)
            taken = schedules.taken_uids(self.session, [uid_of(name) for name in names])
            for name, create in zip(names, part, strict=True):
                row = self._create(create.declared, buried.get(name), taken)
                for kind, message in create.conditions.items():
                    self._mark(row, kind, message)

    def _create(self, new: Declared, buried: ScheduleRow | None, taken: Collection[UUID]) -> ScheduleRow:
        columns, name = new.spec.columns(), new.spec.name
        if buried is not None:
            schedules.revive(self.session, buried, columns, self._origin(new), self.now)
            row = buried
        else:
            uid = schedules.free_uid(self.session, name) if uid_of(name) in taken else uid_of(name)
            row = schedules.create(self.session, uid, name, columns, self._origin(new), self.now)
        after = plain(columns, self.secret_keys)
        self._event("restored" if buried else "created", row, after=after, new=new)
        return row

    def update(self, update: Update) -> None:
        """A changed declaration, or a table that was changed behind the daemon's back."""
        kind = "adopted" if update.adopted_by else "healed" if update.drift else "updated"
        self._redeclare(update, kind, update.adopted_by or ACTOR)

    def rename(self, update: Update) -> None:
        """Another name for what it replaces, which keeps its identity, cursor, counts, history and overrides."""
        self.rows[update.row.uid].name = update.declared.spec.name
        self._redeclare(update, "restored" if update.row.buried else "renamed", ACTOR)

    def move(self, move: Move) -> None:
        """Another place in the files: nothing to tell, nothing for dispatchers."""
        row, origin = self.rows[move.row.uid], self._origin(move.declared)
        row.source, row.path, row.line = origin.source, origin.path, origin.line

    def delete(self, gone: Delete) -> None:
        """No file declares it any more, and where that was held, someone has approved."""
        row = self.rows[gone.row.uid]
        schedules.bury(self.session, row, self.now)
        before = plain(gone.row.columns, self.secret_keys)
        if gone.approval is None:
            self._event("deleted", row, before=before)
        else:
            digest, actor = gone.approval
            detail = {"approved": digest, "held": gone.why}
            self._event("deleted", row, before=before, actor=actor, detail=detail)

    def mark(self, mark: Mark) -> None:
        """A condition comes, goes or says something else."""
        self._mark(self.rows[mark.row.uid], mark.kind, mark.message, was=mark.kind in mark.row.conditions)

    def _mark(self, row: ScheduleRow, kind: str, message: str | None, *, was: bool = False) -> None:
        conditions.put(row, kind, message, self.now)
        came = message is not None
        if kind in TOLD and came != was:
            self._event(TOLD[kind][not came], row, detail={"message": message} if came else None)

    def _redeclare(self, update: Update, kind: str, actor: str) -> None:
        row, new = self.rows[update.row.uid], update.declared
        was_paused = row.paused_at is not None
        change = schedules.revive if update.row.buried else schedules.redeclare
        change(self.session, row, new.spec.columns(), self._origin(new), self.now)
        before, after = before_and_after(update, self.secret_keys)
        self._event(kind, row, before=before, after=after, new=new, actor=actor)
        if was_paused and row.paused_at is None:
            self._event("resumed", row, new=new, detail={"reason": "its declaration has changed since"})

    def _origin(self, new: Declared) -> Origin:
        return Origin("file", self.sources[new.path].root, new.path, new.line)

    def _event(
        self,
        kind: str,
        row: ScheduleRow,
        *,
        before: dict[str, object] | None = None,
        after: dict[str, object] | None = None,
        new: Declared | None = None,
        actor: str = ACTOR,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        source = self.sources.get(new.path if new else row.source or "")
        revision = source.revision if source else None
        told = {**((revision and revision.commit) or {}), **(detail or {})}
        events.record(
            self.session,
            kind,
            actor,
            self.now,
            row,
            before=before,
            after=after,
            revision=revision.name if revision else None,
            detail=told or None,
        )
