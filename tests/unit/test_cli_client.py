"""Addresses, tokens, and what answers that isn't taskd; that each way gives the same answer is test_cli_ways."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest

from taskd import clock
from taskd.cli.direct import in_process
from taskd.cli.ways import Way
from taskd.config import load
from taskd.dispatch.leader import Leadership
from tests.unit.conftest import Workplace

Start = Callable[[str | Path, Way], str]


class UnixServer(HTTPServer):
    """An HTTP server on a path."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Without the names that only a port has."""
        self.socket.bind(self.server_address)


@contextmanager
def serving(address: Any, way: Way, bearer: str | None = None) -> Iterator[int]:
    """`way` behind HTTP for who sends this Authorization; the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            assert not body or self.headers["content-type"] == "application/json"
            assert self.headers["authorization"] == bearer
            status, answer = way(self.command, self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815  the base class's name

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = (HTTPServer if isinstance(address, tuple) else UnixServer)(address, Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port if isinstance(address, tuple) else 0
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def handlers() -> Iterator[Way]:
    """taskd's own, on the database of the current folder."""
    with click.Context(click.Command("test")):
        yield in_process(load(None, {}))


MISTAKES = [["show", "nope/é"], ["trigger", "nope"], ["runs", "nope"]]


@pytest.mark.parametrize("words", MISTAKES)
def test_every_way_tells_the_same_of_a_mistake(stocked: Workplace, words: list[str]) -> None:
    direct = stocked.complaint(*words)
    with handlers() as way, serving(("127.0.0.1", 0), way) as port:
        assert stocked.complaint("--url", f"http://127.0.0.1:{port}", *words) == direct


def test_the_address_may_come_from_the_environment_and_have_a_path(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def way(*request: Any) -> tuple[int, bytes]:
        asked.append(request)
        return 200, b"[]"

    with serving(("127.0.0.1", 0), way) as port:
        monkeypatch.setenv("TASKD_URL", f"http://127.0.0.1:{port}/behind/a/proxy/")
        assert place.json("list") == []
    assert asked == [("GET", "/behind/a/proxy/api/v1/scheduler/schedulers/all", b"")]


def test_the_token_goes_to_the_address_and_to_no_socket(
    stocked: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKD_TOKEN", "a-secret")
    with handlers() as way, serving(("127.0.0.1", 0), way, "Bearer a-secret") as port:
        assert len(stocked.json("list", "--url", f"http://127.0.0.1:{port}")) == 2
    with handlers() as way, serving(".taskd/taskd.sock", way):
        assert len(stocked.json("list")) == 2


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "schlüssel"])
def test_what_can_be_no_token_is_refused_without_telling_it(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("TASKD_TOKEN", token)
    said = place.complaint("list", "--url", "http://127.0.0.1:1")
    assert "$TASKD_TOKEN is not a token" in said
    assert not token or token not in said


@pytest.mark.parametrize(
    ("status", "answer", "complaint"),
    [
        (
            200,
            b"<html>",
            "the answer to GET /api/v1/scheduler/schedulers/all isn't taskd's (200): check the URL",
        ),
        (503, json.dumps({"detail": "the database is away"}).encode(), "the database is away"),
        (
            422,
            json.dumps({"detail": "no", "errors": [{"loc": ["query", "n"], "msg": "too big"}]}).encode(),
            "no; query.n: too big",
        ),
        (500, b'"?"', "?"),
    ],
)
def test_an_error_of_the_api_is_one_sentence(
    place: Workplace, status: int, answer: bytes, complaint: str
) -> None:
    with serving(("127.0.0.1", 0), lambda *_: (status, answer)) as port:
        assert place.complaint("list", "--url", f"http://127.0.0.1:{port}") == f"taskd: {complaint}"


@pytest.mark.parametrize("url", ["localhost:8470", "ftp://x", "http:", "http://x:port", "http://a..b"])
def test_what_is_no_address_is_refused(place: Workplace, url: str) -> None:
    assert "isn't the address of an API" in place.complaint("list", "--url", url)


def test_a_socket_that_a_dead_daemon_left_is_no_way(stocked: Workplace) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(".taskd/taskd.sock")
    assert len(stocked.json("list")) == 2


@pytest.fixture
def other(stocked: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Leadership]:
    """Another process that has the lease; time passes where someone sleeps, and only there."""
    database, seconds = stocked.database(), [0.0]
    lease = Leadership(database, "reconcile", "other:1", 10)
    assert lease.step(0)
    monkeypatch.setattr(clock, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(time, "sleep", lambda span: seconds.append(seconds.pop() + span))
    yield lease
    database.close()


def test_a_pass_waits_for_the_lease_of_a_process_that_died(stocked: Workplace, other: Leadership) -> None:
    assert stocked.taskd("sync").stderr == "no changes; 2 unchanged\n"


def test_a_pass_is_refused_while_another_process_makes_them(
    stocked: Workplace, other: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = time.sleep

    def renewing(span: float) -> None:
        other._database.write(other.fence)
        passing(span)

    monkeypatch.setattr(time, "sleep", renewing)
    assert "another taskd reconciles this database: ask it, with --url" in stocked.complaint("sync")
