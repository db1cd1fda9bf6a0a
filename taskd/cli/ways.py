"""Ways to an API, over HTTP: at a URL or on a Unix socket."""

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from taskd.config import masked
from taskd.errors import ConfigError, Unavailable

TIMEOUT = 40.0  # seconds: more than the API takes to answer that something takes too long

Reply = tuple[int, bytes]
Way = Callable[[str, str, bytes], Reply]
"""(method, target, body) → (status, body)."""


def answers(path: Path) -> bool:
    """Whether a daemon listens on the socket at `path`."""
    try:
        _connected(path, TIMEOUT).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API answers over HTTP: a Way, and a stream that goes on."""

    connect: Callable[[], HTTPConnection]
    shown: str
    base: str = ""
    bearer: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, method: str, target: str, body: bytes) -> Reply:
        """Ask; raises Unavailable."""
        kind = {"Content-Type": "application/json"} if body else {}
        with self._asked(method, target, body, {"Accept": "application/json", **kind}) as response:
            return response.status, response.read()

    @contextmanager
    def stream(self, target: str, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """An answer whose lines are read as they come; raises Unavailable, also later."""
        with self._asked("GET", target, b"", {"Accept": "text/event-stream", **headers}) as response:
            yield response

    @contextmanager
    def _asked(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> Iterator[HTTPResponse]:
        connection = self.connect()
        try:
            connection.request(method, self.base + target, body or None, {**headers, **self.bearer})
            yield connection.getresponse()
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unavailable(f"no taskd answers at {self.shown}: {why}") from error
        finally:
            connection.close()


def at_url(url: str, token: str | None = None) -> Place:
    """Over HTTP, as the bearer of `token`; raises ConfigError for what isn't a URL or can't be a token."""
    shown = masked(url)
    try:
        kind, host, port, base = _address(url)
    except ValueError as error:
        raise ConfigError(f"{shown!r} isn't the address of an API: write http://127.0.0.1:8470") from error
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise ConfigError("$TASKD_TOKEN is not a token: it is empty, or has blanks or line breaks in it")
    bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
    return Place(partial(kind, host, port, timeout=TIMEOUT), shown, base, bearer)


def at_socket(path: Path) -> Place:
    """Over HTTP on a Unix socket."""
    return Place(partial(_UnixConnection, path), str(path))


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
