"""The policy keys of a declaration: types for the model, and the way into the `policy` column and back.

The column holds only what differs from the default, so that what a file leaves out equals what it spells out.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo

from taskd.errors import InvalidSchedule
from taskd.schedule.crontab import is_wildcard
from taskd.schedule.overlap import Overlap, OverlapPolicy
from taskd.schedule.policy import Catchup, CatchupPolicy
from taskd.schedule.retry import Retry
from taskd.schedule.rules import by_class
from taskd.schedule.trigger import Dst

PARTS = {"catchup": Catchup, "overlap": Overlap, "dst": Dst, "retry": Retry}
"""Keys whose values are maps of their own."""


def _word_or_map(kind: type[Catchup | Overlap]) -> Callable[[object], Any]:
    word, whole = TypeAdapter(get_type_hints(kind)["policy"]), TypeAdapter(kind)

    def read(given: object) -> Any:
        if isinstance(given, dict | kind):
            return whole.validate_python(given)
        return kind(policy=word.validate_python(given))

    return read


def _meaningful_catchup(catchup: Catchup) -> Catchup:
    if catchup.max != Catchup().max and catchup.policy != "all":
        raise InvalidSchedule(f"max is for policy all, and this is {catchup.policy}: take it out")
    return catchup


def _meaningful_overlap(overlap: Overlap) -> Overlap:
    if overlap.policy == "allow" and overlap != Overlap():
        raise InvalidSchedule("policy allow lets every run go: choose skip, buffer, cancel or terminate")
    if overlap.size != Overlap().size and overlap.policy != "buffer":
        raise InvalidSchedule(f"size is for policy buffer, and this is {overlap.policy}: take it out")
    if overlap.stale_after and overlap.policy in {"cancel", "terminate"}:
        raise InvalidSchedule(
            f"stale_after is for skip and buffer: {overlap.policy} waits for nothing, take it out"
        )
    return overlap


def for_crontabs(value: Any, info: ValidationInfo) -> Any:
    """Refuses a key that means nothing for other triggers."""
    if value and info.data.get("schedule_type", "crontab") != "crontab":
        raise InvalidSchedule("is for crontabs only")
    return value


CatchupKey = Annotated[
    Catchup,
    BeforeValidator(_word_or_map(Catchup), json_schema_input_type=CatchupPolicy | Catchup),
    AfterValidator(_meaningful_catchup),
]
OverlapKey = Annotated[
    Overlap,
    BeforeValidator(_word_or_map(Overlap), json_schema_input_type=OverlapPolicy | Overlap),
    AfterValidator(_meaningful_overlap),
]
DstKey = Annotated[
    Dst | None, BeforeValidator(TypeAdapter(Dst).validate_python), AfterValidator(for_crontabs)
]
Failures = Annotated[int, Field(ge=1, le=100)]


def differing(value: Catchup | Overlap | Dst, default: object) -> dict[str, Any]:
    """The fields of a value in which it differs from its default."""
    pairs = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: part for name, part in pairs.items() if part != getattr(default, name)}


def differing_dst(dst: Dst | None, crontab: str | None) -> dict[str, Any]:
    """What `dst` says beyond the class of a valid crontab."""
    if dst is None or crontab is None:
        return {}
    said = differing(dst, by_class(wildcard=is_wildcard(crontab)))
    return {name: part for name, part in said.items() if part is not None}


def catchup_of(policy: Mapping[str, Any]) -> Catchup:
    """The catch-up that a `policy` column says."""
    return Catchup(**policy["catchup"]) if "catchup" in policy else Catchup()


def overlap_of(policy: Mapping[str, Any]) -> Overlap:
    """The overlap that a `policy` column says."""
    return Overlap(**policy["overlap"]) if "overlap" in policy else Overlap()
