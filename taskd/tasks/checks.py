"""Look from outside whether something works."""

import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from celery import shared_task

from taskd.errors import CheckFailed
from taskd.worker.task import BaseTask


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: it has its status, and leads nowhere by itself."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


@shared_task(base=BaseTask, name="taskd.tasks.http_check")
def http_check(
    url: str, method: str = "GET", expected_status: int | list[int] = 200, timeout: float = 10.0
) -> dict[str, Any]:
    """Ask `url` (http or https) and compare the status; `timeout` in seconds. Returns status and seconds.

    Raises CheckFailed: what was asked, and what came instead. It isn't retried, as every look counts.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise CheckFailed(f"url: {url!r} should begin with http:// or https://")
    expected = [expected_status] if isinstance(expected_status, int) else expected_status
    began = time.monotonic()
    status = _status(url, method.upper(), timeout)
    seconds = round(time.monotonic() - began, 3)
    if status not in expected:
        raise CheckFailed(
            f"{method.upper()} {url}: status {status} after {seconds} s, expected {expected_status}"
        )
    return {"status": status, "seconds": seconds}


def _status(url: str, method: str, timeout: float) -> int:
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "taskd"})  # noqa: S310  checked above
    try:
        with _opener.open(request, timeout=timeout) as response:
            return int(response.status)
    except urllib.error.HTTPError as answer:
        answer.close()
        return answer.code
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CheckFailed(f"{method} {url}: {reason}") from error
