"""`/api/docs`: a page that shows the OpenAPI document, from this package's own assets."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from taskd.http.exchange import Answer, Context, Raw, Request
from taskd.http.forms import Nothing, query_of


def page(_context: Context, request: Request) -> Answer:
    """This page."""
    query_of(Nothing, request)
    html = _html()
    return Answer(200, Raw(html.encode()), {"Content-Type": "text/html; charset=utf-8", **_policy(html)})


@cache
def _html() -> str:
    return files("taskd.http").joinpath("assets/docs.html").read_text(encoding="utf-8")


@cache
def _policy(html: str) -> dict[str, str]:
    """Nothing runs in it but its own script, and it asks nobody but this server."""
    kinds = {kind: _digest(html, tag) for kind, tag in (("script-src", "script"), ("style-src", "style"))}
    own = "; ".join(f"{kind} '{digest}'" for kind, digest in kinds.items())
    rules = f"default-src 'none'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; {own}"
    return {"Content-Security-Policy": rules, "Referrer-Policy": "no-referrer"}


def _digest(html: str, tag: str) -> str:
    inner = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    assert inner is not None
    return f"sha256-{b64encode(sha256(inner[1].encode()).digest()).decode()}"
