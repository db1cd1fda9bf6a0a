"""A plan for people and for programs. Values under secret keys are masked in both."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Literal
from uuid import UUID

from taskd.reconcile.fires import SPAN, Fires, fires_of
from taskd.reconcile.plan import Create, Delete, Move, Plan, Update
from taskd.redaction import redact
from taskd.schedule.spec import ScheduleSpec
from taskd.source.yamlfile import Declared, Problem

_GROUPS = ("options", "policy")  # columns that hold several keys of a file

Kind = Literal["create", "update", "rename", "delete", "hold"]


@dataclass(frozen=True, slots=True)
class Line:
    """One change in words: `detail` says where it stands, or what becomes of which field."""

    kind: Kind
    name: str
    detail: str


def lines(plan: Plan, secret_keys: Collection[str]) -> Iterator[Line]:
    """Each change of a plan."""
    for new in plan.creates:
        yield Line("create", new.declared.spec.name, f"{new.declared.path}:{new.declared.line}")
    for change in plan.updates:
        shown = [f"{key}: {old!r} → {new!r}" for key, (old, new) in _fields(change, secret_keys).items()]
        yield Line("update", change.row.name, ", ".join(shown))
    for change in plan.renames:
        fields = _fields(change, secret_keys)
        shown = [f"{key}: {old!r} → {new!r}" for key, (old, new) in fields.items() if key != "name"]
        yield Line("rename", change.row.name, ", ".join([f"to {change.declared.spec.name}", *shown]))
    for kind, deletes in (("delete", plan.deletes), ("hold", plan.held)):
        for gone in deletes:
            yield Line(kind, gone.row.name, f"was in {gone.row.path}:{gone.row.line}")  # type: ignore[arg-type]


def as_json(
    plan: Plan, secret_keys: Collection[str], now: datetime, counted: Mapping[UUID, int] | None = None
) -> dict[str, Any]:
    """The plan in the shape of `GET /api/v1/sync/plan`, with the fire times that each change gains and loses.

    Only the first changes have `fires` (null where they change none); `fires.left_out` counts the others.
    `counted`: the fires that limits have seen, of `fires.limited`.
    """
    fires = fires_of(plan, now, counted or {})
    changes = {
        "creates": [_create(new, secret_keys) for new in plan.creates],
        "updates": [_update(change, secret_keys) for change in plan.updates],
        "renames": [
            _update(change, secret_keys) | {"to": change.declared.spec.name} for change in plan.renames
        ],
        "deletes": [_gone(gone) for gone in plan.deletes],
        "held": [_gone(gone) for gone in plan.held],
    }
    for change in chain.from_iterable(changes.values()):
        if change["name"] in fires:
            change["fires"] = _fires(fires[change["name"]])
    until, left_out = now + SPAN, sum(map(len, changes.values())) - len(fires)
    return {
        "digest": plan.digest,
        "fires": {"since": now.isoformat(), "until": until.isoformat(), "left_out": left_out},
        **changes,
        "moves": [_move(move) for move in plan.moves if move.row.path != move.declared.path],
        "holding": plan.holding,
        "conflicts": [told(problem) for problem in plan.conflicts],
        "errors": [told(problem) for problem in plan.problems if problem.severity == "error"],
        "warnings": [told(problem) for problem in plan.problems if problem.severity == "warning"],
        "unchanged": plan.unchanged,
    }


def told(problem: Problem) -> dict[str, Any]:
    """A problem as JSON."""
    return {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "name": problem.schedule,
        "message": problem.message,
    }


def before_and_after(change: Update, secret_keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changed columns as JSON values, masked, for an event."""
    fields = _fields(change, secret_keys)
    return {key: old for key, (old, _) in fields.items()}, {key: new for key, (_, new) in fields.items()}


def plain(columns: Mapping[str, Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """Declared columns as JSON values under the keys of schedule files, masked."""
    masked: dict[str, Any] = redact(_keys(columns), secret_keys)
    return masked


def _keys(columns: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: _text(value) for key, value in columns.items() if key not in {"fingerprint", *_GROUPS}}
    for group in _GROUPS:
        found |= columns.get(group) or {}
    return found


def _fields(change: Update, secret_keys: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Before and after of each key that changes; of a secret, that it does."""
    before, after = _keys(change.before), _keys(change.after)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    before, after = redact(before, secret_keys), redact(after, secret_keys)
    return {key: (before.get(key), after.get(key)) for key in changed}


def _text(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _create(new: Create, secret_keys: Collection[str]) -> dict[str, Any]:
    spec = new.declared.spec
    said = {key: value for key, value in _keys(spec.columns()).items() if not _is_default(key, value)}
    return {
        "name": spec.name,
        "owner": "file",
        **_place(new.declared),
        "timezone": spec.timezone,
        "after": redact(said, secret_keys),
    }


def _is_default(key: str, value: object) -> bool:
    if key == "schedule_type":  # follows from the trigger
        return True
    info = ScheduleSpec.model_fields.get(key)
    return info is not None and not info.is_required() and value == info.default


def _update(change: Update, secret_keys: Collection[str]) -> dict[str, Any]:
    before, after = before_and_after(change, secret_keys)
    return {
        "name": change.row.name,
        "owner": change.row.owner,
        **_place(change.declared),
        "timezone": change.declared.spec.timezone,
        "before": before,
        "after": after,
        "drift": change.drift,
    }


def _place(new: Declared) -> dict[str, Any]:
    return {"path": new.path, "line": new.line}


def _gone(gone: Delete) -> dict[str, Any]:
    row = gone.row
    place = {"owner": row.owner, "path": row.path, "line": row.line}
    return {"name": row.name, **place, "timezone": row.columns["timezone"], "why": gone.why}


def _move(move: Move) -> dict[str, Any]:
    row = move.row
    return {"name": row.name, "owner": row.owner, "from": f"{row.path}:{row.line}", **_place(move.declared)}


def _fires(fires: Fires | None) -> dict[str, Any] | None:
    if fires is None:
        return None
    listed = ("first_gained", "first_lost")
    return asdict(fires) | {key: [at.isoformat() for at in getattr(fires, key)] for key in listed}
