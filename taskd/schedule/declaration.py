"""A stored schedule as one would declare it, and edits of that: JSON with the keys of the files."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskd.schedule.duration import shown

_AS_THEY_ARE = ("timezone", "description", "end_time", "args", "kwargs", "labels")
_LIMITS = ("one_off", "max_run_count")
_TRIGGERS = frozenset({"crontab", "interval", "interval_seconds", "date"})


def declaration_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The declared columns of `task_scheduler` as keys of a declaration, `name` apart; defaults are left out."""
    told = {"task": columns["task"]} | _trigger(columns)
    told |= {key: columns[key] for key in (*_AS_THEY_ARE, *_LIMITS) if columns[key]}
    told |= columns["options"] | columns["policy"]
    if not columns["enabled"]:
        told["enabled"] = False
    return {key: _plain(value) for key, value in told.items()}


def merged(declaration: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`declaration` with `patch` applied as RFC 7396 says: null takes a key out, maps are merged, the rest replaced.

    A trigger in the patch takes the place of the one that was there, whatever kind it was.
    """
    given = {key for key, value in patch.items() if value is not None}
    dated = "date" in declaration and "start_time" in given
    replaced = _TRIGGERS if dated or not _TRIGGERS.isdisjoint(given) else frozenset[str]()
    return _merged({key: value for key, value in declaration.items() if key not in replaced}, patch)


def _merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(base)
    for key, value in patch.items():
        if isinstance(value, Mapping):
            below = whole.get(key)
            whole[key] = _merged(below if isinstance(below, Mapping) else {}, value)
        elif value is None:
            whole.pop(key, None)
        else:
            whole[key] = value
    return whole


def _trigger(columns: Mapping[str, Any]) -> dict[str, Any]:
    start = columns["start_time"]
    anchored = {"start_time": start} if start is not None else {}
    match columns["schedule_type"]:
        case "crontab":
            return {"crontab": columns["crontab"], **anchored}
        case "interval":
            return {"interval": shown(columns["interval_seconds"]), **anchored}
        case _:
            return {"date": start}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
