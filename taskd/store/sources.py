"""Statements on `task_source` and `task_source_file`: what was last read, applied, and wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.store.tables import SourceFileRow, SourceRow

HISTORY = 20  # passes that are kept


@dataclass(frozen=True, slots=True)
class FileState:
    """One file as it was last read: what it last held that was good, or None to keep that, and its first error."""

    digest: str | None
    good: list[dict[str, Any]] | None
    error: str | None


def save(
    session: Session,
    name: str,
    revision: str | None,
    files: Mapping[str, FileState],
    conditions: Sequence[dict[str, Any]],
    outcome: dict[str, Any],
) -> None:
    """Record a pass over a source; `outcome` (at, counts, …) goes in front of its history."""
    row = session.get(SourceRow, name)
    if row is None:
        row = SourceRow(name=name, root=name, conditions=[], passes=[])
        session.add(row)
    row.revision_seen = revision
    if not conditions:
        row.revision_applied = revision
    row.conditions = list(conditions)
    row.passes = [outcome, *row.passes][:HISTORY]
    _save_files(session, name, files)


def _save_files(session: Session, name: str, files: Mapping[str, FileState]) -> None:
    known = {
        row.path: row for row in session.scalars(select(SourceFileRow).where(SourceFileRow.source == name))
    }
    for path in known.keys() - files.keys():
        session.delete(known[path])
    for path, state in files.items():
        row = known.get(path)
        if row is None:
            row = SourceFileRow(source=name, path=path)
            session.add(row)
        row.digest, row.error = state.digest, state.error
        if state.good is not None:
            row.last_good = state.good


def condition(kind: str, since: datetime, message: str) -> dict[str, Any]:
    """A condition as it is stored and shown."""
    return {"type": kind, "since": since.isoformat(), "message": message}
