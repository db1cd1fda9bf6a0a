"""What the endpoints take and give, as types: from these and the table of routes comes the OpenAPI document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from taskd.http import (
    audit,
    control,
    declarations,
    docs,
    health,
    live,
    metrics,
    occurrences,
    results,
    schedulers,
    stats,
    sync,
    system,
)
from taskd.http.forms import Form, Nothing, Paging
from taskd.http.route import Handler

Json = dict[str, Any]


class Given(BaseModel):
    """A part of an answer; what is not listed may come beside it."""

    model_config = ConfigDict(extra="allow")


class Wrong(Given):
    """One mistake of a 422."""

    loc: list[str | int]
    msg: str
    input: Any


class Problem(Given):
    """RFC 9457: what is wrong, in a sentence."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Wrong] = Field([], description="with 422: each mistake")
    path: str | None = Field(None, description="with 409: the file that owns it")
    line: int | None = Field(None, description="with 409: where it stands there")
    silent: list[str] = Field([], description="with 504: the workers that did not answer")


class Occurrence(Given):
    """A time at which a schedule is due."""

    scheduled_for: str
    local: str
    note: str | None


class Coming(Given):
    """What comes, and why nothing will fire where that is so."""

    items: list[Occurrence]
    crontab: str | None
    fires: bool
    message: str | None


class Why(Given):
    """What was decided for one occurrence."""

    name: str
    asked: str
    decision: str
    words: str
    occurrence: Occurrence | None
    before: Occurrence | None
    after: Occurrence | None


class Triggered(Given):
    """A run, to be followed by its id."""

    id: int
    task_id: str
    status: str


class RunLog(Given):
    """The end of what a run's task logged."""

    id: int
    task_id: str
    status: str
    log: str | None


class Deletion(Given):
    """What became of one of many."""

    pk: int | str
    status: int
    detail: str


class Deletions(Given):
    """In the order in which they were named."""

    results: list[Deletion]


class Bucket(Given):
    """Runs that ended from then on: how many by status; quantiles of seconds (`p50`, `p95`, `p99`)."""

    counts: dict[str, int]
    runtime: dict[str, float] | None
    lateness: dict[str, float] | None


class Stats(Given):
    """Buckets of so many seconds, the oldest first."""

    bucket: int
    to: str
    items: list[Bucket]


class Replies(Given):
    """What each worker said, who refused and why, who did not answer."""

    workers: Json
    refused: dict[str, str]
    silent: list[str]


class Health(Given):
    """Each check, `ok` or why not."""

    status: str
    checks: dict[str, str]


class Message(Given):
    """One of the live stream; `id` is in the last of those that were found together."""

    id: str | None
    event: Literal["fired", "run", "change", "source", "leader", "worker", "reset"]
    data: Json


class Declaration:
    """Stands for a declaration in a body: its schema is made from ScheduleSpec."""


class Patch:
    """Stands for a part of a declaration."""


Schema = type | str
"""A model, or `Schedule`, `Run`, `Event` for the columns of a table; `[Schedule]` for a list, `Page[Run]` for a page of them."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one handler takes and answers, beside what every one may: 400, 401, 403, 405, 408, 413, 415, 421, 422, 503.

    `query` is None where anything may stand there.
    """

    answers: Mapping[int, Schema] = field(default_factory=lambda: {200: dict})
    query: type[Form] | None = Nothing
    body: type[Form] | type[Declaration] | type[Patch] | None = None
    errors: Sequence[int] = ()
    headers: Sequence[str] = ()
    kind: str = "application/json"


RACE = ("If-Match",)
REPEAT = ("Idempotency-Key",)
RESUME = ("Last-Event-ID",)
MISSING, OWNED, CHANGED, UPGRADE, TOO_SLOW = 404, 409, 412, 426, 504

OPERATIONS: Mapping[Handler, Operation] = {
    health.alive: Operation({200: Health, 503: Health}, query=None),
    health.ready: Operation({200: Health, 503: Health}, query=None),
    metrics.metrics: Operation({200: str}, kind="text/plain"),
    docs.page: Operation({200: str}, kind="text/html"),
    schedulers.page: Operation({200: "Page[Schedule]"}, schedulers.SchedulesPage),
    schedulers.every: Operation({200: "[Schedule]"}, schedulers.SchedulesQuery),
    schedulers.one: Operation({200: "Schedule"}, errors=[MISSING]),
    declarations.create: Operation({201: "Schedule"}, body=Declaration, errors=[OWNED], headers=REPEAT),
    declarations.replace: Operation(
        {200: "Schedule"}, body=Declaration, errors=[MISSING, OWNED, CHANGED], headers=RACE
    ),
    declarations.merge: Operation(
        {200: "Schedule"}, body=Patch, errors=[MISSING, OWNED, CHANGED], headers=RACE
    ),
    declarations.delete: Operation({200: "Schedule"}, errors=[MISSING, OWNED, CHANGED], headers=RACE),
    declarations.delete_many: Operation({200: Deletions}, body=declarations.ManyBody),
    occurrences.coming: Operation({200: Coming}, occurrences.ComingQuery, errors=[MISSING]),
    occurrences.why: Operation({200: Why}, occurrences.WhyQuery, errors=[MISSING]),
    schedulers.history: Operation({200: "Page[Run]"}, results.RunsQuery, errors=[MISSING]),
    audit.events: Operation({200: "Page[Event]"}, Paging, errors=[MISSING]),
    schedulers.start: Operation({200: "Schedule"}, body=schedulers.StartBody, errors=[MISSING, OWNED]),
    schedulers.pause: Operation({200: "Schedule"}, body=schedulers.PauseBody, errors=[MISSING]),
    schedulers.resume: Operation({200: "Schedule"}, body=schedulers.ResumeBody, errors=[MISSING]),
    schedulers.trigger: Operation(
        {202: Triggered}, body=schedulers.TriggerBody, errors=[MISSING, OWNED], headers=REPEAT
    ),
    declarations.adopt: Operation({200: "Schedule"}, errors=[MISSING, OWNED]),
    results.page: Operation({200: "Page[Run]"}, results.ResultsQuery),
    results.one: Operation({200: "Run"}, errors=[MISSING]),
    results.log: Operation({200: RunLog}, errors=[MISSING]),
    results.delete: Operation({200: dict}, body=results.DeletionBody),
    stats.page: Operation({200: Stats}, stats.StatsQuery),
    live.events: Operation({200: Message}, headers=RESUME, kind="text/event-stream"),
    live.socket: Operation({101: Message}, errors=[UPGRADE], headers=RESUME),
    system.system: Operation(),
    sync.status: Operation(),
    sync.history: Operation(),
    sync.plan: Operation(),
    sync.sync: Operation({200: dict, 202: dict}, sync.WaitQuery),
    sync.approve: Operation({200: dict, 202: dict}, sync.WaitQuery, sync.ApprovalBody, errors=[OWNED]),
    **dict.fromkeys(
        control.INSPECT.values(), Operation({200: Replies}, control.InspectQuery, errors=[TOO_SLOW])
    ),
    control.shutdown: Operation({200: Replies}, body=control.WorkersBody, errors=[TOO_SLOW]),
    control.pool_restart: Operation({200: Replies}, body=control.WorkersBody, errors=[TOO_SLOW]),
    control.pool_grow: Operation({200: Replies}, body=control.ResizeBody, errors=[TOO_SLOW]),
    control.pool_shrink: Operation({200: Replies}, body=control.ResizeBody, errors=[TOO_SLOW]),
    control.autoscale: Operation({200: Replies}, body=control.ScaleBody, errors=[TOO_SLOW]),
    control.revoke: Operation({200: Triggered, 202: Triggered}, errors=[MISSING, OWNED, TOO_SLOW]),
    control.terminate: Operation(
        {200: Triggered, 202: Triggered}, body=control.TerminateBody, errors=[MISSING, OWNED, TOO_SLOW]
    ),
}
