"""A plan for people and for programs. Values under secret keys are masked in both."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from taskd.reconcile.plan import Delete, Plan, Update
from taskd.redaction import redact
from taskd.source.yamlfile import Declared, Problem

Kind = Literal["create", "update", "delete", "hold"]


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
    for kind, deletes in (("delete", plan.deletes), ("hold", plan.held)):
        for gone in deletes:
            yield Line(kind, gone.row.name, f"was in {gone.row.path}:{gone.row.line}")  # type: ignore[arg-type]


def as_json(plan: Plan, secret_keys: Collection[str]) -> dict[str, Any]:
    """The plan in the shape of `GET /api/v1/sync/plan`."""
    return {
        "digest": plan.digest,
        "creates": [{"name": new.declared.spec.name, **_place(new.declared)} for new in plan.creates],
        "updates": [_update(change, secret_keys) for change in plan.updates],
        "renames": [],
        "deletes": [_gone(gone) for gone in plan.deletes],
        "held": [_gone(gone) for gone in plan.held],
        "conflicts": [_told(problem) for problem in plan.conflicts],
        "errors": [_told(problem) for problem in plan.problems if problem.severity == "error"],
        "warnings": [_told(problem) for problem in plan.problems if problem.severity == "warning"],
        "unchanged": plan.unchanged,
    }


def before_and_after(change: Update, secret_keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changed columns as JSON values, masked, for an event."""
    fields = _fields(change, secret_keys)
    return {key: old for key, (old, _) in fields.items()}, {key: new for key, (_, new) in fields.items()}


def plain(columns: Mapping[str, Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """Declared columns as JSON values, masked."""
    shown = {key: _text(value) for key, value in columns.items() if key != "fingerprint"}
    masked: dict[str, Any] = redact(shown, secret_keys)
    return masked


def _fields(change: Update, secret_keys: Collection[str]) -> dict[str, tuple[Any, Any]]:
    before, after = plain(change.before, secret_keys), plain(change.after, secret_keys)
    return {key: (before[key], after[key]) for key in after}


def _text(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _update(change: Update, secret_keys: Collection[str]) -> dict[str, Any]:
    before, after = before_and_after(change, secret_keys)
    return {
        "name": change.row.name,
        **_place(change.declared),
        "before": before,
        "after": after,
        "drift": change.drift,
    }


def _place(new: Declared) -> dict[str, Any]:
    return {"path": new.path, "line": new.line}


def _gone(gone: Delete) -> dict[str, Any]:
    return {"name": gone.row.name, "path": gone.row.path, "line": gone.row.line}


def _told(problem: Problem) -> dict[str, Any]:
    return {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "name": problem.schedule,
        "message": problem.message,
    }
