"""`/healthz`: does the process turn; `/readyz`: can it do its work, with a reason for each thing that it can't."""

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import literal, select

from taskd.errors import TaskdError
from taskd.http.exchange import Answer, Check, Context, Request

log = logging.getLogger("taskd.http")


def alive(context: Context, _request: Request) -> Answer:
    """200 while everything that must turn does; asks neither database nor broker, whose outage no restart mends."""
    return _report(context.alive)


def ready(context: Context, _request: Request) -> Answer:
    """200 when the database and everything in `ready` is there."""

    def database() -> None:
        context.database.read(lambda session: session.scalar(select(literal(1))))

    return _report({"database": database, **context.ready})


def _report(checks: Mapping[str, Check]) -> Answer:
    reasons = {name: _reason(check) for name, check in checks.items()}
    failed = any(reasons.values())
    shown: dict[str, Any] = {name: reason or "ok" for name, reason in reasons.items()}
    return Answer(503 if failed else 200, {"status": "failing" if failed else "ok", "checks": shown})


def _reason(check: Check) -> str | None:
    try:
        return check()
    except TaskdError as error:
        return str(error)
    except Exception:
        log.exception("a health check failed")
        return "the check itself failed; the log says why"
