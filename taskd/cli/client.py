"""The API, the same three ways: at a URL, through the daemon's socket, or in this process on the database."""

import json
import os
from typing import Any
from urllib.parse import quote, urlencode

from taskd.cli.invocation import Invocation
from taskd.cli.ways import Place, Way, answers, at_socket, at_url
from taskd.config import Settings
from taskd.errors import TaskdError, Unavailable

PREFIX = "/api/v1"


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

    def delete(self, *path: str, **body: Any) -> Any:
        """DELETE with a JSON object; None in it is left out."""
        given = {key: value for key, value in body.items() if value is not None}
        return self._ask("DELETE", _target(path), json.dumps(given).encode())

    def _ask(self, method: str, target: str, body: bytes) -> Any:
        status, answer = self._way(method, target, body)
        try:
            document = json.loads(answer)
        except ValueError:
            raise Unavailable(
                f"the answer to {method} {target} isn't taskd's ({status}): check the URL"
            ) from None
        if status >= 400:
            raise Refused(sentence_of(document))
        return document


def place_of(invocation: Invocation, settings: Settings) -> Place | None:
    """`--url` or $TASKD_URL (as the bearer of $TASKD_TOKEN), else where the daemon on this machine answers; or nothing."""
    if url := invocation.url or os.environ.get("TASKD_URL"):
        return at_url(url, os.environ.get("TASKD_TOKEN"))
    return at_socket(settings.socket_path) if answers(settings.socket_path) else None


def connect(invocation: Invocation, settings: Settings) -> Client:
    """At its place, else on the database."""
    if place := place_of(invocation, settings):
        return Client(place)
    from taskd.cli.direct import in_process  # noqa: PLC0415  most calls need neither SQLAlchemy nor Celery

    return Client(in_process(settings), direct=True)


def _target(path: tuple[str, ...]) -> str:
    return "/".join((PREFIX, *(quote(part, safe="") for part in path)))


def sentence_of(problem: Any) -> str:
    """RFC 9457's `detail`, with what is wrong with each field of a 422."""
    if not isinstance(problem, dict):
        return str(problem)
    sentence = str(problem.get("detail") or problem.get("title") or problem)
    faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problem.get("errors", [])]
    return "; ".join([sentence, *faults])
