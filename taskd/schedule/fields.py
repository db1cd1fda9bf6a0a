"""The fields of a schedule as types: each validator raises InvalidSchedule with a sentence.

A check across two fields stands at the later one and sees the earlier in `info.data`, where it is absent when
it was wrong itself.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any
from unicodedata import normalize
from uuid import UUID, uuid5

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from taskd.errors import InvalidSchedule
from taskd.schedule.crontab import resolve_hash, validate
from taskd.schedule.duration import LONGEST, WRITTEN_DURATION, seconds_of
from taskd.schedule.json_value import flaws
from taskd.schedule.zones import instant_of, zone

EXACT = ConfigDict(extra="forbid")
"""For maps inside a declaration: no key of theirs is ignored."""

_NAMESPACE = UUID("6d1f2c5e-7f0b-5c86-9d0e-7461736b6400")
_DATETIME = re.compile(
    r"(?:19[7-9]\d|2\d{3})-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_MOST_FLAWS = 1000  # of one value: nobody reads more


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


def _of_another(name: str, info: ValidationInfo) -> str:
    if name == info.data.get("name"):
        raise InvalidSchedule("is the schedule's own name: take it out")
    return name


def _label(key: str) -> str:
    if not 1 <= len(key) <= 63 or not key.isprintable() or ":" in key:
        raise InvalidSchedule("a label's key is 1 to 63 printable characters without ':'")
    return key


def _delay(value: object) -> int:
    return 0 if value == "0s" or (type(value) is int and value == 0) else seconds_of(value)


def _json(value: object) -> object:
    found = [
        InitErrorDetails(type=PydanticCustomError("json", "{sentence}", {"sentence": s}), loc=at, input=None)
        for at, s in islice(flaws(value), _MOST_FLAWS)
    ]
    if found:
        raise ValidationError.from_exception_data("json", found)
    return value


def _crontab(text: str, info: ValidationInfo) -> str:
    expression = " ".join(text.split())
    match = info.data.get("day_match", "or")  # absent when it was given and wrong
    # What H becomes depends on the name, and may be what never occurs: H(29-31) in February.
    hashed = resolve_hash(expression, str(uid_of(info.data.get("name", ""))))
    validate(hashed, match or "or", day_match_given=match is not None)
    return expression


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
        raise InvalidSchedule("a point in time is written like 2026-12-31T23:30:00, from 1970 to 2999")
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


def _drawn(**schema: object) -> WithJsonSchema:
    """What editors are told of a type: all that its validator takes, and as little else as a JSON Schema can say."""
    return WithJsonSchema(schema)


_DURATION = {"type": "string", "pattern": WRITTEN_DURATION}
_WRITTEN = f"^{_DATETIME.pattern}$"

Name = Annotated[
    str,
    AfterValidator(_name),
    _drawn(type="string", pattern=r"^(?!\s|all$|\.{1,2}$|[0-9]+$)[^/]{1,128}$"),
]
OtherName = Annotated[Name, AfterValidator(_of_another)]
Word = Annotated[str, AfterValidator(_word), _drawn(type="string", minLength=1, maxLength=255)]
Timezone = Annotated[str, AfterValidator(_timezone), _drawn(type="string", minLength=1, maxLength=64)]
CrontabText = Annotated[
    str,
    AfterValidator(_crontab),
    _drawn(type="string", pattern=r"^\s*(@[A-Za-z]+|\S+(\s+\S+){4,5})\s*$"),
]
Seconds = Annotated[
    int,
    BeforeValidator(seconds_of),
    _drawn(anyOf=[_DURATION, {"type": "integer", "minimum": 1, "maximum": LONGEST}]),
]
Delay = Annotated[
    int,
    BeforeValidator(_delay),
    _drawn(anyOf=[_DURATION, {"type": "integer", "minimum": 0, "maximum": LONGEST}]),
]
SoftLimit = Annotated[Seconds | None, AfterValidator(_below_hard_limit)]
Instant = Annotated[datetime, BeforeValidator(_instant), _drawn(type="string", pattern=_WRITTEN)]
End = Annotated[Instant | None, AfterValidator(_after_start)]
Text = Annotated[str, BeforeValidator(_json)]
JsonList = Annotated[list[Any], BeforeValidator(_json)]
JsonMap = Annotated[dict[str, Any], BeforeValidator(_json)]
LabelKey = Annotated[
    str, AfterValidator(_label), _drawn(type="string", minLength=1, maxLength=63, **{"not": {"pattern": ":"}})
]
Priority = Annotated[int, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
