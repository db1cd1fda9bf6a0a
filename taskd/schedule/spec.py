"""One schedule as declared: the one model for files, the API and the table.

Everything that is wrong with a declaration is found in one validation; `faults.faults_of` puts it in sentences.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from taskd.errors import InvalidSchedule
from taskd.schedule.crontab import needs_day_match, resolve_hash
from taskd.schedule.fields import (
    Count,
    CrontabText,
    Delay,
    End,
    Instant,
    JsonList,
    JsonMap,
    LabelKey,
    Name,
    OtherName,
    Priority,
    Seconds,
    SoftLimit,
    Text,
    Timezone,
    Word,
    uid_of,
)
from taskd.schedule.overlap import Overlap
from taskd.schedule.policy import Catchup
from taskd.schedule.policy_fields import (
    CatchupKey,
    DstKey,
    Failures,
    OverlapKey,
    differing,
    differing_dst,
    for_crontabs,
)
from taskd.schedule.retry import RetryKey
from taskd.schedule.trigger import Crontab, Date, DayMatch, Dst, Interval, Trigger

__all__ = [
    "NotOneTrigger",
    "ScheduleSpec",
    "ScheduleType",
    "declared_keys",
    "timing_changed",
    "trigger_of",
    "uid_of",
]

ScheduleType = Literal["crontab", "interval", "date"]

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
    "retry",
)
_POLICY = ("day_match", "catchup", "overlap", "jitter", "dst", "pause_after_failures")


class NotOneTrigger(InvalidSchedule):
    """No trigger, two, or another than `schedule_type` says; `key` is the one to blame, if any."""

    def __init__(self, sentence: str, key: str | None = None) -> None:
        super().__init__(sentence)
        self.key = key


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
        second = next(key for key in keys if _TRIGGER_KEYS[key] == kinds[1])
        return NotOneTrigger(f"is a second trigger beside {keys[0]}: keep one", second)
    if named not in (None, kinds[0]):
        return NotOneTrigger(f"says {named} but the trigger is {keys[0]}: keep one", "schedule_type")
    return kinds[0]


def _raise_flaw(kind: object) -> object:
    if isinstance(kind, NotOneTrigger):
        raise kind
    return kind


class ScheduleSpec(BaseModel):
    """A valid declaration, normalised: NFC name, UTC instants, whole seconds, defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_by_name=True)

    name: Name
    task: Word
    timezone: Timezone
    schedule_type: Annotated[ScheduleType, BeforeValidator(_raise_flaw)]
    day_match: Annotated[DayMatch | None, AfterValidator(for_crontabs)] = None
    crontab: CrontabText | None = None
    interval_seconds: Seconds | None = Field(None, validation_alias="interval")
    start_time: Instant | None = Field(None, validation_alias="date")
    end_time: End = None
    args: JsonList = []
    kwargs: JsonMap = {}
    description: Text | None = None
    enabled: bool = True
    one_off: bool = False
    max_run_count: Count = 0
    catchup: CatchupKey = Catchup()
    overlap: OverlapKey = Overlap()
    jitter: Delay = 0
    dst: DstKey = None
    pause_after_failures: Failures | None = None
    queue: Word | None = None
    exchange: Word | None = None
    routing_key: Word | None = None
    priority: Priority | None = None
    headers: JsonMap | None = None
    expires: Seconds | None = None
    time_limit: Seconds | None = None
    soft_time_limit: SoftLimit = None
    retry: RetryKey | None = None
    replaces: OtherName | None = None
    labels: dict[LabelKey, Word] = {}

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
        """The declared columns of `task_scheduler`, with `fingerprint`: equal for equal declarations.

        The same dict each time, not to be changed: every pass compares it with the table.
        """
        return self._columns

    @cached_property
    def _columns(self) -> dict[str, Any]:
        columns = self.model_dump(include=_PLAIN_COLUMNS)
        columns["options"] = {
            key: value for key in _OPTIONS if (value := getattr(self, key)) not in (None, {})
        }
        if self.retry is not None:
            columns["options"]["retry"] = self.retry.column()
        columns["policy"] = self._policy()
        return columns | {"fingerprint": _fingerprint(columns)}

    def _policy(self) -> dict[str, Any]:
        # "or" is the default, kept only where it has to be said, so that a stored schedule is valid when read back.
        match = self.day_match
        said = match == "and" or (match == "or" and needs_day_match(self.crontab or ""))
        policy = {
            "day_match": match if said else None,
            "catchup": differing(self.catchup, Catchup()),
            "overlap": differing(self.overlap, Overlap()),
            "jitter": self.jitter,
            "dst": differing_dst(self.dst, self.crontab),
            "pause_after_failures": self.pause_after_failures,
        }
        return {key: value for key, value in policy.items() if value}

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the normalised declaration, `name` and `replaces` apart."""
        fingerprint: str = self.columns()["fingerprint"]
        return fingerprint

    @property
    def trigger(self) -> Trigger:
        """When it is due, under its own name's identity."""
        return trigger_of({**self.columns(), "uid": uid_of(self.name)})


_PLAIN_COLUMNS = set(ScheduleSpec.model_fields) - {"name", "replaces", *_POLICY, *_OPTIONS}


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
    """The trigger of a stored row (its `uid` and declared columns), taken as they are.

    Without `uid` an H of a crontab stays as it is: good for comparing, not for evaluating.
    """
    match columns["schedule_type"]:
        case "crontab":
            uid = columns.get("uid")
            expression = columns["crontab"] if uid is None else _resolved(columns["crontab"], str(uid))
            policy = columns["policy"]
            dst = Dst(**policy["dst"]) if "dst" in policy else Dst()
            return Crontab(expression, columns["timezone"], policy.get("day_match", "or"), dst)
        case "interval":
            return Interval(columns["interval_seconds"], columns["start_time"])
        case "date":
            return Date(columns["start_time"])
        case other:
            raise InvalidSchedule(f"unknown schedule_type {other!r}")


_resolved = lru_cache(maxsize=16384)(resolve_hash)


def timing_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether an edit from one set of declared columns to another changes when or how often it is due.

    Then nothing fires for a past in which it wasn't so: the cursor moves up to now. An edit of the arguments,
    the options or the labels is none, nor is one of the jitter: it moves decisions, not occurrences, and what waits
    for its decision isn't lost. The limits of the count belong to it, since raising one revives a schedule.
    """
    limits = ("start_time", "end_time", "one_off", "max_run_count")
    triggers = [trigger_of({**columns, "uid": None}) for columns in (before, after)]
    return triggers[0] != triggers[1] or any(before[key] != after[key] for key in limits)
