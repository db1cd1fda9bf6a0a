"""Ways to an API, over HTTP: at a URL or on a Unix socket."""

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
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
