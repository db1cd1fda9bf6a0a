"""What holds for every endpoint: the table, refusals, secrets, absent services."""

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from taskd.errors import BrokerUnavailable, NotAllowed
from taskd.http.routes import ROUTES
from taskd.http.shapes import mask_text
from taskd.reconcile.reconciler import Consent
from taskd.store.database import Database
from tests.unit.http.conftest import RESULTS, SCHEDULERS, Api

SPECIFIED = """
GET    /scheduler/schedulers                   read
GET    /scheduler/schedulers/all               read
GET    /scheduler/schedulers/{pk}              read
POST   /scheduler/schedulers                   control
POST   /scheduler                              control
PUT    /scheduler/schedulers/{pk}              control
PATCH  /scheduler/schedulers/{pk}              control
DELETE /scheduler/schedulers                   control
DELETE /scheduler/schedulers/{pk}              control
POST   /scheduler/schedulers/{pk}/start        control
POST   /scheduler/schedulers/{pk}/pause        control
POST   /scheduler/schedulers/{pk}/resume       control
POST   /scheduler/schedulers/{pk}/trigger      control
GET    /scheduler/schedulers/{pk}/next         read
GET    /scheduler/schedulers/{pk}/runs         read
GET    /scheduler/schedulers/{pk}/events       read
GET    /scheduler/schedulers/{pk}/why          read
GET    /result/results                         read
GET    /result/results/{pk}                    read
GET    /result/results/{pk}/log                read
DELETE /result/results                         control
GET    /result/stats                           read
GET    /control/inspect/active                 read
GET    /control/inspect/scheduled              read
GET    /control/inspect/reserved               read
GET    /control/inspect/registered             read
GET    /control/inspect/revoked                read
GET    /control/inspect/stats                  read
GET    /control/inspect/ping                   read
GET    /control/inspect/active_queues          read
POST   /control/shutdown                       admin
POST   /control/pool_restart                   admin
POST   /control/pool_grow                      admin
POST   /control/pool_shrink                    admin
POST   /control/autoscale                      admin
POST   /control/{task_id}/revoke               control
POST   /control/{task_id}/terminate            control
POST   /control/control/shutdown               admin
POST   /control/control/pool_restart           admin
POST   /control/control/pool_grow              admin
POST   /control/control/pool_shrink            admin
POST   /control/control/autoscale              admin
POST   /control/control/{task_id}/revoke       control
POST   /control/control/{task_id}/terminate    control
GET    /sync                                   read
POST   /sync                                   control
POST   /sync/approve                           control
GET    /sync/plan                              read
GET    /sync/history                           read
GET    /events                                 read
GET    /ws                                     read
GET    /system                                 read
GET    /openapi.json                           none
GET    /docs                                   none
"""
"""The tables of the specification, under /api/v1, the seed's literal paths included."""

BESIDE = {
    ("GET", "/healthz", "none"), ("GET", "/readyz", "none"), ("GET", "/metrics", "metrics"),
    ("POST", "/api/v1/scheduler/schedulers/{pk}/adopt", "control"),
}  # fmt: skip
SECRET = "hunter2"


def test_the_routes_are_those_that_the_specification_lists() -> None:
    lines = [line.split() for line in SPECIFIED.strip().splitlines()]
    promised = {(method, _whole(path), scope) for method, path, scope in lines}
    assert {(route.method, route.path, route.scope) for route in ROUTES} == promised | BESIDE


def _whole(path: str) -> str:
    return "/api/docs" if path == "/docs" else f"/api/v1{path}"


@pytest.mark.parametrize(
    "target",
    [
        f"{SCHEDULERS}/nobody",
        f"{SCHEDULERS}/99",
        f"{SCHEDULERS}/{10**30}",
        f"{SCHEDULERS}/nobody/next",
        f"{SCHEDULERS}/nobody/runs",
        f"{RESULTS}/nobody",
        f"{RESULTS}/{10**30}",
        f"{RESULTS}/{'9' * 5000}",
        "/",
        "//healthz",
        "/healthz/",
        "/api/v1/scheduler/schedulers/",
        "/api/v1/scheduler/../../healthz",
        "/api/v1/scheduler/schedulers/%2e%2e",
        "/api/v1/scheduler/schedulers/a%2Fnext",
        "http://elsewhere/healthz",
    ],
)
def test_what_is_not_there_is_404(api: Api, target: str) -> None:
    told = api.ask("GET", target)
    assert told.status == 404
    assert told.body.keys() == {"type", "title", "status", "detail", "instance"}
    assert told.body["instance"] == target
    assert told.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("change", ["start", "pause", "resume", "trigger"])
def test_nobody_can_be_changed_who_is_not_there(api: Api, change: str) -> None:
    assert api.ask("POST", f"{SCHEDULERS}/nobody/{change}").status == 404
    assert api.ask("POST", f"{SCHEDULERS}/all/{change}").status == 404


def test_another_method_is_405_with_those_that_are_allowed(api: Api) -> None:
    told = api.ask("DELETE", f"{SCHEDULERS}/1/pause")
    assert (told.status, told.headers["Allow"]) == (405, "POST")
    assert api.ask("DELETE", f"{SCHEDULERS}/all").status == 405
    assert api.ask("OPTIONS", f"{SCHEDULERS}/all").headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "target", [f"{SCHEDULERS}/%ff", f"{SCHEDULERS}/%00", f"{RESULTS}?kind=%00", "/readyz?%ff"]
)
def test_what_is_no_text_is_400(api: Api, target: str) -> None:
    assert api.ask("GET", target).status == 400


@pytest.mark.parametrize(
    ("target", "loc", "msg"),
    [
        (f"{SCHEDULERS}?nmae=x", ["query", "nmae"], "is unknown, did you mean 'name'?"),
        (f"{SCHEDULERS}?size=201", ["query", "size"], "must be less than or equal to 200"),
        (f"{SCHEDULERS}?page=0", ["query", "page"], "must be greater than or equal to 1"),
        (f"{SCHEDULERS}?page=1&page=2", ["query", "page"], "must be a valid integer"),
        (f"{SCHEDULERS}?state=pausd", ["query", "state"], "did you mean 'paused'?"),
        (f"{SCHEDULERS}?sort=nme", ["query", "sort"], "did you mean 'name'?"),
        (f"{SCHEDULERS}?label=team", ["query", "label", 0], "must be key:value"),
        (f"{SCHEDULERS}?label=te%22am:x", ["query", "label", 0], "without quotes"),
        (f"{SCHEDULERS}/all?size=5", ["query", "size"], "is unknown"),
        (f"{SCHEDULERS}/daily?x=1", ["query", "x"], "is unknown"),
        (f"{SCHEDULERS}/daily/next?n=0", ["query", "n"], "must be greater"),
        (f"{SCHEDULERS}/daily/next?form=2026", ["query", "form"], "did you mean 'from'?"),
        (f"{SCHEDULERS}/daily/runs?schedule=x", ["query", "schedule"], "is unknown"),
        (f"{RESULTS}?status=SUCCES", ["query", "status", 0], "did you mean 'SUCCESS'?"),
        (f"{RESULTS}?cursor=5", ["query", "cursor"], "must be taken from the `next` or `prev` of a page"),
        (f"{RESULTS}?from=2026-01-01", ["query", "from"], "must be an instant with its offset"),
        (f"{RESULTS}?to=0001-01-01T00:00:00%2B14:00", ["query", "to"], "must be an instant"),
        (f"{RESULTS}/1?x=1", ["query", "x"], "is unknown"),
    ],
)
def test_a_wrong_parameter_is_named_and_not_ignored(api: Api, target: str, loc: list[Any], msg: str) -> None:
    api.add("daily")
    told = api.ask("GET", target)
    assert told.status == 422
    (wrong,) = told.body["errors"]
    assert wrong["loc"] == loc
    assert msg in wrong["msg"]
    assert wrong["msg"] in told.body["detail"]


@pytest.mark.parametrize(
    ("change", "body", "msg"),
    [
        ("pause", {"reasn": "x"}, "is unknown, did you mean 'reason'?"),
        ("pause", {"until": "2027-01-01"}, "must be an instant with its offset"),
        ("resume", {"until": "2027-01-01T00:00:00Z"}, "is unknown"),
        ("resume", {"catch_up": "yes"}, "must be a valid boolean"),
        ("trigger", {"overlap": "skipp"}, "did you mean 'skip'?"),
        ("pause", {"reason": 5}, "must be a valid string"),
        ("pause", {"reason": "\0"}, "NUL"),
        ("pause", ["reason"], "must be a valid dictionary"),
        ("trigger", {"args": {}}, "must be a valid list"),
        ("trigger", {"kwargs": {"n": 2**64}}, "['n']: an integer must fit in 64 bits"),
        ("trigger", {"args": ["\ud800"]}, "[0]: text with"),
    ],
)
def test_a_wrong_body_is_named_and_changes_nothing(api: Api, change: str, body: Any, msg: str) -> None:
    api.add("daily")
    told = api.ask("POST", f"{SCHEDULERS}/daily/{change}", body)
    assert told.status == 422
    assert msg in told.body["errors"][0]["msg"]
    assert api.get(f"{SCHEDULERS}/daily")["version"] == 1
    assert api.get(RESULTS)["total"] == 0


def test_no_answer_shows_a_secret(api: Api) -> None:
    pk = api.add(
        "daily",
        args=[{"db_password": SECRET}],
        kwargs={"api": {"TOKEN": SECRET}},
        headers={"Authorization": SECRET},
    )
    api.ran(
        "run",
        schedule_id=pk,
        args=[{"password": SECRET}],
        kwargs={"secret": SECRET},
        result={"token": [SECRET]},
        progress={"meta": {"api_key": SECRET}},
        detail={"passwd": SECRET},
        traceback=f"connect(host='db', password='{SECRET}')\nValueError: {{'token': '{SECRET}'}}",
        log=f"calling with token={SECRET}, trying again",
    )
    api.ran("text", result=f'{{"secret": "{SECRET}"}}')
    api.ask("POST", f"{SCHEDULERS}/daily/trigger", {"kwargs": {"password": SECRET}})
    targets = [SCHEDULERS, f"{SCHEDULERS}/all", f"{SCHEDULERS}/daily", f"{SCHEDULERS}/daily/runs", RESULTS]
    for target in [*targets, f"{RESULTS}/run", f"{RESULTS}/text"]:
        assert SECRET not in json.dumps(api.get(target)), target
    shown = api.get(f"{RESULTS}/run")
    assert shown["traceback"].startswith("connect(host='db', password=******")
    assert shown["log"] == "calling with token=******, trying again"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=a b", "password=****** b"),
        ("{'db_password': 'a b', 'n': 1}", "{'db_password': ******, 'n': 1}"),
        ('{"TOKEN":"a","n":1}', '{"TOKEN":******,"n":1}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ******"),
        ("f(secret='unclosed", "f(secret=******"),
        ("cannot reach amqp://me:pw@host/", "cannot reach amqp://me:**@host/"),
        ("the token is wrong", "the token is wrong"),
    ],
)
def test_a_text_loses_its_secrets_and_nothing_else(text: str, shown: str) -> None:
    assert mask_text(text, {"password", "token", "secret", "authorization"}) == shown


@pytest.mark.parametrize(
    "text", ["token" * 20_000, "a" * 100_000, 'token="' * 20_000, "token " * 20_000 + " " * 9_999]
)
@pytest.mark.timeout(10)
def test_a_hostile_text_is_masked_in_no_time(text: str) -> None:
    assert len(mask_text(text, {"token"})) > 0


def test_a_refusal_does_not_quote_a_secret(api: Api) -> None:
    api.add("daily")
    told = api.ask("POST", f"{SCHEDULERS}/daily/trigger", {"password": SECRET, "kwargs": [{"token": SECRET}]})
    assert told.status == 422
    assert SECRET not in json.dumps(told.body)
    assert [wrong["input"] for wrong in told.body["errors"]] == ["a list", "******"]


def test_without_its_database_it_says_when_to_come_again(api: Api, tmp_path: Path) -> None:
    away = api.having(database=Database(f"sqlite:///{tmp_path}"))
    told = away.ask("GET", SCHEDULERS)
    assert (told.status, told.headers["Retry-After"]) == (503, "5")
    assert away.ask("GET", "/healthz").status == 200
    ready = away.ask("GET", "/readyz")
    assert ready.status == 503
    assert "can't be used" in ready.body["checks"]["database"]


def test_a_failure_of_ours_is_logged_and_not_shown(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def plan() -> dict[str, Any]:
        raise RuntimeError(SECRET)

    told = api.having(plan=plan).ask("GET", "/api/v1/sync/plan")
    assert told.status == 500
    assert SECRET not in json.dumps(told.body)
    assert SECRET in caplog.text


def test_readiness_names_each_check_and_its_reason(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def broker() -> str | None:
        raise BrokerUnavailable("the broker doesn't answer")

    def lease() -> str | None:
        raise RuntimeError("a bug")

    checks = {
        "sources": lambda: "the first pass isn't over",
        "broker": broker,
        "lease": lease,
        "disk": lambda: None,
    }
    told = api.having(ready=checks).ask("GET", "/readyz")
    assert told.status == 503
    assert told.body == {
        "status": "failing",
        "checks": {
            "database": "ok",
            "sources": "the first pass isn't over",
            "broker": "the broker doesn't answer",
            "lease": "the check itself failed; the log says why",
            "disk": "ok",
        },
    }
    assert "a bug" in caplog.text
    assert api.get("/readyz") == {"status": "ok", "checks": {"database": "ok"}}


def test_a_heart_that_stopped_is_unhealthy(api: Api) -> None:
    assert api.get("/healthz") == {"status": "ok", "checks": {}}
    told = api.having(alive={"dispatcher": lambda: "no tick for 31 s"}).ask("GET", "/healthz")
    assert (told.status, told.body["checks"]) == (503, {"dispatcher": "no tick for 31 s"})


def test_plan_and_sync_are_the_reconcilers(api: Api) -> None:
    reconciling = api.having(plan=lambda: {"creates": []}, sync=lambda _: {"creates": ["a"]})
    assert reconciling.get("/api/v1/sync/plan") == {"creates": []}
    told = reconciling.ask("POST", "/api/v1/sync?wait=10s")
    assert (told.status, told.body) == (200, {"creates": ["a"]})


def test_an_approval_goes_to_the_reconciler_with_who_gave_it(api: Api) -> None:
    given: list[Consent] = []

    def sync(consent: Consent) -> dict[str, Any]:
        if given:
            raise NotAllowed("other deletions are held now")
        given.append(consent)
        return {"deletes": ["a"]}

    approving = api.having(sync=sync)
    told = approving.ask("POST", "/api/v1/sync/approve", {"digest": "5f0c1d2e"})
    assert (told.status, told.body) == (200, {"deletes": ["a"]})
    assert [(consent.digest, consent.adopt, bool(consent.actor)) for consent in given] == [
        ("5f0c1d2e", None, True)
    ]
    stale = approving.ask("POST", "/api/v1/sync/approve", {"digest": "5f0c1d2e"})
    assert (stale.status, stale.body["detail"]) == (409, "other deletions are held now")
    assert approving.ask("POST", "/api/v1/sync/approve", {}).status == 422


def test_a_process_that_does_not_reconcile_says_so(api: Api) -> None:
    for method, target in (("GET", "/api/v1/sync/plan"), ("POST", "/api/v1/sync")):
        told = api.ask(method, target)
        assert told.status == 503
        assert "doesn't reconcile" in told.body["detail"]


@pytest.mark.parametrize("wait", ["0s", "2m", "soon"])
def test_an_impossible_wait_is_refused(api: Api, wait: str) -> None:
    told = api.having(sync=dict).ask("POST", f"/api/v1/sync?wait={wait}")
    assert told.status == 422


def test_a_pass_that_takes_longer_goes_on(api: Api) -> None:
    over, done = threading.Event(), threading.Event()

    def sync(_: object) -> dict[str, Any]:
        over.wait(20)
        done.set()
        return {}

    told = api.having(sync=sync).ask("POST", "/api/v1/sync?wait=1s")
    assert told.status == 202
    over.set()
    assert done.wait(10)


def test_a_client_s_mistakes_leave_no_traces_in_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for target in ("/nowhere", f"{SCHEDULERS}/nobody", f"{RESULTS}?x=1", f"{SCHEDULERS}/%ff"):
            api.ask("GET", target)
    assert caplog.records == []
