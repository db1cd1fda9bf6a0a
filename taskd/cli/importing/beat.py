"""A Celery application's `beat_schedule`."""

import shelve
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import maybe_schedule

from taskd.celery_app import imported_app
from taskd.cli.importing.entry import Entry, options_of, plain_json, usable_name
from taskd.cli.importing.timing import timing_of
from taskd.errors import ConfigError, InvalidSchedule


def entries_of_app(name: str, state: Path | None) -> Iterator[Entry]:
    """What Beat would fire for the application `name`, named as for `celery -A`; raises ConfigError.

    `state`: the file in which Beat keeps when each entry last ran, usually `celerybeat-schedule`.
    """
    app = imported_app(name)
    try:
        app.loader.import_default_modules()
        app.finalize()
        declared = dict(app.conf.beat_schedule or {})
    except Exception as error:  # its modules and its signal handlers run: anything may come out
        raise ConfigError(f"{name!r} can't be configured: {type(error).__name__}: {error}") from error
    last_runs, taken = _last_runs(state) if state else {}, set[str]()
    for key, given in declared.items():
        yield _entry(app, str(key), given, last_runs.get(str(key)), taken)


def _entry(app: Celery, key: str, given: Any, last_run: datetime | None, taken: set[str]) -> Entry:
    fields = dict(_fields(given))
    name = usable_name(key, taken)
    notes = [f"its name was {key!r}"] if name != key else []
    options, unknown = options_of(fields.get("options") or {})
    try:
        timing, said = timing_of(
            maybe_schedule(fields["schedule"], fields.get("relative", False), app=app), last_run
        )
        keys = {
            "task": fields["task"],
            **timing,
            "args": plain_json(list(fields.get("args") or ()), "args"),
            "kwargs": plain_json(dict(fields.get("kwargs") or {}), "kwargs"),
            **options,
        }
    except InvalidSchedule as error:
        return Entry(name, {"task": fields.get("task")}, tuple(notes), str(error))
    kept = {key: value for key, value in keys.items() if value not in ([], {})}
    return Entry(name, kept, (*notes, *said, *unknown))


def _fields(given: Any) -> Mapping[str, Any]:
    if isinstance(given, ScheduleEntry):
        return {name: getattr(given, name) for name in ("task", "schedule", "args", "kwargs", "options")}
    return given if isinstance(given, Mapping) else {"schedule": None}


def _last_runs(state: Path) -> dict[str, datetime]:
    """When each entry last ran. It is a shelf of Beat's own, so it is unpickled, as Beat would."""
    try:
        with shelve.open(str(state), flag="r") as shelf:  # noqa: S301  the operator names a file of their own
            return {name: entry.last_run_at for name, entry in shelf.get("entries", {}).items()}
    except Exception as error:  # dbm has an exception for each of its kinds, pickle any
        raise ConfigError(f"{state} can't be read as Beat's state: {error}") from error
