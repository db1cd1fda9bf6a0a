"""Statements on `task_source` and `task_source_file`: what was last read, applied, and wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from taskd.store import conditions
from taskd.store.tables import SourceFileRow, SourceRow

HISTORY = 20  # passes that are kept
_PART = 500  # paths a statement


@dataclass(frozen=True, slots=True)
class FileState:
    """One file as it was last read: its text where it has no error (None keeps the last one), and its first error."""

    digest: str | None
    good: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Stand:
    """A source after a pass. `wrong`: kind and message of each condition but Ready; `outcome`: at, counts, …"""

    root: str
    revision: str
    commit: dict[str, Any] | None
    wrong: Mapping[str, str]
    outcome: dict[str, Any]


def save(session: Session, stand: Stand, now: datetime) -> bool:
    """Record a pass over a source, in front of its history; whether its revision or its conditions are others now."""
    row = session.get(SourceRow, stand.root)
    if row is None:
        row = SourceRow(name=stand.root, root=stand.root, conditions=[], passes=[])
        session.add(row)
    before = row.revision_seen, {found["type"] for found in row.conditions}
    row.revision_seen = stand.revision
    if not stand.wrong:
        row.revision_applied, row.applied_commit = stand.revision, stand.commit
    true_now = stand.wrong or {conditions.READY: "all of it is applied"}
    row.conditions = conditions.kept(row.conditions, true_now, now)
    row.passes = [stand.outcome, *row.passes][:HISTORY]
    return before != (stand.revision, set(true_now))


def revisions(session: Session) -> Mapping[str, str | None]:
    """Source → the revision that was applied last."""
    rows = session.execute(select(SourceRow.name, SourceRow.revision_applied).order_by(SourceRow.name))
    return {row.name: row.revision_applied for row in rows}


def forget_others(session: Session, roots: Iterable[str]) -> None:
    """Drop the status of sources that aren't configured any more."""
    roots = list(roots)
    session.execute(delete(SourceRow).where(SourceRow.name.not_in(roots)))
    session.execute(delete(SourceFileRow).where(SourceFileRow.source.not_in(roots)))


def known_files(session: Session, root: str) -> dict[str, FileState]:
    """The files of a source as they were recorded; `good` is "" where there is a text, None where there is none."""
    columns = (
        SourceFileRow.path,
        SourceFileRow.digest,
        SourceFileRow.error,
        SourceFileRow.last_good.is_(None),
    )
    found = session.execute(select(*columns).where(SourceFileRow.source == root))
    return {path: FileState(digest, None if lacks else "", error) for path, digest, error, lacks in found}


def last_good(session: Session, root: str, paths: Iterable[str]) -> dict[str, str]:
    """The texts that these files last held without an error, where there is one."""
    columns = (SourceFileRow.path, SourceFileRow.last_good)
    found: dict[str, str] = {}
    for part in _parts(paths):
        query = select(*columns).where(SourceFileRow.source == root, SourceFileRow.path.in_(part))
        found |= {path: text for path, text in session.execute(query) if text is not None}
    return found


def save_files(session: Session, root: str, files: Mapping[str, FileState], gone: Iterable[str]) -> None:
    """Record files that came or changed, and forget those that are gone."""
    for part in _parts(gone):
        session.execute(
            delete(SourceFileRow).where(SourceFileRow.source == root, SourceFileRow.path.in_(part))
        )
    for part in _parts(files):
        query = select(SourceFileRow.path).where(SourceFileRow.source == root, SourceFileRow.path.in_(part))
        known = set(session.scalars(query))
        rows = [_row(root, path, files[path]) for path in part]
        mended = [row for row in rows if row["path"] in known and row["last_good"] is not None]
        broken = [row for row in rows if row["path"] in known and row["last_good"] is None]
        for row in broken:
            del row["last_good"]
        if new := [row for row in rows if row["path"] not in known]:
            session.execute(insert(SourceFileRow), new)
        for changed in filter(None, (mended, broken)):
            session.execute(update(SourceFileRow), changed)


def _row(root: str, path: str, state: FileState) -> dict[str, Any]:
    return {
        "source": root,
        "path": path,
        "digest": state.digest,
        "last_good": state.good,
        "error": state.error,
    }


def _parts(paths: Iterable[str]) -> Iterable[Sequence[str]]:
    listed = list(paths)
    return (listed[start : start + _PART] for start in range(0, len(listed), _PART))


def status(session: Session) -> list[SourceRow]:
    """All sources, by root."""
    return list(session.scalars(select(SourceRow).order_by(SourceRow.name)))


def files_of(session: Session) -> dict[str, int]:
    """How many files each source has."""
    query = select(SourceFileRow.source, func.count()).group_by(SourceFileRow.source)
    return dict(session.execute(query).all())


def broken_files(session: Session) -> list[tuple[str, str, str]]:
    """(root, path, first error) of each file that has one."""
    columns = (SourceFileRow.source, SourceFileRow.path, SourceFileRow.error)
    query = select(*columns).where(SourceFileRow.error.is_not(None)).order_by(*columns[:2])
    return [(source, path, error or "") for source, path, error in session.execute(query)]
