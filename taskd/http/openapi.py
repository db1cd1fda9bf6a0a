"""The OpenAPI 3.1 document: paths from the table of routes, schemas from the models and from the tables' columns."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter

from taskd.http import shapes
from taskd.http.described import OPERATIONS, Declaration, Operation, Patch, Problem, Schema
from taskd.http.route import Route
from taskd.schedule.spec import ScheduleSpec
from taskd.store.tables import Base, EventRow, RunRow, ScheduleRow

REFERENCE = "#/components/schemas/{model}"
DURATION = {"type": ["integer", "string"], "description": "seconds, or 30s, 5m, 1h30m, 2d"}
INSTANT = {"type": "string", "description": "2026-12-31T23:30:00, in `timezone`, or with an offset"}
_DURATIONS = ("interval", "interval_seconds", "jitter", "expires", "time_limit", "soft_time_limit")
_INSTANTS = ("date", "start_time", "end_time")
_WORDS = ("catchup", "overlap")
_COMMON = (400, 405, 421)
_GUARDED = (401, 403, 503)
_WRITING = (403, 408, 413, 415)
_METHODS_THAT_READ = ("GET", "HEAD")

Json = dict[str, Any]


def document(routes: Sequence[Route]) -> Json:
    """All of it; `components.schemas` has every model that a path refers to."""
    schemas = _schemas()
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "taskd",
            "version": version("taskd"),
            "description": "Periodic work for Celery: schedules, runs, workers.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(route) for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "One of http.tokens."}
            },
        },
    }


def _operation(route: Route, schemas: Json) -> Json:
    about = OPERATIONS.get(route.handler, Operation())
    described = cleandoc(route.handler.__doc__ or "")
    told: Json = {
        "operationId": _name(route),
        "tags": [_tag(route)],
        "summary": described.partition("\n")[0].rstrip("."),
        "description": described,
        "parameters": [*_path_parameters(route), *_query_parameters(about, schemas), *_headers(about)],
        "responses": _responses(route, about, schemas),
    }
    if route.scope != "none":
        told["security"] = [{"token": []}, {}]
        told["description"] += f"\n\nScope: {route.scope}."
    if about.body is not None:
        required = about.body in (Declaration, Patch)
        told["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": _body(about.body, schemas)}},
        }
    return told


def _responses(route: Route, about: Operation, schemas: Json) -> Json:
    told: Json = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {about.kind: {"schema": _schema(schema, schemas)}},
        }
        for status, schema in about.answers.items()
    }
    for status in sorted(_errors(route, about) - about.answers.keys()):
        told[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": _schema(Problem, schemas)}},
        }
    return told


def _errors(route: Route, about: Operation) -> set[int]:
    """What it may answer instead: each of them happens."""
    writing = () if route.method in _METHODS_THAT_READ else _WRITING
    guarded = () if route.scope == "none" else _GUARDED
    refusing = () if about.query is None else (422,)
    return {*_COMMON, *guarded, *writing, *refusing, *about.errors}


def _path_parameters(route: Route) -> Iterator[Json]:
    for part in route.path.split("/"):
        if part.startswith("{"):
            what = "its id or name, encoded" if "scheduler" in route.path else "its id or task_id"
            yield {
                "name": part.strip("{}"),
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
                "description": what,
            }


def _query_parameters(about: Operation, schemas: Json) -> Iterator[Json]:
    form = {} if about.query is None else _model(about.query, schemas, keep=False)
    for name, schema in form.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in form.get("required", ()), "schema": schema}


def _headers(about: Operation) -> Iterator[Json]:
    for name in about.headers:
        yield {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}


def _schema(schema: Schema, schemas: Json) -> Json:
    if isinstance(schema, str):
        inner = schema.removeprefix("Page").strip("[]")
        one = {"$ref": REFERENCE.format(model=inner)}
        if schema.startswith("Page"):
            return _page_of(one)
        return {"type": "array", "items": one} if schema.startswith("[") else one
    if issubclass(schema, BaseModel):
        return _model(schema, schemas)
    return TypeAdapter(schema).json_schema()


def _model(model: type[BaseModel], schemas: Json, *, keep: bool = True) -> Json:
    """The model's schema; kept among the components, the reference to it."""
    schema = model.model_json_schema(ref_template=REFERENCE, by_alias=True)
    schemas.update(schema.pop("$defs", {}))
    if not keep:
        return schema
    schemas[model.__name__] = schema
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _body(body: type, schemas: Json) -> Json:
    if body in (Declaration, Patch):
        return {"$ref": REFERENCE.format(model=body.__name__)}
    return _schema(body, schemas)


def _schemas() -> Json:
    schemas: Json = {
        "Schedule": _columns(ScheduleRow, shapes.INTERNAL, {"paused": {"type": "boolean"}}),
        "Run": _columns(RunRow, shapes.INTERNAL, {}),
        "Event": _columns(EventRow, (), {}),
    }
    declaration = _model(ScheduleSpec, schemas, keep=False)
    properties = {**declaration["properties"], "interval_seconds": DURATION, "start_time": INSTANT}
    properties.pop("replaces")
    properties |= dict.fromkeys(_DURATIONS, DURATION) | dict.fromkeys(_INSTANTS, INSTANT)
    for key in _WORDS:
        properties[key] = {"anyOf": [{"type": "string"}, {"$ref": REFERENCE.format(model=key.title())}]}
    schemas["Declaration"] = {
        **declaration,
        "title": "Declaration",
        "description": "A schedule as a file declares it, with its name and one trigger: crontab, interval or date.",
        "properties": properties,
        "required": ["name", "task"],
    }
    nullable = {key: {"anyOf": [schema, {"type": "null"}]} for key, schema in properties.items()}
    schemas["Patch"] = {
        "type": "object",
        "title": "Patch",
        "description": "RFC 7396: null takes a key out, maps are merged, the rest is replaced.",
        "additionalProperties": False,
        "properties": nullable,
    }
    return schemas


def _columns(row: type[Base], internal: Sequence[str] | set[str], more: Mapping[str, Json]) -> Json:
    """A table's columns as JSON; what has none is null."""
    hints = get_type_hints(row)
    kept = [column.key for column in row.__mapper__.column_attrs if column.key not in internal]
    columns = {key: _plain(TypeAdapter(get_args(hints[key])[0]).json_schema()) for key in kept}
    return {
        "type": "object",
        "title": row.__name__.removesuffix("Row"),
        "description": cleandoc(row.__doc__ or ""),
        "properties": {**columns, **more},
        "required": [*columns, *more],
    }


def _plain(schema: Json) -> Json:
    # What is stored as `Any | None` is any JSON.
    return {} if schema.get("anyOf", [None])[0] == {} else schema


def _page_of(item: Json) -> Json:
    properties: Json = {
        "items": {"type": "array", "items": item},
        "total": {"type": "integer"},
        "total_is_estimate": {"type": "boolean"},
        "page": {"type": ["integer", "null"]},
        "size": {"type": "integer"},
        "next": {"type": ["string", "null"]},
        "prev": {"type": ["string", "null"]},
    }
    required = [name for name in properties if name != "total_is_estimate"]
    return {"type": "object", "properties": properties, "required": required}


def _tag(route: Route) -> str:
    parts = route.path.removeprefix("/api/v1").strip("/").split("/")
    return parts[0] if route.path.startswith("/api/v1") else "process"


def _name(route: Route) -> str:
    words = route.path.removeprefix("/api/v1").replace("{", "").replace("}", "").strip("/").replace("/", "_")
    return f"{route.method.lower()}_{words}"
