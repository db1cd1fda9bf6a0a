"""One entry of an existing setup, in the vocabulary of schedule files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from taskd.errors import InvalidSchedule
from taskd.schedule.duration import shown
from taskd.schedule.faults import faults_of
from taskd.schedule.spec import ScheduleSpec

_OPTIONS = {
    "queue": "queue",
    "exchange": "exchange",
    "routing_key": "routing_key",
    "priority": "priority",
    "headers": "headers",
    "expires": "expires",
    "time_limit": "time_limit",
    "soft_time_limit": "soft_time_limit",
}
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """`keys` as a file has them. `notes`: what changes. `lost`: why it can't be carried over, where it can't."""

    name: str
    keys: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    lost: str | None = None


def checked(entry: Entry, timezone: str) -> Entry:
    """`entry`, or why a file with it would be refused."""
    if entry.lost is not None:
        return entry
    try:
        ScheduleSpec.read({"name": entry.name, **entry.keys}, timezone)
    except ValidationError as error:
        return Entry(entry.name, entry.keys, entry.notes, "; ".join(map(str, faults_of(error))))
    return entry


def options_of(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Celery's options of a message as our keys, and a note on each that has no counterpart."""
    keys: dict[str, Any] = {}
    notes = []
    for name, value in options.items():
        if value is None or value == {}:
            continue
        try:
            keys[_OPTIONS[name]] = _option(name, value)
        except (KeyError, InvalidSchedule):
            notes.append(f"the option {name}={value!r} isn't carried over")
    return keys, notes


def whole_seconds(value: Any) -> int:
    """A count of seconds; raises InvalidSchedule for a fraction, as all of taskd's durations are whole seconds."""
    seconds = float(value)
    if not seconds.is_integer() or seconds < 1:
        raise InvalidSchedule(f"{seconds:g} s: taskd's durations are whole seconds, at least 1")
    return int(seconds)


def plain_json(value: Any, what: str) -> Any:
    """`value` as JSON keeps it; raises InvalidSchedule for what it can't."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidSchedule(f"its {what} can't be written as JSON: {error}") from error


def moment(instant: datetime) -> str:
    """An instant as a file has it, to the second; naive is UTC, as everywhere in Celery."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def usable_name(name: str, taken: set[str]) -> str:
    """`name`, changed as little as it takes to be one of ours and not among `taken`, to which it is added."""
    name = "".join(char if char.isprintable() else " " for char in name).replace("/", "-").strip()
    name = name[:_LONGEST_NAME].strip() or "unnamed"
    if name.isdigit() or name in {"all", ".", ".."}:
        name = f"schedule-{name}"
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name[: _LONGEST_NAME - 6]}-{number}"
    taken.add(found)
    return found


def _option(name: str, value: Any) -> Any:
    if name in {"expires", "time_limit", "soft_time_limit"}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidSchedule("not a count of seconds")
        return shown(whole_seconds(value))
    if name == "queue" and not isinstance(value, str):
        return str(value.name) if hasattr(value, "name") else plain_json(value, name)
    return plain_json(value, name)
