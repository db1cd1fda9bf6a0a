"""What the database says of each source after a pass: revision, conditions, history, and its files' last good texts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from taskd.reconcile.apply import ACTOR
from taskd.reconcile.plan import Plan
from taskd.source.tree import TreeReading
from taskd.source.yamlfile import FileReading
from taskd.store import events, sources
from taskd.store.conditions import DELETION_HELD, STALE, UNREADABLE
from taskd.store.sources import FileState, Stand

Known = dict[str, dict[str, FileState]]
"""By root and path: what the database has of the files. Texts aren't kept, `good` only says whether there is one."""


def record(
    session: Session, readings: Sequence[TreeReading], plan: Plan, known: Known, now: datetime, seconds: float
) -> Known:
    """Write the status of all sources; what the database knows of their files then."""
    sources.forget_others(session, [reading.root for reading in readings])
    then: Known = {}
    for reading in readings:
        before = known.get(reading.root)
        if before is None:
            before = sources.known_files(session, reading.root)
        then[reading.root] = _record_files(session, reading, before)
        stand = stand_of(reading, plan, now, seconds)
        if sources.save(session, stand, now):
            _tell(session, stand, now)
    return then


def _record_files(
    session: Session, reading: TreeReading, before: dict[str, FileState]
) -> dict[str, FileState]:
    states = {path: _state(file) for path, file in reading.files.items()}
    news = {path: state for path, state in states.items() if _is_news(before.get(path), state)}
    # A file that couldn't be listed may be there still, and its last good text will be wanted.
    gone = [] if reading.error else [path for path in before if path not in states]
    sources.save_files(session, reading.root, news, gone)
    unseen = {path: state for path, state in before.items() if path not in states} if reading.error else {}
    return unseen | {path: _known(before.get(path), state) for path, state in states.items()}


def _state(file: FileReading) -> FileState:
    error = next((str(problem) for problem in file.problems if problem.severity == "error"), None)
    good = file.content.decode() if error is None and file.content is not None else None
    return FileState(file.digest, good, error)


def _is_news(before: FileState | None, now: FileState) -> bool:
    lacks = now.good is not None and (before is None or before.good is None)
    return lacks or before is None or (before.digest, before.error) != (now.digest, now.error)


def _known(before: FileState | None, now: FileState) -> FileState:
    has = now.good is not None or (before is not None and before.good is not None)
    return FileState(now.digest, "" if has else None, now.error)


def stand_of(reading: TreeReading, plan: Plan, now: datetime, seconds: float) -> Stand:
    """A source as this pass leaves it."""
    files = reading.files
    errors = [str(problem) for problem in plan.errors if problem.path in files]
    held = [gone for gone in plan.held if _is_below(gone.row.path, reading.root)]
    wrong = {}
    if reading.error:
        wrong[UNREADABLE] = f"{reading.error}: nothing is deleted until it can be read"
    if errors:
        wrong[STALE] = errors[0] if len(errors) == 1 else f"{errors[0]} (and {len(errors) - 1} more)"
    if held:
        wrong[DELETION_HELD] = str(plan.holding)
    outcome: dict[str, Any] = {
        "at": now.isoformat(),
        "seconds": round(seconds, 3),
        "revision": reading.revision.name,
        **(reading.revision.commit or {}),
        "created": sum(new.declared.path in files for new in plan.creates),
        "updated": sum(new.declared.path in files for new in plan.updates),
        "renamed": sum(new.declared.path in files for new in plan.renames),
        "deleted": sum(_is_below(gone.row.path, reading.root) for gone in plan.deletes),
        "held": len(held),
        "conflicts": sum(conflict.path in files for conflict in plan.conflicts),
        "errors": len(errors),
    }
    return Stand(reading.root, reading.revision.name, reading.revision.commit, wrong, outcome)


def _is_below(path: str | None, root: str) -> bool:
    return path is not None and (root in {".", path} or path.startswith(f"{root.rstrip('/')}/"))


def _tell(session: Session, stand: Stand, now: datetime) -> None:
    """One event where the source is at another revision, or stands otherwise than before."""
    kind = "stale" if stand.wrong else "synced"
    detail = {"source": stand.root, **(stand.commit or {}), "conditions": dict(stand.wrong)}
    events.record(session, kind, ACTOR, now, revision=stand.revision, detail=detail)
