"""Every endpoint in one table, and `answer`, which asks it: for the server, and for a command line without one."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from taskd import clock
from taskd.http import (
    audit,
    control,
    declarations,
    docs,
    health,
    live,
    metrics,
    occurrences,
    results,
    schedulers,
    stats,
    sync,
    system,
)
from taskd.http.callers import Scope
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Nothing, query_of
from taskd.http.openapi import document
from taskd.http.problems import Problem, answer_to
from taskd.http.route import Handler, Place, Route

MOST_PARAMETERS = 100

CONTROL: tuple[tuple[str, Scope, Handler], ...] = (
    ("shutdown",             "admin",   control.shutdown),
    ("pool_restart",         "admin",   control.pool_restart),
    ("pool_grow",            "admin",   control.pool_grow),
    ("pool_shrink",          "admin",   control.pool_shrink),
    ("autoscale",            "admin",   control.autoscale),
    ("{task_id}/revoke",     "control", control.revoke),
    ("{task_id}/terminate",  "control", control.terminate),
)  # fmt: skip


def openapi(_context: Context, request: Request) -> Answer:
    """This document."""
    query_of(Nothing, request)
    return Answer(200, _document())


@cache
def _document() -> dict[str, Any]:
    return document(ROUTES)


ROUTES = (
    Route("GET",  "/api/docs",                                 "none",    docs.page),
    Route("GET",  "/api/v1/openapi.json",                      "none",    openapi),
    Route("GET",  "/healthz",                                 "none",    health.alive, on="loop"),
    Route("GET",  "/metrics",                                 "metrics", metrics.metrics),
    Route("GET",  "/readyz",                                  "none",    health.ready),
    Route("GET",  "/api/v1/scheduler/schedulers",              "read",    schedulers.page),
    Route("GET",  "/api/v1/scheduler/schedulers/all",          "read",    schedulers.every),
    Route("POST", "/api/v1/scheduler/schedulers",              "control", declarations.create),
    Route("POST", "/api/v1/scheduler",                         "control", declarations.create),
    Route("DELETE", "/api/v1/scheduler/schedulers",            "control", declarations.delete_many),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}",         "read",    schedulers.one),
    Route("PUT",  "/api/v1/scheduler/schedulers/{pk}",         "control", declarations.replace),
    Route("PATCH", "/api/v1/scheduler/schedulers/{pk}",        "control", declarations.merge),
    Route("DELETE", "/api/v1/scheduler/schedulers/{pk}",       "control", declarations.delete),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/next",    "read",    occurrences.coming),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/why",     "read",    occurrences.why),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/runs",    "read",    schedulers.history),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/events",  "read",    audit.events),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/start",   "control", schedulers.start),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/pause",   "control", schedulers.pause),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/resume",  "control", schedulers.resume),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/trigger", "control", schedulers.trigger),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/adopt",   "control", declarations.adopt),
    Route("GET",  "/api/v1/result/results",                    "read",    results.page),
    Route("GET",  "/api/v1/result/results/{pk}",               "read",    results.one),
    Route("GET",  "/api/v1/result/results/{pk}/log",           "read",    results.log),
    Route("DELETE", "/api/v1/result/results",                  "control", results.delete),
    Route("GET",  "/api/v1/result/stats",                      "read",    stats.page),
    Route("GET",  "/api/v1/events",                            "read",    live.events, on="live"),
    Route("GET",  "/api/v1/ws",                                "read",    live.socket, on="live"),
    Route("GET",  "/api/v1/system",                            "read",    system.system),
    Route("GET",  "/api/v1/sync",                              "read",    sync.status),
    Route("GET",  "/api/v1/sync/history",                      "read",    sync.history),
    Route("GET",  "/api/v1/sync/plan",                         "read",    sync.plan),
    Route("POST", "/api/v1/sync",                              "control", sync.sync),
    Route("POST", "/api/v1/sync/approve",                      "control", sync.approve),
    *(
        Route("GET", f"/api/v1/control/inspect/{what}",        "read",    handler, on="aside")
        for what, handler in control.INSPECT.items()
    ),
    *(
        Route("POST", f"{control_rows}/{path}",                scope,     handler, on="aside")
        for control_rows in ("/api/v1/control", "/api/v1/control/control")  # the seed's tables, read literally
        for path, scope, handler in CONTROL
    ),
)  # fmt: skip


def answer(
    context: Context,
    method: str,
    target: str,
    body: Any = None,
    *,
    actor: str,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to a request; never raises.

    `target` is path and query as they stand in a request line (encoded), `body` parsed JSON or None.
    """
    path, _, query = target.partition("?")
    try:
        route, params = _routed(method, path)
        request = Request(
            method=method,
            path=path,
            now=clock.now(),
            actor=actor,
            params={name: _decoded(value) for name, value in params.items()},
            query=_pairs(query),
            body=body,
            headers={name.lower(): value for name, value in (headers or {}).items()},
        )
        return route.handler(context, request)
    except Exception as error:  # noqa: BLE001 (becomes a problem; what nobody expected is logged there)
        return answer_to(error, path, context.secret_keys)


def scope_of(method: str, target: str) -> Scope:
    """What a caller must be allowed; where there is nothing, as much as for looking around."""
    found = _at(target.partition("?")[0])
    return next((route.scope for route, _ in found if route.method == _plain(method)), "read")


def path_of(target: str) -> str:
    """The path of the route, for counting: bounded, whatever is asked."""
    found = _at(target.partition("?")[0])
    return found[0][0].path if found else "none"


def place_of(method: str, target: str) -> Place:
    """Where it is answered."""
    found = _at(target.partition("?")[0])
    return next((route.on for route, _ in found if route.method == _plain(method)), "loop")


def _routed(method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """The route and its parameters. Raises Problem: 404 for an unknown path, 405 for an unknown method of a known one."""
    found = _at(path)
    if not found:
        raise Problem(404, "there is nothing at this path")
    for route, params in found:
        if route.method == _plain(method):
            return route, params
    allowed = sorted({name for route, _ in found for name in _answered(route.method)})
    raise Problem(
        405, f"{method} isn't possible here: use {' or '.join(allowed)}", {"Allow": ", ".join(allowed)}
    )


@lru_cache(maxsize=256)  # it is asked four times a request
def _at(path: str) -> Sequence[tuple[Route, Mapping[str, str]]]:
    """The routes of a path; `/all` is no {pk}."""
    segments = path.split("/")
    found = [(route, params) for route in ROUTES if (params := route.params(segments)) is not None]
    return [pair for pair in found if not pair[1]] or found


def _plain(method: str) -> str:
    return "GET" if method == "HEAD" else method


def _answered(method: str) -> list[str]:
    return ["GET", "HEAD"] if method == "GET" else [method]


def _decoded(text: str) -> str:
    try:
        return _sane(unquote(text, errors="strict"))
    except UnicodeDecodeError as error:
        raise Problem(400, "the path isn't UTF-8") from error


def _pairs(query: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError as error:
        raise Problem(400, f"the query isn't UTF-8, or has more than {MOST_PARAMETERS} parameters") from error
    return tuple((_sane(name), _sane(value)) for name, value in pairs)


def _sane(text: str) -> str:
    # PostgreSQL keeps no NUL, and no name or id has one.
    if "\0" in text or not text.isprintable():
        raise Problem(400, "a path and a query have no control characters")
    return text
