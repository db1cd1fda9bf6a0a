"""What django-celery-beat and sqlalchemy-celery-beat have in common: a row of periodic tasks → an entry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from taskd.cli.importing.entry import Entry, moment, options_of, plain_json, usable_name
from taskd.cli.importing.timing import FIELDS, Timing, crontab_keys, interval_keys
from taskd.errors import InvalidSchedule

Row = Mapping[str, Any]
_MESSAGE = ("queue", "exchange", "routing_key", "priority")


@dataclass(frozen=True, slots=True)
class Trigger:
    """Which of the tables of schedules a task points to (`interval`, `crontab`, `clocked`, `solar`), and that row."""

    kind: str
    row: Row | None


def entry_of(row: Row, trigger: Trigger, taken: set[str]) -> Entry:
    """The entry for a periodic task."""
    name = usable_name(str(row["name"]), taken)
    notes = [f"its name was {row['name']!r}"] if name != row["name"] else []
    try:
        timing, said = _timing(row, trigger)
        arguments = {"args": _json(row, "args", []), "kwargs": _json(row, "kwargs", {})}
        headers = _json(row, "headers", {})
    except InvalidSchedule as error:
        return Entry(name, {"task": row["task"]}, tuple(notes), str(error))
    message = {key: row[key] for key in _MESSAGE} | {"headers": headers, "expires": row["expire_seconds"]}
    options, unknown = options_of(message)
    keys = {
        "task": row["task"],
        **timing,
        **_window(row, timing),
        **arguments,
        **options,
        "description": (row["description"] or "").strip() or None,
        "one_off": (row["one_off"] and trigger.kind != "clocked") or None,
        "enabled": None if _is_enabled(row) else False,
    }
    kept = {key: value for key, value in keys.items() if value is not None and value not in ([], {})}
    return Entry(name, kept, (*notes, *said, *unknown))


def _timing(row: Row, trigger: Trigger) -> Timing:
    found = trigger.row
    if found is None:
        raise InvalidSchedule("it has no schedule")
    match trigger.kind:
        case "interval":
            every = timedelta(**{str(found["period"]).rpartition(".")[2].lower(): int(found["every"])})
            return interval_keys(every, _phase(row))
        case "crontab":
            fields = {name: found[name] for name in FIELDS}
            return crontab_keys(fields, str(found["timezone"] or "UTC")), ()
        case "clocked":
            return {"date": moment(_aware(found["clocked_time"])), "timezone": "UTC"}, ()
        case "solar":
            raise InvalidSchedule(
                f"{found['event']} at {found['latitude']}, {found['longitude']}: the sun has no counterpart here"
            )
    raise InvalidSchedule(f"{trigger.kind} is a kind of schedule that isn't known here")


def _phase(row: Row) -> datetime | None:
    """What the next interval counts from: the last run, or the start that made the first one due."""
    known = [_aware(row[key]) for key in ("last_run_at", "start_time") if row[key]]
    if not known and row["date_changed"]:
        known = [_aware(row["date_changed"])]
    return max(known, default=None)


def _window(row: Row, timing: Mapping[str, Any]) -> dict[str, str]:
    window = {}
    if row["start_time"] and not {"start_time", "date"} & timing.keys():
        window["start_time"] = moment(_aware(row["start_time"]))
    if row["expires"]:  # they stop at that instant, `end_time` is the last one that counts
        window["end_time"] = moment(_aware(row["expires"]) - timedelta(seconds=1))
    return window


def _is_enabled(row: Row) -> bool:
    """A one-off that has run is over: its own scheduler would disable it at the next look."""
    return bool(row["enabled"]) and not (row["one_off"] and row["total_run_count"])


def _json(row: Row, column: str, default: Any) -> Any:
    try:
        return plain_json(json.loads(row[column] or "null"), column) or default
    except ValueError as error:
        raise InvalidSchedule(f"its {column} aren't JSON: {error}") from error


def _aware(instant: datetime | str) -> datetime:
    moment = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
