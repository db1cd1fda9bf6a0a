"""A plan in the shape of `GET /api/v1/sync/plan`, for people: what becomes of each schedule, and of its fire times."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.text import Text

from taskd.cli import output
from taskd.errors import InvalidSchedule
from taskd.schedule.zones import zone

KINDS = ("creates", "updates", "renames", "deletes", "held")
"""What a plan holds of changes, and of those that wait for approval."""

_WORDS = dict(zip(KINDS, ("create", "update", "rename", "delete", "hold"), strict=True))
_INDENT = " " * 7
_GAIN, _LOSS, _CHANGE = "green", "red", "yellow"


def errors_of(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What someone has to mend."""
    return [*plan["conflicts"], *plan["errors"]]


def lines(plan: Mapping[str, Any]) -> Iterator[Text]:
    """Each change with its fields and fire times, then what is wrong."""
    for kind in KINDS:
        for each in plan[kind]:
            yield _head(_WORDS[kind], each["name"], _place(kind, each))
            yield from (Text(_INDENT).append_text(line) for line in details(each))
    for each in plan["moves"]:
        yield _head("move", each["name"], f"from {each['from']} to {each['path']}:{each['line']}")
    yield from problems("error", errors_of(plan))
    yield from problems("warning", plan["warnings"])


def details(change: Mapping[str, Any]) -> Iterator[Text]:
    """Its fields before and after, then its fire times gained and lost."""
    if "after" in change:
        yield from _fields(change.get("before", {}), change["after"])
    if fires := change.get("fires"):
        yield from _fires(fires, _zone(change["timezone"]))


def summary(plan: Mapping[str, Any]) -> str:
    """One sentence: how many of each kind."""
    counts = [_counted(kind, len(plan[kind])) for kind in (*KINDS, "moves") if plan[kind]]
    left_out = plan["fires"]["left_out"]
    more = f"; fire times of {left_out} more changes aren't shown" if left_out else ""
    held = f"\n{plan['holding']}" if plan["holding"] else ""
    return f"{', '.join(counts) or 'no changes'}; {plan['unchanged']} unchanged{more}{held}"


def _counted(kind: str, count: int) -> str:
    return f"{count} held" if kind == "held" else output.counted(count, kind.removesuffix("s"))


def problems(severity: str, found: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """One line each: `path:line:column: error: name: sentence`."""
    for each in found:
        name = f"{each['name']}: " if each["name"] is not None else ""
        place = f"{each['path']}:{each['line']}:{each['column']}: " if each["path"] is not None else ""
        yield Text(place).append(output.word(f"{severity}: ")).append(f"{name}{each['message']}")


def _head(kind: str, name: str, detail: str) -> Text:
    return Text().append(output.word(f"{kind:7}")).append(name, style="bold").append(f"  {detail}")


def _place(kind: str, each: Mapping[str, Any]) -> str:
    """Whose it is, and where."""
    verb = {"deletes": "was ", "held": "kept for now, was "}.get(kind, "")
    place = f"{each['path']}:{each['line']}"
    whose = f"in file {place}" if each["owner"] == "file" else f"in {place}, until now the API's"
    drift = ", changed behind taskd's back" if each.get("drift") else ""
    return f"{verb}{whose}{drift}"


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Text]:
    """One line for each value that differs, however deep in a map it stands."""
    for key in {**before, **after}:
        old, new = (dict(_leaves({key: side.get(key)})) for side in (before, after))
        differing = [leaf for leaf in {**old, **new} if old.get(leaf) != new.get(leaf)]
        yield from (_field(leaf, old.get(leaf), new.get(leaf)) for leaf in differing)
        if not differing:
            yield Text(f"~ {key}: a masked value changes", _CHANGE)


def _field(key: str, old: Any, new: Any) -> Text:
    if old is None:
        return Text(f"+ {key}: {output.short(new)}", _GAIN)
    if new is None:
        return Text(f"- {key}: {output.short(old)}", _LOSS)
    line = Text().append(f"~ {key}: ", _CHANGE).append(output.short(old), _LOSS)
    return line.append(" → ").append(output.short(new), _GAIN)


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{above}{key}.")
        elif inner is not None:
            yield f"{above}{key}", inner


def _fires(fires: Mapping[str, Any], tz: ZoneInfo) -> Iterator[Text]:
    """How many fire times the week to come has, and which come and go."""
    yield Text(f"fires in 7 days: {fires['before']} → {fires['after']}")
    for sign, what, style in (("+", "gained", _GAIN), ("-", "lost", _LOSS)):
        if fires[what]:
            shown = _instants(fires[f"first_{what}"], fires[what], tz)
            yield Text(f"{sign} {fires[what]} {what}: {shown}", style)


def _zone(name: str) -> ZoneInfo:
    """The zone in which a schedule's times are shown; UTC where this machine doesn't know it."""
    try:
        return zone(name)
    except InvalidSchedule:
        return zone("UTC")


def _instants(listed: Sequence[str], count: int, tz: ZoneInfo) -> str:
    shown = [f"{datetime.fromisoformat(at).astimezone(tz):%a} {output.clock(at, tz)}" for at in listed]
    more = f" and {count - len(listed)} more" if count > len(listed) else ""
    return ", ".join(shown) + more
