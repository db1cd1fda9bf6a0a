"""Every answer that the document promises is given: each route with each status, asked as its scope allows.

A pair of route and status that is documented and not given fails here, as does one that is given and not documented.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from taskd.http import (
    audit,
    bodies,
    control,
    declarations,
    docs,
    health,
    live,
    metrics,
    occurrences,
    results,
    routes,
    schedulers,
    stats,
    sync,
    system,
)
from taskd.http.callers import Scope
from taskd.http.route import Handler, Route
from taskd.http.routes import ROUTES
from tests.unit.http.conftest import SCHEDULERS
from tests.unit.http.staged import (
    BEAT,
    ROWS,
    SECRET,
    Site,
    away,
    hurried,
    ill,
    refusing,
    silent,
    slow,
    staged,
    stuck,
    telling,
    usual,
)
from tests.unit.http.test_http_tokens import bearer

DOCUMENT = routes._document()
ALL = {"workers": "all"}
SHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TELLS = {401: "WWW-Authenticate", 405: "Allow", 412: "ETag", 426: "Upgrade"}
"""What an answer says beside its body."""


@dataclass(frozen=True)
class Case:
    """A request, and the status of its answer."""

    status: int
    pk: str = "nobody"
    query: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    when: Callable[[Site, pytest.MonkeyPatch], None] = usual
    method: str | None = None
    scope: Scope | None = None


TAKEN = Case(409, "file's", body=BEAT)
GOOD = (Case(200),)
SAID = (Case(200, body=ALL),)
ENDED = Case(409, "done")

CASES: Mapping[Handler, Sequence[Case]] = {
    health.alive: [Case(200), Case(503, when=ill)],
    health.ready: [Case(200), Case(503, when=away)],
    metrics.metrics: [Case(200), Case(503, when=ill)],
    docs.page: [Case(200)],
    routes.openapi: [Case(200)],
    schedulers.page: [Case(200)],
    schedulers.every: [Case(200)],
    schedulers.one: [Case(200, "ours")],
    declarations.create: [
        Case(201, body={"name": "beat", **BEAT}, headers={"Idempotency-Key": "deploy-7"}),
        Case(409, body={"name": "taken", **BEAT}),
    ],
    declarations.replace: [Case(200, "ours", body=BEAT), TAKEN],
    declarations.merge: [Case(200, "ours", body=BEAT), TAKEN],
    declarations.delete: [Case(200, "ours"), Case(409, "file's")],
    declarations.delete_many: [Case(200, body={"pks": ["nobody", "taken"]})],
    occurrences.coming: [Case(200, "ours")],
    occurrences.why: [Case(200, "ours", query="at=2026-01-01T00:00:00Z")],
    schedulers.history: [Case(200, "ours")],
    audit.events: [Case(200, "ours")],
    schedulers.start: [Case(200, "ours"), Case(409, "file's")],
    schedulers.pause: [Case(200, "ours")],
    schedulers.resume: [Case(200, "ours")],
    schedulers.trigger: [Case(202, "ours", body={"kwargs": {"token": SECRET}}), Case(409, "unsendable")],
    declarations.adopt: [Case(200, "file's"), Case(409, "ours", when=refusing)],
    results.page: [Case(200)],
    results.one: [Case(200, "done")],
    results.log: [Case(200, "done")],
    results.delete: [Case(200, body={"pks": ["nobody"]})],
    stats.page: [Case(200)],
    live.events: [Case(200)],
    live.socket: [Case(101, headers=SHAKE), Case(426)],
    system.system: [Case(200)],
    sync.status: [Case(200)],
    sync.history: [Case(200)],
    sync.plan: [Case(200)],
    sync.sync: [Case(200), Case(202, query="wait=1s", when=slow)],
    sync.approve: [
        Case(200, body={"digest": "5f0c"}),
        Case(202, query="wait=1s", body={"digest": "5f0c"}, when=slow),
        Case(409, body={"digest": "5f0c"}, when=refusing),
    ],
    **dict.fromkeys(control.INSPECT.values(), GOOD),
    **dict.fromkeys([control.shutdown, control.pool_restart, control.pool_grow, control.pool_shrink], SAID),
    control.autoscale: [Case(200, body={**ALL, "min": 1, "max": 2})],
    control.revoke: [Case(200, "waiting"), Case(202, "running"), Case(504, when=stuck), ENDED],
    control.terminate: [Case(200, "waiting"), Case(202, "running"), Case(504, "running", when=silent), ENDED],
}  # fmt: skip
"""What an endpoint answers where all is well, and what only it does."""

BELOW: Mapping[Scope, Scope] = {"read": "metrics", "metrics": "admin", "control": "read", "admin": "control"}


def refusals(route: Route, good: Case) -> Iterator[Case]:
    """What every endpoint may answer that documents it, whatever it is about."""

    def sent(**headers: str) -> dict[str, str]:
        return {**good.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}

    ask = partial(replace, good, pk="nobody")
    yield ask(status=400, query="%ff")
    yield ask(status=401, headers=sent(Authorization="Bearer wrong-wrong-wrong"))
    yield ask(status=403, scope=BELOW.get(route.scope))
    yield ask(status=404)
    yield ask(status=405, method="OPTIONS", scope="read", headers={})
    yield ask(status=408, body=b"", headers=sent(Content_Length="9"), when=hurried)
    yield ask(status=412, pk=good.pk, headers=sent(If_Match='"0.0"'))
    yield ask(status=413, body=b" " * (bodies.MOST_BYTES + 1))
    yield ask(status=415, headers=sent(Content_Type="text/plain"))
    yield ask(status=421, headers=sent(Host="evil.example"))
    yield ask(status=422, query="nonsense=1")
    yield ask(status=503, when=away)
    yield ask(status=504, when=silent)


def documented(route: Route) -> Mapping[str, Any]:
    found: Mapping[str, Any] = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
    return found


def cases(route: Route) -> Iterator[Case]:
    own = CASES[route.handler]
    special = {case.status for case in own}
    yield from own
    for case in refusals(route, own[0]):
        if case.status not in special and str(case.status) in documented(route):
            yield case
    if route.method != "GET":
        yield replace(own[0], status=403, headers={"Origin": "https://evil.example"})


def asked(site: Site, route: Route, case: Case, pk: Any) -> tuple[HTTPResponse, str]:
    """The answer, and its body where it ends."""
    target = f"{route.path.format(pk=pk, task_id=pk)}?{case.query}"
    own = bearer(case.scope or route.scope) if route.scope != "none" else bearer("read")
    headers = {"Host": "127.0.0.1", "Content-Type": "application/json", **own, **case.headers}
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    connection = HTTPConnection(urlsplit(site.url).netloc, timeout=20)
    try:
        connection.request(
            case.method or route.method, target, None if route.method == "GET" else body, headers
        )
        answer = connection.getresponse()
        ends = answer.headers.get_content_type() != "text/event-stream"
        return answer, answer.read().decode() if ends else ""
    finally:
        connection.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Site]:
    """One for all of them: each asks for something of its own."""
    with staged(tmp_path_factory.mktemp("served"), empty_database) as site:
        yield site


@pytest.fixture
def site(served: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """It, for one test."""
    with telling(served, monkeypatch) as own:
        yield own


def test_all_that_is_documented_is_tried_and_nothing_else() -> None:
    tried = {(route.method, route.path): {str(case.status) for case in cases(route)} for route in ROUTES}
    assert tried == {(route.method, route.path): {*documented(route)} for route in ROUTES}


@pytest.mark.parametrize(
    ("route", "case"),
    [
        pytest.param(route, case, id=f"{route.method} {route.path} {case.status}")
        for route in ROUTES
        for case in cases(route)
    ],
)
def test_what_is_documented_is_answered(
    site: Site, route: Route, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    pk = ROWS[case.pk](site.api)
    case.when(site, monkeypatch)
    answer, body = asked(site, route, case, pk)
    assert answer.status == case.status, body
    content = documented(route)[str(case.status)]["content"]
    (kind,) = content
    if case.status != 101:
        assert answer.headers.get_content_type() == kind
    if kind.endswith("json") and body:
        schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(json.loads(body))
    assert TELLS.get(case.status, "Date") in answer.headers
    assert ("Retry-After" in answer.headers) == (case.when is away and kind == "application/problem+json")
    assert SECRET not in body


@pytest.mark.parametrize(
    "trick",
    [
        "..", "..%2f..%2f..%2fhealthz", "%252e%252e%252f", "{pk}/", "{pk}%2fpause", "all", "%61ll", "{pk}%00", "%0d%0aA:%20b",
        "%F0%9F%9A%80", "x" * 4000, "9" * 4000, "1'%20OR%20'1'='1",
    ],
)  # fmt: skip
def test_no_trick_in_a_path_gets_at_anything(site: Site, trick: str) -> None:
    pk = ROWS["ours"](site.api)
    before = site.api.get(f"{SCHEDULERS}/{pk}/events")["total"]
    for route in ROUTES:
        given = replace(route, path=re.sub("{(pk|task_id)}", trick, route.path))
        if "{" in route.path and given.path not in {each.path for each in ROUTES}:
            answer, _ = asked(site, given, CASES[route.handler][0], pk)
            assert answer.status in {400, 404}, given.path
    assert site.api.get(f"{SCHEDULERS}/{pk}/events")["total"] == before
