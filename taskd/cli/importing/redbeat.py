"""The hashes of celery-redbeat: `<prefix><name>` → `definition` and `meta`, as JSON. Nothing is written or deleted."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from redis import Redis
from redis.exceptions import RedisError

from taskd.cli.importing.entry import Entry, options_of, usable_name
from taskd.cli.importing.timing import FIELDS, Timing, crontab_keys, interval_keys
from taskd.config import masked
from taskd.errors import BrokerUnavailable, ConfigError, InvalidSchedule
from taskd.schedule.zones import zone

SECONDS = 5.0  # until a server that doesn't answer counts as away


def entries_of_redbeat(url: str, prefix: str, timezone: str) -> Iterator[Entry]:
    """What redbeat has under `prefix`; its crontabs are read in `timezone`, the application's.

    Raises ConfigError or BrokerUnavailable.
    """
    hashes = dict(_hashes(url, prefix))
    if not hashes:
        raise ConfigError(
            f"{masked(url)} has nothing of redbeat under {prefix!r}: name its redbeat_key_prefix with --prefix"
        )
    taken: set[str] = set()
    for _, (definition, meta) in sorted(hashes.items()):
        yield _entry(definition, meta, timezone, taken)


def _hashes(url: str, prefix: str) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Any]]]]:
    try:
        with Redis.from_url(url, decode_responses=True, socket_timeout=SECONDS) as redis:
            escaped = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix)
            for key in redis.scan_iter(match=f"{escaped}*", _type="hash", count=1000):
                definition, meta = redis.hmget(key, ["definition", "meta"])
                if definition:
                    yield key, (json.loads(definition), json.loads(meta or "{}"))
    except RedisError as error:
        raise BrokerUnavailable(f"{masked(url)} can't be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{masked(url)}: {error}") from error


def _entry(definition: Mapping[str, Any], meta: Mapping[str, Any], timezone: str, taken: set[str]) -> Entry:
    name = usable_name(str(definition["name"]), taken)
    notes = [f"its name was {definition['name']!r}"] if name != definition["name"] else []
    options, unknown = options_of(definition.get("options") or {})
    try:
        timing, said = _timing(definition["schedule"], _datetime(meta.get("last_run_at")), timezone)
    except InvalidSchedule as error:
        return Entry(name, {"task": definition["task"]}, tuple(notes), str(error))
    keys = {
        "task": definition["task"],
        **timing,
        "args": definition.get("args") or [],
        "kwargs": definition.get("kwargs") or {},
        **options,
        "enabled": None if definition.get("enabled", True) else False,
    }
    kept = {key: value for key, value in keys.items() if value is not None and value not in ([], {})}
    return Entry(name, kept, (*notes, *said, *unknown))


def _timing(schedule: Mapping[str, Any], since: datetime | None, timezone: str) -> Timing:
    match schedule.get("__type__"):
        case "interval":
            every = timedelta(seconds=schedule["every"])
            return interval_keys(every, since, zone(timezone) if schedule.get("relative") else None)
        case "crontab":
            return crontab_keys({name: schedule[name] for name in FIELDS}, timezone), ()
        case "rrule":
            raise InvalidSchedule(
                f"a recurrence rule has no counterpart here, write it as crontabs: {json.dumps(schedule)}"
            )
    raise InvalidSchedule(f"{schedule.get('__type__')!r} is a kind of schedule that isn't known here")


def _datetime(given: Mapping[str, Any] | None) -> datetime | None:
    if not given:
        return None
    parts = {key: value for key, value in given.items() if key not in {"__type__", "timezone"}}
    named = given.get("timezone", "UTC")
    tz = ZoneInfo(named) if isinstance(named, str) else timezone(timedelta(seconds=named))
    return datetime(**parts, tzinfo=tz).astimezone(UTC)
