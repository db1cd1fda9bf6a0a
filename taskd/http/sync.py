"""`/api/v1/sync`: how the sources stand, what a pass would change, making one, approving what it holds."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema
from sqlalchemy.orm import Session

from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Nothing, body_of, query_of
from taskd.http.problems import Problem
from taskd.reconcile.reconciler import Consent
from taskd.schedule.duration import seconds_of
from taskd.store import sources
from taskd.store.conditions import READY

F = TypeVar("F", bound=Callable[..., Mapping[str, Any]])


class WaitQuery(Form):
    wait: Annotated[
        int, BeforeValidator(seconds_of), Field(le=60), WithJsonSchema({"type": "string", "default": "30s"})
    ] = 30


class ApprovalBody(Form):
    digest: Annotated[str, Field(min_length=1, max_length=64)]


def status(context: Context, request: Request) -> Answer:
    """All sources: revision seen and applied, conditions, broken files, the last pass that found anything new."""
    query_of(Nothing, request)

    def read(session: Session) -> list[dict[str, Any]]:
        counts, broken = sources.files_of(session), sources.broken_files(session)
        return [
            {
                "root": row.root,
                "revision_seen": row.revision_seen,
                "revision_applied": row.revision_applied,
                "applied_commit": row.applied_commit,
                "conditions": row.conditions,
                "files": counts.get(row.root, 0),
                "broken": [
                    {"path": path, "error": error} for root, path, error in broken if root == row.root
                ],
                "held": row.passes[0]["held"] if row.passes else 0,
                "last_pass": row.passes[0] if row.passes else None,
            }
            for row in sources.status(session)
        ]

    found = context.database.read(read)
    ready = all(one["type"] == READY for source in found for one in source["conditions"])
    return Answer(200, {"ready": ready and bool(found), "sources": found})


def history(context: Context, request: Request) -> Answer:
    """The last passes that found anything new, of all sources, newest first."""
    query_of(Nothing, request)
    rows = context.database.read(sources.status)
    passes = [{"root": row.root, **one} for row in rows for one in row.passes]
    return Answer(200, {"items": sorted(passes, key=lambda one: str(one["at"]), reverse=True)})


def plan(context: Context, request: Request) -> Answer:
    """What a pass would do now."""
    query_of(Nothing, request)
    return Answer(200, _asked(context.plan)())


def sync(context: Context, request: Request) -> Answer:
    """A pass that begins after this request: 200 with what it did, or 202 where it takes longer than `wait`."""
    wait = query_of(WaitQuery, request).wait
    body_of(Nothing, request)
    return _pass(context, None, wait)


def approve(context: Context, request: Request) -> Answer:
    """Make one pass that deletes what is held under this digest too; 409 where others are held by now."""
    wait = query_of(WaitQuery, request).wait
    digest = body_of(ApprovalBody, request).digest
    return _pass(context, Consent(request.actor, digest=digest), wait)


def adopt(context: Context, actor: str, name: str) -> None:
    """Make one pass that hands a schedule of the API to the file that declares its name, and wait for it."""
    _asked(context.sync)(Consent(actor, adopt=name))


def _pass(context: Context, consent: Consent | None, wait: int) -> Answer:
    one_pass = _asked(context.sync)
    thread = ThreadPoolExecutor(1, "taskd-sync")
    try:
        return Answer(200, thread.submit(one_pass, consent).result(wait))
    except TimeoutError:
        return Answer(202, {"detail": f"the pass takes longer than {wait}s and goes on"})
    finally:
        thread.shutdown(wait=False)


def _asked(reconciler: F | None) -> F:
    if reconciler is None:
        raise Problem(503, "this process doesn't reconcile: ask the daemon that does")
    return reconciler
