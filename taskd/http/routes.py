"""Every endpoint in one table, and `answer`, which asks it: for the server, and for a command line without one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from taskd import clock
from taskd.http import health, occurrences, results, schedulers, sync
from taskd.http.exchange import Answer, Context, Request
from taskd.http.problems import Problem, answer_to

Scope = Literal["none", "read", "control"]
MOST_PARAMETERS = 100


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `quick`: it waits for nothing, so the server's loop answers it even when all threads wait."""

    method: str
    path: str
    scope: Scope
    handler: Callable[[Context, Request], Answer]
    quick: bool = False

    def params(self, segments: list[str]) -> dict[str, str] | None:
        """The path's parameters by name, still encoded; None if the path isn't this one."""
        own = self.path.split("/")
        pairs = list(zip(own, segments, strict=False))
        if len(own) != len(segments) or any(
            name != given if not name.startswith("{") else not given for name, given in pairs
        ):
            return None
        return {name.strip("{}"): given for name, given in pairs if name.startswith("{")}


ROUTES = (
    Route("GET",  "/healthz",                                 "none",    health.alive, quick=True),
    Route("GET",  "/readyz",                                  "none",    health.ready),
    Route("GET",  "/api/v1/scheduler/schedulers",              "read",    schedulers.page),
    Route("GET",  "/api/v1/scheduler/schedulers/all",          "read",    schedulers.every),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}",         "read",    schedulers.one),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/next",    "read",    occurrences.coming),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/why",     "read",    occurrences.why),
    Route("GET",  "/api/v1/scheduler/schedulers/{pk}/runs",    "read",    schedulers.history),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/start",   "control", schedulers.start),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/pause",   "control", schedulers.pause),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/resume",  "control", schedulers.resume),
    Route("POST", "/api/v1/scheduler/schedulers/{pk}/trigger", "control", schedulers.trigger),
    Route("GET",  "/api/v1/result/results",                    "read",    results.page),
    Route("GET",  "/api/v1/result/results/{pk}",               "read",    results.one),
    Route("GET",  "/api/v1/sync/plan",                         "read",    sync.plan),
    Route("POST", "/api/v1/sync",                              "control", sync.sync),
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


def is_quick(method: str, target: str) -> bool:
    """Whether the answer needs no thread."""
    path = target.partition("?")[0]
    return any(route.quick and (route.method, route.path) == (_plain(method), path) for route in ROUTES)


def _routed(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route and its parameters. Raises Problem: 404 for an unknown path, 405 for an unknown method of a known one."""
    segments = path.split("/")
    found = [(route, params) for route in ROUTES if (params := route.params(segments)) is not None]
    if not found:
        raise Problem(404, "there is nothing at this path")
    for route, params in found:
        if route.method == _plain(method):
            return route, params
    allowed = sorted({name for route, _ in found for name in _answered(route.method)})
    raise Problem(
        405, f"{method} isn't possible here: use {' or '.join(allowed)}", {"Allow": ", ".join(allowed)}
    )


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
