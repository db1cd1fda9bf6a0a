"""The JSON Schema (2020-12) of a schedule file, from the model that reads it.

It never refuses what `taskd check` takes; what it can't say (a day that never comes, a zone that there isn't) only
`taskd check` tells. Names of tasks are suggested, and none is refused: workers may know more than we do here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from taskd.schedule.descriptions import KEYS, Described
from taskd.schedule.policy_fields import PARTS
from taskd.schedule.spec import ScheduleSpec, declared_keys
from taskd.source.yamlfile import MAX_SCHEDULES, OWN_ONLY

Schema = dict[str, Any]

_NAMED = {"interval": "interval_seconds", "date": "start_time"}
_TRIGGERS = {
    "crontab": ("crontab", ["string"]),
    "interval": ("interval", ["string", "integer"]),
    "interval_seconds": ("interval", ["string", "integer"]),
    "date": ("date", ["string"]),
    "schedule_type": ("date", ["string"]),  # with start_time, which may be a default
}
_FOR_CRONTABS = ("day_match", "dst")
_NULL = {"type": "null"}


class _Plain(GenerateJsonSchema):
    """Without titles that only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def file_schema(tasks: Iterable[str] = ()) -> Schema:
    """The schema of a whole file, which suggests `tasks`."""
    model = ScheduleSpec.model_json_schema(by_alias=False, schema_generator=_Plain)
    keys = {key: _property(key, model["properties"][_NAMED.get(key, key)]) for key in declared_keys()}
    shared = {key: {"$ref": f"#/$defs/Schedule/properties/{key}"} for key in keys if key not in OWN_ONLY}
    keys["task"] = _with_suggestions(keys["task"], sorted(tasks))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Schedules of taskd",
        "description": "Periodic Celery work: `defaults` for all schedules of the file, and `schedules` by name.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "defaults": {
                "description": "For every schedule of this file that doesn't say otherwise.",
                "anyOf": [{"$ref": "#/$defs/Defaults"}, _NULL],
            },
            "schedules": {
                "description": "Schedules by name: 1 to 128 printable characters without /, unique over all files.",
                "type": ["object", "null"],
                "maxProperties": MAX_SCHEDULES,
                "propertyNames": model["properties"]["name"],
                "additionalProperties": {"$ref": "#/$defs/Schedule"},
            },
        },
        "$defs": {
            "Schedule": _map(keys) | {"required": ["task"], "oneOf": [_fired_by(key) for key in _TRIGGERS]},
            "Defaults": _map(shared),
            **{name: _part(name, schema) for name, schema in model["$defs"].items()},
        },
    }


def _map(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _property(key: str, schema: Schema) -> Schema:
    """A key's schema, described. A key that is null is left out: all but the task may be."""
    default = {"default": schema["default"]} if schema.get("default") is not None else {}
    types = {name: value for name, value in schema.items() if name != "default"}
    if key != "task" and _NULL not in types.get("anyOf", ()):
        types = {"anyOf": [*(types.pop("anyOf", None) or [types]), _NULL]}
    return _described(KEYS[key]) | types | default


def _described(described: Described) -> Schema:
    examples = {"examples": list(described.examples)} if described.examples else {}
    return {"description": described.meaning, **examples}


def _part(name: str, schema: Schema) -> Schema:
    """A value that is a map of its own, each part described."""
    key = next(key for key, kind in PARTS.items() if kind.__name__ == name)
    parts = {part: _described(KEYS[f"{key}.{part}"]) | what for part, what in schema["properties"].items()}
    return _map(
        {part: {k: v for k, v in what.items() if (k, v) != ("default", None)} for part, what in parts.items()}
    )


def _with_suggestions(schema: Schema, tasks: list[str]) -> Schema:
    if not tasks:
        return schema
    described = {key: schema.pop(key) for key in ("description", "examples")}
    return described | {"anyOf": [{"enum": tasks}, schema]}


def _fired_by(key: str) -> Schema:
    """A schedule with this trigger and no other, and no key that means nothing for it."""
    kind, types = _TRIGGERS[key]
    others = dict.fromkeys(_others(key), _NULL)
    said: Schema = {} if key == "schedule_type" else {key: {"type": types}}
    return {"required": [key], "properties": {**said, **others, "schedule_type": _agreeing(key, kind)}}


def _others(key: str) -> Iterator[str]:
    yield from (other for other in _TRIGGERS if other not in (key, "schedule_type"))
    if key != "crontab":
        yield from _FOR_CRONTABS
    if key == "date":
        yield "start_time"


def _agreeing(key: str, kind: str) -> Schema:
    return {"const": kind} if key == "schedule_type" else {"enum": [kind, None]}
