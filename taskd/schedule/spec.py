"""One schedule as declared: the one model for files, the API and the table.

Everything that can be wrong with a declaration is found in one validation: the fields are ordered so that a
check across two of them stands at the later one and sees the earlier in `info.data` (where it is absent when
it was wrong itself). `faults.faults_of` turns the outcome into sentences.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self, get_args
from unicodedata import normalize
from uuid import UUID, uuid5

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from taskd.errors import InvalidSchedule
from taskd.schedule.duration import seconds_of
from taskd.schedule.json_value import flaws
from taskd.schedule.trigger import Crontab, Date, DayMatch, Interval, Trigger
from taskd.schedule.zones import instant_of, zone

ScheduleType = Literal["crontab", "interval", "date"]

NOT_SUPPORTED_YET = frozenset(
    {"catchup", "overlap", "jitter", "dst", "retry", "pause_after_failures", "replaces"}
)
"""Keys of the format that this version refuses; a key leaves this list when its feature arrives."""

_NAMESPACE = UUID("6d1f2c5e-7f0b-5c86-9d0e-7461736b6400")
_TRIGGER_KEYS = {
    "crontab": "crontab",
    "interval": "interval",
    "interval_seconds": "interval",
    "date": "date",
}
_OPTIONS = (
    "queue",
    "exchange",
    "routing_key",
    "priority",
    "headers",
    "expires",
    "time_limit",
    "soft_time_limit",
)
_DATETIME = re.compile(
    r"(?:19[7-9]\d|[2-9]\d{3})-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)


class NotOneTrigger(InvalidSchedule):
    """No trigger, two, or another than `schedule_type` says."""


def uid_of(name: str) -> UUID:
    """The identity that a schedule first declared as `name` has on every machine."""
    return uuid5(_NAMESPACE, normalize("NFC", name))


def _name(name: str) -> str:
    name = normalize("NFC", name)
    if not 1 <= len(name) <= 128:
        raise InvalidSchedule("a name has 1 to 128 characters")
    if "/" in name or name in {".", ".."}:
        raise InvalidSchedule("a name stands in URLs: it can't contain '/' or be '.' or '..'")
    if not name.isprintable() or name != name.strip():
        raise InvalidSchedule("a name is made of printable characters, with no space at its ends")
    if name.isdigit():
        raise InvalidSchedule("a name of digits only looks like an id: add a letter")
    if name == "all":
        raise InvalidSchedule("'all' stands for every schedule: choose another name")
    return name


def _word(text: str) -> str:
    # AMQP's short strings and the table's columns hold no more.
    if not 1 <= len(text.encode("utf-8", "replace")) <= 255:
        raise InvalidSchedule("must be 1 to 255 bytes long")
    if not text.isprintable():
        raise InvalidSchedule("must be printable characters only")
    return text


def _label(key: str) -> str:
    if not 1 <= len(key) <= 63 or not key.isprintable() or ":" in key:
        raise InvalidSchedule("a label's key is 1 to 63 printable characters without ':'")
    return key


def _json(value: object) -> object:
    found = [
        InitErrorDetails(type=PydanticCustomError("json", "{sentence}", {"sentence": s}), loc=at, input=None)
        for at, s in flaws(value)
    ]
    if found:
        raise ValidationError.from_exception_data("json", found)
    return value


@lru_cache(maxsize=1024)  # naming the nearest zone takes milliseconds, and a wrong one tends to be repeated
def _zone_flaw(name: str) -> InvalidSchedule | None:
    try:
        zone(name)
    except InvalidSchedule as flaw:
        return flaw
    return None


def _timezone(name: str) -> str:
    if len(name) > 64:
        raise InvalidSchedule("a time zone is an IANA name such as 'Europe/Berlin'")
    if flaw := _zone_flaw(name):
        raise InvalidSchedule(str(flaw))
    return name


def _instant(value: object, info: ValidationInfo) -> object:
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str) and _DATETIME.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise InvalidSchedule(f"{value!r} is not in the calendar: {error}") from None
    else:
        raise InvalidSchedule("a point in time is written like 2026-12-31T23:30:00, from 1970 on")
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    # An unknown zone has its own error; the reading stays naive and goes no further.
    return instant_of(moment, zone(info.data["timezone"])) if "timezone" in info.data else moment


def _after_start(end: datetime | None, info: ValidationInfo) -> datetime | None:
    start = info.data.get("start_time")
    if end and start and end.tzinfo and start.tzinfo and end < start:
        raise InvalidSchedule(f"is before the start, {start.isoformat()}")
    return end


def _below_hard_limit(soft: int | None, info: ValidationInfo) -> int | None:
    hard = info.data.get("time_limit")
    if soft and hard and soft >= hard:
        raise InvalidSchedule(f"must be shorter than time_limit ({hard}s), which kills the worker process")
    return soft


def _kind(given: Mapping[str, Any]) -> object:
    """The schedule_type that the keys amount to, or the NotOneTrigger that says why there is none."""
    named = given.get("schedule_type")
    keys = [key for key in _TRIGGER_KEYS if key in given]
    if not keys and named == "date" and "start_time" in given:
        return named
    if named not in (None, *get_args(ScheduleType)):
        return named
    kinds = list(dict.fromkeys(_TRIGGER_KEYS[key] for key in keys))
    if not kinds:
        return NotOneTrigger("no trigger: give crontab, interval or date")
    if len(kinds) > 1:
        return NotOneTrigger(f"{len(kinds)} triggers, {' and '.join(keys)}: keep one")
    if named not in (None, kinds[0]):
        return NotOneTrigger(f"schedule_type says {named} but the trigger is {keys[0]}: keep one")
    return kinds[0]


def _raise_flaw(kind: object) -> object:
    if isinstance(kind, NotOneTrigger):
        raise kind
    return kind


def _for_crontabs(match: DayMatch | None, info: ValidationInfo) -> DayMatch | None:
    if match and info.data.get("schedule_type", "crontab") != "crontab":
        raise InvalidSchedule("is for crontabs only")
    return match


Word = Annotated[str, AfterValidator(_word)]
Seconds = Annotated[int, BeforeValidator(seconds_of)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
JsonMap = Annotated[dict[str, Any], BeforeValidator(_json)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ScheduleSpec(BaseModel):
    """A valid declaration, normalised: NFC name, UTC instants, whole seconds, defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_by_name=True)

    name: Annotated[str, AfterValidator(_name)]
    task: Word
    timezone: Annotated[str, AfterValidator(_timezone)]
    schedule_type: Annotated[ScheduleType, BeforeValidator(_raise_flaw)]
    day_match: Annotated[DayMatch | None, AfterValidator(_for_crontabs)] = None
    crontab: Word | None = None
    interval_seconds: Seconds | None = Field(None, validation_alias="interval")
    start_time: Instant | None = Field(None, validation_alias="date")
    end_time: Annotated[Instant | None, AfterValidator(_after_start)] = None
    args: Annotated[list[Any], BeforeValidator(_json)] = []
    kwargs: JsonMap = {}
    description: Annotated[str, BeforeValidator(_json)] | None = None
    enabled: bool = True
    one_off: bool = False
    max_run_count: Count = 0
    queue: Word | None = None
    exchange: Word | None = None
    routing_key: Word | None = None
    priority: Annotated[int, Field(ge=0, le=255)] | None = None
    headers: JsonMap | None = None
    expires: Seconds | None = None
    time_limit: Seconds | None = None
    soft_time_limit: Annotated[Seconds | None, AfterValidator(_below_hard_limit)] = None
    labels: dict[Annotated[str, AfterValidator(_label)], Word] = {}

    @classmethod
    def read(cls, declaration: Mapping[str, Any], timezone: str) -> Self:
        """The spec of a declaration (keys as in files, with `name`); `timezone` is for one that names none.

        Raises pydantic's ValidationError with everything that is wrong; `faults_of` has the sentences.
        """
        return cls.model_validate(dict(declaration), context={"timezone": timezone})

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: object, info: ValidationInfo) -> object:
        if not isinstance(given, dict):
            return given
        keys = {key: value for key, value in given.items() if value is not None}  # null is left out
        if info.context:
            keys.setdefault("timezone", info.context["timezone"])
        return keys | {"schedule_type": _kind(keys)}

    def columns(self) -> dict[str, Any]:
        """The declared columns of `task_scheduler`, with `fingerprint`: equal for equal declarations."""
        columns = self.model_dump(include=_PLAIN_COLUMNS)
        columns["options"] = {
            key: value for key in _OPTIONS if (value := getattr(self, key)) not in (None, {})
        }
        columns["policy"] = {"day_match": "and"} if self.day_match == "and" else {}
        return columns | {"fingerprint": _fingerprint(columns)}

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the normalised declaration, name apart."""
        fingerprint: str = self.columns()["fingerprint"]
        return fingerprint

    @property
    def trigger(self) -> Trigger:
        """When it is due."""
        return trigger_of(self.columns())


_PLAIN_COLUMNS = set(ScheduleSpec.model_fields) - {"name", "day_match", *_OPTIONS}


def declared_keys() -> Iterator[str]:
    """Every key that a declaration may have in this version, its name apart."""
    for field, info in ScheduleSpec.model_fields.items():
        if field != "name":
            yield field
        if isinstance(info.validation_alias, str):
            yield info.validation_alias


def _fingerprint(columns: Mapping[str, Any]) -> str:
    text = json.dumps(columns, sort_keys=True, separators=(",", ":"), default=datetime.isoformat)
    return blake2b(text.encode(), digest_size=32).hexdigest()


def trigger_of(columns: Mapping[Any, Any]) -> Trigger:
    """The trigger of a stored row's declared columns, taken as they are."""
    match columns["schedule_type"]:
        case "crontab":
            day_match = columns["policy"].get("day_match", "or")
            return Crontab(columns["crontab"], columns["timezone"], day_match)
        case "interval":
            return Interval(columns["interval_seconds"], columns["start_time"])
        case "date":
            return Date(columns["start_time"])
        case other:
            raise InvalidSchedule(f"unknown schedule_type {other!r}")


def timing_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether an edit from one set of declared columns to another changes when or how often it is due.

    Then nothing fires for a past in which it wasn't so: the cursor moves up to now. An edit of the arguments,
    the options or the labels is none. Limits of the count belong to it, since raising one revives a schedule.
    """
    limits = ("start_time", "end_time", "one_off", "max_run_count")
    return trigger_of(before) != trigger_of(after) or any(before[key] != after[key] for key in limits)
