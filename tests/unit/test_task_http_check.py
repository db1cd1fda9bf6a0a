"""taskd.tasks.http_check, against a server of its own."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from taskd.errors import CheckFailed
from taskd.tasks import http_check
from tests.services import free_port


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  the server looks for that name

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_expected_status_is_a_success(server: str) -> None:
    assert http_check.run(f"{server}/200")["status"] == 200
    assert http_check.run(f"{server}/204", method="head", expected_status=[200, 204])["status"] == 204
    assert http_check.run(f"{server}/404", expected_status=404)["status"] == 404


def test_another_status_fails_and_says_which(server: str) -> None:
    with pytest.raises(CheckFailed, match=r"GET http://.*/503: status 503 after .* s, expected 200"):
        http_check.run(f"{server}/503")


def test_a_redirect_is_an_answer_and_not_followed(server: str) -> None:
    assert http_check.run(f"{server}/302", expected_status=302)["status"] == 302


def test_nobody_there_fails_in_one_sentence() -> None:
    with pytest.raises(CheckFailed, match="Connection refused"):
        http_check.run(f"http://127.0.0.1:{free_port()}/", timeout=2)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/", "example.com"])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(CheckFailed, match="should begin with http"):
        http_check.run(url)
