"""`/api/v1/control`: what the workers do, and what they are told to do; each worker's own reply.

`workers` in a body are names or "all", never all by omission. Who doesn't answer is named, as is who refuses.
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from taskd.errors import NotAllowed
from taskd.http import shapes
from taskd.http.exchange import Answer, Context, Request
from taskd.http.forms import Form, Json, Nothing, Repeatable, body_of, query_of
from taskd.http.problems import Problem
from taskd.store import events, revocations, workers
from taskd.store.revocations import Running
from taskd.worker import control
from taskd.worker.control import Replies

CANNOT_TERMINATE = frozenset({"solo", "thread"})
PATIENCE = 1.0  # seconds in which workers answer, unless the request says otherwise
ENDING = 5.0  # seconds in which a run that was terminated should have its row
LOOK_EVERY = 0.1
WHAT = ("active", "scheduled", "reserved", "registered", "revoked", "stats", "ping", "active_queues")
Worker = Annotated[str, Field(min_length=1, max_length=255), Json]


class InspectQuery(Form):
    worker: Annotated[list[Worker], Repeatable] = Field([])
    timeout: float = Field(PATIENCE, ge=0.1, le=10)


class WorkersBody(Form):
    workers: Literal["all"] | Annotated[list[Worker], Field(min_length=1, max_length=1000)]

    @property
    def named(self) -> list[str] | None:
        """None for all."""
        return None if self.workers == "all" else list(dict.fromkeys(self.workers))


class ResizeBody(WorkersBody):
    n: int = Field(1, ge=1, le=1000)


class ScaleBody(WorkersBody):
    min: int = Field(ge=0, le=1000)
    max: int = Field(ge=1, le=1000)

    @model_validator(mode="after")
    def _in_order(self) -> "ScaleBody":
        if self.min > self.max:
            raise ValueError("min is above max")
        return self


class TerminateBody(Form):
    signal: Literal["TERM", "KILL", "INT", "QUIT", "HUP", "ABRT", "USR1", "USR2"] = "TERM"


def inspect(what: str) -> Callable[[Context, Request], Answer]:
    """The handler of `/inspect/{what}`: each worker's answer."""

    def handler(context: Context, request: Request) -> Answer:
        form = query_of(InspectQuery, request)
        named = form.worker or None
        return _replies(context, control.ask(context.app, what, {}, named, form.timeout), named)

    handler.__doc__ = f"What each worker says to `{what}`."
    return handler


INSPECT = {what: inspect(what) for what in WHAT}


def shutdown(context: Context, request: Request) -> Answer:
    """Let workers end what they run, and stop. Those that answered a ping just before were told."""
    form = _told(context, request, WorkersBody)
    there = control.ask(context.app, "ping", {}, form.named, PATIENCE)
    control.tell(context.app, "shutdown", {}, form.named)
    return _replies(context, Replies(dict.fromkeys(there.said, "was told to shut down")), form.named)


def pool_restart(context: Context, request: Request) -> Answer:
    """Start the pool's processes anew; refused unless Celery's worker_pool_restarts is set."""
    form = _told(context, request, WorkersBody)
    return _commanded(context, "pool_restart", {}, form)


def pool_grow(context: Context, request: Request) -> Answer:
    """Add `n` processes or threads."""
    form = _told(context, request, ResizeBody)
    return _commanded(context, "pool_grow", {"n": form.n}, form)


def pool_shrink(context: Context, request: Request) -> Answer:
    """Take `n` processes or threads away."""
    form = _told(context, request, ResizeBody)
    return _commanded(context, "pool_shrink", {"n": form.n}, form)


def autoscale(context: Context, request: Request) -> Answer:
    """Set the bounds of a worker that was started with --autoscale."""
    form = _told(context, request, ScaleBody)
    return _commanded(context, "autoscale", {"max": form.max, "min": form.min}, form)


def revoke(context: Context, request: Request) -> Answer:
    """Keep a run from starting: REVOKED at once. One that runs goes on (202), but isn't tried again."""
    query_of(Nothing, request)
    body_of(Nothing, request)
    running = _revoked(context, request)
    if running is None:
        return _as_it_is(context, request, 200)
    _told_to(context, running, terminate=False)
    return _as_it_is(context, request, 202)


def terminate(context: Context, request: Request) -> Answer:
    """End a run, also while it runs: 200 once its row says REVOKED, 202 where that takes longer."""
    query_of(Nothing, request)
    signal = body_of(TerminateBody, request).signal
    running = _revoked(context, request, check=_check_pool)
    if running is None:
        return _as_it_is(context, request, 200)
    answered = _told_to(context, running, terminate=True, signal=signal)
    ended = _ends(context, running)
    if not (answered or ended):
        raise Problem(504, f"{running.worker}, which runs it, does not answer")
    return _as_it_is(context, request, 200 if ended else 202)


def _told(context: Context, request: Request, form: type[Any]) -> Any:
    """The body, once what is about to be done stands in the history."""
    query_of(Nothing, request)
    told = body_of(form, request)
    kind = f"workers_{request.path.rpartition('/')[2]}"
    detail = told.model_dump()
    context.database.write(
        lambda session: events.record(session, kind, request.actor, request.now, detail=detail)
    )
    return told


def _commanded(context: Context, command: str, arguments: Mapping[str, Any], form: WorkersBody) -> Answer:
    return _replies(context, control.ask(context.app, command, arguments, form.named, PATIENCE), form.named)


def _replies(context: Context, replies: Replies, named: Collection[str] | None) -> Answer:
    """What was said, by whom; raises Problem (504) where nobody said anything."""
    expected = named if named is not None else context.database.read(workers.names)
    silent = sorted(set(expected) - replies.answered)
    if not replies.answered:
        raise Problem(504, "no worker answered in time", silent=silent)
    said, refused = (shapes.masked(part, context.secret_keys) for part in (replies.said, replies.refused))
    return Answer(200, {"workers": said, "refused": refused, "silent": silent})


def _revoked(
    context: Context, request: Request, check: Callable[[Session, Running], None] | None = None
) -> Running | None:
    """Revoke the run where nobody has begun it, else mark it; who runs it. Raises NotAllowed where it has ended."""
    verb = request.path.rpartition("/")[2]

    def work(session: Session) -> Running | None:
        running = revocations.revoke(
            session, request.key(request.params["task_id"]), request.actor, request.now, verb
        )
        if running is not None and check is not None:
            check(session, running)
        return running

    running = context.database.write(work)
    context.wake()
    return running


def _check_pool(session: Session, running: Running) -> None:
    pool = workers.pool_of(session, running.worker)
    if pool in CANNOT_TERMINATE:
        raise NotAllowed(
            f"{running.worker} runs it, and its pool ({pool}) can't end a run: use prefork, or a time limit"
        )


def _told_to(context: Context, running: Running, *, terminate: bool, signal: str = "TERM") -> bool:
    """Whether its worker answered."""
    arguments = {"task_id": [running.task_id], "terminate": terminate, "signal": signal}
    named = [running.worker] if running.worker else None
    return bool(control.ask(context.app, "revoke", arguments, named, 2 * PATIENCE).said)


def _ends(context: Context, running: Running) -> bool:
    for _ in range(round(ENDING / LOOK_EVERY)):
        if context.database.read(lambda session: revocations.has_ended(session, running)):
            return True
        time.sleep(LOOK_EVERY)
    return False


def _as_it_is(context: Context, request: Request, status: int) -> Answer:
    pk = request.key(request.params["task_id"])
    row = context.database.read(lambda session: revocations.find(session, pk))
    return Answer(status, {"id": row.id, "task_id": row.task_id, "status": row.status})
