"""What comes in a request's body: JSON, whole and in time, or one sentence that says what it is instead."""

import asyncio
import json
from typing import Any

from aiohttp.web import BaseRequest, HTTPRequestEntityTooLarge, RequestPayloadError

from taskd.http.problems import Problem

MOST_BYTES = 1024**2  # aiohttp's own default too


async def read(request: BaseRequest, seconds: float) -> bytes:
    """The body, if it comes within `seconds`; raises Problem: 400, 408, 413."""
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError as error:
        raise Problem(408, f"the request did not arrive within {seconds:g} seconds") from error
    except HTTPRequestEntityTooLarge as error:
        raise Problem(413, f"a body has at most {MOST_BYTES} bytes") from error
    except (ConnectionError, RequestPayloadError) as error:
        raise Problem(400, "the body did not arrive whole") from error


def parsed(raw: bytes) -> Any:
    """JSON, or None for no body; raises Problem (400)."""
    if not raw:
        return None
    try:
        return json.loads(raw, parse_constant=_refuse, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(400, f"the body is not JSON: {why}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("a key is given twice")
    return keys
