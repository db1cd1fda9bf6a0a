"""Errors as answers: RFC 9457 problems, made in one place.

exception                  status
Problem                    its own
NotFound                   404
NotAllowed                 409, with `path` and `line`
pydantic ValidationError   422, with `errors`: [{loc, msg, input}], `input` only where it is no secret
Unavailable, LeaseLost     503, with Retry-After
anything else              500; the daemon's log has the traceback, the client doesn't
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from taskd.errors import LeaseLost, NotAllowed, NotFound, TaskdError, Unavailable
from taskd.http.exchange import Answer
from taskd.redaction import redact
from taskd.schedule.faults import did_you_mean, shown

RETRY_AFTER = 5  # seconds; an outage of the database or the broker is seldom shorter
MOST_ERRORS = 20
log = logging.getLogger("taskd.http")


class Problem(TaskdError):
    """A request that can't be answered as asked: the status, a sentence, and further members of the problem."""

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(sentence)
        self.status, self.headers, self.members = status, headers or {}, members


class InvalidRequest(Exception):
    """A query or body that its model refused."""

    def __init__(
        self, where: str, error: ValidationError, known: Collection[str], not_yet: Collection[str]
    ) -> None:
        super().__init__(where)
        self.where, self.error, self.known, self.not_yet = where, error, known, not_yet


def answer_to(error: Exception, instance: str, secret_keys: Collection[str]) -> Answer:
    """The problem that tells a client of `error`; `instance` is the path that was asked."""
    problem = _problem(error, secret_keys)
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": str(problem),
        "instance": instance,
        **problem.members,
    }
    return Answer(problem.status, body, {"Content-Type": "application/problem+json", **problem.headers})


def _problem(error: Exception, secret_keys: Collection[str]) -> Problem:
    match error:
        case Problem():
            return error
        case InvalidRequest():
            errors = list(_errors(error, secret_keys))
            told = [f"{'.'.join(map(str, wrong['loc'][1:]))} {wrong['msg']}".strip() for wrong in errors]
            return Problem(422, f"the {error.where} isn't valid: {'; '.join(told)}", errors=errors)
        case NotFound():
            return Problem(404, str(error))
        case NotAllowed():
            return Problem(409, str(error), path=error.path, line=error.line)
        case Unavailable() | LeaseLost():
            return Problem(503, str(error), {"Retry-After": str(RETRY_AFTER)})
    log.error("a request failed", exc_info=error)
    return Problem(500, "taskd failed to answer; its log says why")


def _errors(invalid: InvalidRequest, secret_keys: Collection[str]) -> Iterator[dict[str, Any]]:
    for details in invalid.error.errors(include_url=False)[:MOST_ERRORS]:
        loc = [invalid.where, *details["loc"]]
        given = details["input"]
        plain = shown(given) if isinstance(given, list | dict) else given
        place = ".".join(str(part) for part in loc)
        yield {
            "loc": loc,
            "msg": _sentence(details, invalid),
            "input": redact({place: plain}, secret_keys)[place],
        }


def _sentence(details: ErrorDetails, invalid: InvalidRequest) -> str:
    limits = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden" if details["loc"][-1] in invalid.not_yet:
            return "is not supported yet: take it out"
        case "extra_forbidden":
            return f"is unknown{did_you_mean(str(details['loc'][-1]), invalid.known)}"
        case "value_error":
            return str(limits["error"])
        case "literal_error":
            words = [word.strip("' ") for word in limits["expected"].replace(" or ", ",").split(",")]
            return f"must be {limits['expected']}{did_you_mean(details['input'], words)}"
        case _:
            return details["msg"].replace("Input should be", "must be", 1)
