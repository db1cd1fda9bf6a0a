"""The API, the same three ways: at a URL, through the daemon's socket, or in this process on the database."""

import json
import os
import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from taskd.cli.invocation import Invocation
from taskd.config import Settings, masked
from taskd.errors import ConfigError, TaskdError, Unavailable

TIMEOUT = 40.0  # seconds: more than the API takes to answer that something takes too long
PREFIX = "/api/v1"

Reply = tuple[int, bytes]
Way = Callable[[str, str, bytes], Reply]
"""(method, target, body) → (status, body)."""


class Refused(TaskdError):
    """The API's answer is an error; the sentence is the API's own."""


class Client:
    """Asks, and gives back JSON values; what isn't a success raises Refused."""

    def __init__(self, way: Way, *, direct: bool = False) -> None:
        self._way = way
        self.direct = direct
        """Whether it is this process that answers, and no daemon."""

    def get(self, *path: str, **query: Any) -> Any:
        """GET: path segments as they are, without quoting; None in the query is left out."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._ask("GET", f"{_target(path)}?{urlencode(given, doseq=True)}".rstrip("?"), b"")

    def post(self, *path: str, **body: Any) -> Any:
        """POST a JSON object; None in it is left out."""
        given = {key: value for key, value in body.items() if value is not None}
        return self._ask("POST", _target(path), json.dumps(given).encode())

    def _ask(self, method: str, target: str, body: bytes) -> Any:
        status, answer = self._way(method, target, body)
        try:
            document = json.loads(answer)
        except ValueError:
            raise Unavailable(
                f"the answer to {method} {target} isn't taskd's ({status}): check the URL"
            ) from None
        if status >= 400:
            raise Refused(_sentence(document))
        return document


def connect(invocation: Invocation, settings: Settings) -> Client:
    """At `--url` or $TASKD_URL, else where the daemon on this machine answers, else on the database."""
    if url := invocation.url or os.environ.get("TASKD_URL"):
        return Client(at_url(url))
    if answers(settings.socket_path):
        return Client(at_socket(settings.socket_path))
    from taskd.cli.direct import in_process  # noqa: PLC0415  most calls need neither SQLAlchemy nor Celery

    return Client(in_process(settings), direct=True)


def answers(path: Path) -> bool:
    """Whether a daemon listens on the socket at `path`."""
    try:
        _connected(path, TIMEOUT).close()
    except OSError:
        return False
    return True


def at_url(url: str) -> Way:
    """Over HTTP; raises ConfigError for what isn't a URL."""
    shown = masked(url)
    try:
        kind, host, port, base = _address(url)
    except ValueError as error:
        raise ConfigError(f"{shown!r} isn't the address of an API: write http://127.0.0.1:8470") from error
    return lambda *request: _exchange(kind(host, port, timeout=TIMEOUT), shown, base, *request)


def at_socket(path: Path) -> Way:
    """Over HTTP on a Unix socket."""
    return lambda *request: _exchange(_UnixConnection(path), str(path), "", *request)


def _address(url: str) -> tuple[type[HTTPConnection], str, int | None, str]:
    """The kind of connection, host, port and path in front of the API's; raises ValueError."""
    parts = urlsplit(url)
    kind = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
    if kind is None or not parts.hostname:
        raise ValueError(url)
    parts.hostname.encode("idna")
    return kind, parts.hostname, parts.port, parts.path.rstrip("/")


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = _connected(self._path, TIMEOUT)


def _connected(path: Path, timeout: float) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def _exchange(
    connection: HTTPConnection, where: str, base: str, method: str, target: str, body: bytes
) -> Reply:
    headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if body else {})}
    try:
        connection.request(method, base + target, body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(f"no taskd answers at {where}: {why}") from error
    finally:
        connection.close()


def _target(path: tuple[str, ...]) -> str:
    return "/".join((PREFIX, *(quote(part, safe="") for part in path)))


def _sentence(problem: Any) -> str:
    """RFC 9457's `detail`, with what is wrong with each field of a 422."""
    if not isinstance(problem, dict):
        return str(problem)
    sentence = str(problem.get("detail") or problem.get("title") or problem)
    faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problem.get("errors", [])]
    return "; ".join([sentence, *faults])
