"""What a hostile client does to the daemon costs others nothing: they are answered, and every due time fires."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from urllib.error import HTTPError

import pytest

from taskd.store.tables import RunRow
from tests.acceptance.installations import Installation, assert_each_once
from tests.waiting import eventually

SECRET = "an-operators-secret"
TOKENS = [{"name": "op", "scopes": ["control"], "sha256": sha256(SECRET.encode()).hexdigest()}]
SCHEDULE = "/api/v1/scheduler/schedulers/beat"
HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"


def asked(place: Installation, method: str, path: str, secret: str | None = None, **headers: str) -> int:
    """The status of an answer."""
    bearer = {"Authorization": f"Bearer {secret}"} if secret else {}
    request = urllib.request.Request(
        f"http://127.0.0.1:{place.port}{path}", method=method, headers={**bearer, **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as refused:
        with refused:
            return refused.code


@pytest.fixture
def attacked(place: Installation) -> Iterator[Installation]:
    """A daemon with tokens whose connections are all taken: slow heads, slow bodies, bodies that never end."""
    place.beats("beat")
    place.environ["TASKD_HTTP__TOKENS"] = json.dumps(TOKENS)
    place.daemon()
    bearer = f"Authorization: Bearer {SECRET}\r\n"
    slow = [
        "GET /readyz HTTP/1.1\r\nHost: loc",
        f"POST {SCHEDULE}/pause HTTP/1.1\r\n{HEAD}{bearer}Content-Length: 9\r\n\r\n{{",
        f"POST {SCHEDULE}/pause HTTP/1.1\r\n{HEAD}{bearer}Content-Length: 10485760\r\n\r\n" + " " * 60_000,
    ]
    with ExitStack() as open_:
        for n in range(300):
            connection = open_.enter_context(closing(socket.create_connection(("127.0.0.1", place.port), 20)))
            connection.sendall(slow[n % len(slow)].encode())
        yield place


def test_three_hundred_slow_clients_delay_neither_answers_nor_fires(attacked: Installation) -> None:
    assert asked(attacked, "GET", SCHEDULE, SECRET) == 200
    attacked.worker()
    attacked.goes_on("beat")
    assert asked(attacked, "GET", SCHEDULE) == 401
    assert asked(attacked, "POST", f"{SCHEDULE}/pause", SECRET, Origin="https://evil.example") == 403
    assert asked(attacked, "POST", f"{SCHEDULE}/pause", SECRET) == 200
    eventually(lambda: not attacked.any_run(RunRow.status.in_(("PENDING", "STARTED"))), within=20)
    assert assert_each_once(attacked, "beat") > 0
