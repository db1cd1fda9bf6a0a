"""The document tells all that the API does, and the API does nothing else: tried with what fits it and what doesn't."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from taskd.http import openapi
from taskd.http.described import OPERATIONS
from taskd.http.routes import ROUTES
from taskd.schedule.spec import declared_keys
from taskd.worker import control
from taskd.worker.control import Replies
from tests.unit.http.conftest import RESULTS, SCHEDULERS, Api, make_api, serving

DOCUMENT = openapi.document(ROUTES)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ANSWERED = {503, 504}  # of no server error: what is away is said
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(
    path_regex="/control/control/|/inspect/[b-z]|/v1/events$"  # the last never ends
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """Of a server with some schedules and runs; its workers are not asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "ask", lambda *_: Replies({"w@h": ["pong"]}, {"v@h": "no"}))
        patch.setattr(control, "tell", lambda *_: None)
        patch.setattr("taskd.http.control.ENDING", 0.1)
        api = make_api(tmp_path_factory.mktemp("served"), empty_database)
        api.add("daily", kwargs={"password": "x"})
        api.ask("POST", SCHEDULERS, {"name": "beat", "task": "demo.echo", "interval": "5m"})
        for status in ("SUCCESS", "PENDING", "STARTED"):
            api.ran(status, status=status, worker="w@h", claim="c.1")
        with serving(api) as address:
            yield address


@schema.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_no_answer_is_a_fault_or_undocumented(url: str, case: Any) -> None:
    known = {"pk": ["daily", "beat", "1", "SUCCESS", "é"], "task_id": ["SUCCESS", "PENDING", "STARTED", "4"]}
    for name, values in known.items():
        if name in (case.path_parameters or {}):
            given = case.path_parameters[name]
            case.path_parameters[name] = [*values, given][
                len(repr((case.query, case.body))) % (len(values) + 1)
            ]
    response = case.call(base_url=url)
    checks = [
        check for check in CHECKS if check is not not_a_server_error or response.status_code not in ANSWERED
    ]
    case.validate_response(response, checks=checks)


def test_every_route_is_described_and_no_other(api: Api) -> None:
    assert {route.handler for route in ROUTES} - OPERATIONS.keys() <= {
        undescribed.handler for undescribed in OWN
    }
    for path, methods in DOCUMENT["paths"].items():
        for method, about in methods.items():
            assert api.ask(method.upper(), re.sub(r"{\w+}", "nobody", path)).status != 405
            assert about["summary"], path
            assert {"101", "200", "201", "202"} & about["responses"].keys()
    assert api.get("/api/v1/openapi.json") == DOCUMENT


OWN = [route for route in ROUTES if route.path == "/api/v1/openapi.json"]


def test_names_of_operations_are_unique() -> None:
    names = [about["operationId"] for methods in DOCUMENT["paths"].values() for about in methods.values()]
    assert len(names) == len(set(names)) == len(ROUTES)


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert references <= DOCUMENT["components"]["schemas"].keys()


def test_a_declaration_is_described_with_every_key_that_the_api_takes() -> None:
    told = DOCUMENT["components"]["schemas"]["Declaration"]["properties"].keys()
    assert told == {*declared_keys(), "name"} - {"replaces"}


def test_what_the_columns_are_said_to_be_is_what_comes(api: Api) -> None:
    pk = api.add("daily")
    api.ran("run", schedule_id=pk)
    for name, found in (("Schedule", api.get(SCHEDULERS)), ("Run", api.get(RESULTS))):
        assert found["items"][0].keys() == DOCUMENT["components"]["schemas"][name]["properties"].keys()


def test_the_page_runs_nothing_but_its_own_script(api: Api) -> None:
    told = api.ask("GET", "/api/docs")
    html = told.body.content.decode()
    policy = told.headers["Content-Security-Policy"]
    assert told.headers["Content-Type"] == "text/html; charset=utf-8"
    assert policy.startswith("default-src 'none'; connect-src 'self'")
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert not re.search(r"https?://|innerHTML|\son\w+=", html)
