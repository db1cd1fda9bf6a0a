"""Answers → bytes: JSON at once, or a list part by part; the live stream is sent by `streaming`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp.web import Response, StreamResponse

from taskd.http.exchange import Answer, Live, Parts, Raw

_FIXED = {
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is sent: `raw`, or where `parts` are given, these one after the other."""

    status: int
    headers: Mapping[str, str]
    raw: bytes = b""
    parts: Iterator[bytes] | None = None
    live: Live | None = None

    def response(self) -> StreamResponse:
        """For aiohttp; `parts` are the sender's business."""
        if self.parts is None:
            return Response(status=self.status, body=self.raw, headers=self.headers)
        return StreamResponse(status=self.status, headers=self.headers)


def encoded(told: Answer) -> Encoded:
    """The bytes of an answer."""
    headers = {**_FIXED, **told.headers}
    if isinstance(told.body, Parts):
        return Encoded(told.status, headers, parts=_array(told.body))
    if isinstance(told.body, Live):
        return Encoded(told.status, headers, live=told.body)
    raw = told.body.content if isinstance(told.body, Raw) else _json(told.body)
    return Encoded(told.status, headers, raw)


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # it takes no number beyond 64 bits, and none of the below
        # What isn't UTF-8 in a path has become half a surrogate pair, which this writes as JSON does: \udcff.
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace")


def _array(parts: Parts) -> Iterator[bytes]:
    opening = b"["
    for items in filter(None, parts.lists):
        yield opening + b",".join(map(_json, items))
        opening = b","
    yield b"[]" if opening == b"[" else b"]"
