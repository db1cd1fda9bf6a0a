"""`/api/v1/sync`: what a pass over the schedule files would change, and making one."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Nothing, body_of, query_of
from taskd.http.problems import Problem
from taskd.schedule.duration import seconds_of


class _Wait(Form):
    wait: Annotated[int, BeforeValidator(seconds_of), Field(le=60)] = 30


def plan(context: Context, request: Request) -> Answer:
    """What a pass would do now."""
    query_of(Nothing, request)
    return Answer(200, _asked(context.plan)())


def sync(context: Context, request: Request) -> Answer:
    """Make one pass and wait for it: 200 with what it did, or 202 where it takes longer than `wait`."""
    wait = query_of(_Wait, request).wait
    body_of(Nothing, request)
    one_pass = _asked(context.sync)
    thread = ThreadPoolExecutor(1, "taskd-sync")
    try:
        return Answer(200, thread.submit(one_pass).result(wait))
    except TimeoutError:
        return Answer(202, {"detail": f"the pass takes longer than {wait}s and goes on"})
    finally:
        thread.shutdown(wait=False)


def _asked(reconciler: Callable[[], Mapping[str, Any]] | None) -> Callable[[], Mapping[str, Any]]:
    if reconciler is None:
        raise Problem(503, "this process doesn't reconcile: ask the daemon that does")
    return reconciler
