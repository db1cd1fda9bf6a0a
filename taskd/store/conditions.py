"""Conditions of a schedule or a source: what is wrong with it now, since when. Observed, so no version moves with them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.store.tables import ScheduleRow

STALE = "Stale"  # its file is broken: what it last declared goes on
DELETION_HELD = "DeletionHeld"  # no file declares it any more, and nobody has approved that it goes
CONFLICT = "Conflict"  # a file claims a name that isn't its to claim
HEAL_FIGHTING = "HealFighting"  # something changes it as often as it is put right
READY = "Ready"
UNREADABLE = "Unreadable"
UNRECORDED = "Unrecorded"
PUBLISH_FAILING = "PublishFailing"


def condition(kind: str, since: datetime, message: str) -> dict[str, Any]:
    """A condition as it is stored and shown."""
    return {"type": kind, "since": since.isoformat(), "message": message}


def message_of(conditions: Iterable[Mapping[str, Any]], kind: str) -> str | None:
    """What the condition of that kind says; None if there is none."""
    return messages(conditions).get(kind)


def messages(conditions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What each condition says, by type."""
    return {str(found["type"]): str(found["message"]) for found in conditions}


def kept(
    before: Iterable[Mapping[str, Any]], true_now: Mapping[str, str], now: datetime
) -> list[dict[str, Any]]:
    """Conditions from kind and message; one that was true `before` keeps its `since`."""
    since = {found["type"]: found["since"] for found in before}
    return [
        {"type": kind, "since": since.get(kind, now.isoformat()), "message": message}
        for kind, message in true_now.items()
    ]


def put(row: ScheduleRow, kind: str, message: str | None, now: datetime) -> None:
    """Set the condition of that kind, or with None clear it. One that only says something else keeps its `since`."""
    others = [found for found in row.conditions if found["type"] != kind]
    before = next((found for found in row.conditions if found["type"] == kind), None)
    if message is not None:
        others.append({**(before or condition(kind, now, message)), "message": message})
    row.conditions = others


def put_all(
    session: Session, messages: Iterable[tuple[int, str | None]], *, kind: str, now: datetime
) -> None:
    """Set or clear the condition of that kind, by schedule id."""
    by_id = dict(messages)
    query = select(ScheduleRow).where(ScheduleRow.id.in_(by_id)).order_by(ScheduleRow.id)
    for row in session.scalars(query.with_for_update()):
        put(row, kind, by_id[row.id], now)
