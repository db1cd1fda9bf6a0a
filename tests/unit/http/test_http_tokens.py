"""With tokens: who may ask over TCP, for what, and under which name it stands in the history."""

import logging
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select

from taskd.config import Settings, load
from taskd.errors import ConfigError
from taskd.http import bodies
from taskd.http.callers import Callers, Scope
from taskd.http.problems import Problem
from taskd.http.routes import ROUTES, scope_of
from taskd.store.tables import EventRow
from taskd.worker import control
from taskd.worker.control import Replies
from tests.unit.http.conftest import SCHEDULERS, Api
from tests.unit.http.test_http_server import served, unix_client

SECRETS = {scope: f"the-{scope}-secret-of-16" for scope in ("read", "control", "admin", "metrics")}
MAY: dict[str, set[Scope]] = {
    "read": {"read"},
    "control": {"read", "control"},
    "admin": {"read", "control", "admin"},
    "metrics": {"metrics"},
}
PAUSE = f"{SCHEDULERS}/daily/pause"


def token(scope: str) -> dict[str, Any]:
    return {"name": f"{scope}er", "scopes": [scope], "sha256": sha256(SECRETS[scope].encode()).hexdigest()}


def bearer(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[scope]}"}


def guarded(api: Api) -> Api:
    """The same API with a token for each scope."""
    http = {"bind": "127.0.0.1:0", "tokens": [token(scope) for scope in SECRETS]}
    return api.having(settings=Settings(state_dir=api.context.settings.state_dir, http=http))


@pytest.fixture
async def client(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    """Of a server with tokens and one schedule."""
    api.add("daily")
    async with served(guarded(api).context) as session:
        yield session


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_needs_its_scope(
    client: aiohttp.ClientSession, route: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: Replies({"w@h": "pong"}))
    target = route.path.replace("{pk}", "nobody").replace("{task_id}", "nobody")

    async def status(headers: dict[str, str]) -> int:
        async with client.request(route.method, target, headers=headers) as answer:
            assert (answer.status == 401) == ("WWW-Authenticate" in answer.headers)
            assert answer.status < 300 or answer.content_type == "application/problem+json"
            return answer.status

    anyone = route.scope == "none"
    assert (await status({}) == 401) is not anyone
    assert (await status({"Authorization": "Bearer wrong-wrong-wrong"}) == 401) is not anyone
    for holder, scopes in MAY.items():
        refused = await status(bearer(holder)) == 403
        assert refused is not (anyone or route.scope in scopes), holder


@pytest.mark.parametrize(
    "sent",
    [
        "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", SECRETS["control"], f"Token {SECRETS['control']}",
        f"Bearer {SECRETS['control']}x", f"Bearer {SECRETS['control'][:-1]}", f"Bearer {'x' * 4000}",
        f"Bearer {SECRETS['control']} {SECRETS['control']}", f"Bearer {sha256(SECRETS['control'].encode()).hexdigest()}",
    ],
)  # fmt: skip
async def test_what_is_not_a_known_token_gets_401(client: aiohttp.ClientSession, api: Api, sent: str) -> None:
    async with client.post(PAUSE, headers={"Authorization": sent}) as answer:
        assert answer.status == 401
    assert api.get(f"{SCHEDULERS}/daily")["paused"] is False


async def test_two_authorizations_are_none(client: aiohttp.ClientSession) -> None:
    twice = [("Authorization", "Bearer wrong-wrong-wrong"), ("Authorization", f"Bearer {SECRETS['read']}")]
    async with client.get(SCHEDULERS, headers=twice) as answer:
        assert answer.status == 401


async def test_a_token_in_the_url_is_no_token(client: aiohttp.ClientSession) -> None:
    for name in ("token", "access_token", "authorization"):
        async with client.get(SCHEDULERS, params={name: SECRETS["admin"]}) as answer:
            assert answer.status == 401


async def test_what_a_token_changed_stands_under_its_name(client: aiohttp.ClientSession, api: Api) -> None:
    async with client.post(PAUSE, headers=bearer("control")) as answer:
        assert (answer.status, (await answer.json())["paused_by"]) == (200, "controler")
    events = api.read(lambda session: [(row.kind, row.actor) for row in session.scalars(select(EventRow))])
    assert events == [("paused", "controler")]


async def test_whoever_may_open_the_socket_needs_no_token(api: Api) -> None:
    api.add("daily")
    context = guarded(api).context
    async with served(context), unix_client(context) as client, client.post(PAUSE) as answer:
        assert answer.status == 200


async def test_a_foreign_page_that_knows_a_token_is_refused_all_the_same(
    client: aiohttp.ClientSession,
) -> None:
    foreign = {**bearer("admin"), "Origin": "https://evil.example"}
    async with client.post(PAUSE, headers=foreign) as answer:
        assert answer.status == 403
    async with client.get(SCHEDULERS, headers={**bearer("admin"), "Host": "evil.example"}) as answer:
        assert answer.status == 421


async def test_no_body_is_read_for_who_may_not_ask(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: Any) -> bytes:
        raise AssertionError("a body was read")

    monkeypatch.setattr(bodies, "read", read)
    for headers in ({}, bearer("read")):
        async with client.post(PAUSE, json={"reason": "x"}, headers=headers) as answer:
            assert answer.status in {401, 403}


async def test_no_secret_is_logged_or_answered(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "a-wrong-secret-0815"
    answers = []
    for headers in ({"Authorization": f"Bearer {wrong}"}, bearer("read"), bearer("control")):
        async with client.post(PAUSE, headers=headers) as answer:
            answers.append(await answer.text())
    for text in (*answers, caplog.text, repr(token_settings())):
        assert not any(secret in text for secret in (wrong, *SECRETS.values()))
        assert sha256(SECRETS["read"].encode()).hexdigest() not in text


def token_settings() -> Settings:
    return Settings(http={"tokens": [token("read")]})


def test_where_there_is_nothing_is_told_only_to_who_may_look() -> None:
    assert scope_of("GET", "/nowhere") == "read"
    assert scope_of("PUT", "/healthz") == "read"
    assert scope_of("HEAD", f"{SCHEDULERS}/x?y=z") == "read"
    assert scope_of("POST", f"{SCHEDULERS}/a%2Fpause/pause") == "control"


# Where secrets come from


def callers(folder: Path, environ: dict[str, str], **source: str) -> Callers:
    (folder / "taskd.yaml").write_text(
        f"http: {{tokens: [{{name: ci, scopes: [read, metrics], {next(iter(source))}: {next(iter(source.values()))}}}]}}"
    )
    return Callers(load(folder / "taskd.yaml", {}).http.tokens, environ)


@pytest.mark.parametrize("source", [{"env": "CI_TOKEN"}, {"file": "ci.token"}])
def test_a_secret_may_come_from_a_variable_or_a_file_beside_the_settings(
    tmp_path: Path, source: dict[str, str]
) -> None:
    (tmp_path / "ci.token").write_text(f"{SECRETS['read']}\n")
    known = callers(tmp_path, {"CI_TOKEN": SECRETS["read"]}, **source)
    caller = known.of_tcp(f"bearer {SECRETS['read']}", "read")
    assert (caller.name, caller.scopes) == ("ci", {"read", "metrics"})
    with pytest.raises(Problem, match="needs a token with the scope control; ci has another"):
        caller.check("control")


@pytest.mark.parametrize(
    ("source", "content", "sentence"),
    [
        ({"env": "NOWHERE"}, "", "ci: the variable NOWHERE is not set for the daemon"),
        ({"file": "nowhere"}, "", r"ci: can't read .*/nowhere: No such file"),
        ({"file": "ci.token"}, "", "the secret of ci has less than 16 characters"),
        ({"file": "ci.token"}, "short\n", "the secret of ci has less than 16 characters"),
        ({"env": "EMPTY"}, "", "the secret of ci has less than 16 characters"),
    ],
)
def test_a_secret_that_is_not_there_keeps_the_daemon_from_starting(
    tmp_path: Path, source: dict[str, str], content: str, sentence: str
) -> None:
    (tmp_path / "ci.token").write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        callers(tmp_path, {"EMPTY": ""}, **source)


async def test_with_tokens_it_may_be_bound_to_every_address(api: Api) -> None:
    http = {"bind": "0.0.0.0:0", "allowed_hosts": ["taskd.example"], "tokens": [token("read")]}
    context = api.having(settings=Settings(state_dir=api.context.settings.state_dir, http=http)).context
    async with served(context) as client:
        port = str(client._base_url).rpartition(":")[2].strip("/")
        there = f"http://127.0.0.1:{port}{SCHEDULERS}"
        for host, status in (("taskd.example", 200), ("elsewhere.example", 421)):
            async with client.get(there, headers={**bearer("read"), "Host": host}) as answer:
                assert answer.status == status


def test_without_tokens_it_is_bound_to_this_machine_only() -> None:
    with pytest.raises(ValueError, match=r"without http\.tokens taskd listens on"):
        Settings(http={"bind": "0.0.0.0:8470"})
